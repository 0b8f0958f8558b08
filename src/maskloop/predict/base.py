"""What predicts: a model in memory that turns normalised tiles into scores.

Knows nothing of files and projects.
"""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from maskloop.images.instances import InstanceSettings
from maskloop.images.normalize import Normalization
from maskloop.records import Record

__all__ = ["OutputSpec", "Segmenter"]


class OutputSpec(Record):
    """What the scores mean and how they become labels."""

    mode: Literal["binary", "multiclass", "instances"]
    class_labels: dict[int, str] = Field(description="Class id to name, background 0 included.")
    threshold: float = Field(
        0.5, ge=0, le=1, description="Foreground where the score is above this (binary)."
    )
    instances: InstanceSettings = Field(
        default_factory=InstanceSettings, description="How scores become objects (instances)."
    )


class Segmenter(Protocol):
    """A model in memory: one batch of normalised tiles to scores."""

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""

    @property
    def input_channels(self) -> int:
        """Channels of the images it was made for."""

    @property
    def score_channels(self) -> int:
        """1 for binary, number of classes for multiclass, 3 for instances (foreground, centre, boundary)."""

    @property
    def tile_shape(self) -> tuple[int, ...]:
        """Tile that is quick on this device, per spatial axis; a multiple of `multiple`."""

    @property
    def multiple(self) -> tuple[int, ...]:
        """Tile lengths must be multiples of these."""

    @property
    def halo(self) -> tuple[int, ...]:
        """Border of a tile whose scores are not to be trusted, per spatial axis."""

    @property
    def batch_size(self) -> int:
        """Tiles per call that are quick on this device."""

    @property
    def normalization(self) -> Normalization:
        """How an image is normalised before it is cut into tiles."""

    @property
    def output(self) -> OutputSpec:
        """What the scores mean."""

    def scores(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores in 0..1 of tiles.

        Parameters
        ----------
        tiles
            (N, C, Y, X) or (N, C, Z, Y, X), normalised; lengths are multiples of `multiple`.

        Returns
        -------
        scores
            (N, score_channels, ...) of the same spatial shape: probabilities (binary: of the
            foreground; multiclass: softmax over the classes; instances: foreground probability,
            nearness to the centre, distance to the boundary).
        """
