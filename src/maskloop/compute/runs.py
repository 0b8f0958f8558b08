"""From a job to a run: write it down, start it somewhere, resume it, find it again."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from maskloop import plugins
from maskloop.compute.base import RunHandle, Target, last_word
from maskloop.compute.overview import run_state, summary_of
from maskloop.compute.run_folder import FolderHandle
from maskloop.errors import Cancelled, MaskloopError, UsageError
from maskloop.events import Event, Message, Report, Started, last_event, silent
from maskloop.jobs.base import JOB, Job, Result, read_job
from maskloop.jobs.execute import CANCEL, EVENTS, execute, is_helper
from maskloop.project.history import History
from maskloop.project.project import ProjectFolder
from maskloop.records import Record, read_ordinary, read_record, write_bytes, write_record

__all__ = [
    "attach",
    "find_interrupted",
    "open_with_runs",
    "resume_or_submit",
    "run_job",
    "start",
    "submit",
]

PLACE = "place.json"
LEADER_S = 120.0
"""How long a helper waits for the first process: nodes of a cluster start at different times."""
Opened = TypeVar("Opened", bound=ProjectFolder)


class Place(Record):
    """Where a run was last started, so that another process can follow it."""

    target: str


def submit(project: ProjectFolder, job: Job) -> FolderHandle:
    """Save a job in the project as a new run, without starting it."""
    run_id = project.history.new_run(job.kind)
    handle = FolderHandle(project, run_id)
    write_record(handle.folder / JOB, job)
    return handle


def start(run: FolderHandle, target: str = "inline", *, report: Report = silent) -> RunHandle:
    """Start a submitted run, or resume an interrupted one, at a place.

    Parameters
    ----------
    run
        What `submit`, `find_interrupted` or `resume_or_submit` gives.
    target
        ``inline``: in this thread; ``process``: in a child process; or a place of a plug-in.
    report
        Called with each event if it runs inline.

    Raises
    ------
    NotFound
        If there is no such place.
    UsageError
        If the run is already running.
    MaskloopError
        If the job fails in this thread.
    """
    place: Target = plugins.get("targets", target)()
    if attach(run.project, run.run_id).is_alive():
        raise UsageError(
            f"The run {run.run_id} is already running.", "Wait for it, or cancel it first."
        )
    journal = run.folder / EVENTS
    # A resumed run keeps the journal of its earlier starts; followers begin after them.
    position = journal.stat().st_size if journal.exists() else 0
    (run.folder / CANCEL).unlink(missing_ok=True)
    # Before it starts: a window that is closed now still finds the run in its queue later.
    write_bytes(run.folder / PLACE, Place(target=target).model_dump_json().encode())
    handle = place.start(run.project, run.run_id, report=report)
    handle.position = position
    return handle


def attach(project: ProjectFolder, run_id: str) -> RunHandle:
    """The handle of a run, whenever and by whichever process it was started."""
    folder = project.history.run_folder(run_id)
    # Runs of older versions have no such file, and a place may not be installed here.
    with contextlib.suppress(MaskloopError):
        place = read_record(folder / PLACE, Place)
        target: Target = plugins.get("targets", place.target)()
        return target.attach(project, run_id)
    return FolderHandle(project, run_id)


def open_with_runs(project: Opened, runs: Path) -> Opened:
    """The project with its runs in another folder, for a read-only project."""
    # A project of its own: the caller's keeps its runs where they are.
    opened = type(project).open(project.folder)
    opened.history = History(opened, runs_folder=runs)
    return opened


def find_interrupted(project: ProjectFolder, job: Job) -> FolderHandle | None:
    """The newest run of this kind, if it has exactly this job and was interrupted."""
    found = _newest(project, job.kind)
    if found is None or found[1] != job or run_state(project, found[0]) != "interrupted":
        return None
    return FolderHandle(project, found[0])


def _newest(project: ProjectFolder, kind: str) -> tuple[str, Job] | None:
    for run_id in reversed(project.history.runs()):
        try:
            job = read_job(read_ordinary(project.history.run_folder(run_id) / JOB))
        except (OSError, MaskloopError):
            continue  # killed between the counter and the job
        if job.kind == kind:
            return run_id, job
    return None


def resume_or_submit(project: ProjectFolder, job: Job, *, report: Report = silent) -> FolderHandle:
    """The interrupted run of this job, or else a new run.

    Parameters
    ----------
    project, job
        The work to do.
    report
        Called with a warning if an interrupted run is not resumed because its settings differ.
    """
    found = _newest(project, job.kind)
    if found is None or run_state(project, found[0]) != "interrupted":
        return submit(project, job)
    run_id, before = found
    # Equal in every field: a resumed training must be the very training that was started.
    if before == job:
        return FolderHandle(project, run_id)
    if job.is_same_work(before):
        text = (
            f"The interrupted run {run_id}{_progress(project, run_id)} is not resumed, because "
            f"its settings differ: {_differences(before, job)}. A new run starts. To resume the "
            f"interrupted one instead: maskloop execute {project.folder} {run_id}"
        )
        # Logged, too: in Python nobody may be listening to reports.
        logging.getLogger("maskloop").warning(text)
        report(Message(level="warning", text=text))
    return submit(project, job)


def _progress(project: ProjectFolder, run_id: str) -> str:
    epochs = summary_of(project, run_id).epochs
    return f" (epoch {epochs})" if epochs else ""


def _differences(before: Job, now: Job) -> str:
    # The names that the command line and Python use, each with both values.
    old, new = _flat(before.model_dump(mode="json")), _flat(now.model_dump(mode="json"))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return ", ".join(
        f"{name.removeprefix('recipe.')} was {_value(old.get(name))}, now {_value(new.get(name))}"
        for name in names
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found.update(_flat(value, f"{prefix}{name}."))
        else:
            found[f"{prefix}{name}"] = value
    return found


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "automatic" if value is None else str(value)


def run_job(
    project: ProjectFolder, job: Job, *, target: str = "inline", report: Report = silent
) -> Result:
    """Run a job at a place and wait for its end; an interrupted run of it is resumed.

    `report` gets every event, wherever the job runs.

    Raises
    ------
    MaskloopError
        If the job fails.
    """
    # Asked before anything is written: a helper must not submit a run of its own.
    if is_helper(job):
        _help(project, job)
    told = _Once(report)
    run = resume_or_submit(project, job, report=report)
    handle = start(run, target, report=told.tell)
    try:
        return last_word(handle, told.hear).result
    except KeyboardInterrupt:
        # As in this process: Ctrl-C stops the job and keeps its best; a second one stops waiting.
        handle.cancel()
        told.rewind()
        return last_word(handle, told.hear).result


class _Once:
    """Reports each event once, although a run in this process is followed in its journal, too."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._told = self._heard = 0

    def tell(self, event: Event) -> None:
        """Report an event of a place that runs the job itself."""
        self._told += 1
        self._report(event)

    def hear(self, event: Event) -> None:
        """Report an event of the journal, unless that was done before."""
        self._heard += 1
        if self._heard > self._told:
            self.tell(event)

    def rewind(self) -> None:
        """The journal is read from its beginning again."""
        self._heard = 0


def _help(project: ProjectFolder, job: Job) -> NoReturn:
    """Help with the run that the first process leads, then end this process.

    PyTorch starts the same command again for each device, and `srun` on each node. A run of their
    own would never end, and whatever follows the training would be done several times.

    Raises
    ------
    UsageError
        If no process is running such a job.
    """
    deadline = time.monotonic() + LEADER_S
    while True:
        found = _newest(project, job.kind)
        if found is not None and found[1] == job and _is_led(project, found[0]):
            break
        if time.monotonic() > deadline:
            raise UsageError(
                "The first process of this training on several devices was not found.",
                "Start all processes with the same command and the same project.",
            )
        time.sleep(0.1)
    # The first process reports it, once.
    with contextlib.suppress(Cancelled):
        execute(project, found[0])
    sys.exit(0)


def _is_led(project: ProjectFolder, run_id: str) -> bool:
    """Whether the first process has begun, and has decided what all others must know."""
    if run_state(project, run_id) != "running":
        return False
    last = last_event(project.history.run_folder(run_id) / EVENTS)
    return last is not None and not isinstance(last, Started)
