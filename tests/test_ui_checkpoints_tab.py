"""The Checkpoints tab in a real napari window: select, note, compare, predict, export."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("napari")

from napari.layers import Labels
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog
from ui_trained import copy_trained, field
from ui_window import TabWindow

from maskloop import Project
from maskloop.ui.tabs.checkpoints import CheckpointsTab


class Window(TabWindow):
    """A project with two trainings is open."""

    def __init__(self, viewer: Any, qtbot: Any, folder: Path) -> None:
        super().__init__(viewer, qtbot, CheckpointsTab, folder.parent)
        self.folder = folder
        self.open(folder)
        self.until(lambda: len(self.tab.model.shown) == 2)

    def choose(
        self, row: int, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier
    ) -> None:
        view = self.tab.table.view
        self.tab.area.ensureWidgetVisible(view)
        place = view.visualRect(self.tab.model.index(row, 0)).center()
        self.qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, modifier, place)


@pytest.fixture
def window(
    viewer: Any, qtbot: Any, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Window]:
    made = Window(viewer, qtbot, copy_trained(tmp_path_factory, tmp_path / "cells"))
    yield made
    made.close()


def test_a_checkpoint_is_noted_and_chosen_with_the_mouse(window: Window) -> None:
    one = window.tab.one
    assert one.export.toolTip() == "Select one checkpoint in the table."
    assert not one.note.isEnabled()
    window.choose(1)
    assert (
        one.ancestry.text()
        == "unet_run_002 \N{LEFTWARDS ARROW} unet_run_001 \N{LEFTWARDS ARROW} scratch"
    )
    window.click(one.note)
    window.qtbot.keyClicks(one.note, "a good start")
    window.qtbot.keyClick(one.note, Qt.Key.Key_Return)
    window.until(lambda: window.tab.model.shown[1].note == "a good start")
    assert [row.checkpoint_id for row in window.tab.table.selected()] == ["unet_run_002"], (
        "new rows keep the choice"
    )
    window.choose(0)
    assert one.note.text() == ""
    window.click(one.predict)
    assert window.session.prediction.checkpoint == "unet_run_001"
    window.click(one.proceed)
    window.until(lambda: Project.open(window.folder).weights.start.checkpoint_id == "unet_run_001")


def test_a_note_that_is_being_typed_is_kept_when_another_is_chosen(window: Window) -> None:
    window.choose(0)
    window.click(window.tab.one.note)
    window.qtbot.keyClicks(window.tab.one.note, "half a thou")
    window.choose(1)
    window.until(
        lambda: Project.open(window.folder).checkpoints.get("unet_run_001").note == "half a thou"
    )
    assert Project.open(window.folder).checkpoints.get("unet_run_002").note == ""


def test_a_checkpoint_is_exported_by_a_dialog(window: Window, tmp_path: Path) -> None:
    window.choose(0)
    window.click(window.tab.one.export)
    dialog = window.tab.one.findChild(QFileDialog)
    dialog.fileSelected.emit(str(tmp_path / "mine.pt"))
    dialog.reject()
    window.until(lambda: any("was copied to" in text for text in window.told))
    assert (tmp_path / "mine.pt").read_bytes() == (
        window.folder / "checkpoints/unet_run_001.pt"
    ).read_bytes()


def test_two_checkpoints_are_compared_and_predict_side_by_side(window: Window) -> None:
    two = window.tab.two
    window.choose(1)
    window.choose(0, Qt.KeyboardModifier.ControlModifier)
    assert two.words.text() == "First unet_run_001, second unet_run_002"
    shown = {what: (ours, theirs) for what, ours, theirs in two.model.shown}
    assert shown["Epochs"] == ("2", "3")
    assert "No image layer" in two.button.toolTip()
    window.viewer.add_image(field(), name="well")
    window.click(two.button)
    window.until(
        lambda: len([layer for layer in window.viewer.layers if isinstance(layer, Labels)]) == 2
    )
    assert [layer.name for layer in window.viewer.layers] == [
        "well",
        "well unet_run_001",
        "well unet_run_002",
    ]
