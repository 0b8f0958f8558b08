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

from maskloop.images.annotated import cut_objects
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
    known: Tensor | None = None
    """float32 (N, 1 or 2, *patch), 0 where nothing is annotated, else 1, as the loss takes it;
    None: everything is."""

    def to(self, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """What the loss compares with, on a device: targets and `known`."""
        known = None if self.known is None else self.known.to(device)
        return self.targets.to(device), known


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
            [max(1.0, _known_pixels(sample) / np.prod(self.patch)) for sample in self.samples]
        )
        # Between "each image" and "each pixel": large images hold more, but not the only truth.
        self._weights = np.sqrt(volumes) / np.sqrt(volumes).sum()
        self._targets = [_targets(sample, plan) for sample in self.samples]
        self._places = [_places(sample, plan) for sample in self.samples]
        self._known = [_known(sample, plan) for sample in self.samples]
        self._annotated = [_annotated_places(sample) for sample in self.samples]

    def batch(self, step: int, batch_size: int) -> Batch:
        """Patches of one step."""
        # A new generator for each step, so that a resumed run needs no state of any generator.
        random = np.random.default_rng([self.plan.seed, step, self.rank])
        generator = torch.Generator().manual_seed(int(random.integers(2**62)))
        chosen = random.choice(len(self.samples), size=batch_size, p=self._weights)
        cuts = [self._cut(int(index), random) for index in chosen]
        images = torch.from_numpy(np.stack([image for image, _, _ in cuts]))
        # (N, C, *source) both, larger than a patch: turned and zoomed, patches must not run out of
        # pixels.
        targets = torch.from_numpy(np.stack([target for _, target, _ in cuts]))
        grid = draw_grid(batch_size, self.patch, self.source, self.plan.augmentation, generator)
        images = change_intensities(
            resample(images, grid, nearest=False), self.plan.augmentation, generator
        )
        # On the same grid, after it: intensities change in the image only.
        targets = resample(targets, grid, nearest=not self.plan.output.is_interpolated)
        known = _joined([known for _, _, known in cuts])
        if known is not None:
            # Interpolated: a pixel that took anything from where nothing is known is not known.
            known = (resample(known, grid, nearest=False) > 0.999).float()
        pair_ids = tuple(self.samples[int(index)].pair_id for index in chosen)
        return Batch(images, targets, pair_ids, known)

    def _cut(
        self, index: int, random: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32] | None]:
        sample = self.samples[index]
        shape = sample.labels.shape
        places = self._places[index]
        annotated = self._annotated[index]
        if places and random.random() < self.plan.foreground_share:
            of_class = places[int(random.integers(len(places)))]
            pixel = np.unravel_index(int(of_class[random.integers(len(of_class))]), shape)
            # The object need not lie in the very middle of the patch.
            center = [
                int(at) + int(random.integers(-length // 4, length // 4 + 1))
                for at, length in zip(pixel, self.patch, strict=True)
            ]
        elif annotated is not None:
            # A patch in which nothing is annotated would teach nothing.
            pixel = np.unravel_index(int(annotated[random.integers(len(annotated))]), shape)
            center = [int(at) for at in pixel]
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
        targets = np.stack([channel[where] for channel in self._targets[index]])
        of_sample = self._known[index]
        known = None
        if of_sample is not None:
            known = np.stack([channel[where] for channel in of_sample]).astype(np.float32)
        return image, targets.astype(np.float32), known


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


def _joined(parts: Sequence[NDArray[np.float32] | None]) -> Tensor | None:
    """What is known of each patch (N, 1 or 2, *source); None where all is known of all."""
    some = next((part for part in parts if part is not None), None)
    if some is None:
        return None
    return torch.from_numpy(
        np.stack([np.ones_like(some) if part is None else part for part in parts])
    )


def _known_pixels(sample: Sample) -> int:
    return sample.labels.size if sample.known is None else int(np.count_nonzero(sample.known))


def _known(sample: Sample, plan: UNetPlan) -> NDArray[np.bool_] | None:
    """What the loss may look at: (1, *S) for classes, with a second channel for distances."""
    if sample.known is None:
        return None
    if plan.output.mode != "instances":
        return sample.known[None]
    return np.stack([sample.known, sample.known & ~cut_objects(sample.labels, sample.known)])


def _annotated_places(sample: Sample) -> NDArray[np.intp] | None:
    """Annotated pixels as centers of patches, at most MAX_PLACES; None where all are."""
    if sample.known is None:
        return None
    found = np.flatnonzero(sample.known)
    return found[:: max(1, found.size // MAX_PLACES)]


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
