"""The patches that are cut from samples in memory.

Images stay in their own pixel type and are normalized patch by patch, so that the cache is no
larger than the files. Every batch follows from (seed, step, rank) alone: a run that was killed
draws the same patches when it is resumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskloop.images.normalize import normalize
from maskloop.models.samples import Sample
from maskloop.models.unet.augment import change_intensities, draw_grid, resample, source_shape
from maskloop.models.unet.records import UNetPlan

__all__ = ["Batch", "PatchSampler"]

MAX_PLACES = 4096
"""Pixels remembered per class and sample as centers of patches."""


@dataclass(frozen=True)
class Batch:
    """Patches ready for the network."""

    images: Tensor
    """float32 (N, C, *patch)."""
    targets: Tensor
    """float32 (N, channels, *patch), as `Output.encode` gives them; class ids have one channel."""
    pair_ids: tuple[str, ...]


class PatchSampler:
    """Cuts and augments batches of patches; the same (seed, step, rank) gives the same batch."""

    def __init__(self, samples: Sequence[Sample], plan: UNetPlan, *, rank: int = 0) -> None:
        self.samples = list(samples)
        self.plan = plan
        self.rank = rank
        self.patch = plan.patch_size
        self.source = source_shape(plan.patch_size, plan.augmentation)
        # In patches, at least one: an image smaller than a patch counts as one.
        volumes = np.array(
            [max(1.0, sample.labels.size / np.prod(self.patch)) for sample in self.samples]
        )
        # Between "each image" and "each pixel": large images hold more, but not the only truth.
        self._weights = np.sqrt(volumes) / np.sqrt(volumes).sum()
        self._targets = [_targets(sample, plan) for sample in self.samples]
        self._places = [_places(sample, plan) for sample in self.samples]

    def batch(self, step: int, batch_size: int) -> Batch:
        """Patches of one step."""
        # A new generator for each step, so that a resumed run needs no state of any generator.
        random = np.random.default_rng([self.plan.seed, step, self.rank])
        generator = torch.Generator().manual_seed(int(random.integers(2**62)))
        chosen = random.choice(len(self.samples), size=batch_size, p=self._weights)
        cuts = [self._cut(int(index), random) for index in chosen]
        images = torch.from_numpy(np.stack([image for image, _ in cuts]))
        # (N, C, *source) both, larger than a patch: turned and zoomed, patches must not run out of
        # pixels.
        targets = torch.from_numpy(np.stack([target for _, target in cuts]))
        grid = draw_grid(batch_size, self.patch, self.source, self.plan.augmentation, generator)
        images = change_intensities(
            resample(images, grid, nearest=False), self.plan.augmentation, generator
        )
        # On the same grid, after it: intensities change in the image only.
        targets = resample(targets, grid, nearest=not self.plan.output.is_interpolated)
        return Batch(images, targets, tuple(self.samples[int(index)].pair_id for index in chosen))

    def _cut(
        self, index: int, random: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        sample = self.samples[index]
        shape = sample.labels.shape
        places = self._places[index]
        if places and random.random() < self.plan.foreground_share:
            of_class = places[int(random.integers(len(places)))]
            pixel = np.unravel_index(int(of_class[random.integers(len(of_class))]), shape)
            # The object need not lie in the very middle of the patch.
            center = [
                int(at) + int(random.integers(-length // 4, length // 4 + 1))
                for at, length in zip(pixel, self.patch, strict=True)
            ]
        else:
            center = [int(random.integers(length)) for length in shape]
        lengths = zip(center, self.patch, self.source, shape, strict=True)
        # By index lists and not by slices, because indices beyond the border are mirrored.
        where = np.ix_(
            *(_reflected(at, patch, count, length) for at, patch, count, length in lengths)
        )
        # Channel by channel: `np.ix_` indexes the spatial axes alone, and only the patch becomes
        # float32.
        image = normalize(np.stack([channel[where] for channel in sample.image]), sample.ranges)
        return image, np.stack([channel[where] for channel in self._targets[index]]).astype(
            np.float32
        )


def _reflected(center: int, patch: int, count: int, length: int) -> NDArray[np.intp]:
    """Indices of `count` pixels around `center`, moved so that the patch lies inside.

    Beyond the borders they are mirrored, as often as needed.
    """
    center = (
        length // 2
        if patch >= length
        else min(max(center, patch // 2), length - (patch - patch // 2))
    )
    if length == 1:
        return np.zeros(count, np.intp)
    # Mirrored without repeating the edge, as by NumPy's mode "reflect", for patches of any size.
    period = 2 * (length - 1)
    folded = np.arange(center - count // 2, center - count // 2 + count) % period
    return np.minimum(folded, period - folded)


def _targets(sample: Sample, plan: UNetPlan) -> NDArray[Any]:
    """What the loss compares with, channels first, in a type that is small in memory."""
    return plan.output.encode(sample.labels, sample.spacing)


def _places(sample: Sample, plan: UNetPlan) -> list[NDArray[np.intp]]:
    """Pixels of each class that occurs, at most MAX_PLACES of each."""
    flat = plan.output.class_map(sample.labels).reshape(-1)
    places = []
    for label in sorted(plan.output.class_labels)[1:]:
        found = np.flatnonzero(flat == label)
        if found.size:
            # Evenly thinned out, so that large objects stay likelier; all pixels would double the
            # memory.
            places.append(found[:: max(1, found.size // MAX_PLACES)])
    return places
