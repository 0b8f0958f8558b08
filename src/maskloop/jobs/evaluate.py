"""Scores of predictions against ground truth: of each image, and of all together as one."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from maskloop.errors import AxesError, MaskError, MaskloopError, UsageError
from maskloop.images.axes import reorder
from maskloop.images.image import Image
from maskloop.images.plausibility import MANY_PIECES, count_pieces
from maskloop.images.readers import open_labels
from maskloop.images.sources import PairFiles, PairTable, match_pairs
from maskloop.predict.base import Output, score_known
from maskloop.predict.batch import read_provenance
from maskloop.predict.metrics import Counts
from maskloop.predict.outputs import Foreground, output_for
from maskloop.records import Record, write_bytes
from maskloop.task import OutputMode, require_mode

__all__ = ["Evaluation", "EvaluationFailure", "ImageEvaluation", "evaluate_folders"]

LABELS_SUFFIX = "_labels"
"""What `maskloop predict` appends to the name of an image."""

Row = dict[str, str | float | int | None]


class ImageEvaluation(Record):
    """Counts of one image, from which all its scores follow."""

    name: str = Field(description="Name that the files share.")
    prediction: str = Field(description="File of the prediction.")
    mask: str = Field(description="File of the ground truth.")
    counts: Counts


class EvaluationFailure(Record):
    """A file that could not be evaluated, and why."""

    name: str
    problem: str


class Evaluation(Record):
    """Scores of predictions against truth, per image and in sum."""

    mode: OutputMode
    class_labels: dict[int, str] = Field(description="Class id to name, background 0 included.")
    images: tuple[ImageEvaluation, ...]
    failures: tuple[EvaluationFailure, ...] = Field((), description="Files without scores.")

    @property
    def total(self) -> ImageEvaluation:
        """All images as if they were one."""
        first, *rest = (image.counts for image in self.images)
        name = f"all {len(self.images)} images"
        return ImageEvaluation(name=name, prediction="", mask="", counts=sum(rest, first))

    def rows(self) -> list[Row]:
        """One row per image and a last one for all together; None where a score is undefined."""
        return [self._row(image) for image in (*self.images, self.total)]

    def _row(self, image: ImageEvaluation) -> Row:
        classes, instances = image.counts.classes, image.counts.instances
        # Of instances the objects first: Dice and IoU of their foreground do not see merged cells.
        values: dict[str, float] = {}
        if instances is not None:
            values = {
                **instances.values(),
                "true_objects": instances.true_objects,
                "predicted_objects": instances.predicted_objects,
            }
        values |= {"dice": classes.mean_dice, "iou": classes.mean_iou}
        if instances is None:
            values |= classes.values(self.class_labels)
        return {
            "image": image.name,
            # NaN is not equal to itself; in a table or in JSON an undefined score is empty.
            **{name: None if value != value else value for name, value in values.items()},
        }

    def write_csv(self, path: Path) -> None:
        """Write the rows as a table; scores that are not defined stay empty.

        Raises
        ------
        ProjectError
            If the file cannot be written.
        """
        rows = self.rows()
        text = io.StringIO(newline="")
        # Every image has the same columns, because all were counted by one output.
        table = csv.DictWriter(text, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
        # Atomically, through memory: a script that watches the file never reads half a table.
        write_bytes(path, text.getvalue().encode("utf-8"))

    def write_json(self, path: Path) -> None:
        """Write mode, classes, rows, the sum and the failures.

        Raises
        ------
        ProjectError
            If the file cannot be written.
        """
        write_bytes(
            path, (json.dumps(self.summary(), indent=1, ensure_ascii=False) + "\n").encode("utf-8")
        )

    def summary(self) -> dict[str, Any]:
        """Everything as plain JSON."""
        *images, total = self.rows()
        failures = [failure.model_dump() for failure in self.failures]
        labels = {str(label): name for label, name in self.class_labels.items()}
        return {
            "mode": self.mode,
            "class_labels": labels,
            "total": total,
            "images": images,
            "failures": failures,
        }


def evaluate_folders(
    predictions: str | Path,
    masks: str | Path,
    *,
    mode: OutputMode | None = None,
    num_classes: int | None = None,
    axes: str | None = None,
    ignore: int | None = None,
) -> Evaluation:
    """Compare predicted label images with true ones.

    Parameters
    ----------
    predictions
        Folder of label images called ``<stem>_labels.tif`` (as `maskloop predict` writes) or
        ``<stem>`` with any ending that is read.
    masks
        Folder of true label images called ``<stem>`` with any ending that is read.
    mode
        binary: nonzero is foreground. multiclass: values are class ids. instances: values number
        objects; Dice and IoU are those of the foreground. By default what the predictions say of
        themselves, else binary where no file holds more than one value besides 0.
    num_classes
        Classes, background included; by default those the predictions name, else as many as the
        files hold.
    axes
        Axes of the files that do not name their own.
    ignore
        Value of pixels in the masks that are not annotated: they count for nothing.

    Returns
    -------
    evaluation
        What could be compared, and what could not with its reason.

    Raises
    ------
    UsageError
        If the mode is not known and cannot be told from the files.
    ImageError
        If a folder is missing or holds no image.
    MaskError
        If nothing could be compared.
    """
    if mode is not None:
        require_mode(mode)
    pairs = _pairs(predictions, masks)
    failures = [
        EvaluationFailure(name=problem.path.name, problem=problem.reason)
        for problem in pairs.problems
    ]
    # What a person says counts most, then what predictions say of themselves, and values only last.
    described = _described([pair.image for pair in pairs.matched])
    chosen = mode or (described.mode if described else _mode_of_values(pairs, axes, ignore))
    names = _class_names(chosen, num_classes, described, pairs, axes, ignore)
    output = output_for(chosen, names)
    images = []
    ways_out: list[str] = []
    for pair in pairs.matched:
        try:
            images.append(_evaluate(pair, output, axes, ignore))
        # A file that cannot be compared must not cost the scores of the others.
        except (MaskloopError, OSError) as error:
            problem = error.problem if isinstance(error, MaskloopError) else str(error)
            failures.append(EvaluationFailure(name=pair.image.name, problem=problem))
            if isinstance(error, MaskError):
                ways_out.append(error.way_out)
    if not images and ways_out:
        # They were found and read: to rename them would not help.
        reasons = "; ".join(f"{failure.name}: {failure.problem}" for failure in failures[:3])
        raise MaskError(f"Nothing could be compared: {reasons}", ways_out[0])
    if not images:
        reasons = "; ".join(f"{failure.name}: {failure.problem}" for failure in failures[:3])
        raise MaskError(
            f"Nothing in '{predictions}' could be compared with '{masks}': {reasons}.",
            f"Give each prediction the name of its mask, as it is or followed by {LABELS_SUFFIX}.",
        )
    return Evaluation(
        mode=chosen, class_labels=names, images=tuple(images), failures=tuple(failures)
    )


def _pairs(predictions: str | Path, masks: str | Path) -> PairTable:
    """Pairs by name; predictions with the suffix of `maskloop predict` where there are such."""
    # One is enough: probability maps lie beside the labels and must not be taken for predictions.
    has_suffix = any(Path(predictions).expanduser().glob(f"*{LABELS_SUFFIX}.*"))
    suffix = LABELS_SUFFIX if has_suffix else ""
    pairs = match_pairs(masks, predictions, mask_suffix=suffix, nouns=("mask", "prediction"))
    # Found from the side of the truth, so that what is called image there is the mask here.
    swapped = (
        pair.model_copy(update={"image": pair.mask, "mask": pair.image}) for pair in pairs.matched
    )
    return pairs.model_copy(update={"matched": tuple(swapped)})


class _Described(Record):
    """What a prediction says of its labels."""

    mode: OutputMode
    class_labels: dict[int, str]


def _described(predictions: Sequence[Path]) -> _Described | None:
    """What the predictions say of themselves, when all say the same."""
    found = [_description(path) for path in predictions]
    # A folder with predictions of two models is not guessed about.
    return found[0] if found and all(one == found[0] for one in found) else None


def _description(prediction: Path) -> _Described | None:
    note = read_provenance(prediction)
    if note is None:
        return None
    output = {name: note.settings.output.get(name) for name in _Described.model_fields}
    try:
        return _Described.model_validate(output)
    except ValidationError:
        # A representation that a plug-in brought and that is not installed here.
        return None


def _open(path: Path, axes: str | None) -> Image:
    """Labels by the axes of their file; where it names none, by those given."""
    try:
        return open_labels(path)
    except AxesError:
        if axes is None:
            raise
        return open_labels(path, axes=axes)


def _values(
    pairs: PairTable, axes: str | None, ignore: int | None
) -> Iterator[tuple[Path, NDArray[Any]]]:
    """Values besides 0 of each file; one that cannot be read is skipped here, reported later."""
    for path in (path for pair in pairs.matched for path in (pair.image, pair.mask)):
        with contextlib.suppress(MaskloopError, OSError):
            # Pair by pair and from prediction and mask: either may lack an object or a class.
            values = np.unique(_open(path, axes).read())
            yield path, values[(values != 0) & (values != ignore)]


def _mode_of_values(pairs: PairTable, axes: str | None, ignore: int | None) -> OutputMode:
    for path, values in _values(pairs, axes, ignore):
        if len(values) > 1:
            raise UsageError(
                f"'{path.name}' holds {len(values)} values besides 0, which could be classes or "
                "objects.",
                "Select the mode (--mode): multiclass if each value is a class, instances if it is "
                "an object, binary if all of them are foreground.",
            )
    return "binary"


def _class_names(
    mode: OutputMode,
    num_classes: int | None,
    described: _Described | None,
    pairs: PairTable,
    axes: str | None,
    ignore: int | None,
) -> dict[int, str]:
    if mode != "multiclass":
        return Foreground().class_labels
    if (
        described
        and described.mode == "multiclass"
        and num_classes in (None, len(described.class_labels))
    ):
        return dict(described.class_labels)
    count = num_classes or 1 + max(
        (int(values.max(initial=1)) for _, values in _values(pairs, axes, ignore)), default=1
    )
    return {0: "background"} | {label: f"class_{label}" for label in range(1, count)}


def _evaluate(
    pair: PairFiles, output: Output, axes: str | None, ignore: int | None
) -> ImageEvaluation:
    found, truth = _comparable(pair.image, pair.mask, axes)
    if output.mode == "instances":
        _refuse_foreground_as_objects(truth, pair.mask, ignore)
    known = None
    if ignore is not None:
        known = truth != ignore
        truth = np.where(known, truth, 0)
    return ImageEvaluation(
        name=pair.stem,
        prediction=pair.image.name,
        mask=pair.mask.name,
        counts=score_known(output, found, truth, known),
    )


def _refuse_foreground_as_objects(truth: NDArray[Any], mask: Path, ignore: int | None) -> None:
    """A true mask of 0 and 255 has no objects: all scores of objects would be wrong."""
    values = np.unique(truth)
    drawn = values[(values != 0) & (values != ignore)]
    if drawn.size != 1:
        return
    pieces = int(count_pieces((truth == drawn[0]).astype(np.uint8), np.array([1]), None)[0])
    # One object of another value may be cut in two; 255 is what programs write for foreground.
    if pieces >= (2 if drawn[0] == 255 else MANY_PIECES):
        raise MaskError(
            f"Mask '{mask.name}' only tells foreground ({drawn[0]}) from background, in {pieces} "
            "separate pieces; scores of objects need a label for each.",
            "Compare the foreground (--mode binary), or number the objects of the masks.",
        )


def _comparable(
    prediction: Path, mask: Path, axes: str | None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both label images, their axes in one order; axes of length one need not be in both."""
    found, truth = _open(prediction, axes), _open(mask, axes)
    lengths = [
        # By letter, not by position: a file may say ZYX where the other says YX, of a single plane.
        {letter: length for letter, length in image.sizes.items() if length > 1}
        for image in (found, truth)
    ]
    if lengths[0] != lengths[1]:
        raise MaskError(
            f"Prediction '{prediction.name}' is {found.axes} {found.shape}, mask '{mask.name}' is "
            f"{truth.axes} {truth.shape}.",
            "Compare label images of the same size.",
        )
    return _whole_numbers(found.read(), prediction), _whole_numbers(
        reorder(truth.read(), truth.axes, found.axes), mask
    )


def _whole_numbers(labels: NDArray[Any], path: Path) -> NDArray[Any]:
    """Labels as integers; floats are taken where they hold whole numbers."""
    if labels.dtype.kind != "f":
        return labels
    # Some programs save labels as floats; probabilities would be rounded to nonsense.
    if not (np.isfinite(labels).all() and (labels == np.rint(labels)).all()):
        raise MaskError(
            f"'{path.name}' holds values that are not whole numbers.",
            "Threshold or round it first.",
        )
    return labels.astype(np.int64)
