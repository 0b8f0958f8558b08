"""Orientation of TIFF and EXIF: pixels stored mirrored or on their side, seen upright."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from maskloop.images.formats.pixels import LazyArray, expand_key

__all__ = ["ORIENTATION_TAG", "OrientedArray", "orient", "orient_lazily"]

ORIENTATION_TAG = 274

# Orientation -> whether rows become columns first, then whether rows and columns are mirrored
# (TIFF 6.0, page 36).
_TURNS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def orient(pixels: NDArray[Any], letters: str, orientation: int) -> NDArray[Any]:
    """A view of stored pixels as a viewer shows them.

    Parameters
    ----------
    pixels
        As stored.
    letters
        One per dimension, Y and X among them.
    orientation
        1 to 8, as in TIFF and EXIF.
    """
    is_transposed, *is_mirrored = _TURNS[orientation]
    axes = letters.index("Y"), letters.index("X")
    upright = pixels.swapaxes(*axes) if is_transposed else pixels
    mirrored = tuple(axis for axis, is_so in zip(axes, is_mirrored, strict=True) if is_so)
    return np.flip(upright, mirrored) if mirrored else upright


def orient_lazily(data: LazyArray, letters: str, orientation: int) -> LazyArray:
    """As `orient`, also for pixels that are not in memory: they are turned slice by slice."""
    if isinstance(data, np.ndarray):
        return orient(data, letters, orientation)
    return OrientedArray(data, letters, orientation)


class OrientedArray:
    """Stored pixels seen upright, slice by slice.

    Parameters
    ----------
    data
        As stored.
    letters
        One per dimension; Y and X lie next to each other.
    orientation
        1 to 8, as in TIFF and EXIF.
    """

    def __init__(self, data: LazyArray, letters: str, orientation: int) -> None:
        self._data = data
        self.dtype = data.dtype
        self._transposed, *self._mirrored = _TURNS[orientation]
        self._axes = letters.index("Y"), letters.index("X")

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each dimension, upright."""
        lengths = list(self._data.shape)
        if self._transposed:
            rows, columns = self._axes
            lengths[rows], lengths[columns] = lengths[columns], lengths[rows]
        return tuple(lengths)

    def __getitem__(self, key: Any, /) -> NDArray[Any]:
        # Keys count upright; mirroring and exchanging them makes them count as stored.
        shape = self.shape
        keys = expand_key(key, len(shape))
        for axis, is_mirrored in zip(self._axes, self._mirrored, strict=True):
            if is_mirrored:
                keys[axis] = _mirror(keys[axis], shape[axis])
        rows, columns = self._axes
        if not self._transposed:
            return np.asarray(self._data[tuple(keys)])
        keys[rows], keys[columns] = keys[columns], keys[rows]
        stored = np.asarray(self._data[tuple(keys)])
        if not (isinstance(keys[rows], slice) and isinstance(keys[columns], slice)):
            return stored  # of two axes that lie side by side one is left: there is no order
        # Integers drop their dimension: count the slices before the pair.
        at = sum(isinstance(each, slice) for each in keys[: min(rows, columns)])
        return stored.swapaxes(at, at + 1)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return self[...].astype(dtype or self.dtype, copy=False)

    def reshape(self, shape: tuple[int, ...], /) -> NDArray[Any]:
        """The pixels, read, with axes of length one added or dropped."""
        return self[...].reshape(shape)


def _mirror(key: Any, length: int) -> Any:
    """A key that names the same entries counted from the other end."""
    if not isinstance(key, slice):
        return length - 1 - range(length)[key]
    entries = range(length)[key]
    if not entries:
        return slice(0, 0)
    # Going the other way: the first entry that was named stays the first.
    first, step = length - 1 - entries[0], -entries.step
    stop = first + step * len(entries)
    return slice(first, stop if stop >= 0 else None, step)
