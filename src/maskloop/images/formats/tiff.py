"""TIFF, OME-TIFF and ImageJ files: series as items, pyramids as levels, read only where needed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskloop.errors import ImageError, MaskError
from maskloop.images.formats.alpha import ALPHA_NOTE, is_opacity
from maskloop.images.formats.base import LabelSink, SinkSpec
from maskloop.images.formats.damage import reading
from maskloop.images.formats.files import (
    MOST_EXPANSION,
    hash_file,
    refuse_empty_file,
    refuse_overstated,
)
from maskloop.images.formats.meaning import as_meant
from maskloop.images.formats.ome_sets import find_set, keep_to_itself
from maskloop.images.formats.orient import ORIENTATION_TAG, orient_lazily
from maskloop.images.formats.pixels import (
    LazyArray,
    PaletteArray,
    Pixels,
    native,
    settle_axes,
)
from maskloop.images.formats.staged import StagedSink
from maskloop.images.formats.tiff_chain import check_chain
from maskloop.images.formats.tiff_metadata import (
    describe_pixels,
    refuse_endless_ome,
    scale_pixel_size,
)
from maskloop.images.formats.tiff_pages import Page, PagedArray
from maskloop.images.formats.tiff_writing import check_tiff, write_tiff
from maskloop.images.image import Image
from maskloop.images.refs import ImageRef
from maskloop.wording import counted

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

__all__ = ["TIFF", "TiffFormat"]

# Values of the tags of a page (TIFF 6.0).
_GREY = (0, 1)
_RGB = 2
_PALETTE = 3
_YCBCR = 6
_CONTIGUOUS = 1
_LOSSY = (6, 7, 33003, 33005, 33007, 34892)
"""Compressions of the JPEG family that change pixels."""

_ALPHA = ((1,), (2,))
"""What a page says of its extra sample when it is alpha: associated or not."""

_MOST_EXPANSION = {5: 1500, 6: 1100, 7: 1100, 8: 1100, 32773: 130, 32946: 1100}
"""Of LZW, JPEG, Deflate and PackBits, by their numbers in TIFF."""

_PREVIEWS = ("label", "macro", "overview", "preview", "thumbnail")
_PREVIEW_LINE = re.compile(
    rf"^\s*({'|'.join(_PREVIEWS)})(\s+\d+\s*x\s*\d+)?\s*$", re.IGNORECASE | re.MULTILINE
)

ALPHA_ROWS = 16
"""Rows that are looked at to tell alpha from a channel."""

_LOST_PAGES = re.compile(
    "corrupted tag list|invalid (page )?offset|circular reference"
    "|ImageJ series metadata invalid or corrupted"
)
"""What tifffile writes into its log, and no more, when it continues with fewer pages than the file
should have.
"""


class TiffFormat:
    """TIFF in all its dialects that microscopes and Fiji write."""

    name = "tiff"
    endings = (".ome.tiff", ".ome.tif", ".tiff", ".tif")
    written_endings = endings

    def sniff(self, path: Path, head: bytes) -> bool:
        """Whether the first bytes are those of a TIFF or BigTIFF of either byte order."""
        return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

    def items(self, uri: str) -> tuple[ImageRef, ...]:
        """The series of a file; a file with one is that image itself."""
        with _opened(ImageRef(uri=uri)) as file:
            numbers = _images(file)
        # Without a number it opens as well, and so it is called what a person calls it.
        if len(numbers) == 1:
            return (ImageRef(uri=uri),)
        return tuple(ImageRef(uri=uri, item=str(number)) for number in numbers)

    def levels(self, ref: ImageRef) -> int:
        """How many resolution levels a series has."""
        with _opened(ref) as file:
            return len(file.series[_number(ref, file)].levels)

    def open(self, ref: ImageRef) -> Image:
        """Open a series; a palette (but for ImageJ and OME, which mean display) becomes RGB."""
        return settle_axes(ref, _read(ref, colors=True))

    def open_labels(self, ref: ImageRef) -> Image:
        """Open a mask; the indices of a palette are the labels.

        Raises
        ------
        MaskError
            If its pixels went through JPEG.
        """
        return settle_axes(ref, _read(ref, colors=False))

    def identity(self, ref: ImageRef) -> str:
        """SHA-256 of the file; of a set of files that make up one OME-TIFF, of all of them."""
        with _opened(ref) as file:
            series = file.series[_number(ref, file)]
            paths = sorted({Path(page.parent.filehandle.path) for page in series if page})
        if len(paths) == 1:
            found = hash_file(ref.path)
        else:
            # Files of a set may be many and large: hashes of hashes are as good.
            digests = "".join(hash_file(path) for path in paths)
            found = hashlib.sha256(digests.encode()).hexdigest()
        # The plain hash for a whole file, as notes of earlier versions hold it.
        return found if not (ref.item or ref.level) else f"{found}:{ref.item}@{ref.level}"

    def create(self, path: Path, spec: SinkSpec) -> LabelSink:
        """A compressed file; tiled where planes are large, one that ImageJ opens where it can."""
        check_tiff(path, spec)
        return StagedSink(path, spec, write_tiff)


TIFF = TiffFormat()


@contextmanager
def _opened(ref: ImageRef) -> Iterator[TiffFile]:
    """The open file, once it is known to hold something."""
    from tifffile import TiffFile

    # tifffile continues with fewer pages than there should be and only logs it: listen.
    with reading(ref.path) as heard:
        refuse_empty_file(ref.path)
        check_chain(ref.path)
        with TiffFile(ref.path) as file:
            refuse_endless_ome(ref.path, file)
            keep_to_itself(ref.path, file, ref.axes)
            if not file.series:
                raise ImageError(f"'{ref.uri}' holds no image.", "Export it again.")
            if any(_LOST_PAGES.search(message) for message in heard):
                raise ImageError(
                    f"'{ref.uri}' is damaged or cut short: not all of its planes can be found.",
                    "Copy or export it again.",
                )
            yield file


def _images(file: TiffFile) -> list[int]:
    """The numbers of the series that are images, not small pictures of them or of the slide."""
    found = [number for number, series in enumerate(file.series) if not _is_preview(series)]
    return found or list(range(len(file.series)))


def _is_preview(series: TiffPageSeries) -> bool:
    page = series.keyframe
    # Bit 1: a version of reduced resolution of another image of this file (TIFF 6.0, page 36).
    if page.subfiletype & 1 or series.name.lower() in _PREVIEWS:
        return True
    # Slide scanners say in their description what a page is, on a line of its own.
    return _PREVIEW_LINE.search(str(page.description)) is not None


def _number(ref: ImageRef, file: TiffFile) -> int:
    """Which series a reference names."""
    count, images = len(file.series), _images(file)
    if not ref.item and len(images) == 1:
        return images[0]
    if ref.item.isdecimal() and int(ref.item) < count:
        return int(ref.item)
    # Shapes tell which one is the image, and which are previews.
    shapes = ", ".join(str(tuple(series.shape)) for series in file.series[:4])
    more = ", ..." if count > 4 else ""
    wrong = f"and none of them is '{ref.item}'" if ref.item else "and none of them was selected"
    raise ImageError(
        f"'{ref.uri}' holds {counted(count, 'image')} ({shapes}{more}), {wrong}.",
        f"Name one of them by its number from 0, for instance '{ref.uri}::{images[0]}', or save "
        "it as a file of its own (in Fiji: open it, then File > Save As > Tiff).",
    )


def _read(ref: ImageRef, *, colors: bool) -> Pixels:
    with _opened(ref) as file:
        number = _number(ref, file)
        series = file.series[number]
        if ref.level >= len(series.levels):
            raise ImageError(
                f"'{ref.uri}' has {len(series.levels)} resolution levels, not one numbered "
                f"{ref.level}.",
                "Levels count from 0, which is full resolution.",
            )
        level = series.levels[ref.level]
        if not colors and series.keyframe.compression in _LOSSY:
            raise MaskError(
                f"Mask '{ref.uri}' is compressed with JPEG, which blurs the borders of labels and "
                "invents values.",
                "Export the mask as TIFF with no compression or with LZW or Deflate, from where "
                "it was drawn.",
            )
        pixels = _open_series(ref, level)
        # ImageJ and OME mean colors to look at: the numbers are the measurement.
        is_for_display = series.kind in ("imagej", "ome")
        if colors and series.keyframe.photometric == _PALETTE and not is_for_display:
            pixels = _apply_palette(pixels, np.asarray(series.keyframe.colormap))
        found = as_meant(describe_pixels(pixels, file, number), file, series, is_mask=not colors)
        if ref.level:
            # Larger pixels, by as much as there are fewer.
            full = dict(zip(series.get_axes(False), series.get_shape(False), strict=True))
            here = dict(zip(level.get_axes(False), level.get_shape(False), strict=True))
            sizes = scale_pixel_size(found.pixel_size_um, full, here)
            found = replace(found, pixel_size_um=sizes)
        if not is_for_display:
            found = _turn_upright(found, series)
        files = find_set(ref.path, file)
        if files is not None and not files.is_read_alone(ref.axes):
            found = replace(found, notes=(*found.notes, files.note))
        return found


def _open_series(ref: ImageRef, series: TiffPageSeries) -> Pixels:
    _check_complete(ref.path, series)
    letters = series.get_axes(False)
    data = _stored_pixels(ref.path, series, samples=None)
    # Axes that a person named say that the last sample is a channel like the others.
    if ref.axes is not None or not _may_have_alpha(series) or not is_opacity(_some_alpha(data)):
        return Pixels(data, letters)
    color = _stored_pixels(ref.path, series, samples=data.shape[-1] - 1)
    return Pixels(color, letters, notes=(ALPHA_NOTE,))


def _stored_pixels(path: Path, series: TiffPageSeries, *, samples: int | None) -> LazyArray:
    """The pixels as they lie in the file, with all samples of a pixel (None) or the first."""
    whole, page = tuple(int(size) for size in series.get_shape(False)), series.keyframe
    # In one piece and uncompressed: the system reads what is touched.
    if series.dataoffset is not None and page.is_memmappable:
        stored = np.dtype(page.parent.byteorder + page.dtype.char)
        mapped: NDArray[Any] = np.memmap(path, stored, "r", offset=series.dataoffset, shape=whole)
        return native(mapped if samples is None else mapped[..., :samples])
    pages = [Page(Path(each.parent.filehandle.path), each.offset, each.index) for each in series]
    return PagedArray(
        pages,
        page_shape=tuple(page.shape),
        page_letters=page.axes,
        dtype=series.dtype,
        shape=whole if samples is None else (*whole[:-1], samples),
        samples=samples,
    )


def _check_complete(path: Path, series: TiffPageSeries) -> None:
    if 0 in series.shape:
        raise ImageError(
            f"'{path}' is empty: its shape is {tuple(series.shape)}.", "Export it again."
        )
    # Of pixels in one piece only the first page is needed; listing all takes long.
    pages = list(series) if series.dataoffset is None else [series.keyframe]
    if any(page is None for page in pages):
        raise ImageError(
            f"'{path}' is damaged or cut short: planes that its OME metadata name are not there.",
            "Copy or export it again, with all files of its set.",
        )
    if series.dataoffset is None:
        _refuse_lies(path, series, pages)
    for page in (pages[0], pages[-1]):  # a file that was cut short lacks its end
        ends = (
            offset + size
            for offset, size in zip(page.dataoffsets, page.databytecounts, strict=True)
        )
        end = max(ends, default=0)
        if series.dataoffset is not None:
            end = series.dataoffset + prod(series.get_shape(False)) * series.dtype.itemsize
        if end > page.parent.filehandle.size:
            raise ImageError(
                f"'{path}' is cut short: its pixels end at byte {end}, the file at "
                f"{page.parent.filehandle.size}.",
                "Copy or export it again.",
            )


def _refuse_lies(path: Path, series: TiffPageSeries, pages: Sequence[TiffPage]) -> None:
    """Refuse pages that claim what their strips or tiles cannot hold."""
    page = pages[0]
    found, expected = len(page.dataoffsets), prod(page.chunked)
    if found < expected:
        raise ImageError(
            f"'{path}' is damaged or cut short: it has {found} of {expected} strips or tiles.",
            "Copy or export it again.",
        )
    stored = {each.parent.filehandle.path: each.parent.filehandle.size for each in pages}
    most = _MOST_EXPANSION.get(page.compression, MOST_EXPANSION)
    claimed = prod(series.shape) * series.dtype.itemsize
    refuse_overstated(path, claimed, sum(stored.values()), most=most)
    # A tile may be larger than a small image, and is decoded whole.
    part = prod(page.chunks) * series.dtype.itemsize
    if part > 4 * prod(page.shape) * series.dtype.itemsize:
        refuse_overstated(path, part, max(page.databytecounts), most=most)


def _may_have_alpha(series: TiffPageSeries) -> bool:
    """Whether the file calls the last sample of its pixels alpha, and they lie together."""
    page = series.keyframe
    letters, shape = series.get_axes(False), series.get_shape(False)
    # Older writers leave out the planar configuration: samples then lie together.
    is_said = tuple(page.extrasamples) in _ALPHA and int(page.planarconfig or 1) == _CONTIGUOUS
    if not is_said or not letters.endswith("YXS"):
        return False
    colors = 3 if page.photometric in (_RGB, _YCBCR) else 1
    return page.photometric in (*_GREY, _RGB, _YCBCR) and int(shape[-1]) == colors + 1


def _some_alpha(data: LazyArray) -> NDArray[Any]:
    """The last sample in some rows of the first plane: a large image is not read to tell."""
    rows = np.unique(np.linspace(0, data.shape[-3] - 1, ALPHA_ROWS).astype(int))
    plane = (0,) * (len(data.shape) - 3)
    return np.stack([np.asarray(data[(*plane, int(row))])[:, -1] for row in rows])


def _apply_palette(pixels: Pixels, colormap: NDArray[Any]) -> Pixels:
    # Palettes of TIFF have 16 bits; pictures are looked at with 8.
    colors = (colormap >> 8).astype(np.uint8).T
    return replace(pixels, data=PaletteArray(pixels.data, colors), letters=pixels.letters + "C")


def _turn_upright(pixels: Pixels, series: TiffPageSeries) -> Pixels:
    """Pixels as viewers show them: some cameras store pictures lying on their side."""
    tag = series.keyframe.tags.get(ORIENTATION_TAG)
    orientation = int(tag.value) if tag is not None and isinstance(tag.value, int) else 1
    if orientation not in range(2, 9) or not {"Y", "X"} <= set(pixels.letters):
        return pixels
    data = orient_lazily(pixels.data, pixels.letters, orientation)
    sizes = dict(pixels.pixel_size_um)
    if orientation >= 5:
        # Turned by a quarter: what was the width of a pixel is its height.
        swap = {"X": "Y", "Y": "X"}
        sizes = {swap.get(axis, axis): size for axis, size in sizes.items()}
    return replace(pixels, data=data, pixel_size_um=sizes)
