"""Instances as three maps that a network can learn, and back.

PLACEHOLDER_DOC
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import pi
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from maskloop.records import Record

__all__ = ["DecodedInstances", "InstanceSettings", "decode_instances", "decode_with_anchors", "encode_instances"]


class InstanceSettings(Record):
    """How the three maps of a network become objects."""

    foreground_threshold: float = Field(0.5, gt=0, lt=1, description="Pixels with a foreground score above this belong to objects.")
    seed_threshold: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="An object starts where the mean of the centre and the distance score is above this; higher splits more.",
    )
    minimum_size_px: int = Field(0, ge=0, description="Objects with fewer pixels (voxels) than this are dropped.")
    minimum_size_share: float = Field(
        0.1, ge=0, le=1, description="Objects smaller than this share of a typical object are dropped (when the typical diameter is known)."
    )
    typical_diameter_px: float | None = Field(
        None, gt=0, description="Median diameter of the objects that the model was trained on, of a disc or ball of equal size."
    )
    largest_extent_px: int = Field(
        0,
        ge=0,
        description="Longest side of the largest object; large images are decoded in blocks that overlap by twice this. 0: not known.",
    )
    fill_holes: bool = Field(True, description="Fill gaps that lie wholly inside one object.")

    def smallest_size(self, dimensions: int) -> int:
        """Pixels (voxels) an object must have to be kept, in images of 2 or 3 dimensions."""
        if self.typical_diameter_px is None:
            return self.minimum_size_px
        unit_ball = pi / 4 if dimensions == 2 else pi / 6
        typical = unit_ball * self.typical_diameter_px**dimensions
        return max(self.minimum_size_px, round(self.minimum_size_share * typical))

    @property
    def margin_px(self) -> int:
        """How far blocks must overlap so that an object and its neighbours lie whole in the block that owns it."""
        if self.largest_extent_px:
            return 2 * self.largest_extent_px
        return 128 if self.typical_diameter_px is None else max(16, round(6 * self.typical_diameter_px))


def encode_instances(labels: NDArray[Any], *, spacing: Sequence[float] | None = None) -> NDArray[np.float32]:
    """The three maps of an instance mask: foreground, nearness to the centre, distance to the boundary.

    Parameters
    ----------
    labels
        (Y, X) or (Z, Y, X), integers; 0 is background, every other value one object.
    spacing
        Size of a pixel along each axis, in any unit, for voxels that are not cubes.

    Returns
    -------
    maps
        (3, *spatial) in 0..1. Foreground is 1 in objects. Nearness is 1 at the object's deepest point and falls linearly with
        the distance from it to 0 at the object's farthest pixel. The distance to the nearest pixel outside the object is divided by
        its largest value in the object. The edge of the image is not a boundary: an object that it cuts goes on behind it.
    """
    maps = np.zeros((3, *labels.shape), np.float32)
    np.not_equal(labels, 0, out=maps[0], casting="unsafe")
    grid = tuple(spacing) if spacing is not None else (1.0,) * labels.ndim
    for box, mask in _objects(labels):
        depth = _depth(mask, spacing)
        maps[2][box][mask] = depth[mask] / depth.max()
        maps[1][box][mask] = _nearness(mask, depth, grid)
    return maps


def _objects(labels: NDArray[Any]) -> Iterator[tuple[tuple[slice, ...], NDArray[np.bool_]]]:
    """Each object's box, one pixel wider than the object where the image allows, and its mask in the box."""
    from scipy import ndimage

    compact = labels if labels.size == 0 or labels.max() < 1_000_000 else np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
    for label, tight in enumerate(ndimage.find_objects(compact.astype(np.int32, copy=False)), 1):
        if tight is not None:
            box = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in tight)
            yield box, compact[box] == label


def _depth(mask: NDArray[np.bool_], spacing: Sequence[float] | None) -> NDArray[np.float64]:
    from scipy import ndimage

    if mask.all():  # the object fills the image: no boundary is in sight
        return np.ones(mask.shape)
    distances: NDArray[np.float64] = ndimage.distance_transform_edt(mask, sampling=spacing)
    return distances


def _nearness(mask: NDArray[np.bool_], depth: NDArray[np.float64], grid: Sequence[float]) -> NDArray[np.float32]:
    points = np.stack([axis * step for axis, step in zip(np.nonzero(mask), grid, strict=True)], axis=1)
    depths = depth[mask]
    # Rods and rings have many deepest points: of those the one nearest to the centre of mass, so that a small change
    # of the outline does not move it far.
    deep = np.flatnonzero(depths >= 0.9 * depths.max())
    centre = deep[((points[deep] - points.mean(axis=0)) ** 2).sum(axis=1).argmin()]
    distance = np.sqrt(((points - points[centre]) ** 2).sum(axis=1))
    nearness: NDArray[np.float32] = np.clip(1 - distance / depths[centre], 0, 1).astype(np.float32)
    return nearness


@dataclass(frozen=True)
class DecodedInstances:
    """Labels with one point per object, by which a block of a larger image knows its own.

    Parameters
    ----------
    labels
        (*spatial) int32; 0 is background, objects are 1..n.
    anchors
        (n, dimensions): the first pixel, in the order of the array, of what each object grew from.
    has_seed
        (n,): False where a piece of foreground without any seed was taken as one object.
    """

    labels: NDArray[np.int32]
    anchors: NDArray[np.intp]
    has_seed: NDArray[np.bool_]


def decode_instances(scores: NDArray[Any], settings: InstanceSettings) -> NDArray[np.int32]:
    """Objects from the three maps: seeds where centre and distance agree, grown by a watershed in the foreground.

    Parameters
    ----------
    scores
        (3, *spatial) as from `encode_instances`, floats in 0..1 or uint8 in 0..255.

    Returns
    -------
    labels
        (*spatial) int32; 0 is background, objects are 1..n.
    """
    return decode_with_anchors(scores, settings).labels


def decode_with_anchors(scores: NDArray[Any], settings: InstanceSettings) -> DecodedInstances:
    """As `decode_instances`, with the point of each object by which a block of a larger image knows its own."""
    import cc3d

    shape = scores.shape[1:]
    if 0 in shape:
        return DecodedInstances(np.zeros(shape, np.int32), np.zeros((0, len(shape)), np.intp), np.zeros(0, bool))
    unit = 255 if scores.dtype == np.uint8 else 1
    faces = 4 if len(shape) == 2 else 6
    foreground = scores[0] > settings.foreground_threshold * unit
    height = np.add(scores[1], scores[2], dtype=np.float32) * np.float32(0.5 / unit)
    seeds = cc3d.connected_components(foreground & (height > settings.seed_threshold), connectivity=faces, out_dtype=np.uint32).view(
        np.int32
    )
    pieces = cc3d.connected_components(foreground, connectivity=faces, out_dtype=np.uint32).view(np.int32)
    labels, starts, seed_count = _grow(seeds, pieces, height)
    if settings.fill_holes:
        _fill_holes(labels)
    kept = np.bincount(labels.reshape(-1), minlength=len(starts) + 1)[1:] >= max(1, settings.smallest_size(len(shape)))
    order = np.flatnonzero(kept)[np.argsort(starts[kept], kind="stable")]
    renumber = np.zeros(len(starts) + 1, np.int32)
    renumber[order + 1] = np.arange(1, len(order) + 1)
    return DecodedInstances(renumber[labels], np.stack(np.unravel_index(starts[order], shape), axis=1), order < seed_count)


def _grow(
    seeds: NDArray[np.int32], pieces: NDArray[np.int32], height: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.intp], int]:
    """Labels, the first pixel of each label, and how many of them come from seeds (those come first)."""
    from skimage.segmentation import watershed

    seed_starts, piece_starts = _first_pixels(seeds), _first_pixels(pieces)
    seeds_in_piece = np.bincount(pieces.reshape(-1)[seed_starts], minlength=len(piece_starts) + 1)
    label_of_piece = np.zeros(len(piece_starts) + 1, np.int32)
    label_of_piece[pieces.reshape(-1)[seed_starts]] = np.arange(1, len(seed_starts) + 1)
    alone = np.flatnonzero(seeds_in_piece[1:] == 0)
    label_of_piece[alone + 1] = len(seed_starts) + 1 + np.arange(len(alone))
    # Most objects touch no other: their piece of foreground is the object, and only the rest needs the slow watershed.
    shared = seeds_in_piece > 1
    label_of_piece[shared] = 0
    labels = label_of_piece[pieces]
    contested = shared[pieces]
    if contested.any():
        labels += watershed(-height, np.where(contested, seeds, 0), mask=contested)
    return labels, np.concatenate([seed_starts, piece_starts[alone]]), len(seed_starts)


def _first_pixels(components: NDArray[np.int32]) -> NDArray[np.intp]:
    """Flat index of the first pixel of each component 1..n."""
    flat = components.reshape(-1)
    where = np.flatnonzero(flat)
    first = np.zeros(int(flat.max(initial=0)) + 1, np.intp)
    first[flat[where[::-1]]] = where[::-1]  # written from the back, so the first pixel stays
    return first[1:]


def _fill_holes(labels: NDArray[np.int32]) -> None:
    """Give pieces of background that only one object borders, and that do not reach the edge, to that object."""
    import cc3d

    corners = 8 if labels.ndim == 2 else 26
    gaps = cc3d.connected_components(labels == 0, connectivity=corners, out_dtype=np.uint32).view(np.int32)
    count = int(gaps.max(initial=0))
    lowest, highest = np.full(count + 1, np.iinfo(np.int32).max, np.int32), np.zeros(count + 1, np.int32)
    is_open = np.zeros(count + 1, bool)
    for axis in range(labels.ndim):
        here, there = _shifted(axis, labels.ndim)
        for inside, outside in ((here, there), (there, here)):
            border = (gaps[inside] > 0) & (labels[outside] > 0)
            gap, neighbour = gaps[inside][border], labels[outside][border]
            np.minimum.at(lowest, gap, neighbour)
            np.maximum.at(highest, gap, neighbour)
        is_open[np.take(gaps, [0, -1], axis=axis)] = True
    filled = np.where((lowest == highest) & ~is_open, highest, 0).astype(np.int32)
    filled[0] = 0
    if filled.any():
        labels += filled[gaps]


def _shifted(axis: int, dimensions: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    everything = [slice(None)] * dimensions
    before, after = everything.copy(), everything.copy()
    before[axis], after[axis] = slice(None, -1), slice(1, None)
    return tuple(before), tuple(after)
