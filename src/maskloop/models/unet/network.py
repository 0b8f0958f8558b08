"""The U-Net family, built exactly as described: plain, residual, with attention gates; 2D, 3D.

Ronneberger et al. 2015 (U-Net), Cicek et al. 2016 (3D), He et al. 2016 (residual blocks), Oktay et
al. 2018 (attention gates).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from maskloop.models.unet.convolutions import Conv3d, ConvTranspose3d
from maskloop.models.unet.records import UNetNetwork

__all__ = ["UNet", "build_unet", "outline_unet", "reach", "summarize", "training_memory_bytes"]

CONVS_PER_BLOCK = 2
GROUP_SIZE = 8
"""Channels that share statistics in group normalization."""
LOSS_BYTES = 24
"""Per pixel and output channel: logits, probabilities, target and their gradients in fp32."""


def outline_unet(architecture: UNetNetwork) -> UNet:
    """Build the network without memory, to compare its shapes with those of weights."""
    with torch.device("meta"):
        return UNet(architecture)


def build_unet(architecture: UNetNetwork) -> UNet:
    """Build the network that an architecture describes, initialized for training from scratch.

    Parameters
    ----------
    architecture
        What to build.

    Returns
    -------
    network
        Maps (N, input_channels, *S) to logits (N, output_channels, *S); lengths S are multiples of
        ``architecture.multiple``. There is no activation inside.
    """
    network = UNet(architecture)
    for module in network.modules():
        _initialize(module)
    # A residual block starts as its shortcut: deep networks train from the first step (Goyal et al.
    # 2017).
    for block in network.modules():
        if isinstance(block, ResidualBlock):
            last = block.last
            nn.init.zeros_(
                last.conv.weight
                if isinstance(last.norm, nn.Identity)
                else last.norm.get_parameter("weight")
            )
    return network


def _initialize(module: nn.Module) -> None:
    """He et al. 2015 before a ReLU; unit gain for layers that no ReLU follows."""
    if not isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        return
    if isinstance(module, nn.ConvTranspose2d | nn.ConvTranspose3d):
        # Kernels as long as their strides never overlap: each output pixel sees one pixel of each
        # input channel.
        nn.init.normal_(module.weight, std=module.in_channels**-0.5)
    else:
        nn.init.kaiming_normal_(
            module.weight, nonlinearity="relu" if module.kernel_size[-1] == 3 else "linear"
        )
    if module.bias is not None:
        nn.init.zeros_(module.bias)


class GroupNorm(nn.GroupNorm):
    """Normalization over groups of channels of each image, in the precision of the features.

    Autocast would widen it to fp32 on CUDA and keep 2.5 times the memory for the backward pass; its
    sums are fp32 anyway.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalize (N, C, *S); a single pixel is accepted."""
        if input.dtype == self.weight.dtype:
            return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)
        with torch.autocast(input.device.type, enabled=False):
            # Only the few weights are cast, never the features.
            weight, bias = self.weight.to(input.dtype), self.bias.to(input.dtype)
            return torch.group_norm(input, self.num_groups, weight, bias, self.eps)


class InstanceNorm(GroupNorm):
    """Normalization of each channel of each image; unlike PyTorch's own it keeps channels last."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)


def _norm(architecture: UNetNetwork, channels: int) -> nn.Module:
    match architecture.normalization:
        case "batch":
            return (nn.BatchNorm3d if architecture.dimensions == 3 else nn.BatchNorm2d)(channels)
        case "instance":
            return InstanceNorm(channels)
        case "group":
            # As many groups as divide the channels: 8 channels each where that goes, more where
            # not.
            groups = next(
                n for n in range(max(1, channels // GROUP_SIZE), 0, -1) if channels % n == 0
            )
            return GroupNorm(groups, channels)
        case "none":
            return nn.Identity()


Lengths = tuple[int, ...]


def _conv(
    architecture: UNetNetwork, inputs: int, outputs: int, size: Lengths, *, bias: bool = True
) -> nn.Conv2d | nn.Conv3d:
    """A convolution with lengths of 1 or 3 that keeps the shape."""
    kind: Any = Conv3d if architecture.dimensions == 3 else nn.Conv2d
    made: nn.Conv2d | nn.Conv3d = kind(
        inputs, outputs, size, padding=tuple(length // 2 for length in size), bias=bias
    )
    return made


def _project(architecture: UNetNetwork, inputs: int, outputs: int) -> nn.Conv2d | nn.Conv3d:
    return _conv(architecture, inputs, outputs, (1,) * architecture.dimensions)


def _resize(scores: Tensor, stride: Lengths) -> Tensor:
    """As many times the resolution as the stride says, by (bi- or tri-) linear interpolation."""
    mode = "bilinear" if scores.ndim == 4 else "trilinear"
    return functional.interpolate(
        scores, scale_factor=tuple(map(float, stride)), mode=mode, align_corners=False
    )


class ConvNorm(nn.Module):
    """A convolution and its normalization; it has a bias only where no normalization has one."""

    def __init__(self, architecture: UNetNetwork, inputs: int, outputs: int, size: Lengths) -> None:
        super().__init__()
        self.conv = _conv(
            architecture, inputs, outputs, size, bias=architecture.normalization == "none"
        )
        self.norm = _norm(architecture, outputs)

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs, *S) to (N, outputs, *S)."""
        normalized: Tensor = self.norm(self.conv(features))
        return normalized


class ConvBlock(nn.Module):
    """Two convolutions, each followed by normalization and ReLU."""

    def __init__(self, architecture: UNetNetwork, inputs: int, outputs: int, size: Lengths) -> None:
        super().__init__()
        widths = [inputs] + [outputs] * CONVS_PER_BLOCK
        self.convs = nn.ModuleList(
            ConvNorm(architecture, a, b, size) for a, b in itertools.pairwise(widths)
        )

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs, *S) to (N, outputs, *S)."""
        for conv in self.convs:
            # In place: autograd needs the output of a ReLU, not its input, so one map less is kept.
            features = functional.relu(conv(features), inplace=True)
        return features

    @property
    def last(self) -> ConvNorm:
        """Its last convolution."""
        last = self.convs[-1]
        assert isinstance(last, ConvNorm)
        return last


class ResidualBlock(ConvBlock):
    """Two convolutions beside a shortcut (He et al. 2016).

    A 1x1 convolution fits the shortcut where the widths differ.
    """

    def __init__(self, architecture: UNetNetwork, inputs: int, outputs: int, size: Lengths) -> None:
        super().__init__(architecture, inputs, outputs, size)
        one = (1,) * len(size)
        self.shortcut = (
            nn.Identity() if inputs == outputs else ConvNorm(architecture, inputs, outputs, one)
        )

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs, *S) to (N, outputs, *S)."""
        branch = features
        for conv in self.convs[:-1]:
            branch = functional.relu(conv(branch), inplace=True)
        return functional.relu(self.last(branch) + self.shortcut(features), inplace=True)


class AttentionGate(nn.Module):
    """Additive attention on a skip connection, steered by the coarser decoder level.

    Oktay et al. 2018, equations 1 and 2.

    As in the paper the coefficients are found at the coarser resolution and interpolated; unlike
    there the finest skip connection is gated too.
    """

    def __init__(self, architecture: UNetNetwork, skip: int, gate: int, stride: Lengths) -> None:
        super().__init__()
        inner = max(1, skip // 2)
        kind: Any = Conv3d if architecture.dimensions == 3 else nn.Conv2d
        # To the resolution of the gate; the other projection's bias serves both, for they are
        # added.
        self.from_skip = kind(skip, inner, stride, stride=stride, bias=False)
        self.from_gate = _project(architecture, gate, inner)
        self.score = _project(architecture, inner, 1)
        self.stride = stride

    def forward(self, skip: Tensor, gate: Tensor) -> Tensor:
        """Skip (N, skip, *S) weighed by coefficients in 0..1 from gate (N, gate, *S / stride)."""
        joined = functional.relu(self.from_skip(skip) + self.from_gate(gate), inplace=True)
        return skip * _resize(torch.sigmoid(self.score(joined)), self.stride)


class UpProjection(nn.Module):
    """Half the channels, then the resolution of the finer level by interpolation.

    A 1x1 convolution and an interpolation commute, so this equals the usual order at a quarter (3D:
    an eighth) of the cost.
    """

    def __init__(
        self, architecture: UNetNetwork, inputs: int, outputs: int, stride: Lengths
    ) -> None:
        super().__init__()
        self.conv = _project(architecture, inputs, outputs)
        self.stride = stride

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs, *S) to (N, outputs, *S * stride)."""
        return _resize(self.conv(features), self.stride)


def _up(architecture: UNetNetwork, inputs: int, outputs: int, stride: Lengths) -> nn.Module:
    if architecture.upsampling == "bilinear":
        return UpProjection(architecture, inputs, outputs, stride)
    kind: Any = ConvTranspose3d if architecture.dimensions == 3 else nn.ConvTranspose2d
    made: nn.Module = kind(inputs, outputs, stride, stride=stride)
    return made


class UNet(nn.Module):
    """Encoder, bottleneck and decoder with skip connections; the decoder from coarse to fine."""

    def __init__(self, architecture: UNetNetwork) -> None:
        super().__init__()
        block = ResidualBlock if architecture.preset == "resunet" else ConvBlock
        widths = [architecture.base_channels * 2**level for level in range(architecture.depth + 1)]
        *sizes, deepest = architecture.kernels
        inputs = [architecture.input_channels, *widths[:-2]]
        self.encoder = nn.ModuleList(
            block(architecture, *level) for level in zip(inputs, widths[:-1], sizes, strict=True)
        )
        self.bottleneck = block(architecture, widths[-2], widths[-1], deepest)
        # From coarse to fine, as the decoder runs: (coarse channels, fine channels, stride).
        steps = list(zip(widths[1:], widths[:-1], architecture.strides, strict=True))[::-1]
        self.ups = nn.ModuleList(_up(architecture, *step) for step in steps)
        has_gates = architecture.preset == "attention_unet"
        self.gates = nn.ModuleList(
            AttentionGate(architecture, fine, coarse, stride)
            for coarse, fine, stride in steps
            if has_gates
        )
        self.decoder = nn.ModuleList(
            # Twice the channels: the skip connection is concatenated.
            block(architecture, 2 * fine, fine, size)
            for (_, fine, _), size in zip(steps, reversed(sizes), strict=True)
        )
        self.head = _project(architecture, widths[0], architecture.output_channels)
        self.strides = architecture.strides

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, output_channels, *S) of images (N, input_channels, *S).

        The lengths S are multiples of `UNetNetwork.multiple`.
        """
        pool = functional.max_pool3d if images.ndim == 5 else functional.max_pool2d
        features, skips = images, []
        for block, stride in zip(self.encoder, self.strides, strict=True):
            features = block(features)
            skips.append(features)
            features = pool(features, stride)
        features = self.bottleneck(features)
        for level, (up, block) in enumerate(zip(self.ups, self.decoder, strict=True)):
            skip = skips.pop()
            if self.gates:
                skip = self.gates[level](skip, features)
            features = block(torch.cat([skip, up(features)], dim=1))
        logits: Tensor = self.head(features)
        return logits


def summarize(network: nn.Module, architecture: UNetNetwork) -> dict[str, Any]:
    """What was built, counted from the network itself and not from its description.

    Parameters
    ----------
    network
        What `build_unet` returned.
    architecture
        Its description; only the receptive field is taken from it.

    Returns
    -------
    summary
        Plain JSON: feature_channels (encoder levels, then bottleneck), double_conv_blocks,
        conv_layers_per_block, double_conv_layers, upsampling_layers, final_projection_layers,
        shortcut_projections, attention_gates, normalization_layers (kind to count), parameters,
        multiple (lengths along (Z)YX must be multiples of it) and reach_px (half the receptive
        field along (Z)YX).
    """
    assert isinstance(network, UNet)
    blocks = [module for module in network.modules() if isinstance(module, ConvBlock)]
    norms = [
        type(module).__name__
        for module in network.modules()
        if isinstance(module, GroupNorm | nn.BatchNorm2d | nn.BatchNorm3d)
    ]
    # Counted by type, so that a change of the network cannot make its description wrong.
    upsamplings = nn.ConvTranspose2d | nn.ConvTranspose3d | UpProjection
    main = [conv for block in blocks for conv in block.convs]
    return {
        "feature_channels": [
            block.last.conv.out_channels for block in blocks[: len(network.encoder) + 1]
        ],
        "double_conv_blocks": len(blocks),
        "conv_layers_per_block": len(main) // len(blocks),
        "double_conv_layers": len(main),
        "upsampling_layers": sum(isinstance(module, upsamplings) for module in network.modules()),
        "final_projection_layers": sum(
            isinstance(module, nn.Conv2d | nn.Conv3d) for module in network.head.modules()
        ),
        "shortcut_projections": sum(
            isinstance(block, ResidualBlock) and isinstance(block.shortcut, ConvNorm)
            for block in blocks
        ),
        "attention_gates": sum(isinstance(module, AttentionGate) for module in network.modules()),
        "normalization_layers": {name: norms.count(name) for name in sorted(set(norms))},
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "multiple": [math.prod(steps) for steps in zip(*network.strides, strict=True)],
        "reach_px": list(reach(architecture)),
    }


def reach(architecture: UNetNetwork) -> tuple[int, ...]:
    """Half the receptive field along each of (Z)YX: the halo of an exact tile.

    Found by following which inputs each output pixel depends on through every layer. Statistics of
    instance and group normalization span the whole tile and are not counted.
    """
    is_gated = architecture.preset == "attention_unet"
    looks_aside = is_gated or architecture.upsampling == "bilinear"
    axes = zip(
        zip(*architecture.strides, strict=True),
        zip(*architecture.kernels, strict=True),
        strict=True,
    )
    return tuple(
        _Axis(strides, kernels, is_gated, looks_aside).reach() for strides, kernels in axes
    )


@dataclass(frozen=True)
class _Axis:
    """Which pixels along one axis depend on which; levels are counted from fine to coarse."""

    strides: tuple[int, ...]
    kernels: tuple[int, ...]
    is_gated: bool
    looks_aside: bool
    """Interpolation looks at the neighbor too; the coefficients of a gate are always
    interpolated.
    """

    def reach(self) -> int:
        """The farthest input pixel of any output pixel."""
        # Every position within a period of the strides: pixels at the edge of a pooling cell see
        # less far to one side than to the other.
        found = [
            (pixel, self._decoder(0, pixel, pixel)) for pixel in range(math.prod(self.strides))
        ]
        return max(max(pixel - low, high - pixel) for pixel, (low, high) in found)

    def _encoder(self, level: int, low: int, high: int) -> tuple[int, int]:
        """Input pixels behind encoder features low..high of a level."""
        # Each 3x3 convolution looks one pixel farther, a flat one (length 1) none.
        aside = CONVS_PER_BLOCK * (self.kernels[level] // 2)
        low, high = low - aside, high + aside
        if level == 0:
            return low, high
        stride = self.strides[level - 1]
        return self._encoder(level - 1, stride * low, stride * high + stride - 1)

    def _decoder(self, level: int, low: int, high: int) -> tuple[int, int]:
        """Input pixels behind decoder features low..high; the deepest level is the bottleneck."""
        if level == len(self.strides):
            return self._encoder(level, low, high)
        aside, stride = CONVS_PER_BLOCK * (self.kernels[level] // 2), self.strides[level]
        low, high = low - aside, high + aside
        neighbor = 1 if self.looks_aside and stride > 1 else 0
        above = (low - neighbor) // stride, (high + neighbor) // stride
        beside = (
            # A gate's coefficient depends on all skip pixels in its cell, not only on the one it
            # weighs.
            (stride * above[0], stride * above[1] + stride - 1) if self.is_gated else (low, high)
        )
        needs = self._encoder(level, *beside), self._decoder(level + 1, *above)
        return min(needs[0][0], needs[1][0]), max(needs[0][1], needs[1][1])


def training_memory_bytes(
    architecture: UNetNetwork,
    patch: Sequence[int],
    *,
    batch: int,
    precision: Literal["bf16", "fp16", "fp32"] = "fp32",
) -> int:
    """Memory that a training step needs at its peak, without the library's own overhead.

    Weights, gradients and the two moments of AdamW in fp32, what autograd keeps for the backward
    pass (counted by running the network without data), and the gradients in flight.

    Parameters
    ----------
    architecture
        The network.
    patch
        Patch size along YX or ZYX.
    batch
        Patches per step.
    precision
        Arithmetic of the activations; losses stay in fp32.
    """
    cost = _training_cost(architecture.model_dump_json())
    pixels = batch * math.prod(patch)
    size = 4 if precision == "fp32" else 2
    # 4 bytes each for weight, gradient and both moments of AdamW; autocast adds a copy in half
    # precision.
    weights = cost.parameters * (16 if precision == "fp32" else 16 + size)
    activations = pixels * (size * (cost.kept + cost.in_flight) + cost.indices)
    return int(weights + activations + pixels * LOSS_BYTES * architecture.output_channels)


@dataclass(frozen=True)
class _TrainingCost:
    """Numbers that a training step holds: parameters, and per pixel of the patch."""

    parameters: int
    kept: float
    in_flight: float
    indices: float


@cache
def _training_cost(description: str) -> _TrainingCost:
    # A key of text, because a record with a dictionary in it has no hash.
    architecture = UNetNetwork.model_validate_json(description)
    with torch.device("meta"):
        network = UNet(architecture)
        patch = torch.empty(
            1, architecture.input_channels, *[2 * step for step in architecture.multiple]
        )
    # By storage: views of one tensor are saved several times but take memory once.
    own = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(saved: Tensor) -> Tensor:
        kept[saved.untyped_storage()._cdata] = saved
        return saved

    # What autograd keeps is asked and not modeled: it changes with presets and PyTorch's versions.
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
        network(patch)
    pixels = math.prod(patch.shape[2:])
    values = {
        key: saved.untyped_storage().nbytes() for key, saved in kept.items() if key not in own
    }
    # Values and indices apart: those of max pooling stay int64 in any precision.
    floats = [count / 4 / pixels for key, count in values.items() if kept[key].is_floating_point()]
    indices = (
        sum(count for key, count in values.items() if not kept[key].is_floating_point()) / pixels
    )
    return _TrainingCost(
        sum(p.numel() for p in network.parameters()), sum(floats), max(floats), indices
    )
