"""The dock in a real napari window: the bar, the tabs, the shortcuts, and how it ends."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")

from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QAction, QKeySequence, QWheelEvent
from qtpy.QtWidgets import QAbstractSpinBox, QApplication, QComboBox

from maskloop import Project
from maskloop.samples import simulate_pairs
from maskloop.ui.dock import MaskloopDock
from maskloop.ui.new_project import NewProjectDialog
from maskloop.ui.tabs.dataset import DatasetTab

DEADLINE_MS = 60_000


def add_dock(viewer: Any) -> MaskloopDock:
    _, dock = viewer.window.add_plugin_dock_widget("maskloop")
    assert isinstance(dock, MaskloopDock)
    return dock


def make_project(folder: Path) -> Path:
    project = Project.create(folder, mode="instances")
    for image, labels in simulate_pairs(2, shape=(64, 64), seed=3):
        project.dataset.accept(image, labels)
    return folder


def test_without_a_project_the_tabs_are_disabled_and_say_why(viewer: Any) -> None:
    dock = add_dock(viewer)
    assert [dock.tabs.tabText(index) for index in range(5)] == [
        "Dataset",
        "Train",
        "Checkpoints",
        "Predict",
        "Advanced",
    ]
    assert not any(dock.tabs.isTabEnabled(index) for index in range(5))
    assert all("select or create" in dock.tabs.tabToolTip(index) for index in range(5))


def test_a_dock_that_napari_hands_a_proxy_chooses_what_it_adds(
    viewer: Any, qtbot: Any, tmp_path: Path
) -> None:
    dock = add_dock(viewer)
    dock.open_project(make_project(tmp_path / "cells"))
    qtbot.waitUntil(
        lambda: dock.session.workspace.snapshot.condition == "valid", timeout=DEADLINE_MS
    )
    assert dock.viewer is viewer
    first = viewer.add_image(np.zeros((32, 32)), name="first")
    old = viewer.add_labels(np.zeros((32, 32), np.uint8), name="old")
    assert (dock.chosen.image.layer, dock.chosen.labels.layer) == (first, old)
    qtbot.waitUntil(dock.tab(DatasetTab).new_mask_button.isEnabled, timeout=DEADLINE_MS)
    qtbot.mouseClick(dock.tab(DatasetTab).new_mask_button, Qt.MouseButton.LeftButton)
    assert dock.chosen.labels.layer is viewer.layers[-1]
    assert dock.chosen.labels.layer is not old
    dock.tab(DatasetTab).show_pair(dock.session.workspace.snapshot.active_pairs[1].pair_id)
    qtbot.waitUntil(lambda: "pair_0002" in viewer.layers[-1].name, timeout=DEADLINE_MS)
    assert dock.chosen.labels.layer is viewer.layers[-1]
    assert "pair_0002" in dock.chosen.image.layer.name
    assert dock.tab(DatasetTab).accept_button.text() == "Replace the mask of pair_0002"


def test_a_project_is_created_with_the_mouse(viewer: Any, qtbot: Any, tmp_path: Path) -> None:
    dock = add_dock(viewer)
    qtbot.mouseClick(dock.bar.new, Qt.MouseButton.LeftButton)
    dialog = dock.findChild(NewProjectDialog)
    assert not dialog.create.isEnabled()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    dialog.folder.setText(str(tmp_path / "full"))
    assert "is not empty: it holds 'letter.txt'." in dialog.create.toolTip()
    assert not dialog.create.isEnabled()
    dialog.folder.setText("axons")
    assert dialog.path == Path.home() / "axons"
    assert str(Path.home() / "axons") in dialog.words.text()
    dialog.folder.clear()
    qtbot.keyClicks(dialog.folder, str(tmp_path / "axons"))
    qtbot.mouseClick(dialog.modes.button(1), Qt.MouseButton.LeftButton)
    assert dialog.create.toolTip() == "Name the classes, separated by commas."
    qtbot.keyClicks(dialog.classes, "axon, myelin")
    assert not (tmp_path / "axons").exists()
    qtbot.mouseClick(dialog.create, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(
        lambda: dock.session.workspace.snapshot.condition == "valid", timeout=DEADLINE_MS
    )
    assert Project.open(tmp_path / "axons").status().classes == ("background", "axon", "myelin")
    assert all(dock.tabs.isTabEnabled(index) for index in range(5))
    assert "0 pairs" in dock.bar.facts.text()


def test_a_project_of_before_is_chosen_in_the_bar(viewer: Any, qtbot: Any, tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    dock = add_dock(viewer)
    dock.open_project(folder)
    qtbot.waitUntil(lambda: "2 pairs" in dock.bar.facts.text(), timeout=DEADLINE_MS)
    assert dock.bar.selector.currentText() == "cells"
    assert dock.bar.path.toolTip() == str(folder)
    other = make_project(tmp_path / "nuclei")
    dock.open_project(other)
    qtbot.waitUntil(
        lambda: dock.bar.selector.currentText() == "nuclei" and dock.bar.selector.count() > 1,
        timeout=DEADLINE_MS,
    )
    index = dock.bar.selector.findText("cells")
    dock.bar.selector.activated.emit(index)
    qtbot.waitUntil(
        lambda: (
            dock.session.workspace.project is not None
            and dock.session.workspace.project.folder == folder
        ),
        timeout=DEADLINE_MS,
    )


def test_a_folder_that_vanished_is_told_in_the_bar(viewer: Any, qtbot: Any, tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    dock = add_dock(viewer)
    dock.open_project(folder)
    qtbot.waitUntil(
        lambda: dock.session.workspace.snapshot.condition == "valid", timeout=DEADLINE_MS
    )
    folder.rename(tmp_path / "elsewhere")
    qtbot.waitUntil(
        lambda: dock.session.workspace.snapshot.condition == "missing", timeout=DEADLINE_MS
    )
    assert not dock.tabs.isTabEnabled(0)
    assert "Move it back" in dock.bar.notice.text()


def test_the_shortcuts_are_listed_and_belong_to_nobody_else(viewer: Any) -> None:
    dock = add_dock(viewer)
    taken = {
        action.shortcut().toString() for action in viewer.window._qt_window.findChildren(QAction)
    }
    taken |= {
        QKeySequence(str(key).replace("Control", "Ctrl").replace("-", "+")).toString()
        for key in type(viewer).class_keymap
    }
    assert len(dock.shortcuts) == 5
    for action in dock.shortcuts:
        assert QKeySequence(action.shortcut).toString() not in taken
        assert action.keys in dock.help.text()


def test_labels_are_hidden_and_shown_by_their_shortcut(viewer: Any, qtbot: Any) -> None:
    add_dock(viewer)
    layer = viewer.add_labels(np.eye(8, dtype=np.uint8))
    window = viewer.window._qt_window
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow, timeout=DEADLINE_MS)
    keys = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
    qtbot.keyClick(window, Qt.Key.Key_L, keys)
    assert not layer.visible
    qtbot.keyClick(window, Qt.Key.Key_L, keys)
    assert layer.visible


def test_a_closed_dock_leaves_no_threads_behind(viewer: Any, qtbot: Any, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    dock = add_dock(viewer)
    dock.open_project(make_project(tmp_path / "cells"))
    qtbot.waitUntil(
        lambda: dock.session.workspace.snapshot.condition == "valid", timeout=DEADLINE_MS
    )
    ended = dock._end
    viewer.window.remove_dock_widget(dock)
    assert ended._application is None
    assert {
        thread for thread in threading.enumerate() if thread.name.startswith("maskloop")
    } <= before


def test_two_viewers_have_a_session_each(make_viewer: Any, qtbot: Any, tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    docks = [add_dock(make_viewer()), add_dock(make_viewer())]
    for dock in docks:
        dock.open_project(folder)
    for dock in docks:
        qtbot.waitUntil(
            lambda dock=dock: dock.session.workspace.snapshot.condition == "valid",
            timeout=DEADLINE_MS,
        )
    image, labels = simulate_pairs(1, shape=(64, 64), seed=9)[0]
    docks[0].session.workspace.do(lambda project: project.dataset.accept(image, labels))
    for dock in docks:
        qtbot.waitUntil(
            lambda dock=dock: len(dock.session.workspace.snapshot.active_pairs) == 3,
            timeout=DEADLINE_MS,
        )


def test_the_wheel_changes_nothing_that_has_no_focus(
    viewer: Any, qtbot: Any, tmp_path: Path
) -> None:
    dock = add_dock(viewer)
    dock.open_project(make_project(tmp_path / "cells"))
    qtbot.waitUntil(
        lambda: (
            dock.session.workspace.snapshot.condition == "valid"
            and not dock.session.workspace.background.is_busy
        ),
        timeout=DEADLINE_MS,
    )
    found = [*dock.findChildren(QComboBox), *dock.findChildren(QAbstractSpinBox)]
    # The plots' own menus pop up: nobody scrolls past what is in them.
    fields = [field for field in found if field.window() is dock.window()]
    assert dock.tab(DatasetTab).importing.axes in fields

    def shown(field: Any) -> str:
        return field.currentText() if isinstance(field, QComboBox) else field.text()

    changed = []
    for field in fields:
        field.clearFocus()
        before = shown(field)
        for step in (120, -120, -120):
            QApplication.sendEvent(field, turn(step))
            if shown(field) != before:
                changed.append(field.accessibleName() or before)
        # Qt would give the focus to what is scrolled over first, and then change it.
        assert not field.focusPolicy() & Qt.FocusPolicy.WheelFocus & ~Qt.FocusPolicy.StrongFocus
    assert changed == []


def turn(step: int) -> QWheelEvent:
    """One notch of the wheel."""
    nothing = Qt.KeyboardModifier.NoModifier
    place = QPointF(2, 2)
    phase = Qt.ScrollPhase.NoScrollPhase
    pressed = Qt.MouseButton.NoButton
    return QWheelEvent(place, place, QPoint(), QPoint(0, step), pressed, nothing, phase, False)
