"""Predictions of a project to a table, and from a row of it back to the training pixels."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from maskloop import Project
from maskloop.cli import app
from maskloop.errors import NotFound, UsageError
from maskloop.events import Event, Finished, Message, Progress
from maskloop.images.image import Image
from maskloop.images.writers import write_image, write_labels
from maskloop.jobs.base import read_job
from maskloop.jobs.measurement import MeasureJob
from maskloop.jobs.trace import trace_row
from maskloop.measure.note import note_path, read_note
from maskloop.project.check import check
from maskloop.project.store import file_sha256
from maskloop.samples import simulate_nuclei

SMALL: dict[str, Any] = {
    "epochs": 1,
    "base_channels": 4,
    "depth": 2,
    "patch_size": (32, 32),
    "batch_size": 4,
    "device": "cpu",
    "precision": "fp32",
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with predictions of two images that lie beside it."""
    made = Project.create(tmp_path / "nuclei", mode="instances", classes=["nucleus"])
    for seed in range(2):
        image, labels = simulate_nuclei(shape=(48, 64), count=4, seed=seed)
        path = tmp_path / f"field_{seed}.tif"
        write_image(path, Image(image, "YX", pixel_size_um={"Y": 0.5, "X": 0.5}))
        made.predictions.write(
            Image(labels, "YX"),
            checkpoint_id=None,
            input_path=path,
            input_sha256=file_sha256(path),
        )
    return made


def run(*words: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(map(str, words)), env={"COLUMNS": "200"})
    return done.exit_code, done.output


def test_predictions_become_a_table_that_the_project_keeps(project: Project) -> None:
    events: list[Event] = []
    result = project.measure(report=events.append)
    assert result["table_id"] == "table_001"
    assert result["failed"] == []
    assert [event.done for event in events if isinstance(event, Progress)] == [1, 2]
    assert isinstance(events[-1], Finished)
    table = pd.read_csv(result["table"])
    assert len(table) == result["rows"]
    assert set(table["class"]) == {"nucleus"}
    assert {"area_um2", "mean_channel_1", "perimeter_um", "cluster"} <= set(table.columns)
    (record,) = project.tables.list()
    assert record.prediction_ids == ("prediction_001", "prediction_002")
    assert record.rows == len(table)
    assert project.tables.path("table_001") == Path(result["table"])
    assert check(project).problems == ()
    assert project.status().counts["tables"] == 1


def test_a_table_is_measured_in_a_child_process_and_listed_with_the_runs(project: Project) -> None:
    result = project.measure(target="process", measurements=["size"])
    assert len(pd.read_csv(result["table"])) == result["rows"] > 0
    code, output = run("runs", project.folder)
    assert code == 0
    assert "measure" in output
    assert f"{result['rows']} objects measured in 2 images" in output


def test_a_second_table_gets_a_number_of_its_own(project: Project) -> None:
    project.measure("prediction_001", measurements=["size"])
    second = project.measure("prediction_002", measurements=["size"])
    assert second["table_id"] == "table_002"
    labels = pd.read_csv(second["table"])["labels"]
    assert labels.str.endswith("prediction_002.tif").all()
    assert check(project).problems == ()


def test_a_changed_table_and_a_missing_note_are_found(project: Project) -> None:
    path = Path(project.measure(measurements=["size"])["table"])
    path.write_text("other")
    note_path(path).unlink()
    assert {problem.kind for problem in check(project).problems} == {
        "changed file",
        "missing file",
    }


def test_a_table_may_go_elsewhere(project: Project, tmp_path: Path) -> None:
    result = project.measure(out=tmp_path / "table.csv", measurements=["size"])
    assert result["table"] == str(tmp_path / "table.csv")
    assert read_note(tmp_path / "table.csv").project == str(project.folder)
    assert project.tables.list() == ()


def test_corrected_labels_are_measured_with_a_warning_and_traced_as_changed(
    project: Project, tmp_path: Path
) -> None:
    path = project.predictions.path("prediction_001")
    labels = np.zeros((48, 64), np.uint8)
    labels[5:9, 5:9] = 1
    write_labels(path, labels, axes="YX")
    events: list[Event] = []
    project.measure(
        "prediction_001", out=tmp_path / "t.csv", measurements=["size"], report=events.append
    )
    (warning,) = (event.text for event in events if isinstance(event, Message))
    assert warning.endswith("prediction_001.tif was edited after prediction.")
    states = {link.what: link.state for link in trace_row(tmp_path / "t.csv", 1)}
    assert states == {
        "row": "unchanged",
        "labels": "unchanged",
        "image": "unchanged",
        "prediction": "changed",
    }


def test_an_image_that_is_gone_fails_alone_unless_only_labels_are_measured(
    project: Project, tmp_path: Path
) -> None:
    (tmp_path / "field_0.tif").rename(tmp_path / "elsewhere.tif")
    result = project.measure()
    assert result["images"] == 1
    assert "field_0.tif' is missing" in result["failed"][0]["problem"]
    alone = project.measure(labels_only=True)
    assert alone["failed"] == []
    assert alone["channels"] == []
    assert "mean_channel_1" not in pd.read_csv(alone["table"])
    (tmp_path / "moved").mkdir()
    (tmp_path / "elsewhere.tif").rename(tmp_path / "moved" / "field_0.tif")
    shutil.copy(tmp_path / "field_1.tif", tmp_path / "moved")
    assert project.measure(images=tmp_path / "moved")["failed"] == []


def test_classes_are_measured_piece_by_piece(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p", mode="multiclass", classes=["body", "nucleus"])
    labels = np.zeros((20, 20), np.uint8)
    labels[2:8, 2:8] = 1
    labels[4:6, 4:6] = 2
    labels[12:15, 12:15] = 1
    project.predictions.write(Image(labels, "YX"), checkpoint_id=None)
    table = pd.read_csv(project.measure(labels_only=True)["table"])
    found = sorted(zip(table["class"], table["area_px"], strict=True))
    assert found == [("body", 9), ("body", 32), ("nucleus", 4)]


def test_what_cannot_be_measured_is_refused(project: Project, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="prediction 'prediction_009'"):
        project.measure("prediction_009")
    with pytest.raises(UsageError, match="Speed is not a known setting"):
        project.measure(speed=3)
    with pytest.raises(UsageError, match=r"'field_0.xlsx' is neither .csv nor .parquet"):
        project.measure(out=tmp_path / "field_0.xlsx")
    empty = Project.create(tmp_path / "empty", mode="binary")
    with pytest.raises(UsageError, match="'empty' has no predictions to measure"):
        empty.measure()


def test_the_job_is_data() -> None:
    job = MeasureJob(
        predictions=("prediction_001",), settings={"intensity": {"percentiles": [10, 90]}}
    )
    assert read_job(job.model_dump_json()) == job


def test_a_run_that_is_executed_again_keeps_one_table(project: Project) -> None:
    from maskloop.compute.runs import submit
    from maskloop.jobs.execute import execute

    run_id = submit(project, MeasureJob(measurements=("size",))).run_id
    first = execute(project, run_id)
    second = execute(project, run_id)
    assert first["table_id"] == second["table_id"]
    assert len(project.tables.list()) == 1


def test_the_verb_measures_a_project(project: Project, tmp_path: Path) -> None:
    code, output = run(
        "measure", project.folder, "--out", tmp_path / "t.csv", "--measurements", "size,intensity",
        "--set", "intensity.percentiles=10,90", "--pixel-size", "2,2",
    )  # fmt: skip
    assert code == 0, output
    assert "objects measured in 2 images." in output
    table = pd.read_csv(tmp_path / "t.csv")
    assert {"p10_channel_1", "p90_channel_1"} <= set(table.columns)
    assert (table["area_um2"] == 4 * table["area_px"]).all()
    done = CliRunner().invoke(app, ["measure", str(project.folder), "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["table_id"] == "table_001"


def test_the_verb_measures_any_labels(tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    image, labels = simulate_nuclei(shape=(48, 64), count=4, seed=0)
    write_image(tmp_path / "images" / "a.tif", Image(image, "YX"))
    write_labels(tmp_path / "labels" / "a.tif", labels, axes="YX")
    words = (
        "--images", tmp_path / "images", "--mode", "instances", "--out", tmp_path / "t.csv",
    )  # fmt: skip
    assert run("measure", "--labels", tmp_path / "labels", *words)[0] == 0
    first = (tmp_path / "t.csv").read_bytes()
    assert run("measure", tmp_path / "labels", *words)[0] == 0
    assert (tmp_path / "t.csv").read_bytes() == first
    (tmp_path / "images" / "a.tif").unlink()
    write_labels(tmp_path / "labels" / "b.tif", labels, axes="YX")
    write_image(tmp_path / "images" / "b.tif", Image(image, "YX"))
    code, output = run("measure", tmp_path / "labels", *words)
    assert code == 1
    assert "1 image failed" in output
    assert "a' is missing" in output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "Neither a project nor labels were given"),
        (("--labels", "x"), "No file was given for the table"),
        (
            ("--labels", "x", "--out", "t.csv", "--predictions", "a"),
            "--predictions selects predictions of a project",
        ),
        (("--set", "radius=3"), "'radius=3' is not a setting of a measurement"),
        (("--labels", "nowhere", "--out", "t.csv"), "nowhere"),
    ],
)
def test_the_verb_says_what_it_needs(words: tuple[str, ...], told: str) -> None:
    code, output = run("measure", *words)
    assert code == 1
    assert told in output


def test_the_mode_of_predictions_is_not_asked(project: Project) -> None:
    code, output = run("measure", project.folder, "--mode", "binary")
    assert code == 1
    assert "--mode does not apply to the predictions of a project." in output


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a project of two checkpoints, one trained from the other, and a table."""
    folder = tmp_path_factory.mktemp("trained")
    project = Project.create(folder / "nuclei", mode="instances")
    for seed in range(3):
        image, labels = simulate_nuclei(shape=(64, 64), count=4, seed=seed)
        project.dataset.accept(image, labels, name=f"field {seed}")
    project.train(start="scratch", **SMALL)
    project.train(start="latest", **SMALL)
    image = simulate_nuclei(shape=(64, 64), count=6, seed=9)[0]
    write_image(folder / "new.tif", Image(image, "YX"))
    project.predict(folder / "new.tif")
    # What a model found after two epochs may be nothing: measured is the truth in its place.
    labels = simulate_nuclei(shape=(64, 64), count=6, seed=9)[1]
    project.predictions.write(
        Image(labels, "YX"),
        checkpoint_id="unet_run_002",
        input_path=folder / "new.tif",
        input_sha256=file_sha256(folder / "new.tif"),
    )
    project.measure("prediction_002", out=folder / "table.csv", measurements=["size"])
    return folder


def test_a_row_is_traced_to_the_training_pixels(trained: Path) -> None:
    links = trace_row(trained / "table.csv", 2)
    assert [link.what for link in links[:5]] == [
        "row",
        "labels",
        "image",
        "prediction",
        "checkpoint",
    ]
    assert [link.name for link in links if link.what == "checkpoint"] == [
        "unet_run_002",
        "unet_run_001",
    ]
    project = Project.open(trained / "nuclei")
    pairs = {link.name: link.sha256 for link in links if link.what == "pair"}
    used = project.checkpoints.get("unet_run_002").dataset_pixel_hashes
    assert used
    assert used.items() <= pairs.items()
    assert {link.state for link in links} == {"unchanged"}
    code, output = run("trace", trained / "table.csv", "2")
    assert code == 0
    assert "unet_run_001" in output


def test_what_changed_since_is_named(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "copy")
    folder = tmp_path / "copy"
    table = folder / "table.csv"
    # The note names the files of before, and those are still there; a moved project is named.
    links = trace_row(table, 1, project=folder / "nuclei")
    assert {link.state for link in links} == {"unchanged"}
    project = Project.open(folder / "nuclei")
    project.dataset.remove(project.dataset.pairs[0].pair_id)
    project.checkpoints.path("unet_run_001").unlink()
    table.write_text(table.read_text() + "\n")
    links = trace_row(table, 1, project=folder / "nuclei")
    states = {(link.what, link.name): link for link in links}
    assert states["row", "table.csv, row 1"].state == "changed"
    assert states["checkpoint", "unet_run_001"].state == "missing"
    removed = [link for link in links if link.facts.get("state") == "removed"]
    assert [link.what for link in removed] == ["pair"]
    assert run("trace", table, "1", "--project", folder / "nuclei")[0] == 1


def test_a_row_of_a_lost_project_says_so(trained: Path, tmp_path: Path) -> None:
    for name in ("table.csv", "table.csv.json"):
        shutil.copy(trained / name, tmp_path)
    note = tmp_path / "table.csv.json"
    gone = str(trained / "nuclei")
    note.write_text(note.read_text().replace(f'"project": "{gone}"', '"project": ""'))
    *_, prediction, last = trace_row(tmp_path / "table.csv", 1)
    assert (prediction.what, prediction.state) == ("prediction", "unchanged")
    assert (last.what, last.state) == ("checkpoint", "missing")
    assert last.facts == {"way out": "Give its project: --project DIR"}


def test_a_row_of_a_parquet_table_is_traced_too(project: Project, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    for suffix in (".csv", ".parquet"):
        project.measure(out=tmp_path / f"t{suffix}", measurements=["size"])
    first, second = (trace_row(tmp_path / name, 2) for name in ("t.csv", "t.parquet"))
    assert first[0].facts == second[0].facts
    assert first[1:] == second[1:]


@pytest.mark.parametrize("row", [0, -1, 10_000])
def test_a_row_that_is_not_there_is_refused(trained: Path, row: int) -> None:
    with pytest.raises(UsageError, match=f"'table.csv' has no row {row}"):
        trace_row(trained / "table.csv", row)
