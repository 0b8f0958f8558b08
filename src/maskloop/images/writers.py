"""Labels and images to files, and pictures of both to look at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop.errors import ImageError
from maskloop.images.formats import create_file
from maskloop.images.formats.base import SinkSpec
from maskloop.images.formats.staged import smallest_dtype
from maskloop.images.image import ArrayLike, Image

__all__ = ["overlay_png", "smallest_dtype", "write_image", "write_labels"]

PICTURE_PX = 768
"""Pictures to look at are enlarged to about this size, at most threefold."""


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
    _write(path, image, None, description)


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
    # No file format has a boolean type that all programs read.
    kept = np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")
    _write(path, image, kept, description)


def _write(
    path: str | Path,
    image: Image,
    dtype: np.dtype[Any] | None,
    description: Mapping[str, Any] | None,
) -> None:
    spec = SinkSpec(
        image.shape,
        image.axes,
        dtype,
        image.pixel_size_um,
        image.channel_names,
        description or {},
    )
    sink = create_file(path, spec)
    sink.write_all(image)
    sink.close()


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
    # The truth first: the prediction is drawn over it.
    for mask, color in ((truth, (70, 150, 255)), (labels, (255, 220, 0))):
        if mask is not None:
            picture[find_boundaries(_enlarged(mask, zoom), mode="inner")] = color
    write_image(path, Image(picture, "YXC"))


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
