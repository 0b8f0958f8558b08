"""A new kind of thing that a project keeps is one row, and predictions are recorded in batches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from maskloop.errors import NotFound
from maskloop.project import inventory, predictions
from maskloop.project.check import check
from maskloop.project.fields import VERSION, Identifier, InsidePath, Sha256, Version
from maskloop.project.inventory import COLLECTIONS, Collection
from maskloop.project.kept import Kept
from maskloop.project.predictions import Predicted
from maskloop.project.project import ProjectFolder
from maskloop.project.repair import repair
from maskloop.project.store import file_sha256
from maskloop.records import Record


class Table(Record):
    table_id: Identifier
    path: InsidePath
    sha256: Sha256 = ""


class Tables(Record):
    version: Version = VERSION
    next_table: int = 1
    tables: tuple[Table, ...] = ()


TABLES = Collection(
    name="tables",
    noun="table",
    record="tables/tables.json",
    kind=Tables,
    entry=Table,
    entries="tables",
    entry_id="table_id",
    counter="next_table",
    numbered_in="tables",
    folders=("tables",),
    files=(("path", "sha256"),),
    way_out="Measure again.",
    find="List them with 'maskloop tables'.",
    is_later=True,
)
RECORD = "tables/tables.json"


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A project that was made before there were tables."""
    return ProjectFolder.create(tmp_path / "older").folder


@pytest.fixture
def project(
    older: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ProjectFolder]:
    monkeypatch.setitem(COLLECTIONS, TABLES.name, TABLES)
    return ProjectFolder.create(tmp_path / "cells")


def add(project: ProjectFolder, text: str = "area\n5\n") -> Table:
    tables = Kept(project, TABLES)
    with project.writing("measure"):
        numbers = tables.numbers()
        name = f"table_{numbers.take():03d}"
        path = project.path(f"tables/{name}.csv")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        table = Table(table_id=name, path=f"tables/{name}.csv", sha256=file_sha256(path))
        tables.add([table], next_number=numbers.next)
    return table


def kinds(project: ProjectFolder) -> list[tuple[str, str]]:
    return [(problem.kind, problem.path) for problem in check(project).problems]


def test_one_row_gives_a_new_kind_of_thing_its_record_folder_and_count(project):
    assert json.loads((project.folder / RECORD).read_text())["tables"] == []
    first, second = add(project), add(project)
    assert (first.table_id, second.table_id) == ("table_001", "table_002")
    assert project.status().counts["tables"] == 2
    assert check(project).problems == ()
    tables = project.kept(TABLES)
    assert tables.path("table_002").read_text() == "area\n5\n"
    with pytest.raises(NotFound, match="no table 'table_009'; the latest: table_001, table_002"):
        tables.get("table_009")


def test_one_row_is_checked_file_by_file(project):
    first, second = add(project), add(project)
    (project.folder / first.path).unlink()
    (project.folder / second.path).write_text("changed")
    (project.folder / "tables/table_007.csv").write_text("left over")
    assert kinds(project) == [
        ("missing file", first.path),
        ("changed file", second.path),
        ("orphan", "tables/table_007.csv"),
    ]
    assert check(project).problems[0].way_out == "Measure again."


def test_one_row_is_repaired_and_its_counter_goes_on(project):
    add(project)
    add(project)
    (project.folder / "tables/table_007.csv").write_text("left over")
    (project.folder / RECORD).write_text("{ torn")
    again = ProjectFolder.open(project.folder)
    assert ("broken record", RECORD) in kinds(again)
    assert repair(again).left.is_sound
    assert add(again).table_id == "table_008"


def test_an_entry_recorded_twice_is_found_in_any_collection(project):
    add(project)
    file = project.record(RECORD, Tables)
    file.write(Tables(next_table=2, tables=file.read().tables * 2))
    assert "'table_001' is recorded 2 times" in check(project).problems[0].problem


def test_a_folder_made_before_the_row_has_none_of_it_and_is_sound(project, older):
    before = ProjectFolder.open(older)
    assert before.warnings == ()
    assert before.status().counts["tables"] == 0
    assert check(before).problems == ()
    assert add(before).table_id == "table_001"
    assert check(before).problems == ()


# ---- batches ----


def predicted(folder: Path, count: int, run_id: str = "predict_001") -> Iterator[Predicted]:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        file = folder / f"image_{number}_labels.tif"
        file.write_bytes(b"labels %d" % number)
        yield Predicted(file, None, f"image_{number}.tif", settings={"run_id": run_id})


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Each time that the record of the predictions is written."""
    from maskloop.project import store

    seen: list[Any] = []
    original = store.write_content

    def count(path: Path, content: bytes) -> None:
        if path.name == "predictions.json":
            seen.append(content)
        original(path, content)

    monkeypatch.setattr(store, "write_content", count)
    return seen


def test_many_predictions_are_recorded_in_one_write(tmp_path, writes, monkeypatch):
    monkeypatch.setattr(predictions, "BATCH_S", 600.0)
    project = ProjectFolder.create(tmp_path / "p")
    writes.clear()
    records = project.predictions.register_many(predicted(tmp_path / "run", 300))
    assert len(writes) == 1
    assert [record.prediction_id for record in records[:2]] == ["prediction_001", "prediction_002"]
    assert [record.input_path for record in records][-1] == "image_299.tif"
    assert project.predictions.path("prediction_300").read_bytes() == b"labels 299"
    assert check(project).problems == ()


def test_a_batch_is_recorded_when_its_time_is_over(tmp_path, writes, monkeypatch):
    monkeypatch.setattr(predictions, "BATCH_S", -1.0)
    project = ProjectFolder.create(tmp_path / "p")
    writes.clear()
    project.predictions.register_many(predicted(tmp_path / "run", 3))
    assert len(writes) == 3


def test_a_stopped_registration_leaves_files_without_a_record_and_is_taken_up_without_doubles(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(predictions, "BATCH_S", 600.0)
    project = ProjectFolder.create(tmp_path / "p")
    project.predictions.register_many(predicted(tmp_path / "run", 2))

    def stopped() -> Iterator[Predicted]:
        yield from predicted(tmp_path / "run", 4)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        project.predictions.register_many(stopped())
    assert len(project.predictions.list()) == 2
    left = [
        ("orphan", "predictions/prediction_003.tif"),
        ("orphan", "predictions/prediction_004.tif"),
    ]
    assert kinds(project) == left
    again = ProjectFolder.open(project.folder)
    records = again.predictions.register_many(predicted(tmp_path / "run", 4))
    assert [record.input_path for record in again.predictions.list()] == [
        "image_0.tif",
        "image_1.tif",
        "image_2.tif",
        "image_3.tif",
    ]
    assert [record.prediction_id for record in records] == [
        "prediction_001",
        "prediction_002",
        "prediction_005",
        "prediction_006",
    ]
    assert kinds(again) == left


def test_another_run_keeps_its_own_prediction_of_an_image(tmp_path):
    project = ProjectFolder.create(tmp_path / "p")
    project.predictions.register_many(predicted(tmp_path / "a", 1, "predict_001"))
    project.predictions.register_many(predicted(tmp_path / "b", 1, "predict_002"))
    assert len(project.predictions.list()) == 2


def test_every_row_names_fields_that_its_records_have():
    for row in COLLECTIONS.values():
        assert {row.entries, row.counter} <= set(row.kind.model_fields), row.name
        named = {row.entry_id, *(field for pair in row.files for field in pair)}
        assert named <= set(row.entry.model_fields), row.name
        assert inventory.collection_of_record(row.record) is row
