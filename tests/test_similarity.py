from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Picture

from maskloop.images.image import Image
from maskloop.images.similarity import (
    MAX_DISTANCE,
    MIN_SHARED,
    count_shared_landmarks,
    find_near_duplicates,
    find_near_duplicates_among,
    hash_distances,
    perceptual_hash,
)
from maskloop.samples import simulate_nuclei

HASHES = st.builds(
    lambda whole, landmarks: (
        bytes([whole[0] & 127, *whole[1:]]).hex()
        + "".join(sorted(f"{one:08x}" for one in landmarks))
    ),
    st.binary(min_size=32, max_size=32),
    st.sets(st.integers(0, 5) | st.integers(0, 2**32 - 1), max_size=8),
)


def hash_of(pixels: np.ndarray) -> str:
    return perceptual_hash(Image(pixels, "YXC" if pixels.ndim == 3 else "YX"))


@pytest.fixture(scope="module")
def real(shared_data: Path) -> list[np.ndarray]:
    images = [
        tifffile.imread(path) for path in sorted((shared_data / "dsb2018" / "images").glob("*.tif"))
    ]
    return [
        pixels for pixels in images if pixels.shape[0] * pixels.shape[1] < 150_000
    ]  # 59 of 70: the large ones take long


@pytest.fixture(scope="module")
def known(real: list[np.ndarray]) -> list[str]:
    return [hash_of(pixels) for pixels in real]


def resized(pixels: np.ndarray, factor: float) -> np.ndarray:
    size = (round(pixels.shape[1] * factor), round(pixels.shape[0] * factor))
    return np.asarray(
        Picture.fromarray(np.ascontiguousarray(pixels)).resize(size, Picture.Resampling.BILINEAR)
    )


def brightened(pixels: np.ndarray) -> np.ndarray:
    return np.clip(pixels * 1.4 + 15, 0, 255).astype(np.uint8)


def noisy(pixels: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 0.3 * pixels.std(), pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def compressed(pixels: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Picture.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=30)
    return np.asarray(Picture.open(file))


def cropped(pixels: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    height, width = (round(length * share) for length in pixels.shape[:2])
    top, left = (
        int(random.integers(whole - part + 1))
        for whole, part in zip(pixels.shape[:2], (height, width), strict=True)
    )
    return pixels[top : top + height, left : left + width]


def landmarks(text: str) -> list[str]:
    return [text[at : at + 8] for at in range(64, len(text), 8)]


ALTERATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "flip": lambda pixels: pixels[::-1],
    "turn": np.rot90,
    "transpose": lambda pixels: pixels.swapaxes(0, 1),
    "half": lambda pixels: resized(pixels, 0.5),
    "double": lambda pixels: resized(pixels, 2),
    "brighter": brightened,
    "gamma": lambda pixels: (255 * (pixels / 255) ** 2).astype(np.uint8),
    "inverted": lambda pixels: 255 - pixels,
    "noise": noisy,
    "jpeg": compressed,
    "all": lambda pixels: compressed(resized(np.rot90(brightened(pixels)[:, ::-1]), 0.7)),
}


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_altered_copies_of_real_images_are_found_and_nothing_else(
    alteration: str, real: list[np.ndarray], known: list[str]
) -> None:
    # Measured on all 70 images (benchmarks/near_duplicates.py): recall 1.0, no false alarm, worst
    # copy at 37 bits, nearest stranger at 86.
    found = [
        find_near_duplicates(hash_of(ALTERATIONS[alteration](pixels)), known) for pixels in real
    ]
    assert sum(at in places for at, places in enumerate(found)) >= len(real) - 1
    assert all(place == at for at, places in enumerate(found) for place in places)


def test_images_of_different_places_are_far_apart(known: list[str]) -> None:
    distances = np.array([hash_distances(one, known) for one in known])
    assert (np.diag(distances) == 0).all()
    assert distances[~np.eye(len(known), dtype=bool)].min() > MAX_DISTANCE + 10


@pytest.mark.parametrize(("share", "recall"), [(0.98, 1), (0.9, 1), (0.75, 0.98), (0.5, 0.85)])
def test_crops_of_real_images_are_found_and_nothing_else(
    share: float, recall: float, real: list[np.ndarray], known: list[str]
) -> None:
    random = np.random.default_rng(1)
    crops = [np.rot90(cropped(pixels, share, random))[::-1] for pixels in real]
    found = [find_near_duplicates(hash_of(crop), known) for crop in crops]
    assert sum(at in places for at, places in enumerate(found)) >= recall * len(real) - 1
    assert all(place == at for at, places in enumerate(found) for place in places)


def test_tiles_that_overlap_are_found_and_tiles_that_do_not_are_not() -> None:
    field = simulate_nuclei(shape=(400, 700), seed=3)[0]
    left, overlapping, beside = (hash_of(field[:, start : start + 350]) for start in (0, 175, 350))
    assert find_near_duplicates(left, [overlapping, beside]) == [0]


@given(HASHES, HASHES)
def test_the_distance_is_the_same_in_both_directions_and_zero_to_itself(
    one: str, other: str
) -> None:
    assert hash_distances(one, [other]) == hash_distances(other, [one])
    assert hash_distances(one, [one])[0] == 0


@given(HASHES, st.lists(HASHES | st.just(""), max_size=5))
def test_known_hashes_are_compared_one_by_one(new: str, known: list[str]) -> None:
    alone = [int(hash_distances(new, [one])[0]) for one in known]
    assert hash_distances(new, known).tolist() == alone
    shared = [len({*landmarks(new)} & {*landmarks(one)}) for one in known]
    assert count_shared_landmarks(new, known).tolist() == shared
    expected = sorted(
        (distance, at)
        for at, distance in enumerate(alone)
        if distance <= MAX_DISTANCE or shared[at] >= MIN_SHARED
    )
    assert find_near_duplicates(new, known) == [at for _, at in expected]


def test_an_image_that_was_never_hashed_matches_nothing() -> None:
    assert find_near_duplicates("", ["", "00" * 32]) == []
    assert find_near_duplicates("00" * 32, [""]) == []
    assert find_near_duplicates("00" * 32, []) == []
    assert find_near_duplicates("00" * 33, ["00" * 31, "00" * 34]) == [1]


@pytest.mark.parametrize("value", [0, 5, 1000, 0.1])
def test_constant_images_have_a_hash_of_zeros(value: float) -> None:
    assert hash_of(np.full((30, 41), value, np.float32)) == "0" * 64


def test_pixels_without_a_number_hardly_matter() -> None:
    pixels = simulate_nuclei(seed=1)[0].astype(np.float32)
    spoiled = pixels.copy()
    spoiled[::50, ::50] = np.nan
    spoiled[7, 7] = np.inf
    assert hash_distances(hash_of(pixels), [hash_of(spoiled)])[0] < 20
    assert hash_of(np.full((9, 9), np.nan)) == "0" * 64


def test_tiny_images_have_a_hash() -> None:
    assert len(hash_of(np.arange(6, dtype=np.uint8).reshape(2, 3))) == 64
    assert hash_of(np.zeros((1, 1), np.uint8)) == "0" * 64


def test_a_stack_is_known_by_its_planes_and_channels_by_their_mean() -> None:
    pixels = simulate_nuclei(seed=2)[0]
    stack = np.stack([pixels] * 30)
    assert perceptual_hash(Image(stack, "ZYX")) == hash_of(pixels)
    assert perceptual_hash(Image(stack[:5, None], "TCYX")) == hash_of(pixels)
    assert perceptual_hash(Image(np.stack([pixels] * 3, -1), "YXC")) == hash_of(pixels)


def test_of_a_long_stack_only_some_planes_are_read() -> None:
    class Counting:
        shape, dtype, reads = (500, 64, 64), np.dtype(np.uint8), 0

        def __getitem__(self, key: object) -> np.ndarray:
            self.reads += 1
            return np.zeros(self.shape, np.uint8)[key]  # type: ignore[index]

    stack = Counting()
    perceptual_hash(Image(stack, "ZYX"))
    assert stack.reads == 8


@given(st.lists(HASHES | st.just(""), max_size=12), st.integers(0, 12))
def test_many_hashes_at_once_find_what_each_finds_by_itself(hashes: list[str], since: int) -> None:
    expected: dict[int, list[int]] = {}
    for place, one in enumerate(hashes):
        others = {
            other
            for other in find_near_duplicates(one, hashes)
            if other != place and max(place, other) >= since
        }
        if others:
            expected[place] = sorted(others)
    assert find_near_duplicates_among(hashes, since=since) == expected
