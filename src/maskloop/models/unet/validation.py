"""Scores on whole validation images, through the same prediction code that users run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from maskloop.images.image import Image
from maskloop.images.normalize import normalize
from maskloop.models.base import Augmentation
from maskloop.models.samples import Sample
from maskloop.models.unet.data import PatchSampler
from maskloop.models.unet.losses import Loss
from maskloop.models.unet.records import UNetPlan
from maskloop.models.unet.segmenter import UNetSegmenter
from maskloop.predict.base import score_known
from maskloop.predict.segment import segment

__all__ = ["Scores", "Validation", "draw_preview"]

# Enough for a curve; scores of whole images decide, as far as they differ.
LOSS_BATCHES = 4
# Every field by name: a default that becomes random later must not make the loss jump.
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
    """A normalized plane of the first image, for the preview."""
    prediction: NDArray[Any]
    truth: NDArray[Any]


class Validation:
    """Whole images that are never trained on."""

    def __init__(self, samples: Sequence[Sample], plan: UNetPlan) -> None:
        self.samples = list(samples)
        self.plan = plan
        self.pixels = sum(sample.labels.size for sample in samples)
        self.last_s = 0.0
        self._patches = (
            PatchSampler(samples, plan.model_copy(update={"augmentation": STILL}))
            if samples
            else None
        )

    def score(self, module: nn.Module, loss: Loss, device: torch.device) -> Scores:
        """Predict every validation image and compare it with its truth."""
        began = time.monotonic()
        # The code and the precision that a checkpoint predicts with: its score must hold there.
        segmenter = UNetSegmenter(
            module, self.plan, device="cuda" if device.type == "cuda" else "cpu"
        )
        axes = "CZYX" if self.plan.network.dimensions == 3 else "CYX"
        found = [
            segment(Image(sample.image, axes, name=sample.pair_id), segmenter).labels.read()
            for sample in self.samples
        ]
        output = self.plan.output
        # Counts are added and scored once: a mean over images would give the emptiest as much
        # weight.
        counts = [
            score_known(output, labels, sample.labels, sample.known)
            for labels, sample in zip(found, self.samples, strict=True)
        ]
        total = sum(counts[1:], counts[0])
        # Nothing to find and nothing found has no score; the weights must be kept all the same.
        score = total.score if np.isfinite(total.score) else 0.0
        # The loss beside the score: where nothing is found yet, it is the only sign of progress.
        values = {"val_loss": self._loss(module, loss, device), **total.values(output.class_labels)}
        self.last_s = time.monotonic() - began
        first = self.samples[0]
        # Of a volume the middle plane; an empty index leaves an image as it is.
        middle = (first.labels.shape[0] // 2,) if first.labels.ndim == 3 else ()
        # (C, Z, Y, X) or (C, Y, X) without its channels: the preview is gray.
        plane = normalize(first.image, first.ranges).mean(0)[middle]
        return Scores(score, values, plane, found[0][middle], first.labels[middle])

    @torch.no_grad()
    def _loss(self, module: nn.Module, loss: Loss, device: torch.device) -> float:
        """The loss over the same few patches each time."""
        assert self._patches is not None
        is_bf16 = self.plan.precision == "bf16"
        total = 0.0
        for step in range(LOSS_BATCHES):
            # Without augmentation, and the same steps each time: only the weights make the
            # difference.
            batch = self._patches.batch(step, min(4, self.plan.batch_size))
            with torch.autocast(device.type, torch.bfloat16, enabled=is_bf16):
                logits = module(batch.images.to(device))
            total += float(loss(logits.float(), *batch.to(device)))
        return total / LOSS_BATCHES


def draw_preview(path: Path, scores: Scores) -> None:
    """Write the first validation image with contours of what was found and of the truth."""
    from maskloop.images.writers import overlay_png

    path.parent.mkdir(parents=True, exist_ok=True)
    overlay_png(path, scores.image, scores.prediction, truth=scores.truth)
