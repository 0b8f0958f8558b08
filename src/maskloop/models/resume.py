"""The exact state of a training on disk, so that a killed run resumes where it was."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from maskloop.errors import MaskloopError, RecordError
from maskloop.models.weights_file import load_plain
from maskloop.records import write_bytes

__all__ = ["TrainingState", "damaged_state", "load_state", "save_state"]


@dataclass
class TrainingState:
    """Where a training is; together with the tensors all that the next step depends on."""

    step: int = 0
    epoch: int = 0
    elapsed_s: float = 0.0
    batch_size: int = 0
    patches: int = 0
    best_score: float | None = None
    best_epoch: int = 0
    best_metrics: dict[str, float] = field(default_factory=dict)


def save_state(path: Path, state: TrainingState, tensors: dict[str, Any]) -> None:
    """Write the state atomically: a kill leaves the one before."""
    # Through memory: torch reports a full disk in words of its own, `write_bytes` in ours.
    content = io.BytesIO()
    # The state as text: `weights_only` reads tensors and plain values, but no classes of ours.
    torch.save({"state": json.dumps(asdict(state)), **tensors}, content)
    write_bytes(path, content.getbuffer())


def load_state(path: Path) -> tuple[TrainingState, dict[str, Any]]:
    """The state and the tensors that `save_state` wrote.

    Raises
    ------
    RecordError
        If the file is damaged.
    """
    try:
        content: Any = load_plain(path)
        state = TypeAdapter(TrainingState).validate_json(content.pop("state"))
    except (MaskloopError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise damaged_state(path) from error
    return state, content


def damaged_state(path: Path) -> RecordError:
    """What a training says whose saved state cannot be used."""
    return RecordError(
        f"The saved state of this training ('{path.name}' of {path.parent.name}) is damaged.",
        "Start the training again: it begins from the start, as a new run.",
    )
