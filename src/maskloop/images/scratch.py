"""Arrays for what is too large for memory or must survive a kill: in files, written by region."""

from __future__ import annotations

import json
import os
import tempfile
import time
import weakref
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from maskloop.errors import ImageError
from maskloop.images.regions import Covered, Region
from maskloop.records import write_errors

__all__ = ["Reopened", "Scratch", "StagedArray", "WorkArray"]

COMMIT_EVERY_S = 1.0
"""What was written longer ago than this survives a kill; oftener would wait for the disk."""


class WorkArray(Protocol):
    """An array that is filled region by region and read again."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each dimension."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of an entry."""

    def open(self) -> NDArray[Any]:
        """The array to read and write; zeros where nothing was written."""

    def is_written(self, region: Region) -> bool:
        """Whether a region was written, in this process or in one that was killed."""

    def write(self, region: Region, values: Any) -> None:
        """Fill a region."""

    def close(self) -> None:
        """Let go of its files; what survives a kill stays for the next one."""

    def remove(self) -> None:
        """Free its memory and its files."""


class Reopened:
    """A work array to read in parts, mapped again for each.

    One mapping of a large file would hold in memory whatever was read through it.
    """

    def __init__(self, array: WorkArray) -> None:
        self._array = array
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, key: Any, /) -> NDArray[Any]:
        return np.array(self._array.open()[key])


class Scratch:
    """An array of zeros, in memory when small, else in a nameless temporary file.

    The file is gone with the last view of it.

    Parameters
    ----------
    shape, dtype
        Of the array.
    folder
        Where the file goes; the system's folder for temporary files by default.
    limit_bytes
        Larger arrays go to a file.

    Raises
    ------
    ImageError
        If the disk has no room for the file.
    """

    def __init__(
        self, shape: Sequence[int], dtype: DTypeLike, *, folder: Path | None, limit_bytes: int
    ) -> None:
        self.shape = tuple(shape)
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self._written = Covered()
        size = prod(self.shape) * self.dtype.itemsize
        self._array = np.zeros(self.shape, self.dtype) if size <= limit_bytes else None
        if self._array is None:
            place = folder or tempfile.gettempdir()
            try:
                # Closed with this object.
                self._file = tempfile.TemporaryFile(prefix="maskloop-", dir=folder)  # noqa: SIM115
                # The views keep the pixels: a mapping outlives the file that it was made from.
                weakref.finalize(self, self._file.close)
                _reserve(self._file.fileno(), size)
            except OSError as error:
                raise ImageError(
                    f"{size / 1e9:.1f} GB of intermediate results cannot be kept in '{place}': "
                    f"{error.strerror}.",
                    "Free some space, or select another scratch folder (TMPDIR does it for the "
                    "command line).",
                ) from error

    def open(self) -> NDArray[Any]:
        """The array to read and write.

        A file is mapped again each time, so that its pages leave memory with the view.
        """
        if self._array is not None:
            return self._array
        return np.memmap(self._file, self.dtype, "r+", shape=self.shape)

    def is_written(self, region: Region) -> bool:
        """Whether a region was written before."""
        return region in self._written

    def write(self, region: Region, values: Any) -> None:
        """Fill a region."""
        self.open()[region] = values
        self._written.add(region)

    def close(self) -> None:
        """Nothing to do: memory and file go with the last view."""

    def remove(self) -> None:
        """Nothing to do: memory and file go with the last view."""


class StagedArray:
    """An array in a named file that survives a kill with all regions finished before it.

    A journal beside the file lists the regions whose pixels have reached the disk. What is in the
    file beyond them counts for nothing.

    Parameters
    ----------
    path
        Of the file of pixels, in a folder that exists.
    shape, dtype
        Of the array.
    work
        What the array is made from, in one text: a file of other work is started over.

    Raises
    ------
    ProjectError
        If the disk has no room, or the folder is not writable.
    """

    def __init__(self, path: Path, shape: Sequence[int], dtype: DTypeLike, *, work: str) -> None:
        self.shape = tuple(shape)
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self._path, self._journal_path = path, path.with_name(path.name + ".journal")
        head = {"work": work, "shape": self.shape, "dtype": self.dtype.str}
        self._head = json.dumps(head)
        self._pending: list[Region] = []
        self._committed = time.monotonic()
        size = prod(self.shape) * self.dtype.itemsize
        with write_errors(path):
            found = self._read_journal(size)
            self._written = Covered(found or ())
            if found is None:
                self._begin(size)
            self._file = path.open("r+b")
            self._journal = self._journal_path.open("ab")

    def _read_journal(self, size: int) -> list[Region] | None:
        """The regions that survived, or None where there is nothing to continue."""
        try:
            # A last line without its end was being written when the process was killed.
            head, *lines = self._journal_path.read_text("utf-8").split("\n")[:-1]
            if head != self._head or self._path.stat().st_size != size:
                return None
            return [tuple(slice(*side) for side in json.loads(line)) for line in lines]
        except (OSError, ValueError, TypeError):
            return None

    def _begin(self, size: int) -> None:
        self._journal_path.unlink(missing_ok=True)
        with self._path.open("wb") as file:
            _reserve(file.fileno(), size)
        # The journal comes second: without it the file of pixels means nothing. Both reach the
        # disk with the first commit; thousands of small images need not wait for it.
        self._journal_path.write_bytes(f"{self._head}\n".encode())

    def open(self) -> NDArray[Any]:
        """The array to read and write, mapped again each time, as for `Scratch`."""
        return np.memmap(self._file, self.dtype, "r+", shape=self.shape)

    def is_written(self, region: Region) -> bool:
        """Whether a region was written, in this process or in one that was killed."""
        return region in self._written

    def write(self, region: Region, values: Any) -> None:
        """Fill a region; within a second it survives a kill."""
        self.open()[region] = values
        self._written.add(region)
        self._pending.append(region)
        if time.monotonic() - self._committed >= COMMIT_EVERY_S:
            self.commit()

    def commit(self) -> None:
        """Bring all that was written to the disk, then say so in the journal."""
        if not self._pending:
            return
        with write_errors(self._path):
            # Pages that were changed through a mapping belong to the file: fsync writes them too.
            self.open().flush()  # type: ignore[attr-defined]
            os.fsync(self._file.fileno())
            for region in self._pending:
                line = json.dumps([[side.start, side.stop] for side in region])
                self._journal.write(f"{line}\n".encode())
            self._journal.flush()
            os.fsync(self._journal.fileno())
        self._pending.clear()
        self._committed = time.monotonic()

    def close(self) -> None:
        """Commit and let go of the files."""
        if not self._file.closed:
            self.commit()
            self._file.close()
            self._journal.close()

    def remove(self) -> None:
        """Remove the files; a view that is still open stays readable where the system allows."""
        self._pending.clear()
        self._file.close()
        self._journal.close()
        self._journal_path.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)


def _reserve(descriptor: int, size: int) -> None:
    # Writing to a mapped file with no room left kills the process; asking for the room first gives
    # an error instead.
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.truncate(descriptor, size)
