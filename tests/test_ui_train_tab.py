"""The Train tab in a real napari window: choose, plan, train, watch, cancel, go on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("napari")

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLineEdit
from ui_window import TabWindow

from maskloop import Project
from maskloop.events import Started
from maskloop.samples import simulate_pairs
from maskloop.ui.plan_table import BACK, VALUE
from maskloop.ui.tabs.train import TrainTab

TINY: dict[str, Any] = {
    "base_channels": 2,
    "depth": 1,
    "patch_size": (32, 32),
    "batch_size": 2,
    "save_every_s": 0.0,
}
LONG = {**TINY, "epochs": 5000, "patience": 5000}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    project = Project.create(tmp_path / "cells", mode="binary")
    for image, labels in simulate_pairs(3, shape=(64, 64), seed=1):
        project.dataset.accept(image, labels)
    return project.folder


@pytest.fixture
def window(viewer: Any, qtbot: Any, tmp_path: Path) -> Iterator[TabWindow]:
    made = TabWindow(viewer, qtbot, TrainTab, tmp_path)
    yield made
    made.close()


def value_of(tab: TrainTab, label: str) -> tuple[int, str]:
    index = next(
        row for row in range(tab.table.rowCount()) if tab.table.item(row, 0).text() == label
    )
    return index, tab.table.item(index, VALUE).text()


def click_cell(window: TabWindow, index: int, column: int, *, twice: bool = False) -> None:
    table = window.tab.table
    window.tab.area.ensureWidgetVisible(table)
    place = table.visualItemRect(table.item(index, column)).center()
    window.qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    if twice:
        window.qtbot.mouseDClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)


def test_without_pairs_the_button_says_why(window: TabWindow, tmp_path: Path) -> None:
    Project.create(tmp_path / "empty")
    window.open(tmp_path / "empty")
    tab = window.tab
    window.until(
        lambda: tab.train_button.toolTip() == "There are no pairs yet: add one in Dataset."
    )
    assert not tab.train_button.isEnabled()


def test_how_long_the_plan_takes_is_told_in_a_list_that_stays_open(
    window: TabWindow, folder: Path
) -> None:
    tab = window.tab
    begun: list[int] = []
    tab.time.model().rowsRemoved.connect(lambda *_: begun.append(1))
    window.open(folder)
    tab.time.showPopup()
    window.until(lambda: tab.time.itemText(0).startswith("Automatic (up to "))
    assert tab.time.view().isVisible()
    assert not begun
    tab.time.hidePopup()


def test_a_value_is_typed_over_and_given_back_with_the_mouse(
    window: TabWindow, folder: Path
) -> None:
    window.open(folder)
    tab = window.tab
    window.until(lambda: tab.table.rowCount() > 10)
    index, planned = value_of(tab, "Epochs")
    click_cell(window, index, VALUE, twice=True)
    editor = tab.table.findChild(QLineEdit)
    editor.selectAll()
    window.qtbot.keyClicks(editor, "12")
    window.qtbot.keyClick(editor, Qt.Key.Key_Return)
    window.until(lambda: tab.plan.choices == {"epochs": 12})
    assert tab.table.item(index, VALUE).font().bold()
    window.until(lambda: tab.plan.proposal.plan.epochs == 12)
    window.until(lambda: Project.open(folder).config.training_choices == {"epochs": 12})
    click_cell(window, index, BACK)
    assert tab.plan.choices == {}
    window.until(lambda: value_of(tab, "Epochs")[1] == planned)


def test_a_training_is_started_watched_and_cancelled_with_the_mouse(
    window: TabWindow, folder: Path
) -> None:
    window.open(folder)
    tab = window.tab
    assert tab.start.currentText() == "From scratch"
    tab.plan.set_choices(LONG)
    window.click(tab.train_button)
    window.until(lambda: not tab.train_button.isEnabled())
    assert tab.train_button.toolTip() == "A training is running."
    window.until(
        lambda: tab.picture.image is not None and tab.loss.isVisible() and tab.score.isVisible()
    )
    first = tab.caption.text()
    window.until(lambda: tab.caption.text() != first)
    assert not tab.picture.image.isNull()
    window.click(tab.cancel_button)
    window.until(
        lambda: tab.outcome.isVisible() and "are kept as unet_run_001" in tab.outcome.text()
    )
    window.until(lambda: tab.start.currentText() == "Continue from latest (unet_run_001)")
    assert any("Cancelled at epoch" in text for text in window.told)
    assert not tab.resume_button.isVisible()


def test_a_killed_training_is_told_and_goes_on_with_the_mouse(
    window: TabWindow, folder: Path
) -> None:
    window.open(folder)
    tab = window.tab
    processes: list[int] = []
    tab.training.run.told.connect(
        lambda told: processes.extend(one.process_id for one in told if isinstance(one, Started))
    )
    tab.plan.set_choices({**TINY, "epochs": 40, "patience": 40})
    window.click(tab.train_button)
    window.until(lambda: tab.training.progress.epoch > 1)
    os.kill(processes[0], signal.SIGKILL)
    window.until(lambda: tab.resume_notice.isVisible() and tab.resume_button.isVisible())
    assert "was interrupted after epoch" in tab.resume_notice.text()
    assert "stopped unexpectedly" in tab.outcome.text()
    window.click(tab.resume_button)
    window.until(lambda: tab.outcome.isVisible() and "Finished: unet_run_001" in tab.outcome.text())
    assert not any("Traceback" in text for text in window.told)


def test_a_training_goes_on_when_the_window_is_closed_and_is_followed_in_the_next(
    window: TabWindow, make_viewer: Any, qtbot: Any, folder: Path, tmp_path: Path
) -> None:
    window.open(folder)
    tab = window.tab
    tab.plan.set_choices(LONG)
    window.click(tab.train_button)
    window.until(lambda: tab.training.progress.epoch)
    window.session.close()
    other = TabWindow(make_viewer(), qtbot, TrainTab, tmp_path)
    try:
        other.open(folder)
        tab = other.tab
        other.until(lambda: tab.picture.image is not None and "running for" in tab.training.words)
        other.click(tab.cancel_button)
        other.until(lambda: tab.outcome.isVisible())
    finally:
        other.close()
