"""A sink that keeps labels in memory, or in a nameless scratch file when they are large."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from maskloop.images.formats.base import SinkSpec
from maskloop.images.image import Image
from maskloop.images.refs import ImageRef
from maskloop.images.regions import Region
from maskloop.images.scratch import Scratch

__all__ = ["MemorySink"]

MEMORY_BYTES = 256_000_000
"""Larger results live in a scratch file."""


class MemorySink:
    """Takes regions as a file would; what it took is an image at any time.

    Parameters
    ----------
    spec
        What is written; names its type.
    folder
        Where a scratch file goes; the system's folder for temporary files by default.
    """

    def __init__(self, spec: SinkSpec, *, folder: Path | None = None) -> None:
        self.spec = spec
        # Signed, because NumPy users subtract labels.
        dtype = spec.dtype or np.dtype(np.int32)
        self._array = Scratch(spec.shape, dtype, folder=folder, limit_bytes=MEMORY_BYTES)

    def is_written(self, region: Region) -> bool:
        """Whether each pixel of a region was written before."""
        return self._array.is_written(region)

    def highest(self, region: Region) -> int:
        """The highest label written within a region."""
        return int(self._array.open()[region].max(initial=0))

    def write(self, region: Region, pixels: Any) -> None:
        """Write a region, in the order of the axes."""
        if not self.is_written(region):
            self._array.write(region, pixels)

    def write_all(self, image: Image) -> None:
        """Write all pixels of an image."""
        self._array.open()[...] = image.data[...]

    def workspace(self) -> None:
        """None: nothing here survives."""

    def commit(self) -> None:
        """Nothing to do: nothing here survives."""

    def finish(self) -> ImageRef:
        """Nothing to do; there is no file to refer to."""
        return ImageRef(uri="memory")

    def close(self) -> None:
        """Nothing to do."""

    def discard(self) -> None:
        """Nothing to do: it is gone with the last view of it."""

    def image(self, name: str) -> Image:
        """What was written."""
        spec = self.spec
        return Image(self._array.open(), spec.axes, spec.pixel_size_um, spec.channel_names, name)
