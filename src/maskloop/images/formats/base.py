"""What a file format offers: how its images are listed, opened, identified and written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from maskloop.images.image import Image
from maskloop.images.refs import ImageRef

__all__ = ["Format", "LabelSink", "SinkSpec"]

Region = tuple[slice, ...]
"""One slice per axis, in the order of the axes, each with a start and a stop."""


@dataclass(frozen=True)
class SinkSpec:
    """What is going to be written: all that a format must know before the first pixel comes.

    Parameters
    ----------
    shape, axes
        Length and letter (of TCZYX) of each dimension.
    dtype
        Type of the pixels; None for labels, which get the smallest unsigned integer type that
        holds them once all are known.
    pixel_size_um
        Micrometers per pixel by axis, where known.
    channel_names
        One per channel, where known.
    description
        Further facts to keep in the file, where the format has a place for them.
    work
        What the pixels are made from, in one text. A file that was begun for the same work is
        continued, one for any other work is started over; empty: always started over.
    """

    shape: tuple[int, ...]
    axes: str
    dtype: np.dtype[Any] | None = None
    pixel_size_um: Mapping[str, float] = field(default_factory=dict)
    channel_names: tuple[str, ...] = ()
    description: Mapping[str, Any] = field(default_factory=dict)
    work: str = ""


class LabelSink(Protocol):
    """Takes labels (or scores) region by region; the file is there whole at the end or not at all.

    A process that is killed leaves what it had written; the next sink for the same work has it.
    """

    @property
    def spec(self) -> SinkSpec:
        """What is written."""

    def is_written(self, region: Region) -> bool:
        """Whether each pixel of a region was written before and survived."""

    def highest(self, region: Region) -> int:
        """The highest label written within a region; 0 where there is none."""

    def write(self, region: Region, pixels: Any) -> None:
        """Write a region, in the order of the axes; one that is written already stays as it is.

        Raises
        ------
        MaskError
            If labels are negative, or higher than the format can hold.
        """

    def write_all(self, image: Image) -> None:
        """Write all pixels of an image of the same axes and shape."""

    # Scores that wait for a whole frame take longer to compute than labels to write.
    def workspace(self) -> Path | None:
        """A folder for intermediate results that survives with what is written, until the end.

        None where nothing would survive.
        """

    def commit(self) -> None:
        """Make all that was written survive a kill; otherwise the last second may be lost."""

    def finish(self) -> ImageRef:
        """Make the file whole and give it its name.

        Raises
        ------
        ProjectError
            If the disk is full or the folder not writable; a file that was there is unchanged.
        """

    def close(self) -> None:
        """Let go of what is open; what is written stays for the next one to continue."""

    def discard(self) -> None:
        """Remove what was written."""


class Format(Protocol):
    """One way to keep images. Register it under ``formats`` (see `maskloop.plugins`)."""

    name: str
    endings: tuple[str, ...]
    """Of the files or folders it opens, in small letters, such as ``.ome.tif``."""
    # A property of the format rather than a method that fails: choices can be offered.
    written_endings: tuple[str, ...]
    """Of those that it can write."""

    def sniff(self, path: Path, head: bytes) -> bool:
        """Whether it can open something whose ending says nothing.

        Parameters
        ----------
        path
            The file or folder.
        head
            Its first bytes; none for a folder.
        """

    def items(self, uri: str) -> tuple[ImageRef, ...]:
        """The images in a file or container, at full resolution.

        Raises
        ------
        ImageError
            If it cannot be read.
        """

    def levels(self, ref: ImageRef) -> int:
        """How many resolution levels an image has; 1 where there is no pyramid."""

    def open(self, ref: ImageRef) -> Image:
        """Open an image lazily: its pixels are read when they are asked for.

        Raises
        ------
        ImageError
            If it is missing, damaged or empty, or the reference fits several images.
        AxesError
            If nothing says what its dimensions are, or the axes of the reference do not fit.
        """

    def open_labels(self, ref: ImageRef) -> Image:
        """Open a mask lazily: the numbers as they are kept, whatever colors stand for them.

        Raises
        ------
        MaskError
            If the format cannot keep labels.
        ImageError, AxesError
            As for `open`.
        """

    def identity(self, ref: ImageRef) -> str:
        """What the pixels are: equal for equal content, another after any change."""

    def create(self, path: Path, spec: SinkSpec) -> LabelSink:
        """Begin or continue a file.

        Raises
        ------
        ImageError
            If the format cannot hold such pixels.
        ProjectError
            If the folder is not writable, or another process is writing the same file.
        """
