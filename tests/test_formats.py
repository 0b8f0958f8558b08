from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from maskloop import plugins
from maskloop.errors import ImageError, ProjectError
from maskloop.images import scratch
from maskloop.images.formats import create_file, find_format
from maskloop.images.formats.base import Format, SinkSpec
from maskloop.images.refs import ImageRef
from maskloop.images.scratch import StagedArray
from maskloop.testing import FormatContract


class TestTiff(FormatContract):
    ending = ".tif"
    axes = ("YX", "ZYX", "TZYX")

    def make_format(self) -> Format:
        form: Format = plugins.get("formats", "tiff")
        return form


class TestOmeTiff(TestTiff):
    ending = ".ome.tif"


class TestPng(FormatContract):
    ending = ".png"
    axes = ("YX",)
    keeps_pixel_size = False
    keeps_floats = False

    def make_format(self) -> Format:
        form: Format = plugins.get("formats", "picture")
        return form


class TestNpy(FormatContract):
    ending = ".npy"
    keeps_axes = False
    keeps_pixel_size = False

    def make_format(self) -> Format:
        form: Format = plugins.get("formats", "npy")
        return form


def test_a_file_whose_ending_says_nothing_is_known_by_its_content(tmp_path: Path) -> None:
    for ending in (".tif", ".png", ".npy"):
        path = tmp_path / f"a{ending}"
        sink = create_file(path, SinkSpec((4, 5), "YX"))
        sink.write(np.s_[0:4, 0:5], np.ones((4, 5), np.uint8))
        sink.finish()
        renamed = path.rename(tmp_path / f"{ending[1:]}.image")
        assert ending in find_format(ImageRef.of(renamed)).endings


def test_two_processes_never_write_one_file(tmp_path: Path) -> None:
    spec = SinkSpec((4, 5), "YX", work="model 1")
    first = create_file(tmp_path / "a.tif", spec)
    assert not first.is_written(np.s_[0:4, 0:5])
    first.write(np.s_[0:4, 0:5], np.ones((4, 5), np.uint8))
    second = create_file(tmp_path / "a.tif", spec)
    with pytest.raises(ProjectError, match=r"a\.tif' is being written by another process"):
        second.is_written(np.s_[0:4, 0:5])
    second.discard()
    first.close()
    third = create_file(tmp_path / "a.tif", spec)
    assert third.is_written(np.s_[0:4, 0:5])
    third.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_an_ending_that_cannot_be_written_is_refused_with_those_that_can(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="does not end in a format that can be written") as caught:
        create_file(tmp_path / "a.czi", SinkSpec((4, 5), "YX"))
    assert ".ome.tif, " in caught.value.way_out
    with pytest.raises(ImageError):
        create_file(tmp_path / "a.jpg", SinkSpec((4, 5), "YX"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process")
def test_all_regions_that_reached_the_disk_survive_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "COMMIT_EVERY_S", 0.0)
    child = os.fork()
    if child == 0:
        try:
            staged = StagedArray(tmp_path / "a", (4, 6), np.uint8, work="w")
            staged.write(np.s_[0:1, 0:6], 7)
            staged.write(np.s_[1:2, 0:6], 8)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    staged = StagedArray(tmp_path / "a", (4, 6), np.uint8, work="w")
    assert staged.is_written(np.s_[0:2, 0:6])
    assert not staged.is_written(np.s_[1:3, 0:6])
    assert staged.open()[:, 0].tolist() == [7, 8, 0, 0]
    staged.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", [1, 5, 20, 60, 90, -1])
def test_a_journal_cut_anywhere_names_only_regions_that_were_written(
    tmp_path: Path, end: int
) -> None:
    staged = StagedArray(tmp_path / "a", (4, 6), np.uint8, work="w")
    for row in range(4):
        staged.write((slice(row, row + 1), slice(0, 6)), row + 1)
        staged.commit()
    staged.close()
    journal = tmp_path / "a.journal"
    journal.write_bytes(journal.read_bytes()[:end])
    again = StagedArray(tmp_path / "a", (4, 6), np.uint8, work="w")
    for row in range(4):
        if again.is_written((slice(row, row + 1), slice(0, 6))):
            assert (again.open()[row] == row + 1).all()
    again.close()


def test_other_work_or_another_shape_is_begun_anew(tmp_path: Path) -> None:
    for shape, work in (((4, 6), "w"), ((4, 6), "v"), ((6, 4), "v")):
        staged = StagedArray(tmp_path / "a", shape, np.uint8, work=work)
        assert not staged.is_written(np.s_[0:1, 0:1])
        assert not staged.open().any()
        staged.write(np.s_[0:1, 0:1], 1)
        staged.close()
