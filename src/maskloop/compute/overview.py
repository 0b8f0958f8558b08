"""All runs of a project at a glance."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import Field

from maskloop.compute.base import RunState, run_state
from maskloop.events import Failed, Finished, Metric, read_events
from maskloop.jobs.base import read_job
from maskloop.jobs.execute import EVENTS, JOB
from maskloop.project.project import ProjectFolder
from maskloop.records import Record

__all__ = ["RunSummary", "list_runs"]


class RunSummary(Record):
    """One run: what it was to do, and what became of it."""

    run_id: str
    kind: str = Field(description="train, predict, ...; unknown where the job was never written.")
    state: RunState
    began: str = Field(description="UTC, ISO 8601; empty where it never began.")
    epochs: int = Field(0, description="Of a training, as far as it was scored.")
    outcome: str = Field(
        description="The checkpoint, how many images were predicted, or what went wrong."
    )


def list_runs(project: ProjectFolder) -> list[RunSummary]:
    """All runs that have a folder, the oldest first."""
    return [_summary(project, run_id) for run_id in project.history.runs()]


def _summary(project: ProjectFolder, run_id: str) -> RunSummary:
    folder = project.history.run_folder(run_id)
    events, _ = read_events(folder / EVENTS)
    kind: str
    try:
        kind = read_job((folder / JOB).read_bytes()).kind
    except (OSError, ValueError):  # killed between the counter and the job
        kind = "unknown"
    return RunSummary(
        run_id=run_id,
        kind=kind,
        state=run_state(project, run_id),
        began=datetime.fromtimestamp(events[0].time, UTC)
        .isoformat(timespec="seconds")
        .replace("+00:00", "Z")
        if events
        else "",
        epochs=max((event.epoch for event in events if isinstance(event, Metric)), default=0),
        outcome=_outcome(events[-1]) if events else "",
    )


def _outcome(last: object) -> str:
    if isinstance(last, Failed):
        return last.problem
    if not isinstance(last, Finished):
        return ""
    if "written" in last.result:
        return (
            f"{len(last.result['written'])} predicted, {len(last.result.get('failed', ()))} failed"
        )
    return " ".join(
        str(last.result[name]) for name in ("checkpoint_id", "summary") if last.result.get(name)
    )
