from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from maskloop.errors import (
    AxesError,
    KnownPixels,
    MaskError,
    MaskloopError,
    NotFound,
    ProjectError,
    UsageError,
)
from maskloop.images.formats.alpha import ALPHA_NOTE
from maskloop.images.image import Image
from maskloop.images.masks import MaskRule
from maskloop.images.sources import match_pairs
from maskloop.images.writers import write_image, write_labels
from maskloop.project import layout
from maskloop.project.intake import hash_pixels
from maskloop.project.project import ProjectFolder
from maskloop.project.store import file_sha256


@pytest.fixture
def project(tmp_path: Path) -> ProjectFolder:
    return ProjectFolder.create(tmp_path / "cells", classes=["nucleus"])


def noise(seed: int = 0, shape: tuple[int, ...] = (32, 32)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, shape, np.uint8)


def files(project: ProjectFolder) -> set[str]:
    return {
        path.name
        for folder in (layout.IMAGES, layout.MASKS)
        for path in (project.folder / folder).iterdir()
    }


def test_an_accepted_pair_comes_back_pixel_by_pixel(project):
    image = noise().astype(np.uint16) * 7
    pair = project.dataset.accept(image, image > 900, name="well B3", metadata={"stain": "DAPI"})
    again = ProjectFolder.open(project.folder)
    assert again.dataset.pairs == [pair]
    assert np.array_equal(again.dataset.read_image(pair).read(), image)
    assert np.array_equal(again.dataset.read_mask(pair.pair_id).read(), image > 900)
    assert pair.pair_id == f"pair_0001_{pair.pixels_sha256[:8]}"
    assert pair.metadata == {"stain": "DAPI"}
    assert pair.image_sha256 == file_sha256(project.folder / pair.image_path)
    assert pair.mask_sha256 == file_sha256(project.folder / pair.mask_path)
    assert pair.fingerprint.class_pixels[1] == int((image > 900).sum())


def test_how_the_mask_was_prepared_is_recorded_under_the_keys_people_know(project):
    mask = np.zeros((32, 32), np.uint8)
    mask[:4], mask[4:8] = 3, 9
    project.dataset.accept(noise(), mask)
    stored = json.loads((project.folder / layout.MANIFEST).read_text())["pairs"][0]
    assert stored["mask_preparation"] == {
        "mask_mode": "merge_nonzero_to_foreground",
        "target_class_name": "nucleus",
        "label_transform": "nonzero_to_foreground",
        "source_labels": [0, 3, 9],
        "saved_labels": [0, 1],
    }


@pytest.mark.parametrize("metadata", [{"axes": "TYX"}, {"axes": "ZYX"}])
def test_planes_that_are_channels_are_accepted_by_the_way_out_that_is_named(
    project, tmp_path, metadata
):
    stack, mask = noise(shape=(5, 32, 32)), noise() > 99
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, metadata=metadata)
    tifffile.imwrite(tmp_path / "mask.tif", mask.astype(np.uint8))
    with pytest.raises(MaskError, match="is YX") as caught:
        project.dataset.accept(tmp_path / "a.tif", tmp_path / "mask.tif")
    assert "name its axes (--axes CYX)" in caught.value.way_out
    pair = project.dataset.accept(tmp_path / "a.tif", tmp_path / "mask.tif", axes="CYX")
    assert project.dataset.read_image(pair).channels == 5


def test_one_channel_that_comes_last_is_accepted_by_the_way_out_that_is_named(project, tmp_path):
    np.save(tmp_path / "a.npy", noise()[..., None])
    tifffile.imwrite(tmp_path / "mask.tif", (noise() > 99).astype(np.uint8))
    with pytest.raises(AxesError) as caught:
        project.dataset.accept(tmp_path / "a.npy", tmp_path / "mask.tif")
    assert "(--axes YXC)" in caught.value.way_out
    pair = project.dataset.accept(tmp_path / "a.npy", tmp_path / "mask.tif", axes="YXC")
    assert project.dataset.read_image(pair).channels == 1


def test_what_was_left_out_of_a_file_is_noted_with_the_pair(project, tmp_path):
    picture = np.stack([noise()] * 3 + [np.full((32, 32), 255, np.uint8)], -1)
    Pillow.fromarray(picture).save(tmp_path / "a.png")
    pair = project.dataset.accept(tmp_path / "a.png", noise() > 99)
    assert pair.mask_preparation["notes"] == [ALPHA_NOTE]
    assert project.dataset.read_image(pair).channels == 3


@pytest.mark.parametrize(
    ("axes", "shape", "mask_shape"),
    [("YX", (8, 9), (8, 9)), ("YXC", (8, 9, 3), (8, 9)), ("CYX", (2, 8, 9), (8, 9)),
     ("ZYX", (4, 8, 9), (4, 8, 9)), ("TYX", (4, 8, 9), (4, 8, 9)), ("YXZ", (8, 9, 4), (8, 9, 4)),
     ("CZYX", (2, 4, 8, 9), (4, 8, 9))],
)  # fmt: skip
def test_images_of_any_axes_come_back(project, axes, shape, mask_shape):
    image, mask = noise(1, shape), noise(2, mask_shape) > 100
    pair = project.dataset.accept(image, mask, axes=axes)
    kept = project.dataset.read_image(pair)
    assert sorted(kept.axes) == sorted(axes)
    assert np.array_equal(kept.read(axes), image)
    assert np.array_equal(project.dataset.read_mask(pair).read(axes.replace("C", "")), mask)


def test_pixel_size_and_channel_names_are_kept(project):
    image = Image(
        noise(1, (2, 16, 16)), "CYX", {"Y": 0.25, "X": 0.25}, ("DAPI", "GFP"), "two channels"
    )
    pair = project.dataset.accept(image, np.eye(16, dtype=bool))
    kept = project.dataset.read_image(pair)
    assert kept.pixel_size_um == pytest.approx({"Y": 0.25, "X": 0.25})
    assert kept.channel_names == ("DAPI", "GFP")
    assert kept.name == pair.name == "two channels"


def test_a_pixel_size_that_a_person_gives_wins_and_is_put_right_later(project):
    volume = Image(
        np.arange(8 * 16 * 16, dtype=np.uint16).reshape(8, 16, 16), "ZYX", {"Y": 0.5, "X": 0.5}
    )
    mask = (volume.read() > 700).astype(np.uint8)
    pair = project.dataset.accept(volume, mask, pixel_size_um={"Z": 2.0, "X": 0.4})
    assert project.dataset.read_image(pair).pixel_size_um == pytest.approx(
        {"Z": 2.0, "Y": 0.5, "X": 0.4}
    )
    assert project.dataset.fingerprint().pixel_size_um == pytest.approx(
        {"Z": 2.0, "Y": 0.5, "X": 0.4}
    )
    changed = project.dataset.replace(pair.pair_id, pixel_size_um={"Z": 3.0})
    assert project.dataset.read_image(changed).pixel_size_um["Z"] == pytest.approx(3.0)
    np.testing.assert_array_equal(project.dataset.read_mask(changed).read(), mask)
    with pytest.raises(UsageError, match="Z 0"):
        project.dataset.replace(pair.pair_id, pixel_size_um={"Z": 0.0})


def test_pairs_are_accepted_from_files(project, tmp_path):
    write_image(tmp_path / "a.tif", Image(noise(), "YX"))
    write_labels(tmp_path / "a_mask.png", (noise() > 99).astype(np.uint8), axes="YX")
    pair = project.dataset.accept(tmp_path / "a.tif", str(tmp_path / "a_mask.png"))
    assert pair.name == "a"
    assert np.array_equal(project.dataset.read_image(pair).read(), noise())


@pytest.mark.parametrize(
    ("image", "mask", "axes", "error", "words"),
    [
        (
            noise(),
            np.ones((16, 16), bool),
            None,
            MaskError,
            r"Mask 'mask' is YX \(16, 16\), image 'image' is YX \(32, 32\)",
        ),
        (
            noise(0, (3, 8, 8)),
            np.ones((8, 8), bool),
            None,
            AxesError,
            "3 dimensions .* axes are not named",
        ),
        (noise(0, (3, 8, 8)), np.ones((8, 8), bool), "ZYX", AxesError, "The mask has 2 dimensions"),
        (noise(), np.zeros((32, 32), bool), None, MaskError, "empty"),
        (noise(), np.full((32, 32), np.nan), None, MaskError, "NaN"),
        (noise(), np.full((32, 32), 0.5), None, MaskError, "fractional values"),
        (noise(), np.full((32, 32), -1), None, MaskError, "negative"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(project, image, mask, axes, error, words):
    with pytest.raises(error, match=words):
        project.dataset.accept(image, mask, axes=axes)
    assert project.dataset.pairs == []
    assert files(project) == set()


def test_an_image_with_nothing_on_it_is_accepted_when_that_is_meant(project):
    pair = project.dataset.accept(noise(), np.zeros((32, 32), bool), allow_empty=True)
    assert pair.mask_preparation["is_empty"]
    replaced = project.dataset.replace(pair.pair_id, image=noise(1))
    assert replaced.mask_preparation["is_empty"]


def test_pixels_already_accepted_are_refused_by_the_name_of_their_pair(project):
    pair = project.dataset.accept(noise(), noise() > 99, name="first")
    with pytest.raises(
        MaskError, match=f"already in the project, as pair '{pair.pair_id}' \\(first\\)"
    ) as caught:
        project.dataset.accept(noise(), noise() > 50, name="second")
    assert "replace" in caught.value.way_out
    project.dataset.remove(pair.pair_id)
    with pytest.raises(MaskError) as caught:
        project.dataset.accept(noise(), noise() > 50)
    assert f"{pair.pair_id} --restore" in caught.value.way_out
    assert len(files(project)) == 1


def test_the_same_bytes_of_another_type_or_shape_are_other_pixels():
    flat = noise(0, (4, 8))
    hashes = {
        hash_pixels(Image(pixels, axes))
        for pixels, axes in [
            (flat, "YX"),
            (flat.reshape(8, 4), "YX"),
            (flat.view(np.int8), "YX"),
            (flat, "XY"),
        ]
    }
    assert len(hashes) == 4
    assert hash_pixels(Image(flat.astype(">u2"), "YX")) == hash_pixels(
        Image(flat.astype("<u2"), "YX")
    )


def test_replacing_a_mask_keeps_the_old_one_and_makes_the_pair_new(project):
    pair = project.dataset.accept(noise(), noise() > 99)
    weights = project.folder / "w.pt"
    weights.write_bytes(b"w")
    project.checkpoints.register(weights, run_id="train_001", pair_ids=[pair.pair_id])
    assert project.dataset.select("new") == []
    new = project.dataset.replace(pair.pair_id, mask=noise() > 50)
    assert new.pair_id == pair.pair_id
    assert project.dataset.select("new") == [new]
    old = new.history[0]
    assert old.used_in_checkpoints == ("unet_run_001",)
    assert file_sha256(project.folder / old.mask_path) == pair.mask_sha256
    assert np.array_equal(project.dataset.read_mask(new).read(), noise() > 50)
    project.checkpoints.follow()
    assert project.dataset.select("new") == [new]
    assert len(project.dataset.replace(pair.pair_id, mask=noise() > 40).history) == 2


def test_a_replaced_mask_says_where_it_and_the_one_before_come_from(project):
    pair = project.dataset.accept(
        noise(), noise() > 99, source="imported_pair", metadata={"source_path": "a.tif", "note": 1}
    )
    facts = {"prediction_id": "prediction_007", "note": np.int64(2)}
    new = project.dataset.replace(
        pair.pair_id, mask=noise() > 50, source="corrected_prediction", metadata=facts
    )
    assert (new.source, new.metadata) == (
        "corrected_prediction",
        {"source_path": "a.tif", "note": 2, "prediction_id": "prediction_007"},
    )
    assert (new.history[0].source, new.history[0].metadata) == (
        "imported_pair",
        {"source_path": "a.tif", "note": 1},
    )
    assert project.dataset.get(pair.pair_id) == new
    again = project.dataset.replace(pair.pair_id, mask=noise() > 40)
    assert (again.source, again.metadata) == (new.source, new.metadata)


def test_a_refused_replacement_changes_nothing(project):
    pair = project.dataset.accept(noise(), noise() > 99)
    before = files(project)
    with pytest.raises(MaskError):
        project.dataset.replace(pair.pair_id, mask=np.ones((3, 3), bool))
    with pytest.raises(UsageError, match="Neither a mask nor an image"):
        project.dataset.replace(pair.pair_id)
    assert project.dataset.get(pair.pair_id) == pair
    assert files(project) == before


def test_a_removed_pair_keeps_its_files_until_it_is_purged(project):
    first = project.dataset.accept(noise(), noise() > 99)
    second = project.dataset.accept(noise(1), noise(1) > 99)
    project.dataset.replace(first.pair_id, mask=noise() > 50)
    with pytest.raises(UsageError, match="is in use"):
        project.dataset.purge(first.pair_id)
    project.dataset.remove(first.pair_id)
    assert [pair.pair_id for pair in project.dataset.pairs] == [second.pair_id]
    assert len(files(project)) == 3
    with pytest.raises(UsageError, match="is removed"):
        project.dataset.select([first.pair_id])
    project.dataset.restore(first.pair_id)
    assert len(project.dataset.pairs) == 2
    project.dataset.remove(first.pair_id)
    project.dataset.purge(first.pair_id)
    assert files(project) == {Path(second.image_path).name}
    with pytest.raises(NotFound, match="no pair"):
        project.dataset.get(first.pair_id)
    assert project.dataset.accept(noise(), noise() > 99).pair_id.startswith("pair_0003_"), (
        "numbers are not used again"
    )


def test_a_pair_without_its_files_is_not_restored(project):
    pair = project.dataset.accept(noise(), noise() > 99)
    project.dataset.remove(pair.pair_id)
    (project.folder / pair.mask_path).unlink()
    with pytest.raises(ProjectError, match="is not in the folder"):
        project.dataset.restore(pair.pair_id)


def test_pairs_are_selected_by_id_or_kind(project):
    pairs = [project.dataset.accept(noise(seed), noise(seed) > 99) for seed in range(3)]
    assert project.dataset.select("all") == pairs
    assert project.dataset.select(f"{pairs[2].pair_id},{pairs[0].pair_id}") == [pairs[2], pairs[0]]
    with pytest.raises(NotFound, match="no pair 'pair_0009'"):
        project.dataset.select(["pair_0009"])


def test_a_dataset_without_pairs_has_no_fingerprint(project):
    with pytest.raises(UsageError, match="no accepted pairs"):
        project.dataset.fingerprint()
    project.dataset.accept(noise(), noise() > 99)
    assert project.dataset.fingerprint().pair_count == 1


def test_instances_keep_their_own_labels(tmp_path):
    project = ProjectFolder.create(tmp_path / "p", mode="instances")
    mask = np.zeros((32, 32), np.int32)
    mask[2:8, 2:8], mask[2:8, 8:14] = 70_000, 5
    pair = project.dataset.accept(noise(), mask)
    assert sorted(np.unique(project.dataset.read_mask(pair).read())) == [0, 1, 2]
    assert pair.fingerprint.object_count == 2


def test_labels_are_mapped_to_classes_by_a_rule(tmp_path):
    project = ProjectFolder.create(tmp_path / "p", mode="multiclass", classes=["axon", "myelin"])
    mask = np.zeros((32, 32), np.uint8)
    mask[:8], mask[8:16] = 100, 200
    with pytest.raises(MaskError, match="3 classes"):
        project.dataset.accept(noise(), mask)
    pair = project.dataset.accept(
        noise(), mask, rule=MaskRule(mask_mode="manual_label_map", label_map={100: 1, 200: 2})
    )
    assert pair.mask_preparation["label_map"] == {"100": 1, "200": 2}
    assert pair.mask_preparation["saved_labels"] == [0, 1, 2]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    images, masks = tmp_path / "images", tmp_path / "masks"
    for folder in (images, masks):
        folder.mkdir()
    for seed, name in enumerate(["a", "b", "empty", "lonely"]):
        write_image(images / f"{name}.tif", Image(noise(seed), "YX"))
        if name != "lonely":
            write_labels(
                masks / f"{name}.tif",
                np.zeros((32, 32), np.uint8)
                if name == "empty"
                else (noise(seed) > 99).astype(np.uint8),
                axes="YX",
            )
    write_image(images / "b_copy.tif", Image(noise(1), "YX"))
    write_labels(masks / "b_copy.tif", (noise(1) > 99).astype(np.uint8), axes="YX")
    (images / "torn.tif").write_bytes(b"II*\0 torn")
    write_labels(masks / "torn.tif", np.eye(32, dtype=np.uint8), axes="YX")
    return images, masks


def test_one_bad_file_does_not_stop_an_import(project, folders):
    report = project.dataset.import_pairs(match_pairs(*folders))
    assert [Path(row.image).name for row in report.accepted] == ["a.tif", "b.tif"]
    assert {Path(row.image).name for row in report.refused} == {
        "empty.tif",
        "lonely.tif",
        "torn.tif",
        "b_copy.tif",
    }
    problems = {Path(row.image).name: row.problem for row in report.refused}
    assert "is empty" in problems["empty.tif"]
    assert "same pixels as" in problems["b_copy.tif"]
    assert [pair.name for pair in project.dataset.pairs] == ["a", "b"]
    assert {row.pair_id for row in report.accepted} == {
        pair.pair_id for pair in project.dataset.pairs
    }
    again = project.dataset.import_pairs(match_pairs(*folders))
    assert again.accepted == ()
    assert "already in the project" in next(
        row.problem for row in again.refused if row.image.endswith("/a.tif")
    )


def test_what_another_program_accepted_meanwhile_does_not_cost_the_rest_of_an_import(
    project, folders
):
    from maskloop.project.groups import Offer
    from maskloop.project.imports import Imported, _Batch

    batch = _Batch(project.dataset, dry_run=False)
    for seed in range(3):
        batch.add(
            Offer(project.dataset.examine(noise(seed), noise(seed) > 99)),
            Imported(image=str(seed), mask=str(seed)),
        )
    ProjectFolder.open(project.folder).dataset.accept(noise(1), noise(1) > 99)
    batch.flush()
    assert [row.image for row in batch.accepted] == ["0", "2"]
    assert "already in the project" in batch.refused[0].problem


def test_a_dry_run_finds_the_same_and_writes_nothing(project, folders):
    report = project.dataset.import_pairs(match_pairs(*folders), dry_run=True)
    assert [Path(row.image).name for row in report.accepted] == ["a.tif", "b.tif"]
    assert len(report.refused) == 4
    assert files(project) == set()


def test_an_import_tells_of_each_file_and_keeps_what_was_accepted_before_it_is_cancelled(
    project, folders
):
    told = []
    report = project.dataset.import_pairs(
        match_pairs(*folders), report=told.append, is_cancelled=lambda: len(told) == 2
    )
    assert report.cancelled
    assert [(event.stage, event.done, event.total) for event in told] == [
        ("a.tif", 0, 5),
        ("b.tif", 1, 5),
    ]
    assert [pair.name for pair in project.dataset.pairs] == ["a", "b"]
    assert not project.dataset.import_pairs(match_pairs(*folders), dry_run=True).cancelled


def test_the_pair_that_has_the_pixels_already_is_named(project):
    pair = project.dataset.accept(noise(), noise() > 99)
    with pytest.raises(KnownPixels) as refused:
        project.dataset.accept(noise(), noise() > 99)
    assert refused.value.pair_id == pair.pair_id


@pytest.mark.parametrize(
    ("group_by", "groups"),
    [("folder", {"images"}), ("file", {"a.tif", "b.tif"}), ("^(.)", {"a", "b"})],
)
def test_an_import_groups_as_asked(project, folders, group_by, groups):
    project.dataset.import_pairs(match_pairs(*folders), group_by=group_by)
    assert {pair.group for pair in project.dataset.pairs} == groups


def test_a_pattern_without_a_bracket_is_refused(project, folders):
    with pytest.raises(UsageError, match="has 0 groups in parentheses"):
        project.dataset.import_pairs(match_pairs(*folders), group_by="a.*")
    with pytest.raises(UsageError, match="not a regular expression"):
        project.dataset.import_pairs(match_pairs(*folders), group_by="(")


def test_real_nuclei_are_accepted(project, shared_data):
    table = match_pairs(shared_data / "dsb2018" / "images", shared_data / "dsb2018" / "masks")
    for entry in table.matched[:2]:
        pair = project.dataset.accept(entry.image, entry.mask)
        assert pair.fingerprint.object_count > 0
    assert len(project.dataset.pairs) == 2


def test_every_refusal_names_a_way_out(project):
    with pytest.raises(MaskloopError) as caught:
        project.dataset.accept("nowhere.tif", "nowhere_mask.tif")
    assert caught.value.way_out
