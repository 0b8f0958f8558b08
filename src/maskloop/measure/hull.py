"""Convex hulls of all objects of a plane at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maskloop.measure.frame import ObjectFrame

__all__ = ["convex_areas"]

Whole = NDArray[np.int64]


def convex_areas(frame: ObjectFrame) -> Whole:
    """Pixels within the convex hull of each object of a plane.

    The hull is that of the midpoints of the pixels' edges, and a pixel belongs to it when its
    center does: the definition of `skimage.morphology.convex_hull_image`, computed with whole
    numbers and hence exactly.
    """
    rows, columns = frame.run_places
    # Runs are sorted by object and row: a stretch begins where either changes.
    starts = np.flatnonzero(np.diff(frame.runs.owners, prepend=-1) | np.diff(rows, prepend=-1))
    owners, rows = frame.runs.owners[starts], rows[starts]
    # Only the two ends of a row of an object can be on its hull.
    first = np.minimum.reduceat(columns, starts)
    last = np.maximum.reduceat(columns + frame.runs.lengths - 1, starts)
    # Every row of every box is asked for, those too in which the object has a gap.
    firsts, ends = frame.boxes
    heights = ends[:, 0] - firsts[:, 0]
    in_object = np.repeat(np.arange(frame.count), heights)
    at_row = np.arange(len(in_object)) - np.repeat(
        np.cumsum(heights) - heights - firsts[:, 0], heights
    )
    left = _nearest_columns(owners, rows, first, in_object, at_row)
    # The right side is the left side of the mirror image.
    right = -_nearest_columns(owners, rows, -last, in_object, at_row)
    # Between the pieces of an object the hull may be narrower than a pixel.
    inside = np.maximum(right - left + 1, 0)
    return np.bincount(in_object, inside, minlength=frame.count).astype(np.int64)


def _nearest_columns(
    owners: Whole, rows: Whole, columns: Whole, in_object: Whole, at_row: Whole
) -> Whole:
    """The first column of the hull in each row that is asked for, from the first pixels of rows."""
    # In half pixels the midpoints of a pixel's edges are whole numbers.
    corner_of = np.repeat(owners, 3)  # above, left and below each pixel
    y = (2 * rows[:, None] + np.array([-1, 0, 1])).reshape(-1)
    x = (2 * columns[:, None] + np.array([0, -1, 0])).reshape(-1)
    height = int(y.max(initial=0)) + 2
    # Object and y as one number, so that the corners of all objects are one sorted list; y begins
    # at -1 and is moved up by one.
    keys, x = _smallest_of_each(corner_of * height + y + 1, x)
    keys, x = _lower_chain(keys, x, height)
    wanted = in_object * height + 2 * at_row + 1
    # Centers of pixels have odd keys here, and corners lie above and below each: neither end is
    # ever out of the object.
    after = np.searchsorted(keys, wanted)
    before = after - 1
    run = keys[after] - keys[before]
    doubled = x[before] * run + (x[after] - x[before]) * (wanted - keys[before])
    # Rounded up by the division of whole numbers: a float could put a pixel on the wrong side.
    columns_of_hull: Whole = -(-doubled // (2 * run))
    return columns_of_hull


def _smallest_of_each(keys: Whole, x: Whole) -> tuple[Whole, Whole]:
    order = np.lexsort((x, keys))
    keys, x = keys[order], x[order]
    is_first = np.diff(keys, prepend=-1) != 0
    return keys[is_first], x[is_first]


def _lower_chain(keys: Whole, x: Whole, height: int) -> tuple[Whole, Whole]:
    """The corners of the hull, smallest x for each y, of every object.

    A point that is not below the line between its two neighbors is no corner, whatever else is
    removed, so all such points go at once; then again, in the objects that lost some.
    """
    finished = []
    while len(keys):
        owner, y = np.divmod(keys, height)
        # The first and the last corner of an object stay.
        is_inner = np.zeros(len(keys), bool)
        is_inner[1:-1] = (owner[1:-1] == owner[:-2]) & (owner[1:-1] == owner[2:])
        at = np.flatnonzero(is_inner)
        # Cross-multiplied: slopes would not be whole numbers.
        rise = (x[at] - x[at - 1]) * (y[at + 1] - y[at - 1])
        is_inner[at] = rise >= (x[at + 1] - x[at - 1]) * (y[at] - y[at - 1])
        # One odd object must not keep the hundred thousand others waiting.
        is_active = np.zeros(int(owner[-1]) + 1, bool)
        is_active[owner[is_inner]] = True
        is_unfinished = is_active[owner]
        finished.append((keys[~is_unfinished], x[~is_unfinished]))
        stays = is_unfinished & ~is_inner
        keys, x = keys[stays], x[stays]
    found_keys, found_x = (np.concatenate(part) for part in zip(*finished, strict=True))
    order = np.argsort(found_keys)
    return found_keys[order], found_x[order]
