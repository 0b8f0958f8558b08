"""Scores on whole validation images, through the same prediction code that users run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from maskloop.images.image import Image
from maskloop.images.normalize import normalize
from maskloop.models.base import Augmentation, Plan
from maskloop.models.data import PatchSampler, Sample
from maskloop.models.metrics import class_scores, instance_scores
from maskloop.models.segmenter import UNetSegmenter
from maskloop.predict.segment import segment

__all__ = ["Scores", "Validation", "draw_preview"]

LOSS_BATCHES = 4
STILL = Augmentation(
    horizontal_flip=False,
    vertical_flip=False,
    rotation_degrees=(0,),
    free_rotation=False,
    scale=0,
    elastic=0,
    intensity_jitter=0,
    noise=0,
    blur=0,
)


@dataclass(frozen=True)
class Scores:
    """How well whole images were predicted."""

    score: float
    """What the best checkpoint is chosen by: mean Dice of the classes, or mean AP for instances."""
    values: dict[str, float]
    image: NDArray[np.float32]
    """A normalised plane of the first image, for the preview."""
    prediction: NDArray[Any]
    truth: NDArray[Any]


class Validation:
    """Whole images that are never trained on."""

    def __init__(self, samples: Sequence[Sample], plan: Plan) -> None:
        self.samples = list(samples)
        self.plan = plan
        self.pixels = sum(sample.labels.size for sample in samples)
        self.last_s = 0.0
        self._patches = (
            PatchSampler(samples, plan.model_copy(update={"augmentation": STILL}))
            if samples
            else None
        )

    def score(
        self, module: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], device: torch.device
    ) -> Scores:
        """Predict every validation image and compare it with its truth."""
        began = time.monotonic()
        segmenter = UNetSegmenter(
            module, self.plan, device="cuda" if device.type == "cuda" else "cpu"
        )
        axes = "CZYX" if self.plan.architecture.dimensions == 3 else "CYX"
        found = [
            segment(Image(sample.image, axes, name=sample.pair_id), segmenter).labels.read()
            for sample in self.samples
        ]
        truths = [sample.labels for sample in self.samples]
        is_instances = self.plan.architecture.output_mode == "instances"
        score, values = (
            _instance_values(found, truths)
            if is_instances
            else _class_values(found, truths, self.plan)
        )
        # Nothing to find and nothing found has no score; the weights must be kept all the same.
        score = score if np.isfinite(score) else 0.0
        values = {"val_loss": self._loss(module, loss, device), **values}
        self.last_s = time.monotonic() - began
        first = self.samples[0]
        middle = (first.labels.shape[0] // 2,) if first.labels.ndim == 3 else ()
        plane = normalize(first.image, first.ranges).mean(0)[middle]
        return Scores(score, values, plane, found[0][middle], first.labels[middle])

    @torch.no_grad()
    def _loss(
        self, module: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], device: torch.device
    ) -> float:
        """The loss over the same few patches each time."""
        assert self._patches is not None
        is_bf16 = self.plan.precision == "bf16"
        total = 0.0
        for step in range(LOSS_BATCHES):
            batch = self._patches.batch(step, min(4, self.plan.batch_size))
            with torch.autocast(device.type, torch.bfloat16, enabled=is_bf16):
                logits = module(batch.images.to(device))
            total += float(loss(logits.float(), batch.targets.to(device)))
        return total / LOSS_BATCHES


def _class_values(
    found: Sequence[NDArray[Any]], truths: Sequence[NDArray[Any]], plan: Plan
) -> tuple[float, dict[str, float]]:
    names = plan.architecture.class_labels
    counts = [
        class_scores(ours, truth, plan.architecture.num_classes)
        for ours, truth in zip(found, truths, strict=True)
    ]
    total = sum(counts[1:], counts[0])
    values: dict[str, float] = {}
    labels = range(1, plan.architecture.num_classes)
    for label in labels if len(labels) > 1 else ():
        for kind, of_class in (("dice", total.dice), ("iou", total.iou)):
            values[f"{kind}_{names[str(label)]}"] = of_class[label]
    values["dice"] = total.mean_dice
    values["iou"] = total.mean_iou
    values["f1"] = values["dice"]
    return values["dice"], values


def _instance_values(
    found: Sequence[NDArray[Any]], truths: Sequence[NDArray[Any]]
) -> tuple[float, dict[str, float]]:
    counts = [instance_scores(ours, truth) for ours, truth in zip(found, truths, strict=True)]
    pixels = [
        class_scores(ours > 0, truth > 0, 2) for ours, truth in zip(found, truths, strict=True)
    ]
    total, covered = sum(counts[1:], counts[0]), sum(pixels[1:], pixels[0])
    return total.mean_average_precision, {
        "dice": covered.mean_dice,
        "iou": covered.mean_iou,
        **total.values(),
    }


def draw_preview(path: Path, scores: Scores) -> None:
    """Write the first validation image with contours of what was found and of the truth."""
    from maskloop.images.writers import overlay_png

    path.parent.mkdir(parents=True, exist_ok=True)
    overlay_png(path, scores.image, scores.prediction, truth=scores.truth)
