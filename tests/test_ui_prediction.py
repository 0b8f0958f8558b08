"""Predicting from the window, without a window."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("psygnal")

from ui_session import Pump, open_session
from ui_trained import copy_trained, field

from maskloop import Project
from maskloop.compute import predicted as predicted_module
from maskloop.compute.layer_inputs import INPUTS, sweep_inputs, write_input
from maskloop.compute.predicted import (
    OpenedPrediction,
    Part,
    PredictedImage,
    is_edited,
    read_labels,
)
from maskloop.compute.run_progress import RunProgress
from maskloop.errors import MaskError
from maskloop.events import Started
from maskloop.images.image import Image
from maskloop.images.writers import write_image, write_labels
from maskloop.ui.session import Session


@pytest.fixture
def folder(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_trained(tmp_path_factory, tmp_path / "cells")


def tiles_of(progress: RunProgress) -> float:
    """Tiles that are predicted of the present image."""
    return 0.0 if progress.part is None else progress.part.done


@dataclass
class Desk:
    """A session with the project open, its pump, and what failed or was said."""

    session: Session
    pump: Pump
    failures: list[tuple[str, str]]
    said: list[str]

    def predict(self, image: Image, **options: Any) -> PredictedImage:
        found: list[PredictedImage] = []
        self.session.prediction.predict_image(image, name=image.name, then=found.append, **options)
        self.pump.until(lambda: found or self.failures)
        assert not self.failures
        return found[0]

    def wait_for(self, begin: Callable[[Callable[[Any], None]], None]) -> Any:
        found: list[Any] = []
        begin(found.append)
        self.pump.until(lambda: found or self.failures)
        assert not self.failures
        return found[0]


@pytest.fixture
def desk(folder: Path, tmp_path: Path) -> Iterator[Desk]:
    with open_session(tmp_path) as (session, pump, failures):
        said: list[str] = []
        session.workspace.events.said.connect(said.append)
        session.workspace.open(folder)
        pump.until(lambda: session.workspace.snapshot.checkpoints)
        yield Desk(session, pump, failures, said)


def test_a_layer_is_predicted_and_kept_with_where_it_came_from(desk: Desk, folder: Path) -> None:
    found = desk.predict(Image(field(), "YX", {"Y": 0.5, "X": 0.5}, name="well B/3"))
    record = Project.open(folder).predictions.get(str(found.prediction_id))
    assert (record.input_path, record.checkpoint_id) == ("layer well B/3", "unet_run_002")
    assert found.origin == record.input_path
    desk.pump.until(lambda: not any((folder / INPUTS).iterdir()))
    desk.pump.until(
        lambda: (
            [row.prediction_id for row in desk.session.predictions.rows] == [found.prediction_id]
        )
    )
    labels = desk.wait_for(lambda then: desk.session.predictions.read_labels(found, then))
    assert (labels.shape, labels.axes, labels.data.dtype) == ((64, 64), "YX", np.uint32)
    assert labels.pixel_size_um == {"Y": 0.5, "X": 0.5}


def test_the_layers_file_is_kept_as_its_source_and_found_again(desk: Desk, tmp_path: Path) -> None:
    write_image(tmp_path / "well.tif", Image(field(), "YX"))
    desk.predict(Image(field(), "YX", name="well"), origin=str(tmp_path / "well.tif"))
    desk.pump.until(lambda: desk.session.predictions.rows)
    row = desk.session.predictions.rows[0]
    assert (row.image, row.checkpoint) == ("well.tif", "unet_run_002")
    opened: OpenedPrediction = desk.wait_for(lambda then: desk.session.predictions.open(row, then))
    assert opened.image is not None
    assert np.array_equal(opened.image.read(), field())
    (tmp_path / "well.tif").unlink()
    opened = desk.wait_for(lambda then: desk.session.predictions.open(row, then))
    assert opened.image is None
    assert "was not found" in opened.why_no_image


def test_another_checkpoint_and_scores_are_used_on_request(desk: Desk) -> None:
    part = desk.session.prediction
    part.set_checkpoint("unet_run_001")
    part.set_probabilities(True)
    found = desk.predict(Image(field(), "YX", name="well"))
    assert found.checkpoint_id == "unet_run_001"
    assert found.probabilities is not None
    assert found.probabilities.is_file()
    desk.pump.until(lambda: desk.session.predictions.rows)
    assert len(desk.session.predictions.rows) == 1, "scores are no line of their own"
    assert (
        "Probability maps: predictions/prediction_001.tif"
        in desk.session.predictions.rows[0].tooltip
    )
    part.set_checkpoint("gone")
    assert part.checkpoint == "latest"


def test_files_go_into_a_folder_and_those_that_fail_are_told(desk: Desk, tmp_path: Path) -> None:
    inputs = tmp_path / "new"
    inputs.mkdir()
    for number in range(2):
        write_image(inputs / f"well_{number}.tif", Image(field(number), "YX"))
    (inputs / "broken.tif").write_bytes(b"no image")
    part, found = desk.session.prediction, []
    part.predicted.connect(found.extend)
    part.predict_files([inputs], out=tmp_path / "out")
    desk.pump.until(lambda: len(found) == 2)
    assert {one.labels.name for one in found} == {"well_0_labels.tif", "well_1_labels.tif"}
    assert [one.prediction_id for one in found] == [None, None]
    assert [one.name for one in part.progress.failures] == ["broken.tif"]
    assert part.progress.outcome == "2 images predicted with unet_run_002, 1 failed."
    assert "broken.tif" in desk.failures[0][1]


def test_a_file_alone_that_fails_says_why(desk: Desk, tmp_path: Path) -> None:
    write_image(tmp_path / "colour.tif", Image(np.zeros((3, 64, 64), np.uint8), "CYX"))
    desk.session.prediction.predict_files([tmp_path / "colour.tif"])
    desk.pump.until(lambda: desk.failures)
    assert "3 channels" in desk.failures[0][0]


def test_why_nothing_can_be_predicted_is_said_in_words(
    desk: Desk, folder: Path, tmp_path: Path
) -> None:
    part = desk.session.prediction
    assert part.why_not_image(None, "No image layer.") == "No image layer."
    assert "has 3 channels, unet_run_002 was trained on 1" in str(
        part.why_not_image(Image(np.zeros((3, 8, 8)), "CYX"))
    )
    assert part.why_not_image(Image(np.zeros((8, 8)), "YX")) is None
    assert part.why_not_files([], None) == "Select files or a folder first."
    (folder / "checkpoints/unet_run_001.pt").unlink()
    desk.session.workspace.events.snapshot_changed.emit(desk.session.workspace.snapshot)
    desk.pump.until(lambda: "are missing" in str(part.why_not("unet_run_001")))
    part.predict_image(Image(np.zeros((3, 8, 8)), "CYX"), name="colour")
    assert desk.failures[0][0] == "Nothing was predicted."
    Project.create(tmp_path / "empty")
    desk.session.workspace.open(tmp_path / "empty")
    desk.pump.until(
        lambda: (
            desk.session.workspace.snapshot.status is not None
            and not desk.session.workspace.snapshot.checkpoints
        )
    )
    assert part.why_not() == "There is no checkpoint yet: train one first (Train)."
    assert desk.session.predictions.rows == []


def test_a_cancelled_prediction_is_told_without_alarm(desk: Desk) -> None:
    part = desk.session.prediction
    part.set_mirror(True)
    part.predict_image(Image(np.zeros((40, 700, 700), np.uint8), "TYX"), name="film")
    assert part.why_not() == "A prediction is running."
    desk.pump.until(lambda: tiles_of(part.progress))
    assert "tiles" in part.progress.words
    part.cancel()
    desk.pump.until(lambda: part.progress.has_ended)
    assert part.progress.tone == "stopped"
    assert "was cancelled after" in desk.said[-1]
    assert not desk.failures
    desk.pump.settle(desk.session)
    assert part.why_not() is None


def test_a_killed_prediction_is_told_in_words_and_leaves_nothing_behind(
    desk: Desk, folder: Path
) -> None:
    part, processes = desk.session.prediction, []
    part.run.told.connect(
        lambda told: processes.extend(one.process_id for one in told if isinstance(one, Started))
    )
    part.predict_image(Image(np.zeros((60, 700, 700), np.uint8), "TYX"), name="film")
    desk.pump.until(lambda: tiles_of(part.progress))
    os.kill(processes[0], signal.SIGKILL)
    desk.pump.until(lambda: desk.failures)
    assert desk.failures[0][0] == "The prediction stopped unexpectedly."
    assert "Predict again" in desk.failures[0][1]
    desk.pump.until(lambda: not any((folder / INPUTS).iterdir()))
    desk.failures.clear()
    assert desk.predict(Image(field(), "YX", name="well")).prediction_id


def test_a_prediction_of_another_window_is_followed(
    desk: Desk, folder: Path, tmp_path: Path
) -> None:
    desk.session.prediction.predict_image(
        Image(np.zeros((60, 700, 700), np.uint8), "TYX"), name="film"
    )
    desk.pump.until(lambda: tiles_of(desk.session.prediction.progress))
    (tmp_path / "other").mkdir()
    with open_session(tmp_path / "other") as (session, pump, _):
        session.workspace.open(folder)
        pump.until(lambda: tiles_of(session.prediction.progress))
        assert session.prediction.why_not() == "A prediction is running."
        session.prediction.cancel()
        pump.until(lambda: session.prediction.progress.has_ended)
    desk.pump.until(lambda: desk.session.prediction.progress.has_ended)


def lock(folder: Path, *, is_locked: bool) -> None:
    """Take the right to write from everybody, an administrator included, or give it back."""
    paths = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    if os.geteuid() == 0:
        chattr = shutil.which("chattr") or pytest.skip("an administrator may write everywhere")
        subprocess.run(
            [chattr, "+i" if is_locked else "-i", *paths], check=False, capture_output=True
        )
        return
    for path in paths:
        path.chmod(0o555 if is_locked else 0o755)


@pytest.mark.skipif(os.name == "nt", reason="folders have no such permissions there")
def test_a_project_that_may_only_be_read_predicts_too(desk: Desk, folder: Path) -> None:
    part = desk.session.prediction
    try:
        lock(folder, is_locked=True)
        if os.access(folder, os.W_OK):
            pytest.skip("this file system cannot take the right to write away")
        desk.pump.until(lambda: desk.session.workspace.snapshot.condition == "read-only")
        before = sorted(folder.rglob("*"))
        assert "select another folder for the labels" in str(part.why_not_files(["a.tif"], None))
        found = desk.predict(Image(field(), "YX", name="well"))
        assert found.prediction_id is None
        labels = desk.wait_for(lambda then: desk.session.predictions.read_labels(found, then))
        assert labels.shape == (64, 64)
        assert sorted(folder.rglob("*")) == before
    finally:
        lock(folder, is_locked=False)


def test_labels_of_a_slice_lie_at_their_place_in_the_stack(tmp_path: Path) -> None:
    write_labels(tmp_path / "plane.tif", np.full((4, 5), 3, np.uint8), axes="YX")
    plane = PredictedImage(tmp_path / "plane.tif", "layer stack", "unet_run_001")
    labels = read_labels(plane, is_instances=False, part=Part("ZCYX", (6, 2, 4, 5), {"Z": 2}))
    assert (labels.axes, labels.shape, labels.data.dtype) == ("ZYX", (6, 4, 5), np.uint8)
    assert sorted(set(np.nonzero(labels.data)[0])) == [2]


def test_labels_too_large_to_draw_on_are_told_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predicted_module, "LARGEST_BYTES", 100)
    write_labels(tmp_path / "plane.tif", np.full((4, 50), 3, np.uint8), axes="YX")
    with pytest.raises(MaskError, match="saved in the project as prediction_007") as caught:
        read_labels(
            PredictedImage(tmp_path / "plane.tif", "x", "y", "prediction_007"), is_instances=False
        )
    assert "visible slice" in caught.value.way_out


def test_whether_labels_were_edited_is_seen_in_any_part_of_them(folder: Path) -> None:
    project = Project.open(folder)
    pixels = np.arange(4 * 20 * 20, dtype=np.uint16).reshape(4, 20, 20)
    kept = project.predictions.write(Image(pixels, "ZYX"), checkpoint_id="unet_run_001")
    origin = {"prediction_id": kept.prediction_id}
    rectangle = {"index": {"Z": 2}, "rectangle": {"Y": [3, 12], "X": [0, 9]}}
    part = pixels[2, 3:12, 0:9].copy()
    assert not is_edited(project, origin, Image(pixels, "ZYX"), {})
    assert not is_edited(project, origin, Image(part, "YX"), rectangle)
    part[4, 4] = 0
    assert is_edited(project, origin, Image(part, "YX"), rectangle)
    assert is_edited(
        project, {**origin, "index": {"Z": 1}}, Image(pixels[2], "YX"), {"index": {"Z": 2}}
    )
    assert is_edited(project, {"prediction_id": None}, Image(pixels, "ZYX"), {})


def test_inputs_left_behind_are_swept_after_a_day(folder: Path) -> None:
    project = Project.open(folder)
    old = write_input(project.path(INPUTS), Image(field(), "YX"), "../..")
    new = write_input(project.path(INPUTS), Image(field(), "YX"), "new")
    assert (old.name, new.name) == ("image.tif", "new.tif")
    os.utime(old.parent, (0, 0))
    sweep_inputs(project)
    assert not old.parent.exists()
    assert new.exists()
