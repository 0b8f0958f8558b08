"""Calibration after a training: the settings that decode a network's scores best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from maskloop.images.image import Image
from maskloop.models.samples import Sample
from maskloop.predict.base import Output, Segmenter
from maskloop.predict.segment import kept, segment

__all__ = ["changed_settings", "tune_output"]

PIXELS = 1_000_000
IMAGES = 8
"""So much is looked at: a few seconds' work."""


def tune_output(segmenter: Segmenter, samples: Sequence[Sample]) -> Output:
    """The segmenter's output, with the settings that decode its scores of some images best.

    Parameters
    ----------
    segmenter
        A trained model.
    samples
        Images with masks. Those that it was trained on will do: the scores of a network that had
        little time are as faint there.
    """
    # Lazily: only an output that has something to tune looks at scores.
    chosen = _some(samples)
    return segmenter.output.tuned((_scores(segmenter, one), one.labels) for one in chosen)


def changed_settings(before: Output, after: Output) -> dict[str, tuple[Any, Any]]:
    """Settings in which two outputs differ: name to both values."""

    # Outputs nest their settings, such as those of instances; a person is told the setting alone.
    def leaves(values: dict[str, Any]) -> dict[str, Any]:
        inner = [leaves(value) for value in values.values() if isinstance(value, dict)]
        flat = {name: value for name, value in values.items() if not isinstance(value, dict)}
        return {**flat, **{name: value for one in inner for name, value in one.items()}}

    old, new = leaves(before.model_dump()), leaves(after.model_dump())
    return {name: (old[name], value) for name, value in new.items() if old.get(name) != value}


def _scores(segmenter: Segmenter, sample: Sample) -> NDArray[Any]:
    """Scores (channels, *spatial) as prediction keeps them."""
    # By the code that predicts, and not by the network alone: tiles, halo and normalization change
    # scores, and what is tuned here has to serve there.
    axes = "CZYX" if sample.image.ndim == 4 else "CYX"
    image = Image(sample.image, axes, name=sample.pair_id)
    scores = segment(image, segmenter, probabilities=True).probabilities
    assert scores is not None
    # (channels, *spatial) again: what is read lazily comes in the order that is asked for.
    found = kept(scores.read(axes), segmenter.output)
    # Objects that are found where nothing is annotated are neither right nor wrong.
    return found if sample.known is None else found * sample.known


def _some(samples: Sequence[Sample]) -> list[Sample]:
    """Samples from all over the dataset, large ones cropped; about `PIXELS` pixels in all."""
    count = min(len(samples), IMAGES)
    # Spread evenly: neighbors in the list are often fields of one well, and look alike.
    return [
        _middle(samples[index * len(samples) // count], PIXELS // count) for index in range(count)
    ]


def _middle(sample: Sample, pixels: int) -> Sample:
    lengths = list(sample.labels.shape)
    # The longest side first, so that a volume of few planes keeps them: objects must stay whole.
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
        None if sample.known is None else sample.known[where],
    )
