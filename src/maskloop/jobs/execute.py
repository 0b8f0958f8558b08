"""The only place where a job runs: a thread, a child process and a queue all call `execute`."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from maskloop.errors import Cancelled, MaskloopError, NotFound, UsageError
from maskloop.events import (
    Event,
    Failed,
    Finished,
    Message,
    Report,
    Started,
    append_event,
    last_event,
    silent,
)
from maskloop.jobs.base import JOB, Job, Result, RunContext, read_job
from maskloop.jobs.summary import EVENTS, keep_summary
from maskloop.priority import lower_priority
from maskloop.project.project import ProjectFolder
from maskloop.records import read_ordinary, write_bytes

__all__ = ["CANCEL", "EVENTS", "JOB", "LOG", "RUN_LOCK", "STARTED", "execute", "is_helper"]

CANCEL = "cancel"
LOG = "log.txt"
RUN_LOCK = ".run.lock"
STARTED = "MASKLOOP_STARTED_RUN"
"""Environment variable: the run that this process was started to execute."""
RANKS = ("LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")


def execute(project: ProjectFolder, run_id: str, *, report: Report = silent) -> Result:
    """Run a submitted job, or resume an interrupted one.

    Every event goes to the run's journal and to `report`. A run that is finished is not run again:
    a queue may deliver a job twice.

    Returns
    -------
    result
        What the journal's last event `Finished` holds.

    Raises
    ------
    MaskloopError
        If the job fails; the journal's last event `Failed` says the same.
    """
    folder = project.history.run_folder(run_id)
    # Only in a process of its own: in a notebook or the window everything else would slow down,
    # too.
    if os.environ.get(STARTED) == run_id:
        lower_priority()
    job = _peek(folder)
    # A rank alone does not make a helper: `srun` numbers the tasks of any job, and a prediction
    # among them would leave no journal.
    if job is not None and is_helper(job):
        with _stop_on_signal() as is_stopped:
            return job.run(RunContext(project, run_id, folder, silent, is_stopped))
    with _lock(folder, run_id), _stop_on_signal() as is_stopped:
        last = last_event(folder / EVENTS)
        if isinstance(last, Finished):
            return last.result
        try:
            return _lead(
                project, run_id, folder, report, lambda: is_stopped() or (folder / CANCEL).exists()
            )
        finally:
            # Also of a failed run: all that ended are listed at each refresh of the window.
            keep_summary(folder)


def is_helper(job: Job) -> bool:
    """Whether this process only lends its device to a run that another process leads."""
    return job.processes > 1 and any(os.environ.get(name, "0") != "0" for name in RANKS)


def _peek(folder: Path) -> Job | None:
    # A damaged file is reported later, in the journal.
    try:
        return read_job(read_ordinary(folder / JOB))
    except (OSError, MaskloopError):
        return None


def _lead(
    project: ProjectFolder,
    run_id: str,
    folder: Path,
    report: Report,
    is_cancelled: Callable[[], bool],
) -> Result:
    """Run the job and keep the journal."""
    tell = _journal(folder / EVENTS, report)
    # Before the first event of this start, which creates the file.
    is_resumed = (folder / EVENTS).exists()
    tell(Started(process_id=os.getpid(), host=platform.node(), resumed=is_resumed))
    try:
        job = _read(folder, run_id)
        result = job.run(RunContext(project, run_id, folder, tell, is_cancelled))
    except MaskloopError as error:
        tell(Failed(error=type(error).__name__, problem=error.problem, way_out=error.way_out))
        raise
    except Exception as error:
        name = type(error).__name__
        problem = f"The run {run_id} stopped because of an unexpected {name}: {error}"
        # A full disk may be the very reason: then there is no log, but still these words.
        with contextlib.suppress(OSError):
            write_bytes(folder / LOG, traceback.format_exc().encode())
        way_out = (
            f"This is a bug in maskloop or in a plug-in: please report it with '{folder / LOG}'. "
            "Everything saved before is unchanged."
        )
        tell(Failed(error=name, problem=problem, way_out=way_out))
        raise MaskloopError(problem, way_out) from error
    # Last of all: whoever sees this event may rely on everything the job has written.
    tell(Finished(result=result))
    return result


def _read(folder: Path, run_id: str) -> Job:
    try:
        content = read_ordinary(folder / JOB)
    except OSError as error:
        raise UsageError(
            f"The job of run {run_id} cannot be read: {error.strerror or error}.",
            "List the runs (maskloop runs DIR).",
        ) from error
    return read_job(content)


def _journal(path: Path, report: Report) -> Report:
    def tell(event: Event) -> None:
        # On disk first: a window that crashes while it draws an event does not lose it.
        append_event(path, event)
        if isinstance(event, Message) and event.level == "warning":
            logging.getLogger("maskloop").warning(event.text)
        report(event)

    return tell


@contextlib.contextmanager
def _lock(folder: Path, run_id: str) -> Iterator[None]:
    """Refuse to execute one run twice at a time."""
    if not folder.is_dir():
        raise NotFound(
            f"There is no run {run_id} in this project.",
            "List the runs (maskloop runs DIR).",
        )
    # A request to cancel may have come since a window started this process; `start` removed older
    # ones.
    if os.environ.get(STARTED) != run_id:
        (folder / CANCEL).unlink(missing_ok=True)
    lock = FileLock(folder / RUN_LOCK)
    try:
        # Not at once: whoever asks whether the run is alive holds the lock for a moment.
        lock.acquire(timeout=1)
    except Timeout:
        raise UsageError(
            f"The run {run_id} is already running.", "Wait for it, or cancel it first."
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Stop cleanly on Ctrl-C or a queue's SIGTERM, immediately on a second Ctrl-C."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        # Python lets only the main thread handle signals.
        yield stopped.is_set
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        if stopped.is_set() and number == signal.SIGINT:
            raise Cancelled(
                "Stopped immediately.",
                "Start the same command again: it resumes from the last saved state.",
            )
        stopped.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
