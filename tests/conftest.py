"""What all tests share."""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Small networks are quickest on one thread, and threads that wait for each other on a busy machine
# are slow beyond measure.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("QT_API", "pyside6")
# Neither napari's settings nor the list of recent projects of the person who runs the tests is read
# or written.
_SETTINGS = tempfile.TemporaryDirectory(prefix="maskloop-tests-")
os.environ["XDG_CONFIG_HOME"] = _SETTINGS.name
os.environ["NAPARI_CONFIG"] = str(Path(_SETTINGS.name) / "napari.yaml")

DEADLINE_S = 5.0
"""What was told to end has this long to do so."""


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real annotated images, where they are there: `shared/data` beside the checkout, or what MASKLOOP_DATA names."""
    folder = Path(os.environ.get("MASKLOOP_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not (folder / "README.md").is_file():
        pytest.skip(
            "the real annotated images (shared/data, or the folder named by MASKLOOP_DATA) are not here"
        )
    return folder


def _is_of_window(item: Any) -> bool:
    return not {"qtbot", "make_viewer"}.isdisjoint(item.fixturenames)


# A hook and not a fixture: pytest-qt's application, which ends the process where there is no
# screen, is made before any fixture of a test.
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests of the window where there can be none."""
    if not _is_of_window(item):
        return
    if missing := [
        name for name in ("napari", "qtpy", "PySide6") if importlib.util.find_spec(name) is None
    ]:
        pytest.skip(f"the window needs {', '.join(missing)}: pip install 'maskloop[napari]'")
    if sys.platform == "linux" and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        pytest.skip("there is no screen; start one: Xvfb :99 & export DISPLAY=:99")


@pytest.fixture(autouse=True)
def nothing_of_the_window_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test of the window fails when widgets, timers or threads outlive it.

    `make_napari_viewer` looks for viewers that outlive a test, and for widgets, but not for what
    runs.
    """
    if not _is_of_window(request.node):
        yield
        return
    before, threads = _of_qt(), set(threading.enumerate())
    yield
    outcome = getattr(request.node, "rep_call", None)
    # The traceback of a failed test holds all that the test held.
    if outcome is not None and outcome.passed:
        left = _left_of_qt(before) + [
            f"thread {thread.name!r}" for thread in _python_threads(threads)
        ]
        assert not left, f"left behind by the test: {', '.join(sorted(left))}"


def _let_go() -> None:
    """Delete what was told to be deleted later."""
    from qtpy.QtCore import QCoreApplication, QEvent

    QCoreApplication.processEvents()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


def _left_of_qt(before: set[Any]) -> list[str]:
    from qtpy.QtCore import QThreadPool

    if not QThreadPool.globalInstance().waitForDone(round(DEADLINE_S * 1000)):
        return ["work in the thread pool of Qt"]
    for _ in range(3):
        _let_go()
        left = [f"{type(one).__name__} {one.objectName()!r}" for one in _of_qt() - before]
        if not left:
            break
        # It takes a while, and what is collected may hold the last reference to what is collected
        # next.
        gc.collect()
    return left


def _of_qt() -> set[Any]:
    """What Qt shows or runs: top-level widgets, timers that tick, threads that run."""
    from qtpy.QtCore import QThread, QTimer
    from qtpy.QtWidgets import QApplication
    from shiboken6 import Shiboken

    # vispy keeps the empty window of a canvas; napari's own check lets it pass as well.
    found = {
        widget
        for widget in QApplication.topLevelWidgets()
        if type(widget).__name__ != "CanvasBackendDesktop"
    }
    for one in Shiboken.getAllValidWrappers():
        if (isinstance(one, QTimer) and one.isActive()) or (
            isinstance(one, QThread) and one.isRunning()
        ):
            found.add(one)
    # The thread that looks is seen as soon as anybody has asked for it.
    return found - {QThread.currentThread()}


def _python_threads(before: set[threading.Thread]) -> list[threading.Thread]:
    left = [
        thread
        for thread in threading.enumerate()
        if thread not in before and thread not in _pool_of_dask()
    ]
    for thread in left:
        thread.join(DEADLINE_S)
    return [thread for thread in left if thread.is_alive()]


def _pool_of_dask() -> set[threading.Thread]:
    """The threads that dask keeps for the life of the process."""
    threaded = sys.modules.get("dask.threaded")
    pools = (
        [
            threaded.default_pool,
            *(pool for kept in threaded.pools.values() for pool in kept.values()),
        ]
        if threaded
        else []
    )
    return {thread for pool in pools for thread in getattr(pool, "_threads", ())}


@pytest.fixture
def make_viewer(make_napari_viewer: Callable[..., Any]) -> Iterator[Callable[[], Any]]:
    """Makes napari viewers in real windows; they and their docks are closed after the test."""
    made = []

    def make_one() -> Any:
        made.append(make_napari_viewer(show=True, strict_qt="raise"))
        return made[-1]

    yield make_one
    for viewer in made:
        # A test may have closed its window, as a person does.
        if hasattr(viewer.window, "_qt_window"):
            viewer.window.remove_dock_widget("all")
    _let_go()


@pytest.fixture
def viewer(make_viewer: Callable[[], Any]) -> Any:
    """A napari viewer in a real window."""
    return make_viewer()
