from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import label

from maskloop.errors import UsageError
from maskloop.samples import simulate_nuclei, simulate_pairs, simulate_tissue


@pytest.mark.parametrize("shape", [(256, 256), (100, 180), (12, 64, 64)])
def test_labels_are_1_to_n_and_each_is_one_piece(shape: tuple[int, ...]) -> None:
    for seed in range(3):
        image, labels = simulate_nuclei(shape=shape, seed=seed)
        assert image.shape == labels.shape == shape
        assert image.dtype == labels.dtype == np.uint16
        assert np.unique(labels[labels > 0]).tolist() == list(range(1, labels.max() + 1))
        assert all(label(labels == instance)[1] == 1 for instance in range(1, labels.max() + 1))


def test_the_same_seed_gives_the_same_field_and_another_seed_another() -> None:
    first, again, other = (simulate_nuclei(seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])


def test_nuclei_are_brighter_than_their_surroundings_and_noisy() -> None:
    image, labels = simulate_nuclei(seed=5)
    inside, outside = image[labels > 0].astype(float), image[labels == 0].astype(float)
    assert np.median(inside) > np.median(outside) + 3 * outside[outside < np.median(outside)].std()
    assert len(np.unique(outside)) > 20


def test_some_nuclei_touch_and_sizes_vary() -> None:
    _, labels = simulate_nuclei(seed=0)
    left, right = labels[:, :-1], labels[:, 1:]
    assert np.any((left != right) & (left > 0) & (right > 0))
    areas = np.bincount(labels.reshape(-1))[1:]
    assert np.percentile(areas, 90) > 1.5 * np.percentile(areas, 10)


def test_as_many_nuclei_are_placed_as_asked_for_where_there_is_room() -> None:
    _, labels = simulate_nuclei(shape=(512, 512), count=5, seed=1)
    assert 1 <= labels.max() <= 5
    assert simulate_nuclei(count=0)[1].max() == 0


def test_tissue_has_three_classes_of_rising_brightness() -> None:
    image, classes = simulate_tissue(seed=2)
    assert classes.dtype == np.uint8
    assert np.unique(classes).tolist() == [0, 1, 2]
    background, cytoplasm, nucleus = (np.median(image[classes == one]) for one in range(3))
    assert background < cytoplasm < nucleus


def test_pairs_differ_from_each_other_and_a_longer_list_begins_alike() -> None:
    short, long = (
        simulate_pairs(2, shape=(64, 64), seed=9),
        simulate_pairs(3, shape=(64, 64), seed=9),
    )
    assert all(np.array_equal(one[0], two[0]) for one, two in zip(short, long, strict=False))
    assert not np.array_equal(long[0][0], long[1][0])
    assert simulate_pairs(1, kind="tissue", shape=(64, 64))[0][1].max() <= 2


@pytest.mark.parametrize("shape", [(64,), (0, 64), (2, 3, 4, 5)])
def test_an_impossible_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="cannot be simulated"):
        simulate_nuclei(shape=shape)
