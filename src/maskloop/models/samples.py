"""Samples: images with their masks in memory, cut as a model sees them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop.images.image import Image
from maskloop.images.normalize import ChannelRange, Normalization
from maskloop.models.base import Example

__all__ = ["Sample", "samples_of"]


@dataclass(frozen=True)
class Sample:
    """One image as the model sees it, with its mask."""

    pair_id: str
    image: NDArray[Any]
    """(C, Z, Y, X) or (C, Y, X), the pixels of the file."""
    labels: NDArray[Any]
    """(Z, Y, X) or (Y, X), class ids or instance ids."""
    ranges: tuple[ChannelRange, ...]
    """How `image` is normalized."""
    spacing: tuple[float, ...] | None = None
    """Micrometers along the spatial axes, where known."""
    known: NDArray[np.bool_] | None = None
    """Where `labels` are annotated, of their shape; None: everywhere."""


def samples_of(example: Example, dimensions: int, normalization: Normalization) -> list[Sample]:
    """Cut an image and its mask into what the model sees as one.

    Parameters
    ----------
    example
        The pair; its images are read here.
    dimensions
        2: planes; 3: volumes.
    normalization
        Fitted to each of them.
    """
    image, labels = example.image, example.labels
    sizes = {
        axis: image.pixel_size_um[axis]
        for axis in image.spatial_axes[-dimensions:]
        if axis in image.pixel_size_um
    }
    # All or none: distances along Z that were scaled and others that were not could not be
    # compared.
    spacing = tuple(sizes.values()) if len(sizes) == dimensions else None
    parts = zip(
        image.frames(dimensions),
        labels.frames(dimensions),
        _annotated(example, dimensions),
        # What is annotated has no end where all is.
        strict=False,
    )
    return [
        Sample(
            example.pair_id,
            np.ascontiguousarray(pixels),
            # Masks have one channel, which the model does not need: (1, *spatial) becomes
            # (*spatial).
            np.ascontiguousarray(mask[0]),
            # Of the whole piece, not of each patch: a patch of background has no dynamic range of
            # its own.
            normalization.fit(pixels),
            spacing,
            known,
        )
        for (_, pixels), (_, mask), known in parts
        # Of a stack, planes that nobody annotated teach nothing and measure nothing.
        if known is None or known.any()
    ]


def _annotated(example: Example, dimensions: int) -> Iterator[NDArray[np.bool_] | None]:
    if example.known is None:
        yield from itertools.repeat(None)
    else:
        annotated = Image(example.known, example.labels.axes)
        yield from (np.ascontiguousarray(known[0]) for _, known in annotated.frames(dimensions))
