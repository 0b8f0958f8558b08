"""Cut an image of any size into overlapping tiles and blend what comes back without a seam."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from maskloop.errors import UsageError
from maskloop.records import Record

__all__ = ["TilePlan", "Tiling", "plan_tiles"]

Weighting = Literal["gaussian", "core"]


class Tiling(Record):
    """How large images are cut for a model; what is left open follows from the model."""

    tile_shape: tuple[int, ...] | None = Field(
        None, description="Largest tile along ZYX or YX; open: what is fast for the model."
    )
    overlap: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Share of a tile that the next one covers again. Open: twice the border "
        "that the model does not trust.",
    )
    weighting: Weighting = Field(
        "gaussian",
        description="gaussian: tiles are blended, their center counts most. core: every pixel "
        "from the tile whose center is nearest.",
    )


@dataclass(frozen=True)
class TilePlan:
    """Where the tiles of one image lie, and what each of their pixels counts.

    Parameters
    ----------
    shape
        Of the image, spatial axes only.
    tile_shape
        The same for all tiles; longer than the image along axes that must be padded.
    starts
        First pixel of the tiles, per axis; the tiles are the product of the axes.
    weights
        Per axis, for each start, the weight of a tile's pixels along this axis. A pixel's weight is
        the product over the axes, and the weights of all tiles add up to one in every pixel of the
        image.
    """

    shape: tuple[int, ...]
    tile_shape: tuple[int, ...]
    starts: tuple[tuple[int, ...], ...]
    weights: tuple[NDArray[np.float32], ...]

    def __len__(self) -> int:
        return prod(len(starts) for starts in self.starts)

    def places(self, sweep: int = 0) -> Iterator[tuple[int, ...]]:
        """Number of the tile along each axis, the axis `sweep` slowest."""
        order = [sweep, *(axis for axis in range(len(self.shape)) if axis != sweep)]
        for place in product(*(range(len(self.starts[axis])) for axis in order)):
            yield tuple(place[order.index(axis)] for axis in range(len(order)))

    def window(self, place: Sequence[int]) -> tuple[slice, ...]:
        """The part of the image that a tile covers."""
        begins = [self.starts[axis][at] for axis, at in enumerate(place)]
        return tuple(
            slice(begin, min(begin + length, end))
            for begin, length, end in zip(begins, self.tile_shape, self.shape, strict=True)
        )

    @property
    def padding(self) -> tuple[tuple[int, int], ...]:
        """Pixels added before and after the image along axes shorter than a tile."""
        # Half before and half after: the object in the center stays in the center.
        missing = [
            max(0, tile - length) for tile, length in zip(self.tile_shape, self.shape, strict=True)
        ]
        return tuple((count // 2, count - count // 2) for count in missing)

    def cut(self, image: NDArray[Any], place: Sequence[int]) -> NDArray[Any]:
        """One tile (C, *tile_shape) of an image (C, *shape), padded where the image is shorter."""
        return self.pad(image[(slice(None), *self.window(place))])

    def pad(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Pixels (C, *window) of a tile, mirrored at the edge along axes shorter than a tile."""
        if not any(map(any, self.padding)):
            return pixels
        return np.pad(pixels, ((0, 0), *self.padding), mode="reflect")

    def weigh(self, tile: NDArray[np.float32], place: Sequence[int]) -> NDArray[np.float32]:
        """A tile (C, *tile_shape) without its padding, times its weights, to be summed up."""
        inner = tile[
            (
                slice(None),
                *(
                    slice(before, before + length)
                    for (before, _), length in zip(self.padding, self.shape, strict=True)
                ),
            )
        ]
        for axis, at in enumerate(place):
            line = self.weights[axis][at][: inner.shape[axis + 1]]
            inner = inner * line.reshape(-1, *(1,) * (len(place) - axis - 1))
        return inner


def plan_tiles(
    shape: Sequence[int],
    tile: Sequence[int],
    *,
    overlap: float | None = None,
    halo: Sequence[int] | None = None,
    multiple: Sequence[int] | None = None,
    weighting: Weighting = "gaussian",
) -> TilePlan:
    """Lay tiles over an image that overlap at least as asked and are no larger than needed.

    Tiles are spread evenly. Where fewer pixels than a whole tile would do, as for an image slightly
    larger than a tile, all tiles shrink.

    Parameters
    ----------
    shape
        Of the image, spatial axes only.
    tile
        Largest tile, per spatial axis.
    overlap
        Share of a tile that the next one covers again.
    halo
        Border of a tile that is not to be trusted, per axis: neighbors overlap by at least twice
        this, but never by more than half a tile. With neither, the overlap is 0.25.
    multiple
        Tile lengths are multiples of these.
    weighting
        ``gaussian``: sigma is an eighth of the tile (Isensee et al. 2021, nnU-Net,
        doi:10.1038/s41592-020-01008-z). ``core``: each pixel is taken from one tile only, the one
        whose center is nearest.

    Raises
    ------
    UsageError
        If the numbers of axes differ, or a length is not positive.
    """
    # A model without strides takes any length.
    multiple = multiple or (1,) * len(shape)
    if not len(shape) == len(tile) == len(multiple) == len(halo or shape):
        raise UsageError(
            f"The tile {tuple(tile)} does not have one length for each of the {len(shape)} axes of "
            f"an image of {tuple(shape)}.",
            "Give one tile length per spatial axis: two for planes (YX), three for volumes (ZYX).",
        )
    if min((*shape, *tile), default=1) < 1:
        raise UsageError(
            f"A tile {tuple(tile)} over an image of {tuple(shape)} is not possible.",
            "All lengths must be greater than zero.",
        )
    share = overlap
    if share is None:
        share = 0.25 if halo is None else 0.0
    halos = halo if halo is not None and overlap is None else (0,) * len(shape)
    axes = [_plan_axis(*each, share) for each in zip(shape, tile, halos, multiple, strict=True)]
    lengths = tuple(length for length, _ in axes)
    starts = tuple(begins for _, begins in axes)
    weights = tuple(
        _axis_weights(*each, weighting) for each in zip(shape, lengths, starts, strict=True)
    )
    return TilePlan(tuple(shape), lengths, starts, weights)


def _plan_axis(
    length: int, largest: int, halo: int, multiple: int, share: float
) -> tuple[int, tuple[int, ...]]:
    """Tile length and starts along one axis."""
    # A tile shorter than one multiple cannot be scored.
    largest = max(multiple, largest // multiple * multiple)
    if length <= largest:
        # Never so short that nothing is left at the deepest level of a network: a few pixels more
        # cost nothing.
        return max(_round_up(length, multiple), min(largest, 2 * multiple)), (0,)
    # Never beyond half a tile unless asked: each pixel would be scored more than four times.
    overlap = min(
        max(round(share * largest), 2 * halo),
        max(round(share * largest), largest // 2),
        largest - 1,
    )
    count = ceil((length - overlap) / (largest - overlap))
    tile = min(largest, _round_up(ceil((length + (count - 1) * overlap) / count), multiple))
    return tile, tuple(round(at * (length - tile) / (count - 1)) for at in range(count))


def _round_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def _axis_weights(
    length: int, tile: int, starts: Sequence[int], weighting: Weighting
) -> NDArray[np.float32]:
    """Weight of each tile's pixels along one axis (tiles, tile length); one in sum per pixel.

    The tiles form a grid and both kinds of weights are products over the axes, so each axis can be
    normalized by itself and nobody has to sum weights over a whole image.
    """
    if len(starts) == 1:
        return np.ones((1, tile), np.float32)
    # Distance from the center of the tile.
    offsets = np.arange(tile) - (tile - 1) / 2
    if weighting == "gaussian":
        weights = np.tile(np.exp(-0.5 * (offsets / (tile / 8)) ** 2), (len(starts), 1))
    else:
        middles = np.asarray(starts) + (tile - 1) / 2
        # Each pixel goes to one tile; ties go to the earlier one.
        nearest = np.abs(np.arange(length)[:, None] - middles).argmin(axis=1)
        weights = np.stack(
            [nearest[start : start + tile] == at for at, start in enumerate(starts)]
        ).astype(np.float64)
    # Divided by the sum over all tiles, so that blending keeps probabilities.
    total = np.zeros(length)
    for start, line in zip(starts, weights, strict=True):
        total[start : start + tile] += line
    return np.stack(
        [line / total[start : start + tile] for start, line in zip(starts, weights, strict=True)]
    ).astype(np.float32)
