"""The only place where a job runs: in this thread, in a child process, in a queue, it is always this function."""

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
from typing import Any

from filelock import FileLock, Timeout

from maskloop.errors import Cancelled, MaskloopError, UsageError
from maskloop.events import Event, Failed, Finished, Message, Report, Started, append_event, silent
from maskloop.jobs.base import TrainJob, read_job
from maskloop.priority import give_way
from maskloop.project.project import ProjectFolder

__all__ = ["CANCEL", "EVENTS", "JOB", "STARTED", "execute"]

JOB = "job.json"
EVENTS = "events.jsonl"
CANCEL = "cancel"
LOG = "log.txt"
STARTED = "MASKLOOP_STARTED_RUN"
"""Environment variable: the run that this process was started for."""


def execute(project: ProjectFolder, run_id: str, *, report: Report = silent) -> dict[str, Any]:
    """Run a submitted job, or go on with one that was interrupted; every event goes to the run's journal and to `report`.

    Returns
    -------
    result
        What the journal's last word `Finished` holds.

    Raises
    ------
    MaskloopError
        What went wrong; the journal's last word `Failed` says the same.
    """
    folder = project.history.run_folder(run_id)
    if os.environ.get(STARTED) == run_id:
        give_way()
    with _only_one(folder, run_id), _stop_on_signal() as is_stopped:
        tell = silent if _is_helper() else _journal(folder / EVENTS, report)
        tell(
            Started(
                process_id=os.getpid(), host=platform.node(), resumed=(folder / EVENTS).exists()
            )
        )
        try:
            result = _dispatch(
                project, run_id, folder, tell, lambda: is_stopped() or (folder / CANCEL).exists()
            )
        except MaskloopError as error:
            tell(Failed(error=type(error).__name__, problem=error.problem, way_out=error.way_out))
            raise
        except Exception as error:
            (folder / LOG).write_text(traceback.format_exc(), encoding="utf-8")
            name = type(error).__name__
            way_out = f"This should not happen. The details are in '{folder / LOG}'; what was saved before is unchanged."
            tell(Failed(error=name, problem=f"{name}: {error}", way_out=way_out))
            raise MaskloopError(
                f"The run {run_id} ended with an unexpected {name}: {error}", way_out
            ) from error
        tell(Finished(result=result))
        return result


def _dispatch(
    project: ProjectFolder,
    run_id: str,
    folder: Path,
    tell: Report,
    is_cancelled: Callable[[], bool],
) -> dict[str, Any]:
    job = read_job((folder / JOB).read_bytes())
    if isinstance(job, TrainJob):
        from maskloop.jobs.training import run_training

        record = run_training(project, job, run_id, report=tell, is_cancelled=is_cancelled)
        return (
            {}
            if record is None
            else {
                "checkpoint_id": record.checkpoint_id,
                "summary": record.benchmark_summary,
                "metrics": record.metrics,
            }
        )
    from maskloop.jobs.prediction import run_prediction

    return run_prediction(project, job, run_id, report=tell, is_cancelled=is_cancelled)


def _journal(path: Path, report: Report) -> Report:
    def tell(event: Event) -> None:
        append_event(path, event)
        if isinstance(event, Message) and event.level == "warning":
            logging.getLogger("maskloop").warning(event.text)
        report(event)

    return tell


def _is_helper() -> bool:
    """Whether this process only lends its device to a training that another one leads."""
    return any(
        os.environ.get(name, "0") != "0" for name in ("LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
    )


@contextlib.contextmanager
def _only_one(folder: Path, run_id: str) -> Iterator[None]:
    """Refuse to execute one run twice at a time; helper processes of a training on several devices belong to the first."""
    if _is_helper():
        yield
        return
    # A wish to stop may have come since a window started this process; `start` has erased those of
    # before.
    if os.environ.get(STARTED) != run_id:
        (folder / CANCEL).unlink(missing_ok=True)
    lock = FileLock(folder / ".run.lock")
    try:
        # Not at once: whoever asks whether the run lives holds the lock for a moment.
        lock.acquire(timeout=1)
    except Timeout:
        raise UsageError(
            f"The run {run_id} is already being executed.", "Follow it, or cancel it first."
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C and a queue's SIGTERM end the run in good order; a second Ctrl-C ends it at once."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped.is_set
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        if stopped.is_set() and number == signal.SIGINT:
            raise Cancelled(
                "Stopped at once.",
                "Start the same command again: it goes on from the last saved state.",
            )
        stopped.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
