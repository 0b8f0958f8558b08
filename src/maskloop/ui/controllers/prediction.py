"""Predict: what the next prediction will do, and the one that is running."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from psygnal import Signal

from maskloop.compute.layer_inputs import INPUTS, remove_input, sweep_inputs, write_input
from maskloop.compute.predicted import PredictedImage, collect
from maskloop.compute.project import Project
from maskloop.compute.run_progress import RunProgress
from maskloop.errors import MaskloopError
from maskloop.events import Failed, Finished
from maskloop.images.image import Image
from maskloop.jobs.prediction import PredictJob
from maskloop.models.base import outline_of
from maskloop.project.layout import CheckpointRecord
from maskloop.ui.controllers.base import Controller
from maskloop.ui.controllers.runs import RunController
from maskloop.ui.controllers.weight_files import WeightFiles
from maskloop.ui.snapshot import Snapshot
from maskloop.ui.workspace import Workspace
from maskloop.wording import SCORE_TITLES, counted

__all__ = ["DEVICES", "LATEST", "PredictionController"]

LATEST = "latest"
Device = Literal["auto", "cpu", "cuda"]
DEVICES: list[tuple[Device, str]] = [
    ("auto", "Automatic"),
    ("cpu", "CPU"),
    ("cuda", "GPU (CUDA)"),
]
NOTHING = "Nothing was predicted."
SCORES = ("ap50", "dice")
"""Of a checkpoint, the first that it has is named: it tells most."""
Then = Callable[[PredictedImage], None]


@dataclass
class _Request:
    """What was asked for in this window."""

    then: Then | None = None
    input: Path | None = None
    """Written for this run, and removed after it."""


class PredictionController(Controller):
    """Predicts images and files, one run at a time.

    `changed` means: a choice, what can be chosen, or what can be done, changed.

    Parameters
    ----------
    workspace
        Whose project is used.
    weight_files
        Knows which checkpoints cannot predict because their weights are missing.
    """

    run_changed = Signal()
    """`progress` or `is_active` changed."""
    predicted = Signal(list)
    """What a prediction of this window made: `PredictedImage`, in the order of its inputs."""

    def __init__(self, workspace: Workspace, weight_files: WeightFiles) -> None:
        self.run = RunController(workspace, "predict")
        super().__init__(workspace)
        self.mirror = False
        self.probabilities = False
        self.device: Device = "auto"
        self._weight_files = weight_files
        self._checkpoint = LATEST
        self._request = _Request()
        self._scratch: Path | None = None
        self._shown = ""
        self.run.changed.connect(self._tell_run)
        self.run.ended.connect(self._end)
        weight_files.changed.connect(self.changed.emit)

    # What is chosen.

    @property
    def checkpoint(self) -> str:
        """What is predicted with: latest, or the id of a checkpoint."""
        # A checkpoint may be gone since it was selected.
        known = {one.checkpoint_id for one in self._workspace.snapshot.checkpoints}
        return self._checkpoint if self._checkpoint in known else LATEST

    @property
    def checkpoint_options(self) -> list[tuple[str, str]]:
        """What can be predicted with, as value and words."""
        # The newest first, below "Latest", which follows the project.
        records = self._workspace.snapshot.checkpoints[::-1]
        if not records:
            return [(LATEST, "No checkpoint yet")]
        latest = (LATEST, f"Latest: {records[0].checkpoint_id}{_score(records[0])}")
        return [latest, *((one.checkpoint_id, _title(one)) for one in records)]

    def set_checkpoint(self, checkpoint: str) -> None:
        """Choose what is predicted with."""
        self._checkpoint = checkpoint
        self.changed.emit()

    def set_mirror(self, is_wanted: bool) -> None:
        """Average over mirrored copies: slower, often a little better."""
        self.mirror = is_wanted
        self.changed.emit()

    def set_probabilities(self, is_wanted: bool) -> None:
        """Save probability maps, too."""
        self.probabilities = is_wanted
        self.changed.emit()

    def set_device(self, device: Device) -> None:
        """Choose where it is computed."""
        self.device = device
        self.changed.emit()

    def record(self, checkpoint: str | None = None) -> CheckpointRecord | None:
        """The record of a checkpoint, by default of the chosen one."""
        wanted, records = checkpoint or self.checkpoint, self._workspace.snapshot.checkpoints
        if wanted == LATEST:
            return records[-1] if records else None
        return next((one for one in records if one.checkpoint_id == wanted), None)

    # What can be done.

    @property
    def progress(self) -> RunProgress:
        """How far the prediction is, or how it ended."""
        return self.run.progress

    @property
    def is_active(self) -> bool:
        """Whether a prediction runs or is about to."""
        return self.run.is_busy

    def why_not(self, checkpoint: str | None = None) -> str | None:
        """Why nothing can be predicted, whatever the image, or None."""
        snapshot = self._workspace.snapshot
        # Not `why_not_write`: a read-only project predicts into a folder of this window.
        if snapshot.why_not_read is not None:
            return snapshot.why_not_read
        record = self.record(checkpoint)
        if record is None:
            return "There is no checkpoint yet: train one first (Train)."
        if record.format != "maskloop":
            return (
                f"{record.checkpoint_id} holds bare weights of another program: "
                "continue training from it first (Train)."
            )
        missing = self._weight_files.why_missing(record.checkpoint_id)
        if missing is not None:
            return missing
        return "A prediction is running." if self.is_active else None

    def why_not_image(
        self, image: Image | None, problem: str | None = None, *, checkpoint: str | None = None
    ) -> str | None:
        """Why this image cannot be predicted, or None.

        Parameters
        ----------
        image
            The image; None if there is none.
        problem
            Why there is none, in words.
        checkpoint
            What is predicted with; by default what is chosen.
        """
        # What is wrong with the project comes first: it holds for every image.
        reason = self.why_not(checkpoint) or problem
        if reason is not None:
            return reason
        return "Select an image first." if image is None else self._misfit(image, checkpoint)

    def _misfit(self, image: Image, checkpoint: str | None) -> str | None:
        record = self.record(checkpoint)
        assert record is not None
        # Checked before the run: the process would take seconds to say the same.
        model = outline_of(record.backend, record.network)
        channels = image.channels if model.channels is None else model.channels
        if channels != image.channels:
            return (
                f"'{image.name}' has {counted(image.channels, 'channel')}, "
                f"{record.checkpoint_id} was trained on {channels}: "
                "select these channels, or another checkpoint."
            )
        if model.dimensions == 3 and "Z" not in image.axes:
            return (
                f"{record.checkpoint_id} was trained on volumes, '{image.name}' has no Z axis "
                f"({image.axes}): select the whole stack, or another checkpoint."
            )
        return None

    def why_not_files(self, paths: Sequence[str | Path], out: Path | None) -> str | None:
        """Why these files cannot be predicted, or None."""
        reason = self.why_not()
        if reason is None and not paths:
            return "Select files or a folder first."
        if reason is None and out is None and self._workspace.snapshot.why_not_write is not None:
            return f"{self._workspace.snapshot.words}: select another folder for the labels."
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
            Lazy pixels; a thread reads them region by region and writes them to a file.
        name
            What the image is called.
        origin
            Where it came from, kept with the prediction; by default a layer of this name.
        checkpoint
            What to predict with; by default what is chosen.
        then
            Called with the result in the main thread; not if it fails.
        """
        why_not = self.why_not_image(image, checkpoint=checkpoint)
        if not self._workspace.may(why_not, NOTHING):
            return
        # Into a read-only project nothing is written: neither the pixels nor the labels.
        place = self._own_place()
        request = self._begin(then)
        options = self._options(checkpoint)

        def prepare(project: Project) -> PredictJob:
            if place is None:
                sweep_inputs(project)
            folder = project.path(INPUTS) if place is None else place / "inputs"
            request.input = write_input(folder, image, name)
            # One folder for each request: the next one must not overwrite labels that are still
            # shown.
            out = None if place is None else str(place / "labels" / request.input.parent.name)
            origins = (origin or f"layer {name}",)
            return PredictJob(inputs=(str(request.input),), origins=origins, out=out, **options)

        self._start(prepare, place)

    def predict_files(
        self, paths: Sequence[str | Path], *, out: Path | None = None, axes: str | None = None
    ) -> None:
        """Predict files and folders in the background.

        Parameters
        ----------
        paths
            Files, folders and patterns.
        out
            Folder for the labels; by default the project.
        axes
            Axes of the files, if they do not say.
        """
        if not self._workspace.may(self.why_not_files(paths, out), NOTHING):
            return
        place = self._own_place()
        self._begin(None)
        job = PredictJob(
            # Strings: a job is a record that is written as JSON for another process.
            inputs=tuple(map(str, paths)),
            out=None if out is None else str(out),
            axes=axes,
            **self._options(None),
        )
        self._start(lambda _project: job, place)

    def _start(self, prepare: Callable[[Project], PredictJob], place: Path | None) -> None:
        runs = None if place is None else place / "runs"
        self.run.start(prepare, runs=runs, stage="Preparing")

    def _options(self, checkpoint: str | None) -> dict[str, Any]:
        # By name: a checkpoint that is registered meanwhile must not be used instead.
        record = self.record(checkpoint)
        assert record is not None
        return {
            "checkpoint": record.checkpoint_id,
            "mirror": self.mirror,
            "probabilities": self.probabilities,
            "device": self.device,
        }

    def _own_place(self) -> Path | None:
        """A temporary folder if the project is read-only, else None."""
        if self._workspace.snapshot.why_not_write is None:
            return None
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="maskloop-"))
        return self._scratch

    def _begin(self, then: Then | None) -> _Request:
        self._drop_input()  # of a run that could not be started
        self._request = _Request(then)
        return self._request

    def cancel(self) -> None:
        """Stop; images that are done are kept."""
        self.run.cancel()

    def _end(self, last: Finished | Failed) -> None:
        # Both now: the next run may begin before the result is collected.
        run_id, progress = str(self.run.run_id), self.progress
        self._drop_input()
        request, self._request = self._request, _Request()
        if progress.tone == "bad":
            failures = "; ".join(f"{one.name}: {one.problem}" for one in progress.failures[:3])
            self._workspace.fail(MaskloopError(progress.outcome, progress.way_out or failures))
        elif progress.tone == "stopped" or request.then is None:
            self._workspace.say(f"{progress.outcome} {progress.way_out}".strip())
        # Also of a run that was stopped: what is done is kept and shown.
        if isinstance(last, Finished):
            self._workspace.do(
                lambda project: collect(project, run_id, last.result),
                lambda found: self._hand_over(found, request.then),
            )

    def _drop_input(self) -> None:
        path = self._request.input
        if path is not None:
            self._workspace.background.run(lambda: remove_input(path))

    def _hand_over(self, found: list[PredictedImage], then: Then | None) -> None:
        self.predicted.emit(found)
        if then is not None and found:
            then(found[0])

    def is_instances(self, checkpoint_id: str) -> bool:
        """Whether a checkpoint predicts individual objects."""
        record, task = self.record(checkpoint_id), self._workspace.snapshot.task
        if record is not None:
            # What the checkpoint was trained for; the project's task is only a guess where it is
            # gone.
            task = record.task
        return task is not None and task.mode == "instances"

    # What others do.

    def take(self, snapshot: Snapshot) -> None:
        """Show a prediction that runs in another window, or since before this one was opened."""
        last = self.run.newest(snapshot)
        is_news = last is not None and last.state == "running" and last.run_id != self._shown
        if last is not None and is_news and not self.is_active:
            self._shown = last.run_id
            self.run.show(last.run_id)
        self.changed.emit()

    def _tell_run(self) -> None:
        # Started here: not to be shown again as the run of another window.
        if self.run.run_id is not None:
            self._shown = self.run.run_id
        self.run_changed.emit()
        self.changed.emit()

    def reset(self, project: Project | None) -> None:
        """Forget the choices; a prediction continues."""
        self._request, self._checkpoint = _Request(), LATEST
        self._shown = ""
        self._drop_scratch()
        self.run_changed.emit()
        self.changed.emit()

    def _drop_scratch(self) -> None:
        # A prediction that still runs reads from it; the system cleans temporary folders.
        if self._scratch is not None and not self.is_active:
            shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch = None

    def close(self) -> None:
        """Stop following; a prediction continues."""
        self.run.close()
        self._drop_scratch()


def _title(record: CheckpointRecord) -> str:
    note = f": {record.note}" if record.note else ""
    return f"{record.checkpoint_id}{_score(record)}{note}"


def _score(record: CheckpointRecord) -> str:
    """A checkpoint's best figure: a training that was cancelled early is not mistaken for good."""
    figures = {**record.dice_iou_metrics, **record.metrics}
    for name in SCORES:
        if isinstance(figures.get(name), float):
            return f", {SCORE_TITLES[name]} {figures[name]:.2f}"
    return ""
