"""Jobs: work as data, so that one job runs in this thread, in a child process or on a cluster.

A new kind of job is one class that extends `Job` and one line: in the table ``jobs`` of
`maskloop.plugins`, or as an entry point of the group ``maskloop.jobs``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from pydantic import ValidationError

from maskloop import plugins
from maskloop.errors import MaskloopError, RecordError
from maskloop.events import Report
from maskloop.project.project import ProjectFolder
from maskloop.records import Record, parse_json
from maskloop.wording import fault_in_words

__all__ = ["JOB", "Job", "Result", "RunContext", "job_class", "read_job"]

JOB = "job.json"
"""The file in a run's folder that holds its job."""
Result: TypeAlias = dict[str, Any]
"""What a run produced, as JSON; its ``summary`` is shown to people."""


# A dataclass, not a record: it holds what cannot be written down.
@dataclass(frozen=True)
class RunContext:
    """What a job may use while it runs."""

    project: ProjectFolder
    run_id: str
    folder: Path
    """The run's own folder: what is saved there is kept until the run is resumed."""
    report: Report
    """Call it with each event: it writes the journal."""
    is_cancelled: Callable[[], bool]
    """Ask it often: whether to stop and keep the best result so far."""


class Job(Record):
    """A description of work: frozen, complete, independent of the machine."""

    noun: ClassVar[str] = "run"
    """What people call it: training, prediction, ..."""
    at_start: ClassVar[str] = "Preparing"
    """What it does before it can report any progress."""
    after_kill: ClassVar[str] = "Start it again: it resumes from its last saved state."
    """What to do when its process was killed."""

    kind: str

    @abstractmethod
    def run(self, run: RunContext) -> Result:
        """Do the work, or resume it from what an earlier process saved in the run's folder.

        Returns
        -------
        result
            JSON for the journal's last event.

        Raises
        ------
        MaskloopError
            If the job fails; `Cancelled` if it was stopped before there was anything to keep.
        """

    @property
    def processes(self) -> int:
        """The number of processes that work on it together."""
        return 1

    def is_same_work(self, other: Job) -> bool:
        """Whether the other job has the same goal, perhaps with other settings."""
        return self.kind == other.kind


def job_class(kind: str) -> type[Job]:
    """The class of the jobs of a kind; `Job` itself if no installed package knows the kind."""
    # A run of a plug-in that was uninstalled is still listed and shown.
    try:
        found: type[Job] = plugins.get("jobs", kind)
    except MaskloopError:
        return Job
    return found


def read_job(content: str | bytes) -> Job:
    """The job that a ``job.json`` holds.

    Raises
    ------
    RecordError
        If the file is damaged.
    NotFound
        If no installed package knows this kind of job.
    """
    try:
        # The kind first: which class reads the rest depends on it, and may be a plug-in's.
        kind = str(parse_json(content)["kind"])
        # Half of a surrogate pair is valid JSON, but no text that a journal could hold.
        kind.encode()
    except (ValueError, KeyError, TypeError):
        raise RecordError(
            f"The job file of this run is damaged. It begins with {content[:40]!r}.",
            "Start the job again as a new run.",
        ) from None
    # A plug-in that is not installed here is named as such, not taken for a damaged file.
    found: type[Job] = plugins.get("jobs", kind)
    try:
        return found.model_validate_json(content)
    except ValidationError as error:
        raise RecordError(
            f"The job of kind {kind} is damaged: {fault_in_words(error)}",
            "Start the job again as a new run.",
        ) from None
