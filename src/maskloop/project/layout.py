"""Where everything lies in a Training Project Folder, and the records found there."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field

from maskloop.images.fingerprint import PairFingerprint
from maskloop.records import Record
from maskloop.task import Task

__all__ = [
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
    "now",
]

VERSION = 3
"""Version of the records. Those of napari-training-assistant say 1 or nothing; `upgrade` turns
them into these.
"""
BEFORE = 2
"""Its records are read as they are, but for the settings and the architecture: see `version2`."""

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
TRAINING_RUNS = "history/training_runs.json"
BENCHMARKS = "history/benchmark_history.csv"
RUNS = "history/runs"
LOG = "logs/training.log"
LOCK = ".maskloop.lock"
HOLDER = ".maskloop.lock.json"
TASKS = "tasks/tasks.json"

FOLDERS = (
    "architecture",
    "sam3",
    IMAGES,
    MASKS,
    IMPORTED,
    "checkpoints",
    "predictions",
    RUNS,
    "logs",
    "cache",
)
OWNED_FOLDERS = (IMAGES, MASKS, IMPORTED, "checkpoints", "predictions")
"""Folders in which every file belongs to a record; anything else there is an orphan."""


def now() -> str:
    """The present moment in UTC, as ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _check_inside(path: str) -> str:
    # Purely by its letters: a record may come from another system, and must not reach outside the
    # folder on any.
    if (
        not path
        or "\\" in path
        or "\0" in path
        or ":" in path
        or path[0] == "/"
        or ".." in path.split("/")
    ):
        raise ValueError(
            f"the path {path!r} leaves the project folder (paths are relative, with '/', without '..' and ':')"
        )
    return path


def _check_strictly(version: int) -> int:
    if version == BEFORE:
        raise ValueError(f"version {version} must be upgraded to {VERSION} first")
    return _check_version(version)


def _check_version(version: int) -> int:
    if version == BEFORE:
        return VERSION
    if version != VERSION:
        newer = (
            "; it was written by a newer maskloop, so update maskloop" if version > VERSION else ""
        )
        raise ValueError(f"version {version} is not {VERSION}{newer}")
    return version


_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


def _check_name(name: str) -> str:
    # Ids become parts of file names.
    if not name or _NAME.search(name) or name.startswith("."):
        raise ValueError(
            f"the id {name!r} holds other characters than letters, digits, '_', '-' and '.'"
        )
    return name


InsidePath = Annotated[str, AfterValidator(_check_inside)]
Identifier = Annotated[str, AfterValidator(_check_name)]
Version = Annotated[int, AfterValidator(_check_version)]
NewVersion = Annotated[int, AfterValidator(_check_strictly)]
"""Of records that version 3 gave another shape."""
Sha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]


class ProjectConfig(Record):
    """Settings and notes of a project."""

    version: NewVersion = VERSION
    project_name: str
    created_at: str
    last_opened_at: str = Field(
        description="When it was last opened and written to; opening to read changes nothing."
    )
    plugin_version: str = ""
    task: Task = Field(default_factory=Task, description="What is to be found.")
    default_training_mode: str = "continue_from_latest"
    default_dataset_source: str = "all_accepted_pairs"
    patch_size: int | None = Field(None, description="None: planned from the data.")
    batch_size: int | None = None
    epochs: int | None = None
    learning_rate: float | None = None
    validation_split: float = Field(
        0.2, ge=0, le=0.9, description="Share of the pairs kept for validation, by group."
    )
    normalization_mode: str = "percentile"
    augmentation_settings: dict[str, Any] = Field(default_factory=dict)
    training_choices: dict[str, Any] = Field(
        default_factory=dict,
        description="What a person chose in the window for the next training: fields of a recipe.",
    )
    default_architecture_config_path: InsidePath = ARCHITECTURE
    default_starting_weights_config_path: InsidePath = STARTING_WEIGHTS
    default_sam3_config_path: InsidePath = SAM3
    default_model_backend: str = "basic_unet"
    default_starting_model_mode: str = "latest_project_checkpoint"
    mask_preparation: dict[str, Any] = Field(default_factory=dict)
    latest_checkpoint_id: str | None = None
    latest_checkpoint_path: InsidePath | None = None
    latest_dataset_manifest_path: InsidePath = MANIFEST
    last_selected_image_layer: str | None = None
    last_selected_mask_layer: str | None = None
    notes: str = ""
    auto_configuration_decisions: tuple[dict[str, Any], ...] = ()
    metadata: dict[str, Any] = Field(
        default_factory=dict, description="Settings of another program, kept as they were found."
    )


class ArchitectureConfig(Record):
    """What a person chose about the model; whatever is missing is planned from the data.

    The other keys are the backend's own: `maskloop.models` knows what they mean.
    """

    model_config = ConfigDict(extra="allow")
    version: NewVersion = VERSION
    backend: str = Field("basic_unet", description="Family of models.")


class Sam3Config(Record):
    """Settings of SAM3; `maskloop.annotate` knows what its keys mean."""

    model_config = ConfigDict(extra="allow")
    version: Version = VERSION


class StartingWeights(Record):
    """Where the next training begins."""

    version: Version = VERSION
    mode: Literal[
        "scratch",
        "latest_project_checkpoint",
        "selected_project_checkpoint",
        "imported_pretrained_unet",
    ] = "latest_project_checkpoint"
    checkpoint_id: str | None = None
    imported_model_id: str | None = None
    imported_model_path: InsidePath | None = None
    compatibility_status: str = ""
    compatibility_message: str = ""


class PairVersion(Record):
    """Files of a pair that were replaced; they stay in the folder."""

    replaced_at: str
    image_path: InsidePath
    mask_path: InsidePath
    image_sha256: Sha256
    mask_sha256: Sha256
    pixels_sha256: Sha256 = ""
    mask_preparation: dict[str, Any] = Field(default_factory=dict)
    fingerprint: PairFingerprint | None = None
    used_in_checkpoints: tuple[str, ...] = ()
    source: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)


class Pair(Record):
    """An accepted image with its mask, and how the mask was prepared."""

    pair_id: Identifier
    name: str = ""
    image_path: InsidePath
    mask_path: InsidePath
    image_layer_name: str = ""
    mask_layer_name: str = ""
    axes: str = ""
    shape: tuple[int, ...]
    mask_axes: str = ""
    mask_shape: tuple[int, ...]
    created_at: str
    source: str = "manual_label"
    state: Literal["active", "removed", "missing"] = "active"
    group: str = Field(
        "", description="Pairs of one group are never parted between training and validation."
    )
    split: Literal["training", "validation"] | None = None
    used_in_checkpoints: tuple[str, ...] = ()
    mask_preparation: dict[str, Any] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)
    image_sha256: Sha256 = Field("", description="Of the file.")
    mask_sha256: Sha256 = Field("", description="Of the file.")
    pixels_sha256: Sha256 = Field(
        "", description="Of the type, shape, axes and bytes of the image."
    )
    perceptual_hash: str = Field("", pattern=r"^([0-9a-f]{2})*$")
    fingerprint: PairFingerprint | None = None
    history: tuple[PairVersion, ...] = ()

    @property
    def is_new(self) -> bool:
        """Whether no checkpoint was trained on it yet; one that is kept for validation never is."""
        return not self.used_in_checkpoints and self.split != "validation"


class Manifest(Record):
    """All pairs ever accepted, removed ones included."""

    version: Version = VERSION
    created_at: str
    updated_at: str
    next_pair: int = Field(1, ge=1, description="Number of the next pair; never goes back.")
    pairs: tuple[Pair, ...] = ()


class CheckpointRecord(Record):
    """A finished training: its weights, what they were trained on, and how good they are."""

    checkpoint_id: Identifier
    parent_checkpoint_id: str | None = None
    training_mode: str = ""
    dataset_pair_ids_used: tuple[str, ...] = ()
    number_of_images: int = 0
    number_of_patches: int = 0
    train_validation_split: dict[str, Any] = Field(default_factory=dict)
    loss_metrics: dict[str, float | None] = Field(default_factory=dict)
    dice_iou_metrics: dict[str, float | None] = Field(default_factory=dict)
    timestamp: str
    checkpoint_path: InsidePath
    benchmark_summary: str = ""
    architecture: dict[str, Any] = Field(default_factory=dict)
    starting_weights: dict[str, Any] = Field(default_factory=dict)
    architecture_summary: dict[str, Any] = Field(default_factory=dict)
    run_id: str = ""
    sha256: Sha256 = ""
    format: Literal["maskloop", "state_dict"] = "maskloop"
    architecture_verified: bool = Field(
        True,
        description="False where the record comes from another program and may not say what was built.",
    )
    metrics: dict[str, Any] = Field(default_factory=dict)
    plan: dict[str, Any] = Field(default_factory=dict)
    classes: dict[str, str] = Field(default_factory=dict)
    dataset_pixel_hashes: dict[str, str] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    seed: int | None = None
    note: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)


class Checkpoints(Record):
    """All checkpoints, the oldest first."""

    version: Version = VERSION
    next_checkpoint: int = Field(1, ge=1)
    checkpoints: tuple[CheckpointRecord, ...] = ()


class TrainingRun(Record):
    """One line of the history of trainings; the checkpoint's record holds the rest."""

    run_id: str = ""
    checkpoint_id: Identifier
    parent_checkpoint_id: str | None = None
    training_mode: str = ""
    timestamp: str
    number_of_images: int = 0
    number_of_patches: int = 0
    loss_metrics: dict[str, float | None] = Field(default_factory=dict)
    dice_iou_metrics: dict[str, float | None] = Field(default_factory=dict)
    benchmark_summary: str = ""


class TrainingRuns(Record):
    """The history of trainings, and the counter of runs of every kind."""

    version: Version = VERSION
    next_run: int = Field(1, ge=1)
    runs: tuple[TrainingRun, ...] = ()


class ImportedModel(Record):
    """Weights that were brought in from elsewhere."""

    model_id: Identifier
    model_name: str
    source_filename: str
    model_path: InsidePath
    architecture: dict[str, Any] = Field(default_factory=dict)
    imported_at: str
    format: str
    sha256: Sha256 = ""
    metadata: dict[str, Any] = Field(default_factory=dict)


class ModelRegistry(Record):
    """All imported weights."""

    version: Version = VERSION
    created_at: str
    updated_at: str
    next_model: int = Field(1, ge=1)
    models: tuple[ImportedModel, ...] = ()


class PredictionRecord(Record):
    """A predicted image and where it came from."""

    prediction_id: Identifier
    path: InsidePath
    sha256: Sha256
    checkpoint_id: str | None = None
    checkpoint_sha256: Sha256 = ""
    input_path: str = Field(
        "",
        description="Of the image that was predicted, as the person gave it; it may lie anywhere.",
    )
    input_sha256: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)
    created_at: str


class Predictions(Record):
    """All predictions kept in the project."""

    version: Version = VERSION
    next_prediction: int = Field(1, ge=1)
    predictions: tuple[PredictionRecord, ...] = ()


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
"""Every record of a project by its path. `project_config.json` is written last, so that half a
project is never taken for one.
"""


def empty_record(path: str) -> Record:
    """The record that a new project has at this path (the settings and the architecture need more than that)."""
    kind = RECORDS[path]
    stamped = {
        name: now()
        for name in ("created_at", "updated_at", "last_opened_at")
        if name in kind.model_fields
    }
    return kind.model_validate(stamped)


def is_project(folder: Path) -> bool:
    """Whether a folder holds a project, be it a broken one or one of napari-training-assistant."""
    return any((folder / path).is_file() for path in (CONFIG, MANIFEST, CHECKPOINTS, TASKS))
