"""Images prepared for display, in a thread: small ones in memory, with contrast limits."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from maskloop.images.image import Image

__all__ = ["bytes_of", "display_limits", "middle_plane", "read_small"]

IN_MEMORY_BYTES = 2**28
"""Images up to this size are read whole; of larger ones only the planes in view."""
PERCENTILES = (0.1, 99.9)
SAMPLE_PX = 512


def bytes_of(image: Image) -> int:
    """Size of the pixels."""
    return math.prod(image.shape) * image.data.dtype.itemsize


def read_small(image: Image) -> Image:
    """The image in memory if it is small, else as it is."""
    return replace(image, data=image.read()) if bytes_of(image) <= IN_MEMORY_BYTES else image


def middle_plane(image: Image, step: int) -> tuple[slice | int, ...]:
    """Index of the middle plane with all channels, every `step`-th row and column."""
    places: dict[str, slice | int] = {"C": slice(None)}
    places |= dict.fromkeys("YX", slice(None, None, step))
    return tuple(places.get(letter, image.sizes[letter] // 2) for letter in image.axes)


def display_limits(image: Image) -> tuple[float, float] | None:
    """Contrast limits from the middle plane; None for a constant or binary one."""
    if image.data.dtype.kind == "b":
        return None
    step = max(1, min(image.sizes["Y"], image.sizes["X"]) // SAMPLE_PX)
    pixels = np.asarray(image.data[middle_plane(image, step)])
    finite = pixels[np.isfinite(pixels)]
    if finite.size == 0:
        return None
    low, high = (float(value) for value in np.percentile(finite, PERCENTILES))
    return (low, high) if high > low else None
