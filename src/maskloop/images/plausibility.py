"""Whether a mask can be what it is taken for: what is certain is refused, what is doubtful noted.

The thresholds keep their distance from real masks and images (tests/test_plausibility.py): labels
of real masks lie in at most 1.2 pieces each where there are more than a dozen of them, values of
real images in at least 78. Between neighboring pixels, real labels change in at most 12 % of the
places, values of images in at least 31 %.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop.errors import MaskError
from maskloop.images.mask_rule import MaskMode
from maskloop.wording import counted

__all__ = ["Look", "count_pieces", "listed", "look_at"]

FEW_VALUES = 12
"""Up to here values can be classes; more than this, each in many pieces, are no labels at all."""
MANY_PIECES = 3.0
"""Pieces per value from which a value is no object."""
LEAST_PIXELS = 256
"""A smaller mask tells too little."""
LEAST_SAME = 0.3
"""Share of equal neighbors below which values that cover an image are no labels."""
NEAR = 32
"""JPEG and interpolation spread the values 0 and 255 by at most this, but for few pixels."""
NEAR_SHARE = 0.6
"""So much of the dark and of the bright half must be near 0 and 255; of a dark image less is."""


@dataclass(frozen=True)
class Look:
    """A mask as it was drawn, with what can be seen in it."""

    source: NDArray[Any]
    """Labels as unsigned integers."""
    found: NDArray[np.int64]
    """Its values, ascending."""
    name: str
    axes: str | None = None
    is_yes_or_no: bool = False
    """Whether the file or array could hold nothing but background and foreground."""

    @property
    def drawn(self) -> NDArray[np.int64]:
        """The values besides 0."""
        return self.found[self.found > 0]

    @property
    def has_background(self) -> bool:
        """Whether any pixel is 0."""
        return int(self.found[0]) == 0


def look_at(look: Look, mode: MaskMode) -> tuple[str, ...]:
    """What a person may want to check in a mask.

    Parameters
    ----------
    look
        The mask.
    mode
        What its labels are taken for.

    Returns
    -------
    notes
        What is doubtful, with what can be done about it.

    Raises
    ------
    MaskError
        If the mask cannot be what it is taken for.
    """
    is_small = look.source.size < LEAST_PIXELS
    if not look.drawn.size:
        return ()
    if mode == "keep_instances":
        # Counted once: where pieces were told before, what else can be seen comes with them.
        pieces = count_pieces(look.source, look.drawn, look.axes)
        if not is_small:
            _refuse_values_of_an_image(look, pieces)
            _refuse_classes_as_objects(look, pieces)
        return (*_divided(look, pieces), *(() if is_small else _without_background(look)))
    if is_small:
        return ()
    # One or two values hold nothing but themselves, and a person who maps has looked at each.
    if look.drawn.size > 2 and mode != "manual_label_map":
        _refuse_values_of_an_image(look, count_pieces(look.source, look.drawn, look.axes))
    if mode == "merge_nonzero_to_foreground":
        _refuse_classes_as_foreground(look)
    if mode in ("merge_nonzero_to_foreground", "keep_labels_as_multiclass"):
        return _without_background(look)
    return ()


def count_pieces(
    source: NDArray[Any], values: NDArray[np.int64], axes: str | None
) -> NDArray[np.int64]:
    """Connected pieces of each value, in the frame of a movie where there are most.

    Pieces touch also across corners. Parts in separate frames are one object at two times.
    """
    counts = np.zeros(values.size, np.int64)
    for frame in _frames(source, axes):
        np.maximum(counts, _pieces_of_frame(frame, values), out=counts)
    return counts


def _frames(labels: NDArray[Any], axes: str | None) -> Sequence[NDArray[Any]]:
    # An object that moves is in another place in each frame: that does not divide it.
    if axes is None or "T" not in axes:
        return [labels]
    return list(np.moveaxis(labels, axes.index("T"), 0))


def _pieces_of_frame(labels: NDArray[Any], values: NDArray[np.int64]) -> NDArray[np.int64]:
    import cc3d

    # cc3d takes 2D and 3D arrays of up to 32 bits, and none that are read-only, as files give.
    if labels.ndim > 3:
        return sum((_pieces_of_frame(part, values) for part in labels), np.zeros_like(values))
    connected: Callable[..., tuple[NDArray[Any], int]] = cc3d.connected_components
    dtype = np.uint32 if labels.dtype.itemsize == 8 else labels.dtype
    whole = np.require(labels, dtype, ["C", "W"])
    parts, count = connected(whole, connectivity=8 if labels.ndim == 2 else 26, return_N=True)
    value_of_part = np.zeros(count + 1, whole.dtype)
    value_of_part[parts.reshape(-1)] = whole.reshape(-1)
    ranks = np.searchsorted(values, value_of_part[1:])
    return np.bincount(ranks, minlength=values.size).astype(np.int64)


def _refuse_values_of_an_image(look: Look, pieces: NDArray[np.int64]) -> None:
    """Images, probability maps, and labels that were interpolated or compressed as JPEG."""
    count = look.drawn.size
    is_scattered = pieces.sum() >= MANY_PIECES * count
    if count > 2 and is_scattered and _is_blurred_yes_or_no(look):
        raise MaskError(
            f"Mask '{look.name}' holds {counted(count, 'value')} besides 0, almost all of them "
            "near 0 or 255: a mask of 0 and 255 that was compressed as JPEG or resized with "
            "interpolation.",
            "Separate background and foreground by a threshold (--threshold 128).",
        )
    if count <= FEW_VALUES or not (is_scattered or _is_grainy(look)):
        return
    raise MaskError(
        f"Mask '{look.name}' holds {counted(count, 'value')} besides 0 in "
        f"{counted(int(pieces.sum()), 'separate piece')}: these are values of an image, of a "
        "probability map, or of labels that were resized with interpolation.",
        "If the images were taken for the masks, exchange --images and --masks. Threshold a "
        "probability map (--threshold VALUE). Resize labels without interpolation (nearest "
        "neighbor).",
    )


def _is_blurred_yes_or_no(look: Look) -> bool:
    if not 255 - NEAR <= look.drawn[-1] <= 255 or look.found[0] > NEAR:
        return False
    # By halves: the background alone would outweigh all that is bright in a dark image.
    counts = np.bincount(look.source.reshape(-1), minlength=256)
    dark, bright = counts[:128], counts[128:]
    near = min(dark[: NEAR + 1].sum() / dark.sum(), bright[-NEAR - 1 :].sum() / bright.sum())
    return bool(near >= NEAR_SHARE)


def _is_grainy(look: Look) -> bool:
    """Whether most of the image is labeled, with a value that changes from pixel to pixel."""
    labels = look.source
    if np.count_nonzero(labels) < labels.size / 2:
        return False
    same = [
        np.count_nonzero(np.take(labels, range(1, length), axis) == np.delete(labels, -1, axis))
        / labels.size
        for axis, length in list(enumerate(labels.shape))[-2:]
    ]
    return float(max(same)) < LEAST_SAME


def _refuse_classes_as_objects(look: Look, pieces: NDArray[np.int64]) -> None:
    drawn = look.drawn
    if look.is_yes_or_no or drawn.tolist() == [255]:
        if pieces[0] > 1:
            raise MaskError(
                f"Mask '{look.name}' only tells foreground ({drawn[0]}) from background, in "
                f"{pieces[0]} separate pieces; a project for instances needs a label for each "
                "object.",
                "Number the pieces (--mask-mode connected_components; objects that touch become "
                "one), or use a project of mode binary.",
            )
        return
    if not look.has_background and 1 < drawn.size <= FEW_VALUES and pieces.max() >= MANY_PIECES:
        raise MaskError(
            f"Mask '{look.name}' has no background: no pixel is 0, and {listed(drawn.tolist())} "
            f"lie in up to {pieces.max()} separate pieces. These are classes, not objects.",
            f"If label {drawn[0]} is the background, number the pieces of the rest (--mask-mode "
            f"connected_components --map {drawn[0]}=0).",
        )


def _refuse_classes_as_foreground(look: Look) -> None:
    drawn = look.drawn
    if look.has_background or not 1 < drawn.size <= FEW_VALUES:
        return
    arrows = ",".join([f"{drawn[0]}=0", *(f"{label}=1" for label in drawn[1:])])
    raise MaskError(
        f"Mask '{look.name}' has no background: no pixel is 0, {listed(drawn.tolist())} cover the "
        "whole image.",
        f"Map the label that shows the background to 0 (--map {arrows} if it is {drawn[0]}).",
    )


def _without_background(look: Look) -> tuple[str, ...]:
    if look.has_background:
        return ()
    drawn = look.drawn
    if drawn.size == 1:
        return (
            f"no pixel is 0 (background): label {drawn[0]} covers the whole image. Remove the pair "
            "if that is wrong.",
        )
    return (
        f"no pixel is 0 (background): {listed(drawn.tolist())} cover the whole image. If one of "
        f"them is the background, map it to 0 (for label {drawn[0]}: --map {_background(look)}).",
    )


def _background(look: Look) -> str:
    """The map that makes the first label the background, and keeps the other classes."""
    drawn = look.drawn.tolist()
    if len(drawn) > FEW_VALUES:
        return f"{drawn[0]}=0"
    return ",".join([f"{drawn[0]}=0", *(f"{label}={label}" for label in drawn[1:])])


def _divided(look: Look, pieces: NDArray[np.int64]) -> tuple[str, ...]:
    divided = look.drawn[pieces > 1].tolist()
    if not divided:
        return ()
    if look.drawn.size == 1:
        return (
            f"label {divided[0]} is the only one and lies in {pieces[0]} separate pieces, which "
            "were kept as one object. If each of them is an object, number the pieces "
            "(--mask-mode connected_components).",
        )
    verb = "is" if len(divided) == 1 else "are"
    return (f"{listed(divided)} {verb} made of separate parts; each label was kept as one object.",)


def listed(labels: Sequence[int], most: int = 8) -> str:
    """Such as ``labels 1, 2, 3 and 5 more``."""
    if not labels:
        return "no labels"
    text = ", ".join(str(label) for label in labels[:most])
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return f"{'label' if len(labels) == 1 else 'labels'} {text}{more}"
