"""One run at a time of a kind: started in a child process, followed, taken up again when the window is opened later."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal, SignalGroup

from maskloop.compute.base import RunHandle
from maskloop.compute.project import Project
from maskloop.compute.run_folder import FolderHandle
from maskloop.compute.runs import attach, open_with_runs, resume_or_submit, start
from maskloop.events import Event, Failed, Finished
from maskloop.jobs.base import Job
from maskloop.ui.follow import Follower

if TYPE_CHECKING:
    from maskloop.ui.session import Session

__all__ = ["RunController", "RunEvents"]


class RunEvents(SignalGroup):
    """What a run says, in the thread of the window."""

    changed = Signal()
    """`run_id`, `is_active` or `is_starting` changed."""
    told = Signal(list)
    """Events, in order; of a run that is taken up, all since its beginning."""
    ended = Signal(object)
    """`Finished` or `Failed`, once, of a run that was active in this window."""


class RunController:
    """Starts and follows runs. A run outlives the window; killing it leaves the window alive.

    Parameters
    ----------
    session
        Whose project the runs belong to.
    kind
        train or predict.
    """

    def __init__(self, session: Session, kind: str) -> None:
        self.events = RunEvents()
        self.kind = kind
        self.run_id: str | None = None
        self.is_active = False
        self.is_starting = False
        self._session = session
        self._follower: Follower | None = None
        session.events.project_changed.connect(self._change_project)

    @property
    def folder(self) -> Path | None:
        """Of the run that is followed, with its previews."""
        return None if self._follower is None else self._follower.handle.folder

    def start(self, prepare: Callable[[Project], Job], *, runs: Path | None = None) -> None:
        """Start a job in a child process, or resume the same one that was interrupted.

        Parameters
        ----------
        prepare
            Makes the job, in a thread: it may write what the job needs.
        runs
            Where the run keeps its journal instead, when the project may only be read.
        """

        def begin(project: Project) -> RunHandle:
            job = prepare(project)
            if runs is not None:
                project = open_with_runs(project, runs)
            return start(resume_or_submit(project, job), "process")

        self._begin(begin)

    def resume(self, run_id: str) -> None:
        """Resume a run that was interrupted."""
        self._begin(lambda project: start(FolderHandle(project, run_id), "process"))

    def _begin(self, begin: Callable[[Project], RunHandle]) -> None:
        if self.is_active or self.is_starting:
            return
        self.is_starting = True
        self.events.changed.emit()

        def failed(error: Exception) -> None:
            self.is_starting = False
            self.events.changed.emit()
            self._session.fail(error)

        self._session.do(begin, self._follow, otherwise=failed)

    def cancel(self) -> None:
        """Ask the run to stop in good order; what is best so far is kept."""
        if self._follower is not None and self.is_active:
            self._session.background.run(self._follower.handle.cancel)

    def take_up(self, run_id: str) -> None:
        """Show a run from its beginning, be it over or going on in another process."""
        project = self._session.project
        if project is None or self.is_starting or (self.is_active and run_id == self.run_id):
            return

        def look(project: Project) -> tuple[RunHandle, bool]:
            handle = attach(project, run_id)
            return handle, handle.is_alive()

        self._session.do(look, lambda found: self._follow(found[0], is_active=found[1]))

    def _follow(self, handle: RunHandle, *, is_active: bool = True) -> None:
        self._let_go()
        self.run_id, self.is_active, self.is_starting = handle.run_id, is_active, False
        self.events.changed.emit()
        self._follower = Follower(handle, self._session.deliver, self._tell)

    def _tell(self, events: list[Event]) -> None:
        self.events.told.emit(events)
        # A run that was taken up again has the last word of before in its journal, too.
        if isinstance(events[-1], Finished | Failed):
            was_active, self.is_active = self.is_active, False
            self.events.changed.emit()
            if was_active:
                self.events.ended.emit(events[-1])
                self._session.refresh()

    def _change_project(self, _project: Project | None) -> None:
        self._let_go()
        self.run_id, self.is_active, self.is_starting = None, False, False
        self.events.changed.emit()

    def _let_go(self) -> None:
        if self._follower is not None:
            self._follower.close()
            self._follower = None

    def close(self) -> None:
        """Stop following; the run goes on."""
        self._let_go()
