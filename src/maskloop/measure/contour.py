"""The borders of objects in the pixel grid: perimeter, Euler number, surface area."""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from math import prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop.measure.frame import ObjectFrame

__all__ = ["euler_numbers", "perimeters", "surface_areas"]

EDGES = ((-1, 0), (1, 0), (0, -1), (0, 1))
CORNERS = ((-1, -1), (-1, 1), (1, -1), (1, 1))
SPHERE_POINTS = 100_000
"""Directions by which the sphere is shared out; a weight is then exact to about a thousandth."""


def perimeters(frame: ObjectFrame) -> NDArray[np.float64]:
    """Length of the border of each object (pixels), holes included.

    Border pixels count 1, the square root of 2 or the mean of both, by how the border goes on from
    them [1]_; the same as `skimage.measure.perimeter` gives for each object alone.

    References
    ----------
    .. [1] K. Benkrid, D. Crookes, Design and FPGA Implementation of a Perimeter Estimator.
    """
    # A frame of background around it: the edge of the image counts as border, and a step to a
    # neighbor never leaves the array.
    padded = np.pad(frame.labels, 1)
    flat = padded.reshape(-1)
    is_border = (padded != 0) & _differs(padded, EDGES)
    places = np.flatnonzero(is_border)
    border = is_border.reshape(-1)
    own = flat[places]
    # Only border pixels are looked at one by one, a third of the pixels of small objects.
    pattern = np.ones(len(places), np.int8)
    for neighbors, weight in ((EDGES, 2), (CORNERS, 10)):
        for step in neighbors:
            there = places + _stride(step, padded.shape)
            # A border pixel of the object next door is not a part of this one's border.
            pattern += weight * (border[there] & (flat[there] == own))
    return _sums(frame, own, _BENKRID[pattern])


def _benkrid() -> NDArray[np.float64]:
    # By 1 + 2 * (border pixels beside it) + 10 * (border pixels at its corners).
    lengths = np.zeros(50)
    lengths[[5, 7, 15, 17, 25, 27]] = 1
    lengths[[21, 33]] = sqrt(2)
    lengths[[13, 23]] = (1 + sqrt(2)) / 2
    return lengths


_BENKRID = _benkrid()


def euler_numbers(frame: ObjectFrame) -> NDArray[np.int64]:
    """Pieces minus holes of each object, pixels that meet at a corner connected.

    Counted from the 2 x 2 neighborhoods [1]_, each seen from the object's pixels in it, so that
    objects which touch do not disturb each other.

    References
    ----------
    .. [1] S. B. Gray, Local Properties of Binary Images in Two Dimensions, 1971.
    """
    padded = np.pad(frame.labels, 1)
    flat = padded.reshape(-1)
    # Pixels with all eight neighbors in the object contribute nothing.
    places = np.flatnonzero((padded != 0) & _differs(padded, EDGES + CORNERS))
    own = flat[places]
    same = {step: flat[places + _stride(step, padded.shape)] == own for step in EDGES + CORNERS}
    # In twelfths, so that quarters shared by three pixels stay whole numbers.
    twelfths = np.zeros(len(places), np.int64)
    for row, column in CORNERS:
        # The 2 x 2 neighborhood that lies in this direction: two pixels beside, one across.
        beside = same[row, 0].astype(np.int8) + same[0, column]
        corner = same[row, column]
        # Alone 1/4; only the opposite corner -1/4 (two of them make -2/4); one of three -1/12.
        twelfths += np.where(beside == 0, np.where(corner, -3, 3), 0)
        twelfths -= (beside + corner) == 2
    return np.rint(_sums(frame, own, twelfths) / 12).astype(np.int64)


def surface_areas(frame: ObjectFrame, spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """Area of the surface of each volume, from how often lines in 13 directions cross it [1]_.

    Parameters
    ----------
    frame
        With three spatial axes.
    spacing
        Lengths of a voxel along ZYX; the area has their unit squared.

    References
    ----------
    .. [1] D. Legland, K. Kieu, M.-F. Devaux, Computation of Minkowski Measures on 2D and 3D Binary
       Images, 2007 (the formula of Crofton, discretized).
    """
    padded = np.pad(frame.labels, 1)
    flat = padded.reshape(-1)
    steps = _half_of_the_neighbors()
    # Marching cubes would give a mesh per object, in a loop; counting crossings gives all areas
    # in 26 lookups, and anisotropic voxels by the shares of the directions.
    places = np.flatnonzero((padded != 0) & _differs(padded, steps))
    own = flat[places]
    total = np.zeros(len(places))
    for step, share in zip(steps, _shares(spacing), strict=True):
        length = sqrt(sum((at * size) ** 2 for at, size in zip(step, spacing, strict=True)))
        stride = _stride(step, padded.shape)
        crossings = (flat[places + stride] != own).astype(np.int8) + (flat[places - stride] != own)
        # One line per voxel and step: it stands for so much area across its direction.
        total += crossings * (2 * share * prod(spacing) / length)
    return _sums(frame, own, total)


def _half_of_the_neighbors() -> tuple[tuple[int, int, int], ...]:
    # One of each pair of opposite directions: a line has both.
    steps = product((-1, 0, 1), (-1, 0, 1), (-1, 0, 1))
    return tuple(step for step in steps if step > (0, 0, 0))


@lru_cache(maxsize=64)
def _shares(spacing: tuple[float, ...]) -> tuple[float, ...]:
    """The part of all directions that lies nearest to each of the 13: they add up to one."""
    lines = np.array(_half_of_the_neighbors()) * spacing
    lines /= np.linalg.norm(lines, axis=1, keepdims=True)
    # Points of a spiral lie evenly on the sphere (Fibonacci).
    number = np.arange(SPHERE_POINTS) + 0.5
    height = 1 - 2 * number / SPHERE_POINTS
    turn = np.pi * (1 + sqrt(5)) * number
    radius = np.sqrt(1 - height**2)
    points = np.stack([height, radius * np.cos(turn), radius * np.sin(turn)], axis=1)
    nearest = np.abs(points @ lines.T).argmax(axis=1)
    return tuple(np.bincount(nearest, minlength=len(lines)) / SPHERE_POINTS)


def _sums(frame: ObjectFrame, labels: NDArray[Any], amounts: NDArray[Any]) -> NDArray[np.float64]:
    """Amounts added up for each object, from those at pixels with these labels."""
    sums = np.bincount(frame.owners_of(labels), amounts, minlength=frame.count)
    return sums.astype(np.float64, copy=False)


def _differs(padded: NDArray[Any], steps: tuple[tuple[int, ...], ...]) -> NDArray[np.bool_]:
    """Where a pixel has another label than one of its neighbors at these steps or opposite ones."""
    found = np.zeros(padded.shape, bool)
    # One comparison serves both pixels of a pair, so that opposite steps are made once.
    for step in {max(step, tuple(-at for at in step)) for step in steps}:
        here = tuple(slice(max(-at, 0), min(-at, 0) or None) for at in step)
        there = tuple(slice(max(at, 0), min(at, 0) or None) for at in step)
        other = padded[here] != padded[there]
        found[here] |= other
        found[there] |= other
    return found


def _stride(step: tuple[int, ...], shape: tuple[int, ...]) -> int:
    """How far a step leads in the flat array."""
    return sum(at * prod(shape[axis + 1 :]) for axis, at in enumerate(step))
