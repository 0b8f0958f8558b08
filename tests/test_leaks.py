"""The check for what a window leaves behind, run on tests that leave something behind."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import leaks
import pytest

pytest.importorskip("napari")

TESTS = Path(__file__).parent
LEAKS = """
import subprocess
import sys
import threading
import pytest
from qtpy.QtCore import QRunnable, QThread, QThreadPool, QTimer
from qtpy.QtWidgets import QWidget
import leaks

leaks.DEADLINE_S = leaks.PROCESS_DEADLINE_S = 0.05
kept = []
over = threading.Event()

@pytest.fixture(scope="module", autouse=True)
def end():
    yield
    over.set()
    for one in kept:
        if isinstance(one, subprocess.Popen):
            one.communicate()
        if isinstance(one, QThread):
            one.quit()
        if isinstance(one, (QThread, QTimer, QWidget)):
            one.wait() if isinstance(one, QThread) else one.deleteLater()
    QThreadPool.globalInstance().waitForDone()

def test_widget(qtbot):
    kept.append(QWidget())

def test_timer(qtbot):
    kept.append(QTimer())
    kept[-1].start(60_000)

def test_thread_of_qt(qtbot):
    kept.append(QThread())
    kept[-1].start()

def test_process(qtbot):
    kept.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))

def test_thread_of_python(qtbot):
    kept.append(threading.Thread(target=over.wait, name="still here"))
    kept[-1].start()

def test_failed_tests_are_not_told_twice(qtbot):
    kept.append(QWidget())
    raise ValueError("only this")

def test_skipped(qtbot):
    pytest.skip("nothing to look at")

def test_clean(qtbot):
    pass

def test_thread_pool(qtbot):
    QThreadPool.globalInstance().start(over.wait)
"""
WITHOUT_QTBOT = """
def test_hidden():
    from qtpy.QtWidgets import QApplication
    import builtins
    builtins.kept = QApplication([])
"""


@pytest.fixture
def run(viewer: Any, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    # The bot only says whether there is a screen, and why not.
    monkeypatch.setenv("PYTHONPATH", str(TESTS), prepend=":")
    pytester.makeini("[pytest]\nqt_api = pyside6\n")
    return pytester


def outcome(run: pytest.Pytester, source: str) -> pytest.RunResult:
    run.makepyfile(test_inner=source)
    return run.runpytest_subprocess(
        "-p", "leaks", "-p", "no:hypothesispytest", "-W", "ignore", timeout=120
    )


def test_what_outlives_a_test_fails_it(run: pytest.Pytester) -> None:
    found = outcome(run, LEAKS)
    found.assert_outcomes(passed=7, failed=1, skipped=1, errors=6)
    found.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_widget*",
            "*left behind by the test: QWidget ''*",
            "*ERROR at teardown of test_timer*",
            "*left behind by the test: QTimer ''*",
            "*ERROR at teardown of test_thread_of_qt*",
            "*left behind by the test: QThread ''*",
            "*ERROR at teardown of test_process*",
            "*left behind by the test: process '*input()*",
            "*ERROR at teardown of test_thread_of_python*",
            "*left behind by the test: thread 'still here'*",
            "*ERROR at teardown of test_thread_pool*",
            "*left behind by the test: work in the thread pool of Qt*",
        ]
    )


def test_a_check_that_sees_no_timers_fails(qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import shiboken6

    blind = SimpleNamespace(getAllValidWrappers=list)
    monkeypatch.setattr(shiboken6, "Shiboken", blind)
    with pytest.raises(AssertionError, match="does not see a QTimer, a QThread"):
        leaks.prove_that_leaks_are_seen()
    del blind.getAllValidWrappers
    with pytest.raises(AttributeError, match="getAllValidWrappers"):
        leaks.prove_that_leaks_are_seen()
    monkeypatch.undo()
    leaks.prove_that_leaks_are_seen()


def test_a_check_that_sees_no_widgets_fails(qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from qtpy.QtWidgets import QApplication

    with monkeypatch.context() as patched:
        patched.setattr(QApplication, "topLevelWidgets", staticmethod(list))
        with pytest.raises(AssertionError, match="does not see a QWidget"):
            leaks.prove_that_leaks_are_seen()


def test_a_test_that_nobody_reported_on_fails(request: pytest.FixtureRequest) -> None:
    item: Any = SimpleNamespace(stash=pytest.Stash())
    with pytest.raises(AssertionError, match="nobody reported how the test went"):
        leaks.has_passed(item)
    assert request.node.stash[leaks.REPORTS]["setup"].passed


def test_a_window_without_qtbot_fails(run: pytest.Pytester) -> None:
    found = outcome(run, WITHOUT_QTBOT)
    found.assert_outcomes(passed=1, errors=1)
    found.stdout.fnmatch_lines(["*a test that uses Qt must ask for qtbot*"])
