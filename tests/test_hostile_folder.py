"""A project that came from a stranger: nothing outside it is read, written or erased."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from maskloop.errors import MaskloopError, ProjectError
from maskloop.events import Message, append_event
from maskloop.project import layout
from maskloop.project.check import check
from maskloop.project.project import ProjectFolder
from maskloop.project.repair import repair
from maskloop.project.upgrade import upgrade

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows makes no links for ordinary users")


@pytest.fixture
def project(tmp_path: Path) -> ProjectFolder:
    made = ProjectFolder.create(tmp_path / "cells")
    for seed in range(2):
        accept(made, seed)
    run_id = made.history.new_run("train")
    weights = made.history.run_folder(run_id) / "weights.pt"
    weights.write_bytes(b"weights")
    made.checkpoints.register(weights, run_id=run_id)
    return made


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """What belongs to the person and not to the project."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home/.bashrc").write_text("export PATH\n")
    (tmp_path / "home/thesis.tif").write_bytes(b"years of work")
    return tmp_path / "home"


def accept(project: ProjectFolder, seed: int):
    image = np.random.default_rng(seed).integers(0, 255, (24, 24), np.uint8)
    return project.dataset.accept(image, image > 128, name=f"image {seed}")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def link(place: Path, to: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        place.rename(place.with_name(place.name + " moved"))
    else:
        place.unlink(missing_ok=True)
    place.symlink_to(to)


WRITES: list[Callable[[ProjectFolder], object]] = [
    lambda project: accept(project, 9),
    lambda project: project.set_notes("export EVIL=1"),
    lambda project: project.history.log("export EVIL=1"),
    lambda project: project.history.new_run("train"),
    lambda project: project.dataset.purge(
        project.dataset.remove(project.dataset.pairs[0].pair_id).pair_id
    ),
    lambda project: append_event(
        project.history.run_folder("train_001") / "events.jsonl", Message(text="export EVIL=1")
    ),
    lambda project: repair(project),
    lambda project: upgrade(project.folder),
    lambda project: check(project),
    lambda project: project.status(),
    lambda project: project.checkpoints.follow(),
]
FILES = [
    layout.LOG,
    layout.LOCK,
    layout.HOLDER,
    layout.MANIFEST,
    f"{layout.MANIFEST}.journal",
    f"{layout.MANIFEST}.last-good",
    layout.CONFIG,
    layout.BENCHMARKS,
    layout.LATEST,
    f"{layout.RUNS}/train_001/events.jsonl",
]


@pytest.mark.parametrize("path", FILES)
def test_no_write_follows_a_link_to_a_file(project, home, path):
    before = contents(home)
    for write in WRITES:
        again = ProjectFolder.open(project.folder)
        link(project.folder / path, home / ".bashrc")
        with contextlib.suppress(MaskloopError):
            write(again)
        assert contents(home) == before, write


@pytest.mark.parametrize(
    "path",
    [
        "dataset",
        layout.IMAGES,
        layout.MASKS,
        "checkpoints",
        "predictions",
        "logs",
        "history",
        layout.RUNS,
        f"{layout.RUNS}/train_001",
    ],
)
def test_no_write_and_no_purge_reaches_through_a_linked_folder(project, home, path):
    # The names that the record knows, so that erasing them would find something.
    for pair in project.dataset.pairs:
        (home / Path(pair.image_path).name).write_bytes(b"of the person")
    before = contents(home)
    link(project.folder / path, home)
    for write in WRITES:
        with contextlib.suppress(MaskloopError):
            write(ProjectFolder.open(project.folder))
        assert contents(home) == before, write


def test_a_purge_erases_images_and_masks_of_its_pair_and_nothing_else(project):
    first, second = project.dataset.pairs
    manifest = project.folder / layout.MANIFEST
    text = manifest.read_text()
    text = text.replace(json.dumps(first.image_path), json.dumps(layout.CONFIG), 1)
    text = text.replace(json.dumps(first.mask_path), json.dumps(second.mask_path), 1)
    manifest.write_text(text)
    again = ProjectFolder.open(project.folder)
    again.dataset.purge(again.dataset.remove(first.pair_id).pair_id)
    assert (project.folder / layout.CONFIG).is_file()
    assert (project.folder / second.mask_path).is_file()


def test_what_lies_outside_is_not_read_as_a_part_of_the_project(project, home):
    pair = project.dataset.pairs[0]
    link(project.folder / pair.image_path, home / "thesis.tif")
    with pytest.raises(ProjectError, match="leads out of the project"):
        project.dataset.read_image(pair)
    report = check(project)
    assert "leads out of the project" in report.problems[0].problem
    assert not report.is_sound


def test_a_link_that_stays_inside_is_followed(project):
    pair = project.dataset.pairs[0]
    place = project.folder / pair.image_path
    place.rename(place.with_name("kept.tif"))
    place.symlink_to("kept.tif")
    assert project.dataset.read_image(pair).read().shape == (24, 24)


def test_a_project_that_is_reached_through_a_link_works(project, tmp_path):
    (tmp_path / "short").symlink_to(project.folder)
    again = ProjectFolder.open(tmp_path / "short")
    accept(again, 5)
    assert check(again).problems == ()


@pytest.mark.parametrize("path", FILES)
def test_a_pipe_is_refused_and_not_waited_for(project, path):
    place = project.folder / path
    place.unlink(missing_ok=True)
    os.mkfifo(place)
    for write in WRITES:
        with contextlib.suppress(MaskloopError):
            write(ProjectFolder.open(project.folder))


def test_an_upgrade_into_another_folder_takes_nothing_from_outside(tmp_path, home):
    older = tmp_path / "older"
    for path in ("dataset/images", "dataset/masks"):
        (older / path).mkdir(parents=True)
    (older / "dataset/images/a.tif").symlink_to(home / "thesis.tif")
    (older / "dataset/masks/a.tif").symlink_to(home / "thesis.tif")
    entry = {
        "pair_id": "pair_1",
        "image_path": "dataset/images/a.tif",
        "mask_path": "dataset/masks/a.tif",
        "shape": [4, 4],
        "mask_shape": [4, 4],
        "created_at": "2026-01-01",
    }
    (older / layout.CONFIG).write_text(json.dumps({"version": 1, "project_name": "old"}))
    (older / layout.MANIFEST).write_text(json.dumps({"pairs": [entry]}))
    with pytest.raises(ProjectError, match="leads out of the project"):
        upgrade(older, out=tmp_path / "new")
