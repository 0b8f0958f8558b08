"""Check every file of the open project against its record.

The check of the folder, with progress, and its repair.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from psygnal import Signal, SignalGroup

from maskloop.events import Event, Progress
from maskloop.project.check import CheckReport, Problem, check
from maskloop.project.repair import RepairReport, repair
from maskloop.records import last_good

if TYPE_CHECKING:
    from maskloop.compute.project import Project
    from maskloop.ui.session import Session

__all__ = ["CheckupController"]


class CheckupEvents(SignalGroup):
    """Told in the thread of the window."""

    changed = Signal()
    """`is_checking`, `is_repairing`, `report` or `words` changed."""
    progressed = Signal(float, float)
    """Files done, of so many."""


class CheckupController:
    """Checks the folder and repairs it.

    Parameters
    ----------
    session
        Whose project it belongs to.
    """

    def __init__(self, session: Session) -> None:
        self.events = CheckupEvents()
        self.report: CheckReport | None = None
        """What the last check found."""
        self.is_checking = self.is_repairing = False
        self.words = "Not checked since the project was opened."
        self.will_do: tuple[str, ...] = ()
        """What a repair would do, a sentence each; empty where there is nothing that it can put
        right.
        """
        self._session = session
        self._stop = threading.Event()
        self._progress: tuple[float, float] | None = None
        session.events.project_changed.connect(self._change_project)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What the last check found."""
        return () if self.report is None else self.report.problems

    @property
    def is_busy(self) -> bool:
        """Whether it checks or repairs."""
        return self.is_checking or self.is_repairing

    @property
    def why_not_check(self) -> str | None:
        """Why it cannot be checked now, or None."""
        return self._session.snapshot.why_not_read or (
            "Wait until it is done." if self.is_busy else None
        )

    @property
    def question(self) -> str:
        """What a repair would do, for the person to agree to."""
        return "\n".join(
            [
                *self.will_do,
                "No file is deleted; what is missing, changed or left over stays as it is.",
            ]
        )

    @property
    def why_not_repair(self) -> str | None:
        """Why nothing can be repaired now, or None."""
        if self._session.snapshot.why_not_write is not None:
            return self._session.snapshot.why_not_write
        if self.is_busy:
            return "Wait until it is done."
        if self.report is None:
            return "Check the folder first."
        return None if self.will_do else "There is nothing that a repair can put right."

    def check(self) -> None:
        """Read every record and compare every file with its hash; changes nothing."""
        project = self._session.project
        if project is None or self.is_busy:
            return
        stop = self._stop = threading.Event()
        self._begin("Checking...")
        self.is_checking = True
        self.events.changed.emit()

        def look() -> tuple[CheckReport, tuple[str, ...]]:
            report = check(project, report=self._hear, is_cancelled=stop.is_set)
            return report, _plan_repair(project, report)

        def done(found: tuple[CheckReport, tuple[str, ...]]) -> None:
            if stop is self._stop:
                self._end(*found, _found_words(found[0]))

        self._session.background.run(look, done, otherwise=lambda error: self._fail(stop, error))

    def cancel(self) -> None:
        """Stop the check; nothing is changed by it."""
        self._stop.set()

    def repair(self) -> None:
        """Do what `will_do` says, then look again."""
        if self.why_not_repair is not None:
            return
        stop = self._stop = threading.Event()
        self._begin("Repairing...")
        self.is_repairing = True
        self.events.changed.emit()

        def mend(project: Project) -> tuple[RepairReport, tuple[str, ...]]:
            mended = repair(project, report=self._hear)
            return mended, _plan_repair(project, mended.left)

        def done(found: tuple[RepairReport, tuple[str, ...]]) -> None:
            if stop is self._stop:
                mended, will_do = found
                self._end(
                    mended.left,
                    will_do,
                    " ".join(["Repaired.", *mended.repaired, _found_words(mended.left)]),
                )

        self._session.do(mend, done, otherwise=lambda error: self._fail(stop, error))

    def _begin(self, words: str) -> None:
        self.report, self.will_do, self.words = None, (), words

    def _end(self, report: CheckReport | None, will_do: tuple[str, ...], words: str) -> None:
        self.is_checking = self.is_repairing = False
        self.report, self.will_do, self.words = report, will_do, words
        self.events.changed.emit()

    def _fail(self, stop: threading.Event, error: Exception) -> None:
        if stop is self._stop:
            self._end(None, (), getattr(error, "problem", "It could not be done."))
            self._session.fail(error)

    def _hear(self, event: Event) -> None:
        """Hand progress over to the window, the newest only: a large project has 20,000 files."""
        if isinstance(event, Progress):
            is_first = self._progress is None
            self._progress = event.done, event.total
            if is_first:
                self._session.deliver(self._tell)

    def _tell(self) -> None:
        progress, self._progress = self._progress, None
        if progress is not None and self.is_busy:
            self.events.progressed.emit(*progress)

    def _change_project(self, _project: Project | None) -> None:
        self.close()
        self._stop = threading.Event()
        self._end(None, (), "Not checked since the project was opened.")

    def close(self) -> None:
        """Stop the check; a repair is finished."""
        self._stop.set()


def _found_words(report: CheckReport) -> str:
    size = f"{report.files_checked:,} files ({report.bytes_checked / 1e6:,.0f} MB)"
    if not report.problems:
        return f"All is well: {size} are as they were written."
    harmless = sum(problem.is_harmless for problem in report.problems)
    serious = len(report.problems) - harmless
    parts = [f"{serious} to look at" if serious else "", f"{harmless} harmless" if harmless else ""]
    return f"Of {size}: {', '.join(part for part in parts if part)}."


def _plan_repair(project: Project, report: CheckReport) -> tuple[str, ...]:
    """What `repair` will do about these problems, in words."""
    done = []
    for path in dict.fromkeys(
        problem.path for problem in report.problems if problem.kind == "broken record"
    ):
        origin = (
            "its last good copy"
            if last_good(project.path(path)).is_file()
            else "what else is in the folder, since there is no good copy"
        )
        done.append(f"'{path}' is rebuilt from {origin}; the damaged file is kept.")
    done += [
        f"'{problem.path}' is updated from the checkpoints."
        for problem in report.problems
        if problem.kind == "out of step"
    ]
    return tuple(done)
