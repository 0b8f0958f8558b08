"""Check every file of the project against its record, with progress, and repair records."""

from __future__ import annotations

import threading

from psygnal import Signal

from maskloop.compute.project import Project
from maskloop.events import Event, Progress
from maskloop.project.check import CheckReport, Problem, check
from maskloop.project.repair import RepairReport, plan_repair, repair
from maskloop.ui.controllers.base import Controller
from maskloop.ui.workspace import Workspace
from maskloop.wording import bytes_in_words, counted

__all__ = ["CheckupController"]

BUSY = "Wait until it is done."
UNCHECKED = "Not checked since the project was opened."


class CheckupController(Controller):
    """Checks the folder and repairs its records.

    `changed` means: `is_checking`, `is_repairing`, `report` or `words` changed.

    Parameters
    ----------
    workspace
        Whose project it belongs to.
    """

    progressed = Signal(float, float)
    """Files checked, and all."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self.report: CheckReport | None = None
        """What the last check found."""
        self.is_checking = self.is_repairing = False
        self.words = UNCHECKED
        self.will_do: tuple[str, ...] = ()
        """What a repair would do, a sentence each; empty if it could do nothing."""
        self._stop = threading.Event()
        self._progress: tuple[float, float] | None = None

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What the last check found."""
        return () if self.report is None else self.report.problems

    @property
    def is_busy(self) -> bool:
        """Whether it is checking or repairing."""
        return self.is_checking or self.is_repairing

    @property
    def why_not_check(self) -> str | None:
        """Why it cannot be checked now, or None."""
        return self._workspace.snapshot.why_not_read or (BUSY if self.is_busy else None)

    @property
    def question(self) -> str:
        """What a repair would do, to be confirmed."""
        safe = "No file is deleted. Missing, changed and unexpected files stay as they are."
        return "\n".join([*self.will_do, safe])

    @property
    def why_not_repair(self) -> str | None:
        """Why nothing can be repaired now, or None."""
        # A read-only project can be checked, not repaired.
        if self._workspace.snapshot.why_not_write is not None:
            return self._workspace.snapshot.why_not_write
        if self.is_busy:
            return BUSY
        if self.report is None:
            return "Check the folder first."
        return None if self.will_do else "There is nothing that a repair could fix."

    def check(self) -> None:
        """Read every record and compare every file with its hash; changes nothing."""
        project = self._workspace.project
        if project is None or self.is_busy:
            return
        stop = self._stop = threading.Event()
        self._begin("Checking...")
        self.is_checking = True
        self.changed.emit()

        def look() -> tuple[CheckReport, tuple[str, ...]]:
            # The stop of this check: a second one has its own.
            report = check(project, report=self._hear, is_cancelled=stop.is_set)
            return report, plan_repair(project, report)

        def done(found: tuple[CheckReport, tuple[str, ...]]) -> None:
            if stop is self._stop:
                self._end(*found, _found_words(found[0]))

        self._workspace.background.run(look, done, otherwise=lambda error: self._fail(stop, error))

    def cancel(self) -> None:
        """Stop the check; nothing is changed by it."""
        self._stop.set()

    def repair(self) -> None:
        """Do what `will_do` says, then check again."""
        if self.why_not_repair is not None:
            return
        stop = self._stop = threading.Event()
        self._begin("Repairing...")
        self.is_repairing = True
        self.changed.emit()

        def mend(project: Project) -> tuple[RepairReport, tuple[str, ...]]:
            # It checks again itself: what is left is what a person must know.
            mended = repair(project, report=self._hear)
            return mended, plan_repair(project, mended.left)

        def done(found: tuple[RepairReport, tuple[str, ...]]) -> None:
            if stop is self._stop:
                mended, will_do = found
                self._end(
                    mended.left,
                    will_do,
                    " ".join(["Repaired.", *mended.repaired, _found_words(mended.left)]),
                )

        # `do` and not `run`: it writes, so the window must read the project again.
        self._workspace.do(mend, done, otherwise=lambda error: self._fail(stop, error))

    def _begin(self, words: str) -> None:
        self.report, self.words = None, words
        self.will_do = ()

    def _end(self, report: CheckReport | None, will_do: tuple[str, ...], words: str) -> None:
        self.is_checking = self.is_repairing = False
        self.report, self.words = report, words
        self.will_do = will_do
        self.changed.emit()

    def _fail(self, stop: threading.Event, error: Exception) -> None:
        if stop is self._stop:
            self._end(None, (), getattr(error, "problem", "It failed."))
            self._workspace.fail(error)

    def _hear(self, event: Event) -> None:
        """Deliver the newest progress only: a large project has 20,000 files."""
        if isinstance(event, Progress):
            # Only if none is on its way: the newest is read when it arrives.
            is_first = self._progress is None
            self._progress = event.done, event.total
            if is_first:
                self._workspace.deliver(self._tell)

    def _tell(self) -> None:
        progress, self._progress = self._progress, None
        # Delivered after the end: the result must not be covered by its progress.
        if progress is not None and self.is_busy:
            self.progressed.emit(*progress)

    def reset(self, project: Project | None) -> None:
        """Stop checking the previous project."""
        self.close()
        self._stop = threading.Event()
        self._end(None, (), UNCHECKED)

    def close(self) -> None:
        """Stop the check; a repair is finished."""
        self._stop.set()


def _found_words(report: CheckReport) -> str:
    size = f"{counted(report.files_checked, 'file')} ({bytes_in_words(report.bytes_checked)})"
    if not report.problems:
        return f"No problems: {size} checked, all unchanged."
    # Harmless ones, such as leftovers of a kill, must not look like damage.
    harmless = sum(problem.is_harmless for problem in report.problems)
    serious = len(report.problems) - harmless
    words = f"{counted(serious, 'problem')} in {size}"
    return f"{words}, plus {harmless} harmless." if harmless else f"{words}."
