"""The files of predictions: where they are, what made them, and how to read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maskloop.errors import MaskError, MaskloopError
from maskloop.images.image import Image
from maskloop.project.layout import PredictionRecord
from maskloop.wording import bytes_in_words

if TYPE_CHECKING:
    from maskloop.compute.project import Project

__all__ = [
    "OpenedPrediction",
    "Part",
    "PredictedImage",
    "collect",
    "is_edited",
    "open_prediction",
    "read_labels",
    "read_scores",
]

LARGEST_BYTES = 2_000_000_000
"""Labels in a viewer are in memory, so that they can be painted on."""
SCORES_RUN = " probabilities"
"""Suffix of the run id of saved probability maps."""


@dataclass(frozen=True)
class PredictedImage:
    """One predicted image."""

    labels: Path
    origin: str
    """The file that was predicted, or the name of a layer that came from none."""
    checkpoint_id: str
    prediction_id: str | None = None
    """None if it is not kept in the project."""
    probabilities: Path | None = None

    @property
    def kept(self) -> str:
        """Where it is saved, in words."""
        if self.prediction_id:
            return f"saved in the project as {self.prediction_id}"
        return f"saved as {self.labels}"

    @property
    def facts(self) -> dict[str, Any]:
        """What a layer of these labels remembers."""
        return {"prediction_id": self.prediction_id, "checkpoint_id": self.checkpoint_id}


@dataclass(frozen=True)
class Part:
    """The part of an image that was predicted: planes by axis, in an image of this shape."""

    axes: str
    shape: tuple[int, ...]
    index: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class OpenedPrediction:
    """A prediction to look at: the labels in memory, and the image if it is still found."""

    predicted: PredictedImage
    labels: Image
    image: Image | None
    why_no_image: str = ""


def collect(project: Project, run_id: str, result: Mapping[str, Any]) -> list[PredictedImage]:
    """What a finished run predicted, in the order of its inputs."""
    checkpoint = str(result["checkpoint_id"])
    records = {str(project.path(one.path)): one for one in project.predictions.list()}
    scores = {
        one.input_path: project.path(one.path)
        for one in records.values()
        if one.settings.get("run_id") == f"{run_id}{SCORES_RUN}"
    }
    found = []
    for path in map(Path, result["written"]):
        record = records.get(str(path))
        if record is None:
            beside = path.with_name(path.name.replace("_labels.tif", "_probabilities.tif"))
            has_scores = beside != path and beside.is_file()
            found.append(
                PredictedImage(
                    path, path.name, checkpoint, probabilities=beside if has_scores else None
                )
            )
        else:
            origin = record.input_path
            found.append(
                PredictedImage(path, origin, checkpoint, record.prediction_id, scores.get(origin))
            )
    return found


def read_labels(
    predicted: PredictedImage, *, is_instances: bool, part: Part | None = None
) -> Image:
    """The labels in memory, in a type with room for more, at their place in the whole image.

    Parameters
    ----------
    predicted
        What to read.
    is_instances
        Whether labels are objects: a person may add more.
    part
        Which part of an image they are; by default all of it.

    Raises
    ------
    MaskError
        If they are too large to be painted on.
    """
    from maskloop.images.readers import open_labels

    labels = open_labels(predicted.labels)
    # A person may add objects beyond what a small type of the file can number.
    dtype = np.dtype(np.uint32) if is_instances else labels.data.dtype
    shape, axes = (labels.shape, labels.axes) if part is None else _whole(part)
    # Of the whole image, because labels of one plane are shown in a layer of its shape.
    _refuse_large(predicted, int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
    index = {} if part is None else part.index
    found = labels.read("".join(letter for letter in axes if letter not in index)).astype(dtype)
    if index:
        pixels = np.zeros(shape, dtype)
        pixels[tuple(index.get(letter, slice(None)) for letter in axes)] = found
        found = pixels
    return replace(labels, data=found, axes=axes, name=predicted.origin)


def read_scores(predicted: PredictedImage) -> Image:
    """The probability maps of a prediction in memory, one channel per class or per output.

    Raises
    ------
    MaskError
        If they are too large to be shown.
    """
    from maskloop.images.readers import open_image

    assert predicted.probabilities is not None
    scores = open_image(predicted.probabilities)
    size = int(np.prod(scores.shape, dtype=np.int64)) * scores.data.dtype.itemsize
    if size > LARGEST_BYTES:
        raise MaskError(
            f"The probability maps take {bytes_in_words(size)}, too much to show.",
            f"They are saved as '{predicted.probabilities}'.",
        )
    return replace(scores, data=scores.read())


def _whole(part: Part) -> tuple[tuple[int, ...], str]:
    kept = [
        (letter, length)
        for letter, length in zip(part.axes, part.shape, strict=True)
        if letter != "C"
    ]
    return tuple(length for _, length in kept), "".join(letter for letter, _ in kept)


def _refuse_large(predicted: PredictedImage, size: int) -> None:
    if size > LARGEST_BYTES:
        raise MaskError(
            f"The labels take {bytes_in_words(size)}, too much to edit; they are {predicted.kept}.",
            "Predict the visible slice to correct it, or drag the file onto the window to view it.",
        )


def is_edited(
    project: Project, origin: Mapping[str, Any], labels: Image, where: Mapping[str, Any]
) -> bool:
    """Whether labels differ from those that were predicted.

    Parameters
    ----------
    project
        Keeps the prediction.
    origin
        Metadata of the layer: which prediction it shows.
    labels
        What is about to be accepted.
    where
        Which part of the layer it is: ``index`` and ``rectangle``.
    """
    from maskloop.images.readers import open_labels

    predicted_index = dict(origin.get("index") or {})
    index, rectangle = dict(where.get("index") or {}), dict(where.get("rectangle") or {})
    if not origin.get("prediction_id") or any(
        index.get(letter, at) != at for letter, at in predicted_index.items()
    ):
        return True
    # The file is the truth, not a hash of the layer: only the part that is accepted is compared.
    predicted = open_labels(project.predictions.path(str(origin["prediction_id"])))
    if set(labels.axes) - set(predicted.axes):
        return True
    places = [
        index.get(letter, slice(*rectangle.get(letter, (None,)))) for letter in predicted.axes
    ]
    part = np.asarray(predicted.data[tuple(places)])
    kept = "".join(
        letter
        for letter, place in zip(predicted.axes, places, strict=True)
        if isinstance(place, slice)
    )
    return kept != labels.axes or not np.array_equal(part, labels.read())


def open_prediction(
    project: Project,
    record: PredictionRecord,
    scores: PredictionRecord | None,
    *,
    is_instances: bool,
) -> OpenedPrediction:
    """The labels of a prediction in memory, and its image if the file is there and fits.

    Parameters
    ----------
    project
        Keeps the prediction.
    record, scores
        Of the labels, and of their probability maps if there are any.
    is_instances
        Whether labels are objects.
    """
    path = project.predictions.path(record.prediction_id)
    predicted = PredictedImage(
        path,
        record.input_path,
        record.checkpoint_id or "",
        record.prediction_id,
        None if scores is None else project.path(scores.path),
    )
    labels = read_labels(predicted, is_instances=is_instances)
    image, why_not = _find_image(record, labels)
    return OpenedPrediction(predicted, labels, image, why_not)


def _find_image(record: PredictionRecord, labels: Image) -> tuple[Image | None, str]:
    from maskloop.images.formats import refer
    from maskloop.images.readers import open_image

    source = refer(record.input_path) if record.input_path else None
    if source is None or not source.path.exists():
        return None, f"'{record.input_path}' was not found: only the labels are shown."
    try:
        image = open_image(source, axes=(record.settings.get("axes") or None))
        sizes = zip(image.axes, image.shape, strict=True)
        if tuple(length for letter, length in sizes if letter != "C") != labels.shape:
            return None, f"'{source.name}' now has a different shape: only the labels are shown."
        if int(np.prod(image.shape, dtype=np.int64)) * image.data.dtype.itemsize > LARGEST_BYTES:
            return None, f"'{source.name}' is large: drag it onto the window to see it."
        return replace(image, data=image.read()), ""
    except MaskloopError as error:
        return None, error.problem
