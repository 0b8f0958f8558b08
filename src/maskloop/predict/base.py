"""What predicts: a model in memory that turns normalized tiles into scores.

Knows nothing of files and projects.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from maskloop.images.instances import DecodedInstances
from maskloop.images.normalize import Normalization
from maskloop.predict.metrics import Counts
from maskloop.task import OutputMode

__all__ = ["BlockOutput", "Output", "Segmenter", "score_known"]


@runtime_checkable
class Output(Protocol):
    """What the scores of a model mean; a frozen record, so that it can be kept beside them.

    `maskloop.predict.outputs` has the usual ones.
    """

    @property
    def kind(self) -> str:
        """Name of the representation."""

    @property
    def mode(self) -> OutputMode:
        """What the labels are."""

    @property
    def class_labels(self) -> dict[int, str]:
        """Class id to name, background 0 included."""

    @property
    def channels(self) -> int:
        """Score channels."""

    @property
    def score_names(self) -> tuple[str, ...]:
        """Name of each score channel."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """How scores are kept while they wait: uint8 for 0..1 (as 0..255), else a float type."""

    @property
    def label_dtype(self) -> np.dtype[Any]:
        """Type of the labels."""

    @property
    def margin_px(self) -> int:
        """How far scores influence labels, in pixels; 0: each pixel on its own."""

    @property
    def is_interpolated(self) -> bool:
        """Whether targets may be interpolated in resampling; if not, they are class ids."""

    def encode(self, labels: NDArray[Any], spacing: Sequence[float] | None = None) -> NDArray[Any]:
        """Targets to learn (channels or 1, *spatial) of labels (*spatial); spacing in any unit."""

    def class_map(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Class of each pixel (*spatial), by which patches are placed."""

    def decode(self, scores: NDArray[Any]) -> NDArray[Any]:
        """Labels (*spatial) of scores (channels, *spatial), as floats or as kept in `dtype`."""

    def score(
        self, found: NDArray[Any], truth: NDArray[Any], *, known: NDArray[np.bool_] | None = None
    ) -> Counts:
        """How good labels are, as counts that add up over images.

        Only pixels that are `known` count; None: all are.
        """

    def tuned(self, examples: Iterable[tuple[NDArray[Any], NDArray[Any]]]) -> Self:
        """With the settings that decode these examples (scores, true labels) best.

        The examples are predicted as they are asked for: an output without settings asks for none.
        """

    def model_dump(self, *, mode: Literal["json", "python"] = "python") -> dict[str, Any]:
        """All fields, as plain JSON; pydantic's own."""


@runtime_checkable
class BlockOutput(Output, Protocol):
    """An output whose labels depend on the surroundings: large images are decoded in blocks."""

    # Without it an image that does not fit in memory could not be decoded (see `blocks`).
    def find(self, scores: NDArray[Any]) -> DecodedInstances:
        """As `decode`, with where each object begins and whether it has a seed."""


def score_known(
    output: Output, found: NDArray[Any], truth: NDArray[Any], known: NDArray[np.bool_] | None
) -> Counts:
    """An output's counts of labels, of annotated pixels only.

    Outputs of other packages may know nothing of them, and are asked as ever where all is known.
    """
    return output.score(found, truth) if known is None else output.score(found, truth, known=known)


class Segmenter(Protocol):
    """A model in memory: one batch of normalized tiles to scores."""

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""

    @property
    def input_channels(self) -> int:
        """Channels of the images it was made for."""

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
        """How an image is normalized before it is cut into tiles."""

    @property
    def output(self) -> Output:
        """What the scores mean."""

    def scores(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores of tiles.

        Parameters
        ----------
        tiles
            (N, C, Y, X) or (N, C, Z, Y, X), normalized; lengths are multiples of `multiple`.

        Returns
        -------
        scores
            float32 (N, output.channels, ...) of the same spatial shape, in 0..1 where the output
            keeps them as uint8; what each channel is, `output` tells.
        """
