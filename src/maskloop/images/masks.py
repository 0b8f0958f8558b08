"""Prepares masks for training by a rule that is recorded.

Every saved label can be traced to what was drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop.errors import EmptyMask, MaskError
from maskloop.images.annotated import find_unannotated, mark_unannotated
from maskloop.images.image import Image
from maskloop.images.mask_rule import (
    TRANSFORMS,
    LabelSummary,
    MaskMode,
    MaskPreparation,
    MaskRule,
    default_rule,
)
from maskloop.images.plausibility import Look, listed, look_at
from maskloop.wording import counted

__all__ = [
    "LabelSummary",
    "MaskMode",
    "MaskPreparation",
    "MaskRule",
    "PreparedMask",
    "check_pair",
    "default_rule",
    "foresee_mask",
    "prepare_mask",
]

MAX_LISTED_LABELS = 64
"""More labels than this are summarized in the record: a plate of instance masks must not bloat
the manifest.
"""
MAX_LABEL = 2**32 - 1
MAX_TABLE = 2**24
"""Labels up to this are counted and mapped with a lookup table; larger ones are sorted, which is
slower.
"""
CHUNK_PIXELS = 2**20


@dataclass(frozen=True)
class PreparedMask:
    """Labels ready to be saved, and the record of how they were made."""

    labels: NDArray[Any]
    preparation: MaskPreparation


def check_pair(
    image: Image, mask_shape: Sequence[int], mask_axes: str, *, mask_name: str = "mask"
) -> None:
    """Refuse a mask that does not match its image pixel by pixel.

    Parameters
    ----------
    image
        The image; its channels do not matter.
    mask_shape, mask_axes
        Lengths and letters of the mask's dimensions, such as ``(512, 512)`` and ``"YX"``.
    mask_name
        Name of the mask in the message.

    Raises
    ------
    MaskError
        If the axes (in their order) or the lengths differ from those of the image without C.
    """
    # Masks have no channels.
    axes, expected = mask_axes.upper(), image.axes.replace("C", "")
    shape, wanted = tuple(mask_shape), tuple(image.sizes[letter] for letter in expected)
    if axes == expected and shape == wanted:
        return
    problem = (
        f"Mask '{mask_name}' is {axes} {shape}, image '{image.name}' is {image.axes} {image.shape}."
    )
    raise MaskError(problem, _how_to_match(axes, shape, image, f"{expected} {wanted}"))


def _how_to_match(axes: str, shape: tuple[int, ...], image: Image, wanted: str) -> str:
    """What a person can do about a mask of another shape or other axes than its image."""
    expected = image.axes.replace("C", "")
    lengths = tuple(image.sizes[letter] for letter in expected)
    if "C" in axes:
        return f"Save the labels as one channel, with one number per pixel: {wanted}."
    if shape == lengths:
        # Only the letters differ, as where one program saved Z planes and another one T frames.
        return (
            f"If both show the same planes, set the axes to {image.axes} (--axes {image.axes}): "
            "they apply to both."
        )
    # A plane may have come as a stack of one plane.
    if len(_long(shape)) < len(_long(lengths)):
        way_out = f"A mask of a stack must cover all its planes: {wanted}."
        if len(image.axes) == 3 and "C" not in image.axes:
            way_out += " If the image's planes are channels, name its axes (--axes CYX)."
        return way_out
    if len(shape) > len(lengths):
        return f"The mask covers more planes than the image: it must be {wanted}."
    if shape[-2:] == lengths[-2:][::-1]:
        # Not "transpose it": of two mirrored and two rotated ones only one lies right.
        return (
            "Image and mask are rotated relative to each other. Save both in the same orientation, "
            "or select the image this mask was drawn on."
        )
    return (
        "Select the image this mask was drawn on. If the mask was resized, resize it back without "
        "interpolation (nearest neighbor)."
    )


def _long(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(length for length in shape if length > 1)


def prepare_mask(
    mask: NDArray[Any],
    rule: MaskRule,
    *,
    num_classes: int = 2,
    name: str = "mask",
    axes: str | None = None,
) -> PreparedMask:
    """Turn a drawn mask into labels to train on, with the record of what was done.

    Parameters
    ----------
    mask
        Labels with axes like the image's without C; booleans, integers of any width, or floats that
        hold integers.
    rule
        What the labels mean.
    num_classes
        Number of classes with background: class ids go from 0 to ``num_classes - 1``. Instances
        have no such limit.
    name
        Name of the mask in messages.
    axes
        Letters of the dimensions; needed only if T is among them, so that the parts of an
        instance are counted in each frame.

    Returns
    -------
    PreparedMask
        Labels in the smallest unsigned integer type, an array of its own.

    Raises
    ------
    MaskError
        If the mask has no pixels, holds values that are not labels, is empty without the rule
        allowing it, or holds labels that the rule has no class for.
    """
    _refuse_no_image(mask, name)
    unknown = find_unannotated(mask, rule, name=name, axes=axes)
    source = _as_labels(_without(mask, unknown), rule, name)
    found = _labels_in(source, name)
    seen = found if unknown is None or (source[~unknown] == 0).any() else found[found > 0]
    look = Look(source, seen, name, axes, is_yes_or_no=mask.dtype.kind == "b")
    notes = look_at(look, rule.mask_mode)
    saved, label_map = _saved_labels(found, rule, num_classes, name)
    is_empty = not saved.any()
    if is_empty and not rule.allow_empty:
        raise _empty(found, source.size, name)
    labels = _translate(source, found, saved)
    if rule.mask_mode == "connected_components":
        labels = _number_pieces(labels, axes)
        saved = np.arange(int(saved.min()), int(labels.max()) + 1)
    record = _record(rule, found, np.unique(saved), label_map, is_empty=is_empty, notes=notes)
    if unknown is not None:
        labels, ignored = mark_unannotated(labels, unknown)
        share = f"{np.mean(unknown):.0%} of the pixels are left out as not annotated."
        record = record.model_copy(
            update={"ignored_label": ignored, "notes": (*record.notes, share)}
        )
    return PreparedMask(labels, record)


def foresee_mask(
    mask: NDArray[Any], rule: MaskRule, *, num_classes: int = 2, name: str = "mask"
) -> dict[int, int]:
    """What `prepare_mask` would save for each label, computed without making the new mask.

    Parameters
    ----------
    mask, rule, num_classes, name
        As for `prepare_mask`.

    Returns
    -------
    saved
        Each label of the mask, background 0 included where it occurs, to the label that is saved;
        ascending. Of connected components only that they are foreground: 1.

    Raises
    ------
    MaskError
        As `prepare_mask`, but an empty mask is foreseen like any other.
    """
    _refuse_no_image(mask, name)
    unknown = None if rule.ignore is None else mask == rule.ignore
    found = _labels_in(_as_labels(_without(mask, unknown), rule, name), name)
    saved, _ = _saved_labels(found, rule, num_classes, name)
    return dict(zip(found.tolist(), saved.tolist(), strict=True))


def _refuse_no_image(mask: NDArray[Any], name: str) -> None:
    if mask.ndim < 2 or mask.size == 0:
        raise MaskError(
            f"Mask '{name}' is not an image: its shape is {mask.shape}.",
            "Select a mask with rows and columns.",
        )


def _without(mask: NDArray[Any], unknown: NDArray[np.bool_] | None) -> NDArray[Any]:
    """The mask with 0 where nothing is annotated: what stands there is no label."""
    return mask if unknown is None else np.where(unknown, mask.dtype.type(0), mask)


def _as_labels(mask: NDArray[Any], rule: MaskRule, name: str) -> NDArray[Any]:
    if mask.dtype.kind == "b":
        # The same bytes: True is 1.
        return mask.view(np.uint8)
    if rule.threshold is not None and mask.dtype.kind in "uif":
        _refuse_not_finite(mask, name)
        return (mask >= rule.threshold).view(np.uint8)
    if mask.dtype.kind in "ui":
        return mask
    if mask.dtype.kind != "f":
        raise MaskError(
            f"Mask '{name}' holds values of type {mask.dtype}, which are not labels.",
            "Save the mask with whole numbers: 0 for background, then 1, 2, 3 ...",
        )
    _refuse_not_finite(mask, name)
    return _whole_numbers(mask, name)


def _refuse_not_finite(mask: NDArray[Any], name: str) -> None:
    strange = int(mask.size - np.count_nonzero(np.isfinite(mask)))
    if strange:
        raise MaskError(
            f"Mask '{name}' is NaN or infinite in {counted(strange, 'pixel')}.",
            "Set them to 0 if they are background, else to the label they belong to.",
        )


def _whole_numbers(mask: NDArray[Any], name: str) -> NDArray[Any]:
    _refuse_negative(mask.min(), name)
    fractional = mask != np.rint(mask)
    if fractional.any():
        example = mask[fractional][0]
        raise MaskError(
            f"Mask '{name}' has {counted(int(fractional.sum()), 'pixel')} with fractional values, "
            f"such as {example:g}.",
            "A mask holds whole numbers. If these are probabilities, threshold them (--threshold "
            "0.5); if the mask was resized, resize it again without interpolation (nearest "
            "neighbor).",
        )
    # Beyond this a float cannot tell neighboring whole numbers apart: two objects may already be
    # one.
    exact = 2 ** (np.finfo(mask.dtype).nmant + 1)
    if mask.max() > min(exact, MAX_LABEL):
        raise _too_big(int(mask.max()), name, f"{mask.dtype} is exact only up to {exact}, and ")
    return mask.astype(np.min_scalar_type(int(mask.max())))


def _refuse_negative(smallest: Any, name: str) -> None:
    if smallest < 0:
        raise MaskError(
            f"Mask '{name}' holds negative labels; the smallest is {smallest:g}.",
            # Not "set them to 0": what was left unannotated would be trained on as background.
            f"If they are pixels that nobody annotated, leave them out (--ignore {smallest:g}). "
            "Set them to 0 only if they show background.",
        )


def _too_big(largest: int, name: str, why: str = "") -> MaskError:
    return MaskError(
        f"Mask '{name}' holds label {largest}; {why}the largest possible label is {MAX_LABEL}.",
        "Relabel the mask with 1, 2, 3 ... (in Fiji: MorphoLibJ > Label Images > Remap Labels).",
    )


def _labels_in(source: NDArray[Any], name: str) -> NDArray[np.int64]:
    if source.dtype.kind == "i":
        _refuse_negative(int(source.min()), name)
    largest = int(source.max())
    if largest > MAX_LABEL:
        raise _too_big(largest, name)
    # A table of 2**32 entries would take 4 GB: sparse ids are sorted instead.
    if largest > MAX_TABLE:
        return np.unique(source).astype(np.int64)
    present = np.zeros(largest + 1, bool)
    flat = source.reshape(-1)
    # The index takes 64 bits per pixel: all at once would cost the memory of eight masks.
    for start in range(0, flat.size, CHUNK_PIXELS):
        # Setting a flag twice costs nothing; sorting all pixels would.
        present[flat[start : start + CHUNK_PIXELS]] = True
    return np.flatnonzero(present).astype(np.int64)


def _saved_labels(
    found: NDArray[np.int64], rule: MaskRule, num_classes: int, name: str
) -> tuple[NDArray[np.int64], dict[int, int]]:
    if rule.mask_mode == "merge_nonzero_to_foreground":
        return (found > 0).astype(np.int64), {}
    if rule.mask_mode in ("keep_instances", "connected_components"):
        _refuse_classes_of_objects(rule.label_map)
        background = [0, *(label for label, target in rule.label_map.items() if target == 0)]
        is_object = ~np.isin(found, background)
        if rule.mask_mode == "connected_components":
            return is_object.astype(np.int64), dict(rule.label_map)
        # Ids become 1, 2, 3 ..., so that tables of objects stay short.
        return np.where(is_object, np.cumsum(is_object), 0), dict(rule.label_map)
    if rule.mask_mode == "keep_labels_as_multiclass":
        _refuse_unknown_classes(found, num_classes, name)
        return found, {}
    # A person who maps 0 means it: there are masks whose background has a number of its own.
    label_map = {0: 0, **rule.label_map}
    missing = [int(label) for label in found if int(label) not in label_map]
    if missing:
        raise MaskError(
            f"Mask '{name}' holds {listed(missing)}, which the label map lacks; it has "
            f"{listed(sorted(rule.label_map))}.",
            "Add the missing labels to the map; map those that show background to 0.",
        )
    wrong = {
        source: target for source, target in rule.label_map.items() if not 0 <= target < num_classes
    }
    if wrong:
        raise MaskError(
            f"The label map contains {_arrows(wrong)}, but the project has {num_classes} classes: "
            f"0 to {num_classes - 1}.",
            f"Map to class ids from 0 to {num_classes - 1}, or add classes to the project.",
        )
    return np.array([label_map[int(label)] for label in found], np.int64), dict(rule.label_map)


def _refuse_classes_of_objects(label_map: Mapping[int, int]) -> None:
    """A map of a project for instances tells background from objects, and nothing else."""
    classes = {label: target for label, target in label_map.items() if target not in (0, 1)}
    if classes:
        raise MaskError(
            f"The label map contains {_arrows(classes)}, but objects have no classes.",
            "Map labels that show the background to 0, such as 1=0, or use a project of mode "
            "multiclass.",
        )


def _refuse_unknown_classes(found: NDArray[np.int64], num_classes: int, name: str) -> None:
    beyond = [int(label) for label in found if label >= num_classes]
    drawn = found[found > 0]
    # One label leaves no doubt which class it could be; of several a person has to say it.
    example = f" {drawn[0]}=1" if drawn.size == 1 else " LABEL=CLASS,..."
    if beyond:
        raise MaskError(
            f"Mask '{name}' holds {listed(beyond)}, but the project has {num_classes} classes: "
            f"0 to {num_classes - 1}.",
            f"Map the labels to classes (--map{example}), add the missing classes to the project, "
            "or use a project for instances if each label is an object.",
        )


def _empty(found: NDArray[np.int64], size: int, name: str) -> EmptyMask:
    problem = f"Mask '{name}' is empty: all {counted(size, 'pixel')} are 0 (background)."
    if found.any():
        problem = (
            f"Mask '{name}' is empty after mapping: the label map turns all of its "
            f"{listed(found.tolist())} into background."
        )
    return EmptyMask(
        problem,
        "Draw the objects. If the image truly shows none, allow empty masks (--allow-empty).",
    )


def _translate(
    source: NDArray[Any], found: NDArray[np.int64], saved: NDArray[np.int64]
) -> NDArray[Any]:
    dtype = np.min_scalar_type(int(saved.max()))
    # Most masks of classes need no translation at all, only a smaller type.
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


def _number_pieces(labels: NDArray[Any], axes: str | None) -> NDArray[Any]:
    """Each connected piece of the foreground as one object: 1, 2, 3 ...; frames are separate."""
    if labels.ndim <= 3 and "T" not in (axes or ""):
        return _components(labels)
    # cc3d takes 2D and 3D arrays, and no object reaches from one frame into the next.
    axis = (axes or "").find("T") if "T" in (axes or "") else 0
    frames, last = [], 0
    for frame in np.moveaxis(labels, axis, 0):
        numbered = _number_pieces(frame, None).astype(np.int64)
        frames.append(np.where(numbered > 0, numbered + last, 0))
        last += int(numbered.max())
    stacked = np.moveaxis(np.stack(frames), 0, axis)
    return np.ascontiguousarray(stacked, np.min_scalar_type(last))


def _components(labels: NDArray[Any]) -> NDArray[Any]:
    import cc3d

    connected: Callable[..., NDArray[Any]] = cc3d.connected_components
    pieces = connected(np.ascontiguousarray(labels), connectivity=8 if labels.ndim == 2 else 26)
    return pieces.astype(np.min_scalar_type(int(pieces.max())))


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


def _arrows(mapping: Mapping[int, int]) -> str:
    return ", ".join(f"{source}={target}" for source, target in sorted(mapping.items()))
