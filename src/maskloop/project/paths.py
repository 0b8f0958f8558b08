"""Where everything lies in a Training Project Folder."""

from __future__ import annotations

from pathlib import Path

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


def is_project(folder: Path) -> bool:
    """Whether a folder holds a project, be it a broken one or one of napari-training-assistant."""
    return any((folder / path).is_file() for path in (CONFIG, MANIFEST, CHECKPOINTS, TASKS))
