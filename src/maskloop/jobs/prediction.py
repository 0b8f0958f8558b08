"""A prediction as a job: files in, labels with provenance out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from maskloop.errors import MaskloopError, NotFound
from maskloop.events import Message, Report
from maskloop.images.sources import find_images
from maskloop.jobs.base import PredictJob
from maskloop.project.layout import CheckpointRecord
from maskloop.project.project import ProjectFolder

__all__ = ["choose_checkpoint", "run_prediction"]


def choose_checkpoint(project: ProjectFolder, name: str) -> CheckpointRecord:
    """The checkpoint with this id, or the latest.

    Raises
    ------
    NotFound
        If there is none.
    """
    if name != "latest":
        return project.checkpoints.get(name)
    if project.checkpoints.latest is None:
        raise NotFound(f"Project '{project.folder.name}' has no checkpoint yet.", "Train one first: maskloop train.")
    return project.checkpoints.latest
