"""A sink for formats that can only be written from front to back: pixels wait in a raw file."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from maskloop.errors import ImageError, MaskError, ProjectError
from maskloop.images.formats.base import SinkSpec
from maskloop.images.image import ArrayLike, Image
from maskloop.images.refs import ImageRef
from maskloop.images.regions import Region, cut_regions, whole_region
from maskloop.images.scratch import Reopened, Scratch, StagedArray
from maskloop.records import write_errors

__all__ = ["Encode", "StagedSink", "partial_folder", "smallest_dtype"]

STAGED_LABELS = np.dtype(np.uint32)
"""Type in which labels wait until all are known."""

IN_MEMORY_BYTES = 64_000_000
"""What nobody will continue waits in memory up to this size."""

PASS_BYTES = 16_000_000

Encode = Callable[[Path, Image, np.dtype[Any], SinkSpec], None]
"""Writes a whole file from a lazy image, in memory that does not grow with it; atomically."""


def smallest_dtype(maximum: int) -> np.dtype[Any]:
    """The smallest unsigned integer type that holds 0..maximum."""
    return np.min_scalar_type(max(0, maximum))


def partial_folder(path: Path) -> Path:
    """Where the parts of a file wait until it is whole."""
    return path.with_name(f".{path.name}.partial")


class StagedSink:
    """Collects regions in a raw file beside the target and encodes it at the end.

    Parameters
    ----------
    path
        The file to write.
    spec
        What is written.
    encode
        Writes the file in its format.

    Raises
    ------
    ImageError
        If there are no pixels to write.
    ProjectError
        If the folder is not writable or full, or another process is writing the same file.
    """

    def __init__(self, path: Path, spec: SinkSpec, encode: Encode) -> None:
        if 0 in spec.shape:
            raise ImageError(
                f"There is nothing to write to '{path}': the shape is {spec.shape}.",
                "Write an image with pixels.",
            )
        self.spec = spec
        self._path, self._encode = path, encode
        self._folder = partial_folder(path)
        self._stage: StagedArray | Scratch | None = None
        self._lock: Any = None

    def is_written(self, region: Region) -> bool:
        """Whether each pixel of a region was written before and survived."""
        return self._opened().is_written(region)

    def highest(self, region: Region) -> int:
        """The highest label written within a region; 0 where there is none."""
        stage = Reopened(self._opened())
        return _range(stage, region)[1]

    def write(self, region: Region, pixels: Any) -> None:
        """Write a region, in the order of the axes; one that is written already stays as it is."""
        stage = self._opened()
        # Also in a run that was resumed: what is on the disk was checked when it was written.
        if stage.is_written(region):
            return
        # One pass over the region while it is in memory; at the end it would be on the disk.
        values = np.asarray(pixels)
        if self.spec.dtype is None:
            _check_labels(self._path, values.dtype, *_range(values), limit=STAGED_LABELS)
        with write_errors(self._path):
            stage.write(region, values)

    def write_all(self, image: Image) -> None:
        """Write all pixels of an image; lazily, with no detour over the raw file."""
        dtype = self.spec.dtype
        if dtype is None:
            low, high = _range(image.data)
            _check_labels(self._path, image.data.dtype, low, high)
            dtype = smallest_dtype(high)
        self._encode(self._path, image, dtype, self.spec)

    def workspace(self) -> Path | None:
        """A folder for intermediate results that survives with what is written, until the end."""
        self._opened()
        return self._folder if self.spec.work else None

    def commit(self) -> None:
        """Bring all that was written to the disk."""
        if isinstance(self._stage, StagedArray):
            self._stage.commit()

    def finish(self) -> ImageRef:
        """Encode the file under a temporary name, rename it, and remove what waited."""
        stage = self._opened()
        spec = self.spec
        # The file gets the smallest type, for which all labels must be known.
        dtype = spec.dtype or smallest_dtype(self.highest(whole_region(spec.shape)))
        image = Image(Reopened(stage), spec.axes, spec.pixel_size_um, spec.channel_names)
        # Atomic, and before the parts go: a kill in between encodes once more.
        self._encode(self._path, image, dtype, spec)
        self.discard()
        return ImageRef.of(self._path)

    def close(self) -> None:
        """Let go of what is open; what is written stays for the next one to continue."""
        if isinstance(self._stage, StagedArray):
            self._stage.close()
        self._stage = None
        self._release()

    def discard(self) -> None:
        """Remove what was written."""
        if self._stage is not None:
            self._stage.remove()
        self._stage = None
        # Without the lock they are the parts of another process.
        if self._lock is not None:
            # Journals that vanish one by one leave less to continue, never something wrong.
            shutil.rmtree(self._folder, ignore_errors=True)
        self._release()

    def _opened(self) -> StagedArray | Scratch:
        if self._stage is None:
            self._stage = self._open()
        return self._stage

    def _open(self) -> StagedArray | Scratch:
        dtype = self.spec.dtype or STAGED_LABELS
        with write_errors(self._path):
            if not self.spec.work:
                folder = self._path.parent
                return Scratch(self.spec.shape, dtype, folder=folder, limit_bytes=IN_MEMORY_BYTES)
            # Hidden, so that no listing of images takes its files for images.
            self._folder.mkdir(parents=True, exist_ok=True)
            self._acquire()
            stage = self._folder / "pixels.raw"
            return StagedArray(stage, self.spec.shape, dtype, work=self.spec.work)

    def _acquire(self) -> None:
        from filelock import FileLock, Timeout

        # Beside the folder, which comes and goes: two processes must never fill one raw file.
        lock = FileLock(self._folder.with_name(self._folder.name + ".lock"), timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise ProjectError(
                f"'{self._path}' is being written by another process.",
                "Wait until it has finished, or select another folder.",
            ) from None
        self._lock = lock

    def _release(self) -> None:
        if self._lock is not None:
            with contextlib.suppress(OSError):
                # Removed while it is held: whoever waits for it gets a new one.
                Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release()
            self._lock = None


def _range(data: ArrayLike, region: Region | None = None) -> tuple[int, int]:
    """Lowest and highest of the pixels of a region (or all) and 0, read in pieces."""
    # Booleans need no look, and other types are refused for their type.
    if data.dtype.kind not in "ui":
        return 0, 1
    region = region or whole_region(data.shape)
    shape = [side.stop - side.start for side in region]
    low, high = 0, 0
    for part in cut_regions(shape, data.dtype.itemsize, limit_bytes=PASS_BYTES):
        place = tuple(
            slice(side.start + inner.start, side.start + inner.stop)
            for side, inner in zip(region, part, strict=True)
        )
        piece = np.asarray(data[place])
        low, high = min(low, int(piece.min())), max(high, int(piece.max()))
    return low, high


def _check_labels(
    path: Path, dtype: np.dtype[Any], low: int, high: int, *, limit: np.dtype[Any] | None = None
) -> None:
    if dtype.kind not in "bui":
        raise MaskError(
            f"The labels for '{path}' are of type {dtype}.",
            "Labels are whole numbers: round or threshold them first.",
        )
    if low < 0:
        raise MaskError(
            f"The labels for '{path}' go down to {low}.",
            "Labels are 0 for background and positive for objects or classes.",
        )
    if limit is not None and high > np.iinfo(limit).max:
        raise MaskError(
            f"The labels for '{path}' go up to {high}, beyond {np.iinfo(limit).max}.",
            "Renumber the labels from 1.",
        )
