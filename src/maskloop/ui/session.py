"""The brain of the window: which project is open, how it stands, and the verbs; without Qt, so it is tested without a window."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from psygnal import Signal, SignalGroup

from maskloop.compute.project import Project
from maskloop.errors import Cancelled, MaskloopError
from maskloop.task import OutputMode
from maskloop.ui.background import Background, Deliver
from maskloop.ui.controllers.advanced import AdvancedController
from maskloop.ui.controllers.checkpoints import CheckpointsController
from maskloop.ui.controllers.dataset import DatasetController
from maskloop.ui.controllers.prediction import PredictionController
from maskloop.ui.controllers.training import TrainingController
from maskloop.ui.gc_pause import collect_again
from maskloop.ui.recent import RecentProjects
from maskloop.ui.snapshot import Snapshot, look, take_snapshot

__all__ = ["Session", "SessionEvents"]

Result = TypeVar("Result")
WATCH_S = 1.0


class SessionEvents(SignalGroup):
    """What the window may listen to; always told in the thread of the window."""

    project_changed = Signal(object)
    """Another project was opened (or None): what belongs to the old one is to be forgotten."""
    snapshot_changed = Signal(Snapshot)
    """The project stands differently: a verb was done, or somebody else wrote into the folder."""
    failed = Signal(str, str)
    """The problem, and the way out."""
    said = Signal(str)
    """A short word about something that was done."""


class Session:
    """One window's view of one project at a time.

    Parameters
    ----------
    deliver
        Calls a function in the thread of the window, soon.
    recent
        Where the projects opened last are kept.
    """

    def __init__(self, deliver: Deliver, *, recent: RecentProjects | None = None) -> None:
        self.events = SessionEvents()
        self.deliver = deliver
        self.background = Background(deliver, self.fail)
        self.recent = recent or RecentProjects()
        self.project: Project | None = None
        self.snapshot = Snapshot()
        self._watcher: _Watcher | None = None
        self.dataset = DatasetController(self)
        self.training = TrainingController(self)
        self.checkpoints = CheckpointsController(self)
        self.prediction = PredictionController(self)
        self.advanced = AdvancedController(self)

    def open(self, folder: str | Path) -> None:
        """Open a project to look at it; nothing in its folder is changed."""
        self.background.run(lambda: Project.open(folder), self._take, key="open")

    def create(
        self, folder: str | Path, *, mode: OutputMode, classes: Sequence[str] | None = None
    ) -> None:
        """Make a new, empty project and open it."""
        self.background.run(
            lambda: Project.create(folder, mode=mode, classes=classes or None),
            self._take,
            key="open",
        )

    def _take(self, project: Project) -> None:
        self.leave()
        self.project = project
        self.background.run(lambda: self.recent.add(project.folder))
        self._watcher = _Watcher(project.folder, lambda: self.deliver(self.refresh))
        self.events.project_changed.emit(project)
        self.refresh()

    def leave(self) -> None:
        """Close the project; its runs go on."""
        self._stop_watching()
        if self.project is not None:
            self.project = None
            self.events.project_changed.emit(None)
            self._show(Snapshot())

    def _stop_watching(self) -> None:
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None
            collect_again()

    def refresh(self) -> None:
        """Read how the project stands, in the background."""
        project = self.project
        if project is None:
            return

        before = self.snapshot

        def read() -> Snapshot | None:
            # Compared here: ten thousand pairs that were read anew take a while.
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
        """Do something with the project in the background, then read how it stands.

        Parameters
        ----------
        work
            Called with the project, in a thread.
        then
            Called with its result in the thread of the window.
        key
            Of work with the same key only the newest counts: only for what does not write.
        said
            What to tell when it is done.
        otherwise
            Called with the error instead of `fail`.
        """
        project = self.project
        if project is None:
            self.fail(MaskloopError("No project is open.", "Choose or create one at the top."))
            return

        def done(result: Result) -> None:
            if said is not None:
                self.say(said(result))
            if self.project is project:
                if then is not None:
                    then(result)
                self.refresh()

        self.background.run(lambda: work(project), done, key=key, otherwise=otherwise)

    def fail(self, error: Exception) -> None:
        """Tell what went wrong, with the way out; what was asked to stop is no failure."""
        if isinstance(error, Cancelled):
            self.say(error.problem)
        elif isinstance(error, MaskloopError):
            self.events.failed.emit(error.problem, error.way_out)
        else:
            problem = f"This should not have happened: {type(error).__name__}: {error}"
            self.events.failed.emit(
                problem, "What was accepted before is safe. Please report it with what you did."
            )

    def say(self, text: str) -> None:
        """Tell something that was done."""
        self.events.said.emit(text)

    def close(self) -> None:
        """End in good order when the window closes: what is being written is finished, runs go on. Nobody is told any more."""
        for signal in self.events.signals.values():
            signal.disconnect()
        self._stop_watching()
        for part in (self.dataset, self.training, self.checkpoints, self.prediction, self.advanced):
            part.close()
        self.project = None
        self.background.close()


class _Watcher:
    """Notices from a thread that somebody wrote into the folder, moved it or took its permissions away."""

    def __init__(self, folder: Path, changed: Callable[[], None]) -> None:
        self._folder, self._changed = folder, changed
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._watch, name="maskloop watches the folder", daemon=True
        )
        self._thread.start()

    def _watch(self) -> None:
        seen = look(self._folder)
        while not self._stopped.wait(WATCH_S):
            now = look(self._folder)
            if now != seen:
                seen = now
                self._changed()

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()
