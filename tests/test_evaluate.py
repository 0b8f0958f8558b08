"""Predictions are compared with truth file by file, and what cannot be compared is said."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskloop.errors import ImageError, MaskError, UsageError
from maskloop.images.writers import write_labels
from maskloop.jobs.evaluate import evaluate_folders
from maskloop.predict.base import Output
from maskloop.predict.batch import PredictionSettings, Provenance
from maskloop.predict.outputs import Classes, DistanceMaps
from maskloop.records import write_record

TRUTH = np.array([[0, 1, 1, 0], [0, 0, 2, 2], [0, 0, 2, 2]], np.uint8)
FOUND = np.array([[0, 1, 1, 0], [0, 0, 2, 0], [0, 0, 2, 0]], np.uint8)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("predictions", "masks"):
        (tmp_path / name).mkdir()
    return tmp_path / "predictions", tmp_path / "masks"


def fill(folder: Path, **images: NDArray[Any]) -> None:
    for stem, labels in images.items():
        write_labels(folder / f"{stem}.tif", labels, axes="ZYX"[-labels.ndim :])


def describe(path: Path, output: Output) -> None:
    note = Provenance(
        source="a.tif",
        source_sha256="0",
        model_id="",
        settings=PredictionSettings(output=output.model_dump(mode="json")),
    )
    write_record(path.with_name(path.name + ".json"), note)


def test_instances_are_scored_per_image_and_in_sum(folders: tuple[Path, Path]) -> None:
    predictions, masks = folders
    fill(predictions, a_labels=FOUND, b_labels=TRUTH)
    fill(masks, a=TRUTH, b=TRUTH)
    evaluation = evaluate_folders(predictions, masks, mode="instances")
    first, second, total = evaluation.rows()
    assert (first["image"], second["image"], total["image"]) == ("a", "b", "all 2 images")
    assert (first["ap50"], first["ap60"], second["ap60"]) == (1, 1 / 3, 1)
    assert total["ap60"] == pytest.approx(3 / 5)
    assert total["pq"] == pytest.approx((1 + 0.5 + 1 + 1) / 4)
    assert (total["true_objects"], total["predicted_objects"]) == (4, 4)
    assert total["dice"] == pytest.approx(2 * 10 / (2 * 10 + 2))


def test_classes_are_scored_each_by_itself(folders: tuple[Path, Path]) -> None:
    predictions, masks = folders
    fill(predictions, a=FOUND)
    fill(masks, a=TRUTH)
    row = evaluate_folders(predictions, masks, mode="multiclass", num_classes=4).rows()[0]
    assert row["dice_class_1"] == 1
    assert row["dice_class_2"] == pytest.approx(4 / 6)
    assert row["iou_class_2"] == pytest.approx(2 / 4)
    assert row["dice_class_3"] is None
    assert row["dice"] == pytest.approx((1 + 4 / 6) / 2)
    assert evaluate_folders(predictions, masks, mode="multiclass").class_labels == {
        0: "background",
        1: "class_1",
        2: "class_2",
    }


def test_binary_counts_every_value_but_zero_as_foreground(folders: tuple[Path, Path]) -> None:
    predictions, masks = folders
    fill(predictions, a=np.where(FOUND, 255, 0).astype(np.uint8))
    fill(masks, a=(TRUTH > 0).astype(np.uint8))
    evaluation = evaluate_folders(predictions, masks)
    assert evaluation.mode == "binary"
    assert evaluation.rows()[0]["dice"] == pytest.approx(8 / 10)
    fill(masks, a=TRUTH)
    assert evaluate_folders(predictions, masks, mode="binary").rows()[0]["dice"] == pytest.approx(
        8 / 10
    )


def test_values_that_may_be_classes_or_objects_are_asked_about(folders: tuple[Path, Path]) -> None:
    predictions, masks = folders
    fill(predictions, a=FOUND)
    fill(masks, a=TRUTH)
    with pytest.raises(
        UsageError,
        match=r"'a\.tif' holds 2 values besides 0(.|\n)*\(--mode\): multiclass if",
    ):
        evaluate_folders(predictions, masks)
    with pytest.raises(
        UsageError,
        match=r"Output mode 'objects' does not exist\.\n  -> Select one of binary, multiclass,",
    ):
        evaluate_folders(predictions, masks, mode="objects")  # type: ignore[arg-type]


def test_predictions_that_say_what_they_are_need_no_mode(folders: tuple[Path, Path]) -> None:
    predictions, masks = folders
    fill(predictions, a_labels=FOUND)
    fill(masks, a=TRUTH)
    describe(
        predictions / "a_labels.tif",
        DistanceMaps(class_labels={0: "background", 1: "nucleus"}),
    )
    assert evaluate_folders(predictions, masks).mode == "instances"
    named = Classes(class_labels={0: "background", 1: "axon", 2: "myelin"})
    describe(predictions / "a_labels.tif", named)
    row = evaluate_folders(predictions, masks).rows()[0]
    assert row["dice_axon"] == 1
    assert row["dice_myelin"] == pytest.approx(4 / 6)


def test_what_cannot_be_compared_is_named_and_the_rest_is_done(folders: tuple[Path, Path]) -> None:
    predictions, masks = folders
    fill(
        predictions,
        good=FOUND,
        cropped=FOUND[:2],
        alone=FOUND,
        broken=FOUND,
        stack=np.stack([FOUND, FOUND]),
        classes=FOUND * 9,
    )
    fill(
        masks,
        good=TRUTH,
        cropped=TRUTH,
        broken=TRUTH,
        unpredicted=TRUTH,
        stack=TRUTH,
        classes=TRUTH,
    )
    (predictions / "broken.tif").write_bytes(b"II*\0not a picture")
    evaluation = evaluate_folders(predictions, masks, mode="multiclass", num_classes=3)
    assert [image.name for image in evaluation.images] == ["good"]
    reasons = {failure.name: failure.problem for failure in evaluation.failures}
    assert reasons.keys() == {
        "cropped.tif",
        "alone.tif",
        "broken.tif",
        "unpredicted.tif",
        "stack.tif",
        "classes.tif",
    }
    assert (
        reasons["cropped.tif"]
        == "Prediction 'cropped.tif' is YX (2, 4), mask 'cropped.tif' is YX (3, 4)."
    )
    assert "holds class 18, but the classes are 0 to 2" in reasons["classes.tif"]
    assert "is ZYX (2, 3, 4)" in reasons["stack.tif"]


def test_nothing_to_compare_is_an_error_with_its_reasons(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    predictions, masks = folders
    fill(predictions, a=FOUND)
    fill(masks, b=TRUTH)
    with pytest.raises(
        MaskError,
        match=r"Nothing in '.*predictions' could be compared with '.*masks': (.|\n)*no prediction "
        r"named 'b'(.|\n)*the name of its mask",
    ):
        evaluate_folders(predictions, masks, mode="binary")
    with pytest.raises(ImageError, match="is missing, not a folder"):
        evaluate_folders(tmp_path / "absent", masks)


def test_volumes_and_float_masks_of_whole_numbers_are_compared(folders: tuple[Path, Path]) -> None:
    predictions, masks = folders
    fill(predictions, a=np.stack([FOUND, TRUTH]))
    np.save(masks / "b.npy", TRUTH.astype(np.float32))
    fill(predictions, b=FOUND)
    fill(masks, a=np.stack([TRUTH, TRUTH]))
    evaluation = evaluate_folders(predictions, masks, mode="instances")
    assert [image.name for image in evaluation.images] == ["a", "b"]
    assert evaluation.rows()[0]["ap50"] == 1
    np.save(masks / "b.npy", TRUTH + 0.5)
    assert [
        failure.problem
        for failure in evaluate_folders(predictions, masks, mode="instances").failures
    ] == ["'b.npy' holds values that are not whole numbers."]


def test_a_stack_that_does_not_name_its_axes_needs_them_and_a_single_plane_fits_a_picture(
    folders: tuple[Path, Path],
) -> None:
    predictions, masks = folders
    fill(predictions, a=np.stack([FOUND, TRUTH]), b=FOUND[None])
    fill(masks, b=TRUTH)
    np.save(masks / "a.npy", np.stack([TRUTH, TRUTH]))
    refused = evaluate_folders(predictions, masks, mode="instances")
    assert [image.name for image in refused.images] == ["b"]
    assert "nothing in the file says what its 3 dimensions are" in refused.failures[0].problem
    assert [
        image.name
        for image in evaluate_folders(predictions, masks, mode="instances", axes="ZYX").images
    ] == ["a", "b"]


def test_an_empty_image_leaves_its_cells_empty_and_adds_nothing(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    predictions, masks = folders
    fill(predictions, a=FOUND, empty=TRUTH * 0)
    fill(masks, a=TRUTH, empty=TRUTH * 0)
    evaluation = evaluate_folders(predictions, masks, mode="instances")
    evaluation.write_csv(tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["a", "empty", "all 2 images"]
    assert rows[1]["ap50"] == rows[1]["dice"] == ""
    assert {**rows[0], "image": ""} == {**rows[2], "image": ""}


def test_the_json_holds_rows_sum_and_failures(folders: tuple[Path, Path], tmp_path: Path) -> None:
    predictions, masks = folders
    fill(predictions, a=FOUND, b=FOUND)
    fill(masks, a=TRUTH)
    evaluation = evaluate_folders(predictions, masks, mode="instances")
    evaluation.write_json(tmp_path / "scores.json")
    content = json.loads((tmp_path / "scores.json").read_text())
    assert content == evaluation.summary()
    assert content["mode"] == "instances"
    assert content["images"][0]["image"] == "a"
    assert content["total"]["ap50"] == 1
    assert content["failures"][0]["name"] == "b.tif"
    assert type(evaluation).model_validate_json(evaluation.model_dump_json()) == evaluation
