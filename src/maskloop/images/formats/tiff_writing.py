"""Writes TIFF, compressed, with axes and pixel size; memory does not grow with the image."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import product
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from maskloop.errors import ImageError
from maskloop.images.axes import CANONICAL, reorder
from maskloop.images.formats.base import SinkSpec
from maskloop.images.formats.tiff_metadata import FACTS_KEY
from maskloop.images.image import Image
from maskloop.records import jsonable, write_whole

__all__ = ["check_tiff", "write_tiff"]

TILE = 512
STRIP_BYTES = 1 << 20
LARGEST_STRIPPED_PX = 2048 * 2048
"""Larger planes are tiled, so that viewers can show a part; ImageJ opens strips but no tiles
without a plug-in.
"""

MOST_SAMPLES = 16
"""More channels than this are written as planes even when they come last: a plane is then read
without the others.
"""

LARGEST_CLASSIC_BYTES = 4_000_000_000
OME_TYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64")
IMAGEJ_TYPES = ("uint8", "uint16", "float32")


def check_tiff(path: Path, spec: SinkSpec) -> None:
    """Refuse pixels of a type that the file cannot hold.

    Raises
    ------
    ImageError
        If it cannot hold them.
    """
    if spec.dtype is not None:
        _check_type(path, spec.dtype)


def _check_type(path: Path, dtype: np.dtype[Any]) -> None:
    if (_is_ome(path) and dtype.name not in OME_TYPES) or (
        dtype.kind not in "uif" or dtype.itemsize > 8
    ):
        raise ImageError(
            f"'{path}' cannot hold pixels of type {dtype}.",
            "Convert them, or select .tif (integers and floats of up to 64 bits).",
        )


def _is_ome(path: Path) -> bool:
    return path.name.lower().endswith((".ome.tif", ".ome.tiff"))


def write_tiff(path: Path, image: Image, dtype: np.dtype[Any], spec: SinkSpec) -> None:
    """Write a whole TIFF file, or leave the one that was there.

    Parameters
    ----------
    path
        Ending .ome.tif or .ome.tiff for OME-TIFF.
    image
        The pixels, read in pieces. Axes that do not end in YX (or YXC, up to 16 channels) are
        written in the order TCZYX.
    dtype
        Type in which they are written.
    spec
        Pixel size, channel names and further facts to keep.

    Raises
    ------
    ImageError
        If the file cannot hold this type.
    ProjectError
        If the disk is full or the folder not writable.
    """
    _check_type(path, dtype)
    layout = _Layout(image, dtype)
    sizes = {axis: float(size) for axis, size in spec.pixel_size_um.items() if axis in layout.axes}
    facts = {
        "axes": layout.axes,
        "pixel_size_um": sizes,
        "channel_names": list(spec.channel_names),
        "description": jsonable(dict(spec.description)),
    }
    with write_whole(path) as file:
        _fill_tiff(file, image, layout, _options(path, layout, facts))


def _options(path: Path, layout: _Layout, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What tifffile is told, by the dialect that the file will speak."""
    sizes = facts["pixel_size_um"]
    if _is_ome(path):
        metadata = _ome_metadata(layout, facts)
        return {"ome": True, "metadata": metadata, **_resolution(sizes, imagej=False)}
    if _is_for_imagej(layout):
        description = _imagej_description(layout, facts)
        return {
            "metadata": None,
            "description": description,
            **_resolution(sizes, imagej=True),
        }
    description = _plain_description(layout, facts)
    return {"metadata": None, "description": description, **_resolution(sizes, imagej=False)}


class _Layout:
    """How an image is cut into pages and pages into strips or tiles.

    Parameters
    ----------
    image
        What is written.
    dtype
        The type it is written in.
    """

    def __init__(self, image: Image, dtype: np.dtype[Any]) -> None:
        last = image.axes.endswith("YXC") and image.channels <= MOST_SAMPLES
        self.dtype = dtype
        self.axes = image.axes
        if not (image.axes.endswith("YX") or last):
            self.axes = "".join(letter for letter in CANONICAL if letter in image.axes)
        self.samples = image.channels if last else 1
        self.inner = "YXC" if self.samples > 1 else "YX"
        # A single sample has no axis in the file; our own description brings it back.
        self.stored = self.axes.removesuffix("C") if last and self.samples == 1 else self.axes
        self.outer = self.stored.removesuffix(self.inner)
        self.shape = tuple(image.sizes[letter] for letter in self.stored)
        self.height, self.width = image.sizes["Y"], image.sizes["X"]
        # A viewer can show a part of a tiled plane without reading all of it.
        self.tiled = self.height * self.width > LARGEST_STRIPPED_PX
        row_bytes = self.width * self.samples * dtype.itemsize
        self.block = (TILE, TILE)
        if not self.tiled:
            self.block = (min(self.height, max(1, STRIP_BYTES // row_bytes)), self.width)
        self.nbytes = prod(self.shape) * dtype.itemsize


def _blocks(image: Image, layout: _Layout) -> Iterator[NDArray[Any]]:
    """Strips or tiles of all pages in the order of the file, cut at the edge, one at a time."""
    rows, columns = layout.block
    for place in product(*(range(image.sizes[letter]) for letter in layout.outer)):
        at: dict[str, Any] = dict(zip(layout.outer, place, strict=True))
        for top, left in product(range(0, layout.height, rows), range(0, layout.width, columns)):
            key = at | {"Y": slice(top, top + rows), "X": slice(left, left + columns)}
            # Only one block is in memory at a time.
            piece = np.asarray(
                image.data[tuple(key.get(letter, slice(None)) for letter in image.axes)]
            )
            yield reorder(
                piece, "".join(letter for letter in image.axes if letter not in at), layout.inner
            )


def _encoded(image: Image, layout: _Layout) -> Iterator[bytes]:
    import imagecodecs

    for block in _blocks(image, layout):
        block = np.ascontiguousarray(block, layout.dtype)
        if layout.tiled and block.shape[:2] != layout.block:
            padding = [
                (0, whole - size) for whole, size in zip(layout.block, block.shape, strict=False)
            ]
            block = np.pad(block, padding + [(0, 0)] * (block.ndim - 2))
        # Compresses five times as fast as the standard library at the same level, and a little
        # better.
        yield bytes(imagecodecs.deflate_encode(block.tobytes(), 6))


def _fill_tiff(file: IO[bytes], image: Image, layout: _Layout, options: dict[str, Any]) -> None:
    from tifffile import FileHandle, TiffWriter

    # Other programs show three channels of these types as colors, of floats as black.
    color = layout.samples == 3 and layout.dtype.name in ("uint8", "uint16")
    # A temporary file has a number where tifffile looks for a name.
    handle = FileHandle(file, name="image.tif")
    with TiffWriter(
        handle,
        bigtiff=layout.nbytes > LARGEST_CLASSIC_BYTES,
        ome=options.pop("ome", False),
        shaped=False,
    ) as writer:
        writer.write(
            _encoded(image, layout),
            shape=layout.shape,
            dtype=layout.dtype,
            photometric="rgb" if color else "minisblack",
            planarconfig="contig" if layout.samples > 1 else None,
            compression="zlib",
            **({"tile": layout.block} if layout.tiled else {"rowsperstrip": layout.block[0]}),
            **options,
        )


def _is_for_imagej(layout: _Layout) -> bool:
    return (
        layout.dtype.name in IMAGEJ_TYPES
        and layout.samples == 1
        and [letter for letter in "TZCYX" if letter in layout.stored] == list(layout.stored)
        and not layout.tiled
        and layout.nbytes <= LARGEST_CLASSIC_BYTES
    )


def _resolution(sizes: Mapping[str, float], *, imagej: bool) -> dict[str, Any]:
    if not {"X", "Y"} <= sizes.keys():
        return {}
    # ImageJ takes the unit from the description.
    per_unit, unit = (1.0, "NONE") if imagej else (1e4, "CENTIMETER")
    return {"resolution": (per_unit / sizes["X"], per_unit / sizes["Y"]), "resolutionunit": unit}


def _letters(layout: _Layout) -> str:
    return layout.outer + layout.inner.replace("C", "S")


def _plain_description(layout: _Layout, facts: Mapping[str, Any]) -> str:
    """JSON as tifffile and what builds on it (scikit-image, napari) know it."""
    return json.dumps(
        {"shape": layout.shape, "axes": _letters(layout), FACTS_KEY: json.dumps(facts)}
    )


def _imagej_description(layout: _Layout, facts: Mapping[str, Any]) -> str:
    sizes, counts = facts["pixel_size_um"], dict(zip(layout.stored, layout.shape, strict=True))
    # ImageJ takes only what it wrote itself; this is the version whose format it is.
    entries = {"ImageJ": "1.54f", "images": prod(layout.shape[:-2])}
    entries |= {
        word: counts[axis]
        for axis, word in (("C", "channels"), ("Z", "slices"), ("T", "frames"))
        if counts.get(axis, 1) > 1
    }
    entries |= {"hyperstack": "true", "mode": "grayscale"}
    if {"X", "Y"} <= sizes.keys():
        entries["unit"] = "um"
    if "Z" in sizes:
        entries["spacing"] = sizes["Z"]
    entries |= {"loop": "false", FACTS_KEY: json.dumps(facts)}
    return "".join(f"{key}={value}\n" for key, value in entries.items())


def _ome_metadata(layout: _Layout, facts: Mapping[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "axes": _letters(layout),
        "MapAnnotation": {"Namespace": FACTS_KEY, FACTS_KEY: json.dumps(facts)},
    }
    for axis, size in facts["pixel_size_um"].items():
        # In micrometers, the unit that OME assumes anyway.
        metadata |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "µm"}
    if facts["channel_names"] and layout.samples == 1:
        metadata["Channel"] = {"Name": facts["channel_names"]}
    return metadata
