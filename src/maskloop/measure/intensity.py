"""How bright objects are, in each channel."""

from __future__ import annotations

from typing import Annotated, Any

from numpy.typing import NDArray
from pydantic import Field

from maskloop.measure.base import Column, Scene
from maskloop.measure.frame import ObjectFrame
from maskloop.records import Record

__all__ = ["INTENSITY", "Intensity"]

Percent = Annotated[float, Field(ge=0, le=100)]


class Intensity:
    """Mean, sum, extremes, standard deviation and percentiles of each channel."""

    name = "intensity"

    class Settings(Record):
        """What to compute of the intensities."""

        percentiles: tuple[Percent, ...] = Field(
            (5, 25, 50, 75, 95), description="Percentiles to compute; 50 is the median."
        )

    def columns(self, settings: Settings, scene: Scene) -> tuple[Column, ...]:
        """The columns it fills: none without an image."""
        words = {
            "mean": "Mean intensity of {}.",
            "sum": "Integrated intensity of {}.",
            "min": "Minimum intensity of {}.",
            "max": "Maximum intensity of {}.",
            "std": "Standard deviation of the intensity of {}.",
        } | {
            percentile_name(percent): f"Percentile {percent:g} of the intensity of {{}}."
            for percent in settings.percentiles
        }
        return tuple(
            Column(name=f"{what}_{channel}", description=text.format(channel))
            for channel in scene.channels
            for what, text in words.items()
        )

    def measure(self, frame: ObjectFrame, settings: Settings) -> dict[str, NDArray[Any]]:
        """One value per object for each column."""
        found: dict[str, NDArray[Any]] = {}
        pixels = frame.pixels
        for channel, plane in frame.channels:
            # Gathered once per channel; each statistic is then one pass over sorted pixels.
            values = pixels.take(plane)
            for what in ("mean", "sum", "min", "max", "std"):
                found[f"{what}_{channel}"] = getattr(pixels, what)(values)
            levels = pixels.percentiles(values, settings.percentiles)
            for percent, level in zip(settings.percentiles, levels, strict=True):
                found[f"{percentile_name(percent)}_{channel}"] = level
        return found


def percentile_name(percent: float) -> str:
    """What a column of a percentile begins with, such as p50 or p2.5."""
    return f"p{percent:g}"


INTENSITY = Intensity()
