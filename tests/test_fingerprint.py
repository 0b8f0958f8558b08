from __future__ import annotations

import numpy as np
import pytest

from maskloop.errors import ImageError, MaskError, UsageError
from maskloop.images.fingerprint import PairFingerprint, combine_fingerprints, fingerprint_pair
from maskloop.images.image import Image
from maskloop.images.normalize import Normalization
from maskloop.samples import simulate_nuclei


def squares() -> np.ndarray:
    labels = np.zeros((40, 60), np.uint8)
    labels[5:15, 5:15] = 1
    labels[5:15, 15:25] = 2
    labels[25:29, 40:44] = 3
    return labels


def measure(
    labels: np.ndarray, axes: str = "YX", *, instances: bool = True, **of_image: object
) -> PairFingerprint:
    pixels = np.random.default_rng(0).integers(0, 200, labels.shape).astype(np.uint8)
    return fingerprint_pair(Image(pixels, axes, **of_image), labels, instances=instances)  # type: ignore[arg-type]


def test_instances_are_counted_measured_and_touch() -> None:
    found = measure(squares())
    assert found.object_count == 3
    assert found.class_pixels == {0: 40 * 60 - 216, 1: 216}
    assert found.object_diameters_px[1] == pytest.approx(2 * (100 / np.pi) ** 0.5, abs=0.01)
    assert found.object_extent_px == 10
    assert found.touching_fraction == pytest.approx(2 / 3)


def test_class_masks_are_counted_by_connected_foreground() -> None:
    found = measure(squares(), instances=False)
    assert found.object_count == 2
    assert found.class_pixels == {0: 2184, 1: 100, 2: 100, 3: 16}
    assert found.object_extent_px == 20


def test_frames_of_a_film_count_like_images() -> None:
    film = np.stack([squares(), squares()])
    assert measure(film, "TYX").object_count == 6
    assert measure(film, "TYX", instances=False).object_count == 4
    assert combine_fingerprints([measure(film, "TYX")]).median_shape == (40, 60)


def test_a_z_step_counts_as_many_pixels_as_it_is_long() -> None:
    ball = np.zeros((12, 40, 40), np.uint16)
    z, y, x = np.mgrid[:12, :40, :40]
    ball[((z - 6) * 3) ** 2 + (y - 20) ** 2 + (x - 20) ** 2 <= 12**2] = 1
    size = {"Z": 1.5, "Y": 0.5, "X": 0.5}
    found = measure(ball, "ZYX", pixel_size_um=size)
    assert found.object_diameters_px[1] == pytest.approx(24, rel=0.05)
    assert found.object_extent_px in (25, 27)
    assert found.pixel_size_um == size
    assert measure(ball, "ZYX").object_diameters_px[1] == pytest.approx(24 / 3 ** (1 / 3), rel=0.05)


def test_intensities_are_kept_per_channel_without_pixels_that_are_no_number() -> None:
    pixels = (
        np.stack([np.linspace(0, 100, 101), np.full(101, np.nan)])
        .astype(np.float32)
        .reshape(2, 1, 101)
    )
    found = fingerprint_pair(Image(pixels, "CYX"), np.ones((1, 101), np.uint8), instances=False)
    assert found.intensity_percentiles[0] == pytest.approx(
        (0, 1, 50, 99.8, 100, 50, 29.15), abs=0.01
    )
    assert found.intensity_percentiles[1] == (0,) * 7


def test_labels_of_another_shape_are_refused() -> None:
    with pytest.raises(
        MaskError, match=r"Mask 'mask' is YX \(5, 5\), image 'image' is YX \(40, 60\)"
    ):
        fingerprint_pair(Image(squares(), "YX"), np.zeros((5, 5), np.uint8), instances=True)


def test_an_empty_mask_and_far_apart_ids_have_a_fingerprint() -> None:
    empty = measure(np.zeros((20, 20), np.uint8))
    assert (empty.object_count, empty.object_diameters_px, empty.object_extent_px) == (0, (), 0)
    assert measure(squares().astype(np.uint32) * 10**9).object_count == 3


def test_a_dataset_sums_its_pairs() -> None:
    flat, deep = measure(squares()), measure(np.ones((4, 50, 50), np.uint8), "ZYX", instances=False)
    both = combine_fingerprints([flat, deep])
    assert both.pair_count == 2
    assert both.spatial_dims == (2, 3)
    assert both.smallest_shape == (1, 40, 50)
    assert both.largest_shape == (4, 50, 60)
    assert both.total_pixels == 2400 + 10000
    assert both.class_pixels == {0: 2184, 1: 10216}
    assert sum(both.class_frequencies.values()) == pytest.approx(1)
    assert both.touching_fraction == pytest.approx(2 / 4)


@pytest.mark.parametrize("mode", ["percentile", "min_max", "z_score"])
def test_the_pooled_range_is_close_to_that_of_all_pixels_together(mode: str) -> None:
    random = np.random.default_rng(1)
    images = [random.normal(level, 20, (200, 200)).astype(np.float32) for level in (100, 110, 130)]
    whole = Normalization(mode=mode).fit(np.concatenate(images)[None])[0]
    pairs = [
        fingerprint_pair(Image(image, "YX"), np.ones((200, 200), np.uint8), instances=True)
        for image in images
    ]
    pooled = combine_fingerprints(pairs).fit(Normalization(mode=mode))[0]
    # Between the kept percentiles the distribution is taken as straight; off by a third of the
    # spread at worst.
    assert pooled.offset == pytest.approx(whole.offset, abs=7)
    assert pooled.scale == pytest.approx(whole.scale, rel=0.12)


def test_the_pooled_range_of_equal_images_is_theirs() -> None:
    image, labels = simulate_nuclei(seed=1)
    pair = fingerprint_pair(Image(image, "YX"), labels, instances=True)
    both = combine_fingerprints([pair, pair])
    fitted = Normalization().fit(image[None])[0]
    assert both.ranges[0].offset == pytest.approx(fitted.offset)
    assert both.ranges[0].scale == pytest.approx(fitted.scale)
    assert both.brightness_spread == 0


def test_a_dataset_without_pairs_or_of_mixed_channels_is_refused() -> None:
    with pytest.raises(UsageError, match="No pairs have been accepted"):
        combine_fingerprints([])
    grey = measure(squares())
    colour = fingerprint_pair(
        Image(np.zeros((40, 60, 3), np.uint8), "YXC"), squares(), instances=True
    )
    with pytest.raises(ImageError, match=r"1 with 1, 1 with 3"):
        combine_fingerprints([grey, colour])
    with pytest.raises(ImageError, match=r"2 with 1, 1 with 3 \(with 3: stained\)\."):
        combine_fingerprints([grey, colour, grey], names=["a", "stained", "b"])


def test_a_film_of_a_billion_frames_is_planned_without_writing_them_out() -> None:
    found = measure(np.stack([squares(), squares()]), "TYX")
    long = PairFingerprint.model_validate(found.model_dump() | {"shape": (10**9, 80, 60)})
    combined = combine_fingerprints([long, measure(squares())])
    assert combined.median_shape == (80, 60)
    assert combined.smallest_shape == (40, 60)
    assert combined.total_pixels == 10**9 * 4800 + 2400


def test_the_median_shape_counts_each_frame_of_a_film() -> None:
    film = measure(np.stack([squares()] * 3), "TYX")
    larger = [measure(np.pad(squares(), ((0, rows), (0, 0)))) for rows in (10, 20, 30)]
    assert combine_fingerprints([film, *larger]).median_shape == (45, 60)
    assert combine_fingerprints([film, *larger[:2]]).median_shape == (40, 60)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"axes": "Y"}, "the axes 'Y' do not fit the shape"),
        ({"axes": "YXX"}, "do not fit the shape"),
        ({"axes": "ab"}, "do not fit the shape"),
        ({"shape": (-1, 60)}, "no image has the shape"),
        ({"shape": (10**30, 60)}, "no image has the shape"),
        ({"channels": 0}, "0 channels do not fit the axes 'YX'"),
        ({"channels": 10**9}, "channels do not fit"),
        ({"intensity_percentiles": ((1.0, 2.0),)}, "each of the 1 channels has 7 intensities"),
        ({"intensity_percentiles": ()}, "each of the 1 channels has 7 intensities"),
        ({"object_diameters_px": (1.0,)}, "there are 4 diameters, or none"),
    ],
)
def test_a_fingerprint_that_contradicts_itself_is_refused(
    changes: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        PairFingerprint.model_validate(measure(squares()).model_dump() | changes)
