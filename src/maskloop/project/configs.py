"""Records of one value each: the settings, the network, SAM3, where the next training starts."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from maskloop.project.fields import VERSION, InsidePath, NewVersion, Version
from maskloop.project.paths import ARCHITECTURE, MANIFEST, SAM3, STARTING_WEIGHTS
from maskloop.records import Record
from maskloop.task import Task

__all__ = [
    "ArchitectureConfig",
    "ProjectConfig",
    "Sam3Config",
    "StartingWeights",
]


class ProjectConfig(Record):
    """Settings and notes of a project."""

    version: NewVersion = VERSION
    project_name: str
    created_at: str
    last_opened_at: str = Field(description="Time of the last write; reading does not change it.")
    plugin_version: str = ""
    task: Task = Field(default_factory=Task, description="What to segment.")
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
        description="Choices made in the window for the next training: fields of a recipe.",
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
        default_factory=dict, description="Settings of another program, kept unchanged."
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
