"""All runs of a project at a glance."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import Field

from maskloop.compute.run_folder import is_locked
from maskloop.jobs.outcomes import RunState
from maskloop.jobs.summary import RunFacts, keep_summary, read_facts
from maskloop.project.project import ProjectFolder
from maskloop.records import Record

__all__ = ["RunSummary", "list_runs", "run_state", "summary_of"]


class RunSummary(Record):
    """One run: its job, and how it ended."""

    run_id: str
    kind: str = Field(description="train, predict, ...; unknown where its job cannot be read.")
    state: RunState
    began: str = Field(description="UTC, ISO 8601; empty before it began.")
    epochs: int = Field(0, description="Of a training, as far as it was validated.")
    outcome: str = Field(
        description="The checkpoint, how many images were predicted, or the error."
    )


def list_runs(project: ProjectFolder) -> list[RunSummary]:
    """All runs that have a folder, the oldest first."""
    return [summary_of(project, run_id) for run_id in project.history.runs()]


def summary_of(project: ProjectFolder, run_id: str) -> RunSummary:
    """One run at a glance."""
    folder = project.history.run_folder(run_id)
    facts = read_facts(folder)
    state = _state(project, run_id, facts)
    # The process of a run keeps this when it ends; of a killed one, or one of an older version,
    # whoever reads its journal first.
    if state not in ("submitted", "running"):
        keep_summary(folder)
    return RunSummary(
        run_id=run_id,
        kind=facts.kind,
        state=state,
        began=_utc(facts.began),
        epochs=facts.epochs,
        outcome=facts.outcome,
    )


def run_state(project: ProjectFolder, run_id: str) -> RunState:
    """The state of a run; without a last event it is running if a process holds its lock."""
    return _state(project, run_id, read_facts(project.history.run_folder(run_id)))


def _state(project: ProjectFolder, run_id: str, facts: RunFacts) -> RunState:
    # Only a run without a last event needs the lock to tell: asking costs a system call each.
    if facts.state != "interrupted" or facts.has_ended:
        return facts.state
    return "running" if is_locked(project.history.run_folder(run_id)) else "interrupted"


def _utc(began: float | None) -> str:
    if began is None:
        return ""
    text = datetime.fromtimestamp(began, UTC).isoformat(timespec="seconds")
    return text.replace("+00:00", "Z")
