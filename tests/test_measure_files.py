"""Files of labels to one table on disk, with its note; what fails is told and leaves no rows."""

from __future__ import annotations

import errno
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from maskloop import plugins
from maskloop.errors import Cancelled, ImageError, ProjectError, UsageError
from maskloop.events import Message, Progress
from maskloop.images.image import Image
from maskloop.images.writers import write_image, write_labels
from maskloop.measure import writers
from maskloop.measure.base import Column, Scene
from maskloop.measure.files import ORIGIN, TableSettings, file_sha256, measure_files
from maskloop.measure.frame import ObjectFrame
from maskloop.measure.measurer import IDENTITY
from maskloop.measure.note import TableSource, note_path, read_note
from maskloop.measure.sources import find_sources
from maskloop.measure.writers import _Csv
from maskloop.records import Record
from maskloop.samples import simulate_nuclei

QUICK = TableSettings(measurements=("size", "intensity"))


@pytest.fixture
def fields(tmp_path: Path) -> Path:
    """Three images in ``images`` and their labels in ``labels``."""
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for seed in range(3):
        image, labels = simulate_nuclei(shape=(48, 64), count=4, seed=seed)
        size = {"Y": 0.5, "X": 0.5}
        write_image(
            tmp_path / "images" / f"field_{seed}.tif", Image(image, "YX", pixel_size_um=size)
        )
        write_labels(tmp_path / "labels" / f"field_{seed}.tif", labels, axes="YX")
    return tmp_path


def sources_of(fields: Path) -> list[TableSource]:
    return find_sources([fields / "labels"], fields / "images", mode="instances")


def test_a_table_names_image_hash_and_labels_in_every_row(fields: Path) -> None:
    out = fields / "table.csv"
    note = measure_files(sources_of(fields), out, how=QUICK)
    table = pd.read_csv(out)
    assert list(table.columns) == [column.name for column in note.columns]
    assert note.columns[:8] == (*ORIGIN, *IDENTITY)
    for seed in range(3):
        path = fields / "images" / f"field_{seed}.tif"
        rows = table[table["image"] == str(path)]
        assert len(rows) == note.sources[seed].rows > 0
        assert set(rows["image_sha256"]) == {file_sha256(path)[:16]}
        assert set(rows["labels"]) == {str(fields / "labels" / f"field_{seed}.tif")}
    np.testing.assert_allclose(table["area_um2"], table["area_px"] / 4)


def test_the_note_says_what_columns_mean_and_where_rows_come_from(fields: Path) -> None:
    out = fields / "table.csv"
    written = measure_files(sources_of(fields), out, how=QUICK)
    note = read_note(out)
    assert note == written
    assert note.table_sha256 == file_sha256(out)
    assert sorted(path.name for path in fields.glob("*table*")) == ["table.csv", "table.csv.json"]
    assert note.rows == len(pd.read_csv(out)) == sum(source.rows for source in note.sources)
    assert {column.name: column.unit for column in note.columns}["area_um2"] == "um2"
    assert note.settings["intensity"] == {"percentiles": [5, 25, 50, 75, 95]}
    assert note.versions["numpy"] == np.__version__
    for source in note.sources:
        assert source.image_sha256 == file_sha256(Path(source.image))
        assert source.labels_sha256 == file_sha256(Path(source.labels))


def test_numbers_survive_the_table(fields: Path) -> None:
    from maskloop import measure_objects, open_image, open_labels

    out = fields / "table.csv"
    measure_files(sources_of(fields)[:1], out)
    written = pd.read_csv(out).drop(columns=[column.name for column in ORIGIN])
    measured = measure_objects(
        open_labels(fields / "labels" / "field_0.tif"),
        open_image(fields / "images" / "field_0.tif"),
        class_names={1: "object"},
    )
    pd.testing.assert_frame_equal(written, measured, check_dtype=False, rtol=1e-9)


def test_a_table_as_parquet_holds_the_same(fields: Path) -> None:
    pytest.importorskip("pyarrow")
    write_labels(fields / "labels" / "field_1.tif", np.zeros((48, 64), np.uint8), axes="YX")
    measure_files(sources_of(fields), fields / "table.csv", how=QUICK)
    note = measure_files(sources_of(fields), fields / "table.parquet", how=QUICK)
    found = pd.read_parquet(fields / "table.parquet")
    same = pd.read_csv(fields / "table.csv", keep_default_na=False)
    pd.testing.assert_frame_equal(found, same, check_dtype=False)
    assert note.table_sha256 == file_sha256(fields / "table.parquet")


def test_a_table_of_another_kind_is_refused_before_anything_is_measured(fields: Path) -> None:
    with pytest.raises(UsageError, match=r"'table.xlsx' is neither .csv nor .parquet"):
        measure_files(sources_of(fields), fields / "table.xlsx")


def test_a_file_that_fails_is_told_and_leaves_no_rows(fields: Path) -> None:
    (fields / "labels" / "field_1.tif").write_bytes(b"II*\0broken")
    (fields / "images" / "field_2.tif").unlink()
    events: list[Any] = []
    note = measure_files(sources_of(fields), fields / "t.csv", how=QUICK, report=events.append)
    assert [Path(failure.labels).name for failure in note.failed_files] == [
        "field_1.tif",
        "field_2.tif",
    ]
    assert "field_2' is missing" in note.failed_files[1].problem
    assert [event.done for event in events if isinstance(event, Progress)] == [1, 2, 3]
    warnings = [event.text for event in events if isinstance(event, Message)]
    assert len(warnings) == 2
    assert len(pd.read_csv(fields / "t.csv")) == note.rows == note.sources[0].rows


def test_a_film_that_breaks_off_leaves_none_of_its_frames(fields: Path) -> None:
    labels = np.ones((3, 48, 64))
    labels[2, 0, 0] = 0.5
    write_image(fields / "labels" / "field_1.tif", Image(labels.astype(np.float32), "TYX"))
    image = np.ones((3, 48, 64), np.uint16)
    write_image(fields / "images" / "field_1.tif", Image(image, "TYX"))
    note = measure_files(sources_of(fields), fields / "t.csv", how=QUICK)
    assert "not whole numbers" in note.failed_files[0].problem
    table = pd.read_csv(fields / "t.csv")
    assert len(table) == note.rows
    assert not table["labels"].str.contains("field_1").any()


def test_a_movie_is_followed_frame_by_frame(tmp_path: Path) -> None:
    labels = np.ones((3, 8, 8), np.uint8)
    write_labels(tmp_path / "movie.tif", labels, axes="TYX")
    events: list[Any] = []
    sources = find_sources([tmp_path], mode="binary")
    measure_files(sources, tmp_path / "t.csv", how=QUICK, report=events.append)
    told = [(event.stage, event.done, event.total, event.unit) for event in events]
    assert told == [
        ("movie.tif", 1, 3, "frames"),
        ("movie.tif", 2, 3, "frames"),
        ("movie.tif", 3, 3, "frames"),
        ("images", 1, 1, "images"),
    ]
    assert pd.read_csv(tmp_path / "t.csv")["timepoint"].tolist() == [0, 1, 2]


def test_a_full_disk_ends_the_measurement_in_words(
    fields: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(_Csv):
        def __init__(self, file: IO[bytes], path: Path) -> None:
            super().__init__(_FullDisk(), path)

    class _FullDisk(io.BytesIO):
        def write(self, _content: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writers, "_Csv", Full)
    with pytest.raises(ProjectError, match="could not be written: No space left on device"):
        measure_files(sources_of(fields), fields / "t.csv", how=QUICK)
    assert not list(fields.glob("*t.csv*"))


def test_planes_and_volumes_do_not_get_into_one_table(fields: Path) -> None:
    write_labels(fields / "labels" / "field_1.tif", np.ones((2, 4, 4), int), axes="ZYX")
    write_image(fields / "images" / "field_1.tif", Image(np.ones((2, 4, 4), np.uint8), "ZYX"))
    note = measure_files(sources_of(fields), fields / "t.csv", how=QUICK)
    assert "has axes ZYX" in note.failed_files[0].problem
    by_plane = QUICK.model_copy(update={"by_plane": True})
    note = measure_files(sources_of(fields), fields / "t.csv", how=by_plane)
    assert not note.failed_files
    assert set(pd.read_csv(fields / "t.csv")["plane"]) == {0, 1}


def test_nothing_is_written_when_nothing_can_be_measured(fields: Path) -> None:
    gone = [TableSource(labels=str(fields / "gone.tif"))]
    with pytest.raises(UsageError, match=r"No labels could be measured: '.*gone.tif' is missing"):
        measure_files(gone, fields / "t.csv")
    assert not list(fields.glob("*t.csv*"))


def test_a_cancelled_measurement_leaves_the_table_of_before(fields: Path) -> None:
    (fields / "t.csv").write_text("the one before\n")
    asked = iter([False, True])
    with pytest.raises(Cancelled, match=r"cancelled after 1 image\."):
        measure_files(
            sources_of(fields), fields / "t.csv", how=QUICK, is_cancelled=lambda: next(asked)
        )
    assert (fields / "t.csv").read_text() == "the one before\n"
    assert [path.name for path in fields.iterdir() if path.is_file()] == ["t.csv"]


def test_a_measurement_that_fails_is_in_the_note_and_its_columns_are_empty(fields: Path) -> None:
    class Broken:
        name = "broken"

        class Settings(Record):
            pass

        def columns(self, settings: Any, scene: Scene) -> tuple[Column, ...]:
            return (Column(name="lost", description="Never filled."),)

        def measure(self, frame: ObjectFrame, settings: Any) -> Mapping[str, NDArray[Any]]:
            raise KeyError("no")

    with plugins.register("measurements", "broken", Broken()):
        note = measure_files(
            sources_of(fields), fields / "t.csv", how=TableSettings(measurements=("broken", "size"))
        )
    assert note.failed_measurements == {"broken": "KeyError: 'no'"}
    table = pd.read_csv(fields / "t.csv")
    assert table["lost"].isna().all()
    assert table["area_px"].notna().all()


def test_an_image_that_changed_since_its_prediction_is_measured_with_a_warning(
    fields: Path,
) -> None:
    changed = sources_of(fields)[0].model_copy(update={"predicted_sha256": "0" * 64})
    events: list[Any] = []
    measure_files([changed], fields / "t.csv", how=QUICK, report=events.append)
    (warning,) = (event.text for event in events if isinstance(event, Message))
    assert "is not the file that" in warning


def test_labels_alone_are_measured_without_images(fields: Path) -> None:
    note = measure_files(
        find_sources([fields / "labels"], mode="instances"), fields / "t.csv", how=TableSettings()
    )
    assert note.scene.channels == ()
    assert pd.read_csv(fields / "t.csv")["image"][0].endswith("labels/field_0.tif")


def test_a_table_without_its_note_is_not_explained(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a\n1\n")
    with pytest.raises(UsageError, match="has no readable note"):
        read_note(tmp_path / "t.csv")
    note_path(tmp_path / "t.csv").write_text(json.dumps({"version": 1}))
    with pytest.raises(UsageError, match="has no readable note"):
        read_note(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("draw", "kind", "classes"),
    [
        (lambda labels: (labels > 0).astype(np.uint8), "classes", {1: "foreground"}),
        (lambda labels: np.where(labels > 0, labels % 2 + 1, 0), "classes", {}),
        (lambda labels: labels, "instances", {1: "object"}),
    ],
)
def test_what_labels_are_is_told_by_the_pixels_where_nobody_says(
    tmp_path: Path,
    draw: Callable[[NDArray[Any]], NDArray[Any]],
    kind: str,
    classes: dict[int, str],
) -> None:
    labels = simulate_nuclei(shape=(160, 160), count=20, seed=1)[1]
    write_labels(tmp_path / "a.tif", draw(labels), axes="YX")
    (source,) = find_sources([tmp_path])
    assert (source.objects, source.class_names) == (kind, classes)


def test_labels_that_could_be_both_are_asked_about(tmp_path: Path) -> None:
    labels = np.zeros((20, 20), np.uint8)
    labels[1:3, 1:3] = 1
    labels[5:7, 5:7] = 2
    write_labels(tmp_path / "a.tif", labels, axes="YX")
    with pytest.raises(UsageError, match="could be classes or objects"):
        find_sources([tmp_path])
    (source,) = find_sources([tmp_path], mode="multiclass")
    assert source.objects == "classes"


def test_images_are_found_by_the_names_of_their_labels(tmp_path: Path) -> None:
    for name in ("a_labels.tif", "b_labels.tif", "a_probabilities.tif"):
        write_labels(tmp_path / name, np.eye(4, dtype=int), axes="YX")
    images = tmp_path / "images"
    images.mkdir()
    write_image(images / "a.png", Image(np.eye(4, dtype=np.uint8), "YX"))
    first, second = find_sources([tmp_path], images, mode="instances")
    assert (first.labels, first.image) == (
        str(tmp_path / "a_labels.tif"),
        str(images / "a.png"),
    )
    assert second.image == str(images / "b")  # reported as missing when it is measured
    write_image(images / "a.tif", Image(np.eye(4, dtype=np.uint8), "YX"))
    with pytest.raises(UsageError, match=r"matches several images: a.png, a.tif"):
        find_sources([tmp_path], images, mode="instances")


def test_a_folder_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="holds no image"):
        find_sources([tmp_path])
