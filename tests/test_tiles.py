from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskloop.errors import UsageError
from maskloop.images.tiles import TilePlan, plan_tiles

lengths = st.integers(1, 90)


@st.composite
def plans(draw: st.DrawFn) -> TilePlan:
    dimensions = draw(st.sampled_from((2, 3)))
    longest = 90 if dimensions == 2 else 30

    def per_axis(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(dimensions))

    return plan_tiles(
        per_axis(1, longest),
        per_axis(1, 40),
        overlap=draw(st.none() | st.floats(0, 0.9)),
        halo=draw(st.none() | st.just(per_axis(0, 12))),
        multiple=per_axis(1, 8),
        weighting=draw(st.sampled_from(("gaussian", "core"))),
    )


def stitch(plan: TilePlan, image: np.ndarray, sweep: int = 0) -> np.ndarray:
    result = np.zeros(image.shape, np.float32)
    for place in plan.places(sweep):
        result[(slice(None), *plan.window(place))] += plan.weigh(
            plan.cut(image, place).astype(np.float32), place
        )
    return result


@settings(deadline=None)
@given(plan=plans(), sweep=st.integers(0, 1))
def test_cutting_and_stitching_returns_the_image(plan: TilePlan, sweep: int) -> None:
    image = np.random.default_rng(0).random((2, *plan.shape), np.float32)
    np.testing.assert_allclose(stitch(plan, image, sweep), image, atol=1e-5)


@settings(deadline=None)
@given(plan=plans())
def test_every_pixel_is_covered_and_no_tile_leaves_the_image(plan: TilePlan) -> None:
    seen = np.zeros(plan.shape, int)
    for place in plan.places():
        window = plan.window(place)
        assert all(
            0 <= side.start < side.stop <= length
            for side, length in zip(window, plan.shape, strict=True)
        )
        seen[window] += 1
    assert seen.min() >= 1
    assert len(plan) == len(list(plan.places()))


@settings(deadline=None)
@given(plan=plans())
def test_all_tiles_are_cut_to_one_shape(plan: TilePlan) -> None:
    image = np.zeros((1, *plan.shape), np.uint8)
    assert {plan.cut(image, place).shape for place in plan.places()} == {(1, *plan.tile_shape)}


@settings(deadline=None)
@given(
    shape=st.tuples(lengths, lengths), tile=st.integers(8, 64), multiple=st.sampled_from((1, 4, 8))
)
def test_tile_lengths_are_multiples_and_no_longer_than_asked(
    shape: tuple[int, int], tile: int, multiple: int
) -> None:
    plan = plan_tiles(shape, (tile, tile), multiple=(multiple, multiple))
    assert all(length % multiple == 0 and length <= tile for length in plan.tile_shape)


@settings(deadline=None)
@given(shape=st.tuples(lengths, lengths), halo=st.integers(0, 8))
def test_with_core_weights_each_pixel_comes_from_one_tile_and_never_from_its_halo(
    shape: tuple[int, int], halo: int
) -> None:
    plan = plan_tiles(shape, (32, 32), halo=(halo, halo), weighting="core")
    for axis in (0, 1):
        assert set(np.unique(plan.weights[axis])) <= {0, 1}
        for at, start in enumerate(plan.starts[axis]):
            used = np.flatnonzero(plan.weights[axis][at])
            assert start == 0 or used.min() >= halo
            assert (
                start + plan.tile_shape[axis] >= shape[axis]
                or used.max() < plan.tile_shape[axis] - halo
            )


@settings(deadline=None)
@given(length=st.integers(33, 400), overlap=st.floats(0, 0.8))
def test_neighbours_overlap_by_at_least_what_was_asked(length: int, overlap: float) -> None:
    plan = plan_tiles((length,), (32,), overlap=overlap)
    shared = [
        first + plan.tile_shape[0] - second
        for first, second in zip(plan.starts[0], plan.starts[0][1:], strict=False)
    ]
    assert min(shared) >= round(overlap * 32) - 1


def test_the_middle_of_a_tile_counts_most_and_sigma_is_an_eighth_of_it() -> None:
    plan = plan_tiles((96,), (64,), overlap=0.5)
    first, second = plan.weights[0]
    assert first[40] / second[8] == pytest.approx(
        np.exp(-0.5 * ((40 - 31.5) ** 2 - (8 - 31.5) ** 2) / 8**2), rel=1e-4
    )


def test_an_image_slightly_larger_than_a_tile_is_cut_into_smaller_tiles() -> None:
    assert plan_tiles((520, 520), (512, 512), multiple=(16, 16)).tile_shape == (336, 336)


def test_an_image_of_one_pixel_is_padded_to_what_the_model_needs() -> None:
    plan = plan_tiles((1, 1), (256, 256), multiple=(16, 16))
    tile = plan.cut(np.full((1, 1, 1), 7.0), (0, 0))
    assert tile.shape == (1, 32, 32)
    assert (tile == 7).all()


def test_a_small_image_is_mirrored_at_its_edges() -> None:
    plan = plan_tiles((1, 4), (8, 8), multiple=(2, 8))
    tile = plan.cut(np.arange(4.0).reshape(1, 1, 4), (0, 0))
    assert tile[0, 0].tolist() == [2, 1, 0, 1, 2, 3, 2, 1]


def test_a_plane_tile_for_a_volume_is_refused_with_both_shapes() -> None:
    with pytest.raises(
        UsageError,
        match=r"tile \(64, 64\) does not have one length for each of the 3 axes of an image of "
        r"\(5, 9, 9\)",
    ):
        plan_tiles((5, 9, 9), (64, 64))


def test_a_tile_of_no_length_is_refused() -> None:
    with pytest.raises(UsageError, match="All lengths must be greater than zero"):
        plan_tiles((9, 9), (0, 64))
