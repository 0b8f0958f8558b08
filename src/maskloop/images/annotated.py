"""Which pixels of a mask are annotated: the others are neither background nor foreground.

In an accepted mask file they hold one label that stands for no class and no object; the pair's
record names it (`MaskPreparation.ignored_label`). Everything that learns from the mask, or measures
it, takes it apart with `split_off`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop.errors import MaskError, UsageError
from maskloop.images.mask_rule import MaskRule
from maskloop.wording import counted

__all__ = ["cut_objects", "find_unannotated", "mark_unannotated", "split_off"]

IGNORED = (2**16 - 1, 2**32 - 1)
"""Labels for unannotated pixels in accepted masks: the first that no object has. Not 255, which is
a class or an object in many masks."""


def find_unannotated(
    mask: NDArray[Any], rule: MaskRule, *, name: str, axes: str | None
) -> NDArray[np.bool_] | None:
    """The pixels that a rule leaves out; None where it leaves out none.

    Parameters
    ----------
    mask
        As drawn.
    rule
        Its `ignore` is the value of unannotated pixels, its `annotated` the region outside of
        which nothing was annotated.
    name
        Of the mask, in messages.
    axes
        Letters of the dimensions; needed for a region.

    Raises
    ------
    MaskError
        If no pixel is annotated.
    UsageError
        If the region does not fit the mask.
    """
    unknown = np.zeros(mask.shape, bool)
    if rule.ignore is not None:
        unknown |= mask == rule.ignore
    if rule.annotated:
        inside = np.zeros(mask.shape, bool)
        inside[_region(rule, mask.shape, axes or "ZYX"[-mask.ndim :])] = True
        unknown |= ~inside
    if unknown.all():
        raise MaskError(
            f"Mask '{name}' has no annotated pixel: all {counted(mask.size, 'pixel')} are left "
            "out.",
            "Annotate a part of the image, or leave the pair out.",
        )
    return unknown if unknown.any() else None


def _region(rule: MaskRule, shape: tuple[int, ...], axes: str) -> tuple[slice, ...]:
    lengths = dict(zip(axes, shape, strict=True))
    for axis, (start, stop) in rule.annotated.items():
        if not 0 <= start < stop <= lengths.get(axis, 0):
            raise UsageError(
                f"The annotated region {axis} {start} to {stop} is not in a mask of {axes} "
                f"{shape}.",
                f"Give axes of {axes}, each with its first pixel and the one after its last.",
            )
    return tuple(slice(*rule.annotated.get(axis, (0, lengths[axis]))) for axis in axes)


def mark_unannotated(labels: NDArray[Any], unknown: NDArray[np.bool_]) -> tuple[NDArray[Any], int]:
    """Labels with one of their own where nothing is annotated, and which that is."""
    largest = int(labels.max())
    ignored = next(label for label in IGNORED if label > largest)
    # Widened first: of a uint8 array, numpy would keep 65535 as 255.
    marked = labels.astype(np.min_scalar_type(ignored))
    marked[unknown] = ignored
    return marked, ignored


def split_off(
    labels: NDArray[Any], ignored: int | None
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Labels of an accepted mask with 0 where nothing is annotated, and what is annotated.

    Parameters
    ----------
    labels
        Of the file.
    ignored
        The label of unannotated pixels, as the record says; None: all are annotated.

    Returns
    -------
    labels, known
        `known` is None where all pixels are annotated.
    """
    if ignored is None:
        return labels, None
    known = labels != ignored
    if known.all():
        return labels, None
    clean = np.where(known, labels, 0)
    # The label that was left out is the largest: without it a smaller type does.
    return clean.astype(np.min_scalar_type(int(clean.max()))), known


def cut_objects(labels: NDArray[Any], known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of objects that the border of the annotated region cuts off.

    Their centers and outlines are not known. An object with unannotated pixels all around was
    outlined by itself, and is whole.
    """
    touches = np.zeros(int(labels.max()) + 1, bool)
    borders = np.zeros_like(touches)
    for axis in range(labels.ndim):
        ahead = [slice(None)] * labels.ndim
        behind = list(ahead)
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        for here, there in ((tuple(ahead), tuple(behind)), (tuple(behind), tuple(ahead))):
            touches[labels[here][~known[there]]] = True
            borders[labels[here][known[there] & (labels[there] == 0)]] = True
    is_cut = touches & borders
    is_cut[0] = False
    found: NDArray[np.bool_] = is_cut[labels]
    return found
