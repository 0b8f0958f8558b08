"""The size of a network and the memory a training takes, counted in a helper process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from maskloop.compute.project import Project
from maskloop.errors import UsageError
from maskloop.models.base import Architecture, Plan, Precision, UNetArchitecture, network_of
from maskloop.models.compatibility import COMPARED, shown
from maskloop.models.device import find_machine

__all__ = ["NetworkSummary", "summarize_network"]

NETWORK = ("spatial_dims", "depth", "z_strides", "base_channels", "input_channels")
"""What is planned if a person left it open."""
PATCHES = {2: ((256, 256), 4), 3: ((64, 64, 64), 2)}
"""Patch and batch of an ordinary machine, while there are no images."""


@dataclass(frozen=True)
class NetworkSummary:
    """Counted from the network itself, which is built without allocating weights."""

    parameters: int
    convolutions: int
    upsamplings: int
    projections: int
    shortcuts: int
    gates: int
    weights_bytes: int
    """Size of a file of these weights."""
    patch_size: tuple[int, ...]
    batch_size: int
    step_bytes: int
    """Memory at the peak of one training step: see `maskloop.models.unet.training_memory_bytes`."""
    adapted: tuple[str, ...] = ()
    """What a training would adapt to the images, with the reason."""
    problem: str = ""
    """Why the images of the project cannot be trained with it."""

    @property
    def words(self) -> str:
        """The summary in one sentence."""
        layers = [
            (self.convolutions, "convolution"),
            (self.upsamplings, "upsampling"),
            (self.projections, "projection"),
            (self.shortcuts, "shortcut"),
            (self.gates, "attention gate"),
        ]
        counted = " + ".join(
            f"{count} {name}{'s' * (count != 1)}" for count, name in layers if count
        )
        size = " x ".join(map(str, self.patch_size))
        patches = f"{self.batch_size} patch{'es' * (self.batch_size != 1)} of {size}"
        return (
            f"{_millions(self.parameters)} parameters, {counted}; "
            f"weights {_size(self.weights_bytes)}; "
            f"about {_size(self.step_bytes)} for a training step of {patches}"
        )


def summarize_network(folder: str, values: Mapping[str, Any]) -> NetworkSummary:
    """Count a network, adapted to the project's images as a training would adapt it.

    The memory of a training step is that of `maskloop.models.unet.training_memory_bytes`. Four real
    steps on a CPU (2D and 3D; bf16 and fp32; batch, group and instance normalization; plain,
    residual, with gates) took 3 to 12 % more resident memory where freed memory goes back to the
    system at once, and up to 49 % more with the fragmentation of glibc: near enough for "about",
    not for filling a machine completely.

    Parameters
    ----------
    folder
        Of the project; its pairs tell the patch.
    values
        Choices: fields of `UNetArchitecture`, valid ones.

    Returns
    -------
    NetworkSummary
        With `problem` if the images do not fit the network.
    """
    choices = UNetArchitecture.model_validate(values)
    wanted = network_of(_project(folder).task, choices)
    try:
        plan = _planned(folder, choices)
    except UsageError as error:
        patch, batch = PATCHES[wanted.dimensions]
        problem = f"{error.problem} {error.way_out}" if _project(folder).dataset.pairs else ""
        precision: Precision = "bf16" if find_machine().has_bf16 else "fp32"
        return _count(wanted, _multiple(patch, wanted.multiple), batch, precision, problem=problem)
    reasons = {decision.name: decision.reason for decision in plan.decisions}
    adapted = tuple(
        f"{COMPARED[name]} {shown(name, getattr(plan.architecture, name))}: {reasons[name]}"
        for name in NETWORK
        if name in reasons and name not in choices.chosen
    )
    return _count(
        plan.architecture, plan.patch_size, plan.batch_size, plan.precision, adapted=adapted
    )


def _planned(folder: str, choices: UNetArchitecture) -> Plan:
    from maskloop.jobs.training import TrainJob, plan_training
    from maskloop.project import layout
    from maskloop.project.layout import ArchitectureConfig

    project = _project(folder)
    # This process reads the choices that are not saved yet instead of those on disk.
    record = project.record(layout.ARCHITECTURE, ArchitectureConfig)
    record.stand_in(ArchitectureConfig.model_validate(choices.chosen))
    return plan_training(project, TrainJob(start="scratch"))


@lru_cache(maxsize=1)
def _project(folder: str) -> Project:
    # Kept, so that ten thousand pairs are not read again with each key press.
    from maskloop.compute.project import Project

    return Project.open(Path(folder))


def _multiple(patch: Sequence[int], steps: Sequence[int]) -> tuple[int, ...]:
    return tuple(
        max(step, length // step * step) for length, step in zip(patch, steps, strict=True)
    )


def _count(
    architecture: Architecture,
    patch: tuple[int, ...],
    batch: int,
    precision: Precision,
    *,
    adapted: tuple[str, ...] = (),
    problem: str = "",
) -> NetworkSummary:
    import torch

    from maskloop.models.unet import UNet, summarize, training_memory_bytes

    with torch.device("meta"):
        network = UNet(architecture)
    counts = summarize(network, architecture)
    return NetworkSummary(
        parameters=counts["parameters"],
        convolutions=counts["double_conv_layers"],
        upsamplings=counts["upsampling_layers"],
        projections=counts["final_projection_layers"],
        shortcuts=counts["shortcut_projections"],
        gates=counts["attention_gates"],
        weights_bytes=sum(tensor.nbytes for tensor in network.state_dict().values()),
        patch_size=tuple(patch),
        batch_size=batch,
        step_bytes=training_memory_bytes(architecture, patch, batch=batch, precision=precision),
        adapted=adapted,
        problem=problem,
    )


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count >= 1e5 else f"{count:,}"


def _size(count: int) -> str:
    """A size in MiB or GiB."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{max(1, round(count / 2**20))} MiB"
