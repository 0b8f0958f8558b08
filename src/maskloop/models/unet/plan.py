"""The plan: a recipe made concrete for the data and the machine, each decision with its reason."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from maskloop.errors import UsageError
from maskloop.images.fingerprint import Fingerprint
from maskloop.images.instances import InstanceSettings
from maskloop.images.normalize import Normalization
from maskloop.models.base import Augmentation, Decision, Precision, Start
from maskloop.models.device import Machine, find_machine
from maskloop.models.unet.compatibility import require_compatible
from maskloop.models.unet.network import training_memory_bytes
from maskloop.models.unet.records import (
    UNetArchitecture,
    UNetNetwork,
    UNetPlan,
    UNetRecipe,
    network_for,
)
from maskloop.predict.outputs import output_for
from maskloop.task import Task
from maskloop.wording import bytes_in_words, counted, time_in_words

__all__ = ["make_plan"]

PATCH_LIMIT_2D = {"cpu": 256, "cuda": 512}
PATCH_LIMIT_3D = {"cpu": 64, "cuda": 128}
FAR_APART = 2.0
"""Planes so many times farther apart than pixels are not halved together with them (as in
nnU-Net, Isensee et al. 2021).
"""
SMALLEST = 4
"""Pixels along each axis that the deepest level should still see."""
PATCHES_FOR_32 = 12_000
"""Patches of the largest size that a network with 32 base channels wants to see; with less time
a smaller one ends up better.
"""
FLOPS_PER_S = {"cpu": 6e10, "cpu_bf16": 1.4e11, "cuda": 2e13}
"""Sustained operations per second in training, per core of a CPU.

Measured on the standard U-Net, 256 x 256, channels last.
"""
PATCHES_BY_DEFAULT = 8_000
ORDER = (
    "epochs",
    "patience",
    "patch_size",
    "batch_size",
    "learning_rate",
    "normalization",
    "augmentation",
    "foreground_share",
    "class_weights",
    "base_channels",
    "depth",
    "z_strides",
    "precision",
    "spatial_dims",
    "input_channels",
)
"""Decisions in the order of interest."""


class _Decisions:
    """Collects values with their reasons; a value that a person set wins."""

    def __init__(self, *, of_weights: Collection[str]) -> None:
        self.all: list[Decision] = []
        self._of_weights = of_weights

    def take(self, name: str, chosen: Any, planned: Any, reason: str) -> Any:
        """The value that a person chose, or else the planned one."""
        value, source = (planned, "planned") if chosen is None else (chosen, "person")
        shown = value.model_dump(mode="json") if hasattr(value, "model_dump") else value
        self.all.append(
            Decision(
                name=name,
                value=shown,
                reason=reason if chosen is None else "Set by you.",
                source=source,
            )
        )
        return value

    def take_of_network(self, name: str, chosen: Any, planned: Any, reason: str) -> Any:
        """The same for a value of the network, which starting weights fix when there are some."""
        if name in self._of_weights:
            return self.take(
                name,
                None,
                planned if chosen is None else chosen,
                "Fixed by the starting weights.",
            )
        return self.take(name, chosen, planned, reason)


def make_plan(
    task: Task,
    choices: UNetArchitecture,
    recipe: UNetRecipe,
    fingerprint: Fingerprint,
    *,
    start: Start | None = None,
    machine: Machine | None = None,
) -> UNetPlan:
    """Decide everything about a training.

    Parameters
    ----------
    task
        What to segment.
    choices, recipe
        What a person chose; what is left open is decided here.
    fingerprint
        What the data is like.
    start
        Weights that the training starts from: their network stays as it is.
    machine
        Where it will run; looked up when left out.

    Raises
    ------
    UsageError
        If the data cannot be used with the choices made.
    IncompatibleWeights
        If the weights do not fit the task or the choices.
    """
    chosen = set(choices.chosen) | ({"input_channels"} if task.channels is not None else set())
    of_weights: set[str] = set()
    if start is None:
        network = network_for(task, choices)
        fixed = chosen
    else:
        network = require_compatible(task, choices, start)
        fixed = set(UNetNetwork.model_fields)
        of_weights = fixed - chosen
    machine = machine or find_machine(recipe.device)
    say = _Decisions(of_weights=of_weights)
    precision = say.take(
        "precision",
        recipe.precision,
        "bf16" if machine.has_bf16 else "fp32",
        _precision_reason(machine),
    )
    network = _dimensions(network, fingerprint, fixed, say)
    network = _depth(network, fingerprint, recipe, fixed, say)
    patch = _patch(network, fingerprint, recipe, machine, say)
    network = _width(network, patch, recipe, fixed, machine, precision, say)
    batch = _batch(network, patch, recipe, machine, precision, say)
    normalization = _normalization(fingerprint, recipe, say)
    epochs, steps, patience = _schedule(
        fingerprint, patch, batch, network, recipe, machine, precision, say
    )
    weights, share = _balance(task, fingerprint, recipe, say)
    augmentation = say.take(
        "augmentation",
        recipe.augmentation,
        _augmentation(network),
        "Microscopy images have no orientation; size and brightness vary slightly.",
    )
    rate = say.take(
        "learning_rate",
        recipe.learning_rate,
        2e-3 if start is None else 5e-4,
        "Peak of a cosine schedule for AdamW; lower when starting from weights.",
    )
    diameters = fingerprint.object_diameters_px
    patches_per_s = (
        _patches_per_s(network, patch, machine, precision) if machine.device == "cpu" else None
    )
    return UNetPlan(
        task=task,
        network=network,
        output=output_for(
            task.mode,
            task.class_names,
            threshold=0.5 if choices.threshold is None else choices.threshold,
            instances=InstanceSettings(
                typical_diameter_px=diameters[1] if len(diameters) > 1 else None,
                largest_extent_px=fingerprint.object_extent_px,
            ),
        ),
        patch_size=patch,
        batch_size=batch,
        steps_per_epoch=steps,
        epochs=epochs,
        time_s=recipe.time_s,
        estimated_s=recipe.time_s or (patches_per_s and epochs * steps * batch / patches_per_s),
        patience=patience,
        learning_rate=rate,
        normalization=normalization,
        augmentation=augmentation,
        class_weights=weights,
        foreground_share=share,
        precision=precision,
        pixel_size_um=fingerprint.pixel_size_um,
        seed=recipe.seed,
        device=recipe.device,
        devices=recipe.devices,
        nodes=recipe.nodes,
        tensorboard=recipe.tensorboard,
        decisions=tuple(sorted(say.all, key=lambda one: ORDER.index(one.name))),
    )


def _precision_reason(machine: Machine) -> str:
    if machine.has_bf16:
        return f"{machine.name} computes about twice as fast in bf16 as in fp32."
    return f"{machine.name} has no fast bf16."


def _dimensions(
    network: UNetNetwork, data: Fingerprint, fixed: set[str], say: _Decisions
) -> UNetNetwork:
    """Adapt spatial dimensions and input channels to the data, or say why they do not fit."""
    volumes = data.spatial_dims == (3,) and data.smallest_shape[0] >= 8
    planned = "3d" if volumes else "2d"
    own = network.spatial_dims if "spatial_dims" in fixed else None
    dims = say.take_of_network(
        "spatial_dims",
        own,
        planned,
        "All images are volumes of at least 8 planes."
        if volumes
        else "The images are planes, or stacks with too few planes for 3D.",
    )
    if dims == "3d" and data.spatial_dims != (3,):
        spatial = " and ".join(map(str, data.spatial_dims))
        raise UsageError(
            f"The network is 3D, but the dataset has images with {spatial} spatial axes.",
            "Select a 2D network, which segments volumes plane by plane (--spatial-dims 2d), or "
            "keep only volumes in this project.",
        )
    if "input_channels" in fixed and network.input_channels != data.channels:
        raise UsageError(
            f"The network takes {counted(network.input_channels, 'channel')}, the images have "
            f"{data.channels}.",
            "Train from scratch (--from scratch), or accept images with the same channels.",
        )
    say.take(
        "input_channels",
        None,
        data.channels,
        f"The images have {counted(data.channels, 'channel')}.",
    )
    return _changed(network, spatial_dims=dims, input_channels=data.channels)


def _changed(network: UNetNetwork, **changes: Any) -> UNetNetwork:
    return UNetNetwork.model_validate(network.model_dump() | changes)


def _lengths(network: UNetNetwork, shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[-network.dimensions :]


def _depth(
    network: UNetNetwork, data: Fingerprint, recipe: UNetRecipe, fixed: set[str], say: _Decisions
) -> UNetNetwork:
    # Of a volume the shorter side of its planes: what Z can take is decided after it.
    shortest = min(data.median_shape[-2:])
    largest = max(1, min(network.depth, int(math.log2(max(SMALLEST, shortest) / SMALLEST))))
    own = recipe.depth if "depth" not in fixed else network.depth
    if recipe.depth is not None and "depth" in fixed and recipe.depth != network.depth:
        raise UsageError(
            f"Depth {recipe.depth} was requested, but the weights need {network.depth}.",
            "Train from scratch to change the network (--from scratch).",
        )
    depth = say.take_of_network(
        "depth",
        own,
        largest,
        f"The shortest side is {shortest} px; the deepest level should have {SMALLEST} px or more.",
    )
    return _z_strides(_changed(network, depth=depth), data, fixed, say)


def _z_strides(
    network: UNetNetwork, data: Fingerprint, fixed: set[str], say: _Decisions
) -> UNetNetwork:
    """Halve Z where planes are as close as the pixels of that level, and while enough are left."""
    if network.dimensions == 2:
        return network
    known, planes = _z_spacing(data), data.median_shape[0]
    apart = known or 1.0
    planned: list[int] = []
    left, here = planes, apart
    for _ in range(network.depth):
        planned.append(2 if here < FAR_APART and left >= 2 * SMALLEST else 1)
        left, here = left // planned[-1], here / (2 // planned[-1])
    often = planned.count(2)
    distance = (
        f"Planes are {known:.1f} times as far apart as pixels"
        if known
        else "The files do not state the distance between planes"
    )
    reason = f"{distance}, and {planes} planes can be halved {counted(often, 'time')}."
    own = network.z_strides if "z_strides" in fixed else None
    strides = say.take_of_network("z_strides", own, tuple(planned), reason)
    return _changed(network, z_strides=strides)


def _z_spacing(data: Fingerprint) -> float | None:
    """Distance of planes in pixels, where it is known."""
    sizes = data.pixel_size_um
    return sizes["Z"] / min(sizes["Y"], sizes["X"]) if {"Z", "Y", "X"} <= set(sizes) else None


def _patch(
    network: UNetNetwork, data: Fingerprint, recipe: UNetRecipe, machine: Machine, say: _Decisions
) -> tuple[int, ...]:
    steps = network.multiple
    limits, reason = _patch_limits(network, data, machine)
    lengths = zip(_lengths(network, data.median_shape), limits, steps, strict=True)
    planned = tuple(
        max(step, int(min(limit, math.ceil(length / step) * step)) // step * step)
        for length, limit, step in lengths
    )
    patch = tuple(say.take("patch_size", recipe.patch_size, planned, reason))
    if len(patch) == 1:
        patch *= network.dimensions
    if len(patch) != network.dimensions or any(
        length % step for length, step in zip(patch, steps, strict=True)
    ):
        multiples = str(steps[0]) if len(set(steps)) == 1 else " x ".join(map(str, steps))
        raise UsageError(
            f"Patch size {patch} does not fit a {network.spatial_dims} network of depth "
            f"{network.depth}.",
            f"Give {network.dimensions} lengths that are multiples of {multiples}, such as "
            f"{planned}.",
        )
    return patch


def _patch_limits(
    network: UNetNetwork, data: Fingerprint, machine: Machine
) -> tuple[tuple[float, ...], str]:
    """The longest sides, and why.

    In 3D they hold as many voxels as a cube, in the proportions of the voxels, and are wider if
    there are few planes.
    """
    plane = PATCH_LIMIT_2D[machine.device]
    if network.dimensions == 2:
        return (
            (plane, plane),
            f"Covers the median image, at most {plane} px wide, in steps of {network.multiple[0]}.",
        )
    cube = PATCH_LIMIT_3D[machine.device]
    step = network.multiple[0]
    deep = min(
        cube / (_z_spacing(data) or 1.0) ** (2 / 3), math.ceil(data.median_shape[0] / step) * step
    )
    side = min(plane, math.sqrt(cube**3 / max(step, deep // step * step)))
    return (
        (deep, side, side),
        f"About as many voxels as {cube} x {cube} x {cube} at most, not larger than the median "
        "image.",
    )


def _flops(network: UNetNetwork, patch: tuple[int, ...]) -> float:
    """Operations of one training step per patch.

    Three passes over the two convolutions of each level, in the encoder and the decoder.
    """
    total, pixels = 0.0, float(math.prod(patch))
    for level, kernel in enumerate(network.kernels):
        width = network.base_channels * 2**level
        total += (
            pixels * math.prod(kernel) * (5.5 if level < network.depth else 1.5) * width * width
        )
        pixels /= math.prod(network.strides[level]) if level < network.depth else 1
    return 2 * 3 * total


def _patches_per_s(
    network: UNetNetwork, patch: tuple[int, ...], machine: Machine, precision: Precision
) -> float:
    key = "cpu_bf16" if machine.device == "cpu" and precision == "bf16" else machine.device
    cores = min(machine.cores, 16) if machine.device == "cpu" else 1
    # Narrow layers leave the arithmetic units half empty.
    efficiency = min(1.0, 0.3 + 0.7 * network.base_channels / 32)
    return FLOPS_PER_S[key] * cores * efficiency / _flops(network, patch)


def _width(
    network: UNetNetwork,
    patch: tuple[int, ...],
    recipe: UNetRecipe,
    fixed: set[str],
    machine: Machine,
    precision: Precision,
    say: _Decisions,
) -> UNetNetwork:
    if (
        recipe.base_channels is not None
        and "base_channels" in fixed
        and recipe.base_channels != network.base_channels
    ):
        raise UsageError(
            f"{recipe.base_channels} base channels were requested, but the weights need "
            f"{network.base_channels}.",
            "Train from scratch to change the network (--from scratch).",
        )
    own = recipe.base_channels or (network.base_channels if "base_channels" in fixed else None)
    planned, reason = network.base_channels, "The default width; no time limit was given."
    if recipe.time_s is not None:
        speed = _patches_per_s(_changed(network, base_channels=32), patch, machine, precision)
        seen = speed * recipe.time_s
        # Wide networks learn more per patch, narrow ones see more patches in the same time.
        enough = ((32, 1), (24, 2), (16, 30), (8, math.inf))
        planned = next(width for width, part in enough if seen >= PATCHES_FOR_32 / part)
        reason = (
            f"In {time_in_words(recipe.time_s)} this machine trains on about {seen:,.0f} patches "
            f"at 32 channels; {planned} channels see enough of them."
        )
    return _changed(
        network, base_channels=say.take_of_network("base_channels", own, planned, reason)
    )


def _batch(
    network: UNetNetwork,
    patch: tuple[int, ...],
    recipe: UNetRecipe,
    machine: Machine,
    precision: Precision,
    say: _Decisions,
) -> int:
    fixed = training_memory_bytes(network, patch, batch=1, precision=precision)
    per_patch = training_memory_bytes(network, patch, batch=2, precision=precision) - fixed
    fits = max(1, int((machine.memory_bytes * 0.5 - fixed) / per_patch))
    wanted = {2: {"cpu": 4, "cuda": 16}, 3: {"cpu": 2, "cuda": 4}}[network.dimensions][
        machine.device
    ]
    # Small patches: more of them, so that a batch holds about as many pixels.
    limit = (PATCH_LIMIT_3D if network.dimensions == 3 else PATCH_LIMIT_2D)[
        machine.device
    ] ** network.dimensions
    wanted = min(
        16 if machine.device == "cpu" else 64, max(wanted, int(wanted * limit / math.prod(patch)))
    )
    planned = min(wanted, fits)
    needed, memory = bytes_in_words(planned * per_patch), bytes_in_words(machine.memory_bytes)
    reason = f"{counted(planned, 'patch', 'patches')} need about {needed} of {memory} memory."
    return int(say.take("batch_size", recipe.batch_size, planned, reason))


def _normalization(data: Fingerprint, recipe: UNetRecipe, say: _Decisions) -> Normalization:
    planned = Normalization()
    value: Normalization = say.take(
        "normalization",
        recipe.normalization,
        planned,
        "Percentiles of each image: robust to hot pixels and exposure.",
    )
    if value.scope == "dataset" and not value.dataset_ranges:
        value = value.model_copy(update={"dataset_ranges": data.fit(value)})
    return value


def _schedule(
    data: Fingerprint,
    patch: tuple[int, ...],
    batch: int,
    network: UNetNetwork,
    recipe: UNetRecipe,
    machine: Machine,
    precision: Precision,
    say: _Decisions,
) -> tuple[int, int, int]:
    """Epochs, steps of an epoch, patience."""
    per_epoch = max(data.pair_count, round(data.total_pixels / math.prod(patch)))
    steps = max(1, math.ceil(per_epoch / batch))
    wanted, reason = (
        PATCHES_BY_DEFAULT,
        f"About {PATCHES_BY_DEFAULT:,} patches in total, at least 30 epochs.",
    )
    if recipe.time_s is not None:
        # Twice what the estimate says: the clock ends the training, the epochs must not.
        wanted = int(2 * recipe.time_s * _patches_per_s(network, patch, machine, precision))
        reason = f"More than fit into {time_in_words(recipe.time_s)}; the time limit ends training."
    planned = max(30, math.ceil(wanted / (steps * batch)))
    epochs = say.take("epochs", recipe.epochs, planned, reason)
    if recipe.time_s is None:
        waits, why = (
            max(20, epochs // 3),
            "A third of the epochs without a better validation score.",
        )
    else:
        waits, why = (
            epochs,
            "The time limit ends training: the learning rate decreases until then, and the best "
            "model often comes last.",
        )
    patience = say.take("patience", recipe.patience, waits, why)
    return epochs, steps, patience


def _balance(
    task: Task, data: Fingerprint, recipe: UNetRecipe, say: _Decisions
) -> tuple[tuple[float, ...] | None, float]:
    frequencies = data.class_frequencies
    foreground = 1 - frequencies.get(0, 0.0)
    share = say.take(
        "foreground_share",
        recipe.foreground_share,
        0.33 if foreground > 0.2 and task.mode != "multiclass" else 0.5,
        f"{foreground:.0%} of the pixels are foreground; this fraction of the patches is placed on "
        "foreground, each class equally often.",
    )
    if task.mode != "multiclass":
        return None, share
    found = [max(frequencies.get(label, 0.0), 1e-4) for label in range(task.num_classes)]
    raw = [value**-0.25 for value in found]
    planned = tuple(round(value * len(raw) / sum(raw), 3) for value in raw)
    weights = say.take(
        "class_weights",
        recipe.class_weights,
        planned,
        "Rare classes have larger weights: frequency to the power -1/4, mean 1.",
    )
    if len(weights) != task.num_classes:
        raise UsageError(
            f"{task.num_classes} class weights are needed, not {len(weights)}.",
            "Give one weight per class, background first.",
        )
    return tuple(weights), share


def _augmentation(network: UNetNetwork) -> Augmentation:
    return Augmentation(
        free_rotation=True, elastic=0.3 if network.dimensions == 2 else 0.0, blur=1.0
    )
