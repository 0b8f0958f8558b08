"""Checkpoints: what was trained, from what, how good it is, and what to do with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psygnal import Signal

from maskloop.compute.predicted import PredictedImage
from maskloop.compute.project import Project
from maskloop.errors import ProjectError, UsageError
from maskloop.images.image import Image
from maskloop.project.ancestry import ancestry
from maskloop.project.comparison import Difference, compare
from maskloop.project.layout import CheckpointRecord
from maskloop.project.store import copy_file, file_sha256
from maskloop.ui.controllers.ancestry import CheckpointRow, rows_of
from maskloop.ui.controllers.base import Controller
from maskloop.ui.controllers.plan import PlanController
from maskloop.ui.controllers.prediction import PredictionController
from maskloop.ui.controllers.weight_files import WeightFiles
from maskloop.ui.snapshot import Snapshot
from maskloop.ui.workspace import Workspace

__all__ = ["CheckpointsController"]


@dataclass
class _Sides:
    """Two checkpoints that predict one image, one after the other."""

    image: Image
    name: str
    origin: str
    waiting: list[str]
    then: Callable[[PredictedImage], None]


class CheckpointsController(Controller):
    """Shows, compares, annotates, selects and exports checkpoints.

    `changed` means: what can be done changed.

    Parameters
    ----------
    workspace
        Whose checkpoints they are.
    weight_files
        Knows which of them have lost their weights.
    plan
        Can be told to start the next training from one.
    prediction
        Can be told to predict with one.
    """

    rows_changed = Signal()
    """`rows` changed."""

    def __init__(
        self,
        workspace: Workspace,
        weight_files: WeightFiles,
        plan: PlanController,
        prediction: PredictionController,
    ) -> None:
        super().__init__(workspace)
        self.rows: list[CheckpointRow] = []
        """Each below the one it was trained from."""
        self._weight_files = weight_files
        self._plan, self._prediction = plan, prediction
        self._seen: tuple[Any, ...] = ()
        weight_files.changed.connect(self._show)

    # What is shown.

    def row(self, checkpoint_id: str) -> CheckpointRow | None:
        """The row of a checkpoint, or None."""
        return next((row for row in self.rows if row.checkpoint_id == checkpoint_id), None)

    def ancestry(self, checkpoint_id: str) -> str:
        """Where a checkpoint came from, back to its beginning."""
        snapshot = self._workspace.snapshot
        return ancestry(checkpoint_id, snapshot.checkpoints, snapshot.models)

    def compare(self, first: str, second: str) -> list[Difference]:
        """What differs between two checkpoints: property, first value, second value."""
        return compare(self._record(first), self._record(second), self._workspace.snapshot.pairs)

    def _record(self, checkpoint_id: str) -> CheckpointRecord:
        for record in self._workspace.snapshot.checkpoints:
            if record.checkpoint_id == checkpoint_id:
                return record
        raise UsageError(f"There is no checkpoint '{checkpoint_id}'.", "Select one in the table.")

    # What can be done.

    @property
    def why_not_write(self) -> str | None:
        """Why no note can be saved and no start chosen, or None."""
        return self._workspace.snapshot.why_not_write

    def why_not_continue(self, checkpoint_id: str) -> str | None:
        """Why training cannot continue from it, or None."""
        return self.why_not_write or self._weight_files.why_missing(checkpoint_id)

    def why_not_predict(self, checkpoint_id: str) -> str | None:
        """Why nothing can be predicted with it, or None."""
        row = self.row(checkpoint_id)
        return row.warning or None if row is not None else None

    def why_not_export(self, checkpoint_id: str) -> str | None:
        """Why it cannot be exported, or None."""
        return self._weight_files.why_missing(checkpoint_id)

    def why_not_side_by_side(
        self, first: str, second: str, image: Image | None, problem: str | None = None
    ) -> str | None:
        """Why these two cannot predict this image, or None."""
        reasons = (
            self._prediction.why_not_image(image, problem, checkpoint=one)
            for one in (first, second)
        )
        return next((reason for reason in reasons if reason is not None), None)

    # What is done.

    def set_note(self, checkpoint_id: str, text: str) -> None:
        """Save a note on a checkpoint."""
        row = self.row(checkpoint_id)
        # Leaving the field untouched writes nothing.
        if row is not None and row.note != text.strip():
            self._workspace.do(
                lambda project: project.checkpoints.note(checkpoint_id, text.strip())
            )

    def use_for_continuing(self, checkpoint_id: str) -> None:
        """Continue from it in the next training."""

        def choose(project: Project) -> None:
            project.weights.set_start(
                mode="selected_project_checkpoint",
                checkpoint_id=checkpoint_id,
                imported_model_id=None,
                # Cleared: the project keeps one start, and a leftover would contradict it.
                imported_model_path=None,
            )

        self._workspace.do(
            choose,
            lambda _: self._plan.set_start(checkpoint_id),
            said=lambda _: f"The next training continues from {checkpoint_id}.",
        )

    def use_for_predicting(self, checkpoint_id: str) -> None:
        """Use it for the next predictions."""
        self._prediction.set_checkpoint(checkpoint_id)
        self._workspace.say(f"The next predictions use {checkpoint_id}.")

    def export(self, checkpoint_id: str, target: Path, *, overwrite: bool = False) -> None:
        """Copy a checkpoint anywhere, and verify the copy; the one file is all that is needed.

        Parameters
        ----------
        checkpoint_id
            Which.
        target
            The file to write; ``.pt`` is added if it has no extension.
        overwrite
            Whether an existing file may be replaced: a person confirmed it.
        """
        record = self._record(checkpoint_id)
        path = target if target.suffix else target.with_name(target.name + ".pt")
        self._workspace.do(
            lambda project: _export(project, record, path, overwrite=overwrite),
            said=lambda _: f"{checkpoint_id} was copied to {path}.",
        )

    def side_by_side(
        self,
        first: str,
        second: str,
        image: Image,
        *,
        name: str,
        origin: str = "",
        then: Callable[[PredictedImage], None],
    ) -> None:
        """Predict one image with two checkpoints, one after the other.

        Parameters
        ----------
        first, second
            The checkpoints.
        image, name, origin
            As for `PredictionController.predict_image`.
        then
            Called with each result.
        """
        why_not = self.why_not_side_by_side(first, second, image)
        if self._workspace.may(why_not, "Nothing was predicted."):
            self._next(_Sides(image, name, origin, [first, second], then))

    def _next(self, sides: _Sides) -> None:
        if not sides.waiting:
            return

        def take(predicted: PredictedImage) -> None:
            sides.then(predicted)
            self._next(sides)

        # One after the other: two at once would share the memory of one GPU.
        checkpoint = sides.waiting.pop(0)
        self._prediction.predict_image(
            sides.image, name=sides.name, origin=sides.origin, checkpoint=checkpoint, then=take
        )

    # What others do.

    def take(self, snapshot: Snapshot) -> None:
        """Show the checkpoints of the project."""
        # Rows are made again only if they would differ.
        seen = (snapshot.checkpoints, snapshot.models)
        if seen != self._seen:
            self._seen = seen
            self._show()
        self.changed.emit()

    def _show(self) -> None:
        snapshot = self._workspace.snapshot
        self.rows = rows_of(snapshot.checkpoints, snapshot.models, self._weight_files.missing)
        self.rows_changed.emit()
        self.changed.emit()

    def reset(self, project: Project | None) -> None:
        """Forget the rows."""
        self._seen, self.rows = (), []
        self.rows_changed.emit()
        self.changed.emit()


def _export(project: Project, record: CheckpointRecord, target: Path, *, overwrite: bool) -> None:
    source = project.checkpoints.path(record.checkpoint_id)
    if target.exists() and not overwrite:
        raise UsageError(f"'{target}' exists already.", "Choose another name, or replace it.")
    if target.exists() and target.samefile(source):
        raise UsageError(f"'{target}' is the checkpoint itself.", "Choose another folder.")
    # Before the copy: a damaged checkpoint must not be passed on.
    if record.sha256 and file_sha256(source) != record.sha256:
        raise ProjectError(
            f"'{source}' was changed since {record.checkpoint_id} was registered.",
            "Restore the file from a backup; nothing was copied.",
        )
    copy_file(source, target)
    # Exports go to sticks and network folders, which fail without a word.
    if record.sha256 and file_sha256(target) != record.sha256:
        target.unlink(missing_ok=True)
        raise ProjectError(
            f"The copy '{target}' differs from the checkpoint.",
            "Check that disk, and export again.",
        )
