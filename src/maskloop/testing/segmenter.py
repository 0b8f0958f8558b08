"""What `segment` relies on in a segmenter, as tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop.images.image import Image
from maskloop.images.normalize import Normalization
from maskloop.predict.base import OutputSpec, Segmenter
from maskloop.predict.segment import segment

__all__ = ["SegmenterContract"]


class SegmenterContract:
    """What `segment` relies on in any segmenter."""

    def make_segmenter(self) -> Segmenter:
        """The segmenter to test."""
        raise NotImplementedError

    def test_lengths_are_given_for_each_spatial_axis(self) -> None:
        """Tile, multiple and halo have one length per axis."""
        segmenter = self.make_segmenter()
        assert segmenter.spatial_dims in (2, 3)
        assert (
            len(segmenter.tile_shape)
            == len(segmenter.multiple)
            == len(segmenter.halo)
            == segmenter.spatial_dims
        )
        assert segmenter.batch_size >= 1
        assert segmenter.input_channels >= 1

    def test_its_tile_is_a_multiple_of_what_it_needs(self) -> None:
        """The tile that is quick is one that it takes."""
        segmenter = self.make_segmenter()
        assert all(
            length % step == 0
            for length, step in zip(segmenter.tile_shape, segmenter.multiple, strict=True)
        )

    def test_its_output_says_what_the_scores_mean(self) -> None:
        """Mode, classes and number of score channels agree."""
        segmenter = self.make_segmenter()
        output = segmenter.output
        expected = {"binary": 1, "multiclass": len(output.class_labels), "instances": 3}[
            output.mode
        ]
        assert isinstance(output, OutputSpec)
        assert isinstance(segmenter.normalization, Normalization)
        assert segmenter.score_channels == expected
        assert sorted(output.class_labels) == list(range(len(output.class_labels)))

    def test_scores_lie_in_0_to_1_and_have_the_shape_of_the_tiles(self) -> None:
        """Scores are finite float32; those of classes add up to one."""
        segmenter = self.make_segmenter()
        tiles = self._tiles(segmenter, 2)
        scores = segmenter.scores(tiles)
        assert scores.dtype == np.float32
        assert scores.shape == (2, segmenter.score_channels, *tiles.shape[2:])
        assert np.isfinite(scores).all()
        assert scores.min() >= 0
        assert scores.max() <= 1 + 1e-5
        if segmenter.output.mode == "multiclass":
            np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-2)

    def test_scores_do_not_depend_on_the_company_of_other_tiles(self) -> None:
        """A tile alone and in a batch score the same, up to low precision."""
        segmenter = self.make_segmenter()
        tiles = self._tiles(segmenter, 2)
        np.testing.assert_allclose(
            segmenter.scores(tiles)[:1], segmenter.scores(tiles[:1]), atol=2e-2
        )

    def test_scores_leave_the_tiles_as_they_were(self) -> None:
        """The tiles belong to the caller."""
        segmenter = self.make_segmenter()
        tiles = self._tiles(segmenter, 1)
        before = tiles.copy()
        segmenter.scores(tiles)
        np.testing.assert_array_equal(tiles, before)

    def test_tiles_of_other_lengths_are_taken(self) -> None:
        """Any multiple of `multiple` will do, for small images."""
        segmenter = self.make_segmenter()
        lengths = tuple(step * 2 for step in segmenter.multiple)
        tiles = self._tiles(segmenter, 1, lengths)
        assert segmenter.scores(tiles).shape[2:] == lengths

    def test_an_image_of_odd_size_becomes_labels_of_that_size(self) -> None:
        """It works in `segment`."""
        segmenter = self.make_segmenter()
        shape = (37, 23) if segmenter.spatial_dims == 2 else (5, 37, 23)
        pixels = np.random.default_rng(0).random((segmenter.input_channels, *shape))
        labels = segment(Image(pixels, "CYX" if len(shape) == 2 else "CZYX"), segmenter).labels
        assert labels.shape == shape

    def _tiles(
        self, segmenter: Segmenter, count: int, lengths: tuple[int, ...] | None = None
    ) -> NDArray[Any]:
        shape = (
            count,
            segmenter.input_channels,
            *(lengths or tuple(2 * step for step in segmenter.multiple)),
        )
        return np.random.default_rng(1).random(shape, np.float32)
