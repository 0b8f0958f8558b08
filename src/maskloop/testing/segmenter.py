"""What `segment` relies on in a segmenter, as tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop.images.image import Image
from maskloop.images.normalize import Normalization
from maskloop.predict.base import BlockOutput, Output, Segmenter
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
        """Classes, names and types of scores agree; blocks can be decoded where they must."""
        segmenter = self.make_segmenter()
        output = segmenter.output
        assert isinstance(output, Output)
        assert isinstance(segmenter.normalization, Normalization)
        assert len(output.score_names) == output.channels
        assert sorted(output.class_labels) == list(range(len(output.class_labels)))
        assert output.dtype == np.uint8 or output.dtype.kind == "f"
        assert output.margin_px == 0 or isinstance(output, BlockOutput)

    def test_its_output_decodes_what_it_encodes(self) -> None:
        """Scores of the truth become labels of its classes, and score best."""
        output = self.make_segmenter().output
        labels = np.zeros((24, 24), np.uint16)
        # Not square to the image and off its middle: an exchange of axes changes the score.
        labels[4:18, 6:20] = 1
        counts = output.score(
            output.decode(np.zeros((output.channels, 24, 24), np.float32)), labels
        )
        assert output.encode(labels).shape[1:] == labels.shape
        assert output.score(labels, labels).score == 1
        assert counts.score < 1
        assert output.class_map(labels).max() == 1

    def test_scores_have_the_shape_of_the_tiles(self) -> None:
        """Scores are finite float32, in 0..1 if the output keeps them so; classes sum up to one."""
        segmenter = self.make_segmenter()
        tiles = self._tiles(segmenter, 2)
        scores = segmenter.scores(tiles)
        assert scores.dtype == np.float32
        assert scores.shape == (2, segmenter.output.channels, *tiles.shape[2:])
        assert np.isfinite(scores).all()
        # Outputs that keep scores in eight bits spread them over 0..1.
        if segmenter.output.dtype == np.uint8:
            assert scores.min() >= 0
            assert scores.max() <= 1 + 1e-5
        if segmenter.output.kind == "classes":
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
        # Primes: no multiple of any network divides them.
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
        # (N, C, *tile), with a fixed seed: a failure can be repeated.
        return np.random.default_rng(1).random(shape, np.float32)
