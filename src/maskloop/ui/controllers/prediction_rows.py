"""The rows of the table of predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maskloop.compute.predicted import SCORES_RUN
from maskloop.project.layout import PredictionRecord
from maskloop.wording import local_time

__all__ = ["PredictionRow", "rows_of"]


@dataclass(frozen=True)
class PredictionRow:
    """One line of the table of predictions."""

    prediction_id: str
    image: str
    checkpoint: str
    when: str
    """Local time, to the minute."""
    tooltip: str
    record: PredictionRecord
    scores: PredictionRecord | None = None


def rows_of(
    records: Sequence[PredictionRecord], known: Mapping[str, PredictionRow]
) -> list[PredictionRow]:
    """The table, newest first; unchanged rows stay the same objects.

    Probability maps are records of their own and belong to the row of their labels.
    """
    # By run and image: a run of many images keeps maps of each.
    scores = {
        (str(one.settings.get("run_id", "")).removesuffix(SCORES_RUN), one.input_path): one
        for one in records
        if _is_scores(one)
    }
    found = []
    # The record has the oldest first.
    for one in reversed(records):
        if _is_scores(one):
            continue
        mine = scores.get((str(one.settings.get("run_id", "")), one.input_path))
        before = known.get(one.prediction_id)
        # By identity: records that were not read again are the same objects, thousands of them.
        same = before is not None and before.record is one and before.scores is mine
        found.append(before if before is not None and same else _row(one, mine))
    return found


def _is_scores(record: PredictionRecord) -> bool:
    return str(record.settings.get("run_id", "")).endswith(SCORES_RUN)


def _row(record: PredictionRecord, scores: PredictionRecord | None) -> PredictionRow:
    when = local_time(record.created_at)
    image = Path(record.input_path).name or "unknown"
    settings = record.settings
    lines = [
        record.prediction_id,
        f"Image: {record.input_path or 'unknown'}",
        f"Checkpoint: {record.checkpoint_id or 'unknown'}",
    ]
    lines.append(f"Predicted: {when}")
    if settings.get("axes"):
        lines.append(f"Axes: {settings['axes']}")
    if settings.get("mirror"):
        lines.append("Test-time augmentation")
    # Other modes have no threshold, and predictions of older versions no output.
    if (settings.get("output") or {}).get("mode") == "binary":
        lines.append(f"Foreground threshold: {settings['output'].get('threshold'):g}")
    if scores is not None:
        lines.append(f"Probability maps: {scores.path}")
    return PredictionRow(
        record.prediction_id,
        image,
        record.checkpoint_id or "",
        when,
        "\n".join(lines),
        record,
        scores,
    )
