"""Predict: what the next prediction is to do, what the present one does, and what is kept of those before."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from psygnal import Signal, SignalGroup

from maskloop.errors import MaskloopError
from maskloop.events import Event, Failed, Finished
from maskloop.images.image import Image
from maskloop.jobs.prediction import PredictJob
from maskloop.models.base import outline_of
from maskloop.project.layout import CheckpointRecord
from maskloop.ui.controllers.accepting import freeze, is_quick_to_copy
from maskloop.ui.controllers.layer_inputs import INPUTS, remove_input, sweep_inputs, write_input
from maskloop.ui.controllers.predict_story import PredictStory
from maskloop.ui.controllers.predicted import (
    OpenedPrediction,
    Part,
    PredictedImage,
    PredictionRow,
    collect,
    is_edited,
    open_prediction,
    read_labels,
    read_scores,
    rows_of,
)
from maskloop.ui.controllers.runs import RunController

if TYPE_CHECKING:
    from maskloop.compute.project import Project
    from maskloop.ui.session import Session
    from maskloop.ui.snapshot import Snapshot

__all__ = ["LATEST", "PredictionEvents", "PredictionController"]

LATEST = "latest"
Device = Literal["auto", "cpu", "cuda"]
DEVICES: list[tuple[Device, str]] = [
    ("auto", "The quickest there is"),
    ("cpu", "Processor"),
    ("cuda", "Graphics card (CUDA)"),
]
Then = Callable[[PredictedImage], None]


class PredictionEvents(SignalGroup):
    """Told in the thread of the window."""

    changed = Signal()
    """A choice, or what can be chosen or done, changed."""
    run_changed = Signal()
    """`story` or `is_active` changed."""
    rows_changed = Signal()
    """`rows` changed."""
    predicted = Signal(list)
    """What a prediction of this window made: `PredictedImage`, in the order of its inputs."""


@dataclass
class _Request:
    """What was asked for in this window."""

    then: Then | None = None
    input: Path | None = None
    """Written for this run, and to be removed after it."""


class PredictionController:
    """Predicts layers and files, one run at a time, and takes corrected labels back into the dataset.

    Parameters
    ----------
    session
        Whose project is used.
    """

    def __init__(self, session: Session) -> None:
        self.events = PredictionEvents()
        self.story = PredictStory()
        self.running = RunController(session, "predict")
        self.rows: list[PredictionRow] = []
        """The predictions kept in the project, the newest first."""
        self.mirror = False
        self.probabilities = False
        self.device: Device = "auto"
        self._checkpoint = LATEST
        self._session = session
        self._request = _Request()
        self._scratch: Path | None = None
        self._shown = ""
        self.running.events.changed.connect(self._tell_run)
        self.running.events.told.connect(self._hear)
        self.running.events.ended.connect(self._end)
        session.events.project_changed.connect(self._change_project)
        session.events.snapshot_changed.connect(self._take)

    # What is chosen.

    @property
    def checkpoint(self) -> str:
        """What is predicted with: latest, or the id of a checkpoint that is there."""
        known = {one.checkpoint_id for one in self._session.snapshot.checkpoints}
        return self._checkpoint if self._checkpoint in known else LATEST

    @property
    def checkpoint_options(self) -> list[tuple[str, str]]:
        """All that can be predicted with, and what it is called."""
        records = self._session.snapshot.checkpoints[::-1]
        if not records:
            return [(LATEST, "No checkpoint yet")]
        found = [(LATEST, f"Latest: {records[0].checkpoint_id}{_score(records[0])}")]
        return found + [(one.checkpoint_id, _called(one)) for one in records]

    def set_checkpoint(self, checkpoint: str) -> None:
        """Choose what is predicted with."""
        self._checkpoint = checkpoint
        self.events.changed.emit()

    def set_mirror(self, is_wanted: bool) -> None:
        """Average over mirrored copies: slower, a little better."""
        self.mirror = is_wanted
        self.events.changed.emit()

    def set_probabilities(self, is_wanted: bool) -> None:
        """Also keep the scores."""
        self.probabilities = is_wanted
        self.events.changed.emit()

    def set_device(self, device: Device) -> None:
        """Choose where it computes."""
        self.device = device
        self.events.changed.emit()

    def record(self, checkpoint: str | None = None) -> CheckpointRecord | None:
        """The record of a checkpoint, by default of the one that is chosen."""
        wanted, records = checkpoint or self.checkpoint, self._session.snapshot.checkpoints
        if wanted == LATEST:
            return records[-1] if records else None
        return next((one for one in records if one.checkpoint_id == wanted), None)

    # What can be done.

    @property
    def is_active(self) -> bool:
        """Whether a prediction is going on or about to."""
        return self.running.is_active or self.running.is_starting

    @property
    def why_not_cancel(self) -> str | None:
        """Why there is nothing to cancel, or None."""
        return None if self.running.is_active else "No prediction is going on."

    def why_not(self, checkpoint: str | None = None) -> str | None:
        """Why nothing can be predicted, whatever the image, or None."""
        snapshot = self._session.snapshot
        if snapshot.why_not_read is not None:
            return snapshot.why_not_read
        record = self.record(checkpoint)
        if record is None:
            return "There is no checkpoint yet: train one first (Train)."
        if record.format != "maskloop":
            return f"{record.checkpoint_id} comes from another program and does not say all it needs: train on from it first (Train)."
        if self._session.checkpoints.is_missing(record.checkpoint_id):
            return f"The weights of {record.checkpoint_id} are missing: put back '{record.checkpoint_path}', or choose another checkpoint."
        if self.is_active:
            return "A prediction is going on."
        return None

    def why_not_image(
        self, image: Image | None, problem: str | None = None, *, checkpoint: str | None = None
    ) -> str | None:
        """Why this image cannot be predicted, or None.

        Parameters
        ----------
        image
            The image; None where there is none.
        problem
            Why there is none, in words.
        checkpoint
            What is predicted with; by default what is chosen.
        """
        reason = self.why_not(checkpoint) or problem
        if reason is not None:
            return reason
        return "Choose an image first." if image is None else self._misfit(image, checkpoint)

    def _misfit(self, image: Image, checkpoint: str | None) -> str | None:
        record = self.record(checkpoint)
        assert record is not None
        model = outline_of(record.backend, record.network)
        channels = image.channels if model.channels is None else model.channels
        if channels != image.channels:
            has = f"'{image.name}' has {image.channels} channel{'s' * (image.channels != 1)}"
            return f"{has}, {record.checkpoint_id} was trained on {channels}: choose the channels that it knows, or another checkpoint."
        if model.dimensions == 3 and "Z" not in image.axes:
            has = f"'{image.name}' has no Z ({image.axes})"
            return f"{record.checkpoint_id} was trained on volumes, {has}: choose the whole stack, or another checkpoint."
        return None

    def why_not_files(self, paths: Sequence[str | Path], out: Path | None) -> str | None:
        """Why these files cannot be predicted, or None."""
        reason = self.why_not()
        if reason is None and not paths:
            return "Choose files or a folder first."
        if reason is None and out is None and self._session.snapshot.why_not_write is not None:
            return f"{self._session.snapshot.words}: choose a folder to write the labels to."
        return reason

    # What is done.

    def predict_image(
        self,
        image: Image,
        *,
        name: str,
        origin: str = "",
        checkpoint: str | None = None,
        then: Then | None = None,
    ) -> None:
        """Predict an image in the background, and keep the labels in the project.

        Parameters
        ----------
        image
            Lazy pixels; they are read piece by piece in a thread and handed over as a file.
        name
            What to call it.
        origin
            Where it came from, kept with the prediction; by default that it was a layer of this
            name.
        checkpoint
            What to predict with; by default what is chosen.
        then
            Called with the result in the thread of the window; not if it fails.
        """
        if not self._may(self.why_not_image(image, checkpoint=checkpoint)):
            return
        # Into a project that may only be read nothing is written: neither the pixels nor the
        # labels.
        place = self._own_place()
        request = self._begin(then)
        options = self._options(checkpoint)

        def prepare(project: Project) -> PredictJob:
            if place is None:
                sweep_inputs(project)
            request.input = write_input(
                project.path(INPUTS) if place is None else place / "inputs", image, name
            )
            out = None if place is None else str(place / "labels" / request.input.parent.name)
            return PredictJob(
                inputs=(str(request.input),),
                origins=(origin or f"layer {name}",),
                out=out,
                **options,
            )

        self.running.start(prepare, runs=None if place is None else place / "runs")

    def predict_files(
        self, paths: Sequence[str | Path], *, out: Path | None = None, axes: str | None = None
    ) -> None:
        """Predict files and folders in the background.

        Parameters
        ----------
        paths
            Files, folders and patterns.
        out
            Folder for the labels; into the project when left out.
        axes
            Axes of the files, where they do not tell.
        """
        if not self._may(self.why_not_files(paths, out)):
            return
        place = self._own_place()
        self._begin(None)
        job = PredictJob(
            inputs=tuple(map(str, paths)),
            out=None if out is None else str(out),
            axes=axes,
            **self._options(None),
        )
        self.running.start(lambda _project: job, runs=None if place is None else place / "runs")

    def _may(self, reason: str | None) -> bool:
        if reason is not None:
            self._session.fail(MaskloopError("Nothing was predicted.", reason))
        return reason is None

    def _options(self, checkpoint: str | None) -> dict[str, Any]:
        # By its name: a checkpoint that is registered meanwhile must not slip in.
        record = self.record(checkpoint)
        assert record is not None
        chosen = record.checkpoint_id
        return {
            "checkpoint": chosen,
            "mirror": self.mirror,
            "probabilities": self.probabilities,
            "device": self.device,
        }

    def _own_place(self) -> Path | None:
        """A folder of our own where the project's may not be written, else None."""
        if self._session.snapshot.why_not_write is None:
            return None
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="maskloop-"))
        return self._scratch

    def _begin(self, then: Then | None) -> _Request:
        self._drop_input()  # of one that could not be started
        self._request, self.story = _Request(then), PredictStory(stage="Getting ready")
        self.events.run_changed.emit()
        return self._request

    def cancel(self) -> None:
        """Stop in good order; images that are done are kept."""
        self.running.cancel()

    def _hear(self, events: list[Event]) -> None:
        self.story.take(events)
        self.events.run_changed.emit()

    def _end(self, last: Finished | Failed) -> None:
        run_id = str(self.running.run_id)
        self._drop_input()
        request, self._request = self._request, _Request()
        if self.story.tone == "bad":
            self._session.fail(
                MaskloopError(self.story.outcome, self.story.way_out or self._look_at_failures())
            )
        elif self.story.tone == "stopped" or request.then is None:
            self._session.say(f"{self.story.outcome} {self.story.way_out}".strip())
        if isinstance(last, Finished):
            self._session.do(
                lambda project: collect(project, run_id, last.result),
                lambda found: self._hand_over(found, request.then),
            )

    def _drop_input(self) -> None:
        path = self._request.input
        if path is not None:
            self._session.background.run(lambda: remove_input(path))

    def _look_at_failures(self) -> str:
        return "; ".join(f"{one.name}: {one.problem}" for one in self.story.failures[:3])

    def _hand_over(self, found: list[PredictedImage], then: Then | None) -> None:
        self.events.predicted.emit(found)
        if then is not None and found:
            then(found[0])

    # What becomes of it.

    def read_labels(
        self, predicted: PredictedImage, then: Callable[[Image], None], *, part: Part | None = None
    ) -> None:
        """Read predicted labels to correct them, at their place in the whole image where only a part was predicted."""
        is_instances = self._is_instances(predicted.checkpoint_id)
        self._session.background.run(
            lambda: read_labels(predicted, is_instances=is_instances, part=part), then
        )

    def read_scores(self, predicted: PredictedImage, then: Callable[[Image], None]) -> None:
        """Read the scores of a prediction, to look at them."""
        self._session.background.run(lambda: read_scores(predicted), then)

    def open(self, row: PredictionRow, then: Callable[[OpenedPrediction], None]) -> None:
        """Read a kept prediction, and its image where it is still found."""
        is_instances = self._is_instances(row.checkpoint)
        self._session.do(
            lambda project: open_prediction(project, row, is_instances=is_instances),
            then,
            key="open a prediction",
        )

    def _is_instances(self, checkpoint_id: str) -> bool:
        record = self.record(checkpoint_id)
        task = self._session.snapshot.task if record is None else record.task
        return task is not None and task.mode == "instances"

    def accept(
        self, image: Image, labels: Image, *, origin: Mapping[str, Any], where: Mapping[str, Any]
    ) -> None:
        """Take corrected labels into the dataset, with the prediction they were made from.

        Parameters
        ----------
        image, labels
            As `layers.take` gives them.
        origin
            What the labels' layer remembers of its prediction.
        where
            As `layers.crop_metadata` gives it.
        """
        # Small labels are copied at the click, so that what is painted while they are compared is
        # not accepted.
        taken = freeze(labels) if is_quick_to_copy(labels) else labels

        def look(project: Project) -> tuple[Image, bool]:
            frozen = taken if taken is not labels else freeze(labels)
            return frozen, is_edited(project, origin, frozen, where)

        def accept(found: tuple[Image, bool]) -> None:
            facts = {name: origin.get(name) for name in ("prediction_id", "checkpoint_id")}
            metadata = {**where, **facts, "was_edited": found[1]}
            self._session.dataset.accept(
                image, found[0], source="corrected_prediction", metadata=metadata
            )

        # A prediction whose file is gone is no reason not to accept what was made of it.
        self._session.do(look, accept, otherwise=lambda _error: accept((taken, True)))

    # What others do.

    def _take(self, snapshot: Snapshot) -> None:
        before = {row.prediction_id: row for row in self.rows}
        rows = rows_of(snapshot.predictions, before)
        is_same = len(rows) == len(self.rows) and all(
            one is other for one, other in zip(rows, self.rows, strict=True)
        )
        self.rows = rows
        if not is_same:
            self.events.rows_changed.emit()
        self._follow(snapshot)
        self.events.changed.emit()

    def _follow(self, snapshot: Snapshot) -> None:
        """Show a prediction that goes on in another window, or since before this one was opened."""
        last = next((run for run in reversed(snapshot.runs) if run.kind == "predict"), None)
        if (
            last is not None
            and last.state == "running"
            and not self.is_active
            and last.run_id != self._shown
        ):
            self._shown, self.story = last.run_id, PredictStory()
            self.running.take_up(last.run_id)

    def _tell_run(self) -> None:
        if self.running.run_id is not None:
            self._shown = self.running.run_id
        self.events.run_changed.emit()
        self.events.changed.emit()

    def _change_project(self, _project: Project | None) -> None:
        self._request, self.story, self._checkpoint, self._shown = (
            _Request(),
            PredictStory(),
            LATEST,
            "",
        )
        self.rows = []
        self._drop_scratch()
        for signal in (self.events.rows_changed, self.events.run_changed, self.events.changed):
            signal.emit()

    def _drop_scratch(self) -> None:
        if self._scratch is not None and not self.is_active:
            shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch = None

    def close(self) -> None:
        """End; a prediction goes on."""
        self.running.close()
        self._drop_scratch()


def _called(record: CheckpointRecord) -> str:
    note = f": {record.note}" if record.note else ""
    return f"{record.checkpoint_id}{_score(record)}{note}"


def _score(record: CheckpointRecord) -> str:
    """The figure that tells most (AP50 or Dice), so that a training that was cancelled early is not taken for the best."""
    figures = {**record.dice_iou_metrics, **record.metrics}
    return next(
        (
            f", {figures[name]:.2f}"
            for name in ("ap50", "dice")
            if isinstance(figures.get(name), float)
        ),
        "",
    )
