from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskloop.errors import ImageError
from maskloop.images import normalize as normalize_module
from maskloop.images.normalize import LIMIT, ChannelRange, Normalization, normalize, percentiles
from maskloop.images.regions import cut_regions

MODES = ("percentile", "min_max", "z_score", "none")
DTYPES = (
    np.bool_,
    np.uint8,
    np.int8,
    np.uint16,
    np.int16,
    np.uint32,
    np.int64,
    np.float16,
    np.float32,
    np.float64,
)


@given(
    image=st.sampled_from(DTYPES).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=3, max_dims=3, max_side=8))
    ),
    mode=st.sampled_from(MODES),
)
def test_any_image_becomes_finite_numbers_within_the_limit(image: np.ndarray, mode: str) -> None:
    settings = Normalization(mode=mode)
    result = normalize(image, settings.fit(image))
    assert result.dtype == np.float32
    assert result.shape == image.shape
    assert np.abs(result).max() <= LIMIT


@given(
    pixels=st.sampled_from((np.uint8, np.uint16)).flatmap(
        lambda dtype: hnp.arrays(dtype, st.integers(1, 300))
    ),
    at=st.lists(st.floats(0, 100), min_size=1, max_size=4),
)
def test_percentiles_through_a_histogram_are_those_of_numpy(
    pixels: np.ndarray, at: list[float]
) -> None:
    assert np.allclose(percentiles(pixels, at), np.percentile(pixels, at), atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_a_tile_is_normalised_as_its_place_in_the_whole(mode: str) -> None:
    image = np.random.default_rng(0).integers(0, 4000, (2, 40, 50)).astype(np.uint16)
    ranges = Normalization(mode=mode).fit(image)
    assert np.array_equal(
        normalize(image, ranges)[:, 5:20, 7:30], normalize(image[:, 5:20, 7:30], ranges)
    )


def test_each_mode_does_what_its_name_says() -> None:
    image = np.random.default_rng(0).integers(100, 4000, (1, 200, 200)).astype(np.uint16)
    by = {mode: normalize(image, Normalization(mode=mode).fit(image)) for mode in MODES}
    assert np.percentile(by["percentile"], [1, 99.8]) == pytest.approx([0, 1], abs=1e-3)
    assert (by["min_max"].min(), by["min_max"].max()) == pytest.approx((0, 1))
    assert (by["z_score"].mean(), by["z_score"].std()) == pytest.approx((0, 1), abs=1e-4)
    assert np.allclose(by["none"], image / 65535)


@pytest.mark.parametrize("mode", ["percentile", "min_max", "z_score"])
@pytest.mark.parametrize("value", [0, 7, 0.1, 1e6])
def test_a_constant_image_becomes_zeros(mode: str, value: float) -> None:
    image = np.full((1, 30, 30), value, np.float32)
    assert not normalize(image, Normalization(mode=mode).fit(image)).any()


def test_pixels_without_a_number_do_not_count_and_become_zero() -> None:
    image = np.linspace(0, 1, 100, dtype=np.float32).reshape(1, 10, 10)
    spoiled = image.copy()
    spoiled[0, 0, 0], spoiled[0, 5, 5], spoiled[0, 9, 9] = np.nan, np.inf, -np.inf
    ranges = Normalization(mode="min_max").fit(spoiled)
    assert ranges[0].offset == pytest.approx(image[0, 0, 1])
    assert normalize(spoiled, ranges)[0, [0, 5, 9], [0, 5, 9]].tolist() == [0, 0, 0]
    assert not normalize(
        np.full((1, 4, 4), np.nan), Normalization().fit(np.full((1, 4, 4), np.nan))
    ).any()


def test_a_dark_field_with_one_bright_pixel_keeps_it() -> None:
    image = np.zeros((1, 100, 100), np.uint8)
    image[0, 50, 50] = 200
    assert normalize(image, Normalization().fit(image))[0, 50, 50] == 1


def test_a_small_signal_on_a_large_offset_survives() -> None:
    image = (2**31 + np.arange(100, dtype=np.int64)).reshape(1, 10, 10)
    result = normalize(image, Normalization(mode="min_max").fit(image))
    assert len(np.unique(result)) == 100


def test_a_large_image_is_fitted_on_a_part_with_the_same_result() -> None:
    image = np.random.default_rng(0).gamma(2, 100, (1, 3000, 3001)).astype(np.float32)
    fitted = Normalization().fit(image)[0]
    low, high = np.percentile(image, [1, 99.8])
    assert fitted.offset == pytest.approx(low, rel=0.01)
    assert fitted.scale == pytest.approx(high - low, rel=0.01)


def test_the_range_of_the_dataset_is_used_when_that_is_the_scope() -> None:
    settings = Normalization(scope="dataset", dataset_ranges=(ChannelRange(offset=10, scale=20),))
    assert settings.fit(np.zeros((1, 4, 4), np.uint8)) == settings.dataset_ranges
    with pytest.raises(ImageError, match=r"The image has 3 channels, .* fitted to 1"):
        settings.fit(np.zeros((3, 4, 4), np.uint8))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, bool])
def test_an_image_in_pieces_gets_the_very_ranges_of_the_whole(
    mode: Any, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(normalize_module, "MAX_FIT_PIXELS", 500)
    pixels = np.random.default_rng(0).normal(100, 30, (2, 40, 60)).clip(0, 255).astype(kind)
    if kind is np.float32:
        pixels[0, 3, 4:9] = np.nan
    settings = Normalization(mode=mode)
    whole = settings.fit(pixels)
    for limit in (7, 130, 1000):
        regions = cut_regions((40, 60), 1, limit_bytes=limit)
        pieces = (pixels[(slice(None), *region)] for region in regions)
        assert settings.fit_pieces(pixels.shape, pixels.dtype, pieces) == whole
