"""How far pixels are from the borders of objects: outward to the nearest object, and inward."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskloop.measure.frame import ObjectFrame

__all__ = ["Around", "find_inside", "find_outside"]

STRIP_PIXELS = 1_000_000
"""Pixels looked at in one go: bounds the memory for any frame, and fits the processor's cache."""


class Around(NamedTuple):
    """Pixels near the border of objects."""

    positions: NDArray[np.int64]
    """Flat indices into the frame."""
    owners: NDArray[np.int32]
    """The object (0..count-1) that each belongs to or is nearest to."""
    distances: NDArray[np.float32]
    """In widths of a pixel; a pixel beside the border has 1."""


def find_outside(frame: ObjectFrame, reach_px: float, *, beyond_px: float = 0) -> Around:
    """Background pixels within `reach_px` of an object, each given to the nearest object.

    Distances are between the centers of pixels, along all axes with their spacing. Pixels that are
    not further away than `beyond_px` are left out.
    """
    from scipy import ndimage

    found = []
    for block, core, offset in _strips(frame, reach_px):
        # Exact and Euclidean; a dilation step by step would grow diamonds or squares.
        distances, nearest = ndimage.distance_transform_edt(
            block == 0, sampling=frame.spacing, return_indices=True
        )
        # nearest: (axes, rows, columns), where the nearest object pixel of each pixel is.
        distances, nearest = distances[core], nearest[:, core]
        places = np.nonzero((distances > beyond_px) & (distances <= reach_px))
        labels = block[tuple(axis[places] for axis in nearest)]
        found.append(_around(frame, places, labels, distances, offset))
    return _joined(found)


def find_inside(frame: ObjectFrame, reach_px: float) -> Around:
    """Pixels of objects within `reach_px` of the nearest pixel that is not of the same object.

    What lies beyond the edge of the image is unknown and hence no border.
    """
    found = []
    for block, core, offset in _strips(frame, reach_px):
        distances = _depths(block, frame.spacing, reach_px)[core]
        places = np.nonzero((block[core] != 0) & (distances <= reach_px))
        found.append(_around(frame, places, block[core][places], distances, offset))
    return _joined(found)


def _around(
    frame: ObjectFrame,
    places: tuple[NDArray[np.int64], ...],
    labels: NDArray[Any],
    distances: NDArray[Any],
    offset: int,
) -> Around:
    # Rings of crowded objects are most of the image, so that each byte counts.
    return Around(
        np.ravel_multi_index(places, distances.shape) + offset,
        frame.owners_of(labels).astype(np.int32),
        distances[places].astype(np.float32),
    )


def _depths(
    labels: NDArray[Any], spacing: tuple[float, ...], reach_px: float
) -> NDArray[np.float32]:
    """Distance of each pixel to the nearest one with another label, infinite beyond the reach.

    Axis by axis: the nearest other pixel seen from p is, seen from a pixel q of the same label in
    line with p, the nearest one across the remaining axes.
    """
    # The distance transform of SciPy knows only one kind of other pixel, the background; here
    # each object has its own.
    squares = np.full(labels.shape, np.inf, np.float32)
    for axis, size in enumerate(spacing):
        before = squares.copy()
        for offset in range(1, int(reach_px / size) + 1):
            for here, there in _shifted(axis, offset, labels.ndim):
                is_other = labels[here] != labels[there]
                candidate = np.where(is_other, 0, before[there]) + np.float32((offset * size) ** 2)
                np.minimum(squares[here], candidate, out=squares[here])
    return np.sqrt(squares)


def _shifted(
    axis: int, offset: int, dimensions: int
) -> tuple[tuple[tuple[slice, ...], tuple[slice, ...]], ...]:
    lead, trail = (slice(None),) * axis, (slice(None),) * (dimensions - axis - 1)
    low = (*lead, slice(None, -offset), *trail)
    high = (*lead, slice(offset, None), *trail)
    return (low, high), (high, low)


def _strips(frame: ObjectFrame, reach_px: float) -> Iterator[tuple[NDArray[Any], slice, int]]:
    """Labels strip by strip along the first axis.

    Yields
    ------
    block, core, offset
        A strip with a margin as wide as the reach, the rows of it that are its own, and the flat
        index of their first pixel in the frame.
    """
    rows = frame.shape[0]
    row_pixels = frame.labels.size // rows
    margin = ceil(reach_px / frame.spacing[0])
    step = max(STRIP_PIXELS // row_pixels, margin, 1)
    for first in range(0, rows, step):
        # The margin makes each pixel's result independent of where the strips are cut.
        begin = max(first - margin, 0)
        block = frame.labels[begin : first + step + margin]
        core = slice(first - begin, min(first + step, rows) - begin)
        if block.any():
            yield block, core, first * row_pixels


def _joined(found: list[Around]) -> Around:
    if not found:
        nothing = np.empty(0, np.int64)
        return Around(nothing, nothing.astype(np.int32), np.empty(0, np.float32))
    return Around(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
