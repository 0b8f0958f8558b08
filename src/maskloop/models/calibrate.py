"""Where objects start in the maps of a trained network: a network that had little time draws them fainter than the truth.

Masks encoded and spoilt gave the usual threshold (`maskloop.images.instances`), and on real 2D
networks it was within 0.02 of the best. A 3D network of a few minutes reaches half the height: with
the usual threshold nothing is found, with half of it most objects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maskloop.images.image import Image
from maskloop.images.instances import InstanceSettings, decode_instances
from maskloop.models.data import Sample
from maskloop.models.metrics import instance_scores
from maskloop.predict.base import Segmenter
from maskloop.predict.segment import segment

__all__ = ["find_seed_threshold"]

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
CLEARLY, OBJECTS = 0.05, 3
"""So much better (mean AP) another threshold must be than the usual one, and by so many objects:
a few shall not move it for nothing.
"""
PIXELS, IMAGES = 1_000_000, 8
"""So much is looked at: a few seconds' work."""


def find_seed_threshold(segmenter: Segmenter, samples: Sequence[Sample]) -> float:
    """The seed threshold with the best mean AP on some images; the usual one unless another is clearly better.

    Parameters
    ----------
    segmenter
        A trained network for instances.
    samples
        Images with masks; those that it learnt from will do: the maps of a network that had little
        time are as faint there.

    Returns
    -------
    threshold
        For `InstanceSettings.seed_threshold`.
    """
    settings = segmenter.output.instances
    maps = [(_scores(segmenter, sample), sample.labels) for sample in _some(samples)]

    def score(threshold: float) -> float:
        chosen = settings.model_copy(update={"seed_threshold": threshold})
        counts = [
            instance_scores(decode_instances(scores, chosen), labels) for scores, labels in maps
        ]
        found = sum(counts[1:], counts[0]).mean_average_precision if counts else 0.0
        return found if math.isfinite(found) else 0.0

    usual = InstanceSettings().seed_threshold
    before = score(usual)
    objects = sum(len(np.unique(labels[labels > 0])) for _, labels in maps)
    least = max(CLEARLY, OBJECTS / max(1, objects))
    if before + least > 1:
        return usual
    found = {threshold: score(threshold) for threshold in THRESHOLDS if threshold != usual}
    best = max(found, key=found.__getitem__)
    return best if found[best] >= before + least else usual


def _scores(segmenter: Segmenter, sample: Sample) -> NDArray[np.uint8]:
    """As prediction keeps them: (3, *spatial) in 0..255."""
    image = Image(sample.image, "CZYX" if sample.image.ndim == 4 else "CYX", name=sample.pair_id)
    scores = segment(image, segmenter, probabilities=True).probabilities
    assert scores is not None
    quantised: NDArray[np.uint8] = np.rint(scores.read(image.axes) * 255).astype(np.uint8)
    return quantised


def _some(samples: Sequence[Sample]) -> list[Sample]:
    """Samples from all over the dataset, each cut to its middle where it is large, of about `PIXELS` pixels in all."""
    count = min(len(samples), IMAGES)
    return [
        _middle(samples[index * len(samples) // count], PIXELS // count) for index in range(count)
    ]


def _middle(sample: Sample, pixels: int) -> Sample:
    lengths = list(sample.labels.shape)
    while math.prod(lengths) > pixels:
        longest = lengths.index(max(lengths))
        lengths[longest] -= lengths[longest] // 4
    where = tuple(
        slice((whole - part) // 2, (whole - part) // 2 + part)
        for whole, part in zip(sample.labels.shape, lengths, strict=True)
    )
    return Sample(
        sample.pair_id,
        sample.image[(slice(None), *where)],
        sample.labels[where],
        sample.ranges,
        sample.spacing,
    )
