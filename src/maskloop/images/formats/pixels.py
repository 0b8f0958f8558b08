"""What a file holds before its axes are settled, and arrays that are read slice by slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import EllipsisType
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from maskloop.errors import AxesError, ImageError
from maskloop.images.axes import CANONICAL, parse_axes
from maskloop.images.image import Image
from maskloop.images.refs import ImageRef

__all__ = [
    "LazyArray",
    "NativeArray",
    "PaletteArray",
    "Pixels",
    "expand_key",
    "is_pixel_size",
    "native",
    "settle_axes",
]


SMALLEST_PIXEL_UM, LARGEST_PIXEL_UM = 1e-6, 1e6
"""From below what electron microscopes resolve to a meter: other numbers are mistakes of writers,
and products of such sizes would leave the range of floats.
"""


class LazyArray(Protocol):
    """Pixels that can be reshaped without being read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each dimension."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""

    def __getitem__(self, key: Any, /) -> Any: ...

    def reshape(self, shape: tuple[int, ...], /) -> LazyArray:
        """The same pixels with axes of length one added or dropped."""


@dataclass(frozen=True)
class Pixels:
    """What a file holds, before its axes are settled.

    Parameters
    ----------
    data
        The pixels.
    letters
        One letter per dimension; ``?`` where nothing in the file says what the dimension is.
    pixel_size_um
        Micrometers per pixel by axis, where the file says.
    channel_names
        Names of the channels, where the file says.
    notes
        What a person may want to know of how the file was read.
    full_shape
        With the axes of length one that the file has and `data` lacks, where there are some.
    """

    data: LazyArray
    letters: str
    pixel_size_um: Mapping[str, float] = field(default_factory=dict)
    channel_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    full_shape: tuple[int, ...] = ()


class NativeArray:
    """An array of foreign byte order, converted to the machine's own slice by slice."""

    def __init__(self, data: NDArray[Any]) -> None:
        self._data = data
        self.dtype = data.dtype.newbyteorder("=")

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each dimension."""
        return self._data.shape

    def __getitem__(self, key: Any, /) -> NDArray[Any]:
        return np.asarray(self._data[key], self.dtype)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return self[...].astype(dtype or self.dtype, copy=False)

    def reshape(self, shape: tuple[int, ...], /) -> NativeArray:
        """The same pixels with axes of length one added or dropped."""
        return NativeArray(self._data.reshape(shape))


def native(data: NDArray[Any]) -> LazyArray:
    """The array itself when its byte order is the machine's, else a lazy converter."""
    # torch and cc3d take no foreign byte order.
    return data if data.dtype.isnative else NativeArray(data)


class PaletteArray:
    """Indices seen through their palette, slice by slice: the last dimension is the color.

    Parameters
    ----------
    indices
        Numbers of colors.
    palette
        (colors, 3) uint8.
    """

    def __init__(self, indices: LazyArray, palette: NDArray[np.uint8]) -> None:
        self._indices, self._palette = indices, palette
        self.dtype: np.dtype[Any] = palette.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each dimension."""
        return (*self._indices.shape, self._palette.shape[1])

    def __getitem__(self, key: Any, /) -> NDArray[Any]:
        # The last dimension is not in the indices: its key comes after the lookup.
        *places, colors = expand_key(key, len(self.shape))
        return np.asarray(self._palette[self._indices[tuple(places)]][..., colors])

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return self[...].astype(dtype or self.dtype, copy=False)

    def reshape(self, shape: tuple[int, ...], /) -> PaletteArray:
        """The same pixels with axes of length one added or dropped, colors last."""
        return PaletteArray(self._indices.reshape(shape[:-1]), self._palette)


def expand_key(key: Any, dimensions: int) -> list[Any]:
    """An index with one entry per dimension, its ellipsis spelled out."""
    keys = list(key) if isinstance(key, tuple) else [key]
    at = next((at for at, each in enumerate(keys) if isinstance(each, EllipsisType)), None)
    if at is None:
        keys.append(...)
        at = len(keys) - 1
    if len(keys) - 1 > dimensions:
        raise IndexError(f"too many indices: {len(keys) - 1} for {dimensions} dimensions")
    keys[at : at + 1] = [slice(None)] * (dimensions - len(keys) + 1)
    return keys


def settle_axes(ref: ImageRef, pixels: Pixels) -> Image:
    """Name the axes: those a person gave where they fit, else those of the file, else refuse.

    Raises
    ------
    AxesError
        If the file does not say what its dimensions are, or the axes of the reference do not fit.
    ImageError
        If the pixels are not real numbers, or there are none.
    """
    where = str(ref.model_copy(update={"axes": None}))
    _refuse_type(where, pixels.data)
    data, letters = pixels.data, pixels.letters
    if ref.axes is not None:
        clean = parse_axes(ref.axes)
        if len(clean) != len(letters):
            data = data.reshape(_shape_by(clean, pixels))
        letters = parse_axes(clean, data.shape)
    elif "?" in letters or set(letters) - set(CANONICAL) or len(set(letters)) < len(letters):
        example = _example(letters, data.shape)
        raise AxesError(
            f"'{where}' has the shape {data.shape}, and nothing in the file says what its "
            f"{len(letters)} dimensions are.",
            "Name them, with Z for planes, T for frames and C for channels, such as "
            f"{example} (--axes {example}).",
        )
    # A pixel size along an axis that is not there any longer tells nothing.
    given = {axis: size for axis, size in pixels.pixel_size_um.items() if axis in letters}
    sizes = {axis: size for axis, size in given.items() if is_pixel_size(size)}
    notes = pixels.notes
    if ignored := [f"{axis} {given[axis]:g}" for axis in given if axis not in sizes]:
        notes += (f"The file's pixel size ({', '.join(ignored)} µm) is impossible: ignored.",)
    # Names belong to the channels of the file: with other axes nobody knows whose they are.
    names = pixels.channel_names if letters == pixels.letters else ()
    return Image(data, letters, sizes, names, ref.name, notes)


def _shape_by(axes: str, pixels: Pixels) -> tuple[int, ...]:
    """The shape with axes of length one added or dropped so that named axes fit, if they can."""
    shape, letters = tuple(pixels.data.shape), pixels.letters
    # TIFF stacks of one channel or one frame often have an axis that people do not count.
    short = tuple(size for size in shape if size > 1)
    whole = pixels.full_shape or shape
    for fitting in (short, whole, whole[:-1] if whole[-1] == 1 else whole):
        if len(fitting) == len(axes):
            return fitting
    # A plane is a stack of one plane, where the file's own axes leave no doubt which one is added.
    if "?" not in letters and "".join(each for each in axes if each in letters) == letters:
        sizes = dict(zip(letters, shape, strict=True))
        return tuple(sizes.get(letter, 1) for letter in axes)
    return shape


def is_pixel_size(size: float) -> bool:
    """Whether a number of micrometers can be the size of a pixel."""
    # NaN is in no range.
    return SMALLEST_PIXEL_UM <= size <= LARGEST_PIXEL_UM


def _refuse_type(where: str, data: LazyArray) -> None:
    dtype = data.dtype
    if dtype.kind not in "buif" or dtype.itemsize > 8:
        what = {"c": "complex numbers", "O": "Python objects"}.get(
            dtype.kind, f"values of type {dtype}"
        )
        raise ImageError(
            f"'{where}' holds {what}, not intensities or labels.",
            "Save real numbers: integers, or floats of up to 64 bits.",
        )
    if 0 in data.shape:
        raise ImageError(f"'{where}' is empty: its shape is {data.shape}.", "Export it again.")
    # Asked for here, not by the axes: no letters could be named for these.
    if not 2 <= len(data.shape) <= len(CANONICAL):
        raise ImageError(
            f"'{where}' is not an image: its shape is {data.shape}.",
            f"Save 2 to {len(CANONICAL)} dimensions, with rows and columns among them.",
        )


_MOST_LIKELY: Mapping[int, Sequence[str]] = {1: "ZTC", 2: "TZC", 3: "TCZ"}
"""By the number of unknown dimensions: which letters people mean most often."""


def _example(letters: str, shape: Sequence[int]) -> str:
    """Axes that might fit, for a message; what is known keeps its place."""
    # The last two are rows and columns in nearly all files, but not of a few pixels: those are
    # channels, as cameras and scikit-image put them.
    ending = "YXC" if len(shape) > 2 and shape[-1] <= 4 < shape[-2] else "YX"
    known = letters if "Y" in letters else "?" * (len(letters) - len(ending)) + ending
    for letter in _MOST_LIKELY.get(known.count("?"), _MOST_LIKELY[3]):
        if letter not in known:
            known = known.replace("?", letter, 1)
    return known
