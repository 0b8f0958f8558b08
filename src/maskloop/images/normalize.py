"""Intensity normalization, fitted once per image (or dataset) before tiling.

So a tile never sees another scale than its neighbor, and tiled equals untiled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from maskloop.errors import ImageError
from maskloop.records import Record

__all__ = [
    "ChannelRange",
    "Normalization",
    "make_range",
    "normalize",
    "percentiles",
    "thin_out",
]

MAX_FIT_PIXELS = 4_000_000
"""More pixels than this per channel are thinned out evenly before fitting: the statistics do not
change, the time does.
"""
LIMIT = 10.0
"""Normalized values stay within this of zero, so that one hot pixel cannot blow up the network."""


class ChannelRange(Record):
    """One channel's linear map: ``(pixel - offset) / scale``."""

    offset: float
    scale: float


class Normalization(Record):
    """How intensities are scaled to a common range."""

    mode: Literal["percentile", "min_max", "z_score", "none"] = Field(
        "percentile",
        description="percentile (robust), min_max, z_score or none (divide by the range of the "
        "pixel type).",
    )
    scope: Literal["image", "dataset"] = Field(
        "image",
        description="Fit to each image, or once to all images of the dataset (when absolute "
        "brightness matters).",
    )
    low: float = Field(1.0, ge=0, le=50, description="Lower percentile, becomes 0.")
    high: float = Field(99.8, ge=50, le=100, description="Upper percentile, becomes 1.")
    dataset_ranges: tuple[ChannelRange, ...] = Field(
        (), description="The fitted maps, one per channel, when the scope is dataset."
    )

    def fit(self, image: NDArray[Any]) -> tuple[ChannelRange, ...]:
        """The maps for one image (C, ...), one per channel; the dataset's if that is the scope.

        Pixels that are not finite are left out.

        Raises
        ------
        ImageError
            If the dataset's maps are for another number of channels.
        """
        return self.fit_pieces(image.shape, image.dtype, [image])

    def fit_pieces(
        self, shape: Sequence[int], dtype: np.dtype[Any], pieces: Iterable[NDArray[Any]]
    ) -> tuple[ChannelRange, ...]:
        """As `fit`, exactly, for an image too large for memory.

        Parameters
        ----------
        shape, dtype
            Of the image (C, ...).
        pieces
            Arrays (C, ...) that are the image, cut in the order of its pixels; read once, or not at
            all where the maps do not depend on them. Memory holds up to eight million pixels of
            each channel.

        Raises
        ------
        ImageError
            If the dataset's maps are for another number of channels.
        """
        channels = shape[0]
        if self.mode == "none":
            # Without fitting only the type says what is bright; floats are taken to lie in 0..1.
            limit = float(np.iinfo(dtype).max) if dtype.kind in "ui" else 1.0
            return (ChannelRange(offset=0.0, scale=limit),) * channels
        if self.scope == "image" or not self.dataset_ranges:
            samples = _sample(channels, prod(shape[1:]), pieces)
            return tuple(_fit(pixels, self) for pixels in samples)
        if len(self.dataset_ranges) != channels:
            raise ImageError(
                f"The image has {channels} channels, the intensity range of the dataset was "
                f"fitted to {len(self.dataset_ranges)}.",
                "Select the channels that the model was trained on.",
            )
        return self.dataset_ranges


def _sample(channels: int, size: int, pieces: Iterable[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    """What `thin_out` takes of each channel, from pieces of all of them."""
    taken: list[list[NDArray[Any]]] = [[] for _ in range(channels)]
    begin = 0
    for piece in pieces:
        for channel, found in zip(piece, taken, strict=True):
            pixels = thin_out(channel, begin=begin, total=size)
            # What is taken of a piece is a view: it would keep the whole piece in memory.
            found.append(pixels if channel.size == size else pixels.copy())
        begin += piece[0].size
    for found in taken:
        # A single piece is a view of the image itself and stays one.
        yield found[0] if len(found) == 1 else np.concatenate(found)
        found.clear()


def _fit(pixels: NDArray[Any], settings: Normalization) -> ChannelRange:
    if pixels.size == 0:
        return ChannelRange(offset=0.0, scale=1.0)
    if settings.mode == "z_score":
        with np.errstate(over="ignore", invalid="ignore"):
            mean, deviation = pixels.mean(dtype=np.float64), pixels.std(dtype=np.float64)
        return make_range(float(mean), float(deviation))
    lowest, highest = float(pixels.min()), float(pixels.max())
    if settings.mode == "percentile":
        low, high = (float(value) for value in percentiles(pixels, (settings.low, settings.high)))
        if high > low:
            return make_range(low, high - low)
    # Also a dark field with a few bright pixels: there the percentiles coincide, the extremes do
    # not.
    return make_range(lowest, highest - lowest)


def make_range(offset: float, scale: float) -> ChannelRange:
    """A usable linear map: a channel that is constant, up to rounding, keeps the scale 1."""
    return ChannelRange(
        offset=offset, scale=scale if scale > max(1e-30, 1e-12 * abs(offset)) else 1.0
    )


def thin_out(channel: NDArray[Any], *, begin: int = 0, total: int | None = None) -> NDArray[Any]:
    """The finite pixels of a channel, flat; of a large one an evenly spread part.

    Parameters
    ----------
    channel
        A whole channel, or a piece of one.
    begin
        How many pixels of the channel come before the piece.
    total
        Pixels of the whole channel; those of `channel` by default. At least two million are kept.
    """
    # An odd step does not fall in with rows of even length, nor with patterns of two columns.
    step = max(1, (channel.size if total is None else total) // MAX_FIT_PIXELS) | 1
    pixels = channel.reshape(-1)[-begin % step :: step]
    if pixels.dtype.kind == "b":
        return pixels.view(np.uint8)
    return pixels[np.isfinite(pixels)] if pixels.dtype.kind == "f" else pixels


def percentiles(pixels: NDArray[Any], at: Sequence[float]) -> NDArray[np.float64]:
    """Percentiles as ``np.percentile`` gives them, through a histogram where that is faster."""
    if pixels.dtype not in (np.uint8, np.uint16):
        return np.asarray(np.percentile(pixels, at), np.float64)
    # At most 65,536 values occur: counting them is faster than sorting pixels.
    below = np.cumsum(np.bincount(pixels.reshape(-1)))
    place = np.asarray(at, np.float64) / 100 * (pixels.size - 1)
    lower = np.searchsorted(below, np.floor(place), side="right")
    upper = np.searchsorted(below, np.ceil(place), side="right")
    return np.asarray(lower + (upper - lower) * (place - np.floor(place)), np.float64)


def normalize(image: NDArray[Any], ranges: Sequence[ChannelRange]) -> NDArray[np.float32]:
    """Apply fitted maps to an image or a tile (C, ...); pixels that are not finite become 0.

    Values beyond the fitted range stay beyond it, up to 10 from zero.
    """
    result = np.empty(image.shape, np.float32)
    # Beyond 16 bits, float32 would lose the signal on a large offset before the subtraction.
    exact = np.float32 if image.dtype.itemsize <= 2 or image.dtype == np.float32 else np.float64
    with np.errstate(over="ignore", invalid="ignore"):
        for channel, (source, fitted) in enumerate(zip(image, ranges, strict=True)):
            np.subtract(
                source, exact(fitted.offset), out=result[channel], dtype=exact, casting="unsafe"
            )
            result[channel] *= np.float32(1 / fitted.scale)
    # Integers are finite; checking them would cost a pass over the tile.
    if image.dtype.kind == "f":
        np.nan_to_num(result, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    return np.clip(result, -LIMIT, LIMIT, out=result)
