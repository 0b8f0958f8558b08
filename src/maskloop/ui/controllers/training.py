"""Train: start, resume, cancel and follow a training."""

from __future__ import annotations

from pathlib import Path

from maskloop.compute.overview import RunSummary
from maskloop.compute.project import Project
from maskloop.compute.run_progress import RunProgress
from maskloop.errors import MaskloopError
from maskloop.events import Failed, Finished
from maskloop.ui.controllers.base import Controller
from maskloop.ui.controllers.plan import PlanController
from maskloop.ui.controllers.runs import RunController
from maskloop.ui.controllers.train_settings import NEW
from maskloop.ui.snapshot import Snapshot
from maskloop.ui.workspace import Workspace

__all__ = ["TrainingController"]


class TrainingController(Controller):
    """Trains as it is planned, and shows the newest training, wherever it runs.

    `changed` means: `progress`, `words`, or what can be done, changed.

    Parameters
    ----------
    workspace
        Whose project is trained.
    plan
        What the next training will do.
    """

    def __init__(self, workspace: Workspace, plan: PlanController) -> None:
        self.run = RunController(workspace, "train")
        super().__init__(workspace)
        self._plan = plan
        self._shown: tuple[str, str] = ("", "")
        self.run.changed.connect(self.changed.emit)
        self.run.ended.connect(self._end)
        plan.planned.connect(self.changed.emit)

    @property
    def progress(self) -> RunProgress:
        """How far the training is, or how it ended."""
        return self.run.progress

    @property
    def is_active(self) -> bool:
        """Whether a training runs or is about to."""
        return self.run.is_busy

    @property
    def why_not_train(self) -> str | None:
        """Why no training can be started, or None."""
        snapshot = self._workspace.snapshot
        if snapshot.why_not_write is not None:
            return snapshot.why_not_write
        if self.is_active:
            return "A training is running."
        if not snapshot.active_pairs:
            return "There are no pairs yet: add one in Dataset."
        # Said here, not by the plan: without new pairs there is nothing to plan.
        is_nothing_new = snapshot.status is not None and not snapshot.status.new_pair_count
        if self._plan.pairs == NEW and is_nothing_new:
            return "No new pairs since the last checkpoint: add some, or train on all pairs."
        return self._plan.problem or None

    @property
    def interrupted(self) -> RunSummary | None:
        """The newest training, if it can be resumed."""
        last = self.run.newest(self._workspace.snapshot)
        is_interrupted = last is not None and last.state == "interrupted"
        # A run that is being resumed still says "interrupted" until its process writes.
        return last if is_interrupted and not self.is_active else None

    @property
    def resume_question(self) -> str:
        """Whether to resume the newest training; empty if it cannot be resumed."""
        found = self.interrupted
        if found is None:
            return ""
        where = f"after epoch {found.epochs}" if found.epochs else "before its first validation"
        return f"Training {found.run_id} was interrupted {where}. Resume?"

    @property
    def words(self) -> str:
        """What the run does now, in a line."""
        if self.run.is_starting:
            return "Starting"
        if not self.run.is_active:
            return ""
        # Of a run that was started here a person knows when it began.
        age = f" (running for {self.progress.age()})" if self.run.is_joined else ""
        return f"{self.progress.words}{age}"

    @property
    def has_run(self) -> bool:
        """Whether there is anything to show of a training."""
        return self.is_active or bool(self.progress.history) or self.progress.has_ended

    @property
    def preview(self) -> tuple[int, Path] | None:
        """The newest preview image, with its epoch."""
        folder, newest = self.run.folder, self.progress.preview
        return None if newest is None or folder is None else (newest[0], folder / newest[1])

    def train(self) -> None:
        """Start a training as planned; if the same one was interrupted, it is resumed."""
        if self._workspace.may(self.why_not_train, "No training was started."):
            # Taken now: what is typed while the process starts belongs to the next training.
            job = self._plan.job
            self._plan.keep()
            self.run.start(lambda _: job)

    def resume(self) -> None:
        """Resume the training that was interrupted."""
        if self.interrupted is not None:
            self.run.resume(self.interrupted.run_id)

    def cancel(self) -> None:
        """Stop the training; the best so far is kept."""
        self.run.cancel()

    def _end(self, _last: Finished | Failed) -> None:
        progress = self.progress
        if progress.tone == "bad":
            self._workspace.fail(MaskloopError(progress.outcome, progress.way_out))
        else:
            self._workspace.say(f"{progress.outcome} {progress.way_out}".strip())
        # It was shown while it ran: do not show it again from its journal.
        self._shown = (str(self.run.run_id), "ended")

    def take(self, snapshot: Snapshot) -> None:
        """Show the newest training, whether it has ended or runs in another window."""
        last = self.run.newest(snapshot)
        if last is not None and last.state != "submitted" and not self.is_active:
            state = "running" if last.state == "running" else "ended"
            # Only when something else is to be shown: a journal of hours takes a second to read
            # again.
            if self._shown != (last.run_id, state):
                self._shown = (last.run_id, state)
                self.run.show(last.run_id)
        self.changed.emit()

    def reset(self, project: Project | None) -> None:
        """Nothing is shown of another project yet."""
        self._shown = ("", "")
        self.changed.emit()

    def close(self) -> None:
        """Stop following; the training continues."""
        self.run.close()
