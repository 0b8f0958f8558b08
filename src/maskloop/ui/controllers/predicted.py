"""What came out of a prediction: where it lies, what it was made of, and its labels ready to be corrected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maskloop.errors import MaskError, MaskloopError
from maskloop.images.image import Image
from maskloop.project.layout import PredictionRecord

if TYPE_CHECKING:
    from maskloop.compute.project import Project

__all__ = [
    "OpenedPrediction",
    "Part",
    "PredictedImage",
    "PredictionRow",
    "collect",
    "is_edited",
    "open_prediction",
    "read_labels",
    "read_scores",
    "rows_of",
]

LARGEST_BYTES = 2_000_000_000
"""Labels in a viewer are held in memory, so that they can be painted on."""
SCORES_RUN = " probabilities"
"""How the run's name of kept scores ends."""


@dataclass(frozen=True)
class PredictedImage:
    """One predicted image."""

    labels: Path
    origin: str
    """The file that was predicted, or words for a layer that came from none."""
    checkpoint_id: str
    prediction_id: str | None = None
    """None where it is not kept in the project."""
    probabilities: Path | None = None

    @property
    def kept(self) -> str:
        """Where it is kept, in words."""
        return (
            f"kept in the project as {self.prediction_id}"
            if self.prediction_id
            else f"written to {self.labels}"
        )

    @property
    def facts(self) -> dict[str, Any]:
        """What a layer of these labels remembers of them."""
        return {"prediction_id": self.prediction_id, "checkpoint_id": self.checkpoint_id}


@dataclass(frozen=True)
class Part:
    """The part of an image that was predicted: the planes by axis, of an image with these axes and lengths."""

    axes: str
    shape: tuple[int, ...]
    index: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PredictionRow:
    """One line of the table of predictions."""

    prediction_id: str
    image: str
    checkpoint: str
    when: str
    """To the minute, UTC."""
    tooltip: str
    record: PredictionRecord
    scores: PredictionRecord | None = None


@dataclass(frozen=True)
class OpenedPrediction:
    """A kept prediction to look at: the labels in memory, and the image where it is still found."""

    predicted: PredictedImage
    labels: Image
    image: Image | None
    why_no_image: str = ""


def collect(project: Project, run_id: str, result: Mapping[str, Any]) -> list[PredictedImage]:
    """What a finished run has predicted, in the order of its inputs."""
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
            found.append(
                PredictedImage(
                    path,
                    path.name,
                    checkpoint,
                    None,
                    beside if beside != path and beside.is_file() else None,
                )
            )
        else:
            found.append(
                PredictedImage(
                    path,
                    record.input_path,
                    checkpoint,
                    record.prediction_id,
                    scores.get(record.input_path),
                )
            )
    return found


def read_labels(
    predicted: PredictedImage, *, is_instances: bool, part: Part | None = None
) -> Image:
    """The labels in memory, in a type that has room for what will be drawn, and at their place in the whole image.

    Parameters
    ----------
    predicted
        What to read.
    is_instances
        Whether labels are objects, of which there will be more.
    part
        Which part of an image they are; all of it when left out.

    Raises
    ------
    MaskError
        If they are too large to be drawn on.
    """
    from maskloop.images.readers import open_labels

    labels = open_labels(predicted.labels)
    dtype = np.dtype(np.uint32) if is_instances else labels.data.dtype
    shape, axes = (labels.shape, labels.axes) if part is None else _whole(part)
    _refuse_large(predicted, int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
    index = {} if part is None else part.index
    found = labels.read("".join(letter for letter in axes if letter not in index)).astype(dtype)
    if index:
        pixels = np.zeros(shape, dtype)
        pixels[tuple(index.get(letter, slice(None)) for letter in axes)] = found
        found = pixels
    return replace(labels, data=found, axes=axes, name=predicted.origin)


def read_scores(predicted: PredictedImage) -> Image:
    """The scores of a prediction in memory, one channel per class (or what objects are made of).

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
            f"The scores take {size / 1e9:.1f} GB, too much to show.",
            f"They are kept as '{predicted.probabilities}'.",
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
            f"The labels take {size / 1e9:.1f} GB, too much to draw on; they are {predicted.kept}.",
            "Predict the visible slice to correct it, or drag the file onto the window to look at it.",
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
        What the layer remembers of the prediction.
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
    project: Project, row: PredictionRow, *, is_instances: bool
) -> OpenedPrediction:
    """The labels of a kept prediction in memory, and its image where the file is still there and fits."""
    record = row.record
    scores = None if row.scores is None else project.path(row.scores.path)
    path = project.predictions.path(record.prediction_id)
    predicted = PredictedImage(
        path, record.input_path, record.checkpoint_id or "", record.prediction_id, scores
    )
    labels = read_labels(predicted, is_instances=is_instances)
    image, why_not = _find_image(record, labels)
    return OpenedPrediction(predicted, labels, image, why_not)


def _find_image(record: PredictionRecord, labels: Image) -> tuple[Image | None, str]:
    from maskloop.images.readers import open_image

    path = Path(record.input_path)
    if not record.input_path or not path.is_file():
        return None, f"'{record.input_path}' is no longer there, so the labels are shown alone."
    try:
        image = open_image(path, axes=(record.settings.get("axes") or None))
        fits = (
            tuple(
                length
                for letter, length in zip(image.axes, image.shape, strict=True)
                if letter != "C"
            )
            == labels.shape
        )
        if not fits:
            return None, f"'{path.name}' has another shape now, so the labels are shown alone."
        if int(np.prod(image.shape, dtype=np.int64)) * image.data.dtype.itemsize > LARGEST_BYTES:
            return (
                None,
                f"'{path.name}' is large: drag it onto the window to see it below the labels.",
            )
        return replace(image, data=image.read()), ""
    except MaskloopError as error:
        return None, error.problem


def rows_of(
    records: Sequence[PredictionRecord], known: Mapping[str, PredictionRow]
) -> list[PredictionRow]:
    """The table, newest first; scores belong to the line of their labels, and lines that are known stay the same objects."""
    scores = {
        (str(one.settings.get("run_id", "")).removesuffix(SCORES_RUN), one.input_path): one
        for one in records
        if _is_scores(one)
    }
    found = []
    for one in reversed(records):
        if _is_scores(one):
            continue
        mine = scores.get((str(one.settings.get("run_id", "")), one.input_path))
        before = known.get(one.prediction_id)
        same = before is not None and before.record is one and before.scores is mine
        found.append(before if before is not None and same else _row(one, mine))
    return found


def _is_scores(record: PredictionRecord) -> bool:
    return str(record.settings.get("run_id", "")).endswith(SCORES_RUN)


def _row(record: PredictionRecord, scores: PredictionRecord | None) -> PredictionRow:
    when = record.created_at[:16].replace("T", " ")
    image = Path(record.input_path).name or "unknown"
    settings = record.settings
    lines = [
        record.prediction_id,
        f"Image: {record.input_path or 'unknown'}",
        f"Checkpoint: {record.checkpoint_id or 'unknown'}",
    ]
    lines.append(f"Predicted: {when} UTC")
    if settings.get("axes"):
        lines.append(f"Axes: {settings['axes']}")
    if settings.get("mirror"):
        lines.append("Averaged over mirrored copies")
    if (settings.get("output") or {}).get("mode") == "binary":
        lines.append(f"Foreground above {settings['output'].get('threshold'):g}")
    if scores is not None:
        lines.append(f"Scores: {scores.path}")
    return PredictionRow(
        record.prediction_id,
        image,
        record.checkpoint_id or "",
        when,
        "\n".join(lines),
        record,
        scores,
    )
