"""Objects of images too large for memory, found block by block as if in one piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import prod

import numpy as np
from numpy.typing import NDArray

from maskloop.images.instances import DecodedInstances
from maskloop.images.scratch import WorkArray
from maskloop.predict.base import BlockOutput

__all__ = ["decode_blocks", "plan_blocks"]

DECODE_PIXELS = 3_000_000
"""Pixels decoded at once, margins included: about 100 MB of working memory."""


def plan_blocks(
    shape: Sequence[int], margin: int, *, pixels: int = DECODE_PIXELS
) -> Iterator[tuple[slice, ...]]:
    """Blocks that cover an array once, each of about `pixels` pixels or fewer with its margin.

    A block is never made shorter than twice the margin, or most of the work would go into margins.
    """
    counts = [1] * len(shape)

    def lengths() -> list[int]:
        return [-(-length // count) for length, count in zip(shape, counts, strict=True)]

    def size() -> int:
        sides = zip(shape, lengths(), strict=True)
        return prod(min(total, length + 2 * margin) for total, length in sides)

    while size() > pixels:
        # Cutting the longest side keeps blocks compact, and margins small.
        longest = max(range(len(shape)), key=lambda axis: lengths()[axis])
        # Shorter blocks would be nearly all margin; they may exceed the limit.
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
    scores: WorkArray,
    output: BlockOutput,
    write: Callable[[tuple[slice, ...], NDArray[np.int32]], None],
    *,
    first_id: int = 1,
    pixels: int = DECODE_PIXELS,
    before_block: Callable[[], None] = lambda: None,
) -> int:
    """Find the objects of a large image block by block, as if it were decoded in one piece.

    Each block is decoded with a margin of twice the largest object around it and owns the objects
    that begin in it. So an object and all neighbors that it competes with for pixels lie whole in
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
        # At the edge of the image there is nothing to look at.
        outer = tuple(
            slice(max(0, side.start - margin), min(length, side.stop + margin))
            for side, length in zip(core, shape, strict=True)
        )
        # Opened for each block: pages of a mapped file would otherwise count as memory to the end.
        decoded = output.find(np.asarray(scores.open()[(slice(None), *outer)]))
        owned = _owned(decoded, core, outer, shape)
        # What another block owns is written there.
        renumber = np.zeros(len(owned) + 1, np.int32)
        renumber[1:][owned] = np.arange(first_id, first_id + int(owned.sum()))
        write(outer, renumber[decoded.labels])
        first_id += int(owned.sum())
    return first_id


def _owned(
    decoded: DecodedInstances, core: Sequence[slice], outer: Sequence[slice], shape: Sequence[int]
) -> NDArray[np.bool_]:
    """Which objects of a block begin in its core.

    Foreground that may have its seed behind the margin belongs to no block.
    """
    # By where it begins, a single pixel, and not by its area: exactly one block holds that pixel.
    owned = np.ones(len(decoded.anchors), bool)
    for axis, (inside, around, length) in enumerate(zip(core, outer, shape, strict=True)):
        place = decoded.anchors[:, axis] + around.start
        owned &= (place >= inside.start) & (place < inside.stop)
        # Foreground that a cut divides may belong to a seed that this block cannot see.
        for end, is_cut in ((0, around.start > 0), (-1, around.stop < length)):
            if is_cut:
                reached = np.unique(np.take(decoded.labels, end, axis=axis))
                reached = reached[reached > 0] - 1
                owned[reached] &= decoded.has_seed[reached]
    return owned
