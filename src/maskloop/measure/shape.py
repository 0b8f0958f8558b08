"""What objects look like: border, axes of the fitted ellipse, roundness, holes."""

from __future__ import annotations

from math import pi
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from maskloop.measure.base import Column, Scene, in_um
from maskloop.measure.contour import euler_numbers, perimeters, surface_areas
from maskloop.measure.frame import ObjectFrame
from maskloop.measure.hull import convex_areas
from maskloop.records import Record

__all__ = ["SHAPE", "Shape"]


class Shape:
    """Perimeter or surface, major and minor axis, eccentricity, solidity, Euler number."""

    name = "shape"

    class Settings(Record):
        """What to compute of a shape."""

        solidity: bool = Field(
            True, description="Compute the solidity, which needs convex hulls (2D only)."
        )

    def columns(self, settings: Settings, scene: Scene) -> tuple[Column, ...]:
        """The columns it fills."""
        body = "ellipsoid" if scene.is_volume else "ellipse"
        axes = tuple(
            Column(
                name=f"{axis}_axis_{unit}",
                unit=unit,
                description=f"{words} axis of the {body} with the same second moments"
                + (", in pixel widths." if unit == "px" else "."),
            )
            for axis, words in (("major", "Longest"), ("minor", "Shortest"))
            for unit in ("px", "um")
        )
        return (*axes, *(_OF_VOLUMES if scene.is_volume else _of_planes(settings)))

    def measure(self, frame: ObjectFrame, settings: Settings) -> dict[str, NDArray[Any]]:
        """One value per object for each column."""
        variances = _principal_variances(frame)
        # A solid ellipsoid with semi-axis a has the variance a^2 / 5 along it, an ellipse a^2 / 4.
        factor = 20 if len(frame.shape) == 3 else 16
        width_um = frame.pixel_size_um[-1] if frame.pixel_size_um else np.nan
        found: dict[str, NDArray[Any]] = {}
        for axis, at in (("major", -1), ("minor", 0)):
            found[f"{axis}_axis_px"] = np.sqrt(factor * variances[:, at])
            found[f"{axis}_axis_um"] = found[f"{axis}_axis_px"] * width_um
        if len(frame.shape) == 3:
            return found | _volume_shape(frame)
        return found | _plane_shape(frame, variances, solidity=settings.solidity)


def _of_planes(settings: Shape.Settings) -> tuple[Column, ...]:
    solidity = Column(
        name="solidity", description="Fraction of the convex hull that the object covers."
    )
    return (
        Column(
            name="perimeter_px",
            unit="px",
            description="Length of the border, including holes (as scikit-image computes it).",
        ),
        Column(
            name="perimeter_um",
            unit="um",
            description="Length of the border; empty if pixels are not square.",
        ),
        Column(name="circularity", description="4 pi area / perimeter^2: about 1 for a circle."),
        Column(
            name="eccentricity",
            description="Eccentricity of the ellipse: 0 for a circle, close to 1 for a line.",
        ),
        Column(name="euler_number", description="Number of parts minus number of holes."),
        *((solidity,) if settings.solidity else ()),
    )


_OF_VOLUMES = (
    Column(
        name="surface_px",
        unit="px",
        description="Surface area, in squared pixel widths.",
    ),
    Column(name="surface_um2", unit="um2", description="Surface area."),
    Column(
        name="sphericity",
        description="Surface area of a sphere of the same volume over the surface area.",
    ),
)


def _plane_shape(
    frame: ObjectFrame, variances: NDArray[np.float64], *, solidity: bool
) -> dict[str, NDArray[Any]]:
    areas = frame.pixels.sizes
    lengths = perimeters(frame)
    with np.errstate(divide="ignore", invalid="ignore"):
        # A single pixel has no perimeter by this definition, and hence no circularity.
        circularity = np.where(lengths > 0, 4 * pi * areas / lengths**2, np.nan)
        eccentricity = np.where(
            variances[:, 1] > 0, np.sqrt(1 - variances[:, 0] / variances[:, 1]), 0.0
        )
    found = {
        "perimeter_px": lengths,
        "perimeter_um": in_um(lengths, frame, 1),
        "circularity": circularity,
        "eccentricity": eccentricity,
        "euler_number": euler_numbers(frame),
    }
    return found | ({"solidity": areas / convex_areas(frame)} if solidity else {})


def _volume_shape(frame: ObjectFrame) -> dict[str, NDArray[Any]]:
    surfaces = surface_areas(frame, frame.spacing)
    width_um = frame.pixel_size_um[-1] if frame.pixel_size_um else np.nan
    volumes = frame.pixels.sizes * np.prod(frame.spacing)
    return {
        "surface_px": surfaces,
        "surface_um2": surfaces * width_um**2,
        "sphericity": pi ** (1 / 3) * (6 * volumes) ** (2 / 3) / surfaces,
    }


def _principal_variances(frame: ObjectFrame) -> NDArray[np.float64]:
    """Variances of the pixels' positions along the principal axes, ascending: (count, axes).

    In squared widths of a pixel.
    """
    counts = frame.pixels.sizes.astype(np.float64)
    lengths = frame.runs.lengths.astype(np.float64)
    # Positions count from the object's own box: small whole numbers have exact sums, and a disk far
    # from the origin is not mistaken for an ellipse.
    corner = frame.boxes[0][frame.runs.owners]
    *outer, first = (where - corner[:, at] for at, where in enumerate(frame.run_places))
    middle = first + (lengths - 1) / 2
    places = [*outer, middle]
    sums = [frame.sum_runs(lengths * where) for where in places]
    dimensions = len(places)
    matrix = np.empty((frame.count, dimensions, dimensions))
    for at in range(dimensions):
        for other in range(at + 1):
            products = lengths * places[at] * places[other]
            if at == other == dimensions - 1:
                # A run is a row of pixels and not a point in its middle.
                products += lengths * (lengths**2 - 1) / 12
            total = frame.sum_runs(products)
            covariance = (counts * total - sums[at] * sums[other]) / counts**2
            scale = frame.spacing[at] * frame.spacing[other]
            matrix[:, at, other] = matrix[:, other, at] = covariance * scale
    # (count, axes, axes) at once. What rounding makes of a line's width may be just below zero.
    variances: NDArray[np.float64] = np.linalg.eigvalsh(matrix).clip(0)
    return variances


SHAPE = Shape()
