"""The whole loop in a real napari window, as a person does it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")

from qtpy.QtCore import QPoint, Qt

from maskloop import Project
from maskloop.samples import simulate_pairs
from maskloop.ui.dock import MaskloopDock
from maskloop.ui.new_project import NewProjectDialog
from maskloop.ui.tabs.checkpoints import CheckpointsTab
from maskloop.ui.tabs.dataset import DatasetTab
from maskloop.ui.tabs.predict import PredictTab
from maskloop.ui.tabs.train import TrainTab

LEFT = Qt.MouseButton.LeftButton
SMALL = {
    "epochs": 60,
    "base_channels": 8,
    "depth": 2,
    "patch_size": (64, 64),
    "batch_size": 4,
    "patience": 60,
}


class Person:
    """Looks at a window, clicks, draws and waits."""

    def __init__(self, viewer: Any, qtbot: Any) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        _, dock = viewer.window.add_plugin_dock_widget("maskloop")
        assert isinstance(dock, MaskloopDock)
        self.dock, self.session = dock, dock.session

    def until(self, is_true: Callable[[], object]) -> None:
        """Wait for something to be seen."""
        self.qtbot.waitUntil(lambda: bool(is_true()), timeout=120_000)

    def click(self, button: Any) -> None:
        """Click a button as soon as it may be clicked."""
        self.until(button.isEnabled)
        self.qtbot.mouseClick(button, LEFT)

    def open_tab(self, tab: Any) -> None:
        """Click on the title of a tab."""
        bar = self.dock.tabs.tabBar()
        self.qtbot.mouseClick(bar, LEFT, pos=bar.tabRect(self.dock.tabs.indexOf(tab)).center())
        assert self.dock.tabs.currentWidget() is tab

    def draw(self, layer: Any, label: int) -> None:
        """Draw a stroke with the mouse in the middle of the canvas."""
        self.viewer.reset_view()
        layer.mode, layer.selected_label, layer.brush_size = "paint", label, 8
        canvas = self.viewer.window._qt_viewer.canvas.native
        middle = QPoint(canvas.width() // 2, canvas.height() // 2)
        self.qtbot.mousePress(canvas, LEFT, pos=middle)
        self.qtbot.mouseMove(canvas, middle + QPoint(20, 5))
        self.qtbot.mouseRelease(canvas, LEFT, pos=middle + QPoint(20, 5))

    @property
    def pairs(self) -> int:
        """How many pairs the window knows of."""
        return len(self.session.workspace.snapshot.active_pairs)


def test_the_loop_is_done_in_the_window_and_gone_on_with_another_day(
    make_viewer: Any, qtbot: Any, tmp_path: Path
) -> None:
    person = Person(make_viewer(), qtbot)
    dock, viewer, folder = person.dock, person.viewer, tmp_path / "nuclei"

    # A project of one's own.
    person.click(dock.bar.new)
    dialog = dock.findChild(NewProjectDialog)
    qtbot.keyClicks(dialog.folder, str(folder))
    qtbot.mouseClick(dialog.modes.button(0), LEFT)
    person.click(dialog.create)
    person.until(lambda: person.session.workspace.snapshot.condition == "valid")

    # Draw a mask with the mouse and accept it.
    viewer.add_image(np.pad(np.full((24, 40), 900, np.uint16), 20), name="drawn by hand")
    person.click(dock.tab(DatasetTab).new_mask_button)
    mask = viewer.layers[-1]
    person.draw(mask, 1)
    assert mask.data.any()
    person.until(lambda: "will be saved" in dock.tab(DatasetTab).description.text())
    person.click(dock.tab(DatasetTab).accept_button)
    person.until(lambda: person.pairs == 1)
    saved = (
        Project.open(folder)
        .dataset.read_mask(person.session.workspace.snapshot.pairs[0].pair_id)
        .read()
    )
    assert np.array_equal(saved, mask.data > 0)

    # Three more whose masks were made before.
    for number, (image, labels) in enumerate(simulate_pairs(3, shape=(96, 96), seed=5)):
        viewer.layers.clear()
        viewer.add_image(image, name=f"field {number}")
        viewer.add_labels(labels, name=f"field {number} mask")
        person.until(
            lambda: "will be saved as foreground" in dock.tab(DatasetTab).description.text()
        )
        person.click(dock.tab(DatasetTab).accept_button)
        person.until(lambda number=number: person.pairs == number + 2)
    person.session.pairs.remove([person.session.workspace.snapshot.pairs[0].pair_id])
    person.until(lambda: person.pairs == 3)

    # Train, and see it learn.
    person.open_tab(dock.tab(TrainTab))
    for name, value in SMALL.items():
        person.session.plan.set_choice(name, value)
    person.click(dock.tab(TrainTab).train_button)
    person.until(
        lambda: dock.tab(TrainTab).picture.isVisible() and dock.tab(TrainTab).loss.listDataItems()
    )
    person.until(
        lambda: (
            person.session.workspace.snapshot.checkpoints and not person.session.training.is_active
        )
    )
    person.until(lambda: "unet_run_001" in dock.tab(TrainTab).outcome.text())
    assert "unet_run_001" in dock.bar.facts.text()

    # Predict an image that it has not seen.
    unseen, truth = simulate_pairs(1, shape=(96, 96), seed=77)[0]
    viewer.layers.clear()
    viewer.add_image(unseen, name="unseen", scale=(0.5, 0.5))
    person.open_tab(dock.tab(PredictTab))
    person.click(dock.tab(PredictTab).layer.button)
    person.until(lambda: len(viewer.layers) == 2)
    found = viewer.layers[-1]
    dice = (
        2
        * np.count_nonzero((found.data > 0) & (truth > 0))
        / (np.count_nonzero(found.data) + np.count_nonzero(truth))
    )
    assert dice > 0.8
    assert tuple(found.scale) == (0.5, 0.5)

    # Correct it and take it back in one step.
    before = found.data.copy()
    found.data[:] = truth > 0
    person.draw(found, 1)
    assert not np.array_equal(found.data, before)
    person.click(dock.tab(PredictTab).correction.button)
    person.until(lambda: person.pairs == 4)
    newest = person.session.workspace.snapshot.active_pairs[-1]
    assert newest.source == "corrected_prediction"
    assert newest.metadata["checkpoint_id"] == "unet_run_001"
    assert newest.is_new
    viewer.window.remove_dock_widget(dock)

    # Another day: all is there, and the next training goes on from it.
    again = Person(make_viewer(), qtbot)
    again.dock.open_project(folder)
    again.until(lambda: again.pairs == 4)
    again.open_tab(again.dock.tab(TrainTab))
    again.until(lambda: "unet_run_001" in again.dock.tab(TrainTab).start.currentText())
    assert again.session.plan.choices["base_channels"] == 8
    again.open_tab(again.dock.tab(CheckpointsTab))
    assert [row.checkpoint_id for row in again.dock.tab(CheckpointsTab).model.shown] == [
        "unet_run_001"
    ]
    again.open_tab(again.dock.tab(PredictTab))
    assert [row.image for row in again.dock.tab(PredictTab).kept.model.shown] == ["layer unseen"]
