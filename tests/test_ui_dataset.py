"""The dataset of the window, without a window."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("psygnal")

from ui_session import Pump, open_session

from maskloop import Image, MaskRule, Project
from maskloop.images.masks import MaskMode, prepare_mask
from maskloop.images.writers import write_image, write_labels
from maskloop.project.thumbnails import SIZE_PX
from maskloop.samples import simulate_pairs
from maskloop.ui.controllers.acceptance import QUICK_BYTES, is_quick_to_copy
from maskloop.ui.controllers.label_semantics import Classes, describe, rule_options
from maskloop.ui.session import Session


class Desk:
    """A session with a project, and what was told."""

    def __init__(self, session: Session, pump: Pump, failures: list[tuple[str, str]]) -> None:
        self.session, self.pump, self.failures = session, pump, failures
        self.said: list[str] = []
        session.workspace.events.said.connect(self.said.append)

    def open(self, folder: Path) -> Project:
        self.session.workspace.open(folder)
        self.pump.until(
            lambda: (
                self.session.workspace.project is not None
                and self.session.workspace.project.folder == folder
            )
        )
        self.pump.until(lambda: self.session.workspace.snapshot.condition != "none")
        self.pump.settle(self.session)
        assert self.session.workspace.project is not None
        return self.session.workspace.project

    def settle(self) -> None:
        self.pump.settle(self.session)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with open_session(tmp_path) as (session, pump, failures):
        yield Desk(session, pump, failures)


def new_project(
    folder: Path, mode: Any = "instances", classes: list[str] | None = None, count: int = 0
) -> Path:
    project = Project.create(folder, mode=mode, classes=classes)
    for number, (image, labels) in enumerate(simulate_pairs(count, shape=(64, 64), seed=1)):
        project.dataset.accept(image, labels, name=f"cells {number}")
    return folder


def field(seed: int = 3) -> tuple[Image, np.ndarray[Any, Any]]:
    image, labels = simulate_pairs(1, shape=(64, 64), seed=seed)[0]
    return Image(image, "YX", name=f"field {seed}"), np.array(labels, np.uint16)


CLASSES = Classes("multiclass", ("background", "nucleus", "cytoplasm"))


@pytest.mark.parametrize(
    ("drawn", "rule", "classes", "words", "is_fine"),
    [
        ([1, 2, 3], MaskRule(), Classes(), "Labels 1..3 will be saved as foreground.", True),
        ([7], MaskRule(), Classes(), "Label 7 will be saved as foreground.", True),
        ([], MaskRule(), Classes(), "The mask is empty.", False),
        (
            [4, 9],
            MaskRule(mask_mode="keep_instances"),
            Classes("instances"),
            "2 objects will be saved.",
            True,
        ),
        (
            [5],
            MaskRule(mask_mode="keep_instances"),
            Classes("instances"),
            "1 object will be saved.",
            True,
        ),
        (
            [2, 4, 6, 8, 10, 99],
            MaskRule(),
            Classes(),
            "6 labels (2..99) will be saved as foreground.",
            True,
        ),
        (
            [1, 2],
            MaskRule(mask_mode="keep_labels_as_multiclass"),
            CLASSES,
            "Nucleus (1) and cytoplasm (2) will be saved.",
            True,
        ),
        (
            [1, 5, 6],
            MaskRule(mask_mode="manual_label_map", label_map={1: 1, 5: 2, 6: 2}),
            CLASSES,
            "Will be saved: label 1 as nucleus; labels 5..6 as cytoplasm.",
            True,
        ),
        (
            [3],
            MaskRule(mask_mode="manual_label_map", label_map={3: 0}),
            CLASSES,
            "Will be saved: label 3 as background.",
            False,
        ),
    ],
)
def test_a_description_says_what_will_be_saved(
    drawn: list[int], rule: MaskRule, classes: Classes, words: str, is_fine: bool
) -> None:
    mask = np.zeros((8, 16), np.uint16)
    mask.flat[: len(drawn)] = drawn
    found = describe(Image(mask, "YX", name="m"), rule, classes)
    assert found.words == words
    assert found.is_fine == is_fine
    assert found.labels == tuple(drawn)


def test_a_description_of_what_would_be_refused_says_why_and_names_the_labels() -> None:
    found = describe(
        Image(np.array([[0, 1], [7, 7]]), "YX", name="m"),
        MaskRule(mask_mode="keep_labels_as_multiclass"),
        CLASSES,
    )
    assert "Mask 'm' holds label 7, but the project has 3 classes" in found.words
    assert not found.is_fine
    assert found.labels == (1, 7)


@settings(max_examples=40, deadline=None)
@given(
    labels=st.lists(st.integers(0, 6), min_size=24, max_size=24),
    mode=st.sampled_from(["merge_nonzero_to_foreground", "keep_instances", "manual_label_map"]),
)
def test_a_description_is_fine_exactly_where_the_mask_would_be_accepted(
    labels: list[int], mode: MaskMode
) -> None:
    mask = np.array(labels, np.uint8).reshape(2, 3, 4)
    rule = MaskRule(
        mask_mode=mode,
        label_map={1: 1, 2: 0, 3: 2, 4: 1, 5: 0} if mode == "manual_label_map" else {},
    )
    found = describe(Image(mask, "ZYX"), rule, CLASSES)
    try:
        prepare_mask(mask, rule, num_classes=3)
        assert found.is_fine
    except ValueError:
        assert not found.is_fine


@pytest.mark.parametrize(
    ("classes", "modes"),
    [
        (Classes(), ["merge_nonzero_to_foreground", "manual_label_map"]),
        (CLASSES, ["keep_labels_as_multiclass", "manual_label_map"]),
        (Classes("instances"), ["keep_instances", "connected_components"]),
    ],
)
def test_only_rules_that_fit_the_project_are_offered(classes: Classes, modes: list[str]) -> None:
    assert [option.mode for option in rule_options(classes)] == modes


def test_accepting_saves_what_was_seen_at_the_click(desk: Desk, tmp_path: Path) -> None:
    project = desk.open(new_project(tmp_path / "cells"))
    image, labels = field()
    drawn = labels.copy()
    pairs: list[Any] = []
    desk.session.accepting.accept(image, Image(labels, "YX", name="drawn"), then=pairs.append)
    assert desk.session.accepting.is_accepting
    assert desk.session.accepting.title(None) == "Saving..."
    labels[:] = 1  # the person goes on painting
    desk.settle()
    assert not desk.session.accepting.is_accepting
    count = len(np.unique(drawn)) - 1
    assert desk.said == [f"Accepted pair_0001: {count} objects"]
    saved = project.dataset.read_mask(pairs[0]).read()
    assert ((saved > 0) == (drawn > 0)).all()
    assert desk.session.pairs.rows[0].objects == count


def test_large_labels_are_copied_in_a_thread_and_refused_when_they_are_painted_on_meanwhile(
    desk: Desk, tmp_path: Path
) -> None:
    desk.open(new_project(tmp_path / "cells"))
    image, labels = field()
    slow = Slow(labels)
    desk.session.accepting.accept(image, Image(slow, "YX"))
    assert desk.session.accepting.is_copying
    desk.session.accepting.disturb()
    slow.go.set()
    desk.settle()
    assert desk.failures == [
        (
            "The mask changed while it was being copied, so nothing was accepted.",
            "Accept it again.",
        )
    ]
    desk.session.accepting.accept(image, Image(slow, "YX"))
    desk.settle()
    assert len(desk.session.pairs.rows) == 1


class Slow:
    """Labels that take a while to be read."""

    def __init__(self, labels: np.ndarray[Any, Any]) -> None:
        self._labels, self.shape, self.dtype = labels, labels.shape, labels.dtype
        self.go = threading.Event()

    def __getitem__(self, key: Any) -> np.ndarray[Any, Any]:
        assert self.go.wait(60)
        return np.asarray(self._labels[key])


def test_only_small_labels_in_memory_are_copied_at_once(tmp_path: Path) -> None:
    small = np.zeros((8, 8), np.uint8)
    np.save(tmp_path / "m.npy", small)
    assert is_quick_to_copy(Image(small, "YX"))
    assert not is_quick_to_copy(Image(np.load(tmp_path / "m.npy", mmap_mode="r")[2:], "YX"))
    assert not is_quick_to_copy(
        Image(np.lib.stride_tricks.as_strided(small, (QUICK_BYTES, 8), (0, 1)), "YX")
    )


def test_an_empty_mask_is_asked_about_and_accepted_when_it_is_meant(
    desk: Desk, tmp_path: Path
) -> None:
    desk.open(new_project(tmp_path / "cells"))
    asked: list[Any] = []
    desk.session.accepting.empty_asked.connect(asked.append)
    image, labels = field()
    desk.session.accepting.accept(image, Image(np.zeros_like(labels), "YX"))
    desk.settle()
    assert len(asked) == 1
    assert not desk.failures
    assert not desk.session.pairs.rows
    asked[0]()
    desk.settle()
    assert desk.said == ["Accepted pair_0001: empty mask"]


def test_pixels_that_are_here_already_lead_to_the_question_whether_to_replace(
    desk: Desk, tmp_path: Path
) -> None:
    project = desk.open(new_project(tmp_path / "cells"))
    asked: list[tuple[str, Any]] = []
    desk.session.accepting.known_asked.connect(
        lambda pair_id, retry: asked.append((pair_id, retry))
    )
    image, labels = field()
    desk.session.accepting.accept(image, Image(labels, "YX"))
    desk.settle()
    desk.session.accepting.accept(
        image,
        Image(labels == 1, "YX"),
        source="corrected_prediction",
        metadata={"prediction_id": "prediction_007"},
    )
    desk.settle()
    assert asked[0][0] == project.dataset.pairs[0].pair_id
    asked[0][1]()
    desk.settle()
    assert desk.said[-1] == "Replaced the mask of pair_0001: 1 object"
    assert project.dataset.pairs[0].source == "corrected_prediction"
    assert project.dataset.pairs[0].metadata["prediction_id"] == "prediction_007"
    assert len(project.dataset.all_pairs) == 1
    assert len(project.dataset.pairs[0].history) == 1


def test_a_refusal_is_told_with_the_way_out_and_the_button_is_free_again(
    desk: Desk, tmp_path: Path
) -> None:
    desk.open(new_project(tmp_path / "cells"))
    image, labels = field()
    desk.session.accepting.accept(image, Image(labels[:8], "YX", name="half"))
    desk.settle()
    assert "Mask 'half' is YX (8, 64)" in desk.failures[0][0]
    assert not desk.session.accepting.is_accepting


def test_without_a_project_nothing_is_accepted_and_the_way_out_is_told(desk: Desk) -> None:
    image, labels = field()
    desk.session.accepting.accept(image, Image(labels, "YX"))
    assert desk.failures == [
        ("Nothing was accepted.", "No project is open: select or create one at the top.")
    ]


def test_what_was_chosen_is_remembered_with_the_accept_and_restored_on_opening(
    desk: Desk, tmp_path: Path
) -> None:
    folder = new_project(tmp_path / "cells", "multiclass", ["nucleus", "cytoplasm"])
    desk.open(folder)
    desk.session.label_rule.choose_rule("manual_label_map")
    desk.session.label_rule.map_label(9, 2)
    image, _ = field()
    mask = np.zeros((64, 64), np.uint8)
    mask[4:9, 4:9] = 9
    desk.session.accepting.accept(
        image,
        Image(mask, "YX"),
        rule=desk.session.label_rule.rule,
        metadata={"image_layers": ["dapi"], "labels_layer": "drawn"},
    )
    desk.settle()
    assert not desk.failures
    restored: list[tuple[Any, Any]] = []
    desk.session.accepting.restored.connect(lambda *names: restored.append(names))
    desk.session.workspace.leave()
    desk.open(folder)
    assert restored == [("dapi", "drawn")]
    assert desk.session.label_rule.rule.mask_mode == "manual_label_map"
    assert desk.session.label_rule.rule.label_map == {9: 2}


def test_labels_to_be_mapped_are_listed_and_unknown_ones_must_be_said(
    desk: Desk, tmp_path: Path
) -> None:
    desk.open(new_project(tmp_path / "cells", "multiclass", ["nucleus", "cytoplasm"]))
    desk.session.label_rule.choose_rule("manual_label_map")
    mask = Image(np.array([[0, 1], [2, 9]], np.uint8), "YX", name="m")
    desk.session.label_rule.describe(mask)
    desk.settle()
    assert desk.session.label_rule.label_rows == [(1, 1), (2, 2), (9, -1)]
    desk.session.label_rule.describe(mask)
    desk.settle()
    assert "label 9, which the label map" in desk.session.label_rule.description.words
    desk.session.label_rule.map_label(9, 1)
    desk.session.label_rule.describe(mask)
    desk.settle()
    assert (
        desk.session.label_rule.description.words
        == "Will be saved: labels 1 and 9 as nucleus; label 2 as cytoplasm."
    )


def test_of_many_wishes_to_describe_only_the_newest_is_told(desk: Desk, tmp_path: Path) -> None:
    desk.open(new_project(tmp_path / "cells"))
    told: list[str] = []
    desk.session.label_rule.described.connect(
        lambda: told.append(desk.session.label_rule.description.words)
    )
    for count in range(1, 30):
        desk.session.label_rule.describe(Image(np.arange(count + 1).reshape(1, -1), "YX"))
    desk.settle()
    assert told == ["29 objects will be saved."]


def test_pairs_are_removed_brought_back_and_kept_for_validation(desk: Desk, tmp_path: Path) -> None:
    desk.open(new_project(tmp_path / "cells", count=3))
    first, second = desk.session.pairs.rows[0], desk.session.pairs.rows[1]
    assert desk.session.pairs.why_not_remove([]) == "Select pairs in the table first."
    assert desk.session.pairs.why_not_restore([first]) == "None of these was removed."
    desk.session.pairs.remove([first.pair_id])
    desk.settle()
    assert desk.session.pairs.rows[0].state == "removed"
    assert desk.session.pairs.rows[1] is second
    assert desk.session.pairs.words == "2 pairs (plus 1 removed or missing)"
    desk.session.pairs.restore([first.pair_id])
    desk.settle()
    desk.session.pairs.mark_validation([second.pair_id])
    desk.settle()
    assert [row.split for row in desk.session.pairs.rows] == ["", "validation", ""]
    assert desk.session.pairs.words == "3 pairs, 1 for validation"
    assert (
        desk.session.pairs.why_not_validate([desk.session.pairs.rows[1]])
        == "These are reserved for validation already."
    )
    assert desk.said == [
        "Removed pair_0001",
        "Restored pair_0001",
        "Reserved for validation: pair_0002",
    ]
    assert not desk.failures


def test_a_training_learns_from_the_marked_pairs_that_may_be_learnt_from(
    desk: Desk, tmp_path: Path
) -> None:
    desk.open(new_project(tmp_path / "cells", count=3))
    desk.session.pairs.mark_validation([desk.session.pairs.rows[1].pair_id])
    desk.settle()
    first, measuring, third = desk.session.pairs.rows
    assert "never trained on" in str(desk.session.pairs.why_not_train_on([measuring]))
    assert desk.session.pairs.why_not_train_on([first, measuring]) is None
    desk.session.pairs.train_on([row.pair_id for row in (first, measuring, third)])
    assert desk.session.plan.job.pairs == (first.pair_id, third.pair_id)
    assert ("selected", "Selected in the table (2)") in desk.session.plan.pairs_options
    assert desk.said[-1] == "The next training uses 2 pairs only: see Train."


def test_near_duplicates_are_flagged_both_ways(desk: Desk, tmp_path: Path) -> None:
    folder = new_project(tmp_path / "cells")
    project = Project.open(folder)
    for seed in (3, 4):
        image, labels = field(seed)
        project.dataset.accept(image, labels)
    image, labels = field(3)
    project.dataset.accept(image.read()[::-1], labels[::-1])
    desk.open(folder)
    assert [row.near for row in desk.session.pairs.rows] == ["pair_0003", "", "pair_0001"]
    assert "Near-duplicate of pair_0003" in desk.session.pairs.rows[0].near_tooltip
    desk.session.pairs.remove([desk.session.pairs.rows[2].pair_id])
    desk.settle()
    assert [row.near for row in desk.session.pairs.rows] == ["", "", ""]


def test_a_photograph_keeps_its_colours_in_the_thumbnail(desk: Desk, tmp_path: Path) -> None:
    folder = new_project(tmp_path / "cells")
    pink = np.full((40, 40, 3), (230, 170, 180), np.uint8)
    pink[:20] = (240, 220, 200)
    Project.open(folder).dataset.accept(pink, np.eye(40, dtype=np.uint8), axes="YXC")
    desk.open(folder)
    got: list[Any] = []
    desk.session.pairs.thumbnail(desk.session.pairs.rows[0], got.append)
    desk.settle()
    assert got[0][30, 5].tolist() == [230, 170, 180]


def test_a_thumbnail_of_a_large_image_is_small(desk: Desk, tmp_path: Path) -> None:
    folder = new_project(tmp_path / "cells")
    Project.open(folder).dataset.accept(
        np.arange(300 * 200, dtype=np.uint16).reshape(300, 200), np.ones((300, 200), np.uint8)
    )
    desk.open(folder)
    got: list[Any] = []
    desk.session.pairs.thumbnail(desk.session.pairs.rows[0], got.append)
    desk.settle()
    assert got[0].shape == (100, 67, 3)
    assert max(got[0].shape) <= SIZE_PX


def test_a_thumbnail_is_kept_in_the_cache_and_made_anew_when_the_cache_is_gone(
    desk: Desk, tmp_path: Path
) -> None:
    project = desk.open(new_project(tmp_path / "cells", count=1))
    got: list[Any] = []
    desk.session.pairs.thumbnail(desk.session.pairs.rows[0], got.append)
    desk.settle()
    cached = list((project.folder / "cache/thumbnails").iterdir())
    assert len(cached) == 1
    assert got[0].shape == (64, 64, 3), "a small image is not blown up"
    desk.session.pairs.thumbnail(desk.session.pairs.rows[0], got.append)
    desk.settle()
    assert (got[0] == got[1]).all()
    cached[0].write_bytes(b"torn")
    desk.session.pairs.thumbnail(desk.session.pairs.rows[0], got.append)
    desk.settle()
    assert (got[0] == got[2]).all()


def test_a_pair_is_read_to_be_shown_and_its_labels_are_a_copy(desk: Desk, tmp_path: Path) -> None:
    project = desk.open(new_project(tmp_path / "cells", count=1))
    opened: list[Any] = []
    desk.session.pairs.read(desk.session.pairs.rows[0].pair_id, opened.append)
    desk.settle()
    opened[0].labels[:] = 0
    assert project.dataset.read_mask(opened[0].pair).read().any()
    assert opened[0].limits is not None
    shown = {"maskloop_pair": opened[0].pair.pair_id, "maskloop_project": str(project.folder)}
    assert desk.session.accepting.shown_pair(shown, shown) == opened[0].pair.pair_id
    assert desk.session.accepting.shown_pair(shown, {}) is None
    assert (
        desk.session.accepting.shown_pair({**shown, "maskloop_project": "/elsewhere"}, shown)
        is None
    )


def test_a_class_is_renamed_coloured_and_added_though_there_are_pairs(
    desk: Desk, tmp_path: Path
) -> None:
    folder = new_project(tmp_path / "cells", "multiclass", ["nucleus", "cytoplasm"])
    image, _ = field()
    Project.open(folder).dataset.accept(image, np.eye(64, dtype=np.uint8))
    project = desk.open(folder)
    classes = desk.session.classes
    classes.rename(1, "nuclei")
    desk.settle()
    classes.add("membrane")
    desk.settle()
    classes.set_color(3, "#123456")
    desk.settle()
    assert classes.rows[0].name == "nuclei"
    assert (classes.rows[2].name, classes.rows[2].color) == ("membrane", "#123456")
    assert project.task.num_classes == 4
    assert project.config.metadata["class_colors"] == {"3": "#123456"}
    assert desk.session.pairs.rows[0].classes == "nuclei"
    classes.add("Nuclei")
    desk.settle()
    assert desk.failures[0][0] == "There is a class 'Nuclei' already."


def test_a_binary_project_says_why_it_has_no_more_classes(desk: Desk, tmp_path: Path) -> None:
    desk.open(new_project(tmp_path / "cells", "binary"))
    assert "Create a project for several classes" in str(desk.session.classes.why_not_add)
    desk.session.classes.add("more")
    assert desk.failures[0][0] == "No class was added."


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    images, masks = tmp_path / "images", tmp_path / "masks"
    for folder in (images, masks):
        folder.mkdir()
    for number, (image, labels) in enumerate(simulate_pairs(3, shape=(64, 64), seed=5)):
        write_image(images / f"cell_{number}.tif", Image(image, "YX"))
        write_labels(masks / f"cell_{number}.tif", np.asarray(labels).astype(np.uint16), axes="YX")
    (images / "torn.tif").write_bytes(b"II*\0 torn")
    write_labels(masks / "torn.tif", np.eye(64, dtype=np.uint8), axes="YX")
    return images, masks


def test_folders_are_looked_through_before_they_are_imported(
    desk: Desk, tmp_path: Path, folders: tuple[Path, Path]
) -> None:
    project = desk.open(new_project(tmp_path / "cells"))
    part = desk.session.pair_import
    assert part.why_not_look == "Select the folder of the images first."
    part.choose(images=folders[0], masks=folders[1])
    assert part.why_not_import == "Check the files first."
    part.look()
    assert part.is_busy
    desk.settle()
    assert part.words == "3 pairs OK, 1 rejected."
    assert part.title == "Import 3 pairs"
    assert [row.state for row in part.rows] == ["rejected", "OK", "OK", "OK"]
    assert "torn.tif" in part.rows[0].image
    assert not project.dataset.pairs
    part.run()
    desk.settle()
    assert part.words == "3 pairs imported, 1 rejected."
    assert len(desk.session.pairs.rows) == 3
    assert not desk.failures


def test_an_import_that_is_cancelled_keeps_what_was_accepted(
    desk: Desk, tmp_path: Path, folders: tuple[Path, Path]
) -> None:
    desk.open(new_project(tmp_path / "cells"))
    part = desk.session.pair_import
    part.choose(images=folders[0], masks=folders[1])
    part.look()
    part.cancel()
    desk.settle()
    assert part.report is not None
    assert part.report.cancelled
    assert "Cancelled before the end." in part.words


def test_images_are_gone_through_and_those_accepted_are_marked(
    desk: Desk, tmp_path: Path, folders: tuple[Path, Path]
) -> None:
    desk.open(new_project(tmp_path / "cells"))
    queue = desk.session.queue
    shown: list[Any] = []
    queue.opened.connect(shown.append)
    assert queue.why_not_next == "Select a folder or files first."
    queue.choose([folders[0]])
    desk.settle()
    assert queue.words == "1 of 4: cell_0.tif"
    assert queue.why_not_previous == "This is the first image."
    labels = np.eye(64, dtype=np.uint8)
    desk.session.accepting.accept(
        shown[0].image, Image(labels, "YX"), metadata={"source_path": str(shown[0].path)}
    )
    desk.settle()
    assert queue.words == "1 of 4: cell_0.tif (accepted), 1 accepted"
    queue.next()
    desk.settle()
    assert shown[-1].path.name == "cell_1.tif"
    queue.choose([folders[0]])
    desk.settle()
    assert queue.index == 1
    queue.go(3)
    desk.settle()
    assert "torn.tif" in desk.failures[0][0]
    assert queue.why_not_next == "This is the last image."


def test_the_list_of_images_is_remembered_and_goes_on_at_the_first_that_is_not_accepted(
    desk: Desk, tmp_path: Path, folders: tuple[Path, Path]
) -> None:
    desk.open(new_project(tmp_path / "cells"))
    queue = desk.session.queue
    shown: list[Any] = []
    queue.opened.connect(shown.append)
    queue.choose([folders[0]])
    desk.settle()
    labels = Image(np.eye(64, dtype=np.uint8), "YX")
    desk.session.accepting.accept(
        shown[0].image, labels, metadata={"source_path": str(shown[0].path)}
    )
    desk.settle()
    desk.open(new_project(tmp_path / "others"))
    assert queue.words == "No images selected."
    desk.open(tmp_path / "cells")
    assert queue.words == "4 images, 1 accepted"
    assert len(shown) == 1, "nothing is put into the viewer that nobody asked for"
    assert queue.why_not_previous == "No image of the queue is shown yet."
    queue.next()
    desk.settle()
    assert shown[-1].path.name == "cell_1.tif"
    folders[0].rename(tmp_path / "moved")
    desk.open(tmp_path / "others")
    desk.open(tmp_path / "cells")
    assert queue.words == "No images selected."
    assert not desk.failures


def test_an_image_is_known_by_its_pixels_wherever_it_lies(
    desk: Desk, tmp_path: Path, folders: tuple[Path, Path]
) -> None:
    folder = new_project(tmp_path / "cells")
    pair = Project.open(folder).dataset.accept(folders[0] / "cell_0.tif", folders[1] / "cell_0.tif")
    desk.open(folder)
    shown: list[Any] = []
    desk.session.queue.opened.connect(shown.append)
    desk.session.queue.choose([folders[0] / "cell_0.tif"])
    desk.settle()
    assert shown[0].pair_id == pair.pair_id
    assert "(accepted)" in desk.session.queue.words


def test_axes_that_no_file_tells_are_asked_once(desk: Desk, tmp_path: Path) -> None:
    desk.open(new_project(tmp_path / "cells"))
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", np.zeros((5, 16, 16), np.uint8))
    shown: list[Any] = []
    queue = desk.session.queue
    queue.opened.connect(shown.append)
    queue.choose([tmp_path / "a.npy", tmp_path / "b.npy"])
    desk.settle()
    assert shown[0].axes is None
    assert shown[0].image.shape == (5, 16, 16)
    queue.name_axes("TYX")
    queue.next()
    desk.settle()
    assert shown[1].axes == "TYX"
    assert shown[1].is_named


def test_another_project_forgets_what_belonged_to_the_old_one(desk: Desk, tmp_path: Path) -> None:
    desk.open(new_project(tmp_path / "cells", count=2))
    assert len(desk.session.pairs.rows) == 2
    desk.session.workspace.leave()
    assert desk.session.pairs.rows == ()
    desk.open(new_project(tmp_path / "others", "binary"))
    desk.settle()
    assert desk.session.pairs.rows == ()
    assert desk.session.label_rule.rule.mask_mode == "merge_nonzero_to_foreground"


def test_a_read_only_project_is_looked_at_and_not_changed(desk: Desk, tmp_path: Path) -> None:
    folder = new_project(tmp_path / "cells", count=1)
    desk.open(folder)
    desk.session.workspace.snapshot = desk.session.workspace.snapshot.__class__(
        condition="read-only", words="Read only", way_out="Copy the project."
    )
    assert desk.session.accepting.why_not == "Read only. Copy the project."
    assert (
        desk.session.pairs.why_not_remove(desk.session.pairs.rows) == "Read only. Copy the project."
    )
