"""Any segmenter over any image: frames, tiles, scores, labels; memory does not grow with the scores."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop.errors import Cancelled, ImageError
from maskloop.events import Progress, Report, silent
from maskloop.images.axes import reorder
from maskloop.images.image import Image
from maskloop.images.normalize import normalize
from maskloop.images.scratch import Scratch
from maskloop.images.tiles import TilePlan, Tiling, plan_tiles
from maskloop.predict.base import BlockOutput, Output, Segmenter
from maskloop.predict.blocks import decode_blocks

__all__ = ["Segmentation", "kept", "segment"]

SPOOL_BYTES = 64_000_000
"""Scores of instances above this size wait in a scratch file for the whole plane to be scored."""
RESULT_BYTES = 256_000_000
"""Results above this size live in a scratch file."""
REPORT_EVERY_S = 0.1


@dataclass(frozen=True)
class Segmentation:
    """What a segmenter made of an image.

    Parameters
    ----------
    labels
        The axes of the image without C. Class ids (uint8, or uint16 above 255 classes), or
        instances (int32), each with a number that no other object has in any frame.
    probabilities
        The scores as float32 with a C axis (none for binary), when asked for.
    """

    labels: Image
    probabilities: Image | None


def segment(
    image: Image,
    segmenter: Segmenter,
    *,
    tiling: Tiling | None = None,
    mirror: bool = False,
    probabilities: bool = False,
    report: Report = silent,
    is_cancelled: Callable[[], bool] = lambda: False,
    scratch: Path | None = None,
) -> Segmentation:
    """Segment an image of any size, tile by tile.

    A 2D model sees each plane (of each T and Z) as one image, a 3D model each volume (of each T).
    Intensities are fitted per such frame, before it is cut into tiles, so bleaching does not matter
    and a tile never sees another scale than its neighbour. Memory holds one frame, one band of
    scores and small results; large results are arrays in scratch files, which vanish with their
    last view.

    Parameters
    ----------
    image
        Pixels with named axes and as many channels as the model was made for. Pixels that are not
        finite count as dark.
    segmenter
        The model.
    tiling
        How the frame is cut; by default as the model says, blended with Gaussian weights.
    mirror
        Average over mirror images in the plane: four times the work, slightly better.
    probabilities
        Also return the scores.
    report
        Hears `Progress` in tiles over all frames.
    is_cancelled
        Asked before each batch of tiles.
    scratch
        Folder for large intermediate results; the system's by default.

    Raises
    ------
    ImageError
        If the image has no pixels, or another number of channels than the model.
    AxesError
        If a 3D model is given an image without Z.
    Cancelled
        If `is_cancelled` said so.
    """
    _check(image, segmenter)
    # One size for all frames, known before the first is read.
    shape = tuple(image.sizes.get(axis, 1) for axis in "ZYX"[-segmenter.spatial_dims :])
    plan = _plan(shape, segmenter, tiling or Tiling())
    result = _Result(image, segmenter, probabilities, scratch)
    watch = _Watch(image, len(plan) * result.frame_count, report, is_cancelled)
    for index, frame in image.frames(segmenter.spatial_dims):
        sink = _sink(result, index, shape, scratch)
        for region, scores in _score(frame, segmenter, plan, mirror, watch):
            sink.take(region, scores)
            result.keep(index, region, scores)
        sink.finish(watch.check)
    return result.segmentation()


def _check(image: Image, segmenter: Segmenter) -> None:
    if 0 in image.shape:
        raise ImageError(
            f"'{image.name}' has no pixels: {image.axes} {image.shape}.",
            "Open another file; this one is empty.",
        )
    if image.channels != segmenter.input_channels:
        has = f"{image.channels} channel{'s' * (image.channels != 1)} ({image.axes} {image.shape})"
        raise ImageError(
            f"'{image.name}' has {has}, the model was made for {segmenter.input_channels}.",
            "Choose the channels that the model was trained on, name the axes (for instance --axes CYX), or train a model on such images.",
        )


def _plan(shape: tuple[int, ...], segmenter: Segmenter, tiling: Tiling) -> TilePlan:
    return plan_tiles(
        shape,
        tiling.tile_shape or segmenter.tile_shape,
        overlap=tiling.overlap,
        halo=segmenter.halo,
        multiple=segmenter.multiple,
        weighting=tiling.weighting,
    )


def _score(
    frame: NDArray[Any], segmenter: Segmenter, plan: TilePlan, mirror: bool, watch: _Watch
) -> Iterator[tuple[tuple[slice, ...], NDArray[np.float32]]]:
    """Scores of a frame (C, *spatial) band by band: each region once, as soon as no tile will add to it."""
    # Bands lie across the axis with the most tiles, which keeps them small.
    sweep = max(range(len(plan.shape)), key=lambda axis: len(plan.starts[axis]))
    depth = min(plan.tile_shape[sweep], plan.shape[sweep])
    others = [length for axis, length in enumerate(plan.shape) if axis != sweep]
    rows = np.zeros((segmenter.output.channels, depth, *others), np.float32)
    band = np.moveaxis(rows, 1, 1 + sweep)
    ranges = segmenter.normalization.fit(frame)
    places = plan.places(sweep)
    first = 0

    def region(stop: int) -> tuple[slice, ...]:
        return tuple(
            slice(first, stop) if axis == sweep else slice(0, length)
            for axis, length in enumerate(plan.shape)
        )

    while batch := list(islice(places, segmenter.batch_size)):
        watch.check()
        tiles = np.stack([normalize(plan.cut(frame, place), ranges) for place in batch])
        for place, scores in zip(batch, _scores(segmenter, tiles, mirror), strict=True):
            window = plan.window(place)
            done = window[sweep].start - first
            if done:
                yield region(first + done), np.moveaxis(rows[:, :done], 1, 1 + sweep)
                rows[:, :-done] = rows[:, done:].copy()
                rows[:, -done:] = 0
                first += done
            inner = tuple(
                slice(None) if axis == sweep else side for axis, side in enumerate(window)
            )
            band[(slice(None), *inner)] += plan.weigh(scores, place)
        watch.advance(len(batch))
    yield region(plan.shape[sweep]), band


def _scores(segmenter: Segmenter, tiles: NDArray[np.float32], mirror: bool) -> NDArray[np.float32]:
    if not mirror:
        return segmenter.scores(tiles)
    total = segmenter.scores(tiles).astype(np.float32)
    for flip in ((-1,), (-2,), (-2, -1)):
        total += np.flip(segmenter.scores(np.ascontiguousarray(np.flip(tiles, flip))), flip)
    total /= 4
    return total


class _Watch:
    """Counts tiles, tells how long it will take, and stops when asked."""

    def __init__(
        self, image: Image, total: int, report: Report, is_cancelled: Callable[[], bool]
    ) -> None:
        self._name, self._total, self._report, self._is_cancelled = (
            image.name,
            total,
            report,
            is_cancelled,
        )
        self._done, self._begin, self._said = 0, time.monotonic(), float("-inf")

    def check(self) -> None:
        if self._is_cancelled():
            raise Cancelled(
                f"The prediction of '{self._name}' was cancelled after {self._done} of {self._total} tiles.",
                "Start it again when you like; images that were finished before are kept.",
            )

    def advance(self, tiles: int) -> None:
        self._done += tiles
        now = time.monotonic()
        if self._done < self._total and now - self._said < REPORT_EVERY_S:
            return
        self._said = now
        rate = self._done / max(now - self._begin, 1e-9)
        left = (self._total - self._done) / rate
        self._report(
            Progress(
                stage=self._name,
                done=self._done,
                total=self._total,
                unit="tiles",
                rate=rate,
                seconds_left=left,
            )
        )


class _Result:
    """The arrays to fill, with the axes of the image, and views of one frame of them."""

    def __init__(
        self, image: Image, segmenter: Segmenter, probabilities: bool, folder: Path | None
    ) -> None:
        self._image, self._output, self._dimensions = (
            image,
            segmenter.output,
            segmenter.spatial_dims,
        )
        self._axes = image.axes.replace("C", "")
        sizes = {**image.sizes, "C": segmenter.output.channels}
        shape = [sizes[axis] for axis in self._axes]
        self._labels = Scratch(
            shape, segmenter.output.label_dtype, folder=folder, limit_bytes=RESULT_BYTES
        )
        self._score_axes = "".join(
            axis
            for axis in "TCZYX"
            if axis in self._axes or (axis == "C" and segmenter.output.channels > 1)
        )
        score_shape = [sizes[axis] for axis in self._score_axes]
        self._scores = (
            Scratch(score_shape, np.float32, folder=folder, limit_bytes=RESULT_BYTES)
            if probabilities
            else None
        )
        self.frame_count = prod(
            sizes[axis] for axis in self._axes if axis not in "ZYX"[-segmenter.spatial_dims :]
        )
        self.next_id = 1

    @property
    def output(self) -> Output:
        """What the scores mean."""
        return self._output

    def frame(self, index: dict[str, int]) -> NDArray[Any]:
        """Labels of one frame (*spatial), to write."""
        whole: NDArray[Any] = reorder(self._labels.open(), self._axes, "TZYX")[index.get("T", 0)]
        return whole[index.get("Z", 0)] if self._dimensions == 2 else whole

    def keep(
        self, index: dict[str, int], region: tuple[slice, ...], scores: NDArray[np.float32]
    ) -> None:
        """Scores of a region, when they are wanted."""
        if self._scores is not None:
            whole = reorder(self._scores.open(), self._score_axes, "TCZYX")[index.get("T", 0)]
            frame = whole[:, index.get("Z", 0)] if self._dimensions == 2 else whole
            frame[(slice(None), *region)] = scores

    def segmentation(self) -> Segmentation:
        """The filled arrays as images."""
        size, name = self._image.pixel_size_um, self._image.name
        labels = Image(self._labels.open(), self._axes, size, (), name)
        if self._scores is None:
            return Segmentation(labels, None)
        names = self._output.score_names if "C" in self._score_axes else ()
        return Segmentation(labels, Image(self._scores.open(), self._score_axes, size, names, name))


def _sink(
    result: _Result, index: dict[str, int], shape: tuple[int, ...], folder: Path | None
) -> _PixelSink | _BlockSink:
    output = result.output
    if output.margin_px == 0:
        return _PixelSink(result, index)
    assert isinstance(output, BlockOutput)
    return _BlockSink(result, output, index, shape, folder)


class _PixelSink:
    """Scores to labels at once, for outputs that decode each pixel by itself."""

    def __init__(self, result: _Result, index: dict[str, int]) -> None:
        self._result, self._index = result, index

    def take(self, region: tuple[slice, ...], scores: NDArray[np.float32]) -> None:
        self._result.frame(self._index)[region] = self._result.output.decode(scores)

    def finish(self, _check: Callable[[], None]) -> None:
        """Nothing is left to do."""


class _BlockSink:
    """Scores to labels once the frame is whole, for outputs that look around each pixel.

    Scores wait in the output's own type whether the frame is small or large, so that both give the
    same objects.
    """

    def __init__(
        self,
        result: _Result,
        output: BlockOutput,
        index: dict[str, int],
        shape: tuple[int, ...],
        folder: Path | None,
    ) -> None:
        self._result, self._output, self._index = result, output, index
        self._spool = Scratch(
            (output.channels, *shape), output.dtype, folder=folder, limit_bytes=SPOOL_BYTES
        )

    def take(self, region: tuple[slice, ...], scores: NDArray[np.float32]) -> None:
        self._spool.open()[(slice(None), *region)] = kept(scores, self._output)

    def finish(self, check: Callable[[], None]) -> None:
        self._result.next_id = decode_blocks(
            self._spool,
            self._output,
            self._write,
            first_id=self._result.next_id,
            before_block=check,
        )

    def _write(self, region: tuple[slice, ...], labels: NDArray[np.int32]) -> None:
        target = self._result.frame(self._index)[region]
        np.copyto(target, labels, where=(target == 0) & (labels > 0))


def kept(scores: NDArray[np.float32], output: Output) -> NDArray[Any]:
    """Scores as they wait to be decoded: 0..1 in 256 steps, or in a float type of the output's."""
    if output.dtype == np.uint8:
        scores = np.clip(np.rint(scores * 255), 0, 255)
    return scores.astype(output.dtype)
