"""Images made ready to be shown, in a thread: small ones in memory, with the intensities between which they are seen well."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from maskloop.images.image import Image

__all__ = ["IMAGE", "PAIR", "PROJECT", "SOURCE", "bytes_of", "display_limits", "read_small"]

IMAGE, PAIR, PROJECT, SOURCE = "maskloop_image", "maskloop_pair", "maskloop_project", "source_path"
"""In ``layer.metadata``: the image a mask was made for, the pair shown and the folder of its
project, the file it came from.
"""

IN_MEMORY_BYTES = 2**28
"""Images up to this size are read at once; of larger ones the planes in view."""
PERCENTILES = (0.1, 99.9)
SAMPLE_PX = 512


def bytes_of(image: Image) -> int:
    """How large the pixels are."""
    return math.prod(image.shape) * image.data.dtype.itemsize


def read_small(image: Image) -> Image:
    """The image in memory where it is small, else as it is."""
    return replace(image, data=image.read()) if bytes_of(image) <= IN_MEMORY_BYTES else image


def display_limits(image: Image) -> tuple[float, float] | None:
    """Intensities between which the middle plane is seen well; None where they do not tell."""
    if image.data.dtype.kind == "b":
        return None
    step = max(1, min(image.sizes["Y"], image.sizes["X"]) // SAMPLE_PX)
    places = tuple(
        slice(None)
        if letter == "C"
        else slice(None, None, step)
        if letter in "YX"
        else image.sizes[letter] // 2
        for letter in image.axes
    )
    pixels = np.asarray(image.data[places])
    finite = pixels[np.isfinite(pixels)]
    if finite.size == 0:
        return None
    low, high = (float(value) for value in np.percentile(finite, PERCENTILES))
    return (low, high) if high > low else None
