"""Training loss and activation of each output: BCE + Dice, cross-entropy + Dice, distances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from maskloop.errors import UsageError
from maskloop.predict.base import Output

__all__ = ["Loss", "activate", "build_loss"]


class Loss(Protocol):
    """Maps logits and targets to a scalar; `known` is 0 at pixels that count for nothing."""

    def __call__(self, logits: Tensor, target: Tensor, known: Tensor | None = None) -> Tensor:
        """The loss of a batch."""


DISTANCE_BETA = 0.1
"""Errors of the distance maps above this count linearly, below it quadratically."""


def build_loss(output: Output, *, class_weights: Sequence[float] | None = None) -> Loss:
    """Make the training loss of an output.

    Parameters
    ----------
    output
        What the scores mean.
    class_weights
        One weight per class, background first; they weigh the pixels of the cross-entropy (binary:
        of the BCE; instances: of the foreground's BCE).

    Returns
    -------
    loss
        Maps logits (N, C, *S) and a target to a scalar in fp32, inside autocast too. The target
        holds class ids (N, *S) or (N, 1, *S) of any integer type (binary: nonzero is foreground),
        or for instances the float maps (N, 3, *S) of `maskloop.images.instances.encode_instances`.
        It is finite for logits that are, whatever the target holds. Its gradient is zero where
        `known` (N, 1 or 2, *S) is: the first channel is for classes and foreground, the last for
        distances.

    Raises
    ------
    UsageError
        If the number of weights is not the number of classes, or a weight is negative or not
        finite.
    """
    weights = _checked_weights(output, class_weights)
    of_output = _HEADS[output.kind].loss

    def loss(logits: Tensor, target: Tensor, known: Tensor | None = None) -> Tensor:
        # Sums over a batch overflow fp16 and lose small terms in bf16.
        with torch.autocast(logits.device.type, enabled=False):
            return of_output(logits.float(), target, weights, known)

    return loss


def _checked_weights(
    output: Output, class_weights: Sequence[float] | None
) -> tuple[float, ...] | None:
    if class_weights is None:
        return None
    weights = tuple(float(weight) for weight in class_weights)
    classes = len(output.class_labels)
    if len(weights) != classes:
        raise UsageError(
            f"{classes} class weights are needed, not {len(weights)}.",
            "Give one weight per class, background first.",
        )
    # Weights that are all zero would leave nothing to learn; NaN fails the comparison, too.
    if not all(0 <= weight < float("inf") for weight in weights) or sum(weights) == 0:
        raise UsageError(
            f"Class weights {weights} are not all finite and positive.",
            "Give finite weights greater than zero, such as 1,2,5.",
        )
    return weights


def _class_ids(logits: Tensor, target: Tensor) -> Tensor:
    return target.squeeze(1) if target.ndim == logits.ndim else target


def _bce_dice(
    logits: Tensor, target: Tensor, weights: tuple[float, ...] | None, known: Tensor | None
) -> Tensor:
    foreground = (_class_ids(logits, target) > 0).float()
    return _foreground_loss(logits[:, 0], foreground, weights, known)


def _foreground_loss(
    logits: Tensor, foreground: Tensor, weights: tuple[float, ...] | None, known: Tensor | None
) -> Tensor:
    """BCE + Dice of one channel; logits and foreground are (N, *S)."""
    pixels = None if weights is None else weights[0] + (weights[1] - weights[0]) * foreground
    if known is not None:
        pixels = known[:, 0] if pixels is None else pixels * known[:, 0]
    # The sum, divided by the sum of weights: PyTorch's "mean" divides by the pixels, which would
    # change the balance with Dice as the weights do.
    losses = functional.binary_cross_entropy_with_logits(
        logits, foreground, weight=pixels, reduction="sum"
    )
    total = (
        foreground.numel()
        if pixels is None
        else pixels.sum().clamp_min(torch.finfo(torch.float32).tiny)
    )
    return losses / total + _dice_loss(torch.sigmoid(logits)[:, None], foreground[:, None], known)


def _dice_loss(probabilities: Tensor, truth: Tensor, known: Tensor | None = None) -> Tensor:
    """One minus soft Dice (Milletari et al. 2016) over the whole batch, as in nnU-Net.

    Channels without truth in the batch are left out: their Dice would be the same for every wrong
    answer but a perfect one, and the cross-entropy already teaches them.
    """
    if known is not None:
        probabilities, truth = probabilities * known[:, :1], truth * known[:, :1]
    axes = [0, *range(2, truth.ndim)]
    overlap = (probabilities * truth).sum(axes)
    sizes = probabilities.sum(axes), truth.sum(axes)
    # Over the whole batch: of a single patch with a few pixels of a class, Dice is mostly chance.
    dice = 2 * overlap / (sizes[0] + sizes[1]).clamp_min(1e-6)
    is_there = (sizes[1] > 0).float()
    return (is_there * (1 - dice)).sum() / is_there.sum().clamp_min(1)


def _cross_entropy_dice(
    logits: Tensor, target: Tensor, weights: tuple[float, ...] | None, known: Tensor | None
) -> Tensor:
    classes = _class_ids(logits, target).long()
    weight = None if weights is None else torch.tensor(weights, device=logits.device)
    if known is None:
        losses = functional.cross_entropy(logits, classes, weight=weight, reduction="sum")
        pixels = None if weight is None else weight[classes]
    else:
        each = functional.cross_entropy(logits, classes, weight=weight, reduction="none")
        losses = (each * known[:, 0]).sum()
        pixels = known[:, 0] if weight is None else weight[classes] * known[:, 0]
    total = (
        classes.numel()
        if pixels is None
        else pixels.sum().clamp_min(torch.finfo(torch.float32).tiny)
    )
    # (N, *S, classes) to (N, classes - 1, *S): without the background.
    truth = functional.one_hot(classes, logits.shape[1]).movedim(-1, 1)[:, 1:]
    # The background's Dice is near one everywhere and would only thin out the others.
    return losses / total + _dice_loss(torch.softmax(logits, 1)[:, 1:], truth, known)


def _instance_distances(
    logits: Tensor, target: Tensor, weights: tuple[float, ...] | None, known: Tensor | None
) -> Tensor:
    """Foreground as in binary; both distance maps by a smooth L1 within the objects."""
    target = target.float()
    foreground = (target[:, 0] > 0.5).float()
    misses = functional.smooth_l1_loss(
        torch.sigmoid(logits[:, 1:]), target[:, 1:], beta=DISTANCE_BETA, reduction="none"
    )
    # Within the objects only: outside there is no center and no border that a distance could be to.
    # Of an object that the annotated region cuts off, only its foreground is known.
    inside = foreground if known is None else foreground * known[:, -1]
    distances = (misses * inside[:, None]).sum() / inside.sum().clamp_min(1)
    return _foreground_loss(logits[:, 0], foreground, weights, known) + distances


class _Head(NamedTuple):
    """What a network's last layer means to the training."""

    loss: Callable[[Tensor, Tensor, tuple[float, ...] | None, Tensor | None], Tensor]
    activation: Callable[[Tensor], Tensor]


def _softmax(logits: Tensor) -> Tensor:
    return torch.softmax(logits, 1)


# By kind and not as a method of the output: outputs are records, which must not load torch.
_HEADS: dict[str, _Head] = {
    "foreground": _Head(_bce_dice, torch.sigmoid),
    "classes": _Head(_cross_entropy_dice, _softmax),
    "distance_maps": _Head(_instance_distances, torch.sigmoid),
}


def activate(logits: Tensor, output: Output) -> Tensor:
    """Scores of logits (N, C, *S)."""
    return _HEADS[output.kind].activation(logits)
