"""The network, its patches and their number, fitted to the images and to the machine."""

from __future__ import annotations

import math
from typing import Any

from maskloop.errors import UsageError
from maskloop.images.fingerprint import Fingerprint
from maskloop.models.device import Machine
from maskloop.models.unet.decisions import Case
from maskloop.models.unet.network import training_memory_bytes
from maskloop.models.unet.records import UNetNetwork
from maskloop.models.unet.speed import patches_per_s
from maskloop.wording import bytes_in_words, counted, time_in_words

__all__ = ["fit_base_channels", "fit_batch", "fit_depth", "fit_dimensions", "fit_patch"]

PATCH_LIMIT_2D = {"cpu": 256, "cuda": 512}
PATCH_LIMIT_3D = {"cpu": 64, "cuda": 128}
BATCH_2D = {"cpu": 4, "cuda": 16}
BATCH_3D = {"cpu": 2, "cuda": 4}
BATCH_LIMIT = {"cpu": 16, "cuda": 64}
FAR_APART = 2.0
"""Planes so many times farther apart than pixels are not halved together with them (as in
nnU-Net, Isensee et al. 2021).
"""
SMALLEST = 4
"""Pixels along each axis that the deepest level should still see."""
FEWEST_PLANES = 8
"""A stack of fewer planes leaves a 3D network nothing to halve: 8 become `SMALLEST` once."""
PATCHES_FOR_32 = 12_000
"""Patches of the largest size that a network with 32 base channels should see; with less time
a smaller one ends up better.
"""
# Wide networks learn more per patch, narrow ones see more patches in the same time.
WIDTHS = ((32, 1), (24, 2), (16, 30), (8, math.inf))
"""Base channels, and by how much fewer patches than `PATCHES_FOR_32` they are enough for."""


def fit_dimensions(network: UNetNetwork, case: Case) -> UNetNetwork:
    """Adapt spatial dimensions and input channels to the data.

    Raises
    ------
    UsageError
        If a network that is settled does not fit the images.
    """
    data = case.data
    is_3d = data.spatial_dims == (3,) and data.smallest_shape[0] >= FEWEST_PLANES
    dims = case.say.take_of_network(
        "spatial_dims",
        network.spatial_dims if "spatial_dims" in case.fixed else None,
        "3d" if is_3d else "2d",
        f"All images are volumes of at least {FEWEST_PLANES} planes."
        if is_3d
        else "The images are planes, or stacks with too few planes for 3D.",
    )
    # The other way round is fine: a 2D network sees a volume plane by plane.
    if dims == "3d" and data.spatial_dims != (3,):
        spatial = " and ".join(map(str, data.spatial_dims))
        raise UsageError(
            f"The network is 3D, but the dataset has images with {spatial} spatial axes.",
            "Select a 2D network, which segments volumes plane by plane (--spatial-dims 2d), or "
            "keep only volumes in this project.",
        )
    if "input_channels" in case.fixed and network.input_channels != data.channels:
        raise UsageError(
            f"The network takes {counted(network.input_channels, 'channel')}, the images have "
            f"{data.channels}.",
            "Train from scratch (--from scratch), or accept images with the same channels.",
        )
    case.say.take(
        "input_channels",
        None,
        data.channels,
        f"The images have {counted(data.channels, 'channel')}.",
    )
    return _changed(network, spatial_dims=dims, input_channels=data.channels)


def _changed(network: UNetNetwork, **changes: Any) -> UNetNetwork:
    # Not `model_copy`, which checks nothing: Z strides must be shortened with the depth.
    return UNetNetwork.model_validate(network.model_dump() | changes)


def fit_depth(network: UNetNetwork, case: Case) -> UNetNetwork:
    """Halve as often as the images allow, and along Z as the distance of their planes allows.

    Raises
    ------
    UsageError
        If the recipe asks for another depth than the weights have.
    """
    recipe = case.recipe
    is_fixed = "depth" in case.fixed
    # Of a volume the shorter side of its planes: what Z can take is decided after it.
    shortest = min(case.data.median_shape[-2:])
    largest = max(1, min(network.depth, int(math.log2(max(SMALLEST, shortest) / SMALLEST))))
    if recipe.depth is not None and is_fixed and recipe.depth != network.depth:
        raise UsageError(
            f"Depth {recipe.depth} was requested, but the weights need {network.depth}.",
            "Train from scratch to change the network (--from scratch).",
        )
    depth = case.say.take_of_network(
        "depth",
        network.depth if is_fixed else recipe.depth,
        largest,
        f"The shortest side is {shortest} px; the deepest level should have {SMALLEST} px or more.",
    )
    return _fit_z_strides(_changed(network, depth=depth), case)


def _fit_z_strides(network: UNetNetwork, case: Case) -> UNetNetwork:
    """Halve Z where planes are as close as the pixels of that level, and while enough are left."""
    if network.dimensions == 2:
        return network
    known, planes = _z_spacing(case.data), case.data.median_shape[0]
    # In pixels of the level that is looked at, which double with each halving of Y and X.
    apart, left = known or 1.0, planes
    planned: list[int] = []
    for _ in range(network.depth):
        stride = 2 if apart < FAR_APART and left >= 2 * SMALLEST else 1
        planned.append(stride)
        left //= stride
        apart /= 2 // stride
    often = planned.count(2)
    distance = (
        f"Planes are {known:.1f} times as far apart as pixels"
        if known
        else "The files do not state the distance between planes"
    )
    reason = f"{distance}, and {planes} planes can be halved {counted(often, 'time')}."
    own = network.z_strides if "z_strides" in case.fixed else None
    strides = case.say.take_of_network("z_strides", own, tuple(planned), reason)
    return _changed(network, z_strides=strides)


def _z_spacing(data: Fingerprint) -> float | None:
    """Distance of planes in pixels, where it is known."""
    sizes = data.pixel_size_um
    return sizes["Z"] / min(sizes["Y"], sizes["X"]) if {"Z", "Y", "X"} <= set(sizes) else None


def fit_patch(network: UNetNetwork, case: Case) -> tuple[int, ...]:
    """Size of the patches along (Z)YX: as much context as the images have and the machine allows.

    Raises
    ------
    UsageError
        If the recipe asks for lengths that the network cannot halve.
    """
    steps = network.multiple
    limits, reason = _patch_limits(network, case.data, case.machine)
    shape = case.data.median_shape[-network.dimensions :]
    # Up to the next multiple, which mirrors a few pixels, rather than down, which would cut them
    # off; never over the limit.
    planned = tuple(
        max(step, int(min(limit, math.ceil(length / step) * step)) // step * step)
        for length, limit, step in zip(shape, limits, steps, strict=True)
    )
    patch = tuple(case.say.take("patch_size", case.recipe.patch_size, planned, reason))
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
    # Equal lengths in micrometers and cube**3 voxels: with planes s pixels apart, depth is
    # cube / s**(2/3), and a side cube * s**(1/3).
    deep = min(
        cube / (_z_spacing(data) or 1.0) ** (2 / 3), math.ceil(data.median_shape[0] / step) * step
    )
    # From the depth that is left after rounding: what Z does not use goes to the planes.
    side = min(plane, math.sqrt(cube**3 / max(step, deep // step * step)))
    return (
        (deep, side, side),
        f"About as many voxels as {cube} x {cube} x {cube} at most, not larger than the median "
        "image.",
    )


def fit_base_channels(network: UNetNetwork, patch: tuple[int, ...], case: Case) -> UNetNetwork:
    """As wide as the time budget leaves enough patches for.

    Raises
    ------
    UsageError
        If the recipe asks for another width than the weights have.
    """
    recipe = case.recipe
    is_fixed = "base_channels" in case.fixed
    if (
        recipe.base_channels is not None
        and is_fixed
        and recipe.base_channels != network.base_channels
    ):
        raise UsageError(
            f"{recipe.base_channels} base channels were requested, but the weights need "
            f"{network.base_channels}.",
            "Train from scratch to change the network (--from scratch).",
        )
    planned, reason = network.base_channels, "The default width; no time limit was given."
    if recipe.time_s is not None:
        at_32 = _changed(network, base_channels=32)
        seen = patches_per_s(at_32, patch, case.machine, case.precision) * recipe.time_s
        planned = next(width for width, part in WIDTHS if seen >= PATCHES_FOR_32 / part)
        reason = (
            f"In {time_in_words(recipe.time_s)} this machine trains on about {seen:,.0f} patches "
            f"at 32 channels; {planned} channels see enough of them."
        )
    own = recipe.base_channels or (network.base_channels if is_fixed else None)
    width = case.say.take_of_network("base_channels", own, planned, reason)
    return _changed(network, base_channels=width)


def fit_batch(network: UNetNetwork, patch: tuple[int, ...], case: Case) -> int:
    """Patches per step: about as many pixels as usual, as far as memory is enough for them."""
    device, memory_bytes = case.machine.device, case.machine.memory_bytes
    is_3d = network.dimensions == 3
    one, two = (
        training_memory_bytes(network, patch, batch=count, precision=case.precision)
        for count in (1, 2)
    )
    # What the second patch adds: weights and their moments are there once.
    per_patch = two - one
    # Half of the memory: with glibc a step has taken up to 49 % more than the estimate (see
    # `UNetBackend.describe`).
    fits = max(1, int((memory_bytes * 0.5 - one) / per_patch))
    wanted = (BATCH_3D if is_3d else BATCH_2D)[device]
    # Small patches: more of them, so that a batch holds about as many pixels.
    largest = (PATCH_LIMIT_3D if is_3d else PATCH_LIMIT_2D)[device] ** network.dimensions
    wanted = min(BATCH_LIMIT[device], max(wanted, int(wanted * largest / math.prod(patch))))
    planned = min(wanted, fits)
    needed, memory = bytes_in_words(planned * per_patch), bytes_in_words(memory_bytes)
    reason = f"{counted(planned, 'patch', 'patches')} need about {needed} of {memory} memory."
    return int(case.say.take("batch_size", case.recipe.batch_size, planned, reason))
