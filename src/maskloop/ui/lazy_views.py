"""Parts and stacks of arrays, read piece by piece when they are indexed.

Knows nothing about layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop.images.image import ArrayLike

__all__ = ["Channels", "View", "crop"]

Key = tuple[int | slice, ...]


def crop(data: ArrayLike, key: Key) -> ArrayLike:
    """A part of an array, which is not read yet.

    Parameters
    ----------
    data
        Any array; of a zarr or HDF5 array nothing is read.
    key
        For each dimension an index, which drops it, or a slice without step.
    """
    if isinstance(data, np.ndarray):
        # numpy's own view reads nothing either, not even of a memory map.
        part: ArrayLike = data[key]
        return part
    return View(data, key)


class View:
    """A part of an array, read piece by piece when it is indexed.

    Parameters
    ----------
    source
        Any array with shape, dtype and basic slicing.
    key
        For each dimension an index, which drops it, or a slice without step.
    """

    def __init__(self, source: ArrayLike, key: Key) -> None:
        self._source = source
        self._key = tuple(range(length)[at] for at, length in zip(key, source.shape, strict=True))
        self.shape = tuple(len(places) for places in self._key if isinstance(places, range))
        self.dtype = np.dtype(source.dtype)

    def __getitem__(self, key: Any, /) -> NDArray[Any]:
        wanted = iter(_expand(key, len(self.shape)))
        places = [at if isinstance(at, int) else at[next(wanted)] for at in self._key]
        piece = np.asarray(self._source[tuple(_forward(at) for at in places)])
        # Read forwards, then reversed: see `_forward`.
        steps = tuple(at.step for at in places if isinstance(at, range))
        return piece[tuple(slice(None, None, 1 if step > 0 else -1) for step in steps)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype=dtype)


class Channels:
    """Arrays of one shape as channels, read piece by piece when they are indexed.

    Parameters
    ----------
    sources
        The channels, which become the first dimension; different types become the one that holds
        them all.
    """

    def __init__(self, sources: Sequence[ArrayLike]) -> None:
        self._sources = tuple(sources)
        self.shape = (len(self._sources), *(int(length) for length in self._sources[0].shape))
        self.dtype = np.result_type(*(np.dtype(source.dtype) for source in self._sources))

    def __getitem__(self, key: Any, /) -> NDArray[Any]:
        channel, *rest = _expand(key, len(self.shape))
        if not isinstance(channel, slice):
            return np.asarray(self._sources[channel][tuple(rest)]).astype(self.dtype, copy=False)
        chosen = self._sources[channel]
        if not chosen:
            # Nothing to stack, but of the shape that is asked for.
            return np.asarray(self[(slice(0, 1), *rest)])[:0]
        pieces = [np.asarray(source[tuple(rest)]) for source in chosen]
        return np.stack(pieces).astype(self.dtype, copy=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype=dtype)


def _expand(key: Any, ndim: int) -> list[Any]:
    """One index or slice per dimension."""
    parts = list(key) if isinstance(key, tuple) else [key]
    if Ellipsis not in parts:
        parts.append(Ellipsis)
    at = parts.index(Ellipsis)
    missing = ndim - (len(parts) - 1)
    if missing < 0:
        raise IndexError(f"{len(parts) - 1} indices for {ndim} dimensions")
    return [*parts[:at], *[slice(None)] * missing, *parts[at + 1 :]]


def _forward(places: int | range) -> int | slice:
    """Ascending places: zarr and HDF5 read in no other order."""
    if isinstance(places, int):
        return places
    if len(places) == 0:
        return slice(0, 0)
    ascending = places if places.step > 0 else places[::-1]
    return slice(ascending.start, ascending[-1] + 1, ascending.step)
