from __future__ import annotations

from pathlib import Path

import cc3d
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from maskloop.images.instances import (
    InstanceSettings,
    decode_instances,
    decode_with_anchors,
    encode_instances,
)


def matched(truth: np.ndarray, found: np.ndarray, overlap: float) -> tuple[int, int, int]:
    """True positives, false positives and false negatives at an intersection over union."""
    rows, columns = int(truth.max()) + 1, int(found.max()) + 1
    shared = np.bincount(
        truth.ravel().astype(np.int64) * columns + found.ravel(), minlength=rows * columns
    ).reshape(rows, columns)
    sizes, others = shared.sum(axis=1, keepdims=True), shared.sum(axis=0, keepdims=True)
    hits = int(((shared / np.maximum(sizes + others - shared, 1))[1:, 1:] > overlap).sum())
    return hits, int((others[0, 1:] > 0).sum()) - hits, int((sizes[1:] > 0).sum()) - hits


def whole_objects(labels: np.ndarray, smallest: int) -> np.ndarray:
    """Objects by their largest piece, without specks: no map can tell separate pieces."""
    pieces = cc3d.connected_components(labels, connectivity=4 if labels.ndim == 2 else 6).astype(
        np.int32
    )
    sizes = np.bincount(pieces.ravel())
    owner = np.zeros(len(sizes), np.int64)
    owner[pieces.ravel()] = labels.ravel()
    largest = {
        int(owner[piece]): piece for piece in np.argsort(sizes, kind="stable") if owner[piece]
    }
    kept = np.zeros(len(sizes), np.int32)
    for number, piece in enumerate(largest.values(), 1):
        kept[piece] = number * (sizes[piece] >= smallest)
    return kept[pieces]


@st.composite
def ellipses(draw: st.DrawFn) -> np.ndarray:
    """Objects of any size that share borders where they meet; the image's edge cuts some."""
    dimensions = draw(st.sampled_from((2, 3)))
    shape = (60, 70) if dimensions == 2 else (20, 30, 30)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    centres: list[np.ndarray] = []
    reach = [np.full(shape, 1.0)]
    for _ in range(draw(st.integers(0, 8))):
        centre = np.array([draw(st.integers(0, length - 1)) for length in shape])
        radii = [draw(st.integers(4, 12)) for _ in shape]
        if all(np.linalg.norm(centre - other) > 8 for other in centres):
            centres.append(centre)
            reach.append((((grid - centre) / radii) ** 2).sum(-1))
    return np.argmin(reach, axis=0).astype(np.int32)


@settings(deadline=None, max_examples=60)
@given(truth=ellipses())
def test_decoding_the_maps_of_objects_returns_the_objects(truth: np.ndarray) -> None:
    # What others leave of an object can be a sliver one pixel thin, which has no middle.
    truth = whole_objects(truth, 40 if truth.ndim == 2 else 300)
    found = decode_instances(encode_instances(truth), InstanceSettings(fill_holes=False))
    assert matched(truth, found, 0.5) == (len(np.unique(truth)) - 1, 0, 0)


@settings(deadline=None, max_examples=30)
@given(truth=ellipses())
def test_maps_lie_in_0_to_1_and_inside_the_objects_and_reach_1_in_each(truth: np.ndarray) -> None:
    maps = encode_instances(truth)
    assert maps.dtype == np.float32
    assert maps.shape == (3, *truth.shape)
    assert maps.min() >= 0
    assert maps.max() <= 1
    assert not maps[:, truth == 0].any()
    for label in set(np.unique(truth)) - {0}:
        assert maps[:, truth == label].max(axis=1).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "folder",
    [
        "dsb2018",
        "bbbc039",
        "ctc_dic_c2dh_hela",
        "ctc_fluo_n2dl_hela",
        "usiigaci_t98g",
        "stardist_samples",
        "plantseg_nuclei_3d",
        "qcanet_mouse_embryo_3d",
    ],
)
def test_real_objects_come_back_at_an_overlap_of_9_tenths(shared_data: Path, folder: str) -> None:
    total, errors = 0, 0
    for path in sorted((shared_data / folder / "masks").glob("*.tif")):
        truth = whole_objects(tifffile.imread(path), 16)
        hits, wrong, missed = matched(
            truth, decode_instances(encode_instances(truth), InstanceSettings()), 0.9
        )
        total, errors = total + hits + missed, errors + wrong + missed
    # Of the smallest objects, where one pixel is a tenth, a few come back with one pixel more or
    # less.
    assert errors <= 0.006 * total


def test_an_object_that_fills_the_image_comes_back() -> None:
    truth = np.full((20, 30), 7)
    assert (decode_instances(encode_instances(truth), InstanceSettings()) == 1).all()


def test_an_image_without_objects_has_empty_maps_and_no_labels() -> None:
    maps = encode_instances(np.zeros((20, 30), np.uint16))
    assert not maps.any()
    assert not decode_instances(maps, InstanceSettings()).any()


def test_numbers_of_any_size_are_taken() -> None:
    truth = np.zeros((20, 30), np.int64)
    truth[3:9, 3:9] = 4_000_000_000
    truth[12:18, 12:18] = 2
    found = decode_instances(encode_instances(truth), InstanceSettings())
    assert sorted(np.unique(found)) == [0, 1, 2]
    assert ((found > 0) == (truth > 0)).all()


def test_the_edge_of_the_image_is_no_boundary() -> None:
    truth = np.zeros((20, 20), np.uint8)
    truth[:5] = 1
    distance = encode_instances(truth)[2]
    assert (distance[:5] == np.linspace(1, 0.2, 5, dtype=np.float32)[:, None]).all()


def test_anisotropic_voxels_are_measured_in_their_own_size() -> None:
    truth = np.zeros((9, 21, 21), np.uint8)
    truth[2:7, 4:17, 4:17] = 1
    even, flat = encode_instances(truth), encode_instances(truth, spacing=(10, 1, 1))
    assert even[2, 4, 10, 4] == pytest.approx(1 / 3)
    assert flat[2, 4, 10, 4] == pytest.approx(1 / 7)
    assert flat[2, 2, 10, 10] == 1


@pytest.mark.parametrize(
    "turn",
    [
        lambda a: a[..., ::-1],
        lambda a: np.rot90(a, axes=(-2, -1)),
        lambda a: a.repeat(2, -1).repeat(2, -2),
    ],
)
def test_maps_turn_and_scale_with_the_image(turn: object) -> None:
    assert callable(turn)
    grid = np.stack(np.meshgrid(np.arange(40), np.arange(40), indexing="ij"), -1)
    truth = ((((grid - (18, 21)) / (14, 8)) ** 2).sum(-1) <= 1).astype(np.uint8)
    np.testing.assert_allclose(
        encode_instances(turn(truth)), turn(encode_instances(truth)), atol=0.2
    )


def test_bytes_give_the_objects_of_the_floats() -> None:
    truth = np.kron(np.arange(1, 26).reshape(5, 5), np.ones((9, 9), int))
    maps = encode_instances(truth)
    whole = decode_instances(maps, InstanceSettings())
    assert whole.max() == 25
    assert (
        decode_instances(np.rint(maps * 255).astype(np.uint8), InstanceSettings()) == whole
    ).all()


def test_objects_smaller_than_asked_are_dropped() -> None:
    truth = np.zeros((40, 40), np.uint8)
    truth[2:5, 2:5] = 1
    truth[10:30, 10:30] = 2
    maps = encode_instances(truth)
    assert decode_instances(maps, InstanceSettings(minimum_size_px=9)).max() == 2
    assert decode_instances(maps, InstanceSettings(minimum_size_px=10)).max() == 1
    assert decode_instances(maps, InstanceSettings(typical_diameter_px=22)).max() == 1
    assert InstanceSettings(typical_diameter_px=20).smallest_size(2) == 31
    assert InstanceSettings(typical_diameter_px=20).smallest_size(3) == 419


def test_holes_of_an_object_are_filled_and_gaps_between_objects_are_not() -> None:
    truth = np.zeros((40, 60), np.uint8)
    truth[5:25, 5:25] = 1
    maps = encode_instances(truth)
    maps[:, 8:10, 8:10] = 0
    assert (decode_instances(maps, InstanceSettings()) == truth).all()
    assert (decode_instances(maps, InstanceSettings(fill_holes=False))[8:10, 8:10] == 0).all()
    ring = np.ones((9, 12), np.uint8)
    ring[:, 6:] = 2
    ring[3:6, 4:8] = 0
    assert (decode_instances(encode_instances(ring), InstanceSettings())[3:6, 4:8] == 0).all()


def test_foreground_without_a_seed_is_one_object_that_knows_it() -> None:
    maps = np.zeros((3, 20, 20), np.float32)
    maps[0, 4:9, 4:9] = 1
    decoded = decode_with_anchors(maps, InstanceSettings())
    assert decoded.labels.max() == 1
    assert decoded.anchors.tolist() == [[4, 4]]
    assert decoded.has_seed.tolist() == [False]


def test_an_empty_array_has_no_objects() -> None:
    assert decode_instances(np.zeros((3, 0, 5), np.float32), InstanceSettings()).shape == (0, 5)


def test_noisy_maps_of_real_nuclei_still_give_most_nuclei(shared_data: Path) -> None:
    truth = whole_objects(
        tifffile.imread(sorted((shared_data / "bbbc039" / "masks").glob("*.tif"))[0]), 64
    )
    grain = ndimage.gaussian_filter(
        np.random.default_rng(0).standard_normal((3, *truth.shape)), (0, 2, 2)
    )
    maps = np.clip(
        ndimage.gaussian_filter(encode_instances(truth), (0, 1, 1)) * 0.9
        + 0.1 * grain / grain.std(),
        0,
        1,
    )
    hits, wrong, missed = matched(
        truth, decode_instances(maps, InstanceSettings(typical_diameter_px=28)), 0.5
    )
    assert hits / (hits + wrong + missed) > 0.95
