"""The state of a project, read at once in a thread, so that the window never reads a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from filelock import FileLock, Timeout

from maskloop.compute.overview import RunSummary, list_runs
from maskloop.compute.project import Project
from maskloop.errors import MaskloopError
from maskloop.models.base import DEFAULT_BACKEND
from maskloop.project import layout
from maskloop.project.layout import (
    CheckpointRecord,
    ImportedModel,
    Pair,
    PredictionRecord,
    ProjectConfig,
    StartingWeights,
)
from maskloop.project.status import Status
from maskloop.records import parse_json, read_ordinary
from maskloop.task import Task

__all__ = ["Condition", "Snapshot", "take_snapshot"]

Condition = Literal["none", "valid", "incomplete", "missing", "read-only", "locked"]
Value = TypeVar("Value")
NO_PROJECT = "No project is open: select or create one at the top."


@dataclass(frozen=True)
class Snapshot:
    """All that the window shows of a project at one moment."""

    condition: Condition = "none"
    words: str = "No project"
    """The condition in a few words."""
    way_out: str = NO_PROJECT
    """What to do about it; empty if nothing is to be done."""
    status: Status | None = None
    pairs: tuple[Pair, ...] = ()
    """Including removed ones."""
    checkpoints: tuple[CheckpointRecord, ...] = ()
    predictions: tuple[PredictionRecord, ...] = ()
    models: tuple[ImportedModel, ...] = ()
    runs: tuple[RunSummary, ...] = ()
    config: ProjectConfig | None = None
    task: Task | None = None
    architecture: dict[str, Any] = field(default_factory=dict)
    """What a person chose about the model, and its backend."""
    start: StartingWeights = field(default_factory=StartingWeights)

    @property
    def backend(self) -> str:
        """The family of models that the project trains."""
        return str(self.architecture.get("backend", DEFAULT_BACKEND))

    @property
    def choices(self) -> dict[str, Any]:
        """What a person chose about the model."""
        return {name: value for name, value in self.architecture.items() if name != "backend"}

    @property
    def active_pairs(self) -> list[Pair]:
        """The pairs used for training and validation."""
        return [pair for pair in self.pairs if pair.state == "active"]

    @property
    def why_not_read(self) -> str | None:
        """Why the project cannot be used at all, or None."""
        return self.way_out if self.condition in ("none", "missing") else None

    @property
    def why_not_write(self) -> str | None:
        """Why nothing can be changed, or None. A lock is waited for, so it is no reason."""
        if self.condition in ("missing", "read-only"):
            return f"{self.words}. {self.way_out}"
        return self.why_not_read


def take_snapshot(project: Project) -> Snapshot:
    """Read all that the window shows; a broken record is left out and named in `words`."""
    condition, words, way_out = _condition(project)
    # Nothing in it can be read; the last good snapshot would be a lie.
    if condition == "missing":
        return Snapshot(condition, words, way_out)
    pairs: Sequence[Pair] = _or(lambda: project.dataset.all_pairs, ())
    return Snapshot(
        condition,
        words,
        way_out,
        status=_or(project.status, None),
        pairs=tuple(pairs),
        checkpoints=tuple(_or(project.checkpoints.list, ())),
        predictions=tuple(_or(project.predictions.list, ())),
        models=tuple(_or(project.weights.list, ())),
        runs=tuple(_or(lambda: list_runs(project), ())),
        config=_or(lambda: project.config, None),
        task=_or(lambda: project.task, None),
        architecture=_or(lambda: project.architecture, {}),
        start=_or(lambda: project.weights.start, StartingWeights()),
    )


def _condition(project: Project) -> tuple[Condition, str, str]:
    """The worst that is true of the folder, in words, and what to do about it."""
    folder = project.folder
    if not folder.is_dir():
        way_out = f"'{folder}' was moved or deleted. Move it back, or open another project."
        return "missing", "Folder not found", way_out
    if not layout.is_project(folder):
        way_out = f"Restore the files of '{folder}', or open another project."
        return "missing", "Not a maskloop project", way_out
    # A damaged record matters more than a lock or a missing permission.
    warnings = project.warnings
    if warnings:
        problem, _, way_out = warnings[0].partition("\n  -> ")
        more = f" (and {len(warnings) - 1} more)" if len(warnings) > 1 else ""
        return "incomplete", problem + more, way_out or "See Advanced > Check and repair."
    if not os.access(folder, os.W_OK):
        way_out = "You cannot write to this folder. Ask for permission, or copy the project."
        return "read-only", "Read-only", way_out
    holder = _holder(folder)
    if holder is not None:
        way_out = "Wait until it is done. You can still view and predict into another folder."
        return "locked", holder, way_out
    return "valid", "OK", ""


def _holder(folder: Path) -> str | None:
    """Who has been writing for a while, or None; a note left by a killed writer does not count."""
    note = folder / layout.HOLDER
    if not note.exists():
        return None
    # The note may be left from a killed process; only the lock itself is the truth.
    lock = FileLock(folder / layout.LOCK)
    try:
        # Ordinary writers are done within this time.
        lock.acquire(timeout=0.5, poll_interval=0.05)
    except (Timeout, OSError):
        return _name(note)
    lock.release()
    return None


def _name(note: Path) -> str:
    try:
        who = parse_json(read_ordinary(note))
        return f"Locked by process {who['pid']} of {who['user']} on {who['host']} ({who['verb']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "Locked by another program"


def _or(read: Callable[[], Value], otherwise: Value) -> Value:
    try:
        return read()
    except (MaskloopError, OSError):
        return otherwise
