"""How a project stands, read in one go away from the window, so that the window never reads a file."""

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
from maskloop.task import Task

__all__ = ["Condition", "Snapshot", "look", "take_snapshot"]

Condition = Literal["none", "valid", "incomplete", "missing", "read-only", "locked"]
Value = TypeVar("Value")
NO_PROJECT = "No project is open: choose or create one at the top."


@dataclass(frozen=True)
class Snapshot:
    """All that the window shows of a project, as it was at one moment."""

    condition: Condition = "none"
    words: str = "No project"
    """The condition in a few words."""
    way_out: str = NO_PROJECT
    """What to do about it; empty where nothing is to be done."""
    status: Status | None = None
    pairs: tuple[Pair, ...] = ()
    """Removed ones too."""
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
        """The pairs that are trained on."""
        return [pair for pair in self.pairs if pair.state == "active"]

    @property
    def why_not_read(self) -> str | None:
        """Why nothing of the project can be used, or None."""
        return self.way_out if self.condition in ("none", "missing") else None

    @property
    def why_not_write(self) -> str | None:
        """Why nothing can be changed, or None. A lock is waited for, so it is no reason."""
        return (
            f"{self.words}. {self.way_out}"
            if self.condition in ("missing", "read-only")
            else self.why_not_read
        )


def look(folder: Path) -> tuple[Any, ...]:
    """What changes when a project changes, cheap enough to be asked every second."""
    if not folder.is_dir():
        return ("missing",)
    seen = [_stamp(folder / path) for path in (*layout.records(), layout.HOLDER)]
    runs = folder / layout.RUNS
    return (*seen, _stamp(runs), os.access(folder, os.W_OK))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def take_snapshot(project: Project) -> Snapshot:
    """Read all that the window shows; what is broken is left out and named in `words` and `way_out`."""
    condition, words, way_out = _condition(project)
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
    folder = project.folder
    if not folder.is_dir():
        return (
            "missing",
            "The folder is gone",
            f"'{folder}' was moved or erased: put it back, or open another project.",
        )
    if not layout.is_project(folder):
        return (
            "missing",
            "No project in this folder",
            f"'{folder}' no longer holds a project: put its files back, or open another one.",
        )
    warnings = project.warnings
    if warnings:
        problem, _, way_out = warnings[0].partition("\n  -> ")
        more = f" (and {len(warnings) - 1} more)" if len(warnings) > 1 else ""
        return "incomplete", problem + more, way_out or "See Advanced > Check and repair."
    if not os.access(folder, os.W_OK):
        return (
            "read-only",
            "Read only",
            "You may not write into this folder: ask for the permission, or copy the project.",
        )
    holder = _holder(folder)
    if holder is not None:
        return (
            "locked",
            holder,
            "Wait until it is done. Looking and predicting into another folder go on.",
        )
    return "valid", "Valid", ""


def _holder(folder: Path) -> str | None:
    """Who has been writing for a while, or None; a note left by a killed writer does not count."""
    note = folder / layout.HOLDER
    if not note.exists():
        return None
    lock = FileLock(folder / layout.LOCK)
    try:
        # Ordinary writers are done within this time.
        lock.acquire(timeout=0.5, poll_interval=0.05)
    except (Timeout, OSError):
        return _name(note)
    lock.release()
    return None


def _name(note: Path) -> str:
    import json

    try:
        who = json.loads(note.read_text(encoding="utf-8"))
        return f"Locked by process {who['pid']} of {who['user']} on {who['host']} ({who['verb']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "Locked by another program"


def _or(read: Callable[[], Value], otherwise: Value) -> Value:
    try:
        return read()
    except (MaskloopError, OSError):
        return otherwise
