"""Folders made by version 2 open, go on and are upgraded at the first write.

``folders/version_2_binary.zip`` holds three pairs, a checkpoint of three epochs and a training that
was killed after its third of six epochs; ``folders/version_2_multiclass.zip`` a checkpoint of a
network that a person chose in part.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from maskloop import Project
from maskloop.compute.runs import find_interrupted
from maskloop.errors import ProjectError
from maskloop.images.readers import open_labels
from maskloop.jobs.base import read_job
from maskloop.project import layout
from maskloop.project.check import check
from maskloop.project.repair import repair
from maskloop.project.upgrade import is_older, upgrade
from maskloop.project.version2 import choices_of, convert, task_of
from maskloop.task import Task

FOLDERS = Path(__file__).parent / "folders"
TINY = {"epochs": 1, "device": "cpu", "precision": "fp32", "batch_size": 2, "save_every_s": 0.0}


def unpack(name: str, place: Path) -> Path:
    with zipfile.ZipFile(FOLDERS / f"version_2_{name}.zip") as archive:
        archive.extractall(place / name)
    return place / name


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    return unpack("binary", tmp_path)


@pytest.fixture
def multiclass(tmp_path: Path) -> Path:
    return unpack("multiclass", tmp_path)


def test_it_opens_to_read_and_nothing_in_it_is_changed(binary: Path) -> None:
    before = bytes_of(binary)
    project = Project.open(binary)
    status = project.status()
    assert (status.state, status.mode, status.classes) == (
        "trained",
        "binary",
        ("background", "nucleus"),
    )
    (warning,) = status.warnings
    assert "train_003 was interrupted" in warning
    assert (status.pair_count, status.checkpoint_count, status.prediction_count) == (3, 1, 1)
    assert project.notes == "made by version 2"
    assert project.task == Task(classes=("nucleus",))
    # A plan decided nothing of these: a person named them for a training, as version 2 tells it.
    assert project.architecture == {"backend": "basic_unet", "depth": 2, "base_channels": 2}
    # What is kept of finished runs, so that their journals are read once, is a cache.
    after = {
        path: content
        for path, content in bytes_of(binary).items()
        if not path.endswith("summary.json")
    }
    assert after == before


def test_what_a_person_chose_is_told_from_what_a_plan_decided(multiclass: Path) -> None:
    project = Project.open(multiclass)
    assert project.task == Task(mode="multiclass", classes=("axon", "myelin"))
    assert project.architecture == {
        "backend": "basic_unet",
        "preset": "resunet",
        "depth": 1,
        "base_channels": 2,
        "upsampling": "bilinear",
        "threshold": 0.4,
    }
    planned = [{"name": "depth", "value": 1, "source": "planned"}]
    assert choices_of({"depth": 1, "base_channels": 16}, planned) == {"base_channels": 16}


@pytest.mark.parametrize(
    ("channels", "decisions", "kept"),
    [
        (1, [], None),
        (3, [], 3),
        (3, [{"name": "input_channels", "value": 3, "source": "planned"}], None),
    ],
)
def test_channels_that_a_plan_read_off_the_images_are_left_to_the_data(
    channels: int, decisions: list[dict[str, Any]], kept: int | None
) -> None:
    assert task_of({"input_channels": channels}, decisions).channels == kept


def test_it_predicts_as_version_2_did(binary: Path, tmp_path: Path) -> None:
    project = Project.open(binary)
    before = project.predictions.list()[0]
    made = project.predict(binary / "in.tif", out=str(tmp_path / "out"), device="cpu")
    ours, theirs = open_labels(Path(made["written"][0])), open_labels(binary / before.path)
    assert (ours.read() == theirs.read()).all()


def test_the_first_write_upgrades_it_and_keeps_the_old_records(binary: Path) -> None:
    kept = {path: (binary / path).read_bytes() for path in (layout.CONFIG, layout.ARCHITECTURE)}
    project = Project.open(binary)
    other = Project.open(binary)
    project.set_notes("first write")
    assert not is_older(binary)
    (copies,) = (binary / "history").glob("upgrade_*")
    for path, content in kept.items():
        assert (copies / path).read_bytes() == content
    config = json.loads((binary / layout.CONFIG).read_bytes())
    assert config["version"] == layout.VERSION
    assert config["task"] == {"mode": "binary", "classes": ["nucleus"], "channels": None}
    assert "binary_or_multiclass" not in config
    described = json.loads((binary / layout.ARCHITECTURE).read_bytes())
    assert described == {
        "version": layout.VERSION,
        "backend": "basic_unet",
        "depth": 2,
        "base_channels": 2,
    }
    assert other.notes == "first write"
    assert check(Project.open(binary)).is_sound
    # Both copies that repair would take are of this version.
    for path in (layout.CONFIG, layout.ARCHITECTURE):
        assert json.loads((binary / f"{path}.last-good").read_bytes())["version"] == layout.VERSION


def test_an_upgrade_that_was_killed_between_two_records_is_finished(binary: Path) -> None:
    whole = {path: record.model_dump() for path, record in convert(binary).items()}
    upgraded = shutil.copytree(binary, binary.parent / "upgraded")
    upgrade(upgraded)
    # The settings come before the architecture.
    shutil.copy(upgraded / layout.CONFIG, binary / layout.CONFIG)
    assert is_older(binary)
    project = Project.open(binary)
    assert project.architecture == {"backend": "basic_unet", "depth": 2, "base_channels": 2}
    project.set_notes("go on")
    assert not is_older(binary)
    assert project.task == Task(classes=("nucleus",))
    assert whole[layout.ARCHITECTURE]["depth"] == 2
    (warning,) = Project.open(binary).status().warnings
    assert "train_003 was interrupted" in warning


def test_a_folder_of_a_newer_program_is_left_alone(binary: Path) -> None:
    path = binary / layout.CONFIG
    path.write_text(path.read_text().replace('"version": 2', '"version": 4'))
    with pytest.raises(ProjectError, match="update maskloop"):
        _ = Project.open(binary).config


def test_its_checkpoint_is_trained_on(binary: Path) -> None:
    project = Project.open(binary)
    record = project.train(**TINY)
    assert record.parent_checkpoint_id == "unet_run_001"
    assert project.plan(**TINY).decisions
    assert not is_older(binary)


def test_its_interrupted_training_is_resumed(binary: Path) -> None:
    project = Project.open(binary)
    job = read_job((binary / "history/runs/train_003/job.json").read_bytes())
    handle = find_interrupted(project, job)
    assert handle is not None
    assert handle.run_id == "train_003"
    told: list[str] = []
    record = project.train(
        epochs=6,
        seed=2,
        device="cpu",
        precision="fp32",
        batch_size=2,
        save_every_s=0,
        start="latest",
        report=lambda event: told.append(str(getattr(event, "text", ""))),
    )
    assert record.run_id == "train_003"
    assert record.metrics["epochs"] == 6
    assert any("after epoch 3" in text for text in told)
    # The plan was fixed by version 2.
    assert record.plan["patch_size"] == [32, 32]


def test_its_class_names_survive_in_the_checkpoints(multiclass: Path) -> None:
    project = Project.open(multiclass)
    output = project.segmenter().segmenter.output
    assert output.class_labels == {0: "background", 1: "axon", 2: "myelin"}


def test_damaged_settings_of_version_2_are_read_from_their_last_good_copy(binary: Path) -> None:
    (binary / layout.CONFIG).write_bytes(b"{ torn")
    project = Project.open(binary)
    assert project.task == Task(classes=("nucleus",))
    assert any("its last good copy is used" in warning for warning in project.status().warnings)
    repair(project)
    again = Project.open(binary)
    assert not is_older(binary)
    assert again.notes == "made by version 2"
    assert again.task == Task(classes=("nucleus",))
    assert again.architecture["depth"] == 2
    (kept,) = (binary / "history").glob(f"upgrade_*/{layout.CONFIG}")
    assert kept.read_bytes() == b"{ torn"
