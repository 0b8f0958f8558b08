"""How bright the border of objects is: a band inside it, a band outside it, and both."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from maskloop.measure.base import Column, Scene
from maskloop.measure.distances import Around, find_inside, find_outside
from maskloop.measure.frame import ObjectFrame
from maskloop.measure.groups import PixelGroups
from maskloop.records import Record

__all__ = ["BORDER", "Border"]


class Border:
    """Mean intensity of the band along the border, as of a membrane."""

    name = "border"

    class Settings(Record):
        """The band along the border."""

        width_px: float = Field(
            2, ge=1, le=50, description="Width of the band on each side of the border, in pixels."
        )

    def columns(self, settings: Settings, scene: Scene) -> tuple[Column, ...]:
        """The columns it fills: none without an image."""
        words = {
            "inner": "the band inside the border",
            "outer": "the band outside the border, up to where another object is nearer",
            "both": "both bands",
        }
        return tuple(
            Column(
                name=f"border_{side}_mean_{channel}",
                description=f"Mean intensity of {channel} in {text}.",
            )
            for channel in scene.channels
            for side, text in words.items()
        )

    def measure(self, frame: ObjectFrame, settings: Settings) -> dict[str, NDArray[Any]]:
        """One value per object for each column."""
        if frame.image is None:
            return {}
        # Found once for all channels; sorted at once, since distances and owners are large.
        inner = _band(frame, find_inside(frame, settings.width_px))
        outer = _band(frame, find_outside(frame, settings.width_px))
        found: dict[str, NDArray[Any]] = {}
        for channel, plane in frame.channels:
            inside, outside = (band.sum(band.take(plane)) for band in (inner, outer))
            sides = {
                "inner": (inside, inner.sizes),
                "outer": (outside, outer.sizes),
                # Of all pixels and not the mean of both means: the outer band has more of them.
                "both": (inside + outside, inner.sizes + outer.sizes),
            }
            for side, (total, count) in sides.items():
                found[f"border_{side}_mean_{channel}"] = _mean(total, count)
        return found


def _band(frame: ObjectFrame, around: Around) -> PixelGroups:
    return PixelGroups.of_owners(around.positions, around.owners, frame.count)


def _mean(total: NDArray[np.float64], count: NDArray[Any]) -> NDArray[np.float64]:
    """Not a number where a band has no pixels, as between objects that touch all around."""
    means = np.full(len(total), np.nan)
    np.divide(total, count, out=means, where=count > 0)
    return means


BORDER = Border()
