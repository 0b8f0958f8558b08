"""How a project stands, at a glance, even when some of its records cannot be read."""

from __future__ import annotations

from typing import Literal, TypeVar

from pydantic import Field

from maskloop.errors import MaskloopError
from maskloop.project import paths
from maskloop.project.configs import ProjectConfig
from maskloop.project.entries import CheckpointRecord
from maskloop.project.folder import Folder
from maskloop.project.inventory import (
    CHECKPOINTS,
    COLLECTIONS,
    MODELS,
    PAIRS,
    PREDICTIONS,
    Collection,
)
from maskloop.records import Record

__all__ = ["Status", "status_of"]

AnyRecord = TypeVar("AnyRecord", bound=Record)
State = Literal["empty", "ready", "trained", "broken"]
SHOWN = ("loss", "val_loss", "dice", "iou", "ap50", "ap75")


class Status(Record):
    """How a project stands, at a glance."""

    name: str
    folder: str
    state: State = Field(
        description=(
            "empty (no pairs), ready (pairs, no checkpoint), trained, or broken (a record cannot "
            "be read)."
        )
    )
    mode: str
    classes: tuple[str, ...]
    pair_count: int
    new_pair_count: int = Field(
        description="Pairs that no checkpoint was trained on, without those used for validation."
    )
    validation_pair_count: int
    removed_pair_count: int
    group_count: int
    checkpoint_count: int
    latest_checkpoint: str | None
    latest_benchmark: dict[str, float | None]
    prediction_count: int
    imported_model_count: int
    counts: dict[str, int] = Field(
        default_factory=dict, description="Of everything that the project keeps, by its name."
    )
    notes: str
    warnings: tuple[str, ...]


def status_of(folder: Folder, warnings: tuple[str, ...]) -> Status:
    """Gather the status; a broken record counts as empty and is named among the warnings."""
    # From the records and not from the parts: a damaged one must not hide the others.
    every = _entries(folder, PAIRS)
    checkpoints = _entries(folder, CHECKPOINTS)
    config = _read(folder, paths.CONFIG, ProjectConfig)
    counts = {name: len(_entries(folder, row)) for name, row in COLLECTIONS.items()}
    pairs = [pair for pair in every if pair.state == "active"]
    # By the order and not by the time: it was set under the lock, and clocks differ between
    # computers.
    latest = checkpoints[-1] if checkpoints else None
    return Status(
        name=config.project_name if config else folder.folder.name,
        folder=str(folder.folder),
        state=_state(warnings, has_pairs=bool(pairs), is_trained=latest is not None),
        mode=config.task.mode if config else "unknown",
        classes=tuple(config.task.class_names.values()) if config else (),
        pair_count=len(pairs),
        new_pair_count=sum(pair.is_new for pair in pairs),
        validation_pair_count=sum(pair.split == "validation" for pair in pairs),
        removed_pair_count=len(every) - len(pairs),
        group_count=len({pair.group for pair in pairs}),
        checkpoint_count=len(checkpoints),
        latest_checkpoint=latest.checkpoint_id if latest else None,
        latest_benchmark=_benchmark(latest) if latest else {},
        prediction_count=counts[PREDICTIONS.name],
        imported_model_count=counts[MODELS.name],
        counts=counts,
        notes=config.notes if config else "",
        warnings=warnings,
    )


def _state(warnings: tuple[str, ...], *, has_pairs: bool, is_trained: bool) -> State:
    if any("Record '" in warning for warning in warnings):
        return "broken"
    if is_trained:
        return "trained"
    return "ready" if has_pairs else "empty"


def _benchmark(record: CheckpointRecord) -> dict[str, float | None]:
    every = {**record.loss_metrics, **record.dice_iou_metrics, **record.metrics}
    # The record of metrics is open to any program: what is no number there is not shown.
    return {name: every[name] for name in SHOWN if isinstance(every.get(name), int | float)}


def _entries(folder: Folder, row: Collection[AnyRecord]) -> tuple[AnyRecord, ...]:
    record = _read(folder, row.record, row.kind)
    return () if record is None else row.entries_of(record)


def _read(folder: Folder, path: str, kind: type[AnyRecord]) -> AnyRecord | None:
    try:
        return folder.record(path, kind).read()
    except MaskloopError:
        return None
