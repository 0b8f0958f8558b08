"""Everything that can go wrong, in words a biologist understands.

::

    MaskloopError                      every error a user can cause: the problem, then the way out
    |-- AxesError        (ValueError)  axes are missing, ambiguous or do not fit the array
    |-- ImageError       (ValueError)  an image cannot be read or used
    |-- MaskError        (ValueError)  a mask cannot be accepted as it is
    |   |-- EmptyMask                  it is empty, and empty masks were not allowed
    |   `-- KnownPixels                the image is already in the project
    |-- UsageError       (ValueError)  a choice does not exist or contradicts another
    |-- ProjectError     (OSError)     the project folder is missing, damaged or not writable
    |   |-- RecordError                a record of the folder is damaged or missing
    |   `-- ProjectLocked              another process is writing to the folder
    |-- NotFound         (LookupError) no pair, checkpoint or run has this id
    |-- IncompatibleWeights (ValueError)   weights and network do not match
    |-- UnsafeFile       (ValueError)  reading the file would execute code in it
    |-- TrainingFailed   (RuntimeError)    training cannot continue
    |-- Cancelled        (RuntimeError)    a person asked to stop
    |-- MissingExtra     (ImportError)     an optional library is not installed
    `-- BrokenPlugin     (ImportError)     a plug-in cannot be loaded
"""

from __future__ import annotations

__all__ = [
    "AxesError",
    "BrokenPlugin",
    "Cancelled",
    "EmptyMask",
    "ImageError",
    "IncompatibleWeights",
    "KnownPixels",
    "MaskError",
    "MaskloopError",
    "MissingExtra",
    "NotFound",
    "ProjectError",
    "ProjectLocked",
    "RecordError",
    "TrainingFailed",
    "UnsafeFile",
    "UsageError",
]


class MaskloopError(Exception):
    """An error that a user can cause and can fix.

    Parameters
    ----------
    problem
        What is wrong, with the values that are wrong.
    way_out
        What to do about it.
    """

    def __init__(self, problem: str, way_out: str) -> None:
        # Both as arguments: an exception travels between processes as its class and arguments.
        super().__init__(problem, way_out)
        self.problem = problem
        self.way_out = way_out

    def __str__(self) -> str:
        return f"{self.problem}\n  -> {self.way_out}"


class AxesError(MaskloopError, ValueError):
    """Axes are missing, ambiguous or do not fit the array."""


class ImageError(MaskloopError, ValueError):
    """An image cannot be read or used."""


class MaskError(MaskloopError, ValueError):
    """A mask cannot be accepted as it is."""


class EmptyMask(MaskError):
    """The mask is empty, as drawn or after its rule, and empty masks were not allowed."""


class KnownPixels(MaskError):
    """The image is already in the project.

    Parameters
    ----------
    problem, way_out
        As for any error.
    pair_id
        Of the pair that has these pixels.
    """

    def __init__(self, problem: str, way_out: str, pair_id: str = "") -> None:
        super().__init__(problem, way_out)
        self.pair_id = pair_id


class UsageError(MaskloopError, ValueError):
    """A choice does not exist or contradicts another one."""


class ProjectError(MaskloopError, OSError):
    """The project folder is missing, damaged or not writable."""


class RecordError(ProjectError):
    """A record of the project folder is damaged or missing."""


class ProjectLocked(ProjectError):
    """Another process is writing to the project folder."""


class NotFound(MaskloopError, LookupError):
    """No pair, checkpoint, model or run has this id."""


class IncompatibleWeights(MaskloopError, ValueError):
    """Weights and network do not match; each mismatch is named with both values."""


class UnsafeFile(MaskloopError, ValueError):
    """Reading the file would execute code in it, so it was not read."""


class TrainingFailed(MaskloopError, RuntimeError):
    """Training cannot continue; the best weights so far are kept."""


class Cancelled(MaskloopError, RuntimeError):
    """A person asked to stop; what was finished is kept."""


class MissingExtra(MaskloopError, ImportError):
    """An optional library is not installed."""


class BrokenPlugin(MaskloopError, ImportError):
    """A plug-in is installed and cannot be loaded."""
