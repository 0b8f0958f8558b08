"""Records that are lists: pairs, checkpoints, runs, imported weights and predictions."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from maskloop.images.fingerprint import PairFingerprint
from maskloop.project.fields import VERSION, Identifier, InsidePath, Sha256, Version
from maskloop.records import Record
from maskloop.task import Task

__all__ = [
    "CheckpointRecord",
    "Checkpoints",
    "Content",
    "ImportedModel",
    "Manifest",
    "ModelRegistry",
    "Pair",
    "PairVersion",
    "PredictionRecord",
    "Predictions",
    "TrainingRun",
    "TrainingRuns",
]


TASK_OF_VERSION_2 = ("output_mode", "num_classes", "class_labels", "activation", "loss")
"""What version 2 told of the task in the description of a network."""


def _read_version_2(values: Any) -> Any:
    """Task and network apart, which version 2 kept in one description, ``architecture``."""
    # A record of today passes here too: pydantic also calls this for values that are right.
    if not isinstance(values, dict) or "architecture" not in values:
        return values
    described = values["architecture"] or {}
    rest = {name: value for name, value in values.items() if name != "architecture"}
    split = {
        "backend": described.get("backend", "basic_unet"),
        "task": Task.of_description(described) if "output_mode" in described else None,
        "network": {
            name: value
            for name, value in described.items()
            if name not in (*TASK_OF_VERSION_2, "backend", "threshold")
        },
    }
    return {**split, **rest}


Content = tuple[str, str]
"""SHA-256 of an image's pixels and of its mask's file: a pair as a training saw it."""


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

    @property
    def content(self) -> Content:
        """What a training sees of it."""
        return self.pixels_sha256, self.mask_sha256


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
    group: str = Field("", description="Pairs of a group stay on one side of the validation split.")
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
    def content(self) -> Content:
        """What a training sees of it."""
        return self.pixels_sha256, self.mask_sha256

    @property
    def ignored_label(self) -> int | None:
        """Label of the mask's pixels that are not annotated; None where all are."""
        label = self.mask_preparation.get("ignored_label")
        return label if isinstance(label, int) else None

    @property
    def is_new(self) -> bool:
        """Whether no checkpoint was trained on it yet; one that is kept for validation never is."""
        return not self.used_in_checkpoints and self.split != "validation"


class Manifest(Record):
    """All pairs ever accepted, removed ones included."""

    version: Version = VERSION
    created_at: str
    updated_at: str
    next_pair: int = Field(1, ge=1, description="Number of the next pair; never decreases.")
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
    backend: str = Field("basic_unet", description="Family of models.")
    task: Task | None = Field(None, description="What it was trained to find, where known.")
    network: dict[str, Any] = Field(
        default_factory=dict, description="The concrete model; the backend knows its keys."
    )
    starting_weights: dict[str, Any] = Field(default_factory=dict)
    architecture_summary: dict[str, Any] = Field(default_factory=dict)
    run_id: str = ""
    sha256: Sha256 = ""
    format: Literal["maskloop", "state_dict"] = "maskloop"
    architecture_verified: bool = Field(
        True,
        description="False for records of other programs, which may not state what was built.",
    )
    metrics: dict[str, Any] = Field(default_factory=dict)
    plan: dict[str, Any] = Field(default_factory=dict)
    classes: dict[str, str] = Field(default_factory=dict)
    dataset_pixel_hashes: dict[str, str] = Field(default_factory=dict)
    dataset_mask_hashes: dict[str, str] = Field(
        default_factory=dict, description="Of the mask files, as the training read them."
    )
    versions: dict[str, str] = Field(default_factory=dict)
    seed: int | None = None
    note: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _read_older(cls, values: Any) -> Any:
        return _read_version_2(values)


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
    backend: str = Field("basic_unet", description="Family of models.")
    task: Task | None = Field(None, description="What they are to find, where known.")
    network: dict[str, Any] = Field(
        default_factory=dict, description="The model they need; the backend knows its keys."
    )
    imported_at: str
    format: str
    sha256: Sha256 = ""
    metadata: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _read_older(cls, values: Any) -> Any:
        return _read_version_2(values)


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
        description="Path of the predicted image as it was given; inside or outside the project.",
    )
    input_sha256: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)
    created_at: str


class Predictions(Record):
    """All predictions kept in the project."""

    version: Version = VERSION
    next_prediction: int = Field(1, ge=1)
    predictions: tuple[PredictionRecord, ...] = ()


class TableRecord(Record):
    """A table of objects that was measured in predictions; its note says what its columns are."""

    table_id: Identifier
    path: InsidePath
    sha256: Sha256
    note_path: InsidePath
    note_sha256: Sha256
    rows: int
    prediction_ids: tuple[str, ...] = Field((), description="The predictions in it.")
    run_id: str = ""
    created_at: str


class Tables(Record):
    """All tables of objects kept in the project."""

    version: Version = VERSION
    next_table: int = Field(1, ge=1)
    tables: tuple[TableRecord, ...] = ()
