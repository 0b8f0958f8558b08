"""Measurements that people write: the template, the check, and the verb ``plugins``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from maskloop import measure_objects, plugins
from maskloop.cli import app
from maskloop.errors import BrokenPlugin, UsageError
from maskloop.images.image import Image
from maskloop.images.writers import write_image, write_labels
from maskloop.measure.check import find_problems
from maskloop.measure.files import TableSettings, file_sha256, measure_files
from maskloop.measure.plugin_files import load_measurement, write_template
from maskloop.measure.sources import find_sources


def run(*words: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["plugins", *map(str, words)])
    return done.exit_code, done.output


def test_the_template_keeps_the_contract_and_its_own_test_passes(tmp_path: Path) -> None:
    source, test = write_template(tmp_path, "spot_contrast")
    measurement = load_measurement(source)
    assert (measurement.name, type(measurement).__name__) == ("spot_contrast", "SpotContrast")
    assert find_problems(measurement) == ()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test.name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout


@pytest.mark.parametrize("name", ["Spots", "2spots", "spot count", "class", "../spots", ""])
def test_a_template_needs_a_name_that_a_module_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is not a valid name for a measurement"):
        write_template(tmp_path, name)


def test_a_template_replaces_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_spots.py").write_text("mine")
    with pytest.raises(UsageError, match=r"test_spots.py' exists already"):
        write_template(tmp_path, "spots")
    assert [path.name for path in tmp_path.iterdir()] == ["test_spots.py"]


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("x = 1\n", UsageError, "defines no MEASUREMENT with a name"),
        ("MEASUREMENT = 3\n", UsageError, "defines no MEASUREMENT with a name"),
        ("1 / 0\n", BrokenPlugin, "cannot be loaded: ZeroDivisionError: division by zero"),
        ("def\n", BrokenPlugin, "cannot be loaded: SyntaxError"),
    ],
)
def test_a_file_without_a_measurement_is_refused(
    tmp_path: Path, text: str, error: type[Exception], words: str
) -> None:
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(error, match=words):
        load_measurement(tmp_path / "mine.py")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no file"):
        load_measurement(tmp_path / "gone.py")


def test_a_measurement_of_a_file_fills_its_columns_and_is_named_by_its_hash(
    tmp_path: Path,
) -> None:
    source, _ = write_template(tmp_path, "mine")
    image = np.arange(16, dtype=np.uint8).reshape(4, 4)
    write_image(tmp_path / "a.tif", Image(image, "YX"))
    write_labels(tmp_path / "a_labels.tif", (image > 5).astype(np.uint8), axes="YX")
    sources = find_sources([tmp_path / "a_labels.tif"], tmp_path, mode="instances")
    how = TableSettings(measurements=("mine",), plugins=(str(source),))
    note = measure_files(sources, tmp_path / "t.csv", how=how)
    assert note.plugins == {str(source): file_sha256(source)}
    assert pd.read_csv(tmp_path / "t.csv")["mine_channel_1"].notna().all()


def test_the_verb_lists_every_kind() -> None:
    code, output = run("list")
    assert code == 0
    assert "measurements" in output
    assert "neighbors" in output
    assert json.loads(run("--json")[1])["measurements"][0] == "position"


def test_the_verb_begins_and_checks_a_measurement(tmp_path: Path) -> None:
    code, output = run("new", "roundness", "--out", tmp_path)
    assert code == 0, output
    assert "maskloop plugins check" in output
    assert run("check", tmp_path / "roundness.py") == (
        0,
        "roundness passes all checks.\n",
    )
    assert run("check", "shape")[0] == 0
    text = (tmp_path / "roundness.py").read_text()
    (tmp_path / "roundness.py").write_text(text.replace("return found", "return {}"))
    code, output = run("check", tmp_path / "roundness.py", "--json")
    assert code == 1
    assert "returned columns differ from the declared ones" in json.loads(output)["problems"][0]


@pytest.mark.parametrize("action", ["check", "new"])
def test_the_verb_asks_for_what_is_missing(action: str) -> None:
    code, output = run(action)
    assert code == 1
    assert f"maskloop plugins {action} my_measurement" in output


def test_an_unknown_measurement_is_answered_with_the_known_ones() -> None:
    code, output = run("check", "texture")
    assert code == 1
    assert "'texture' is not one of the measurements: position, size" in output


def test_an_installed_measurement_is_made_without_a_line_in_maskloop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One new file, and one line of the package that brings it."""
    source, _ = write_template(tmp_path, "sharpness")
    offers = tmp_path / "sharp-1.0.dist-info"
    offers.mkdir()
    (offers / "METADATA").write_text("Metadata-Version: 2.1\nName: sharp\nVersion: 1.0\n")
    (offers / "entry_points.txt").write_text(
        f"[maskloop.measurements]\nsharpness = {source.stem}:MEASUREMENT\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "sharpness", raising=False)
    plugins.forget_installed()
    try:
        labels = Image(np.array([[0, 1, 1, 0]]), "YX")
        image = Image(np.array([[9, 5, 7, 9]]), "YX", channel_names=("DAPI",))
        assert "sharpness_DAPI" in measure_objects(labels, image)
        assert "sharpness" in run("list")[1]
    finally:
        plugins.forget_installed()
        sys.modules.pop("sharpness", None)
