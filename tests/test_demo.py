from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from maskloop.demo import run_demo
from maskloop.errors import ProjectError, UsageError
from maskloop.events import Event, Message
from maskloop.images.image import Image
from maskloop.images.readers import open_image
from maskloop.images.writers import write_image, write_labels
from maskloop.project.project import ProjectFolder
from maskloop.samples import simulate_nuclei, simulate_tissue


def write_pairs(folder: Path, pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[Path, Path]:
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for number, (image, labels) in enumerate(pairs):
        write_image(folder / "images" / f"cell_{number}.tif", Image(image, "YX"))
        write_labels(folder / "masks" / f"cell_{number}.tif", labels, axes="YX")
    return folder / "images", folder / "masks"


def test_the_demo_goes_the_whole_way_and_tells_what_it_measured(tmp_path: Path) -> None:
    told: list[Event] = []
    result = run_demo(tmp_path / "demo", time_s=4, device="cpu", report=told.append)
    assert (result.mode, result.trained_pairs, result.unseen_images) == ("instances", 12, 4)
    with Path(result.files["table"]).open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 5
    assert float(rows[-1]["dice"]) == pytest.approx(result.scores["dice"])
    assert open_image(result.files["picture"]).shape == (768, 768, 3)  # drawn threefold
    assert {"dice", "ap50"} <= set(result.scores)
    project = ProjectFolder.open(result.files["project"])
    unseen = {path.name for path in (tmp_path / "demo" / "unseen" / "images").iterdir()}
    assert not unseen & {pair.name for pair in project.dataset.all_pairs}
    assert any(
        isinstance(event, Message) and "the model has never seen" in event.text for event in told
    )
    assert all(command.startswith("maskloop ") for command in result.next_commands)
    with pytest.raises(ProjectError, match="holds an earlier demo") as caught:
        run_demo(tmp_path / "demo")
    assert "--overwrite" in caught.value.way_out


@pytest.mark.slow
def test_the_demo_is_good(tmp_path: Path) -> None:
    result = run_demo(tmp_path / "demo")
    assert (result.scores["dice"] or 0) > 0.9
    assert (result.scores["ap50"] or 0) > 0.8
    assert result.seconds < 180


def test_a_folder_that_is_not_a_demo_is_never_erased(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(ProjectError, match="is not an empty folder"):
        run_demo(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text(encoding="utf-8") == "years of work"


def test_the_demo_takes_a_persons_own_pairs_with_classes_of_any_number(tmp_path: Path) -> None:
    pairs = [simulate_tissue(shape=(64, 64), seed=seed) for seed in range(5)]
    # Classes 1, 2 are saved as 100, 200, as many drawing programs do.
    images, masks = write_pairs(
        tmp_path / "own", [(image, labels * np.uint8(100)) for image, labels in pairs]
    )
    result = run_demo(
        tmp_path / "demo", images=images, masks=masks, mode="multiclass", time_s=1, device="cpu"
    )
    assert result.mode == "multiclass"
    assert ProjectFolder.open(result.files["project"]).task.class_names[2] == "label_200"


def test_the_mode_is_asked_for_where_the_masks_do_not_tell(tmp_path: Path) -> None:
    mask = np.zeros((32, 32), np.uint8)
    mask[2:9, 2:9], mask[20:30, 20:30] = 1, 2
    images, masks = write_pairs(
        tmp_path / "own",
        [(simulate_nuclei(shape=(32, 32), seed=seed)[0], mask) for seed in range(2)],
    )
    with pytest.raises(UsageError, match="could be classes or objects"):
        run_demo(tmp_path / "demo", images=images, masks=masks)
    assert not (tmp_path / "demo").exists()


def test_pairs_of_one_image_leave_nothing_to_hold_out(tmp_path: Path) -> None:
    image, labels = simulate_nuclei(shape=(64, 64), seed=1)
    pairs = [
        (image, labels),
        (np.ascontiguousarray(image[::-1]), np.ascontiguousarray(labels[::-1])),
    ]
    images, masks = write_pairs(tmp_path / "own", pairs)
    with pytest.raises(
        UsageError, match="needs independent images to test on, but the 2 pairs form 1 group "
    ):
        run_demo(tmp_path / "demo", images=images, masks=masks, mode="instances")


def test_a_demo_is_not_erased_while_its_images_are_wanted(tmp_path: Path) -> None:
    place = tmp_path / "demo"
    pairs = [simulate_nuclei(shape=(64, 64), seed=seed) for seed in range(2)]
    images, masks = write_pairs(place / "own", pairs)
    (place / "DEMO.txt").touch()
    with pytest.raises(ProjectError, match=r"Your images are in .* which would be deleted"):
        run_demo(place, images=images, masks=masks, mode="instances", overwrite=True)
    assert len(list(images.iterdir())) == 2


def test_choices_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Masks were given without images"):
        run_demo(tmp_path / "demo", masks=tmp_path)
    with pytest.raises(UsageError, match="The simulated nuclei are instances, not binary"):
        run_demo(tmp_path / "demo", mode="binary")
