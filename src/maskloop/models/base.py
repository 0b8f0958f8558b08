"""What can be trained: the choices of a person, the plan made of them, and what a backend must offer."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from maskloop.images.instances import InstanceSettings
from maskloop.images.normalize import Normalization
from maskloop.predict.base import Output
from maskloop.predict.outputs import Classes, DistanceMaps, Foreground, output_for
from maskloop.records import Record
from maskloop.task import OutputMode, Task

__all__ = [
    "Architecture",
    "Augmentation",
    "Decision",
    "Plan",
    "Precision",
    "Recipe",
    "UNetArchitecture",
    "network_of",
    "shortest_strides",
]

Precision = Literal["bf16", "fp16", "fp32"]
PRESETS = {
    "standard_unet": "U-Net",
    "resunet": "Residual U-Net",
    "attention_unet": "Attention U-Net",
}
INSTANCE_CHANNELS = 3
"""Foreground, nearness to the centre, distance to the boundary."""


def shortest_strides(strides: tuple[int, ...]) -> tuple[int, ...]:
    """One way to write `Architecture.z_strides`, so that two descriptions can be compared: without the 2s at the end."""
    while strides and strides[-1] == 2:
        strides = strides[:-1]
    return strides


class Architecture(Record):
    """The network, as napari-training-assistant describes it; what is derived is checked, so the record is always true."""

    backend: Literal["basic_unet"] = Field("basic_unet", description="Family of models.")
    spatial_dims: Literal["2d", "3d"] = Field(
        "2d", description="2d: plane by plane. 3d: volume by volume."
    )
    preset: Literal["standard_unet", "resunet", "attention_unet"] = Field(
        "standard_unet",
        description="standard_unet, resunet (residual blocks) or attention_unet (gated skip connections).",
    )
    depth: int = Field(4, ge=1, le=7, description="How often the resolution is halved.")
    z_strides: tuple[Annotated[int, Field(ge=1, le=2)], ...] = Field(
        (),
        description="3D: whether each halving, from fine to coarse, takes Z along (2) or leaves it (1); those not named take it along.",
    )
    base_channels: int = Field(
        32,
        ge=1,
        le=256,
        description="Feature channels of the first level; each level doubles them.",
    )
    normalization: Literal["batch", "instance", "group", "none"] = Field(
        "batch", description="Normalisation layer after each convolution."
    )
    upsampling: Literal["transpose", "bilinear"] = Field(
        "transpose", description="How the decoder doubles the resolution."
    )
    input_channels: int = Field(1, ge=1, le=1024, description="Channels of the images.")
    output_mode: OutputMode = Field("binary", description="binary, multiclass or instances.")
    num_classes: int = Field(2, ge=2, le=1024, description="Classes, background included.")
    output_channels: int = Field(
        1,
        ge=1,
        description="Derived: 1 (binary), the number of classes (multiclass), 3 (instances).",
    )
    activation: Literal["sigmoid", "softmax"] = Field(
        "sigmoid", description="Derived: softmax for multiclass, else sigmoid."
    )
    loss: Literal["bce_dice", "cross_entropy_dice", "instance_distances"] = Field(
        "bce_dice", description="Derived from the output mode."
    )
    threshold: float = Field(
        0.5, ge=0, le=1, description="Foreground where the probability is above this."
    )
    class_labels: dict[str, str] = Field(
        default_factory=lambda: {"0": "background", "1": "foreground"},
        description="Class id to name, background 0 included.",
    )

    @field_validator("z_strides")
    @classmethod
    def _shortest(cls, strides: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        """What the network has no halving for is left out: its depth and dimensions may be changed alone."""
        return (
            shortest_strides(strides[: info.data.get("depth", 0)])
            if info.data.get("spatial_dims") == "3d"
            else ()
        )

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, values: Any) -> Any:
        """Fill what follows from the output mode and the class names when it is left open."""
        if not isinstance(values, dict):
            return values
        filled = dict(values)
        mode = filled.get("output_mode", "binary")
        if "class_labels" in filled and "num_classes" not in filled:
            filled["num_classes"] = len(filled["class_labels"])
        classes = filled.get("num_classes", 2)
        filled.setdefault(
            "output_channels", {"multiclass": classes, "instances": INSTANCE_CHANNELS}.get(mode, 1)
        )
        filled.setdefault("activation", "softmax" if mode == "multiclass" else "sigmoid")
        filled.setdefault(
            "loss",
            {"multiclass": "cross_entropy_dice", "instances": "instance_distances"}.get(
                mode, "bce_dice"
            ),
        )
        if "class_labels" not in filled and classes != 2:
            filled["class_labels"] = {
                str(n): f"class_{n}" if n else "background" for n in range(classes)
            }
        return filled

    @model_validator(mode="after")
    def _agree(self) -> Architecture:
        expected = {"multiclass": self.num_classes, "instances": INSTANCE_CHANNELS}.get(
            self.output_mode, 1
        )
        if self.output_channels != expected:
            raise ValueError(
                f"output_channels is {self.output_channels}, but {self.output_mode} with {self.num_classes} classes needs {expected}"
            )
        if (self.activation == "softmax") != (self.output_mode == "multiclass"):
            raise ValueError(
                f"activation {self.activation} does not fit output_mode {self.output_mode}"
            )
        if sorted(self.class_labels) != sorted(str(n) for n in range(self.num_classes)):
            raise ValueError(
                f"class_labels must name the ids 0..{self.num_classes - 1}, not {sorted(self.class_labels)}"
            )
        if self.output_mode != "multiclass" and self.num_classes != 2:
            raise ValueError(
                f"{self.output_mode} has background and one class, not {self.num_classes} classes"
            )
        return self

    @property
    def title(self) -> str:
        """The network in a few words, such as ``U-Net 2D, depth 4, 32 base channels``."""
        preset = PRESETS[self.preset]
        return (
            f"{preset} {self.spatial_dims.upper()}, depth {self.depth}, "
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
        """Size along (Z)YX of the convolutions of each level, from fine to coarse: flat until Z is halved for the first time.

        There the planes lie so far apart that a neighbour in Z tells little (Isensee et al. 2021,
        nnU-Net).
        """
        flat = next(
            (level for level, strides in enumerate(self.strides) if strides[0] != 1), self.depth
        )
        return tuple(
            (1 if level < flat else 3, 3, 3)[-self.dimensions :] for level in range(self.depth + 1)
        )

    @property
    def multiple(self) -> tuple[int, ...]:
        """Lengths along (Z)YX must be multiples of these."""
        return tuple(math.prod(steps) for steps in zip(*self.strides, strict=True))


class UNetArchitecture(Record):
    """What a person chose about a U-Net; whatever is left open is planned from the data."""

    spatial_dims: Literal["2d", "3d"] | None = Field(
        None, description="2d: plane by plane. 3d: volume by volume."
    )
    preset: Literal["standard_unet", "resunet", "attention_unet"] | None = Field(
        None,
        description="standard_unet, resunet (residual blocks) or attention_unet (attention gates).",
    )
    depth: int | None = Field(None, ge=1, le=7, description="How often the resolution is halved.")
    z_strides: tuple[Annotated[int, Field(ge=1, le=2)], ...] | None = Field(
        None,
        description="3D: whether each halving, from fine to coarse, halves Z too (2) or not (1); "
        "those not named do.",
    )
    base_channels: int | None = Field(
        None,
        ge=1,
        le=256,
        description="Feature channels of the first level; each level doubles them.",
    )
    normalization: Literal["batch", "instance", "group", "none"] | None = Field(
        None, description="Normalization layer after each convolution."
    )
    upsampling: Literal["transpose", "bilinear"] | None = Field(
        None, description="How the decoder doubles the resolution."
    )
    threshold: float | None = Field(
        None, ge=0, le=1, description="Foreground where the probability is above this (binary)."
    )

    @property
    def chosen(self) -> dict[str, Any]:
        """The choices that were made."""
        return self.model_dump(mode="json", exclude_none=True)


def network_of(task: Task, choices: UNetArchitecture) -> Architecture:
    """The network with the usual value wherever nothing was chosen: what a plan starts from."""
    channels = {} if task.channels is None else {"input_channels": task.channels}
    described = {"output_mode": task.mode, "class_labels": task.class_labels}
    return Architecture.model_validate({**choices.chosen, **channels, **described})


class Augmentation(Record):
    """Changes made to training patches so that the model does not mind them; each can be switched off by itself."""

    horizontal_flip: bool = True
    vertical_flip: bool = True
    rotation_degrees: tuple[float, ...] = Field(
        (0, 90, 180, 270), description="Right angles; any other angle needs free_rotation."
    )
    free_rotation: bool = Field(True, description="Any angle in the plane.")
    scale: float = Field(0.2, ge=0, le=0.9, description="Zoom in and out by up to this share.")
    elastic: float = Field(0.0, ge=0, le=1, description="Strength of a smooth random deformation.")
    intensity_jitter: float = Field(
        0.2, ge=0, le=1, description="Random change of brightness, contrast and gamma."
    )
    noise: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Standard deviation of added noise, in units of the normalised image.",
    )
    blur: float = Field(0.0, ge=0, le=5, description="Largest blur, in pixels.")


class Recipe(Record):
    """What a person chooses about a training; what is left open is planned from the data."""

    epochs: int | None = Field(None, ge=1, description="How often every image is seen.")
    time_s: float | None = Field(
        None,
        gt=0,
        description="Stop after this many seconds; network size and schedule are planned for it.",
    )
    patience: int | None = Field(
        None, ge=1, description="Stop after this many epochs without a better validation score."
    )
    patch_size: tuple[int, ...] | None = Field(
        None, description="Size of the training patches along ZYX or YX."
    )
    batch_size: int | None = Field(None, ge=1, description="Patches per step.")
    learning_rate: float | None = Field(
        None, gt=0, description="Peak learning rate of the schedule."
    )
    normalization: Normalization | None = Field(
        None, description="How intensities are brought to a common range."
    )
    augmentation: Augmentation | None = Field(None, description="Changes made to training patches.")
    class_weights: tuple[float, ...] | None = Field(
        None, description="Weight of each class in the loss."
    )
    foreground_share: float | None = Field(
        None, ge=0, le=1, description="Share of the patches placed on foreground or rare classes."
    )
    base_channels: int | None = Field(
        None, ge=1, description="Feature channels of the first level."
    )
    depth: int | None = Field(None, ge=1, le=7, description="How often the resolution is halved.")
    precision: Precision | None = Field(None, description="Arithmetic of the network.")
    validation_share: float | None = Field(
        None,
        ge=0,
        le=0.9,
        description="Share of the pairs kept for validation, by group; left open, that of the project's settings.",
    )
    seed: int = Field(0, ge=0, description="Start of all random numbers.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where to train.")
    devices: int = Field(1, ge=1, description="GPUs (or processes) to train on.")
    nodes: int = Field(1, ge=1, description="Machines to train on.")
    tensorboard: bool = Field(False, description="Also write TensorBoard files.")
    save_every_s: float = Field(
        30.0, ge=0, description="Seconds between two saved states: what a kill costs at most."
    )


class Decision(Record):
    """One value of a plan, with its reason."""

    name: str
    value: Any
    reason: str
    source: Literal["planned", "person"] = "planned"


class Plan(Record):
    """The recipe made concrete: everything that a training does, and why."""

    architecture: Architecture
    patch_size: tuple[int, ...]
    batch_size: int
    steps_per_epoch: int = Field(description="Batches between two validations.")
    epochs: int
    time_s: float | None = None
    estimated_s: float | None = Field(
        None, description="Roughly how long all epochs take; None on devices not measured."
    )
    patience: int
    learning_rate: float
    weight_decay: float = 1e-2
    normalization: Normalization
    augmentation: Augmentation
    class_weights: tuple[float, ...] | None = None
    foreground_share: float
    precision: Precision
    object_diameter_px: float | None = Field(
        None, description="Median diameter of the objects (instances)."
    )
    object_extent_px: int = Field(0, description="Longest side of the largest object (instances).")
    pixel_size_um: dict[str, float] = Field(default_factory=dict)
    seed_threshold: float = Field(
        InstanceSettings().seed_threshold,
        description="Score at which objects start (instances), found after the training.",
    )
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = 1
    nodes: int = 1
    tensorboard: bool = False
    decisions: tuple[Decision, ...] = ()

    @property
    def output(self) -> Foreground | Classes | DistanceMaps:
        """What the scores of the network mean."""
        labels = {int(label): name for label, name in self.architecture.class_labels.items()}
        return output_for(
            self.architecture.output_mode,
            labels,
            threshold=self.architecture.threshold,
            instances=InstanceSettings(
                seed_threshold=self.seed_threshold,
                typical_diameter_px=self.object_diameter_px,
                largest_extent_px=self.object_extent_px,
            ),
        )

    def with_output(self, output: Output) -> Plan:
        """The plan with settings of the output that were found after the training."""
        assert isinstance(output, Foreground | Classes | DistanceMaps)
        if not isinstance(output, DistanceMaps):
            return self
        return self.model_copy(update={"seed_threshold": output.instances.seed_threshold})
