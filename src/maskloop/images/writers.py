"""Images to files: compressed, with axes and pixel size, whole or not at all, in memory that does not grow with the image."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import product
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from maskloop.errors import ImageError, MaskError
from maskloop.images.axes import CANONICAL, reorder
from maskloop.images.image import ArrayLike, Image
from maskloop.images.tiff import FACTS_KEY
from maskloop.records import jsonable, write_bytes, write_whole

__all__ = ["overlay_png", "smallest_dtype", "write_image", "write_labels"]

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

PICTURE_PX = 768
"""Pictures to look at are enlarged to about this size, at most threefold."""


def smallest_dtype(maximum: int) -> np.dtype[Any]:
    """The smallest unsigned integer type that holds 0..maximum."""
    return np.min_scalar_type(max(0, maximum))


def write_labels(
    path: str | Path,
    labels: ArrayLike,
    *,
    axes: str,
    pixel_size_um: Mapping[str, float] | None = None,
    description: Mapping[str, Any] | None = None,
) -> None:
    """Write a mask in the smallest integer type that holds its labels.

    Parameters
    ----------
    path
        Ending .tif or .tiff (compressed; ImageJ opens it where its types allow, see `write_image`),
        .ome.tif or .ome.tiff, .png (YX, up to 65535 labels) or .npy. PNG and NPY keep neither pixel
        size nor description, NPY no axes either.
    labels
        Any array with shape, dtype and slicing, of integers or booleans; read in pieces.
    axes
        One letter of TZYX per dimension.
    pixel_size_um
        Micrometres per pixel by axis, where known.
    description
        Further facts to keep in a TIFF file (numbers, strings, lists, mappings).

    Raises
    ------
    MaskError
        If the labels are not integers, are negative or do not fit the format.
    ImageError
        If the array is empty or the format cannot hold it.
    ProjectError
        If the disk is full or the folder not writable; a file that was there before is then
        unchanged.
    """
    image = Image(labels, axes, pixel_size_um=pixel_size_um or {}, name=Path(path).name)
    if image.data.dtype.kind not in "bui":
        raise MaskError(
            f"The labels for '{path}' are of type {image.data.dtype}.",
            "Labels are whole numbers: round or threshold them first.",
        )
    low, high = _range(image)
    if low < 0:
        raise MaskError(
            f"The labels for '{path}' go down to {low}.",
            "Labels are 0 for background and positive for objects or classes.",
        )
    _write(Path(path), image, smallest_dtype(high), description or {})


def write_image(
    path: str | Path, image: Image, *, description: Mapping[str, Any] | None = None
) -> None:
    """Write pixels as they are, such as probabilities; booleans become 0 and 1 of 8 bits.

    Parameters
    ----------
    path
        As for `write_labels`. A plain .tif is one that ImageJ opens as a hyperstack when the type
        is uint8, uint16 or float32, the axes are in the order TZCYX and a plane has at most 2048 x
        2048 pixels. PNG takes YX and YXC of three channels, 8 or 16 bits.
    image
        The pixels; read in pieces. Axes that do not end in YX (or YXC, up to 16 channels) are
        written in the order TCZYX.
    description
        Further facts to keep in a TIFF file.

    Raises
    ------
    ImageError
        If the image is empty or the format cannot hold it.
    ProjectError
        If the disk is full or the folder not writable; a file that was there before is then
        unchanged.
    """
    dtype = image.data.dtype
    _write(
        Path(path),
        image,
        np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("="),
        description or {},
    )


def _write(path: Path, image: Image, dtype: np.dtype[Any], description: Mapping[str, Any]) -> None:
    name = path.name.lower()
    if 0 in image.shape:
        raise ImageError(
            f"There is nothing to write to '{path}': the shape is {image.shape}.",
            "Write an image with pixels.",
        )
    if name.endswith(".png"):
        _write_png(path, image, dtype)
    elif name.endswith(".npy"):
        _write_npy(path, image, dtype)
    elif name.endswith((".tif", ".tiff")):
        _write_tiff(path, image, dtype, description)
    else:
        raise ImageError(
            f"'{path}' does not end in a format that can be written.",
            "Choose .tif, .ome.tif, .png or .npy.",
        )


def _range(image: Image) -> tuple[int, int]:
    if image.data.dtype.kind == "b" or 0 in image.shape:
        return 0, 1
    low, high = 0, 0
    for block in _blocks(image, _Layout(image, image.data.dtype)):
        low, high = min(low, int(block.min())), max(high, int(block.max()))
    return low, high


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
        keep = image.axes.endswith("YX") or last
        self.dtype = dtype
        self.axes = (
            image.axes if keep else "".join(letter for letter in CANONICAL if letter in image.axes)
        )
        self.samples = image.channels if last else 1
        self.inner = "YXC" if self.samples > 1 else "YX"
        # A single sample has no axis in the file; our own description brings it back.
        self.stored = self.axes.removesuffix("C") if last and self.samples == 1 else self.axes
        self.outer = self.stored.removesuffix(self.inner)
        self.shape = tuple(image.sizes[letter] for letter in self.stored)
        self.height, self.width = image.sizes["Y"], image.sizes["X"]
        self.tiled = self.height * self.width > LARGEST_STRIPPED_PX
        row_bytes = self.width * self.samples * dtype.itemsize
        self.block = (
            (TILE, TILE)
            if self.tiled
            else (min(self.height, max(1, STRIP_BYTES // row_bytes)), self.width)
        )
        self.nbytes = prod(self.shape) * dtype.itemsize


def _blocks(image: Image, layout: _Layout) -> Iterator[NDArray[Any]]:
    """The strips or tiles of all pages in the order of the file, cut at the edge of the image, read one at a time."""
    rows, columns = layout.block
    for place in product(*(range(image.sizes[letter]) for letter in layout.outer)):
        at: dict[str, Any] = dict(zip(layout.outer, place, strict=True))
        for top, left in product(range(0, layout.height, rows), range(0, layout.width, columns)):
            key = at | {"Y": slice(top, top + rows), "X": slice(left, left + columns)}
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


def _write_tiff(
    path: Path, image: Image, dtype: np.dtype[Any], description: Mapping[str, Any]
) -> None:
    layout = _Layout(image, dtype)
    ome = path.name.lower().endswith((".ome.tif", ".ome.tiff"))
    if (ome and dtype.name not in OME_TYPES) or dtype.kind not in "uif" or dtype.itemsize > 8:
        raise ImageError(
            f"'{path}' cannot hold pixels of type {dtype}.",
            "Convert them, or choose .tif (integers and floats of up to 64 bits).",
        )
    sizes = {axis: float(size) for axis, size in image.pixel_size_um.items() if axis in layout.axes}
    facts = {
        "axes": layout.axes,
        "pixel_size_um": sizes,
        "channel_names": list(image.channel_names),
        "description": jsonable(dict(description)),
    }
    if ome:
        options: dict[str, Any] = {
            "ome": True,
            "metadata": _ome_metadata(layout, facts),
            **_resolution(sizes, imagej=False),
        }
    elif _is_for_imagej(layout):
        options = {
            "metadata": None,
            "description": _imagej_description(layout, facts),
            **_resolution(sizes, imagej=True),
        }
    else:
        options = {
            "metadata": None,
            "description": _plain_description(layout, facts),
            **_resolution(sizes, imagej=False),
        }
    with write_whole(path) as file:
        _fill_tiff(file, image, layout, options)


def _fill_tiff(file: IO[bytes], image: Image, layout: _Layout, options: dict[str, Any]) -> None:
    from tifffile import FileHandle, TiffWriter

    colour = layout.samples == 3 and layout.dtype.name in ("uint8", "uint16")
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
            photometric="rgb" if colour else "minisblack",
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
    per_unit, unit = (
        (1.0, "NONE") if imagej else (1e4, "CENTIMETER")
    )  # ImageJ takes the unit from the description
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
        metadata |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "µm"}
    if facts["channel_names"] and layout.samples == 1:
        metadata["Channel"] = {"Name": facts["channel_names"]}
    return metadata


def _write_png(path: Path, image: Image, dtype: np.dtype[Any]) -> None:
    import imagecodecs

    if dtype.name not in ("uint8", "uint16"):
        raise ImageError(
            f"A PNG holds whole numbers of 8 or 16 bits, not {dtype} ('{path}').",
            "Choose .tif, which holds all types.",
        )
    colour = image.axes.endswith("YXC") and image.channels == 3
    target = "YXC" if colour else "YX"
    if any(size > 1 for letter, size in image.sizes.items() if letter not in target):
        raise ImageError(
            f"A PNG holds one plane, not axes {image.axes} {image.shape} ('{path}').",
            "Choose .tif, which holds stacks.",
        )
    write_bytes(
        path, bytes(imagecodecs.png_encode(np.ascontiguousarray(image.read(target), dtype)))
    )


def _write_npy(path: Path, image: Image, dtype: np.dtype[Any]) -> None:
    with write_whole(path) as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": dtype.str, "fortran_order": False, "shape": image.shape}
        )
        rows = max(1, STRIP_BYTES * image.shape[0] // max(1, prod(image.shape) * dtype.itemsize))
        for top in range(0, image.shape[0], rows):
            file.write(np.ascontiguousarray(image.data[top : top + rows], dtype).tobytes())


def overlay_png(
    path: str | Path, image: NDArray[Any], labels: NDArray[Any], truth: NDArray[Any] | None = None
) -> None:
    """Draw the outlines of labels over an image, to look at.

    Parameters
    ----------
    path
        The PNG file to write.
    image
        (Y, X) or (Y, X, 3), any type; stretched from its 1st to its 99.8th percentile, and enlarged
        by a whole factor when it is small.
    labels
        (Y, X) integers; outlined in yellow.
    truth
        (Y, X) integers; outlined in blue below the labels, so that blue is what they miss.

    Raises
    ------
    ImageError
        If the shapes differ.
    """
    from skimage.segmentation import find_boundaries

    for mask in (labels, truth):
        if mask is not None and mask.shape != image.shape[:2]:
            raise ImageError(
                f"The image is {image.shape[:2]}, its labels are {mask.shape}.",
                "Draw labels over the image they belong to.",
            )
    # Outlines are a pixel wide: small images are drawn larger, so that an outline hides less of its
    # object.
    zoom = min(3, max(1, PICTURE_PX // max(image.shape[:2])))
    picture = _enlarged(_stretch(image), zoom)
    for mask, colour in ((truth, (70, 150, 255)), (labels, (255, 220, 0))):
        if mask is not None:
            picture[find_boundaries(_enlarged(mask, zoom), mode="inner")] = colour
    _write_png(Path(path), Image(picture, "YXC"), picture.dtype)


def _enlarged(pixels: NDArray[Any], zoom: int) -> NDArray[Any]:
    return pixels.repeat(zoom, axis=0).repeat(zoom, axis=1)


def _stretch(image: NDArray[Any]) -> NDArray[np.uint8]:
    pixels = image.astype(np.float32)
    finite = pixels[np.isfinite(pixels)]
    low, high = np.percentile(finite, (1, 99.8)) if finite.size else (0.0, 1.0)
    scaled = np.nan_to_num(
        (pixels - low) * (255 / max(float(high - low), 1e-6)), posinf=255.0, neginf=0.0
    )
    grey = np.clip(scaled, 0, 255).astype(np.uint8)
    return grey.copy() if grey.ndim == 3 else np.repeat(grey[..., None], 3, axis=2)
