"""Outputs: from labels to targets, to labels, to figures, the same for every output."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import TypeAdapter

from maskloop.images.instances import InstanceSettings
from maskloop.predict.base import BlockOutput, Output
from maskloop.predict.outputs import AnyOutput, Classes, DistanceMaps, Foreground, output_for
from maskloop.predict.segment import kept

THREE = {0: "background", 1: "axon", 2: "myelin"}
OUTPUTS = {
    "binary": Foreground(),
    "multiclass": Classes(class_labels=THREE),
    "instances": DistanceMaps(),
}


def truth(mode: str) -> np.ndarray:
    labels = np.zeros((30, 40), np.uint16)
    labels[3:14, 5:18] = 1
    labels[3:14, 18:33] = 1 if mode == "binary" else 2
    return labels


@pytest.mark.parametrize("mode", OUTPUTS)
def test_the_encoded_truth_decodes_to_the_truth(mode: str) -> None:
    output, labels = OUTPUTS[mode], truth(mode)
    targets = output.encode(labels).astype(np.float32)
    if mode == "multiclass":
        targets = np.stack([targets[0] == label for label in THREE]).astype(np.float32)
    assert targets.shape == (output.channels, *labels.shape)
    found = output.decode(targets)
    assert found.dtype == output.label_dtype
    assert output.score(found, labels).score == 1


@pytest.mark.parametrize("mode", OUTPUTS)
def test_scores_that_waited_decode_as_those_that_did_not(mode: str) -> None:
    output = OUTPUTS[mode]
    # 255 steps, so that nothing is lost by waiting as uint8.
    scores = np.random.default_rng(0).integers(0, 256, (output.channels, 20, 20)) / np.float32(255)
    waiting = kept(scores.astype(np.float32), output)
    assert waiting.dtype == output.dtype
    np.testing.assert_array_equal(output.decode(waiting), output.decode(scores))


def test_floats_wait_as_they_are_where_an_output_is_signed() -> None:
    class Flows(DistanceMaps):
        @property
        def dtype(self) -> np.dtype:
            return np.dtype(np.float16)

    scores = np.array([[[-7.5, 3.25]]], np.float32)
    np.testing.assert_array_equal(kept(scores, Flows()), scores)


@pytest.mark.parametrize("mode", OUTPUTS)
def test_an_output_is_a_record_that_finds_its_way_back(mode: str) -> None:
    output = OUTPUTS[mode]
    adapter: TypeAdapter[Output] = TypeAdapter(AnyOutput)
    assert adapter.validate_json(output.model_dump_json()) == output
    assert output_for(output.mode, output.class_labels) == output
    assert isinstance(output, Output)


def test_only_outputs_that_look_around_are_decoded_in_blocks() -> None:
    assert OUTPUTS["binary"].margin_px == OUTPUTS["multiclass"].margin_px == 0
    assert isinstance(OUTPUTS["instances"], BlockOutput)
    wide = DistanceMaps(instances=InstanceSettings(largest_extent_px=50))
    assert wide.margin_px == 100


def test_the_figure_to_choose_by_is_ap_of_objects_and_dice_of_classes() -> None:
    labels = truth("multiclass")
    joined = (labels > 0).astype(np.uint16)
    objects = DistanceMaps().score(joined, labels)
    assert objects.score == objects.instances.mean_average_precision < 1  # type: ignore[union-attr]
    assert objects.values({})["dice"] == 1
    classes = Classes(class_labels=THREE).score(joined, labels)
    assert classes.score == classes.classes.mean_dice
    assert set(classes.values(THREE)) == {
        "dice_axon",
        "iou_axon",
        "dice_myelin",
        "iou_myelin",
        "dice",
        "iou",
        "f1",
    }


def test_counts_of_images_add_up() -> None:
    labels = truth("instances")
    once = DistanceMaps().score(labels, labels)
    twice = once + once
    assert twice.instances is not None
    assert twice.instances.true_objects == 4
    assert (Foreground().score(labels, labels) + once).instances is None


@pytest.mark.parametrize("output", [Foreground(), Classes(class_labels=THREE)])
def test_what_has_nothing_to_tune_predicts_no_example(output: Output) -> None:
    def never() -> None:
        raise AssertionError("asked for an example")
        yield

    assert output.tuned(never()) is output  # type: ignore[arg-type]
