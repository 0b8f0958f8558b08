"""Masks made ready for training by a rule that is recorded, so that every saved label can be traced to what was drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from maskloop.errors import EmptyMask, MaskError
from maskloop.images.image import Image
from maskloop.records import Record
from maskloop.task import OutputMode, require_mode

__all__ = [
    "LabelSummary",
    "MaskPreparation",
    "MaskRule",
    "PreparedMask",
    "check_pair",
    "default_rule",
    "foresee_mask",
    "prepare_mask",
]

MaskMode = Literal[
    "merge_nonzero_to_foreground", "keep_labels_as_multiclass", "manual_label_map", "keep_instances"
]
LabelTransform = Literal[
    "nonzero_to_foreground", "keep_labels", "manual_label_map", "keep_instances"
]

TRANSFORMS: dict[MaskMode, LabelTransform] = {
    "merge_nonzero_to_foreground": "nonzero_to_foreground",
    "keep_labels_as_multiclass": "keep_labels",
    "manual_label_map": "manual_label_map",
    "keep_instances": "keep_instances",
}
MAX_LISTED_LABELS = 64
"""More labels than this are summarised in the record: a plate of instance masks must not bloat
the manifest.
"""
MAX_LABEL = 2**32 - 1
MAX_TABLE = 2**24
"""Labels up to here are counted and mapped through a table; larger ones are sorted, which is
slower.
"""
CHUNK_PIXELS = 2**20


class MaskRule(Record):
    """How the labels a person drew become the labels that are trained."""

    mask_mode: MaskMode = Field(
        "merge_nonzero_to_foreground",
        description="merge_nonzero_to_foreground (everything drawn is one class), keep_labels_as_multiclass (labels are class ids), "
        "manual_label_map (labels are mapped to class ids) or keep_instances (each label is one object).",
    )
    target_class_name: str = Field(
        "foreground", description="What the foreground shows, such as nucleus."
    )
    label_map: dict[int, int] = Field(
        default_factory=dict,
        description="Drawn label to class id, for manual_label_map; 0 stays 0 unless it is named.",
    )
    allow_empty: bool = Field(
        False, description="The image holds nothing to segment, and that is meant."
    )


class LabelSummary(Record):
    """Which labels occur when they are too many to list."""

    count: int = Field(description="How many different labels occur, background 0 included.")
    minimum: int
    maximum: int


class MaskPreparation(Record):
    """What was done to a mask, kept with the pair so that it can be audited."""

    mask_mode: MaskMode
    target_class_name: str = "foreground"
    label_transform: LabelTransform
    source_labels: tuple[int, ...] = Field(
        (), description="Labels that were drawn, background 0 included; empty where summarised."
    )
    saved_labels: tuple[int, ...] = Field(
        (), description="Labels that were saved, background 0 included; empty where summarised."
    )
    source_summary: LabelSummary | None = Field(
        None, description="Stands for source_labels when there are more than 64."
    )
    saved_summary: LabelSummary | None = Field(
        None, description="Stands for saved_labels when there are more than 64."
    )
    label_map: dict[int, int] = Field(default_factory=dict)
    is_empty: bool = Field(
        False, description="Nothing is labelled, and the rule said that this is meant."
    )
    notes: tuple[str, ...] = Field(
        (), description="What a person may want to look at, such as instances in several parts."
    )


@dataclass(frozen=True)
class PreparedMask:
    """Labels ready to be saved, and the record of how they came to be."""

    labels: NDArray[Any]
    preparation: MaskPreparation


def default_rule(mode: OutputMode) -> MaskRule:
    """The rule that fits an output mode when nobody chose one.

    Raises
    ------
    UsageError
        If there is no such output mode.
    """
    modes: dict[OutputMode, MaskMode] = {
        "binary": "merge_nonzero_to_foreground",
        "multiclass": "keep_labels_as_multiclass",
        "instances": "keep_instances",
    }
    return MaskRule(mask_mode=modes[require_mode(mode)])


def check_pair(
    image: Image, mask_shape: Sequence[int], mask_axes: str, *, mask_name: str = "mask"
) -> None:
    """Refuse a mask that does not lie pixel on pixel on its image.

    Parameters
    ----------
    image
        The image; its channels play no part.
    mask_shape, mask_axes
        Lengths and letters of the mask's dimensions, such as ``(512, 512)`` and ``"YX"``.
    mask_name
        What to call the mask in the message.

    Raises
    ------
    MaskError
        If the axes (in their order) or the lengths differ from those of the image without C.
    """
    axes, expected = mask_axes.upper(), image.axes.replace("C", "")
    shape, wanted = tuple(mask_shape), tuple(image.sizes[letter] for letter in expected)
    if axes == expected and shape == wanted:
        return
    problem = (
        f"Mask '{mask_name}' is {axes} {shape}, image '{image.name}' is {image.axes} {image.shape}."
    )
    if "C" in axes:
        way_out = f"A mask holds one label per pixel and has no channels: choose one channel, so that it is {expected} {wanted}."
    elif axes != expected:
        way_out = f"Bring the mask to the axes of the image without channels: {expected} {wanted}."
    elif shape[-2:] == wanted[-2:][::-1]:
        way_out = "Rows and columns look exchanged: transpose the mask, or choose the image this mask was drawn on."
    else:
        way_out = "Choose the image this mask was drawn on, or resample the mask first."
    raise MaskError(problem, way_out)


def prepare_mask(
    mask: NDArray[Any],
    rule: MaskRule,
    *,
    num_classes: int = 2,
    name: str = "mask",
    axes: str | None = None,
) -> PreparedMask:
    """Turn a mask as drawn into labels as trained, with the record of what was done.

    Parameters
    ----------
    mask
        Labels with axes like the image's without C; booleans, integers of any width, or floats that
        hold integers.
    rule
        What the labels mean.
    num_classes
        Number of classes with background; class ids go from 0 to ``num_classes - 1``. Instances
        have no such limit.
    name
        What to call the mask in messages.
    axes
        Letters of the dimensions; needed only where T is among them, so that parts of an instance
        are sought in each frame.

    Returns
    -------
    PreparedMask
        Labels in the smallest unsigned integer type, an array of its own.

    Raises
    ------
    MaskError
        If the mask has no pixels, holds values that are no labels, is empty without the rule
        allowing it, or holds labels that the rule has no class for.
    """
    source = _as_labels(mask, name)
    found = _labels_in(source, name)
    saved, label_map = _saved_labels(found, rule, num_classes, name)
    is_empty = not saved.any()
    if is_empty and not rule.allow_empty:
        raise _empty(found, source.size, name)
    labels = _translate(source, found, saved)
    notes = (
        _divided_instances(labels, found, axes)
        if rule.mask_mode == "keep_instances" and not is_empty
        else ()
    )
    return PreparedMask(
        labels, _record(rule, found, np.unique(saved), label_map, is_empty=is_empty, notes=notes)
    )


def foresee_mask(
    mask: NDArray[Any], rule: MaskRule, *, num_classes: int = 2, name: str = "mask"
) -> dict[int, int]:
    """What `prepare_mask` would save for each label, without making the new mask.

    Parameters
    ----------
    mask, rule, num_classes, name
        As for `prepare_mask`.

    Returns
    -------
    saved
        Each label of the mask, background 0 included where it occurs, to the label that is saved;
        ascending.

    Raises
    ------
    MaskError
        As `prepare_mask`, but an empty mask is foreseen like any other.
    """
    found = _labels_in(_as_labels(mask, name), name)
    saved, _ = _saved_labels(found, rule, num_classes, name)
    return dict(zip(found.tolist(), saved.tolist(), strict=True))


def _as_labels(mask: NDArray[Any], name: str) -> NDArray[Any]:
    if mask.ndim < 2 or mask.size == 0:
        raise MaskError(
            f"Mask '{name}' has no image plane: its shape is {mask.shape}.",
            "Choose a mask with at least rows and columns.",
        )
    if mask.dtype.kind == "b":
        return mask.view(np.uint8)
    if mask.dtype.kind in "ui":
        return mask
    if mask.dtype.kind != "f":
        raise MaskError(
            f"Mask '{name}' holds values of type {mask.dtype}, which are no labels.",
            "Save the mask with whole numbers: 0 for background, 1, 2, 3 ...",
        )
    return _whole_numbers(mask, name)


def _whole_numbers(mask: NDArray[Any], name: str) -> NDArray[Any]:
    strange = int(mask.size - np.count_nonzero(np.isfinite(mask)))
    if strange:
        raise MaskError(
            f"Mask '{name}' has {_pixels(strange)} without a number (NaN or infinite).",
            "Fill them with 0 (background) or with the label they belong to.",
        )
    _refuse_negative(mask.min(), name)
    fractional = mask != np.rint(mask)
    if fractional.any():
        example = mask[fractional][0]
        raise MaskError(
            f"Mask '{name}' has {_pixels(int(np.count_nonzero(fractional)))} with fractions, such as {example:g}.",
            "A mask holds whole numbers. If these are probabilities, threshold them first; if the mask was resized, resize it again "
            "without interpolation (nearest neighbour).",
        )
    # Beyond this a float cannot tell neighbouring whole numbers apart, so two objects may already
    # be one.
    exact = 2 ** (np.finfo(mask.dtype).nmant + 1)
    if mask.max() > min(exact, MAX_LABEL):
        raise _too_big(
            int(mask.max()), name, f"{mask.dtype} keeps labels apart only up to {exact}; "
        )
    return mask.astype(np.min_scalar_type(int(mask.max())))


def _refuse_negative(smallest: Any, name: str) -> None:
    if smallest < 0:
        raise MaskError(
            f"Mask '{name}' holds negative labels, the smallest is {smallest:g}.",
            "Set pixels that stand for 'unknown' or 'border' to 0 (background) or to a class of their own.",
        )


def _too_big(largest: int, name: str, why: str = "") -> MaskError:
    return MaskError(
        f"Mask '{name}' holds the label {largest}; {why}the largest possible is {MAX_LABEL}.",
        "Relabel the mask with 1, 2, 3 ... (in Fiji: MorphoLibJ > Label Images > Remap Labels).",
    )


def _labels_in(source: NDArray[Any], name: str) -> NDArray[np.int64]:
    if source.dtype.kind == "i":
        _refuse_negative(int(source.min()), name)
    largest = int(source.max())
    if largest > MAX_LABEL:
        raise _too_big(largest, name)
    if largest > MAX_TABLE:
        return np.unique(source).astype(np.int64)
    present = np.zeros(largest + 1, bool)
    flat = source.reshape(-1)
    for start in range(
        0, flat.size, CHUNK_PIXELS
    ):  # the index is 64 bits a pixel: all at once would cost eight masks
        present[flat[start : start + CHUNK_PIXELS]] = True
    return np.flatnonzero(present).astype(np.int64)


def _saved_labels(
    found: NDArray[np.int64], rule: MaskRule, num_classes: int, name: str
) -> tuple[NDArray[np.int64], dict[int, int]]:
    if rule.mask_mode == "merge_nonzero_to_foreground":
        return (found > 0).astype(np.int64), {}
    if rule.mask_mode == "keep_instances":
        return np.arange(found.size, dtype=np.int64) + (0 if found[0] == 0 else 1), {}
    if rule.mask_mode == "keep_labels_as_multiclass":
        _refuse_unknown_classes(found, num_classes, name)
        return found, {}
    label_map = {0: 0, **rule.label_map}
    missing = [int(label) for label in found if int(label) not in label_map]
    if missing:
        raise MaskError(
            f"Mask '{name}' holds {_listed(missing)}, which the label map does not name; it names {_listed(sorted(rule.label_map))}.",
            "Add the missing labels to the map; map what is not wanted to 0 (background).",
        )
    wrong = {
        source: target for source, target in rule.label_map.items() if not 0 <= target < num_classes
    }
    if wrong:
        raise MaskError(
            f"The label map sends {_arrows(wrong)}, but the project has {num_classes} classes: 0 to {num_classes - 1}.",
            f"Map to class ids from 0 to {num_classes - 1}, or choose more classes.",
        )
    return np.array([label_map[int(label)] for label in found], np.int64), dict(rule.label_map)


def _refuse_unknown_classes(found: NDArray[np.int64], num_classes: int, name: str) -> None:
    beyond = [int(label) for label in found if label >= num_classes]
    if beyond:
        raise MaskError(
            f"Mask '{name}' holds {_listed(beyond)}, but the project has {num_classes} classes: 0 to {num_classes - 1}.",
            "Say which class each label is (manual_label_map), add the missing classes, or use a project whose labels are objects.",
        )


def _empty(found: NDArray[np.int64], size: int, name: str) -> EmptyMask:
    if found.any():
        problem = f"Mask '{name}' is empty after the label map: it sends all of its {_listed(found.tolist())} to background."
    else:
        problem = f"Mask '{name}' is empty: all {_pixels(size)} are 0 (background)."
    return EmptyMask(
        problem,
        "Draw what should be found; or, if there is truly nothing here, say so (allow_empty).",
    )


def _translate(
    source: NDArray[Any], found: NDArray[np.int64], saved: NDArray[np.int64]
) -> NDArray[Any]:
    dtype = np.min_scalar_type(int(saved.max()))
    if np.array_equal(found, saved):
        return source.astype(dtype, order="C")
    targets = saved.astype(dtype)
    if found[-1] > MAX_TABLE:
        return np.ascontiguousarray(targets[np.searchsorted(found, source)])
    table = np.zeros(int(found[-1]) + 1, dtype)
    table[found] = targets
    labels, flat = np.empty(source.size, dtype), source.reshape(-1)
    for start in range(0, flat.size, CHUNK_PIXELS):
        labels[start : start + CHUNK_PIXELS] = table[flat[start : start + CHUNK_PIXELS]]
    return labels.reshape(source.shape)


def _divided_instances(
    labels: NDArray[Any], found: NDArray[np.int64], axes: str | None
) -> tuple[str, ...]:
    divided: set[int] = set()
    for frame in _frames(labels, axes):
        divided.update(_divided(frame))
    if not divided:
        return ()
    originals = found[found > 0]
    names = [int(originals[label - 1]) for label in sorted(divided)]
    verb = "is" if len(names) == 1 else "are"
    return (
        f"{_listed(names)} {verb} in several parts that do not touch; each was kept as one object.",
    )


def _frames(labels: NDArray[Any], axes: str | None) -> Sequence[NDArray[Any]]:
    if axes is None or "T" not in axes:
        return [labels]
    return list(np.moveaxis(labels, axes.index("T"), 0))


def _divided(labels: NDArray[Any]) -> list[int]:
    import cc3d

    if labels.ndim > 3:
        return [label for part in labels for label in _divided(part)]
    connected: Callable[..., tuple[NDArray[Any], int]] = cc3d.connected_components
    whole = np.ascontiguousarray(labels)
    parts, count = connected(whole, connectivity=8 if labels.ndim == 2 else 26, return_N=True)
    if count == np.count_nonzero(np.bincount(whole.reshape(-1))[1:]):
        return []
    label_of_part = np.zeros(count + 1, np.int64)
    label_of_part[parts.reshape(-1)] = whole.reshape(-1)
    parts_of_label = np.bincount(label_of_part[1:])
    return [int(label) for label in np.flatnonzero(parts_of_label > 1)]


def _record(
    rule: MaskRule,
    found: NDArray[np.int64],
    saved: NDArray[np.int64],
    label_map: Mapping[int, int],
    *,
    is_empty: bool,
    notes: tuple[str, ...],
) -> MaskPreparation:
    source_labels, source_summary = _listing(found)
    saved_labels, saved_summary = _listing(saved)
    return MaskPreparation(
        mask_mode=rule.mask_mode,
        target_class_name=rule.target_class_name,
        label_transform=TRANSFORMS[rule.mask_mode],
        source_labels=source_labels,
        saved_labels=saved_labels,
        source_summary=source_summary,
        saved_summary=saved_summary,
        label_map=dict(label_map),
        is_empty=is_empty,
        notes=notes,
    )


def _listing(labels: NDArray[np.int64]) -> tuple[tuple[int, ...], LabelSummary | None]:
    if labels.size <= MAX_LISTED_LABELS:
        return tuple(labels.tolist()), None
    return (), LabelSummary(count=labels.size, minimum=int(labels[0]), maximum=int(labels[-1]))


def _listed(labels: Sequence[int], most: int = 8) -> str:
    if not labels:
        return "no labels"
    text = ", ".join(str(label) for label in labels[:most])
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return f"label{'s' if len(labels) > 1 else ''} {text}{more}"


def _arrows(mapping: Mapping[int, int]) -> str:
    return ", ".join(f"{source} to {target}" for source, target in sorted(mapping.items()))


def _pixels(count: int) -> str:
    return "1 pixel" if count == 1 else f"{count} pixels"
