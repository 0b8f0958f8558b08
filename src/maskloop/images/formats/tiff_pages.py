"""Pixels of a compressed or tiled TIFF, decoded strip by strip and tile by tile when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from maskloop.images.formats.damage import reading
from maskloop.images.formats.pixels import expand_key

if TYPE_CHECKING:
    from tifffile import TiffPage

__all__ = ["Page", "PagedArray"]

READ_BYTES = 1 << 24
"""Compressed bytes that are read at a time; tifffile's own choice would hold a whole large page
twice.
"""

_JPEG = (6, 7, 33007, 34892)
"""Compressions whose strips and tiles share tables that the page keeps."""


@dataclass(frozen=True)
class Page:
    """Where a page of a TIFF file is: its file, the offset of its directory, and its number."""

    path: Path
    offset: int
    index: int


class PagedArray:
    """Pixels of TIFF pages; a slice decodes only the strips or tiles that it touches.

    Holds no open file and can be sent to other processes. Where a page is a single strip, the page
    decoded last is kept, so that parts of it do not decompress it again and again.

    Parameters
    ----------
    pages
        Where each page is.
    page_shape, page_letters
        Shape and axes of one page.
    dtype
        Type of a pixel.
    shape
        Shape of the whole: dimensions that count the pages, then those within a page.
    samples
        How many samples of each pixel to keep; None for all (alpha comes last).
    """

    def __init__(
        self,
        pages: Sequence[Page],
        *,
        page_shape: tuple[int, ...],
        page_letters: str,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        samples: int | None = None,
    ) -> None:
        self._pages = tuple(pages)
        self._page_shape, self._letters = page_shape, page_letters
        self._samples = samples
        self.shape, self.dtype = shape, dtype.newbyteorder("=")
        kept = prod(
            min(length, samples or length) if letter == "S" else length
            for letter, length in zip(page_letters, page_shape, strict=True)
        )
        # Several splits fit where there are axes of length one; the last leaves most to the pages.
        self._outer = next(
            at
            for at in range(len(shape), -1, -1)
            if prod(shape[:at]) == len(pages) and prod(shape[at:]) == kept
        )
        self._last: tuple[int, NDArray[Any]] | None = None

    def reshape(self, shape: tuple[int, ...], /) -> PagedArray:
        """The same pixels with axes of length one added or dropped."""
        return PagedArray(
            self._pages,
            page_shape=self._page_shape,
            page_letters=self._letters,
            dtype=self.dtype,
            shape=shape,
            samples=self._samples,
        )

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return self[...].astype(dtype or self.dtype, copy=False)

    def __getitem__(self, key: Any, /) -> NDArray[Any]:
        keys = expand_key(key, len(self.shape))
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
        """The part of one page that an index names."""
        lengths = self.shape[self._outer :]
        spans = [_span(key, length) for key, length in zip(inner, lengths, strict=True)]
        # Nothing is asked for, so nothing is read.
        if any(start == stop for start, stop in spans):
            nothing: NDArray[Any] = np.empty(lengths, self.dtype)[tuple(inner)]
            return nothing
        box = self._box(spans)
        sizes = tuple(
            stop - start if letter in "YX" else length
            for letter, length, (start, stop) in zip(
                self._inner_letters(), lengths, spans, strict=True
            )
        )
        pixels: NDArray[Any] = self._read(number, box).reshape(sizes)
        # Only rows and columns were cut already: their keys count from the start of the box.
        shifted = [
            _shift(key, start, length) if letter in "YX" else key
            for key, letter, length, (start, _) in zip(
                inner, self._inner_letters(), lengths, spans, strict=True
            )
        ]
        cut: NDArray[Any] = pixels[tuple(shifted)]
        # A small part must not keep a whole page in memory.
        return cut if cut.size == pixels.size else cut.copy()

    def _inner_letters(self) -> str:
        """A letter of the page for each dimension within a page; ``1`` for those of length one."""
        lengths = self.shape[self._outer :]
        long = [
            letter
            for letter, length in zip(self._letters, self._kept_shape(), strict=True)
            if length > 1
        ]
        return "".join("1" if length == 1 else long.pop(0) for length in lengths)

    def _kept_shape(self) -> tuple[int, ...]:
        return tuple(
            min(length, self._samples or length) if letter == "S" else length
            for letter, length in zip(self._letters, self._page_shape, strict=True)
        )

    def _box(self, spans: Sequence[tuple[int, int]]) -> tuple[slice, slice]:
        """Rows and columns of the page that are needed."""
        found = dict(zip(self._inner_letters(), spans, strict=True))
        lengths = dict(zip(self._letters, self._page_shape, strict=True))
        rows = found.get("Y", (0, lengths["Y"]))
        columns = found.get("X", (0, lengths["X"]))
        return slice(*rows), slice(*columns)

    def _read(self, number: int, box: tuple[slice, slice]) -> NDArray[Any]:
        """Rows and columns of one page, with the axes of a page."""
        if self._last is not None and self._last[0] == number:
            return self._last[1][self._page_key(box)].copy()
        from tifffile import TiffFile, TiffPage

        place = self._pages[number]
        # Opened again each time: an image that is held open cannot be moved on Windows, and
        # not be sent to other processes.
        with reading(place.path), TiffFile(place.path) as file:
            file.filehandle.seek(place.offset)
            page = TiffPage(file, index=place.index)
            if _has_parts(page) and not self._is_whole(box):
                parts = _read_parts(page, box, self._page_shape, self._letters)
                pixels: NDArray[Any] = np.asarray(parts, self.dtype)
                return pixels[self._page_key((slice(None), slice(None)))]
            whole = np.asarray(page.asarray(buffersize=READ_BYTES), self.dtype)
            whole = whole.reshape(self._page_shape)
            cut: NDArray[Any] = whole[self._page_key(box)]
            if cut.size == whole.size:
                self._last = None
                return cut
            self._last = (number, whole)
            return cut.copy()

    def _is_whole(self, box: tuple[slice, slice]) -> bool:
        """Whether a page is needed entirely: tifffile decodes that in several threads."""
        lengths = dict(zip(self._letters, self._page_shape, strict=True))
        return box == (slice(0, lengths["Y"]), slice(0, lengths["X"]))

    def _page_key(self, box: tuple[slice, slice]) -> tuple[slice, ...]:
        keys = {"Y": box[0], "X": box[1], "S": slice(self._samples)}
        return tuple(keys.get(letter, slice(None)) for letter in self._letters)


def _span(key: Any, length: int) -> tuple[int, int]:
    """The first entry that a key names and one more than the last."""
    if not isinstance(key, slice):
        at = range(length)[key]
        return at, at + 1
    entries = range(length)[key]
    if not entries:
        return 0, 0
    return min(entries[0], entries[-1]), max(entries[0], entries[-1]) + 1


def _shift(key: Any, start: int, length: int) -> Any:
    """A key that names the same entries of an array that begins at `start`."""
    if not isinstance(key, slice):
        return range(length)[key] - start
    first, stop, step = key.indices(length)
    # Going down past the first entry has no number that counts from the front.
    last = stop - start if step > 0 or stop - start >= 0 else None
    return slice(first - start, last, step)


def _has_parts(page: TiffPage) -> bool:
    """Whether parts of the page can be decoded apart from the rest."""
    return bool(page.imagedepth == 1 and len(page.dataoffsets) > page.shaped[0])


def _read_parts(
    page: TiffPage, box: tuple[slice, slice], shape: tuple[int, ...], letters: str
) -> NDArray[Any]:
    """Rows and columns of a page, with its axes, from the strips or tiles that they touch."""
    # In the terms of tifffile: planes of samples, rows, columns, samples of a pixel.
    rows, columns = box
    planes, samples = page.shaped[0], page.shaped[4]
    height, width = rows.stop - rows.start, columns.stop - columns.start
    # (sample planes, rows, columns, samples of a pixel): one of the two counts of samples is 1.
    result = np.full((planes, height, width, samples), page.nodata, page.dtype)
    for pixels, plane, top, left in _parts(page, box):
        ends = top + pixels.shape[0], left + pixels.shape[1]
        inside = (
            slice(max(top, rows.start), min(ends[0], rows.stop)),
            slice(max(left, columns.start), min(ends[1], columns.stop)),
        )
        target = result[
            plane,
            inside[0].start - rows.start : inside[0].stop - rows.start,
            inside[1].start - columns.start : inside[1].stop - columns.start,
        ]
        target[...] = pixels[
            inside[0].start - top : inside[0].stop - top,
            inside[1].start - left : inside[1].stop - left,
        ]
    sizes = {"Y": height, "X": width}
    return result.reshape(
        [sizes.get(letter, length) for letter, length in zip(letters, shape, strict=True)]
    )


def _parts(
    page: TiffPage, box: tuple[slice, slice]
) -> Iterator[tuple[NDArray[Any], int, int, int]]:
    """Each strip or tile within the box: (rows, columns, samples), its plane, top and left."""
    # A strip is a tile as wide as the image.
    tall, wide = (
        (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    )
    down, across = -(-page.imagelength // tall), -(-page.imagewidth // wide)
    rows, columns = box
    wanted = [
        (plane * down + row) * across + column
        for plane, row, column in product(
            range(page.shaped[0]),
            range(rows.start // tall, -(-rows.stop // tall)),
            range(columns.start // wide, -(-columns.stop // wide)),
        )
    ]
    # Without padding: the last tiles of a row are cut at the edge of the image.
    tables: dict[str, Any] = {"_fullsize": False}
    if page.compression in _JPEG:
        tables |= {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
    for content, index in page.parent.filehandle.read_segments(
        [page.dataoffsets[number] for number in wanted],
        [page.databytecounts[number] for number in wanted],
        indices=wanted,
        buffersize=READ_BYTES,
    ):
        decoded, (plane, _, top, left, _), extent = page.decode(content, index, **tables)
        if decoded is None:  # nothing was stored: the pixels have the page's value for no data
            continue
        # (depth, rows, columns, samples), cut at the edge of the image
        yield decoded[0, : extent[1], : extent[2]], plane, top, left
