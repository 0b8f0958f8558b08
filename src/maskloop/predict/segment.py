"""Any segmenter over any image: frames, tiles, scores, labels, region by region.

Memory does not grow with the image: pixels are read, scored, decoded and written in parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop.errors import ImageError
from maskloop.events import Report, silent
from maskloop.images.axes import CANONICAL, reorder
from maskloop.images.formats.base import LabelSink, SinkSpec
from maskloop.images.image import Frame, Image
from maskloop.images.memory_sink import MemorySink
from maskloop.images.regions import Region, cut_regions, whole_region
from maskloop.images.scratch import Scratch, StagedArray, WorkArray
from maskloop.images.tiles import TilePlan, Tiling, plan_tiles
from maskloop.predict.bands import score_bands
from maskloop.predict.base import BlockOutput, Output, Segmenter
from maskloop.predict.blocks import decode_blocks
from maskloop.predict.watch import Watch

__all__ = [
    "Segmentation",
    "kept",
    "label_spec",
    "score_spec",
    "segment",
    "segment_into",
]

SPOOL_BYTES = 64_000_000
"""Scores and labels of a frame above this size wait in scratch files."""
FEW_TILES = 16
"""Frames of so few tiles are scored again after a kill; that is faster than waiting for the disk.
"""
WRITE_BYTES = 16_000_000
"""Labels of a frame that was decoded in blocks are written in regions of this size."""


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
    and a tile never sees another scale than its neighbor. Large results are arrays in scratch
    files, which vanish with their last view.

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
    output = segmenter.output
    labels = MemorySink(label_spec(image, dtype=output.label_dtype), folder=scratch)
    scores = MemorySink(score_spec(image, output), folder=scratch) if probabilities else None
    segment_into(
        image,
        segmenter,
        labels,
        scores=scores,
        tiling=tiling,
        mirror=mirror,
        report=report,
        is_cancelled=is_cancelled,
        scratch=scratch,
    )
    return Segmentation(
        labels.image(image.name), scores.image(image.name) if scores is not None else None
    )


def segment_into(
    image: Image,
    segmenter: Segmenter,
    into: LabelSink,
    *,
    scores: LabelSink | None = None,
    tiling: Tiling | None = None,
    mirror: bool = False,
    report: Report = silent,
    is_cancelled: Callable[[], bool] = lambda: False,
    scratch: Path | None = None,
) -> None:
    """As `segment`, into a file (or wherever a sink leads), skipping what is written already.

    Regions are written as soon as they are known. Where labels depend on their surroundings, the
    scores of a frame wait beside the sink's file until the frame is scored. So a run that was
    killed resumes within the image, and gives the same labels as one that was not.

    Parameters
    ----------
    image, segmenter, tiling, mirror, report, is_cancelled, scratch
        As for `segment`.
    into
        Takes the labels; `label_spec` describes what it must take. The caller finishes it.
    scores
        Takes the scores too, as `score_spec` describes them.

    Raises
    ------
    ImageError
        If the image has no pixels, or another number of channels than the model.
    AxesError
        If a 3D model is given an image without Z.
    Cancelled
        If `is_cancelled` said so; what was written can be resumed.
    """
    _check(image, segmenter)
    dims = segmenter.spatial_dims
    # One size for all frames, known before the first is read.
    shape = tuple(image.sizes.get(axis, 1) for axis in "ZYX"[-dims:])
    plan = _plan(shape, segmenter, tiling or Tiling())
    frames = prod(image.sizes[axis] for axis in image.axes if axis not in f"C{'ZYX'[-dims:]}")
    watch = Watch(image.name, len(plan) * frames, report, is_cancelled)
    output = segmenter.output
    next_id = 1
    for frame in image.lazy_frames(dims):
        labels = _FrameSink(into, frame)
        taken = _FrameSink(scores, frame) if scores is not None else None
        # Each frame is looked up by itself: a stack that was interrupted resumes at its frame.
        whole = whole_region(shape)
        if not (labels.is_written(whole) and (taken is None or taken.is_written(whole))):
            bands = _Bands(frame, segmenter, plan, mirror, watch, taken)
            if output.margin_px == 0:
                bands.decode_each(labels)
            else:
                bands.decode_whole(labels, next_id, scratch)
        else:
            watch.skip(len(plan))
        # Only objects have numbers; a class id is the same in every frame.
        if output.margin_px:
            # Counted in what is written, so that a run that was resumed gives the same numbers.
            next_id = max(next_id, labels.highest(whole) + 1)


def label_spec(
    image: Image,
    *,
    dtype: np.dtype[Any] | None = None,
    description: Mapping[str, Any] | None = None,
    work: str = "",
) -> SinkSpec:
    """What a sink for the labels of an image must take.

    Parameters
    ----------
    image
        The image.
    dtype
        Type of the labels; by default the smallest that holds them.
    description
        Facts to keep in the file.
    work
        What the labels are made from; see `SinkSpec`.
    """
    # Labels have one number per pixel, whatever the channels were.
    axes = image.axes.replace("C", "")
    return SinkSpec(
        tuple(image.sizes[axis] for axis in axes),
        axes,
        dtype,
        image.pixel_size_um,
        description=description or {},
        work=work,
    )


def score_spec(
    image: Image,
    output: Output,
    *,
    description: Mapping[str, Any] | None = None,
    work: str = "",
) -> SinkSpec:
    """What a sink for the scores of an image must take: float32, with C unless there is only one.

    Parameters
    ----------
    image, description, work
        As for `label_spec`.
    output
        Says what the scores are.
    """
    sizes = {**image.sizes, "C": output.channels}
    # A single score needs no axis of its own: it then opens as a plain image.
    has_channels = output.channels > 1
    axes = "".join(
        axis
        for axis in CANONICAL
        if (axis == "C" and has_channels) or (axis != "C" and axis in image.axes)
    )
    return SinkSpec(
        tuple(sizes[axis] for axis in axes),
        axes,
        np.dtype(np.float32),
        image.pixel_size_um,
        output.score_names if has_channels else (),
        description or {},
        work,
    )


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
            "Select the channels that the model was trained on, name the axes (for instance "
            "--axes CYX), or train a model on such images.",
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


class _FrameSink:
    """One frame of a sink: regions are named by the frame's own axes."""

    def __init__(self, sink: LabelSink, frame: Frame) -> None:
        self.sink = sink
        self._index, self._spatial = frame.index, frame.spatial

    def is_written(self, region: Region) -> bool:
        """Whether a region (*spatial) was written."""
        return self.sink.is_written(self._place(region))

    def highest(self, region: Region) -> int:
        """The highest label in a region (*spatial)."""
        return self.sink.highest(self._place(region))

    def write(self, region: Region, values: NDArray[Any]) -> None:
        """Write a region (*spatial) of values (*spatial) or (channels, *spatial)."""
        # Labels have no channel axis, scores have one.
        letters = self._spatial if values.ndim == len(self._spatial) else f"C{self._spatial}"
        self.sink.write(self._place(region), reorder(values, letters, self.sink.spec.axes))

    def _place(self, region: Region) -> Region:
        spec = self.sink.spec
        sides = dict(zip(self._spatial, region, strict=True))
        sides |= {axis: slice(at, at + 1) for axis, at in self._index.items()}
        return tuple(
            sides.get(axis, slice(0, length))
            for axis, length in zip(spec.axes, spec.shape, strict=True)
        )


@dataclass(frozen=True)
class _Bands:
    """Scores one frame and turns the scores into labels.

    Parameters
    ----------
    frame, segmenter, plan, mirror, watch
        As for `score_bands`.
    scores
        Where scores go too.
    """

    frame: Frame
    segmenter: Segmenter
    plan: TilePlan
    mirror: bool
    watch: Watch
    scores: _FrameSink | None

    def decode_each(self, labels: _FrameSink) -> None:
        """Labels of each band at once, for outputs that decode each pixel by itself."""
        for region, scores in self._score(labels.is_written):
            labels.write(region, self.segmenter.output.decode(scores))

    def decode_whole(self, labels: _FrameSink, first_id: int, scratch: Path | None) -> None:
        """Labels once the frame is scored, for outputs that look around each pixel.

        Scores wait in the output's own type whether the frame is small or large, so that both give
        the same objects.
        """
        output = self.segmenter.output
        assert isinstance(output, BlockOutput)
        # In a frame of its own: what waits of one frame is gone before the next.
        spool = self._spool(output, labels.sink, scratch)
        try:
            self._decode_spool(output, spool, labels, first_id, scratch)
        finally:
            spool.close()

    def _decode_spool(
        self,
        output: BlockOutput,
        spool: WorkArray,
        labels: _FrameSink,
        first_id: int,
        scratch: Path | None,
    ) -> None:
        every = slice(0, output.channels)
        for region, scores in self._score(lambda region: spool.is_written((every, *region))):
            spool.write((every, *region), kept(scores, output))
        # Blocks overlap, and a sink takes each region once: objects meet here first.
        found = Scratch(self.plan.shape, np.int32, folder=scratch, limit_bytes=SPOOL_BYTES)

        def take(region: Region, objects: NDArray[np.int32]) -> None:
            target = found.open()[region]
            # The first block that found an object keeps its pixels.
            np.copyto(target, objects, where=(target == 0) & (objects > 0))

        decode_blocks(spool, output, take, first_id=first_id, before_block=self.watch.check)
        for region in cut_regions(self.plan.shape, 4, limit_bytes=WRITE_BYTES):
            labels.write(region, found.open()[region])
        if isinstance(spool, StagedArray):
            labels.sink.commit()  # only then can the scores go
        spool.remove()

    def _score(self, is_done: Callable[[Region], bool]) -> Any:
        """Bands that are not done, or whose scores are wanted; scores are written on the way."""
        taken = self.scores
        bands = score_bands(
            self.frame,
            self.segmenter,
            self.plan,
            mirror=self.mirror,
            watch=self.watch,
            is_done=lambda region: is_done(region) and (taken is None or taken.is_written(region)),
        )
        for region, scores in bands:
            # Before the labels of the region: a region with labels has its scores.
            if taken is not None:
                taken.write(region, scores)
            yield region, scores

    def _spool(self, output: Output, sink: LabelSink, scratch: Path | None) -> WorkArray:
        """Where scores wait: beside the sink's file if that survives a kill, else anywhere."""
        shape = (output.channels, *self.plan.shape)
        folder = sink.workspace() if len(self.plan) > FEW_TILES else None
        if folder is None:
            return Scratch(shape, output.dtype, folder=scratch, limit_bytes=SPOOL_BYTES)
        place = "".join(f"{axis}{at}" for axis, at in self.frame.index.items())
        name = folder / f"scores{place}.raw"
        return StagedArray(name, shape, output.dtype, work=sink.spec.work)


def kept(scores: NDArray[np.float32], output: Output) -> NDArray[Any]:
    """Scores as they wait to be decoded: 0..1 in 256 steps, or in a float type of the output's."""
    # 256 steps change no object, and take a quarter of the space of floats.
    if output.dtype == np.uint8:
        scores = np.clip(np.rint(scores * 255), 0, 255)
    return scores.astype(output.dtype)
