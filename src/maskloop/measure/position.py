"""Where objects lie: centers, boxes, and how far they are from the edge of the image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop.measure.base import Column, Scene, axis_names
from maskloop.measure.frame import ObjectFrame
from maskloop.records import Record

__all__ = ["POSITION", "Position"]


class Position:
    """Center, bounding box and distance to the edge of the image."""

    name = "position"

    class Settings(Record):
        """Nothing to choose."""

    def columns(self, settings: Settings, scene: Scene) -> tuple[Column, ...]:
        """The columns it fills."""
        axes = axis_names(scene)
        center = "Centroid along {}; the center of the first pixel is at 0."
        return (
            *(
                Column(name=f"centroid_{axis}_{unit}", unit=unit, description=center.format(axis))
                for unit in ("px", "um")
                for axis in axes
            ),
            *(
                Column(
                    name=f"box_{axis}_{end}_px",
                    unit="px",
                    description=f"Bounding box along {axis}: {words}.",
                )
                for end, words in (("first", "first pixel"), ("end", "one beyond the last pixel"))
                for axis in axes
            ),
            Column(
                name="edge_distance_px",
                unit="px",
                description="Distance to the nearest edge of the image in the plane; 0 if the "
                "object touches it and may be cut off.",
            ),
        )

    def measure(self, frame: ObjectFrame, settings: Settings) -> dict[str, NDArray[Any]]:
        """One value per object for each column."""
        axes = "zyx"[-len(frame.shape) :]
        firsts, ends = frame.boxes
        sizes = frame.pixel_size_um or (np.nan,) * len(axes)
        centers = centroids(frame)
        found: dict[str, NDArray[Any]] = {}
        for at, (axis, size) in enumerate(zip(axes, sizes, strict=True)):
            found[f"centroid_{axis}_px"] = centers[:, at]
            found[f"centroid_{axis}_um"] = centers[:, at] * size
            found[f"box_{axis}_first_px"] = firsts[:, at]
            found[f"box_{axis}_end_px"] = ends[:, at]
        gaps = np.concatenate([firsts[:, -2:], np.array(frame.shape[-2:]) - ends[:, -2:]], axis=1)
        found["edge_distance_px"] = gaps.min(axis=1)
        return found


def centroids(frame: ObjectFrame) -> NDArray[np.float64]:
    """Centers of mass in pixels, (count, axes)."""
    lengths = frame.runs.lengths
    *outer, columns = frame.run_places
    # The mean of a run along X is its middle.
    sums = [frame.sum_runs(lengths * where) for where in (*outer, columns + (lengths - 1) / 2)]
    return np.stack(sums, axis=1) / frame.pixels.sizes[:, None]


POSITION = Position()
