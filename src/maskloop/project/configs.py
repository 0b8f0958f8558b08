"""Records of one value each: the settings, the network, SAM3, where the next training starts."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from maskloop.project.fields import VERSION, InsidePath, Version
from maskloop.project.paths import ARCHITECTURE, MANIFEST, SAM3, STARTING_WEIGHTS
from maskloop.records import Record

__all__ = [
    "ArchitectureConfig",
    "OutputMode",
    "ProjectConfig",
    "Sam3Config",
    "StartingWeights",
    "default_architecture",
]

OutputMode = Literal["binary", "multiclass", "instances"]


class ProjectConfig(Record):
    """Settings and notes of a project."""

    version: Version = VERSION
    project_name: str
    created_at: str
    last_opened_at: str = Field(
        description="When it was last opened and written to; opening to read changes nothing."
    )
    plugin_version: str = ""
    binary_or_multiclass: OutputMode = Field(
        "binary", description="binary, multiclass or instances."
    )
    input_channels: int = Field(1, ge=1)
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
    """The network's description; `maskloop.models` knows what its other keys mean."""

    model_config = ConfigDict(extra="allow")
    version: Version = VERSION
    output_mode: OutputMode = "binary"
    num_classes: int = Field(2, ge=2)
    class_labels: dict[str, str] = Field(
        default_factory=lambda: {"0": "background", "1": "foreground"}
    )


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


def default_architecture(mode: OutputMode, classes: tuple[str, ...]) -> dict[str, Any]:
    """The standard network for an output mode.

    Parameters
    ----------
    mode
        binary, multiclass or instances.
    classes
        Names of the classes, background first.
    """
    outputs = {"binary": 1, "multiclass": len(classes), "instances": 3}[mode]
    return {
        "backend": "basic_unet",
        "spatial_dims": "2d",
        "preset": "standard_unet",
        "depth": 4,
        "base_channels": 32,
        "normalization": "batch",
        "upsampling": "transpose",
        "input_channels": 1,
        "output_mode": mode,
        "num_classes": len(classes),
        "output_channels": outputs,
        "activation": "softmax" if mode == "multiclass" else "sigmoid",
        "loss": {
            "binary": "bce_dice",
            "multiclass": "cross_entropy_dice",
            "instances": "instance_distances",
        }[mode],
        "threshold": 0.5,
        "class_labels": {str(number): name for number, name in enumerate(classes)},
    }
