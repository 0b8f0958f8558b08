"""What the labels of masks mean, told only where it is certain."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop.errors import UsageError
from maskloop.task import OutputMode, require_mode

__all__ = ["MaskMeaning", "tell_meaning"]

FEW_LABELS = 12
"""Up to here labels may be classes; more than this, each in one piece, are objects."""


@dataclass(frozen=True)
class MaskMeaning:
    """What masks hold, and how that can be seen."""

    mode: OutputMode
    labels: tuple[int, ...]
    """The labels besides 0 that stand for classes: one for binary and instances."""
    reason: str


def tell_meaning(masks: Iterable[NDArray[Any]], *, mode: str | None = None) -> MaskMeaning:
    """Tell from masks whether they hold one class, several classes, or objects with numbers.

    One value besides 0 in all masks is one class. A few values that each lie in many separate
    pieces are classes. Many values that each lie in one piece are objects. Anything else could be
    either, and is refused.

    Parameters
    ----------
    masks
        Label images of any shape; whole numbers.
    mode
        What a person says they are; then only the labels are gathered.

    Raises
    ------
    UsageError
        If it is not certain, or there is nothing in the masks.
    """
    known = None if mode is None else require_mode(mode)
    distinct: set[int] = set()
    label_count = part_count = 0
    for mask in masks:
        labels = [int(label) for label in np.unique(mask) if label]
        distinct.update(labels)
        label_count += len(labels)
        # Counting pieces is slow, and only tells something once there are two values.
        part_count += _parts(mask) if mode is None and len(distinct) > 1 else len(labels)
    found = tuple(sorted(distinct))
    if not found:
        raise UsageError(
            "All masks are empty.",
            "Draw the objects in at least some of them.",
        )
    if known is not None:
        return MaskMeaning(known, found if known == "multiclass" else (1,), "A person said so.")
    return _judge(found, part_count / label_count)


def _judge(labels: tuple[int, ...], pieces: float) -> MaskMeaning:
    if len(labels) == 1:
        return MaskMeaning("binary", (1,), f"The masks hold one value besides 0 ({labels[0]}).")
    facts = (
        f"The masks hold {len(labels)} values besides 0, each in {pieces:.1f} separate pieces per "
        "image"
    )
    # Not exactly one piece: a few objects are cut by others or by the edge.
    if len(labels) > FEW_LABELS and pieces <= 1.2:
        return MaskMeaning("instances", (1,), f"{facts}: objects.")
    if len(labels) <= FEW_LABELS and pieces >= 2:
        return MaskMeaning("multiclass", labels, f"{facts}: classes.")
    raise UsageError(
        f"{facts}: they could be classes or objects.",
        "Select the mode (--mode): instances if each number is an object, multiclass if it is a "
        "class, binary if all of them are foreground.",
    )


def _parts(mask: NDArray[Any]) -> int:
    """Connected pieces of one value."""
    import cc3d

    if mask.ndim > 3:
        return sum(_parts(part) for part in mask)
    # cc3d takes no floats and no negative numbers; ranks keep what is equal equal.
    values = np.unique(mask, return_inverse=True)[1].reshape(mask.shape).astype(np.uint32)
    # cc3d leaves out 0, which here is the lowest value that occurs.
    if mask.min() > 0:
        values += 1
    connected: Callable[..., tuple[NDArray[Any], int]] = cc3d.connected_components
    return connected(
        np.ascontiguousarray(values), connectivity=8 if mask.ndim == 2 else 26, return_N=True
    )[1]
