"""How a run ended, in a few facts kept beside its journal, so that it need not be read again.

A journal of an hour has some ten thousand lines; a project may have a hundred of them, and each
refresh of the window asks for all.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import Field

from maskloop.errors import MaskloopError, ProjectError
from maskloop.events import Event, Failed, Finished, Metric, read_events
from maskloop.jobs.base import JOB, read_job
from maskloop.jobs.outcomes import RunState, short_outcome, state_after
from maskloop.records import Record, read_ordinary, write_bytes

__all__ = ["EVENTS", "SUMMARY", "RunFacts", "keep_summary", "read_facts"]

EVENTS = "events.jsonl"
SUMMARY = "summary.json"


class RunFacts(Record):
    """What the journal of a run says so far."""

    kind: str = Field("unknown", description="Of its job; unknown where that cannot be read.")
    state: RunState = Field(
        "submitted", description="As of its last event; interrupted without a last one."
    )
    has_ended: bool = Field(False, description="Whether its last event is Finished or Failed.")
    began: float | None = Field(None, ge=0, le=1e11, description="Seconds since 1970.")
    epochs: int = Field(0, description="Epochs with metrics, of a training.")
    outcome: str = ""
    journal_bytes: int = Field(0, description="Size of the journal that says so.")


@dataclass(frozen=True)
class _Read:
    """How far this process has read a journal, and what it says up to there."""

    identity: tuple[int, int]
    """Device and inode: a project that replaced another one has other journals."""
    stamp: int
    """When it was last written."""
    position: int
    facts: RunFacts
    is_kept: bool
    """Whether the summary on disk says the same."""


_known: dict[Path, _Read] = {}
"""By folder of the run. A journal only grows, so only its new lines are read."""


def read_facts(folder: Path) -> RunFacts:
    """The facts about the run in this folder; reads only what is new in its journal."""
    journal = folder / EVENTS
    try:
        found = journal.stat()
    except OSError:
        # Submitted, or killed before its job was written.
        return RunFacts(kind=_kind(folder))
    identity = (found.st_dev, found.st_ino)
    known = _known.get(folder)
    if known is None or known.identity != identity or known.facts.journal_bytes > found.st_size:
        known = _start(folder, found, identity)
    if (known.facts.journal_bytes, known.stamp) != (found.st_size, found.st_mtime_ns):
        events, position = read_events(journal, known.position, end=found.st_size)
        facts = _told(known.facts, events).model_copy(update={"journal_bytes": found.st_size})
        known = _Read(identity, found.st_mtime_ns, position, facts, is_kept=False)
    _known[folder] = known
    return known.facts


def _start(folder: Path, found: os.stat_result, identity: tuple[int, int]) -> _Read:
    """From the kept summary where it is of this very journal, else from the beginning."""
    with contextlib.suppress(OSError, ValueError):
        # The size decides: a journal that grew since then says more than the summary.
        facts = RunFacts.model_validate_json(read_ordinary(folder / SUMMARY))
        if facts.journal_bytes == found.st_size:
            return _Read(identity, found.st_mtime_ns, found.st_size, facts, is_kept=True)
    return _Read(identity, 0, 0, RunFacts(kind=_kind(folder)), is_kept=False)


def _kind(folder: Path) -> str:
    try:
        return read_job(read_ordinary(folder / JOB)).kind
    except (OSError, MaskloopError):
        # Killed before its job was written, or a job of a plug-in that is not installed.
        return "unknown"


def _told(facts: RunFacts, events: Iterable[Event]) -> RunFacts:
    """The facts with what these events add."""
    last: Event | None = None
    began, epochs = facts.began, facts.epochs
    for last in events:
        began = last.time if began is None else began
        if isinstance(last, Metric):
            # The last metric may be that of the best epoch, scored once more at the end.
            epochs = max(epochs, last.epoch)
    # Only a torn line was added, which counts when it is whole.
    if last is None:
        return facts
    return facts.model_copy(
        update={
            "state": state_after(last),
            "has_ended": isinstance(last, Finished | Failed),
            "began": began,
            "epochs": epochs,
            "outcome": short_outcome(last),
        }
    )


def keep_summary(folder: Path) -> None:
    """Write the facts beside the journal, for whoever opens the project next.

    Only for speed: a folder that may not be written keeps its journal, which is read instead.
    """
    facts = read_facts(folder)
    known = _known.get(folder)
    if known is None or known.is_kept:
        return
    with contextlib.suppress(ProjectError):
        write_bytes(folder / SUMMARY, facts.model_dump_json(indent=1).encode())
    # One attempt only: a read-only folder is still read-only at the next refresh.
    _known[folder] = replace(known, is_kept=True)
