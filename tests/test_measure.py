"""What the built-in measurements compute, against scikit-image and against the definition."""

from __future__ import annotations

import warnings
from math import pi
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import regionprops_table

from maskloop import measure_objects, open_image, open_labels, plugins
from maskloop.errors import ImageError, MaskError
from maskloop.measure import check, distances
from maskloop.measure.background import BACKGROUND
from maskloop.measure.base import Measurement
from maskloop.measure.border import BORDER
from maskloop.measure.frame import ObjectFrame
from maskloop.measure.intensity import INTENSITY
from maskloop.measure.neighbors import NEIGHBORS
from maskloop.measure.position import POSITION
from maskloop.measure.shape import SHAPE
from maskloop.measure.size import SIZE
from maskloop.testing import MeasurementContract

BUILT_IN = plugins.BUILT_IN["measurements"]


@pytest.mark.parametrize("name", BUILT_IN)
class TestBuiltIns(MeasurementContract):
    @pytest.fixture(autouse=True)
    def _take_name(self, name: str) -> None:
        self._name = name

    def make_measurement(self) -> Measurement:
        return plugins.get("measurements", self._name)

    def test_it_is_called_as_it_is_registered(self) -> None:
        assert self.make_measurement().name == self._name
        assert not check.find_problems(self.make_measurement())


def measured(measurement: Measurement, frame: ObjectFrame, **choices: Any) -> dict[str, Any]:
    return dict(measurement.measure(frame, measurement.Settings(**choices)))


@st.composite
def label_planes(draw: st.DrawFn, dimensions: int = 2) -> NDArray[Any]:
    """Noise, blocks that touch, or blobs that overlap: few objects with large, gapped numbers."""
    shape = draw(of_numpy.array_shapes(min_dims=dimensions, max_dims=dimensions, max_side=14))
    labels = draw(of_numpy.arrays(np.int32, shape, elements=st.integers(0, 4)))
    zoom = draw(st.sampled_from([1, 1, 3]))
    for axis in range(dimensions):
        labels = labels.repeat(zoom, axis)
    if draw(st.booleans()):
        labels = ndimage.median_filter(labels, 3)
    return np.where(labels, labels * 1000 - 7, 0).astype(np.int32)


def of_scikit_image(labels: NDArray[Any], image: NDArray[Any], *names: str) -> dict[str, Any]:
    with warnings.catch_warnings():
        # Hulls of single pixels and the like: Qhull complains where the result is defined.
        warnings.simplefilter("ignore")
        return dict(regionprops_table(labels, image, properties=names))


@given(label_planes(), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=200)
def test_planes_measure_as_scikit_image_does(labels: NDArray[Any], seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 2**16, labels.shape).astype(np.uint16)
    frame = ObjectFrame(labels, image[None])
    if not frame.count:
        return
    ours = {**measured(POSITION, frame), **measured(SIZE, frame), **measured(SHAPE, frame)}
    ours |= measured(INTENSITY, frame)
    ours["id"] = frame.ids
    names = {
        "id": "label",
        "area_px": "area",
        "centroid_y_px": "centroid-0",
        "centroid_x_px": "centroid-1",
        "box_y_first_px": "bbox-0",
        "box_x_first_px": "bbox-1",
        "box_y_end_px": "bbox-2",
        "box_x_end_px": "bbox-3",
        "equivalent_diameter_px": "equivalent_diameter_area",
        "extent": "extent",
        "perimeter_px": "perimeter",
        "major_axis_px": "axis_major_length",
        "minor_axis_px": "axis_minor_length",
        "eccentricity": "eccentricity",
        "solidity": "solidity",
        "euler_number": "euler_number",
        "mean_channel_1": "intensity_mean",
        "min_channel_1": "intensity_min",
        "max_channel_1": "intensity_max",
        "std_channel_1": "intensity_std",
        "p50_channel_1": "intensity_median",
    }
    asked = {name.partition("-")[0] for name in names.values()}
    theirs = of_scikit_image(labels, image, *asked)
    for name, other in names.items():
        np.testing.assert_allclose(ours[name], theirs[other], rtol=1e-6, atol=1e-6, err_msg=name)


@given(label_planes(dimensions=3), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_volumes_measure_as_scikit_image_does(labels: NDArray[Any], seed: int) -> None:
    image = np.random.default_rng(seed).normal(size=labels.shape).astype(np.float32)
    frame = ObjectFrame(labels, image[None], pixel_size_um=(2.0, 0.5, 0.25))
    if not frame.count:
        return
    ours = {**measured(POSITION, frame), **measured(SIZE, frame), **measured(SHAPE, frame)}
    ours |= measured(INTENSITY, frame)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = regionprops_table(
            labels,
            image,
            spacing=(2.0, 0.5, 0.25),
            properties=(
                "area",
                "centroid",
                "equivalent_diameter_area",
                "axis_major_length",
                "axis_minor_length",
                "intensity_mean",
                "intensity_std",
                "intensity_median",
            ),
        )
    names = {
        "volume_um3": "area",
        "centroid_z_um": "centroid-0",
        "centroid_x_um": "centroid-2",
        "equivalent_diameter_um": "equivalent_diameter_area",
        "major_axis_um": "axis_major_length",
        "minor_axis_um": "axis_minor_length",
        "mean_channel_1": "intensity_mean",
        "std_channel_1": "intensity_std",
        "p50_channel_1": "intensity_median",
    }
    for name, other in names.items():
        np.testing.assert_allclose(ours[name], theirs[other], rtol=1e-5, atol=1e-5, err_msg=name)


@given(label_planes(), st.lists(st.floats(0, 100), min_size=1, max_size=4))
@settings(deadline=None, max_examples=60)
def test_percentiles_are_those_of_numpy_for_each_type(
    labels: NDArray[Any], percents: list[float]
) -> None:
    frame = ObjectFrame(labels)
    random = np.random.default_rng(0)
    for dtype in (np.uint8, np.int16, np.int64, np.float32, np.float64, bool):
        plane = (random.normal(size=labels.shape) * 50).astype(dtype)
        values = frame.pixels.take(plane)
        found = frame.pixels.percentiles(values, percents)
        for percent, levels in zip(percents, found, strict=True):
            for number, level in zip(frame.ids, levels, strict=True):
                own = plane[labels == number].astype(np.float64)
                np.testing.assert_allclose(level, np.percentile(own, percent), rtol=1e-6)


def test_a_pixel_that_is_not_a_number_makes_its_object_undefined_and_no_other() -> None:
    labels = np.array([[1, 1, 2, 2]])
    image = np.array([[[1.0, np.nan, 3.0, 4.0]]])
    found = measured(INTENSITY, ObjectFrame(labels, image))
    for what in ("mean", "sum", "min", "max", "std", "p5", "p50", "p95"):
        values = found[f"{what}_channel_1"]
        assert np.isnan(values[0]), what
        assert np.isfinite(values[1]), what


def test_constant_objects_have_no_deviation_however_bright_they_are() -> None:
    frame = ObjectFrame(np.ones((50, 50), int), np.full((1, 50, 50), 65_535, np.uint16))
    assert measured(INTENSITY, frame)["std_channel_1"] == 0


@pytest.mark.parametrize("spacing", [(1, 1, 1), (2, 1, 1), (4, 1, 1), (1, 0.5, 0.5)])
def test_the_surface_of_a_ball_is_right_in_anisotropic_voxels(spacing: tuple[float, ...]) -> None:
    axes = [np.arange(-15, 15, size) + 0.1 for size in spacing]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    frame = ObjectFrame((x**2 + y**2 + z**2 < 12**2).astype(np.uint8), pixel_size_um=spacing)
    found = measured(SHAPE, frame)
    assert found["surface_um2"] == pytest.approx(4 * pi * 12**2, rel=0.015)
    assert found["sphericity"] == pytest.approx(1, abs=0.015)
    assert found["major_axis_um"] == pytest.approx(24, rel=0.02)
    assert found["minor_axis_um"] == pytest.approx(24, rel=0.02)


def test_lengths_are_left_empty_where_pixels_are_not_square_and_areas_are_not() -> None:
    labels = np.zeros((8, 8), int)
    labels[2:6, 2:6] = 1
    found = measured(SHAPE, ObjectFrame(labels, pixel_size_um=(1.0, 0.5)))
    assert np.isnan(found["perimeter_um"]).all()
    assert measured(SIZE, ObjectFrame(labels, pixel_size_um=(1.0, 0.5)))["area_um2"] == 8
    square = measured(SHAPE, ObjectFrame(labels, pixel_size_um=(0.5, 0.5)))
    assert square["perimeter_um"] == square["perimeter_px"] / 2


def nearest_by_definition(
    labels: NDArray[Any], spacing: tuple[float, ...], *, inside: bool
) -> NDArray[np.float64]:
    """Distance of each object pixel to the nearest other one, or of the background to objects."""
    places = np.argwhere(np.ones(labels.shape, bool))
    flat = labels.reshape(-1)
    far = np.linalg.norm((places[:, None] - places[None]) * spacing, axis=2)
    other = flat[:, None] != flat[None] if inside else flat[None] != 0
    nearest = np.where(other, far, np.inf).min(axis=1)
    wanted = flat != 0 if inside else flat == 0
    return np.where(wanted, nearest, np.inf).reshape(labels.shape)


@given(label_planes(), st.sampled_from([1.0, 1.5, 2.0, 3.7, 6.0]), st.sampled_from([1.0, 2.5]))
@settings(deadline=None, max_examples=60)
def test_distances_are_those_of_the_definition_in_strips_of_any_height(
    labels: NDArray[Any], reach: float, height: float
) -> None:
    frame = ObjectFrame(labels[:20, :20], pixel_size_um=(height, 1.0))
    with pytest.MonkeyPatch.context() as patch:
        for pixels in (1, 50, 10_000):
            patch.setattr(distances, "STRIP_PIXELS", pixels)
            for find, inside in (
                (distances.find_outside, False),
                (distances.find_inside, True),
            ):
                around = find(frame, reach)
                expected = nearest_by_definition(frame.labels, (height, 1.0), inside=inside)
                found = np.full(frame.shape, np.inf)
                found.reshape(-1)[around.positions] = around.distances
                np.testing.assert_allclose(
                    found, np.where(expected <= reach, expected, np.inf), rtol=1e-5
                )
                assert len(np.unique(around.positions)) == len(around.positions)


@given(label_planes())
@settings(deadline=None, max_examples=60)
def test_background_pixels_belong_to_one_of_the_nearest_objects(labels: NDArray[Any]) -> None:
    frame = ObjectFrame(labels[:20, :20])
    around = distances.find_outside(frame, 4)
    for position, owner, distance in zip(*around, strict=True):
        place = np.unravel_index(position, frame.shape)
        own = np.argwhere(frame.labels == frame.ids[owner])
        assert np.linalg.norm(own - place, axis=1).min() == pytest.approx(distance)


def test_the_background_is_the_percentile_of_the_ring() -> None:
    labels = np.zeros((41, 41), int)
    labels[20, 20] = 5
    image = np.random.default_rng(1).integers(0, 1000, (1, 41, 41))
    y, x = np.mgrid[:41, :41] - 20
    ring = (np.hypot(y, x) > 2) & (np.hypot(y, x) <= 12)
    found = measured(BACKGROUND, ObjectFrame(labels, image))
    expected = np.percentile(image[0][ring], 25)
    assert found["background_channel_1"] == pytest.approx(expected)
    assert found["sum_above_channel_1"] == pytest.approx(image[0, 20, 20] - expected)
    other = measured(BACKGROUND, ObjectFrame(labels, image), gap_px=0, radius_px=1, percentile=50)
    near = [image[0, 19, 20], image[0, 21, 20], image[0, 20, 19], image[0, 20, 21]]
    assert other["background_channel_1"] == pytest.approx(np.median(near))


def test_an_object_without_background_around_it_has_none() -> None:
    labels = np.array([[1, 1, 2, 2]])
    found = measured(BACKGROUND, ObjectFrame(labels, np.ones((1, 1, 4))))
    assert np.isnan(found["background_channel_1"]).all()
    assert np.isnan(found["mean_above_channel_1"]).all()


def test_a_ring_needs_a_width() -> None:
    with pytest.raises(ValueError, match=r"gap_px \(5\) must be less than radius_px \(4\)"):
        BACKGROUND.Settings(gap_px=5, radius_px=4)


def test_the_bands_lie_on_both_sides_of_the_border() -> None:
    labels = np.zeros((12, 12), int)
    labels[3:9, 3:9] = 1
    image = np.zeros((1, 12, 12))
    image[0, 2:10, 2:10] = 4  # one pixel outside
    image[0, 3:9, 3:9] = 10  # the outermost pixels of the object
    image[0, 4:8, 4:8] = 99
    found = measured(BORDER, ObjectFrame(labels, image), width_px=1)
    assert found["border_inner_mean_channel_1"] == 10
    assert found["border_outer_mean_channel_1"] == 4
    assert found["border_both_mean_channel_1"] == pytest.approx((20 * 10 + 24 * 4) / 44)


def test_touching_objects_are_neighbors_and_form_clusters() -> None:
    labels = np.array(
        [
            [7, 7, 9, 9, 0, 0],
            [7, 7, 9, 9, 0, 4],
            [0, 0, 2, 0, 0, 4],
            [0, 8, 0, 0, 0, 0],
        ]
    )
    found = measured(NEIGHBORS, ObjectFrame(labels, pixel_size_um=(2.0, 0.5)))
    order = dict(zip([2, 4, 7, 8, 9], range(5), strict=True))
    assert [found["neighbors"][order[number]] for number in (7, 9, 2, 4, 8)] == [1, 2, 1, 0, 0]
    assert [found["interface_px"][order[number]] for number in (7, 9, 2, 4)] == [2, 3, 1, 0]
    # Pixels side by side share an edge as long as they are high; one above the other, as wide.
    assert [found["interface_um"][order[number]] for number in (7, 9, 2)] == [4, 4.5, 0.5]
    assert [found["cluster"][order[number]] for number in (7, 9, 2, 4, 8)] == [2, 2, 2, 4, 8]
    assert [found["cluster_size"][order[number]] for number in (7, 9, 2, 4, 8)] == [3, 3, 3, 1, 1]


def test_the_distance_to_the_edge_is_that_of_the_nearest_side() -> None:
    labels = np.zeros((10, 20), int)
    labels[0, 5] = 1
    labels[4:6, 3:5] = 2
    assert measured(POSITION, ObjectFrame(labels))["edge_distance_px"].tolist() == [0, 3]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.full((2, 2), 0.5), "not whole numbers"),
        (np.full((2, 2), np.nan), "not whole numbers"),
        (np.full((2, 2), -1), r"negative values \(down to -1\)"),
        (np.zeros((2, 2, 2, 2), int), r"shape \(2, 2, 2, 2\)"),
        (np.zeros((0, 2), int), r"shape \(0, 2\)"),
    ],
)
def test_what_is_no_label_image_is_refused(labels: NDArray[Any], words: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(MaskError, match=words):
            ObjectFrame(labels)


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(ImageError, match=r"image is \(3, 2\), its labels are \(2, 2\)"):
        ObjectFrame(np.ones((2, 2), int), np.ones((1, 3, 2)))


def test_labels_of_any_type_measure_the_same() -> None:
    labels = np.array([[0, 1], [1, 0]])
    for dtype in (bool, np.uint8, np.int16, np.uint64, np.float32):
        frame = ObjectFrame(labels.astype(dtype))
        assert frame.ids.tolist() == [1]
        assert measured(SIZE, frame)["area_px"].tolist() == [2]


@pytest.mark.parametrize("folder", ["bbbc039", "dsb2018", "usiigaci_t98g"])
def test_real_images_measure_as_scikit_image_does(shared_data: Path, folder: str) -> None:
    mask = sorted((shared_data / folder / "masks").glob("*.tif"))[0]
    labels = open_labels(mask)
    image = open_image(next((shared_data / folder / "images").glob(f"{mask.stem}.*")))
    table = measure_objects(labels, image)
    assert table.attrs["failures"] == {}
    theirs = of_scikit_image(
        labels.read().astype(np.int32), image.read(), "area", "perimeter", "solidity"
    )
    for ours, other in (
        ("area_px", "area"), ("perimeter_px", "perimeter"), ("solidity", "solidity"),
    ):  # fmt: skip
        np.testing.assert_allclose(table[ours], theirs[other], rtol=1e-6)


def test_a_real_volume_is_measured(shared_data: Path) -> None:
    mask = sorted((shared_data / "plantseg_nuclei_3d" / "masks").glob("*.tif"))[0]
    image = next((shared_data / "plantseg_nuclei_3d" / "images").glob(f"{mask.stem}.*"))
    table = measure_objects(open_labels(mask), open_image(image))
    assert table.attrs["failures"] == {}
    assert (table["surface_px"] > 0).all()
    assert table["mean_channel_1"].between(*np.percentile(open_image(image).read(), [0, 100])).all()
