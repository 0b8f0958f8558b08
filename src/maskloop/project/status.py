"""How a project stands, at a glance, even when some of its records cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from maskloop.errors import MaskloopError
from maskloop.project.layout import (
    CheckpointRecord,
    ImportedModel,
    Pair,
    PredictionRecord,
    ProjectConfig,
)
from maskloop.project.project import Status

if TYPE_CHECKING:
    from maskloop.project.project import ProjectFolder

__all__ = ["status_of"]

Value = TypeVar("Value")
SHOWN = ("loss", "val_loss", "dice", "iou", "ap50", "ap75")


def status_of(project: ProjectFolder) -> Status:
    """Gather the status; a broken record counts as empty and is named among the warnings."""
    every: Sequence[Pair] = _or(lambda: project.dataset.all_pairs, ())
    pairs = [pair for pair in every if pair.state == "active"]
    checkpoints: Sequence[CheckpointRecord] = _or(project.checkpoints.list, ())
    latest = checkpoints[-1] if checkpoints else None
    config: ProjectConfig | None = _or(lambda: project.config, None)
    warnings = project.warnings
    predictions: Sequence[PredictionRecord] = _or(project.predictions.list, ())
    models: Sequence[ImportedModel] = _or(project.weights.list, ())
    return Status(
        name=config.project_name if config else project.folder.name,
        folder=str(project.folder),
        state="broken"
        if any("Record '" in warning for warning in warnings)
        else "trained"
        if latest
        else "ready"
        if pairs
        else "empty",
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
        prediction_count=len(predictions),
        imported_model_count=len(models),
        notes=config.notes if config else "",
        warnings=warnings,
    )


def _benchmark(record: CheckpointRecord) -> dict[str, float | None]:
    every = {**record.loss_metrics, **record.dice_iou_metrics, **record.metrics}
    return {name: every[name] for name in SHOWN if every.get(name) is not None}


def _or(read: Callable[[], Value], otherwise: Value) -> Value:
    try:
        return read()
    except MaskloopError:
        return otherwise
