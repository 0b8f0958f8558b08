"""What all controllers share: the open project, its state, and the way to do work with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from psygnal import Signal, SignalGroup

from maskloop.compute.project import Project
from maskloop.errors import Cancelled, MaskloopError
from maskloop.task import OutputMode
from maskloop.ui.background import Background, Deliver
from maskloop.ui.folder_watch import FolderWatch
from maskloop.ui.gc_pause import collect_again
from maskloop.ui.recent import RecentProjects
from maskloop.ui.snapshot import Snapshot, take_snapshot
from maskloop.wording import without_commands

__all__ = ["Workspace", "WorkspaceEvents"]

Result = TypeVar("Result")


class WorkspaceEvents(SignalGroup):
    """What the window listens to; always emitted in the main thread."""

    project_changed = Signal(object)
    """Another project was opened (or None): forget what belongs to the previous one."""
    snapshot_changed = Signal(Snapshot)
    """The state of the project changed, through this window or another program."""
    failed = Signal(str, str)
    """What went wrong, and what to do."""
    said = Signal(str)
    """A short message about something that was done."""


class Workspace:
    """One window's view of one project at a time; without Qt, so it is tested without a window.

    Parameters
    ----------
    deliver
        Calls a function in the main thread, soon.
    recent
        Where recently opened projects are remembered.
    """

    def __init__(self, deliver: Deliver, *, recent: RecentProjects | None = None) -> None:
        self.events = WorkspaceEvents()
        self.deliver = deliver
        self.background = Background(deliver, self.fail)
        self.recent = recent or RecentProjects()
        self.project: Project | None = None
        self.snapshot = Snapshot()
        self._watch: FolderWatch | None = None

    def open(self, folder: str | Path) -> None:
        """Open a project without changing anything in its folder."""
        # The key is shared with `create`: of two clicks the last one counts.
        self.background.run(lambda: Project.open(folder), self._take, key="open")

    def create(
        self, folder: str | Path, *, mode: OutputMode, classes: Sequence[str] | None = None
    ) -> None:
        """Create a new, empty project and open it."""
        self.background.run(
            lambda: Project.create(folder, mode=mode, classes=classes or None),
            self._take,
            key="open",
        )

    def _take(self, project: Project) -> None:
        self.leave()
        self.project = project
        self.background.run(lambda: self.recent.add(project.folder))
        # Other windows, the command line and trainings write into the same folder.
        self._watch = FolderWatch(project.folder, lambda: self.deliver(self.refresh))
        # Controllers forget first; the snapshot that fills them comes later.
        self.events.project_changed.emit(project)
        self.refresh()

    def leave(self) -> None:
        """Close the project; its runs continue."""
        self._stop_watching()
        if self.project is not None:
            self.project = None
            self.events.project_changed.emit(None)
            self._show(Snapshot())

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None
            collect_again()

    def refresh(self) -> None:
        """Read the state of the project, in the background."""
        project = self.project
        if project is None:
            return

        # Taken here: the main thread may exchange it while the thread reads.
        before = self.snapshot

        def read() -> Snapshot | None:
            # Compared in the thread: comparing ten thousand pairs would block the window.
            now = take_snapshot(project)
            return None if now == before else now

        def show(snapshot: Snapshot | None) -> None:
            if self.project is project and snapshot is not None:
                self._show(snapshot)

        self.background.run(read, show, key="snapshot")

    def _show(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.events.snapshot_changed.emit(snapshot)

    def do(
        self,
        work: Callable[[Project], Result],
        then: Callable[[Result], None] | None = None,
        *,
        key: str | None = None,
        said: Callable[[Result], str] | None = None,
        otherwise: Callable[[Exception], None] | None = None,
    ) -> None:
        """Do something with the project in the background, then read its state again.

        Parameters
        ----------
        work
            Called with the project, in a thread.
        then
            Called with its result in the main thread; not if another project was opened meanwhile.
        key
            Of work with the same key only the newest counts: only for work that does not write.
        said
            The message when it is done.
        otherwise
            Called with the error instead of `fail`.
        """
        project = self.project
        if project is None:
            self.fail(MaskloopError("No project is open.", "Select or create one at the top."))
            return

        def done(result: Result) -> None:
            # Said even if another project was opened meanwhile: it was done.
            if said is not None:
                self.say(said(result))
            if self.project is project:
                if then is not None:
                    then(result)
                self.refresh()

        self.background.run(lambda: work(project), done, key=key, otherwise=otherwise)

    def may(self, why_not: str | None, nothing_done: str) -> bool:
        """Whether something may be done; if not, say so with the reason.

        Parameters
        ----------
        why_not
            The reason; None if it may be done.
        nothing_done
            The problem, such as "Nothing was predicted."
        """
        if why_not is not None:
            self.fail(MaskloopError(nothing_done, why_not))
        return why_not is None

    def fail(self, error: Exception) -> None:
        """Say what went wrong and what to do; what was cancelled is no failure."""
        if isinstance(error, Cancelled):
            self.say(error.problem)
        elif isinstance(error, MaskloopError):
            problem, way_out = without_commands(error.problem), without_commands(error.way_out)
            self.events.failed.emit(problem, way_out)
        else:
            self.events.failed.emit(
                f"Unexpected error: {type(error).__name__}: {error}",
                "Everything accepted so far is safe. Please report this with what you did.",
            )

    def say(self, text: str) -> None:
        """Show a short message about something that was done."""
        self.events.said.emit(without_commands(text))

    def close(self, finish: Callable[[], None] = lambda: None) -> None:
        """Stop: pending writes are finished, runs continue, nobody is notified any more.

        Parameters
        ----------
        finish
            What is still to be done with the project before it is closed.
        """
        # Widgets may be deleted already: nobody must call them any more.
        for signal in self.events.signals.values():
            signal.disconnect()
        self._stop_watching()
        # After the signals are cut: what it writes must not draw.
        finish()
        self.project = None
        self.background.close()
