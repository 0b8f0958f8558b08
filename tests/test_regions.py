from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from maskloop.images.regions import Covered, Region, cut_regions, whole_region

shapes = st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[tuple[int, ...], list[Region]]:
    shape = draw(shapes)

    def side(length: int) -> slice:
        start = draw(st.integers(0, length - 1))
        return slice(start, draw(st.integers(start + 1, length)))

    return shape, [tuple(map(side, shape)) for _ in range(draw(st.integers(1, 6)))]


@given(shape=shapes, itemsize=st.sampled_from([1, 4]), limit=st.integers(1, 200))
def test_cut_regions_cover_each_entry_once_in_order(
    shape: tuple[int, ...], itemsize: int, limit: int
) -> None:
    numbers = np.arange(np.prod(shape)).reshape(shape)
    pieces = [numbers[region] for region in cut_regions(shape, itemsize, limit_bytes=limit)]
    assert (np.concatenate([piece.ravel() for piece in pieces]) == numbers.ravel()).all()
    assert all(piece.size == 1 or piece.size * itemsize <= limit for piece in pieces)


@settings(deadline=None)
@given(boxes())
def test_a_region_is_covered_when_each_of_its_pixels_is(
    drawn: tuple[tuple[int, ...], list[Region]],
) -> None:
    shape, (asked, *added) = drawn
    pixels = np.zeros(shape, bool)
    for region in added:
        pixels[region] = True
    assert (asked in Covered(added)) == pixels[asked].all()


def test_bands_written_in_order_become_one_box() -> None:
    covered = Covered(cut_regions((3, 40, 5), 1, limit_bytes=10))
    assert whole_region((3, 40, 5)) in covered
    assert len(covered._boxes) == 1
