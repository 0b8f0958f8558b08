"""Quality of a segmentation: counts that add up over images, and the scores derived from them.

A score is undefined (NaN) where there was nothing to find and nothing was found; means skip it,
and sums over images are not affected.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from maskloop.errors import MaskError, UsageError
from maskloop.records import Record

__all__ = [
    "THRESHOLDS",
    "ClassCounts",
    "Counts",
    "InstanceCounts",
    "class_scores",
    "instance_scores",
    "known_objects",
    "only_known",
]

# 0.75 is usual besides the steps of a tenth.
THRESHOLDS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.9)


def _ratio(part: float, whole: float) -> float:
    # Neither 0 nor 1: an image without objects would spoil or embellish every mean.
    return part / whole if whole else float("nan")


class ClassCounts(Record):
    """Pixels per class id, background 0 included; ``a + b`` counts two images as one."""

    true_positives: tuple[int, ...] = Field(description="Pixels of the class in both.")
    false_positives: tuple[int, ...] = Field(
        description="Pixels of the class in the prediction only."
    )
    false_negatives: tuple[int, ...] = Field(
        description="Pixels of the class in the ground truth only."
    )

    def __add__(self, other: ClassCounts) -> ClassCounts:
        if len(self.true_positives) != len(other.true_positives):
            raise UsageError(
                f"Counts of {len(self.true_positives)} classes cannot be added to counts of "
                f"{len(other.true_positives)}.",
                "Score all images with the same number of classes.",
            )
        fields = "true_positives", "false_positives", "false_negatives"
        return ClassCounts(
            **{
                name: tuple(map(sum, zip(getattr(self, name), getattr(other, name), strict=True)))
                for name in fields
            }
        )

    @property
    def _rows(self) -> list[tuple[int, int, int]]:
        return list(
            zip(self.true_positives, self.false_positives, self.false_negatives, strict=True)
        )

    @property
    def dice(self) -> tuple[float, ...]:
        """Dice per class, 2 TP / (2 TP + FP + FN): the F1 of the pixels."""
        return tuple(_ratio(2 * tp, 2 * tp + fp + fn) for tp, fp, fn in self._rows)

    @property
    def iou(self) -> tuple[float, ...]:
        """Intersection over union per class, TP / (TP + FP + FN)."""
        return tuple(_ratio(tp, tp + fp + fn) for tp, fp, fn in self._rows)

    @property
    def precision(self) -> tuple[float, ...]:
        """Share of the predicted pixels that are correct, per class."""
        return tuple(_ratio(tp, tp + fp) for tp, fp, _ in self._rows)

    @property
    def recall(self) -> tuple[float, ...]:
        """Share of the true pixels that were found, per class."""
        return tuple(_ratio(tp, tp + fn) for tp, _, fn in self._rows)

    @property
    def mean_dice(self) -> float:
        """Mean Dice of the classes without background; undefined ones are skipped."""
        return _mean(self.dice[1:])

    @property
    def mean_iou(self) -> float:
        """Mean IoU of the classes without background; undefined ones are skipped."""
        return _mean(self.iou[1:])

    def values(self, class_labels: Mapping[int, str]) -> dict[str, float]:
        """Dice and IoU of each class without background, by its name."""
        scores = {"dice": self.dice, "iou": self.iou}
        return {
            f"{score}_{class_labels[label]}": of_class[label]
            for label in sorted(class_labels)
            if label
            for score, of_class in scores.items()
        }


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if value == value]
    return _ratio(sum(defined), len(defined))


def class_scores(prediction: NDArray[Any], truth: NDArray[Any], num_classes: int) -> ClassCounts:
    """Pixels that two label images share, per class.

    Parameters
    ----------
    prediction, truth
        Class ids 0..num_classes-1 of the same shape, any integer or boolean type.
    num_classes
        Classes, background included.

    Raises
    ------
    MaskError
        If the shapes differ, an id is out of range or the type is not integer.
    """
    predicted, true = _checked(prediction, truth)
    for name, labels in (("prediction", predicted), ("ground truth", true)):
        if labels.size and int(labels.max()) >= num_classes:
            raise MaskError(
                f"The {name} holds class {int(labels.max())}, but the classes are 0 to "
                f"{num_classes - 1}.",
                "Name all classes, or evaluate as instances if each value is an object.",
            )
    # A confusion matrix by one pass over the pixels: true * classes + predicted is its cell.
    table = np.bincount(
        true.astype(np.intp) * num_classes + predicted.astype(np.intp), minlength=num_classes**2
    )
    # Rows are true, columns predicted classes.
    table = table.reshape(num_classes, num_classes)
    both = np.diagonal(table)
    return ClassCounts(
        true_positives=tuple(both.tolist()),
        false_positives=tuple((table.sum(0) - both).tolist()),
        false_negatives=tuple((table.sum(1) - both).tolist()),
    )


def _checked(prediction: NDArray[Any], truth: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both as flat integers, checked."""
    if prediction.shape != truth.shape:
        raise MaskError(
            f"The prediction has shape {prediction.shape}, the ground truth {truth.shape}.",
            "Compare label images of the same size: select the matching file.",
        )
    return _flat_integers("prediction", prediction), _flat_integers("ground truth", truth)


def _flat_integers(name: str, labels: NDArray[Any]) -> NDArray[Any]:
    # Flat, because an overlap is counted the same in two and three dimensions.
    flat = labels.reshape(-1)
    if flat.dtype.kind == "b":
        return flat.astype(np.uint8)
    if flat.dtype.kind not in "ui":
        raise MaskError(
            f"The {name} holds values of type {labels.dtype}, not whole numbers.",
            "Save labels as integers.",
        )
    if flat.dtype.kind == "i" and flat.size and int(flat.min()) < 0:
        raise MaskError(
            f"The {name} holds the negative label {int(flat.min())}.",
            "Labels are 0 for background and positive for the rest.",
        )
    return flat


class InstanceCounts(Record):
    """Matched objects at each IoU threshold, and sums for the other scores.

    ``a + b`` counts two images as one.
    """

    thresholds: tuple[float, ...]
    true_positives: tuple[int, ...] = Field(description="Matched objects per threshold.")
    matched_iou: tuple[float, ...] = Field(
        description="Sum of the IoU of the matched objects per threshold."
    )
    true_objects: int
    predicted_objects: int
    aji_intersection: int = Field(
        description="Numerator of the aggregated Jaccard index, in pixels."
    )
    aji_union: int = Field(description="Its denominator.")

    def __add__(self, other: InstanceCounts) -> InstanceCounts:
        if self.thresholds != other.thresholds:
            raise UsageError(
                f"Counts at {self.thresholds} cannot be added to counts at {other.thresholds}.",
                "Use the same thresholds.",
            )
        return InstanceCounts(
            thresholds=self.thresholds,
            true_positives=tuple(
                map(sum, zip(self.true_positives, other.true_positives, strict=True))
            ),
            # Sums, never means: only these add up over images.
            matched_iou=tuple(map(sum, zip(self.matched_iou, other.matched_iou, strict=True))),
            true_objects=self.true_objects + other.true_objects,
            predicted_objects=self.predicted_objects + other.predicted_objects,
            aji_intersection=self.aji_intersection + other.aji_intersection,
            aji_union=self.aji_union + other.aji_union,
        )

    def _matched(self, threshold: float) -> int:
        return self.true_positives[self._at(threshold)]

    def _at(self, threshold: float) -> int:
        if threshold not in self.thresholds:
            raise UsageError(
                f"Objects were not matched at IoU {threshold}, only at {self.thresholds}.",
                "Use one of these.",
            )
        return self.thresholds.index(threshold)

    def average_precision(self, threshold: float = 0.5) -> float:
        """TP / (TP + FP + FN), the convention of the Data Science Bowl 2018 and of StarDist."""
        matched = self._matched(threshold)
        return _ratio(matched, self.true_objects + self.predicted_objects - matched)

    def precision(self, threshold: float = 0.5) -> float:
        """Share of the predicted objects that match a true one."""
        return _ratio(self._matched(threshold), self.predicted_objects)

    def recall(self, threshold: float = 0.5) -> float:
        """Share of the true objects that were found."""
        return _ratio(self._matched(threshold), self.true_objects)

    def f1(self, threshold: float = 0.5) -> float:
        """2 TP / (2 TP + FP + FN)."""
        return _ratio(2 * self._matched(threshold), self.true_objects + self.predicted_objects)

    def mean_matched_iou(self, threshold: float = 0.5) -> float:
        """Mean IoU of the matched objects."""
        return _ratio(self.matched_iou[self._at(threshold)], self._matched(threshold))

    def panoptic_quality(self, threshold: float = 0.5) -> float:
        """Sum of the matched IoU over TP + FP/2 + FN/2 (Kirillov et al. 2019)."""
        return _ratio(
            2 * self.matched_iou[self._at(threshold)], self.true_objects + self.predicted_objects
        )

    def values(self) -> dict[str, float]:
        """All scores by name: ap50 to ap90 (one per threshold), the rest at the first threshold."""
        first = self.thresholds[0]
        return {
            **{
                f"ap{round(100 * threshold)}": self.average_precision(threshold)
                for threshold in self.thresholds
            },
            "precision": self.precision(first),
            "recall": self.recall(first),
            "f1": self.f1(first),
            "pq": self.panoptic_quality(first),
            "matched_iou": self.mean_matched_iou(first),
            "aji": self.aggregated_jaccard,
        }

    @property
    def mean_average_precision(self) -> float:
        """Mean of the average precision over all thresholds."""
        return _mean([self.average_precision(threshold) for threshold in self.thresholds])

    @property
    def aggregated_jaccard(self) -> float:
        """The aggregated Jaccard index (Kumar et al. 2017)."""
        return _ratio(self.aji_intersection, self.aji_union)


def only_known(
    found: NDArray[Any], truth: NDArray[Any], known: NDArray[np.bool_] | None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The pixels of two label images that are annotated, in a row; all where `known` is None."""
    return (found, truth) if known is None else (found[known], truth[known])


def known_objects(
    found: NDArray[Any], truth: NDArray[Any], known: NDArray[np.bool_] | None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Two label images with only what can be compared of their objects.

    A predicted object that lies mostly where nothing is annotated is neither right nor wrong and
    left out; of the others, and of the true ones, the annotated part counts.
    """
    if known is None:
        return found, truth
    # Ranks, since labels of files may be as large as four billion.
    labels, ranks = np.unique(found, return_inverse=True)
    ranks = ranks.reshape(found.shape)
    sizes = np.bincount(ranks.reshape(-1), minlength=labels.size)
    inside = np.bincount(ranks[known], minlength=labels.size)
    is_kept = 2 * inside >= sizes
    return np.where(known & is_kept[ranks], found, 0), np.where(known, truth, 0)


class Counts(Record):
    """All counts of an image, of classes or objects; ``a + b`` counts two images as one."""

    classes: ClassCounts = Field(
        description="Pixels per class; for instances, of all objects together."
    )
    instances: InstanceCounts | None = Field(None, description="Matched objects.")

    def __add__(self, other: Counts) -> Counts:
        instances = None
        if self.instances is not None and other.instances is not None:
            instances = self.instances + other.instances
        return Counts(classes=self.classes + other.classes, instances=instances)

    @property
    def score(self) -> float:
        """The figure to select checkpoints by: mean AP of objects, or mean Dice of classes."""
        if self.instances is not None:
            return self.instances.mean_average_precision
        return self.classes.mean_dice

    def values(self, class_labels: Mapping[int, str]) -> dict[str, float]:
        """All scores by name; Dice and IoU of each class where there are several."""
        means = {"dice": self.classes.mean_dice, "iou": self.classes.mean_iou}
        if self.instances is not None:
            return {**means, **self.instances.values()}
        each = self.classes.values(class_labels) if len(class_labels) > 2 else {}
        return {**each, **means, "f1": self.classes.mean_dice}


def instance_scores(
    prediction: NDArray[Any], truth: NDArray[Any], thresholds: Sequence[float] = THRESHOLDS
) -> InstanceCounts:
    """Match the objects of two label images.

    An object matches where the IoU is at least the threshold; each object matches once, and matches
    are chosen so that there are as many as possible, then with the largest IoU.

    Parameters
    ----------
    prediction, truth
        Object ids of the same shape (any number of dimensions), 0 is background, any integer or
        boolean type.
    thresholds
        IoU thresholds in 0..1, 0 excluded.

    Raises
    ------
    MaskError
        If the shapes differ, an id is negative or the type is not integer.
    """
    if not thresholds or not all(0 < threshold <= 1 for threshold in thresholds):
        raise UsageError(
            f"IoU thresholds {tuple(thresholds)} are not all greater than 0 and at most 1.",
            "Use values such as 0.5 and 0.75.",
        )
    table = _overlaps(*_checked(prediction, truth))
    matched = [_match(table, threshold) for threshold in thresholds]
    intersection, union = _aggregate(table)
    return InstanceCounts(
        thresholds=tuple(thresholds),
        true_positives=tuple(len(iou) for iou in matched),
        matched_iou=tuple(math.fsum(iou) for iou in matched),
        true_objects=len(table.true_sizes),
        predicted_objects=len(table.predicted_sizes),
        aji_intersection=intersection,
        aji_union=union,
    )


class _Overlaps(NamedTuple):
    """Objects that share pixels: one row per pair, objects numbered from 0."""

    true: NDArray[np.intp]
    predicted: NDArray[np.intp]
    pixels: NDArray[np.intp]
    true_sizes: NDArray[np.intp]
    predicted_sizes: NDArray[np.intp]

    @property
    def unions(self) -> NDArray[np.intp]:
        return self.true_sizes[self.true] + self.predicted_sizes[self.predicted] - self.pixels


def _overlaps(predicted: NDArray[Any], true: NDArray[Any]) -> _Overlaps:
    (rows, true_sizes), (columns, predicted_sizes) = _consecutive(true), _consecutive(predicted)
    width = len(predicted_sizes)
    # Ids are 1-based here: a product of zero is background in either image.
    inside = (rows > 0) & (columns > 0)
    keys = (rows[inside] - 1) * width + (columns[inside] - 1)
    # Ten thousand objects on either side make a table of 800 MB; so many are sorted instead.
    if len(true_sizes) * width <= max(keys.size, MAX_DENSE):
        counts = np.bincount(keys, minlength=1)
        pairs = np.flatnonzero(counts)
        pixels = counts[pairs]
    else:
        pairs, pixels = np.unique(keys, return_counts=True)
    return _Overlaps(
        pairs // max(1, width), pairs % max(1, width), pixels, true_sizes, predicted_sizes
    )


MAX_DENSE = 4_000_000
"""A table of all pairs up to this size is counted by index, which is quicker than sorting."""


def _consecutive(labels: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Ids 1..n in place of any ids (0 stays), and the size of each object."""
    highest = int(labels.max()) if labels.size else 0
    # Labels of other programs may be numbered in millions, with few of them used.
    if highest <= max(labels.size, MAX_DENSE):
        counts = np.bincount(labels.astype(np.intp, copy=False), minlength=highest + 1)
        used = np.flatnonzero(counts[1:]) + 1
        ids = np.zeros(highest + 1, np.intp)
        ids[used] = np.arange(1, len(used) + 1)
        return ids[labels], counts[used]
    values, ids, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if values[0] == 0:
        return ids, sizes[1:]
    return ids + 1, sizes


def _match(table: _Overlaps, threshold: float) -> NDArray[np.float64]:
    """IoU of the matched objects."""
    iou = table.pixels / table.unions
    close = iou >= threshold
    iou = iou[close]
    true, predicted = table.true[close], table.predicted[close]
    rivals = (
        (np.bincount(true, minlength=1)[true] > 1)
        | (np.bincount(predicted, minlength=1)[predicted] > 1)
        if true.size
        else close[:0]
    )
    # Above 0.5 nobody has rivals: two objects cannot each share more than half of a third one.
    return np.concatenate([iou[~rivals], _assign(true[rivals], predicted[rivals], iou[rivals])])


def _assign(
    true: NDArray[np.intp], predicted: NDArray[np.intp], iou: NDArray[np.float64]
) -> NDArray[np.float64]:
    if not true.size:
        return iou
    from scipy.optimize import linear_sum_assignment

    # Only objects with rivals: the assignment grows with the cube of their number.
    rows, row = np.unique(true, return_inverse=True)
    columns, column = np.unique(predicted, return_inverse=True)
    shared = np.zeros((len(rows), len(columns)))
    shared[row, column] = iou
    # One match more is worth more than any sum of IoU.
    chosen = shared[linear_sum_assignment(shared + (len(iou) + 1) * (shared > 0), maximize=True)]
    return chosen[chosen > 0]


def _aggregate(table: _Overlaps) -> tuple[int, int]:
    """Numerator and denominator of the AJI: each true object with its best prediction.

    As in the paper a prediction may serve several true objects; of equal ones the lowest id is
    taken.
    """
    unions = table.unions
    # Sorted by object, then by falling IoU: the first of each object is its best.
    order = np.lexsort((-(table.pixels / unions), table.true))
    found, first = np.unique(table.true[order], return_index=True)
    best = order[first]
    unused = np.ones(len(table.predicted_sizes), bool)
    unused[table.predicted[best]] = False
    missed = np.ones(len(table.true_sizes), bool)
    missed[found] = False
    alone = table.predicted_sizes[unused].sum() + table.true_sizes[missed].sum()
    return int(table.pixels[best].sum()), int(unions[best].sum() + alone)
