"""Where everything lies in a Training Project Folder."""

from __future__ import annotations

from pathlib import Path

from maskloop.errors import ProjectError

CONFIG = "project_config.json"
ARCHITECTURE = "architecture/architecture_config.json"
SAM3 = "sam3/sam3_config.json"
MANIFEST = "dataset/manifest.json"
IMAGES = "dataset/images"
MASKS = "dataset/masks"
IMPORTED = "models/imported"
REGISTRY = "models/model_registry.json"
STARTING_WEIGHTS = "models/starting_weights_config.json"
CHECKPOINTS = "checkpoints/checkpoints.json"
LATEST = "checkpoints/latest.pt"
PREDICTIONS = "predictions/predictions.json"
MEASUREMENTS = "measurements/measurements.json"
TRAINING_RUNS = "history/training_runs.json"
BENCHMARKS = "history/benchmark_history.csv"
RUNS = "history/runs"
LOG = "logs/training.log"
LOCK = ".maskloop.lock"
HOLDER = ".maskloop.lock.json"
TASKS = "tasks/tasks.json"


def require_inside(folder: Path, path: Path) -> Path:
    """A path of a project, once it is sure that no link on the way leads out of the folder.

    A project may come from a stranger: whatever is read from it, written to it or erased in it must
    be its own.

    Raises
    ------
    ProjectError
        If it leads out of the folder.
    """
    # The folder may be reached through a link itself; what counts is where both really are.
    real = path.resolve()
    if not real.is_relative_to(folder.resolve()):
        raise ProjectError(
            f"'{path}' leads out of the project, to '{real}'.",
            "Replace the link by a copy of what it points to.",
        )
    return path


def is_project(folder: Path) -> bool:
    """Whether a folder holds a project, be it a broken one or one of napari-training-assistant."""
    return any((folder / path).is_file() for path in (CONFIG, MANIFEST, CHECKPOINTS, TASKS))
