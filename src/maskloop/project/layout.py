"""What lies where in a Training Project Folder: every record by its path."""

from __future__ import annotations

from maskloop.project.configs import (
    ArchitectureConfig,
    ProjectConfig,
    Sam3Config,
    StartingWeights,
)
from maskloop.project.entries import (
    CheckpointRecord,
    Checkpoints,
    ImportedModel,
    Manifest,
    ModelRegistry,
    Pair,
    PairVersion,
    PredictionRecord,
    Predictions,
    TrainingRun,
    TrainingRuns,
)
from maskloop.project.fields import BEFORE, VERSION, now
from maskloop.project.paths import (
    ARCHITECTURE,
    BENCHMARKS,
    CHECKPOINTS,
    CONFIG,
    FOLDERS,
    HOLDER,
    IMAGES,
    IMPORTED,
    LATEST,
    LOCK,
    LOG,
    MANIFEST,
    MASKS,
    OWNED_FOLDERS,
    PREDICTIONS,
    REGISTRY,
    RUNS,
    SAM3,
    STARTING_WEIGHTS,
    TASKS,
    TRAINING_RUNS,
    is_project,
)
from maskloop.records import Record

__all__ = [
    "ARCHITECTURE",
    "BEFORE",
    "BENCHMARKS",
    "CHECKPOINTS",
    "CONFIG",
    "FOLDERS",
    "HOLDER",
    "IMAGES",
    "IMPORTED",
    "LATEST",
    "LOCK",
    "LOG",
    "MANIFEST",
    "MASKS",
    "OWNED_FOLDERS",
    "PREDICTIONS",
    "RECORDS",
    "REGISTRY",
    "RUNS",
    "SAM3",
    "STARTING_WEIGHTS",
    "TASKS",
    "TRAINING_RUNS",
    "VERSION",
    "ArchitectureConfig",
    "CheckpointRecord",
    "Checkpoints",
    "ImportedModel",
    "Manifest",
    "ModelRegistry",
    "Pair",
    "PairVersion",
    "PredictionRecord",
    "Predictions",
    "ProjectConfig",
    "Sam3Config",
    "StartingWeights",
    "TrainingRun",
    "TrainingRuns",
    "empty_record",
    "is_project",
    "now",
]

RECORDS: dict[str, type[Record]] = {
    CONFIG: ProjectConfig,
    ARCHITECTURE: ArchitectureConfig,
    SAM3: Sam3Config,
    MANIFEST: Manifest,
    REGISTRY: ModelRegistry,
    STARTING_WEIGHTS: StartingWeights,
    CHECKPOINTS: Checkpoints,
    PREDICTIONS: Predictions,
    TRAINING_RUNS: TrainingRuns,
}
"""Every record of a project by its path."""


def empty_record(path: str) -> Record:
    """The record that a new project has at this path.

    The settings and the architecture need more than that.
    """
    kind = RECORDS[path]
    stamped = {
        name: now()
        for name in ("created_at", "updated_at", "last_opened_at")
        if name in kind.model_fields
    }
    return kind.model_validate(stamped)
