"""Samples: images with their masks in memory, cut as a model sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    pieces = zip(image.frames(dimensions), labels.frames(dimensions), strict=True)
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
        )
        for (_, pixels), (_, mask) in pieces
    ]
