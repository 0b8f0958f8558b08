"""Choices about a U-Net, the network made from them, and the plan of its training."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from maskloop.models.base import (
    Architecture,
    Augmentation,
    Plan,
    Precision,
    Recipe,
)
from maskloop.models.unet.old import network_of_version_2, plan_of_version_2
from maskloop.predict.outputs import AnyOutput, output_for
from maskloop.records import Record
from maskloop.task import Task

__all__ = [
    "UNetArchitecture",
    "UNetNetwork",
    "UNetPlan",
    "UNetRecipe",
    "network_for",
    "shortest_strides",
]

Dimensions = Literal["2d", "3d"]
Preset = Literal["standard_unet", "resunet", "attention_unet"]
NormalizationLayer = Literal["batch", "instance", "group", "none"]
Upsampling = Literal["transpose", "bilinear"]
Stride = Annotated[int, Field(ge=1, le=2)]
Length = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
TITLES: dict[Preset, str] = {
    "standard_unet": "U-Net",
    "resunet": "Residual U-Net",
    "attention_unet": "Attention U-Net",
}


def shortest_strides(strides: tuple[int, ...]) -> tuple[int, ...]:
    """Strides along Z without the 2s at their end, so that two descriptions can be compared."""
    while strides and strides[-1] == 2:
        strides = strides[:-1]
    return strides


class UNetArchitecture(Architecture):
    """Choices about a U-Net; whatever is left open is planned from the data."""

    spatial_dims: Dimensions | None = Field(
        None,
        title="Dimensions",
        description="2d segments plane by plane, 3d volume by volume.",
        json_schema_extra={"words": {"2d": "2D", "3d": "3D"}},
    )
    preset: Preset | None = Field(
        None,
        description="standard_unet, resunet (residual blocks) or attention_unet (attention gates).",
        json_schema_extra={"words": dict(TITLES.items())},
    )
    depth: int | None = Field(
        None, ge=1, le=7, title="Depth", description="Number of downsampling steps."
    )
    z_strides: tuple[Stride, ...] | None = Field(
        None,
        title="Z strides",
        description="3D: stride along Z of each downsampling step, from fine to coarse: 2 halves "
        "Z, 1 keeps it; 2 where left out.",
    )
    base_channels: int | None = Field(
        None,
        ge=1,
        le=256,
        title="Base channels",
        description="Feature channels of the first level; doubled at each level.",
    )
    normalization: NormalizationLayer | None = Field(
        None, title="Normalization layer", description="Layer after each convolution."
    )
    upsampling: Upsampling | None = Field(None, description="How the decoder upsamples.")


class UNetNetwork(Record):
    """A U-Net to the last layer; what is derived is checked, so the record is always true."""

    spatial_dims: Dimensions = Field(
        "2d", description="2d segments plane by plane, 3d volume by volume."
    )
    preset: Preset = Field("standard_unet", description="Kind of its blocks and skip connections.")
    depth: int = Field(4, ge=1, le=7, description="Number of downsampling steps.")
    z_strides: tuple[Stride, ...] = Field(
        (),
        description="3D: stride along Z of each downsampling step, from fine to coarse: 2 halves "
        "Z, 1 keeps it; 2 where left out.",
    )
    base_channels: int = Field(
        32,
        ge=1,
        le=256,
        description="Feature channels of the first level; doubled at each level.",
    )
    normalization: NormalizationLayer = Field("batch", description="Layer after each convolution.")
    upsampling: Upsampling = Field("transpose", description="How the decoder upsamples.")
    input_channels: int = Field(1, ge=1, le=1024, description="Channels of the images.")
    output_channels: int = Field(1, ge=1, le=1024, description="Channels of the scores.")

    @model_validator(mode="before")
    @classmethod
    def _read_version_2(cls, values: Any) -> Any:
        return network_of_version_2(values)

    @field_validator("z_strides")
    @classmethod
    def _shortest(cls, strides: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        """Leave out what the network has no halving for: depth and dimensions may change alone."""
        if info.data.get("spatial_dims") != "3d":
            return ()
        return shortest_strides(strides[: info.data.get("depth", 0)])

    @property
    def title(self) -> str:
        """The network in a few words, such as ``U-Net 2D, depth 4, 32 base channels``."""
        return (
            f"{TITLES[self.preset]} {self.spatial_dims.upper()}, depth {self.depth}, "
            f"{self.base_channels} base channels"
        )

    @property
    def dimensions(self) -> int:
        """2 or 3."""
        return 3 if self.spatial_dims == "3d" else 2

    @property
    def strides(self) -> tuple[tuple[int, ...], ...]:
        """By how much each halving shortens (Z)YX, from fine to coarse."""
        along_z = (*self.z_strides, *(2,) * self.depth)[: self.depth]
        return tuple((z, 2, 2)[-self.dimensions :] for z in along_z)

    @property
    def kernels(self) -> tuple[tuple[int, ...], ...]:
        """Size along (Z)YX of each level's convolutions, from fine to coarse.

        They are flat until Z is halved for the first time: there the planes lie so far apart that a
        neighbor in Z tells little (Isensee et al. 2021, nnU-Net).
        """
        halved = (level for level, strides in enumerate(self.strides) if strides[0] != 1)
        flat = next(halved, self.depth)
        return tuple(
            (1 if level < flat else 3, 3, 3)[-self.dimensions :] for level in range(self.depth + 1)
        )

    @property
    def multiple(self) -> tuple[int, ...]:
        """Lengths along (Z)YX must be multiples of these."""
        return tuple(math.prod(steps) for steps in zip(*self.strides, strict=True))


def network_for(task: Task, choices: UNetArchitecture) -> UNetNetwork:
    """The network with the usual value wherever nothing was chosen: what a plan starts from."""
    chosen = {
        name: value for name, value in choices.chosen.items() if name in UNetNetwork.model_fields
    }
    return UNetNetwork.model_validate(
        {
            **chosen,
            "input_channels": task.channels or 1,
            "output_channels": output_for(task.mode, task.class_names).channels,
        }
    )


class UNetRecipe(Recipe):
    """Choices about the training of a U-Net."""

    epochs: int | None = Field(
        None, ge=1, title="Epochs", description="Passes over all training images."
    )
    patience: int | None = Field(
        None,
        ge=1,
        title="Patience",
        description="Stop after this many epochs without a better validation score.",
    )
    patch_size: tuple[Length, ...] | None = Field(
        None,
        min_length=1,
        max_length=3,
        title="Patch size",
        description="Size of the training patches along ZYX or YX.",
    )
    batch_size: int | None = Field(None, ge=1, title="Batch size", description="Patches per step.")
    learning_rate: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        title="Learning rate",
        description="Peak learning rate of the schedule.",
    )
    augmentation: Augmentation | None = Field(
        None, title="Augmentation", description="Random changes of the training patches."
    )
    class_weights: tuple[Weight, ...] | None = Field(
        None, title="Class weights", description="Weight of each class in the loss."
    )
    foreground_share: float | None = Field(
        None,
        ge=0,
        le=1,
        title="Foreground sampling",
        description="Fraction of the patches placed on foreground or rare classes.",
    )
    base_channels: int | None = Field(
        None,
        ge=1,
        le=256,
        title="Base channels",
        description="Feature channels of the first level.",
    )
    depth: int | None = Field(
        None, ge=1, le=7, title="Depth", description="Number of downsampling steps."
    )
    precision: Precision | None = Field(
        None, title="Precision", description="Numerical precision of the network."
    )
    devices: int = Field(1, ge=1, description="Number of GPUs (or CPU processes) to train on.")
    nodes: int = Field(1, ge=1, description="Number of machines to train on.")

    @property
    def processes(self) -> int:
        """One for each device on each node."""
        return self.devices * self.nodes


class UNetPlan(Plan):
    """Everything that the training of a U-Net does, and why."""

    backend: Literal["basic_unet"] = "basic_unet"
    network: UNetNetwork
    output: AnyOutput = Field(description="What the scores mean and how they become labels.")
    patch_size: tuple[int, ...]
    batch_size: int
    steps_per_epoch: int = Field(description="Batches between two validations.")
    epochs: int
    patience: int
    learning_rate: float
    weight_decay: float = 1e-2
    augmentation: Augmentation
    class_weights: tuple[float, ...] | None = None
    foreground_share: float
    precision: Precision
    devices: int = 1
    nodes: int = 1

    @model_validator(mode="before")
    @classmethod
    def _read_version_2(cls, values: Any) -> Any:
        return plan_of_version_2(values)
