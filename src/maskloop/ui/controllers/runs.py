"""One run of a kind at a time: started in another process, followed, shown when opened later."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from psygnal import Signal

from maskloop.compute.base import RunHandle
from maskloop.compute.overview import RunSummary
from maskloop.compute.project import Project
from maskloop.compute.run_folder import FolderHandle
from maskloop.compute.run_progress import RunProgress
from maskloop.compute.runs import attach, open_with_runs, resume_or_submit, start
from maskloop.events import Event, Failed, Finished
from maskloop.jobs.base import Job
from maskloop.ui.controllers.base import Controller
from maskloop.ui.follow import Follower
from maskloop.ui.snapshot import Snapshot
from maskloop.ui.workspace import Workspace

__all__ = ["RunController"]


class RunController(Controller):
    """Starts and follows runs. A run outlives the window; killing it leaves the window alive.

    `changed` means: `progress`, `run_id`, `is_active` or `is_starting` changed.

    Parameters
    ----------
    workspace
        Whose project the runs belong to.
    kind
        train or predict.
    """

    told = Signal(list)
    """Events, in order; of a run that is shown later, all since its beginning."""
    ended = Signal(object)
    """`Finished` or `Failed`, once, of a run that was active in this window."""

    def __init__(self, workspace: Workspace, kind: str) -> None:
        super().__init__(workspace)
        self.kind = kind
        self.progress = RunProgress(kind=kind)
        self.run_id: str | None = None
        self.is_active = False
        self.is_starting = False
        self.is_joined = False
        """Whether it was started by another window, or before this one was opened."""
        self._follower: Follower | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a run is active or about to be."""
        return self.is_active or self.is_starting

    @property
    def why_not_cancel(self) -> str | None:
        """Why there is nothing to cancel, or None."""
        return None if self.is_active else "Nothing is running."

    @property
    def folder(self) -> Path | None:
        """Of the run that is followed, with its previews."""
        return None if self._follower is None else self._follower.handle.folder

    def start(
        self,
        prepare: Callable[[Project], Job],
        *,
        runs: Path | None = None,
        stage: str = "",
    ) -> None:
        """Start a job in another process, or resume the same one if it was interrupted.

        Parameters
        ----------
        prepare
            Makes the job, in a thread: it may write what the job needs.
        runs
            Where the run keeps its journal instead, if the project is read-only.
        stage
            What is shown until the run says something.
        """

        def begin(project: Project) -> RunHandle:
            job = prepare(project)
            if runs is not None:
                # A read-only project cannot keep a journal.
                project = open_with_runs(project, runs)
            return start(resume_or_submit(project, job), "process")

        self._begin(begin, stage)

    def resume(self, run_id: str) -> None:
        """Resume a run that was interrupted."""
        self._begin(lambda project: start(FolderHandle(project, run_id), "process"), "Resuming")

    def _begin(self, begin: Callable[[Project], RunHandle], stage: str) -> None:
        if self.is_busy:
            return
        self.is_starting, self.is_joined = True, False
        # The previous run must not be shown while the new process starts, which takes seconds.
        self.progress = RunProgress(kind=self.kind, stage=stage)
        self.changed.emit()

        def failed(error: Exception) -> None:
            self.is_starting = False
            self.changed.emit()
            self._workspace.fail(error)

        self._workspace.do(begin, self._follow, otherwise=failed)

    def cancel(self) -> None:
        """Ask the run to stop; the best so far is kept."""
        if self._follower is not None and self.is_active:
            # In a thread: it writes a file, which may hang on a network folder.
            self._workspace.background.run(self._follower.handle.cancel)

    def newest(self, snapshot: Snapshot) -> RunSummary | None:
        """The newest run of this kind."""
        return next((run for run in reversed(snapshot.runs) if run.kind == self.kind), None)

    def show(self, run_id: str) -> None:
        """Show a run from its beginning, whether it has ended or runs in another process."""
        project = self._workspace.project
        if project is None or self.is_starting or (self.is_active and run_id == self.run_id):
            return

        def look(project: Project) -> tuple[RunHandle, bool]:
            # In a thread: it looks into the folder of the run, which may lie on a server.
            handle = attach(project, run_id)
            return handle, handle.is_alive()

        self.is_joined = True
        self._workspace.do(look, lambda found: self._follow(found[0], is_active=found[1]))

    def _follow(self, handle: RunHandle, *, is_active: bool = True) -> None:
        self._let_go()
        self.run_id, self.is_active = handle.run_id, is_active
        self.is_starting = False
        # A new one: the follower repeats the journal from its beginning.
        self.progress = RunProgress(handle.run_id, self.kind, self.progress.stage)
        self.changed.emit()
        self._follower = Follower(handle, self._workspace.deliver, self._hear)

    def _hear(self, events: list[Event]) -> None:
        self.progress.take(events)
        self.told.emit(events)
        last = events[-1]
        if not isinstance(last, Finished | Failed):
            self.changed.emit()
            return
        # A run that ended before this window was opened is shown, but not announced.
        was_active, self.is_active = self.is_active, False
        self.changed.emit()
        if was_active:
            self.ended.emit(last)
            self._workspace.refresh()

    def reset(self, project: Project | None) -> None:
        """Stop following the run of the previous project; it continues."""
        self._let_go()
        self.run_id, self.is_joined = None, False
        self.is_active, self.is_starting = False, False
        self.progress = RunProgress(kind=self.kind)
        self.changed.emit()

    def _let_go(self) -> None:
        if self._follower is not None:
            self._follower.close()
            self._follower = None

    def close(self) -> None:
        """Stop following; the run continues."""
        self._let_go()
