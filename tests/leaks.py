"""A pytest plugin: a test of the window fails if widgets, timers, threads or processes outlive it.

napari's `make_napari_viewer` looks for viewers and top-level widgets, not for what runs. This
module is a plugin of its own so that `test_leaks.py` can run it on tests that do leak.

A check that sees nothing passes always. So each thing that it relies on is itself checked: the
report of the test, and that a widget, a timer and a thread made for the purpose are seen.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

DEADLINE_S = 5.0
"""What was told to end has this long to do so."""
WINDOW_FIXTURES = frozenset({"qapp", "qtbot", "make_napari_viewer"})
"""Who asks for one of these opens, or may open, windows."""
PROCESS_DEADLINE_S = 60.0
REPORTS = pytest.StashKey[dict[str, pytest.TestReport]]()


def is_of_window(item: Any) -> bool:
    """Whether a test asks, itself or through a fixture, for a window."""
    return not WINDOW_FIXTURES.isdisjoint(item.fixturenames)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Keep how each phase went: the fixtures below ask for it."""
    report = yield
    item.stash.setdefault(REPORTS, {})[report.when] = report
    return report


@pytest.fixture(autouse=True)
def nothing_of_the_window_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test of the window that leaves something behind, and any other that opens one."""
    if not is_of_window(request.node):
        had_windows = _application() is not None
        yield
        # Without the fixture nothing of this test would be looked at.
        assert had_windows or _application() is None, "a test that uses Qt must ask for qtbot"
        return
    request.getfixturevalue("leaks_are_seen")
    before = of_qt()
    threads = set(threading.enumerate())
    processes = _children()
    yield
    # The traceback of a failed test holds all that the test held.
    if has_passed(request.node):
        left = left_of_qt(before) + left_of_python(threads) + left_processes(processes)
        assert not left, f"left behind by the test: {', '.join(sorted(left))}"


def has_passed(item: pytest.Item) -> bool:
    """Whether the body of a test ran and passed.

    Raises
    ------
    AssertionError
        When nobody has said how it went.
    """
    reports = item.stash.get(REPORTS, {})
    if "setup" in reports and not reports["setup"].passed:
        return False
    assert "call" in reports, "nobody reported how the test went: no leak would ever be found"
    return reports["call"].passed


@pytest.fixture(scope="session")
def leaks_are_seen(qapp: Any) -> None:
    """What the check relies on is there."""
    prove_that_leaks_are_seen()


def prove_that_leaks_are_seen() -> None:
    """Make a widget, a timer and a thread, and look whether the check sees them.

    Raises
    ------
    AssertionError
        Names what it does not see.
    """
    from qtpy.QtCore import QThread, QTimer
    from qtpy.QtWidgets import QWidget

    widget = QWidget()
    timer = QTimer()
    thread = QThread()
    timer.start(60_000)
    thread.start()
    try:
        seen = of_qt()
        unseen = [type(one).__name__ for one in (widget, timer, thread) if one not in seen]
    finally:
        timer.stop()
        thread.quit()
        thread.wait()
        widget.deleteLater()
        let_go()
    assert not unseen, f"the check for leaks does not see a {', a '.join(unseen)}"


def _application() -> Any:
    """The application of Qt, when anybody has made one."""
    widgets = sys.modules.get("PySide6.QtWidgets")
    return widgets.QApplication.instance() if widgets else None


def let_go() -> None:
    """Delete what was told to be deleted later."""
    from qtpy.QtCore import QCoreApplication, QEvent

    QCoreApplication.processEvents()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


def left_of_qt(before: set[Any]) -> list[str]:
    """Name what Qt shows or runs and did not before, after all had time to end."""
    from qtpy.QtCore import QThreadPool

    if not QThreadPool.globalInstance().waitForDone(round(DEADLINE_S * 1000)):
        return ["work in the thread pool of Qt"]
    for _ in range(3):
        let_go()
        left = [f"{type(one).__name__} {one.objectName()!r}" for one in of_qt() - before]
        if not left:
            break
        # What is collected may hold the last reference to what is collected next.
        gc.collect()
    return left


def of_qt() -> set[Any]:
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
        ticks = isinstance(one, QTimer) and one.isActive()
        runs = isinstance(one, QThread) and one.isRunning()
        if ticks or runs:
            found.add(one)
    # The thread that looks is seen as soon as anybody has asked for it.
    return found - {QThread.currentThread()}


def left_of_python(before: set[threading.Thread]) -> list[str]:
    """Name the threads that were not there before and do not end."""
    left = [one for one in threading.enumerate() if one not in before | _pool_of_dask()]
    for thread in left:
        thread.join(DEADLINE_S)
    return [f"thread {thread.name!r}" for thread in left if thread.is_alive()]


def left_processes(before: set[psutil.Process]) -> list[str]:
    """Name the processes that were started since and do not end."""
    # On a busy machine a training that was cancelled takes a while to save and to end.
    _, left = psutil.wait_procs(_children() - before, PROCESS_DEADLINE_S)
    # A process that ended meanwhile has no command line any more.
    return [f"process {' '.join(one.cmdline())!r}" for one in left if one.is_running()]


def _children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def _pool_of_dask() -> set[threading.Thread]:
    """The threads that dask keeps for the life of the process."""
    threaded = sys.modules.get("dask.threaded")
    if threaded is None:
        return set()
    pools = [pool for kept in threaded.pools.values() for pool in kept.values()]
    if threaded.default_pool is not None:
        pools.append(threaded.default_pool)
    # No way round the private name; were it another one, these threads would be told as left.
    return {thread for pool in pools for thread in pool._threads}
