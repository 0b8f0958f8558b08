"""How large objects are: area or volume, equivalent diameter, extent."""

from __future__ import annotations

from math import pi, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop.measure.base import Column, Scene
from maskloop.measure.frame import ObjectFrame
from maskloop.records import Record

__all__ = ["SIZE", "Size"]


class Size:
    """Area or volume, equivalent diameter, and extent."""

    name = "size"

    class Settings(Record):
        """Nothing to choose."""

    def columns(self, settings: Settings, scene: Scene) -> tuple[Column, ...]:
        """The columns it fills."""
        kind, power, body = ("volume", 3, "sphere") if scene.is_volume else ("area", 2, "circle")
        diameter = f"Diameter of the {body} of the same {kind}"
        return (
            Column(name=f"{kind}_px", unit="px", description="Number of pixels."),
            Column(name=f"{kind}_um{power}", unit=f"um{power}", description=f"Physical {kind}."),
            Column(
                name="equivalent_diameter_px",
                unit="px",
                description=f"{diameter}, in pixel widths.",
            ),
            Column(name="equivalent_diameter_um", unit="um", description=f"{diameter}."),
            Column(
                name="extent", description="Fraction of the bounding box that the object covers."
            ),
        )

    def measure(self, frame: ObjectFrame, settings: Settings) -> dict[str, NDArray[Any]]:
        """One value per object for each column."""
        dimensions = len(frame.shape)
        kind = "volume" if dimensions == 3 else "area"
        sizes = frame.pixels.sizes
        # Areas and volumes have a factor for any pixel, square or not; lengths do not.
        firsts, ends = frame.boxes
        pixel_um = prod(frame.pixel_size_um) if frame.pixel_size_um else np.nan
        physical = sizes * pixel_um
        return {
            f"{kind}_px": sizes,
            f"{kind}_um{dimensions}": physical,
            "equivalent_diameter_px": _diameter(sizes * prod(frame.spacing), dimensions),
            "equivalent_diameter_um": _diameter(physical, dimensions),
            "extent": sizes / (ends - firsts).prod(axis=1),
        }


def _diameter(sizes: NDArray[Any], dimensions: int) -> NDArray[np.float64]:
    found: NDArray[np.float64] = (2 * dimensions * sizes / pi) ** (1 / dimensions)
    return found


SIZE = Size()
