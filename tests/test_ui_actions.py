"""Actions, choices, and a tab as a newcomer would add it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("napari")

from psygnal import Signal
from qtpy.QtCore import Qt

from maskloop import Project
from maskloop.samples import simulate_pairs
from maskloop.ui import dock as dock_module
from maskloop.ui.actions import Action, ActionButton
from maskloop.ui.choice import Choice
from maskloop.ui.chosen import Chosen
from maskloop.ui.controllers.base import Controller
from maskloop.ui.dock import MaskloopDock
from maskloop.ui.session import Session
from maskloop.ui.tabs.base import Tab
from maskloop.ui.widgets import Line

DEADLINE_MS = 60_000


class Door:
    """Something that can be opened once."""

    moved = Signal()

    def __init__(self) -> None:
        self.is_open = False

    def open(self) -> None:
        self.is_open = True
        self.moved.emit()

    def why_not(self) -> str | None:
        return "It is open already." if self.is_open else None


def test_a_button_follows_its_action(qtbot: Any) -> None:
    door = Door()
    action = Action(
        lambda: "Opened" if door.is_open else "Open", door.open, door.why_not, "Open the door"
    )
    button = ActionButton(action, door.moved)
    qtbot.addWidget(button)
    line = button.reason_line()
    qtbot.addWidget(line)
    assert (button.text(), button.isEnabled(), button.toolTip()) == ("Open", True, "Open the door")
    assert not line.isVisibleTo(None)
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert (button.text(), button.isEnabled()) == ("Opened", False)
    assert button.toolTip() == button.reason == line.text() == "It is open already."
    door.is_open = False
    button.refresh()
    assert button.isEnabled()
    assert button.reason is None
    assert line.text() == ""


def test_a_button_says_its_shortcut(qtbot: Any) -> None:
    action = Action("Predict", lambda: None, tooltip="Predict it", shortcut="Ctrl+Shift+Return")
    button = ActionButton(action)
    qtbot.addWidget(button)
    assert button.toolTip() == f"Predict it ({action.keys})"


def test_a_choice_tells_values_that_a_person_chose_and_only_those(qtbot: Any) -> None:
    choice = Choice("Limit", [(None, "Automatic"), (60.0, "1 min", "A short one")])
    qtbot.addWidget(choice)
    told: list[Any] = []
    choice.chosen.connect(told.append)
    choice.show_options([(None, "Automatic (up to 2 min)"), (60.0, "1 min")], 60.0)
    assert (choice.value, choice.currentText()) == (60.0, "1 min")
    assert choice.itemText(0) == "Automatic (up to 2 min)"
    assert told == []
    choice.setCurrentIndex(0)
    choice.activated.emit(0)
    assert told == [None]
    assert choice.value is None
    choice.show_options([("a", "A"), (None, "none")], None)
    assert choice.currentText() == "none"


class CountController(Controller):
    """Counts the pairs, as a newcomer's controller would."""

    def __init__(self, workspace: Any) -> None:
        super().__init__(workspace)
        self.count = 0
        self.forgotten = 0

    def take(self, snapshot: Any) -> None:
        self.count = len(snapshot.pairs)
        self.changed.emit()

    def reset(self, project: Any) -> None:
        self.count = 0
        self.forgotten += 1

    def drop_one(self) -> None:
        def remove(project: Project) -> None:
            project.dataset.remove(project.dataset.pairs[0].pair_id)

        self._workspace.do(remove, said=lambda _: "Removed one")

    @property
    def why_not_drop(self) -> str | None:
        return self._workspace.snapshot.why_not_write


class CountTab(Tab):
    """Shows how many pairs there are, and can remove one."""

    title = "Count"

    def __init__(self, session: Session, chosen: Chosen) -> None:
        super().__init__(session, chosen)
        self.counter = CountController(session.workspace)
        self.words = Line()
        self.drop = ActionButton(
            Action(
                "Remove one",
                self.counter.drop_one,
                lambda: self.counter.why_not_drop,
                "Remove the first pair",
                "Ctrl+Shift+Backspace",
            ),
            self.counter.changed,
        )
        self.fill([self.words], always=[self.drop])
        self.counter.changed.connect(self._show)

    @property
    def shortcuts(self) -> Sequence[Action]:
        return (self.drop.action,)

    def _show(self) -> None:
        self.words.setText(f"{self.counter.count} pairs")


def test_a_new_tab_is_one_class_and_one_line(
    make_viewer: Any, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dock_module, "TABS", (*dock_module.TABS, CountTab))
    project = Project.create(tmp_path / "cells", mode="instances")
    for image, labels in simulate_pairs(2, shape=(64, 64), seed=3):
        project.dataset.accept(image, labels)
    _, dock = make_viewer().window.add_plugin_dock_widget("maskloop")
    assert isinstance(dock, MaskloopDock)
    tab = dock.tab(CountTab)
    assert dock.tabs.tabText(dock.tabs.indexOf(tab)) == "Count"
    assert f"{tab.drop.action.keys} remove one" in dock.help.text()
    assert "No project is open" in tab.drop.toolTip()
    dock.open_project(tmp_path / "cells")
    qtbot.waitUntil(lambda: tab.words.text() == "2 pairs", timeout=DEADLINE_MS)
    dock.tabs.setCurrentWidget(tab)
    qtbot.mouseClick(tab.drop, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(
        lambda: len(dock.session.workspace.snapshot.active_pairs) == 1, timeout=DEADLINE_MS
    )
    assert tab.counter.forgotten == 1
