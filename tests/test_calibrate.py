"""The seed threshold is the default, unless a network's maps are so faint that it misses most."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from maskloop.images.instances import InstanceSettings, encode_instances
from maskloop.images.normalize import ChannelRange, Normalization
from maskloop.models.calibrate import PIXELS, _some, tune_output
from maskloop.models.samples import Sample
from maskloop.predict.outputs import DistanceMaps
from maskloop.samples import simulate_nuclei

USUAL = InstanceSettings().seed_threshold


class Faint:
    """Sees the labels themselves, and draws nearness and distance with a part of their height."""

    spatial_dims, input_channels, batch_size = 2, 1, 1
    multiple, tile_shape, halo = (1, 1), (4096, 4096), (0, 0)
    normalization = Normalization(mode="none")
    output = DistanceMaps(instances=InstanceSettings(typical_diameter_px=12))

    def __init__(self, height: float) -> None:
        self.height = height

    def scores(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        maps = np.stack([encode_instances(np.rint(tile[0]).astype(np.int32)) for tile in tiles])
        maps[:, 1:] *= self.height
        return maps


def threshold(height: float, seen: list[Sample]) -> float:
    output = tune_output(Faint(height), seen)
    assert isinstance(output, DistanceMaps)
    return output.instances.seed_threshold


def samples(count: int, objects: int = 12) -> list[Sample]:
    drawn = [simulate_nuclei(shape=(96, 96), count=objects, seed=seed)[1] for seed in range(count)]
    return [
        Sample(
            f"pair_{n}", labels[None].astype(np.float32), labels, (ChannelRange(offset=0, scale=1),)
        )
        for n, labels in enumerate(drawn)
    ]


def test_maps_as_high_as_the_truth_keep_the_usual_threshold() -> None:
    assert threshold(1.0, samples(3)) == USUAL


def test_faint_maps_get_a_lower_one() -> None:
    assert threshold(0.3, samples(3)) < USUAL


def test_a_few_objects_move_nothing() -> None:
    assert threshold(0.3, samples(1, objects=2)) == USUAL


@pytest.mark.parametrize("count", [0, 1])
def test_without_objects_it_is_the_usual_one(count: int) -> None:
    empty = [
        Sample("pair", np.zeros((1, 32, 32), np.float32), np.zeros((32, 32), np.uint16), ())
    ] * count
    assert threshold(0.3, empty) == USUAL


def test_what_is_looked_at_is_bounded_and_from_all_over_the_dataset() -> None:
    large = [
        Sample(f"pair_{n}", np.zeros((1, 900, 1100), np.uint8), np.zeros((900, 1100), np.uint8), ())
        for n in range(20)
    ]
    chosen = _some(large)
    assert sum(sample.labels.size for sample in chosen) <= PIXELS
    assert [sample.pair_id for sample in chosen][:3] == ["pair_0", "pair_2", "pair_5"]
    assert all(sample.image.shape[1:] == sample.labels.shape for sample in chosen)
