from __future__ import annotations

from pathlib import Path

import cc3d
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from maskloop.images.instances import InstanceSettings, decode_instances, decode_with_anchors, encode_instances
from scipy import ndimage


def matched(truth: np.ndarray, found: np.ndarray, overlap: float) -> tuple[int, int, int]:
    """True positives, false positives and false negatives at an intersection over union."""
    rows, columns = int(truth.max()) + 1, int(found.max()) + 1
    shared = np.bincount(truth.ravel().astype(np.int64) * columns + found.ravel(), minlength=rows * columns).reshape(rows, columns)
    sizes, others = shared.sum(axis=1, keepdims=True), shared.sum(axis=0, keepdims=True)
    hits = int(((shared / np.maximum(sizes + others - shared, 1))[1:, 1:] > overlap).sum())
    return hits, int((others[0, 1:] > 0).sum()) - hits, int((sizes[1:] > 0).sum()) - hits


def whole_objects(labels: np.ndarray, smallest: int) -> np.ndarray:
    """Objects by their largest connected piece, without specks: some are drawn in several pieces, which no map can tell."""
    pieces = cc3d.connected_components(labels, connectivity=4 if labels.ndim == 2 else 6).astype(np.int32)
    sizes = np.bincount(pieces.ravel())
    owner = np.zeros(len(sizes), np.int64)
    owner[pieces.ravel()] = labels.ravel()
    largest = {int(owner[piece]): piece for piece in np.argsort(sizes, kind="stable") if owner[piece]}
    kept = np.zeros(len(sizes), np.int32)
    for number, piece in enumerate(largest.values(), 1):
        kept[piece] = number * (sizes[piece] >= smallest)
    return kept[pieces]


@st.composite
def ellipses(draw: st.DrawFn) -> np.ndarray:
    """Objects of any size and place; later ones lie over earlier ones, so they touch, and the edge cuts some."""
    dimensions = draw(st.sampled_from((2, 3)))
    shape = (60, 70) if dimensions == 2 else (20, 30, 30)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    labels = np.zeros(shape, np.int32)
    for label in range(1, draw(st.integers(0, 8)) + 1):
        centre = [draw(st.integers(0, length - 1)) for length in shape]
        radii = [draw(st.integers(4, 12)) for _ in shape]
        labels[(((grid - centre) / radii) ** 2).sum(-1) <= 1] = label
    return labels


@settings(deadline=None, max_examples=60)
@given(truth=ellipses())
def test_decoding_the_maps_of_objects_returns_the_objects(truth: np.ndarray) -> None:
    truth = whole_objects(truth, 20 if truth.ndim == 2 else 60)
    found = decode_instances(encode_instances(truth), InstanceSettings(fill_holes=False))
    hits, wrong, missed = matched(truth, found, 0.8)
    assert (wrong, missed) == (0, 0)
    assert hits == len(np.unique(truth)) - 1


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
    for path in sorted((shared_data / folder / "masks").glob("*.tif")):
        raw = tifffile.imread(path)
        truth = whole_objects(raw, 16)
        found = decode_instances(encode_instances(truth), InstanceSettings())
        _, wrong, missed = matched(truth, found, 0.9)
        assert (path.name, wrong, missed) == (path.name, 0, 0)
