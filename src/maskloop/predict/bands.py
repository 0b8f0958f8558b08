"""Scores of one frame, band by band: tiles in, blended scores out, nothing scored twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from maskloop.images.image import Frame
from maskloop.images.normalize import ChannelRange, Normalization, normalize
from maskloop.images.regions import Region, cut_regions
from maskloop.images.tiles import TilePlan
from maskloop.predict.base import Segmenter
from maskloop.predict.watch import Watch

__all__ = ["score_bands"]

FRAME_BYTES = 256_000_000
"""Frames up to this size are read at once; of larger ones, the rows that a row of tiles covers."""

Scores = NDArray[np.float32]


def score_bands(
    frame: Frame,
    segmenter: Segmenter,
    plan: TilePlan,
    *,
    mirror: bool,
    watch: Watch,
    is_done: Callable[[Region], bool] = lambda _region: False,
) -> Iterator[tuple[Region, Scores]]:
    """Scores of a frame: each region once, as soon as no tile will add to it.

    Parameters
    ----------
    frame
        The pixels, read only as far as they are needed.
    segmenter
        The model.
    plan
        How the frame is cut into tiles.
    mirror
        Whether scores of mirrored tiles are averaged.
    watch
        Counts tiles.
    is_done
        Whether a region (one slice per spatial axis) is to be left out. Tiles that no other region
        needs are not scored.

    Yields
    ------
    region, scores
        One slice per spatial axis, and (channels, *spatial) of it. The array is reused: take what
        you need before asking for the next.
    """
    bands = _Bands(plan)
    # Decided before the first tile, by what a run before has left.
    wanted = [not is_done(region) for region in bands.regions]
    needed = bands.rows_for(wanted)
    if not any(wanted):
        watch.skip(len(plan))
        return
    # What fits in memory is read, and decompressed, once.
    whole = frame.read() if frame.nbytes <= FRAME_BYTES else None
    ranges = _fit(frame, whole, segmenter.normalization)
    tiles = _Tiles(frame, whole, plan, bands.axis)
    blend = _Blend(plan, bands.axis, segmenter.output.channels)
    row = 0
    for place, scores in _scored(tiles, ranges, segmenter, plan, needed, mirror, watch):
        # Tiles come row by row: the first of a row finishes the bands before it.
        for passed in range(row, place[bands.axis]):
            band = blend.advance(bands.regions[passed])
            if wanted[passed]:
                yield bands.regions[passed], band
        row = place[bands.axis]
        blend.add(scores, place)
    for passed in range(row, len(bands.regions)):
        band = blend.advance(bands.regions[passed])
        if wanted[passed]:
            yield bands.regions[passed], band


def _scored(
    tiles: _Tiles,
    ranges: Sequence[ChannelRange],
    segmenter: Segmenter,
    plan: TilePlan,
    needed: Sequence[bool],
    mirror: bool,
    watch: Watch,
) -> Iterator[tuple[tuple[int, ...], Scores]]:
    """Place and scores of each tile in a row that is needed."""
    places = plan.places(tiles.axis)
    # Batches are those of a run that leaves nothing out, so that a run that was killed and resumed
    # gives the very same scores.
    while batch := list(islice(places, segmenter.batch_size)):
        if not any(needed[place[tiles.axis]] for place in batch):
            watch.skip(len(batch))
            continue
        watch.check()
        yield from zip(batch, _scores(segmenter, tiles.cut(batch, ranges), mirror), strict=True)
        watch.advance(len(batch))


def _fit(
    frame: Frame, whole: NDArray[np.generic] | None, normalization: Normalization
) -> tuple[ChannelRange, ...]:
    """The normalization of a frame, fitted to all of it, in one pass over what is too large."""
    if whole is not None:
        return normalization.fit(whole)
    # All channels of a pixel: (C, *spatial).
    itemsize = frame.dtype.itemsize * frame.shape[0]
    regions = cut_regions(frame.shape[1:], itemsize, limit_bytes=FRAME_BYTES // 4)
    pieces = (frame.read(region) for region in regions)
    return normalization.fit_pieces(frame.shape, frame.dtype, pieces)


class _Bands:
    """The regions of a frame in the order in which they are finished, one for each row of tiles.

    Bands lie across the axis with the most tiles, which keeps them small.
    """

    def __init__(self, plan: TilePlan) -> None:
        # The most tiles along an axis: the fewest pixels in a band across it.
        self.axis = max(range(len(plan.shape)), key=lambda axis: len(plan.starts[axis]))
        self._starts, self._length = plan.starts[self.axis], plan.tile_shape[self.axis]
        ends = (*self._starts[1:], plan.shape[self.axis])
        self.regions: list[Region] = [
            tuple(
                slice(start, end) if axis == self.axis else slice(0, length)
                for axis, length in enumerate(plan.shape)
            )
            for start, end in zip(self._starts, ends, strict=True)
        ]

    def rows_for(self, wanted: Sequence[bool]) -> list[bool]:
        """Which rows of tiles reach into a band that is wanted."""
        sides = [
            region[self.axis]
            for region, is_wanted in zip(self.regions, wanted, strict=True)
            if is_wanted
        ]
        # A tile adds to each band that it overlaps.
        return [
            any(start < side.stop and side.start < start + self._length for side in sides)
            for start in self._starts
        ]


class _Tiles:
    """Cuts normalized tiles out of a frame, reading no more of it than fits in memory."""

    def __init__(
        self, frame: Frame, whole: NDArray[np.generic] | None, plan: TilePlan, axis: int
    ) -> None:
        self._frame, self._whole = frame, whole
        self._plan, self.axis = plan, axis
        self._row = -1
        self._rows: NDArray[np.generic] | None = None

    def cut(self, places: Sequence[tuple[int, ...]], ranges: Sequence[ChannelRange]) -> Scores:
        """Tiles (N, C, *tile_shape), normalized."""
        return np.stack([normalize(self._plan.pad(self._read(at)), ranges) for at in places])

    def _read(self, place: tuple[int, ...]) -> NDArray[np.generic]:
        window = self._plan.window(place)
        if self._whole is not None:
            return self._whole[(slice(None), *window)]
        if not self._fits(window[self.axis]):
            return self._frame.read(window)
        if place[self.axis] != self._row:
            self._rows = None  # before the next are read: never two in memory
            self._rows = self._frame.read(
                [
                    side if axis == self.axis else slice(0, length)
                    for axis, (side, length) in enumerate(
                        zip(window, self._plan.shape, strict=True)
                    )
                ]
            )
            self._row = place[self.axis]
        assert self._rows is not None
        inner = tuple(
            slice(None) if axis == self.axis else side for axis, side in enumerate(window)
        )
        return self._rows[(slice(None), *inner)]

    def _fits(self, side: slice) -> bool:
        row_bytes = self._frame.nbytes // self._plan.shape[self.axis]
        depth: int = side.stop - side.start
        return row_bytes * depth <= FRAME_BYTES


class _Blend:
    """The scores of one row of tiles, to which the next row adds where it overlaps."""

    def __init__(self, plan: TilePlan, axis: int, channels: int) -> None:
        self._plan, self._axis = plan, axis
        # Padding of an image shorter than a tile is cut before scores are added.
        depth = min(plan.tile_shape[axis], plan.shape[axis])
        others = [length for at, length in enumerate(plan.shape) if at != axis]
        # (channels, along the axis of the bands, other axes): what is finished leaves in front
        self._rows = np.zeros((channels, depth, *others), np.float32)
        self._finished = 0

    def add(self, scores: Scores, place: tuple[int, ...]) -> None:
        """Add the scores of a tile, weighted."""
        self._drop_finished()
        inner = tuple(
            slice(None) if axis == self._axis else side
            for axis, side in enumerate(self._plan.window(place))
        )
        band = np.moveaxis(self._rows, 1, 1 + self._axis)
        band[(slice(None), *inner)] += self._plan.weigh(scores, place)

    def advance(self, region: Region) -> Scores:
        """The scores of the next region, which nothing will be added to."""
        self._drop_finished()
        side = region[self._axis]
        self._finished = side.stop - side.start
        return np.moveaxis(self._rows[:, : self._finished], 1, 1 + self._axis)

    def _drop_finished(self) -> None:
        # Late, so that the band that was handed out stays as it is until the next one.
        done = self._finished
        if done:
            self._rows[:, : self._rows.shape[1] - done] = self._rows[:, done:].copy()
            self._rows[:, self._rows.shape[1] - done :] = 0
            self._finished = 0


def _scores(segmenter: Segmenter, tiles: Scores, mirror: bool) -> Scores:
    if not mirror:
        return segmenter.scores(tiles)
    # A copy, for a segmenter may give out a buffer of its own.
    total = segmenter.scores(tiles).astype(np.float32)
    # Never along Z: microscopes blur differently above and below the focus.
    for flip in ((-1,), (-2,), (-2, -1)):
        total += np.flip(segmenter.scores(np.ascontiguousarray(np.flip(tiles, flip))), flip)
    total /= 4
    return total
