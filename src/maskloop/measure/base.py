"""What measures objects: a name, settings, columns with units, and one array per column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from maskloop.measure.frame import ObjectFrame
from maskloop.records import Record

__all__ = ["Column", "Measurement", "ObjectKind", "Scene", "axis_names", "in_um"]

ObjectKind = Literal["instances", "classes"]
"""What a label stands for: one object, or one class whose connected pieces are the objects."""


class Column(Record):
    """One column of a table of objects."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.%-]+$", description="Unique in the table.")
    unit: str = Field(
        "", description="Such as px, um, um2; id for ids of objects; empty for ratios and counts."
    )
    description: str


class Scene(Record):
    """What all images of one table have in common; the columns follow from it and the settings."""

    spatial_axes: Literal["YX", "ZYX"] = "YX"
    channels: tuple[str, ...] = Field((), description="Names; none when only labels are measured.")
    by_plane: bool = Field(False, description="Whether each plane of a stack is measured alone.")

    @property
    def is_volume(self) -> bool:
        """Whether the objects are three-dimensional."""
        return self.spatial_axes == "ZYX"


class Measurement(Protocol):
    """A group of columns that are computed together; a plug-in of the kind ``measurements``.

    It sees one frame (one timepoint) at a time, which has at least one object and which it cannot
    change. When it raises, its own columns are left empty and the rest of the table is written.
    """

    name: str
    """What people select it by."""

    Settings: type[Record]
    """What a person may choose; every field needs a default."""

    def columns(self, settings: Any, scene: Scene) -> tuple[Column, ...]:
        """The columns it fills, which depend on nothing but the settings and the scene."""

    def measure(self, frame: ObjectFrame, settings: Any) -> Mapping[str, NDArray[Any]]:
        """Numbers for each column, one per object in the order of ``frame.ids``."""


def axis_names(scene: Scene) -> tuple[str, ...]:
    """The spatial axes in small letters, as they stand in names of columns."""
    return tuple(scene.spatial_axes.lower())


def in_um(values: NDArray[Any], frame: ObjectFrame, dimensions: int) -> NDArray[np.float64]:
    """Lengths, areas or volumes in pixels as micrometers to that power, where that is possible.

    Not a number where the pixel size is unknown or differs between the axes: a length that was
    counted in pixels then has no single factor.
    """
    sizes = frame.pixel_size_um or (np.nan,)
    # Files keep sizes as fractions, which may differ in their last digits.
    is_square = max(sizes) <= min(sizes) * (1 + 1e-6)
    return np.asarray(values * (sizes[0] ** dimensions if is_square else np.nan), np.float64)
