"""Jobs: work as data, so that one job runs in this thread, in a child process or on a cluster.

A new kind of job is one class that extends `Job` and one line: in the table ``jobs`` of
`maskloop.plugins`, or as an entry point of the group ``maskloop.jobs``.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import ValidationError

from maskloop import plugins
from maskloop.errors import RecordError
from maskloop.events import Report
from maskloop.project.project import ProjectFolder
from maskloop.records import Record
from maskloop.wording import fault_in_words

__all__ = ["JOB", "Job", "Result", "RunContext", "read_job"]

JOB = "job.json"
"""The file in a run's folder that holds its job."""
Result: TypeAlias = dict[str, Any]
"""What a run leaves, as JSON; ``summary`` is a line for people."""


@dataclass(frozen=True)
class RunContext:
    """All that a job may use while it runs."""

    project: ProjectFolder
    run_id: str
    folder: Path
    """The run's own folder: what is saved there is still there when the run is resumed."""
    report: Report
    """Told of each event."""
    is_cancelled: Callable[[], bool]
    """Asked often: whether to stop in good order, with what is best so far."""


class Job(Record):
    """Work that can be written down: frozen, complete, the same on every machine."""

    kind: str

    @abstractmethod
    def run(self, run: RunContext) -> Result:
        """Do the work, or resume it where the run's folder holds what an earlier process saved.

        Returns
        -------
        result
            JSON for the journal's last event.

        Raises
        ------
        MaskloopError
            What went wrong; `Cancelled` when someone asked it to stop and nothing can be kept.
        """

    @property
    def processes(self) -> int:
        """How many processes work on it together."""
        return 1

    def is_same_work(self, other: Job) -> bool:
        """Whether the other job does the same work, if perhaps with other settings."""
        return self.kind == other.kind


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
        kind = str(json.loads(content)["kind"])
    except (ValueError, KeyError, TypeError):
        raise RecordError(
            f"This file holds no job: {content[:80]!r}.", "Start the job again as a new run."
        ) from None
    found: type[Job] = plugins.get("jobs", kind)
    try:
        return found.model_validate_json(content)
    except ValidationError as error:
        raise RecordError(
            f"The job of kind {kind} is damaged: {fault_in_words(error)}",
            "Start the job again as a new run.",
        ) from None
