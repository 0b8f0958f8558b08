"""The average of the weights over the last steps, which predicts better than the last ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["update_average"]

AVERAGE_DECAY = 0.99


def update_average(
    averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int
) -> None:
    """Exponential moving average; its window grows, so the first weights are soon forgotten."""
    seen = int(count)
    # As in TensorFlow's ExponentialMovingAverage.
    decay = min(AVERAGE_DECAY, (1 + seen) / (10 + seen))
    # PyTorch hands over one type at a time; counters of batch normalization are integers.
    if averaged[0].is_floating_point():
        torch._foreach_lerp_(list(averaged), list(current), 1 - decay)
        return
    for old, new in zip(averaged, current, strict=True):
        old.copy_(new)
