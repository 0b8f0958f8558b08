"""How fast a machine trains a U-Net, estimated before the first step."""

from __future__ import annotations

import math

from maskloop.models.base import Precision
from maskloop.models.device import Machine
from maskloop.models.unet.records import UNetNetwork

__all__ = ["patches_per_s"]

# Estimated and not timed: the plan is shown at once, and is the same each time it is made.
FLOPS_PER_S = {"cpu": 6e10, "cpu_bf16": 1.4e11, "cuda": 2e13}
"""Sustained operations per second in training, per core of a CPU.

Measured on the standard U-Net, 256 x 256, channels last.
"""
MOST_CORES = 16
"""Cores of a CPU that are counted."""


def patches_per_s(
    network: UNetNetwork, patch: tuple[int, ...], machine: Machine, precision: Precision
) -> float:
    """Patches per second that the machine trains on."""
    key = "cpu_bf16" if machine.device == "cpu" and precision == "bf16" else machine.device
    cores = min(machine.cores, MOST_CORES) if machine.device == "cpu" else 1
    # Narrow layers leave the arithmetic units half empty.
    efficiency = min(1.0, 0.3 + 0.7 * network.base_channels / 32)
    return FLOPS_PER_S[key] * cores * efficiency / _flops(network, patch)


def _flops(network: UNetNetwork, patch: tuple[int, ...]) -> float:
    """Operations of one training step per patch."""
    total, pixels = 0.0, float(math.prod(patch))
    for level, kernel in enumerate(network.kernels):
        width = network.base_channels * 2**level
        # In units of width**2: the encoder's two convolutions make 0.5 + 1; the decoder, whose
        # first convolution takes the skip connection as well, the rest. The bottleneck has none.
        per_pixel = 5.5 if level < network.depth else 1.5
        total += pixels * math.prod(kernel) * per_pixel * width * width
        pixels /= math.prod(network.strides[level]) if level < network.depth else 1
    # A multiplication and an addition each; forward, and backward for features and for weights.
    return 2 * 3 * total
