"""What a model's scores mean: from labels to targets, from scores to labels, and how good they are.

An output is everything that training, validation, prediction and evaluation need to know of a task;
none of them asks whether it is binary, multiclass or instances. A new representation of objects
(flows, star-convex distances) is one more class here, or in the package of the backend that brings
it: a record that fulfils `maskloop.predict.base.Output`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from maskloop.images.instances import (
    DecodedInstances,
    InstanceSettings,
    decode_instances,
    decode_with_anchors,
    encode_instances,
)
from maskloop.predict.metrics import (
    Counts,
    class_scores,
    instance_scores,
    known_objects,
    only_known,
)
from maskloop.records import Record
from maskloop.task import OutputMode

__all__ = ["AnyOutput", "Classes", "DistanceMaps", "Foreground", "output_for"]

Examples = Iterable[tuple[NDArray[Any], NDArray[Any]]]
ONE_CLASS = {0: "background", 1: "foreground"}
ClassLabels = Annotated[
    dict[int, str], Field(description="Class id to name, background 0 included.")
]


class Foreground(Record):
    """One probability per pixel: foreground where it is above a threshold."""

    kind: Literal["foreground"] = "foreground"
    mode: Literal["binary"] = "binary"
    class_labels: ClassLabels = Field(default_factory=lambda: dict(ONE_CLASS))
    threshold: float = Field(
        0.5, ge=0, le=1, description="Foreground where the score is above this."
    )

    @property
    def channels(self) -> int:
        """Score channels."""
        return 1

    @property
    def score_names(self) -> tuple[str, ...]:
        """Name of each score channel."""
        return (self.class_labels[1],)

    @property
    def dtype(self) -> np.dtype[Any]:
        """How scores are kept while they wait."""
        return np.dtype(np.uint8)

    @property
    def label_dtype(self) -> np.dtype[Any]:
        """Type of the labels."""
        return np.dtype(np.uint8)

    @property
    def margin_px(self) -> int:
        """A pixel's label follows from its own score."""
        return 0

    @property
    def is_interpolated(self) -> bool:
        """Whether targets may be interpolated when a patch is resampled."""
        return False

    def encode(
        self, labels: NDArray[Any], spacing: Sequence[float] | None = None
    ) -> NDArray[np.bool_]:
        """Targets (1, *spatial): whether a pixel is foreground."""
        targets: NDArray[np.bool_] = (labels > 0)[None]
        return targets

    def class_map(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Class of each pixel: 0 or 1."""
        return (labels > 0).astype(np.uint8)

    def decode(self, scores: NDArray[Any]) -> NDArray[np.uint8]:
        """Labels (*spatial) of scores (1, *spatial), in 0..1 or as uint8 in 0..255."""
        # The threshold is scaled, not the scores: a copy of them as floats would take four times as
        # much.
        unit = 255 if scores.dtype == np.uint8 else 1
        labels: NDArray[np.uint8] = (scores[0] > self.threshold * unit).astype(np.uint8)
        return labels

    def score(
        self, found: NDArray[Any], truth: NDArray[Any], *, known: NDArray[np.bool_] | None = None
    ) -> Counts:
        """Pixels that are right and wrong; any value above 0 is foreground."""
        found, truth = only_known(found, truth, known)
        return Counts(classes=class_scores(found > 0, truth > 0, 2))

    def tuned(self, _examples: Examples) -> Self:
        """As it is: a probability of one half is the best guess of the Dice."""
        return self


class Classes(Record):
    """One probability per class and pixel: the class with the largest one."""

    kind: Literal["classes"] = "classes"
    mode: Literal["multiclass"] = "multiclass"
    class_labels: ClassLabels

    @property
    def channels(self) -> int:
        """Score channels."""
        return len(self.class_labels)

    @property
    def score_names(self) -> tuple[str, ...]:
        """Name of each score channel."""
        return tuple(self.class_labels[label] for label in sorted(self.class_labels))

    @property
    def dtype(self) -> np.dtype[Any]:
        """How scores are kept while they wait."""
        return np.dtype(np.uint8)

    @property
    def label_dtype(self) -> np.dtype[Any]:
        """Type of the labels."""
        # One byte up to 255 classes, two above.
        return np.min_scalar_type(max(self.class_labels))

    @property
    def margin_px(self) -> int:
        """A pixel's label follows from its own scores."""
        return 0

    @property
    def is_interpolated(self) -> bool:
        """Whether targets may be interpolated when a patch is resampled."""
        return False

    def encode(self, labels: NDArray[Any], spacing: Sequence[float] | None = None) -> NDArray[Any]:
        """Targets (1, *spatial): the class ids."""
        return labels[None]

    def class_map(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Class of each pixel."""
        return labels

    def decode(self, scores: NDArray[Any]) -> NDArray[Any]:
        """Labels (*spatial) of scores (channels, *spatial)."""
        # Scores in 256 steps may tie; the lower class id wins, always the same one.
        labels: NDArray[Any] = scores.argmax(axis=0).astype(self.label_dtype)
        return labels

    def score(
        self, found: NDArray[Any], truth: NDArray[Any], *, known: NDArray[np.bool_] | None = None
    ) -> Counts:
        """Pixels of each class that are right and wrong."""
        found, truth = only_known(found, truth, known)
        return Counts(classes=class_scores(found, truth, len(self.class_labels)))

    def tuned(self, _examples: Examples) -> Self:
        """As it is: there is nothing to tune."""
        return self


THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
CLEARLY = 0.05
"""Another seed threshold must be better than the usual one by so much mean AP ..."""
OBJECTS = 3
"""... and by so many objects: a few must not move it by chance."""


class DistanceMaps(Record):
    """Foreground, nearness to the center and distance to the boundary: touching objects apart.

    The maps are those of `maskloop.images.instances`.
    """

    kind: Literal["distance_maps"] = "distance_maps"
    mode: Literal["instances"] = "instances"
    class_labels: ClassLabels = Field(default_factory=lambda: dict(ONE_CLASS))
    instances: InstanceSettings = Field(
        default_factory=InstanceSettings, description="How scores become objects."
    )

    @property
    def channels(self) -> int:
        """Score channels."""
        return len(self.score_names)

    @property
    def score_names(self) -> tuple[str, ...]:
        """Name of each score channel."""
        return ("foreground", "center", "boundary")

    @property
    def dtype(self) -> np.dtype[Any]:
        """How scores are kept while they wait: 256 steps are as good as floats and a quarter."""
        return np.dtype(np.uint8)

    @property
    def label_dtype(self) -> np.dtype[Any]:
        """Type of the labels."""
        return np.dtype(np.int32)

    @property
    def margin_px(self) -> int:
        """How far around a block the objects that begin in it, and their neighbors, reach."""
        return self.instances.margin_px

    @property
    def is_interpolated(self) -> bool:
        """Whether targets may be interpolated when a patch is resampled."""
        return True

    def encode(
        self, labels: NDArray[Any], spacing: Sequence[float] | None = None
    ) -> NDArray[np.float16]:
        """Targets (3, *spatial) in 0..1."""
        # Kept for all training images, in half the memory of float32.
        return encode_instances(labels, spacing=spacing).astype(np.float16)

    def class_map(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Class of each pixel: every object is of class 1."""
        return (labels > 0).astype(np.uint8)

    def decode(self, scores: NDArray[Any]) -> NDArray[np.int32]:
        """Objects 1..n (*spatial) of scores (3, *spatial), in 0..1 or as uint8 in 0..255."""
        return decode_instances(scores, self.instances)

    def find(self, scores: NDArray[Any]) -> DecodedInstances:
        """The same with where each object begins, for images that are decoded in blocks."""
        return decode_with_anchors(scores, self.instances)

    def score(
        self, found: NDArray[Any], truth: NDArray[Any], *, known: NDArray[np.bool_] | None = None
    ) -> Counts:
        """Objects that match, and the pixels of the foreground."""
        pixels = only_known(found > 0, truth > 0, known)
        return Counts(
            classes=class_scores(*pixels, 2),
            instances=instance_scores(*known_objects(found, truth, known)),
        )

    def tuned(self, examples: Examples) -> Self:
        """With the seed threshold of the best mean AP; the default unless one is clearly better.

        A network that had little time predicts lower maps than the ground truth. Masks that were
        encoded and degraded gave the default (`maskloop.images.instances`), and on real 2D
        networks it was within 0.02 of the best. A 3D network of a few minutes reaches half the
        height: the default finds nothing there, half of it most objects.

        Parameters
        ----------
        examples
            Scores (3, *spatial) and true labels (*spatial) of each image.
        """
        # All scores are kept, because each threshold is tried on them.
        seen = list(examples)

        def mean_ap(threshold: float) -> float:
            settings = self.instances.model_copy(update={"seed_threshold": threshold})
            counts = [
                instance_scores(decode_instances(maps, settings), truth) for maps, truth in seen
            ]
            found = sum(counts[1:], counts[0]).mean_average_precision if counts else 0.0
            return found if math.isfinite(found) else 0.0

        usual = InstanceSettings().seed_threshold
        before = mean_ap(usual)
        objects = sum(len(np.unique(truth[truth > 0])) for _, truth in seen)
        least = max(CLEARLY, OBJECTS / max(1, objects))
        # Nothing could be better by enough: the other thresholds need not be tried.
        if before + least > 1:
            return self._starting_at(usual)
        found = {threshold: mean_ap(threshold) for threshold in THRESHOLDS if threshold != usual}
        best = max(found, key=found.__getitem__)
        return self._starting_at(best if found[best] >= before + least else usual)

    def _starting_at(self, threshold: float) -> Self:
        settings = self.instances.model_copy(update={"seed_threshold": threshold})
        return self.model_copy(update={"instances": settings})


AnyOutput = Annotated[Foreground | Classes | DistanceMaps, Field(discriminator="kind")]
"""The outputs that maskloop brings, as a field of a record."""


def output_for(
    mode: OutputMode,
    class_labels: Mapping[int, str],
    *,
    threshold: float = 0.5,
    instances: InstanceSettings | None = None,
) -> Foreground | Classes | DistanceMaps:
    """The usual output of a task.

    Parameters
    ----------
    mode
        What is to be found.
    class_labels
        Class id to name, background 0 included.
    threshold
        Foreground where the score is above this (binary).
    instances
        How scores become objects (instances).
    """
    labels = dict(class_labels)
    if mode == "binary":
        return Foreground(class_labels=labels, threshold=threshold)
    if mode == "multiclass":
        return Classes(class_labels=labels)
    return DistanceMaps(class_labels=labels, instances=instances or InstanceSettings())
