"""Where a job runs: submit writes it down, a target starts it, a handle follows it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from maskloop.errors import MaskloopError
from maskloop.events import Event, Failed, Finished, Report, follow_events, read_events, silent
from maskloop.jobs.base import PredictJob, TrainJob, read_job
from maskloop.jobs.execute import CANCEL, EVENTS, JOB, STARTED, execute
from maskloop.priority import CREATION_FLAGS
from maskloop.project.project import ProjectFolder
from maskloop.records import write_record

__all__ = ["RunHandle", "RunState", "find_interrupted", "run_state", "start", "submit"]

FROM_OUTSIDE = ("Cancelled", "ProjectError", "ProjectLocked")
"""Ends that came from outside (somebody stopped it, a full disk): the same job started again
goes on where it was.
"""
_CHILDREN: list[subprocess.Popen[bytes]] = []
"""Runs outlive the handle that started them, and whoever started them should still collect what
is left of them.
"""
RunState = Literal["submitted", "running", "finished", "failed", "interrupted"]


@dataclass
class RunHandle:
    """One execution of a job: follow it, ask whether it lives, cancel it."""

    project: ProjectFolder
    run_id: str
    child: subprocess.Popen[bytes] | None = None
    """The process that executes it, when this one started it."""
    position: int = 0
    """Byte of the journal to follow from: a run that is taken up again keeps what it said
    before, its last word included.
    """

    @property
    def folder(self) -> Path:
        """The run's folder, with job, journal and saved state."""
        return self.project.history.run_folder(self.run_id)

    def is_alive(self) -> bool:
        """Whether a process executes it: the child that was started here, or any that holds the run's lock."""
        return _is_locked(self.folder) if self.child is None else self.child.poll() is None

    def follow(self, is_stopped: Callable[[], bool] = lambda: False) -> Iterator[Event]:
        """Events as they come, until the run's last word; one that ends without is reported as failed.

        Parameters
        ----------
        is_stopped
            Asked between events: whether to leave off; the run goes on.
        """
        last: Event | None = None
        for last in follow_events(
            self.folder / EVENTS,
            lambda: not is_stopped() and self.is_alive(),
            position=self.position,
        ):
            if isinstance(last, Finished | Failed) and self.child is not None:
                self.child.wait()
            yield last
        if not is_stopped() and not isinstance(last, Finished | Failed):
            log = self.folder / "stderr.txt"
            tail = (
                log.read_text(encoding="utf-8", errors="replace")[-500:].strip()
                if log.exists()
                else ""
            )
            problem = f"The run {self.run_id} ended without a last word" + (
                f": {tail}" if tail else "."
            )
            yield Failed(
                error="Interrupted",
                problem=problem,
                way_out="Start the same job again: it goes on from its last saved state.",
            )

    def cancel(self) -> None:
        """Ask the run to stop in good order; what is best so far is kept."""
        (self.folder / CANCEL).touch()


def submit(project: ProjectFolder, job: TrainJob | PredictJob) -> RunHandle:
    """Write a job down in the project as a new run; nothing is started yet."""
    run_id = project.history.new_run(job.kind)
    handle = RunHandle(project, run_id)
    write_record(handle.folder / JOB, job)
    return handle


def start(
    handle: RunHandle, target: Literal["inline", "process"] = "inline", *, report: Report = silent
) -> RunHandle:
    """Start a submitted run, or an interrupted one again, in this thread or in a child process.

    Raises
    ------
    MaskloopError
        What went wrong, when it runs in this thread.
    """
    journal = handle.folder / EVENTS
    handle.position = journal.stat().st_size if journal.exists() else 0
    (handle.folder / CANCEL).unlink(missing_ok=True)
    if target == "inline":
        execute(handle.project, handle.run_id, report=report)
        return handle
    history = handle.project.history
    elsewhere = ["--runs", str(history.runs_folder)] if history.is_elsewhere else []
    with (handle.folder / "stderr.txt").open("ab") as errors:
        handle.child = subprocess.Popen(
            # -P: whatever scripts lie in the present folder are not taken for libraries.
            [
                sys.executable,
                "-P",
                "-m",
                "maskloop",
                "execute",
                str(handle.project.folder),
                handle.run_id,
                *elsewhere,
            ],
            env={**os.environ, STARTED: handle.run_id},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
            creationflags=CREATION_FLAGS,
        )
    _CHILDREN.append(handle.child)
    _CHILDREN[:] = [child for child in _CHILDREN if child.poll() is None]
    return handle


def run_state(project: ProjectFolder, run_id: str) -> RunState:
    """What became of a run, from its journal; without a last word it is interrupted (or running elsewhere)."""
    events, _ = read_events(project.history.run_folder(run_id) / EVENTS)
    if not events:
        return "submitted"
    if isinstance(events[-1], Finished):
        return "finished"
    if isinstance(events[-1], Failed):
        return "interrupted" if events[-1].error in FROM_OUTSIDE else "failed"
    return "running" if _is_locked(project.history.run_folder(run_id)) else "interrupted"


def _is_locked(folder: Path) -> bool:
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".run.lock")
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        return True
    lock.release()
    return False


def find_interrupted(project: ProjectFolder, job: TrainJob | PredictJob) -> RunHandle | None:
    """The last run of exactly this job that ended without a last word, if it is the last of its kind."""
    for run_id in reversed(project.history.runs()):
        path = project.history.run_folder(run_id) / JOB
        try:
            found = read_job(path.read_bytes())
        except (OSError, ValueError):
            continue  # killed between the counter and the job
        if found.kind == job.kind:
            same = found == job and run_state(project, run_id) == "interrupted"
            return RunHandle(project, run_id) if same else None
    return None


def last_word(handle: RunHandle) -> Finished:
    """Wait for a run's end.

    Raises
    ------
    MaskloopError
        If the run failed, with the words of its journal.
    """
    for event in handle.follow():
        if isinstance(event, Failed):
            raise MaskloopError(event.problem, event.way_out)
        if isinstance(event, Finished):
            return event
    raise AssertionError("follow ends with a last word")
