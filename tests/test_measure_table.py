"""Tables of objects: columns, rows over time, and what becomes of a broken measurement."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskloop import plugins
from maskloop.errors import ImageError, MaskError, NotFound, UsageError
from maskloop.images.image import Image
from maskloop.measure import check
from maskloop.measure.base import Column, Scene
from maskloop.measure.frame import ObjectFrame
from maskloop.measure.measurer import Measurer
from maskloop.measure.table import measure_frames, measure_objects, scene_of
from maskloop.records import Record
from maskloop.samples import simulate_nuclei
from maskloop.testing import MeasurementContract


class Contrast:
    """A measurement as a newcomer would write it."""

    name = "contrast"

    class Settings(Record):
        factor: float = 1.0

    def columns(self, settings: Settings, scene: Scene) -> tuple[Column, ...]:
        return tuple(
            Column(name=f"contrast_{channel}", description="Largest over smallest intensity.")
            for channel in scene.channels
        )

    def measure(self, frame: ObjectFrame, settings: Settings) -> Mapping[str, NDArray[Any]]:
        found = {}
        for channel, plane in frame.channels:
            values = frame.pixels.take(plane)
            ratio = frame.pixels.max(values) / frame.pixels.min(values)
            found[f"contrast_{channel}"] = settings.factor * ratio
        return found


class TestContrast(MeasurementContract):
    def make_measurement(self) -> Contrast:
        return Contrast()


class Broken(Contrast):
    """Divides by zero in the second frame that it sees."""

    name = "broken"

    def __init__(self) -> None:
        self.frames = 0

    def measure(self, frame: ObjectFrame, settings: Any) -> Mapping[str, NDArray[Any]]:
        self.frames += 1
        if self.frames == 2:
            raise ZeroDivisionError("division by zero")
        return super().measure(frame, settings)


def film(frames: int = 3, channels: int = 2) -> tuple[Image, Image]:
    pairs = [simulate_nuclei(shape=(64, 80), count=5, seed=seed) for seed in range(frames)]
    labels = Image(np.stack([pair[1] for pair in pairs]), "TYX", {"Y": 0.5, "X": 0.5}, name="film")
    image = np.stack([np.stack([pair[0] * (at + 1) for at in range(channels)]) for pair in pairs])
    names = ("DAPI", "GFP 488", "third")[:channels]
    return labels, Image(image, "TCYX", channel_names=names, name="film")


def test_rows_are_objects_of_frames_and_channels_are_columns() -> None:
    labels, image = film()
    table = measure_objects(labels, image, measurements=["size", "intensity"])
    assert list(table.columns[:6]) == [
        "timepoint",
        "plane",
        "object",
        "class",
        "area_px",
        "area_um2",
    ]
    assert {"mean_DAPI", "mean_GFP_488", "p50_DAPI"} <= set(table.columns)
    np.testing.assert_allclose(table["area_um2"], table["area_px"] / 4)
    np.testing.assert_allclose(table["mean_GFP_488"], 2 * table["mean_DAPI"])
    for timepoint, plane in enumerate(labels.read()):
        rows = table[table["timepoint"] == timepoint]
        assert rows["object"].tolist() == np.unique(plane[plane > 0]).tolist()
    assert [column["name"] for column in table.attrs["columns"]] == list(table.columns)
    assert table.attrs["failures"] == {}


def test_all_measurements_are_made_when_none_is_named() -> None:
    labels, image = film(1)
    with plugins.register("measurements", "contrast", Contrast()):
        table = measure_objects(labels, image)
    assert {"perimeter_px", "background_DAPI", "cluster", "contrast_DAPI"} <= set(table.columns)
    alone = measure_objects(labels)
    assert {"perimeter_px", "cluster"} <= set(alone.columns)
    assert not any("channel" in name or "mean" in name for name in alone.columns)


def test_settings_change_what_is_measured() -> None:
    labels, image = film(1, 1)
    table = measure_objects(
        labels,
        image,
        measurements=["intensity", "shape"],
        settings={"intensity": {"percentiles": (10,)}, "shape": {"solidity": False}},
    )
    assert "p10_DAPI" in table
    assert "p50_DAPI" not in table
    assert "solidity" not in table


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"border": {}}, "There are settings for 'border', which is not measured."),
        (
            {"intensity": {"percentile": 5}},
            "The settings of 'intensity' do not fit. Percentile is not",
        ),
        (
            {"intensity": {"percentiles": (101,)}},
            "do not fit. Entry 1 of percentiles must be at most 100",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as error:
        Measurer(Scene(), measurements=["intensity"], settings=settings)
    assert words in str(error.value)


def test_a_measurement_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(NotFound, match="'colour' is not one of the measurements: position, size"):
        Measurer(Scene(), measurements=["colour"])


def test_a_broken_measurement_loses_its_own_columns_and_is_named_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    labels, image = film(4, 1)
    with (
        plugins.register("measurements", "broken", Broken()),
        caplog.at_level(logging.WARNING, "maskloop"),
    ):
        table = measure_objects(labels, image, measurements=["size", "broken"])
    assert table.attrs["failures"] == {"broken": "ZeroDivisionError: division by zero"}
    assert [record.getMessage() for record in caplog.records] == [
        "The measurement 'broken' failed, its columns are empty: ZeroDivisionError: division by "
        "zero"
    ]
    assert np.isfinite(table["area_px"]).all()
    lost = table["contrast_DAPI"].isna()
    assert set(table["timepoint"][lost]) == {1}


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (type("NoSettings", (), {"name": "bad"})(), "AttributeError"),
        (Contrast, "TypeError"),  # a class where an object is wanted
        (
            type("BadColumns", (Contrast,), {"columns": lambda *_: (Column(name="a b"),)})(),
            "ValidationError",
        ),
    ],
)
def test_a_measurement_that_cannot_even_name_its_columns_has_none(broken: Any, words: str) -> None:
    labels, image = film(1, 1)
    with plugins.register("measurements", "bad", broken):
        table = measure_objects(labels, image, measurements=["size", "bad"])
    assert words in table.attrs["failures"]["bad"]
    assert list(table.columns)[-1] == "extent"


def test_a_measurement_cannot_change_what_others_measure() -> None:
    class Vandal(Contrast):
        name = "vandal"

        def measure(self, frame: ObjectFrame, settings: Any) -> Mapping[str, NDArray[Any]]:
            frame.labels[:] = 0
            return {}

    labels, image = film(1, 1)
    with plugins.register("measurements", "vandal", Vandal()):
        table = measure_objects(labels, image, measurements=["vandal", "size"])
    assert "read-only" in table.attrs["failures"]["vandal"]
    assert (table["area_px"] > 0).all()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "missing: contrast_DAPI; undeclared: none"),
        ({"contrast_DAPI": np.ones(1), "more": np.ones(5)}, "missing: none; undeclared: more"),
        ({"contrast_DAPI": np.ones(77)}, "has the shape (77,); there are"),
        ({"contrast_DAPI": np.full(2, "a")}, "holds <U1, not numbers"),
    ],
)
def test_a_measurement_that_breaks_its_promise_says_which(
    values: dict[str, NDArray[Any]], words: str
) -> None:
    class Careless(Contrast):
        name = "careless"

        def measure(self, frame: ObjectFrame, settings: Any) -> Mapping[str, NDArray[Any]]:
            return values

    labels, image = film(1, 1)
    with plugins.register("measurements", "careless", Careless()):
        table = measure_objects(labels, image, measurements=["careless"])
    assert words in table.attrs["failures"]["careless"]
    assert any(problem for problem in check.find_problems(Careless()))


def test_two_measurements_cannot_fill_one_column() -> None:
    with (
        plugins.register("measurements", "contrast", Contrast()),
        plugins.register("measurements", "twin", Contrast()),
        pytest.raises(UsageError, match="'contrast' and 'twin' both have a column 'contrast_A'"),
    ):
        Measurer(Scene(channels=("A",)), measurements=["contrast", "twin"])


def test_pieces_of_a_class_are_its_objects() -> None:
    labels = np.zeros((10, 10), np.uint8)
    labels[1:3, 1:3] = 1
    labels[3:5, 3:5] = 1  # at a corner: the same piece
    labels[5:7, 3:5] = 2
    labels[8:9, 8:9] = 1
    table = measure_objects(
        Image(labels, "YX"),
        measurements=["size"],
        objects="classes",
        class_names={1: "nucleus", 2: "cytoplasm"},
    )
    found = sorted(zip(table["class"], table["area_px"], strict=True))
    assert found == [("cytoplasm", 4), ("nucleus", 1), ("nucleus", 8)]
    assert table["object"].tolist() == [1, 2, 3]


def test_a_stack_is_a_volume_or_planes() -> None:
    labels = Image(np.ones((3, 4, 4), int), "ZYX", {"Z": 2.0, "Y": 1.0, "X": 1.0})
    volume = measure_objects(labels, measurements=["size"])
    assert volume["volume_um3"].tolist() == [96]
    planes = measure_objects(labels, measurements=["size"], by_plane=True)
    assert planes["plane"].tolist() == [0, 1, 2]
    assert planes["area_um2"].tolist() == [16, 16, 16]


def test_frames_without_objects_add_no_rows_and_keep_the_types() -> None:
    labels = np.zeros((3, 6, 6), int)
    labels[1, 2:4, 2:4] = 9
    table = measure_objects(Image(labels, "TYX"), measurements=["size", "neighbors"])
    assert table["timepoint"].tolist() == [1]
    assert table["neighbors"].dtype.kind == "i"
    empty = measure_objects(Image(labels[:1], "TYX"), measurements=["size"])
    assert len(empty) == 0
    assert "area_px" in empty


def test_frames_are_read_one_at_a_time() -> None:
    labels, image = film(4, 1)
    read: list[Any] = []

    class Watched:
        shape, dtype = labels.data.shape, labels.data.dtype

        def __getitem__(self, key: Any) -> Any:
            read.append(key[0])
            return labels.data[key]

    watched = Image(Watched(), "TYX", name="film")
    measurer = Measurer(scene_of(watched, image), measurements=["size"])
    frames = measure_frames(measurer, watched, image)
    next(frames)
    assert read == [0]
    next(frames)
    assert read == [0, 1]


@pytest.mark.parametrize(
    ("axes", "shape"), [("YX", (9, 10)), ("TYX", (2, 10, 10)), ("ZYX", (3, 10, 10))]
)
def test_labels_and_image_of_other_pixels_are_refused(axes: str, shape: tuple[int, ...]) -> None:
    labels = Image(np.ones((10, 10), int), "YX", name="cells_labels.tif")
    with pytest.raises(ImageError, match=r"labels 'cells_labels.tif' are YX \(10, 10\), the image"):
        measure_objects(labels, Image(np.ones(shape), axes))


def test_axes_of_length_one_need_not_be_in_both() -> None:
    labels = Image(np.ones((1, 1, 5, 5), int), "TZYX")
    table = measure_objects(labels, Image(np.full((5, 5), 3), "YX"))
    assert table["mean_channel_1"].tolist() == [3]


def test_images_of_another_kind_do_not_get_into_the_same_table() -> None:
    measurer = Measurer(Scene(channels=("DAPI",)), measurements=["size"])
    labels, image = film(1, 2)
    with pytest.raises(ImageError, match="has the channels DAPI, GFP_488; this table has DAPI"):
        next(measure_frames(measurer, labels, image))
    with pytest.raises(ImageError, match="has the channels none; this table has DAPI"):
        next(measure_frames(measurer, labels))
    volume = Measurer(Scene(spatial_axes="ZYX"), measurements=["size"])
    with pytest.raises(ImageError, match="has axes TYX; the objects of this table are measured"):
        next(measure_frames(volume, labels))


@pytest.mark.parametrize("objects", ["instances", "classes"])
def test_probabilities_are_not_taken_for_labels(objects: Any) -> None:
    with pytest.raises(MaskError, match="not whole numbers"):
        measure_objects(Image(np.full((4, 4), 0.3), "YX"), objects=objects)


def test_a_stack_of_one_plane_is_a_plane() -> None:
    table = measure_objects(Image(np.ones((1, 4, 4), int), "ZYX"), measurements=["shape"])
    assert "perimeter_px" in table


def test_channels_without_unique_names_are_numbered() -> None:
    image = Image(np.ones((2, 4, 4)), "CYX", channel_names=("DAPI!", "DAPI?"))
    assert scene_of(Image(np.ones((4, 4), int), "YX"), image).channels == ("channel_1", "channel_2")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"Settings": dict}, "not a class derived from maskloop.records.Record"),
        (
            {"columns": lambda *_: (Column(name="a", description="A."),) * 2},
            "Two columns have the same name: a, a",
        ),
        ({"columns": lambda *_: (Column(name="a", description=""),)}, "has no description"),
        (
            {
                "columns": lambda *_: (Column(name="a", unit="um", description="A."),),
                "measure": lambda _self, frame, _settings: {"a": np.ones(frame.count)},
            },
            "has values in um although the pixel size is unknown",
        ),
        (
            {
                "columns": lambda *_: (Column(name="a", description="A."),),
                "measure": lambda _self, frame, _settings: {"a": frame.ids},
            },
            "changes when the objects are renumbered",
        ),
        (
            {
                "columns": lambda *_: (Column(name="a", description="A."),),
                "measure": lambda _self, frame, _settings: {
                    "a": np.random.default_rng().random(frame.count)
                },
            },
            "changes when the same frame is measured again",
        ),
        ({"measure": lambda *_: 1 / 0}, "raises ZeroDivisionError"),
    ],
)
def test_the_check_says_what_is_wrong_with_a_measurement(
    change: dict[str, Any], words: str
) -> None:
    changed = type("Changed", (Contrast,), change)
    assert any(words in problem for problem in check.find_problems(changed()))


def test_the_check_names_what_is_missing() -> None:
    assert check.find_problems(object()) == (
        "It does not define name, Settings, columns, measure.",
    )
    assert check.find_problems(Contrast()) == ()
