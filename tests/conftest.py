"""What all tests share."""

from __future__ import annotations

import importlib.util
import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# Imported by pytest alone, inside functions below: before, it could not explain its assertions.
pytest_plugins = ("leaks", "pytester")

# Small networks are quickest on one thread, and threads that wait for each other on a busy machine
# are slow beyond measure.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("QT_API", "pyside6")
# Neither napari's settings nor the list of recent projects of the person who runs the tests is read
# or written.
_SETTINGS = tempfile.TemporaryDirectory(prefix="maskloop-tests-")
os.environ["XDG_CONFIG_HOME"] = _SETTINGS.name
os.environ["NAPARI_CONFIG"] = str(Path(_SETTINGS.name) / "napari.yaml")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, help="seed of all random tests, as a failure names it")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One worker for each core when all tests run; none when single files are asked for."""
    from screen import XVFB

    if any(Path(argument.split("::")[0]).is_file() for argument in config.args):
        return 0
    # Without a screen for each worker their windows take the keyboard from each other.
    if XVFB is None:
        return 0
    # More would each import napari and torch, for little.
    return min(len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1, 4)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers, others in each run; a failure names the seed and how to run it again."""
    asked = request.config.getoption("--seed")
    seed = secrets.randbits(32) if asked is None else asked
    words = f"Repeat with: pytest '{request.node.nodeid}' --seed {seed}"
    request.node.add_report_section("setup", "seed", words)
    return np.random.default_rng(seed)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real annotated images: `shared/data` beside the checkout, or what MASKLOOP_DATA names."""
    folder = Path(os.environ.get("MASKLOOP_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not (folder / "README.md").is_file():
        pytest.skip("no annotated images in shared/data, nor in the folder named by MASKLOOP_DATA")
    return folder


# A hook and not a fixture: pytest-qt's application, which ends the process where there is no
# screen, is made before any fixture of a test.
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests of the window where there can be none."""
    from leaks import is_of_window
    from screen import has_screen, make_screen

    if not is_of_window(item):
        return
    needed = ("napari", "qtpy", "PySide6")
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        pytest.skip(f"the window needs {', '.join(missing)}: pip install 'maskloop[napari]'")
    make_screen()
    if not has_screen():
        pytest.skip("there is no screen and no Xvfb, which would stand in for one")


@pytest.fixture
def make_viewer(make_napari_viewer: Callable[..., Any]) -> Iterator[Callable[[], Any]]:
    """Makes napari viewers in real windows; they and their docks are closed after the test."""
    from leaks import let_go

    made = []

    def make_one() -> Any:
        viewer = make_napari_viewer(show=True, strict_qt="raise")
        assert hasattr(viewer.window, "_qt_window"), "napari's window has another name by now"
        made.append(viewer)
        return viewer

    yield make_one
    for viewer in made:
        # A test may have closed its window, as a person does; napari then drops this name.
        if hasattr(viewer.window, "_qt_window"):
            viewer.window.remove_dock_widget("all")
    let_go()


@pytest.fixture
def viewer(make_viewer: Callable[[], Any]) -> Any:
    """A napari viewer in a real window."""
    return make_viewer()
