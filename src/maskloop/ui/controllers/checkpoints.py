"""Checkpoints: what was trained, from what, how good it is, and what to do with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal, SignalGroup

from maskloop.errors import MaskloopError, ProjectError, UsageError
from maskloop.images.image import Image
from maskloop.project.ancestry import ancestry
from maskloop.project.layout import CheckpointRecord
from maskloop.project.store import copy_file, file_sha256
from maskloop.ui.controllers.ancestry import CheckpointRow, rows_of
from maskloop.ui.controllers.comparison import Difference, compare
from maskloop.ui.controllers.predicted import PredictedImage

if TYPE_CHECKING:
    from maskloop.compute.project import Project
    from maskloop.ui.session import Session
    from maskloop.ui.snapshot import Snapshot

__all__ = ["CheckpointsController", "CheckpointsEvents"]


class CheckpointsEvents(SignalGroup):
    """Told in the thread of the window."""

    rows_changed = Signal()
    """`rows` changed."""
    changed = Signal()
    """What can be done changed."""


@dataclass
class _Sides:
    """Two checkpoints that predict one image, one after the other."""

    image: Image
    name: str
    origin: str
    waiting: list[str]
    then: Callable[[PredictedImage], None]


class CheckpointsController:
    """Shows, compares, notes, chooses and exports checkpoints.

    Parameters
    ----------
    session
        Whose project is shown.
    """

    def __init__(self, session: Session) -> None:
        self.events = CheckpointsEvents()
        self.rows: list[CheckpointRow] = []
        """In the order of their descent."""
        self._session = session
        self._missing: frozenset[str] = frozenset()
        self._seen: tuple[Any, ...] = ()
        session.events.project_changed.connect(self._change_project)
        session.events.snapshot_changed.connect(self._take)

    # What is shown.

    def row(self, checkpoint_id: str) -> CheckpointRow | None:
        """The row of a checkpoint, or None."""
        return next((row for row in self.rows if row.checkpoint_id == checkpoint_id), None)

    def is_missing(self, checkpoint_id: str) -> bool:
        """Whether the weights are known not to be in the folder."""
        return checkpoint_id in self._missing

    def ancestry(self, checkpoint_id: str) -> str:
        """Where a checkpoint came from, back to its beginning."""
        return ancestry(
            checkpoint_id, self._session.snapshot.checkpoints, self._session.snapshot.models
        )

    def compare(self, first: str, second: str) -> list[Difference]:
        """What differs between two checkpoints: what, of the first, of the second."""
        return compare(self._record(first), self._record(second), self._session.snapshot.pairs)

    def _record(self, checkpoint_id: str) -> CheckpointRecord:
        for record in self._session.snapshot.checkpoints:
            if record.checkpoint_id == checkpoint_id:
                return record
        raise UsageError(f"There is no checkpoint '{checkpoint_id}'.", "Choose one of the table.")

    # What can be done.

    @property
    def why_not_write(self) -> str | None:
        """Why no note can be kept and no choice made, or None."""
        return self._session.snapshot.why_not_write

    def why_not_continue(self, checkpoint_id: str) -> str | None:
        """Why training cannot go on from it, or None."""
        return self.why_not_write or self._why_missing(checkpoint_id)

    def why_not_predict(self, checkpoint_id: str) -> str | None:
        """Why it cannot be chosen for predicting, or None."""
        row = self.row(checkpoint_id)
        return row.warning or None if row is not None else None

    def why_not_export(self, checkpoint_id: str) -> str | None:
        """Why it cannot be exported, or None."""
        return self._why_missing(checkpoint_id)

    def _why_missing(self, checkpoint_id: str) -> str | None:
        return (
            "Its weights are missing: put them back from a backup."
            if self.is_missing(checkpoint_id)
            else None
        )

    def why_not_side_by_side(
        self, first: str, second: str, image: Image | None, problem: str | None = None
    ) -> str | None:
        """Why these two cannot predict this image, or None."""
        prediction = self._session.prediction
        reasons = (
            prediction.why_not_image(image, problem, checkpoint=one) for one in (first, second)
        )
        return next((reason for reason in reasons if reason is not None), None)

    # What is done.

    def set_note(self, checkpoint_id: str, text: str) -> None:
        """Keep a note on a checkpoint."""
        row = self.row(checkpoint_id)
        if row is not None and row.note != text.strip():
            self._session.do(lambda project: project.checkpoints.note(checkpoint_id, text.strip()))

    def use_for_continuing(self, checkpoint_id: str) -> None:
        """Have the next training go on from it."""

        def choose(project: Project) -> None:
            project.weights.set_start(
                mode="selected_project_checkpoint",
                checkpoint_id=checkpoint_id,
                imported_model_id=None,
                imported_model_path=None,
            )

        self._session.do(
            choose,
            lambda _: self._session.training.set_start(checkpoint_id),
            said=lambda _: f"The next training goes on from {checkpoint_id}.",
        )

    def use_for_predicting(self, checkpoint_id: str) -> None:
        """Have the next predictions made by it."""
        self._session.prediction.set_checkpoint(checkpoint_id)
        self._session.say(f"The next predictions are made by {checkpoint_id}.")

    def export(self, checkpoint_id: str, target: Path, *, overwrite: bool = False) -> None:
        """Copy a checkpoint to anywhere, whole and checked; it describes itself, so the one file is all that is needed.

        Parameters
        ----------
        checkpoint_id
            Which.
        target
            The file to write; ``.pt`` is added where it has no ending.
        overwrite
            Whether a file that is there may be replaced: somebody was asked.
        """
        record = self._record(checkpoint_id)
        path = target if target.suffix else target.with_name(target.name + ".pt")
        self._session.do(
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
        reason = self.why_not_side_by_side(first, second, image)
        if reason is not None:
            self._session.fail(MaskloopError("Nothing was predicted.", reason))
            return
        self._next(_Sides(image, name, origin, [first, second], then))

    def _next(self, sides: _Sides) -> None:
        if not sides.waiting:
            return

        def take(predicted: PredictedImage) -> None:
            sides.then(predicted)
            self._next(sides)

        checkpoint = sides.waiting.pop(0)
        self._session.prediction.predict_image(
            sides.image, name=sides.name, origin=sides.origin, checkpoint=checkpoint, then=take
        )

    # What others do.

    def _take(self, snapshot: Snapshot) -> None:
        seen = (snapshot.checkpoints, snapshot.models)
        if seen != self._seen:
            self._seen = seen
            self._show()
        self._look()
        self.events.changed.emit()

    def _show(self) -> None:
        snapshot = self._session.snapshot
        self.rows = rows_of(snapshot.checkpoints, snapshot.models, self._missing)
        self.events.rows_changed.emit()

    def _look(self) -> None:
        """Look in a thread which weights are there."""
        project, records = self._session.project, self._session.snapshot.checkpoints
        if project is None:
            return

        def find() -> frozenset[str]:
            return frozenset(
                one.checkpoint_id
                for one in records
                if not project.path(one.checkpoint_path).is_file()
            )

        self._session.background.run(find, self._mark, key="missing weights")

    def _mark(self, missing: frozenset[str]) -> None:
        if missing != self._missing:
            self._missing = missing
            self._show()
            self.events.changed.emit()

    def _change_project(self, _project: Project | None) -> None:
        self._missing, self._seen, self.rows = frozenset(), (), []
        self.events.rows_changed.emit()
        self.events.changed.emit()

    def close(self) -> None:
        """Nothing is left to end."""


def _export(project: Project, record: CheckpointRecord, target: Path, *, overwrite: bool) -> None:
    source = project.checkpoints.path(record.checkpoint_id)
    if target.exists() and not overwrite:
        raise UsageError(
            f"'{target}' is there already.", "Choose another name, or agree to replace it."
        )
    if target.exists() and target.samefile(source):
        raise UsageError(f"'{target}' is the checkpoint itself.", "Choose another place.")
    if record.sha256 and file_sha256(source) != record.sha256:
        raise ProjectError(
            f"The weights of {record.checkpoint_id} are not those that were registered: '{source}' was changed.",
            "Put the file back from a backup; nothing was copied.",
        )
    copy_file(source, target)
    if record.sha256 and file_sha256(target) != record.sha256:
        target.unlink(missing_ok=True)
        raise ProjectError(
            f"The copy '{target}' does not hold the same bytes.",
            "Check that disk, and export again.",
        )
