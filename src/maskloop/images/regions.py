"""Parts of an array as boxes: cut into pieces of a size, and which of them are done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from math import prod

__all__ = ["Covered", "Region", "cut_regions", "whole_region"]

Region = tuple[slice, ...]
"""One slice per axis, each with a start and a stop."""

Box = tuple[tuple[int, int], ...]


def whole_region(shape: Sequence[int]) -> Region:
    """The region of all pixels."""
    return tuple(slice(0, length) for length in shape)


def cut_regions(shape: Sequence[int], itemsize: int, *, limit_bytes: int) -> Iterator[Region]:
    """Regions that cover an array once, in the order of its memory, none larger than a limit.

    Parameters
    ----------
    shape
        Of the array.
    itemsize
        Bytes of one entry.
    limit_bytes
        Of a region; a single row along the last axis may exceed it.
    """
    # The first axis along which a step is small enough is cut into runs; those before it entry by
    # entry, those after it not at all.
    steps = [prod(shape[axis + 1 :]) * itemsize for axis in range(len(shape))]
    cut = next((axis for axis, step in enumerate(steps) if step <= limit_bytes), len(shape) - 1)
    run = max(1, limit_bytes // max(1, steps[cut]))
    for place in product(*(range(length) for length in shape[:cut])):
        for start in range(0, shape[cut], run):
            yield (
                *(slice(at, at + 1) for at in place),
                slice(start, min(start + run, shape[cut])),
                *(slice(0, length) for length in shape[cut + 1 :]),
            )


class Covered:
    """Which part of an array is covered by boxes; boxes that touch along a side become one.

    What is written in the order of the array stays a handful of boxes, however many come.
    """

    def __init__(self, regions: Iterable[Region] = ()) -> None:
        self._boxes: list[Box] = []
        for region in regions:
            self.add(region)

    def add(self, region: Region) -> None:
        """Cover a region too."""
        box: Box = tuple((side.start, side.stop) for side in region)
        merged = True
        while merged:
            merged = False
            # From the end: what was added last is the most likely neighbor.
            for at in range(len(self._boxes) - 1, -1, -1):
                union = _union(self._boxes[at], box)
                if union is not None:
                    box = union
                    del self._boxes[at]
                    merged = True
                    break
        self._boxes.append(box)

    def __contains__(self, region: Region) -> bool:
        left: list[Box] = [tuple((side.start, side.stop) for side in region)]
        for box in self._boxes:
            left = [rest for each in left for rest in _subtract(each, box)]
        return not left


def _union(first: Box, second: Box) -> Box | None:
    """The two boxes as one, where that is a box."""
    differing = [
        axis for axis, (one, other) in enumerate(zip(first, second, strict=True)) if one != other
    ]
    if not differing:
        return first
    if len(differing) > 1:
        return None
    axis = differing[0]
    (start, stop), (other_start, other_stop) = first[axis], second[axis]
    if max(start, other_start) > min(stop, other_stop):
        return None
    # Boxes that differ along one axis only and touch or overlap there are one box.
    joined = (min(start, other_start), max(stop, other_stop))
    return (*first[:axis], joined, *first[axis + 1 :])


def _subtract(box: Box, hole: Box) -> Iterator[Box]:
    """What is left of a box without another, as boxes that do not overlap."""
    inner = [
        (max(start, other_start), min(stop, other_stop))
        for (start, stop), (other_start, other_stop) in zip(box, hole, strict=True)
    ]
    if any(start >= stop for start, stop in inner):
        yield box
        return
    rest = list(box)
    for axis, (start, stop) in enumerate(inner):
        if rest[axis][0] < start:
            yield (*rest[:axis], (rest[axis][0], start), *rest[axis + 1 :])
        if stop < rest[axis][1]:
            yield (*rest[:axis], (stop, rest[axis][1]), *rest[axis + 1 :])
        # What is left of later axes lies within the hole along this one.
        rest[axis] = (start, stop)
