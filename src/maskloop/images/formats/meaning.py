"""What stored numbers mean by what a TIFF says of them: signed, or with white as zero."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from maskloop.images.formats.pixels import LazyArray, Pixels

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

__all__ = ["MappedArray", "as_meant"]

SIGNED_NOTE = (
    "Read as signed numbers, 32768 lower than stored: the calibration of ImageJ says so "
    "(c0 = -32768)."
)
INVERTED_NOTE = "Read inverted: the file says that its zero is white (WhiteIsZero)."

_MINISWHITE = 0
_SIGNED_OFFSET = -32768


class MappedArray:
    """Pixels of which each becomes another value, slice by slice.

    Parameters
    ----------
    data
        As stored.
    change
        From stored values to those that are meant, pixel by pixel; a function of a module, so that
        the array can be sent to other processes.
    """

    def __init__(self, data: LazyArray, change: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
        self._data, self._change = data, change
        self.dtype: np.dtype[Any] = change(np.zeros(0, data.dtype)).dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each dimension."""
        return self._data.shape

    def __getitem__(self, key: Any, /) -> NDArray[Any]:
        return self._change(np.asarray(self._data[key]))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return self[...].astype(dtype or self.dtype, copy=False)

    def reshape(self, shape: tuple[int, ...], /) -> MappedArray:
        """The same pixels with axes of length one added or dropped."""
        return MappedArray(self._data.reshape(shape), self._change)


def as_meant(pixels: Pixels, file: TiffFile, series: TiffPageSeries, *, is_mask: bool) -> Pixels:
    """The pixels as what wrote them means them, with a note where they differ from those stored.

    Parameters
    ----------
    pixels
        As stored.
    file, series
        Where they come from.
    is_mask
        Whether they are labels, of which stored numbers may be meant whatever is shown.
    """
    dtype = pixels.data.dtype
    if _is_signed(file) and dtype == np.uint16:
        # ImageJ has no signed type: it stores 16 bits with an offset, and says so.
        return _mapped(pixels, _signed, SIGNED_NOTE)
    # An inverting table of ImageJ is for display: its 255 is foreground, shown in black or white.
    is_inverted = series.keyframe.photometric == _MINISWHITE and not file.is_imagej
    if not is_inverted or dtype.kind not in "bu":
        return pixels
    # Of 4 bits the largest value is 15, whatever type holds it in memory.
    largest = 2 ** int(series.keyframe.bitspersample) - 1
    if is_mask and not _is_shown_inverted(np.asarray(pixels.data[...]), largest):
        return pixels
    return _mapped(pixels, partial(_inverted, largest=largest), INVERTED_NOTE)


def _mapped(pixels: Pixels, change: Callable[[NDArray[Any]], NDArray[Any]], note: str) -> Pixels:
    return replace(pixels, data=MappedArray(pixels.data, change), notes=(*pixels.notes, note))


def _is_signed(file: TiffFile) -> bool:
    found = file.imagej_metadata or {}
    # cf is the kind of curve: 0 is a straight line, c0 + c1 times the value.
    facts = (found.get("cf", 0), found.get("c0"), found.get("c1", 1))
    return facts == (0, _SIGNED_OFFSET, 1)


def _is_shown_inverted(labels: NDArray[Any], largest: int) -> bool:
    """Whether labels become labels when they are inverted: background must become 0.

    Programs keep photometric tags of the image a mask was drawn on; labels 0, 1, 2 with white as
    zero are labels still.
    """
    found = [int(label) for label in np.unique(labels)]
    return found[-1] == largest and (found[0] > 0 or found == [0, largest])


def _signed(stored: NDArray[Any]) -> NDArray[Any]:
    # Taking 32768 away is turning the highest bit.
    return (stored ^ np.uint16(0x8000)).view(np.int16)


def _inverted(stored: NDArray[Any], *, largest: int) -> NDArray[Any]:
    # NumPy subtracts no booleans.
    return np.asarray(~stored if stored.dtype.kind == "b" else stored.dtype.type(largest) - stored)
