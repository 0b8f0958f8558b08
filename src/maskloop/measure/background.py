"""How much brighter objects are than what lies around them."""

from __future__ import annotations

from typing import Any, Self

from numpy.typing import NDArray
from pydantic import Field, model_validator

from maskloop.measure.base import Column, Scene
from maskloop.measure.distances import find_outside
from maskloop.measure.frame import ObjectFrame
from maskloop.measure.groups import PixelGroups
from maskloop.records import Record

__all__ = ["BACKGROUND", "Background"]


class Background:
    """Local background of each object, and its intensities above it.

    The background is a percentile of the pixels in a ring around the object that are nearer to it
    than to any other object; a gap keeps the blurred rim of the object out of it.
    """

    name = "background"

    class Settings(Record):
        """The ring around an object that counts as its background."""

        gap_px: float = Field(2, ge=0, description="Pixels between the object and its ring.")
        radius_px: float = Field(
            12,
            gt=0,
            le=200,
            description="Pixels between the object and the outer edge of its ring.",
        )
        percentile: float = Field(
            25,
            ge=0,
            le=100,
            description="Percentile of the ring's intensities that is the background.",
        )

        @model_validator(mode="after")
        def _ring_has_width(self) -> Self:
            if self.gap_px >= self.radius_px:
                raise ValueError(
                    f"gap_px ({self.gap_px:g}) must be less than radius_px ({self.radius_px:g})"
                )
            return self

    def columns(self, settings: Settings, scene: Scene) -> tuple[Column, ...]:
        """The columns it fills: none without an image."""
        words = {
            "background": "Local background of {}; empty if no background is nearby.",
            "mean_above": "Mean intensity of {} minus the local background.",
            "sum_above": "Integrated intensity of {} above the local background.",
            "min_above": "Minimum intensity of {} minus the local background.",
            "max_above": "Maximum intensity of {} minus the local background.",
        }
        return tuple(
            Column(name=f"{what}_{channel}", description=text.format(channel))
            for channel in scene.channels
            for what, text in words.items()
        )

    def measure(self, frame: ObjectFrame, settings: Settings) -> dict[str, NDArray[Any]]:
        """One value per object for each column."""
        if frame.image is None:
            return {}
        ring = self.find_ring(frame, settings)
        found: dict[str, NDArray[Any]] = {}
        for channel, plane in frame.channels:
            (background,) = ring.percentiles(ring.take(plane), [settings.percentile])
            values = frame.pixels.take(plane)
            found[f"background_{channel}"] = background
            for what in ("mean", "min", "max"):
                found[f"{what}_above_{channel}"] = getattr(frame.pixels, what)(values) - background
            # As if the background were taken off each pixel.
            total = frame.pixels.sum(values) - background * frame.pixels.sizes
            found[f"sum_above_{channel}"] = total
        return found

    def find_ring(self, frame: ObjectFrame, settings: Settings) -> PixelGroups:
        """The pixels that count as each object's background."""
        around = find_outside(frame, settings.radius_px, beyond_px=settings.gap_px)
        return PixelGroups.of_owners(around.positions, around.owners, frame.count)


BACKGROUND = Background()
