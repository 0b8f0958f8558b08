"""TIFF, OME-TIFF and ImageJ files to lazy pixels: read only where and when somebody looks."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import struct
import tokenize
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from math import isfinite, prod
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Protocol
from xml.etree import ElementTree

import numpy as np
from numpy.typing import DTypeLike, NDArray

from maskloop.errors import ImageError, MaskloopError

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

__all__ = [
    "FACTS_KEY",
    "LazyArray",
    "NativeArray",
    "PagedArray",
    "Pixels",
    "native",
    "read_tiff",
    "reading",
]

FACTS_KEY = "maskloop"
"""Under this name our own files carry axes and pixel size exactly (formats for others drop axes
of length one and round sizes).
"""

READ_BYTES = 1 << 24
"""Compressed bytes that are read at a time; tifffile's own choice would hold a whole large page
twice.
"""

COARSEST_PIXEL_UM = 25.4
"""Resolutions below 1000 pixels per inch are print settings (72 dpi, 300 dpi, 1 per cm), not the
calibration of a microscope.
"""

UM_PER_UNIT = {
    "um": 1.0,
    "µm": 1.0,
    "μm": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "nm": 1e-3,
    "pm": 1e-6,
    "å": 1e-4,
    "mm": 1e3,
    "cm": 1e4,
    "dm": 1e5,
    "m": 1e6,
    "in": 25400.0,
    "inch": 25400.0,
}

_MINISBLACK, _RGB, _PALETTE, _YCBCR = 1, 2, 3, 6
_BROKEN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,  # Pillow's word for a broken PNG, and the XML parser's for broken XML
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,  # NumPy's word for a broken header
    zlib.error,
)
"""What the libraries raise when a file is damaged: there is no common ancestor but Exception."""

_LOST_PAGES = re.compile(
    "corrupted tag list|invalid (page )?offset|circular reference|ImageJ series metadata invalid or corrupted"
)
"""What tifffile writes into its log, and no more, when it goes on with fewer pages than the file
should have.
"""

_heard: ContextVar[list[str] | None] = ContextVar("_heard", default=None)


class _Hush(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        heard = _heard.get()
        if heard is not None:
            heard.append(record.getMessage())
        return heard is None


logging.getLogger("tifffile").addFilter(_Hush())


@contextlib.contextmanager
def reading(path: Path) -> Iterator[list[str]]:
    """Turn what the libraries say about a damaged file into one ImageError, without noise in the log.

    Yields
    ------
    heard
        What tifffile would have logged so far.

    Raises
    ------
    ImageError
        If the block fails because the file is missing, damaged, cut short or of another kind.
    """
    heard: list[str] = []
    token = _heard.set(heard)
    try:
        yield heard
    except MaskloopError:
        raise
    except FileNotFoundError:
        raise ImageError(
            f"There is no file '{path}'.",
            "Check the path; names are case-sensitive on some systems.",
        ) from None
    except IsADirectoryError:
        raise ImageError(
            f"'{path}' is a folder, not an image.",
            "Name a file in it, or let the command take the whole folder.",
        ) from None
    except PermissionError:
        raise ImageError(
            f"'{path}' may not be read.",
            "Ask for the permission to read it, or copy it to a folder of yours.",
        ) from None
    except _BROKEN as error:
        reason = (
            str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        )
        raise ImageError(
            f"'{path}' cannot be read: it is damaged, cut short or not the kind of file its ending says ({reason}).",
            "Open it in Fiji or napari to see whether it is whole; copy or export it anew.",
        ) from error
    finally:
        _heard.reset(token)


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
        Micrometres per pixel by axis, where the file says.
    channel_names
        Names of the channels, where the file says.
    """

    data: LazyArray
    letters: str
    pixel_size_um: Mapping[str, float] = field(default_factory=dict)
    channel_names: tuple[str, ...] = ()


class NativeArray:
    """An array of foreign byte order, turned to the machine's own slice by slice."""

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
    return data if data.dtype.isnative else NativeArray(data)


@dataclass(frozen=True)
class _Page:
    path: Path
    offset: int  # of the page's directory in its file
    index: int


class PagedArray:
    """Pixels of a compressed TIFF; a slice reads only the pages it touches.

    Holds no open file and can be sent to other processes. Keeps the page that was cut last, so that
    tiles of one page do not decompress it again and again.

    Parameters
    ----------
    pages
        Where each page lies.
    page_shape
        Shape of one page, after `page_key` has cut it.
    dtype
        Type of a pixel.
    shape
        Shape of the whole: dimensions that count the pages, then those within a page.
    page_key
        Which part of a page to keep (all but an alpha channel).
    """

    def __init__(
        self,
        pages: Sequence[_Page],
        *,
        page_shape: tuple[int, ...],
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        page_key: Any = ...,
    ) -> None:
        self._pages, self._page_shape, self._page_key = tuple(pages), page_shape, page_key
        self.shape, self.dtype = shape, dtype.newbyteorder("=")
        self._outer = next(
            at
            for at in range(len(shape), -1, -1)
            if prod(shape[:at]) == len(pages) and prod(shape[at:]) == prod(page_shape)
        )
        self._last: tuple[int, NDArray[Any]] | None = None

    def reshape(self, shape: tuple[int, ...], /) -> PagedArray:
        """The same pixels with axes of length one added or dropped."""
        return PagedArray(
            self._pages,
            page_shape=self._page_shape,
            dtype=self.dtype,
            shape=shape,
            page_key=self._page_key,
        )

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return self[...].astype(dtype or self.dtype, copy=False)

    def __getitem__(self, key: Any, /) -> NDArray[Any]:
        keys = _expand(key, len(self.shape))
        outer, inner = keys[: self._outer], keys[self._outer :]
        numbers = np.arange(len(self._pages)).reshape(self.shape[: self._outer])[tuple(outer)]
        if np.ndim(numbers) == 0:
            return self._cut(int(numbers), inner)
        # A broadcast scalar gives the shape of a slice without the memory of one.
        piece = np.broadcast_to(np.zeros((), self.dtype), self.shape[self._outer :])[tuple(inner)]
        result = np.empty((numbers.size, *piece.shape), self.dtype)
        for at, number in enumerate(numbers.ravel()):
            result[at] = self._cut(int(number), inner)
        return result.reshape(numbers.shape + piece.shape)

    def _cut(self, number: int, inner: Sequence[Any]) -> NDArray[Any]:
        whole = all(key == slice(None) for key in inner)
        last = self._last
        pixels = last[1] if last is not None and last[0] == number else self._read(number)
        self._last = None if whole else (number, pixels)
        cut: NDArray[Any] = pixels[tuple(inner)]
        return cut if whole else cut.copy()

    def _read(self, number: int) -> NDArray[Any]:
        from tifffile import TiffFile, TiffPage

        place = self._pages[number]
        with reading(place.path), TiffFile(place.path) as file:
            file.filehandle.seek(place.offset)
            pixels = TiffPage(file, index=place.index).asarray(buffersize=READ_BYTES)
            page: NDArray[Any] = np.asarray(pixels[self._page_key], self.dtype).reshape(
                self.shape[self._outer :]
            )
            return page


def _expand(key: Any, dimensions: int) -> list[Any]:
    keys = list(key) if isinstance(key, tuple) else [key]
    at = next((at for at, each in enumerate(keys) if isinstance(each, EllipsisType)), None)
    if at is None:
        keys.append(...)
        at = len(keys) - 1
    if len(keys) - 1 > dimensions:
        raise IndexError(f"too many indices: {len(keys) - 1} for {dimensions} dimensions")
    keys[at : at + 1] = [slice(None)] * (dimensions - len(keys) + 1)
    return keys


def read_tiff(path: Path, *, colours: bool) -> Pixels:
    """Open a TIFF file without reading its pixels.

    Parameters
    ----------
    path
        The file.
    colours
        Whether a palette (of a file that is not from ImageJ or OME, where it is for display only)
        turns indices into RGB.

    Raises
    ------
    ImageError
        If the file is damaged, incomplete, empty or holds several images.
    """
    from tifffile import TiffFile

    with reading(path) as heard, TiffFile(path) as file:
        if not file.series:
            raise ImageError(f"'{path}' holds no image.", "Export it anew.")
        series = file.series[0]
        if any(_LOST_PAGES.search(message) for message in heard):
            raise ImageError(
                f"'{path}' is damaged or cut short: not all of its planes can be found.",
                "Copy or export it anew.",
            )
        _refuse_several(path, file)
        pixels = _open_series(path, series)
        if (
            colours
            and series.keyframe.photometric == _PALETTE
            and series.kind not in ("imagej", "ome")
        ):
            pixels = _apply_palette(pixels, np.asarray(series.keyframe.colormap))
        return _describe(pixels, file, series)


def _refuse_several(path: Path, file: TiffFile) -> None:
    if len(file.series) > 1:
        shapes = ", ".join(str(tuple(series.shape)) for series in file.series[:4]) + (
            ", ..." if len(file.series) > 4 else ""
        )
        raise ImageError(
            f"'{path}' holds {len(file.series)} images ({shapes}), and nothing says which one is meant.",
            "Save the one you want as a file of its own (in Fiji: open it, then File > Save As > Tiff).",
        )


def _open_series(path: Path, series: TiffPageSeries) -> Pixels:
    shape, letters = tuple(int(size) for size in series.get_shape(False)), series.get_axes(False)
    _check_complete(path, series)
    key, shape = _without_alpha(series, shape, letters)
    if series.dataoffset is not None and series.keyframe.is_memmappable:
        stored = np.dtype(series.keyframe.parent.byteorder + series.keyframe.dtype.char)
        whole = tuple(int(size) for size in series.get_shape(False))
        mapped = np.memmap(path, stored, "r", offset=series.dataoffset, shape=whole)
        return Pixels(native(mapped[key]), letters)
    pages = [_Page(Path(page.parent.filehandle.path), page.offset, page.index) for page in series]
    page_shape = tuple(series.keyframe.shape)
    page_key = _page_key(series.keyframe.axes, shape[letters.index("S")]) if key is not ... else ...
    cut = tuple(np.broadcast_to(np.zeros(()), page_shape)[page_key].shape)
    return Pixels(
        PagedArray(pages, page_shape=cut, dtype=series.dtype, shape=shape, page_key=page_key),
        letters,
    )


def _check_complete(path: Path, series: TiffPageSeries) -> None:
    if 0 in series.shape:
        raise ImageError(
            f"'{path}' is empty: its shape is {tuple(series.shape)}.", "Export it anew."
        )
    pages = list(series) if series.dataoffset is None else [series.keyframe]
    if any(page is None for page in pages):
        raise ImageError(
            f"'{path}' is one file of several that make up an OME-TIFF, and not all of them are here.",
            "Put the files of the set back into one folder, under the names they had.",
        )
    for page in (pages[0], pages[-1]):  # a file that was cut short lacks its end
        end = max(
            (
                offset + size
                for offset, size in zip(page.dataoffsets, page.databytecounts, strict=True)
            ),
            default=0,
        )
        if series.dataoffset is not None:
            end = series.dataoffset + prod(series.get_shape(False)) * series.dtype.itemsize
        if end > page.parent.filehandle.size:
            raise ImageError(
                f"'{path}' is cut short: its pixels end at byte {end}, the file at {page.parent.filehandle.size}.",
                "Copy or export it anew.",
            )


def _without_alpha(
    series: TiffPageSeries, shape: tuple[int, ...], letters: str
) -> tuple[Any, tuple[int, ...]]:
    """The slice that leaves out an alpha channel, and the shape that is left.

    The fourth sample of a colour image is alpha whatever the file calls it; the second of a grey
    one when the file says so.
    """
    page = series.keyframe
    samples = shape[letters.index("S")] if "S" in letters else 1
    colour = page.photometric in (_RGB, _YCBCR) and samples == 4
    grey = (
        page.photometric <= _MINISBLACK
        and samples == 2
        and tuple(page.extrasamples) in ((1,), (2,))
    )
    if not (colour or grey):
        return ..., shape
    key = _page_key(letters, samples - 1)
    return key, tuple(
        samples - 1 if letter == "S" else size for letter, size in zip(letters, shape, strict=True)
    )


def _page_key(letters: str, samples: int) -> tuple[slice, ...]:
    return tuple(slice(samples) if letter == "S" else slice(None) for letter in letters)


def _apply_palette(pixels: Pixels, colormap: NDArray[Any]) -> Pixels:
    colours = (colormap >> 8).astype(np.uint8).T
    return replace(pixels, data=colours[np.asarray(pixels.data[...])], letters=pixels.letters + "C")


def _describe(pixels: Pixels, file: TiffFile, series: TiffPageSeries) -> Pixels:
    """Settle the letters and add what the metadata says about size and channels."""
    page = series.keyframe
    facts, ome = _own_facts(file), _ome_pixels(file)
    found = _by_own_facts(pixels, facts) or _by_series(pixels, declared=series.kind == "shaped")
    sizes = facts.get("pixel_size_um") or {
        **_resolution(page, _imagej_unit(file)),
        **_imagej_depth(file),
        **_ome_sizes(ome),
    }
    names = facts.get("channel_names") or _ome_channels(ome) or _imagej_channels(file)
    channels = dict(zip(found.letters, found.data.shape, strict=True)).get("C", 1)
    return replace(
        found,
        pixel_size_um={axis: float(size) for axis, size in sizes.items() if axis in found.letters},
        channel_names=tuple(names) if len(names) == channels else (),
    )


def _own_facts(file: TiffFile) -> dict[str, Any]:
    """What `maskloop.images.writers` wrote, from whichever place the format has for it."""
    text = ""
    if file.shaped_metadata:
        text = file.shaped_metadata[0].get(FACTS_KEY, "")
    elif file.is_ome and file.ome_metadata:
        root = ElementTree.fromstring(file.ome_metadata)
        text = next(
            (
                each.text or ""
                for each in root.iter()
                if each.tag.endswith("}M") and each.get("K") == FACTS_KEY
            ),
            "",
        )
    elif match := re.search(
        rf"^{FACTS_KEY}=(.*)$", file.pages.first.description or "", re.MULTILINE
    ):
        text = match[1]
    try:
        facts = json.loads(text) if isinstance(text, str) and text else {}
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) and isinstance(facts.get("axes"), str) else {}


def _by_own_facts(pixels: Pixels, facts: Mapping[str, Any]) -> Pixels | None:
    """The pixels with the axes we wrote, unless somebody has changed the shape since."""
    if not facts:
        return None
    sizes = dict(zip(pixels.letters, pixels.data.shape, strict=True))
    if sizes.get("S", 1) > 1:
        sizes["C"] = sizes["S"]
    shape = tuple(sizes.get(letter, 1) for letter in facts["axes"])
    long = [
        letter.replace("S", "C")
        for letter, size in zip(pixels.letters, pixels.data.shape, strict=True)
        if size > 1
    ]
    if long != [letter for letter, size in zip(facts["axes"], shape, strict=True) if size > 1]:
        return None
    return replace(pixels, data=pixels.data.reshape(shape), letters=facts["axes"])


def _by_series(pixels: Pixels, *, declared: bool) -> Pixels:
    """Drop the axes of length one that the format adds by itself; call unknown axes by ``?``."""
    known = "TCZYX" if declared else "YX"
    kept = [
        (letter, size)
        for letter, size in zip(pixels.letters, pixels.data.shape, strict=True)
        if size > 1 or letter in known
    ]
    letters = "".join(letter if letter in "TCZYXS" else "?" for letter, _ in kept)
    if "C" not in letters:
        letters = letters.replace("S", "C")
    return replace(
        pixels,
        data=pixels.data.reshape(tuple(size for _, size in kept)),
        letters=letters.replace("S", "?"),
    )


def _resolution(page: Any, unit: float | None) -> dict[str, float]:
    """Pixel size from the resolution tags: pixels per `unit` micrometres, or per inch or centimetre."""
    per_unit = unit or {2: 25400.0, 3: 10000.0}.get(int(page.resolutionunit))
    if per_unit is None:
        return {}
    found = {
        axis: per_unit / value
        for axis, value in zip("XY", page.resolution, strict=True)
        if value > 0 and isfinite(value)
    }
    return found if unit or all(size < COARSEST_PIXEL_UM for size in found.values()) else {}


def _imagej_unit(file: TiffFile) -> float | None:
    unit = str((file.imagej_metadata or {}).get("unit", "")).strip().lower().replace("\\u00b5", "µ")
    return UM_PER_UNIT.get(unit)


def _imagej_depth(file: TiffFile) -> dict[str, float]:
    unit, spacing = _imagej_unit(file), (file.imagej_metadata or {}).get("spacing")
    return (
        {"Z": float(spacing) * unit}
        if unit and isinstance(spacing, int | float) and spacing > 0
        else {}
    )


def _imagej_channels(file: TiffFile) -> tuple[str, ...]:
    metadata = file.imagej_metadata or {}
    labels = metadata.get("Labels") or ()
    # ImageJ labels planes, not channels; they are the same only where there is nothing but
    # channels.
    return (
        tuple(labels)
        if isinstance(labels, list) and len(labels) == metadata.get("channels")
        else ()
    )


def _ome_pixels(file: TiffFile) -> ElementTree.Element | None:
    if not file.is_ome or not file.ome_metadata:
        return None
    root = ElementTree.fromstring(file.ome_metadata)
    return next((element for element in root.iter() if element.tag.endswith("}Pixels")), None)


def _ome_sizes(ome: ElementTree.Element | None) -> dict[str, float]:
    sizes = {}
    for axis in "XYZ" if ome is not None else "":
        assert ome is not None
        unit = UM_PER_UNIT.get(ome.get(f"PhysicalSize{axis}Unit", "µm").strip().lower())
        with contextlib.suppress(ValueError):
            size = float(ome.get(f"PhysicalSize{axis}", "nan")) * (unit or 0)
            if isfinite(size) and size > 0:
                sizes[axis] = size
    return sizes


def _ome_channels(ome: ElementTree.Element | None) -> tuple[str, ...]:
    channels = (
        [] if ome is None else [element for element in ome if element.tag.endswith("}Channel")]
    )
    names = tuple(channel.get("Name", "") for channel in channels)
    return names if names and all(names) else ()
