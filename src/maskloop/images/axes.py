"""Axes by name: T time, C channel, Z depth, Y row, X column; never guessed from a size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop.errors import AxesError

__all__ = ["CANONICAL", "parse_axes", "reorder", "spatial_axes"]

CANONICAL = "TCZYX"


def parse_axes(axes: str, shape: Sequence[int] | None = None) -> str:
    """Check axes that a person or a file gave; in capitals, with samples (S) read as channels.

    Parameters
    ----------
    axes
        Letters out of TCZYX, one per dimension, in the order of the array.
    shape
        Shape of the array they belong to, when known.

    Raises
    ------
    AxesError
        If a letter is unknown or repeated, Y or X is missing, or the number of dimensions differs.
    """
    clean = axes.strip().upper()
    # TIFF calls the channels of a color picture samples (S).
    if "C" not in clean:
        clean = clean.replace("S", "C")
    if set(clean) - set(CANONICAL) or len(set(clean)) != len(clean) or not {"Y", "X"} <= set(clean):
        raise AxesError(
            f"Axes '{axes}' must be letters of T, C, Z, Y, X, each at most once, with Y and X "
            "among them.",
            "Name one letter per dimension in the order of the file, such as YX, CYX, ZYX, TZCYX.",
        )
    if shape is not None and len(shape) != len(clean):
        raise AxesError(
            f"Axes '{clean}' name {len(clean)} dimensions, but the image has {len(shape)}: "
            f"{tuple(shape)}.",
            "Name one letter per dimension in the order of the file, such as YX, CYX, ZYX, TZCYX.",
        )
    return clean


def spatial_axes(axes: str) -> str:
    """The letters of `axes` that are space, in canonical order (ZYX or YX)."""
    return "".join(letter for letter in "ZYX" if letter in axes)


def reorder(data: NDArray[Any], axes: str, target: str) -> NDArray[Any]:
    """A view of `data` with the axes of `target`, in this order; missing ones get length one.

    Raises
    ------
    AxesError
        If `data` has an axis longer than one that `target` does not name.
    """
    for letter in axes:
        if letter not in target and data.shape[axes.index(letter)] != 1:
            raise AxesError(
                f"Axis {letter} has {data.shape[axes.index(letter)]} entries, and {target} has no "
                "place for it.",
                f"Select one entry along {letter}, or name the axes again.",
            )
    # An axis of length one that the target lacks is dropped by taking its only entry.
    kept = data[tuple(slice(None) if letter in target else 0 for letter in axes)]
    names = [letter for letter in axes if letter in target]
    ordered = kept.transpose([names.index(letter) for letter in target if letter in names])
    return np.expand_dims(ordered, [at for at, letter in enumerate(target) if letter not in names])
