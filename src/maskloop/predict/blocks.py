"""What is too large for memory: arrays in scratch files, and objects found block by block."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from maskloop.errors import ImageError
from maskloop.images.instances import DecodedInstances
from maskloop.predict.base import BlockOutput

__all__ = ["Scratch", "decode_blocks", "plan_blocks"]

DECODE_PIXELS = 3_000_000
"""Pixels decoded at once, margins included: about 100 MB of working memory."""


class Scratch:
    """An array of zeros, in memory when small and in a nameless temporary file when large; freed with its last view.

    Parameters
    ----------
    shape, dtype
        Of the array.
    folder
        Where the file goes; the system's folder for temporary files by default.
    limit_bytes
        Larger arrays go to a file.

    Raises
    ------
    ImageError
        If the disk has no room for the file.
    """

    def __init__(
        self, shape: Sequence[int], dtype: DTypeLike, *, folder: Path | None, limit_bytes: int
    ) -> None:
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)
        size = prod(self.shape) * self.dtype.itemsize
        self._array = np.zeros(self.shape, self.dtype) if size <= limit_bytes else None
        if self._array is None:
            try:
                self._file = tempfile.TemporaryFile(prefix="maskloop-", dir=folder)  # noqa: SIM115 - closed with this object
                # The views keep the pixels: a mapping outlives the file that it was made from.
                weakref.finalize(self, self._file.close)
                _reserve(self._file.fileno(), size)
            except OSError as error:
                raise ImageError(
                    f"{size / 1e9:.1f} GB of scratch space in '{folder or tempfile.gettempdir()}' are not to be had: {error.strerror}.",
                    "Free some space, or name another scratch folder (TMPDIR does it for the command line).",
                ) from error

    def open(self) -> NDArray[Any]:
        """The array to read and write.

        A file is mapped anew each time, so that its pages leave memory with the view.
        """
        return (
            self._array
            if self._array is not None
            else np.memmap(self._file, self.dtype, "r+", shape=self.shape)
        )


def _reserve(descriptor: int, size: int) -> None:
    # Writing to a mapped file with no room left kills the process; asking for the room first gives
    # an error instead.
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.truncate(descriptor, size)


def plan_blocks(
    shape: Sequence[int], margin: int, *, pixels: int = DECODE_PIXELS
) -> Iterator[tuple[slice, ...]]:
    """Blocks that cover an array once, such that each with a margin around it has about `pixels` pixels or fewer.

    A block is never made shorter than twice the margin, or most of the work would go into margins.
    """
    counts = [1] * len(shape)

    def lengths() -> list[int]:
        return [-(-length // count) for length, count in zip(shape, counts, strict=True)]

    while (
        prod(
            min(total, length + 2 * margin) for total, length in zip(shape, lengths(), strict=True)
        )
        > pixels
    ):
        longest = max(range(len(shape)), key=lambda axis: lengths()[axis])
        if lengths()[longest] < max(4 * margin, 2):
            break
        counts[longest] += 1
    for place in product(
        *(range(0, total, length) for total, length in zip(shape, lengths(), strict=True))
    ):
        yield tuple(
            slice(start, min(start + length, total))
            for start, length, total in zip(place, lengths(), shape, strict=True)
        )


def decode_blocks(
    scores: Scratch,
    output: BlockOutput,
    write: Callable[[tuple[slice, ...], NDArray[np.int32]], None],
    *,
    first_id: int = 1,
    pixels: int = DECODE_PIXELS,
    before_block: Callable[[], None] = lambda: None,
) -> int:
    """Find the objects of a large image block by block, as if it were decoded in one piece.

    Each block is decoded with a margin of twice the largest object around it and owns the objects
    that begin in it. So an object and all neighbours that it competes with for pixels lie whole in
    the block that owns it, and the result is that of the whole image. It differs only for objects
    larger than the settings say, and for foreground without any seed that is larger than the
    margin.

    Parameters
    ----------
    scores
        (3, *spatial) uint8.
    output
        How scores become objects, and how far blocks must overlap.
    write
        Takes a region and the new labels in it, 0 where there is nothing to write.
    first_id
        Number of the first object.
    pixels
        How many may be decoded at once.
    before_block
        Called before each block; may raise to stop.

    Returns
    -------
    next_id
        One more than the number of the last object.
    """
    shape = scores.shape[1:]
    margin = output.margin_px
    for core in plan_blocks(shape, margin, pixels=pixels):
        before_block()
        outer = tuple(
            slice(max(0, side.start - margin), min(length, side.stop + margin))
            for side, length in zip(core, shape, strict=True)
        )
        decoded = output.find(np.asarray(scores.open()[(slice(None), *outer)]))
        owned = _owned(decoded, core, outer, shape)
        renumber = np.zeros(len(owned) + 1, np.int32)
        renumber[1:][owned] = np.arange(first_id, first_id + int(owned.sum()))
        write(outer, renumber[decoded.labels])
        first_id += int(owned.sum())
    return first_id


def _owned(
    decoded: DecodedInstances, core: Sequence[slice], outer: Sequence[slice], shape: Sequence[int]
) -> NDArray[np.bool_]:
    """Which objects of a block begin in its core; foreground that may have its seed behind the margin belongs to nobody."""
    owned = np.ones(len(decoded.anchors), bool)
    for axis, (inside, around, length) in enumerate(zip(core, outer, shape, strict=True)):
        place = decoded.anchors[:, axis] + around.start
        owned &= (place >= inside.start) & (place < inside.stop)
        for end, is_cut in ((0, around.start > 0), (-1, around.stop < length)):
            if is_cut:
                reached = np.unique(np.take(decoded.labels, end, axis=axis))
                reached = reached[reached > 0] - 1
                owned[reached] &= decoded.has_seed[reached]
    return owned
