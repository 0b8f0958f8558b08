"""The rows of the checkpoint table, each below the checkpoint it was trained from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maskloop.models.base import outline_of
from maskloop.project.ancestry import by_descent
from maskloop.project.layout import CheckpointRecord, ImportedModel
from maskloop.wording import local_time

__all__ = ["CheckpointRow", "rows_of"]

MODES = {
    "scratch": "from scratch",
    "continue_from_latest": "continued from the latest",
    "continue_from_selected": "continued",
    "imported": "from imported weights",
}


@dataclass(frozen=True)
class CheckpointRow:
    """One line of the table of checkpoints."""

    checkpoint_id: str
    label: str
    """The id, indented by one step for each ancestor."""
    parent: str
    """The checkpoint or the imported weights it came from, or scratch."""
    when: str
    """Local time, to the minute."""
    mode: str
    images: int
    scores: str
    dice: float | None
    iou: float | None
    ap50: float | None
    note: str
    network: str
    warning: str
    """What is wrong with it, such as that its weights are missing; else empty."""
    record: CheckpointRecord

    @property
    def tooltip(self) -> str:
        """All of it, line by line."""
        lines = [
            self.checkpoint_id,
            self.scores,
            f"{self.images} images, {self.mode} ({self.parent})",
            self.network,
            self.when,
        ]
        return "\n".join(line for line in [*lines, self.note, self.warning] if line)


def rows_of(
    records: Sequence[CheckpointRecord],
    models: Sequence[ImportedModel],
    missing: Collection[str] = (),
) -> list[CheckpointRow]:
    """All checkpoints, each below what it was trained from, the oldest first.

    Parameters
    ----------
    records
        The checkpoints, the oldest first.
    models
        Imported weights, for their names.
    missing
        Ids of those whose weights are not in the folder.
    """
    # Imported weights are known by an id with a hash; a person knows their file name.
    names = {model.model_id: model.model_name for model in models}
    return [
        _row(one, depth, names, one.checkpoint_id in missing) for one, depth in by_descent(records)
    ]


def _row(
    one: CheckpointRecord, depth: int, names: Mapping[str, str], is_missing: bool
) -> CheckpointRow:
    imported = one.starting_weights.get("imported_model_id")
    # Older records keep Dice and IoU apart from the other metrics.
    figures: dict[str, Any] = {
        **one.metrics,
        **{name: value for name, value in one.dice_iou_metrics.items() if value is not None},
    }
    warning = "Its weights are missing." if is_missing else ""
    # They do not say how images were normalized, so a prediction would be a guess.
    if one.format != "maskloop":
        bare = "Bare weights of another program: continue training from them to predict."
        warning = f"{warning} {bare}".strip()
    return CheckpointRow(
        checkpoint_id=one.checkpoint_id,
        label="\N{NO-BREAK SPACE}" * 3 * (depth - 1)
        + "\N{BOX DRAWINGS LIGHT UP AND RIGHT} " * (depth > 0)
        + one.checkpoint_id,
        parent=one.parent_checkpoint_id
        or (f"imported {names.get(str(imported), imported)}" if imported else "scratch"),
        when=local_time(one.timestamp),
        mode=MODES.get(one.training_mode, one.training_mode.replace("_", " ")),
        images=one.number_of_images,
        scores=one.benchmark_summary,
        dice=_figure(figures, "dice"),
        iou=_figure(figures, "iou"),
        ap50=_figure(figures, "ap50"),
        note=one.note,
        network=outline_of(one.backend, one.network).title,
        warning=warning,
        record=one,
    )


def _figure(figures: Mapping[str, Any], name: str) -> float | None:
    value = figures.get(name)
    # `value == value` is false for NaN: a score that could not be computed is no score.
    return float(value) if isinstance(value, int | float) and value == value else None
