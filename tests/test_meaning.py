from __future__ import annotations

import numpy as np
import pytest

from maskloop.errors import UsageError
from maskloop.images.meaning import tell_meaning
from maskloop.samples import simulate_nuclei, simulate_tissue


def test_one_value_besides_0_is_one_class() -> None:
    meaning = tell_meaning(
        [(simulate_nuclei(shape=(64, 64), seed=seed)[1] > 0) * np.uint8(255) for seed in range(2)]
    )
    assert meaning.mode == "binary"
    assert "one value besides 0 (255)" in meaning.reason


def test_many_values_in_one_piece_each_are_objects() -> None:
    assert (
        tell_meaning(
            [simulate_nuclei(shape=(160, 160), count=20, seed=seed)[1] for seed in range(2)]
        ).mode
        == "instances"
    )


def test_a_few_values_in_many_pieces_each_are_classes() -> None:
    masks = [simulate_tissue(shape=(256, 256), seed=seed)[1] for seed in range(3)]
    meaning = tell_meaning(masks)
    assert meaning.mode == "multiclass"
    assert meaning.labels == tuple(
        sorted({int(label) for mask in masks for label in np.unique(mask) if label})
    )


def test_two_values_in_one_piece_each_could_be_either_and_are_asked_for() -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[2:6, 2:6], mask[10:15, 10:15] = 1, 2
    with pytest.raises(
        UsageError,
        match=r"2 values besides 0, each in 1\.0 separate pieces per image: they could be",
    ) as caught:
        tell_meaning([mask])
    assert "(--mode): instances" in caught.value.way_out
    assert tell_meaning([mask], mode="multiclass").labels == (1, 2)
    assert tell_meaning([mask], mode="instances").labels == (1,)


def test_smoothed_masks_are_not_taken_for_objects() -> None:
    ramp = np.tile(np.abs(np.arange(-40, 40)).astype(np.uint8), (30, 1))
    with pytest.raises(UsageError, match="could be classes or objects"):
        tell_meaning([np.where(ramp > 20, ramp, 0)])


def test_empty_masks_and_unknown_modes_are_refused() -> None:
    with pytest.raises(UsageError, match="All masks are empty"):
        tell_meaning([np.zeros((5, 5), np.uint8)])
    with pytest.raises(UsageError, match="Output mode 'objects' does not exist"):
        tell_meaning([], mode="objects")
