"""The Predict tab in a real napari window: predict, paint, correct and accept, with the mouse."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.layers import Labels
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QFileDialog
from ui_trained import copy_trained, field
from ui_window import TabWindow

from maskloop import Project
from maskloop.events import Started
from maskloop.images.image import Image
from maskloop.images.writers import write_image
from maskloop.ui.tabs.predict import PredictTab


class Window(TabWindow):
    """A project with two trainings is open."""

    def __init__(self, viewer: Any, qtbot: Any, folder: Path) -> None:
        super().__init__(viewer, qtbot, PredictTab, folder.parent)
        self.folder = folder
        self.open(folder)
        self.until(lambda: self.session.workspace.snapshot.checkpoints)

    def labels(self) -> list[Labels]:
        return [layer for layer in self.viewer.layers if isinstance(layer, Labels)]


@pytest.fixture
def window(
    viewer: Any, qtbot: Any, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Window]:
    made = Window(viewer, qtbot, copy_trained(tmp_path_factory, tmp_path / "cells"))
    yield made
    made.close()


def tiles_of(window: Window) -> float:
    part = window.session.prediction.progress.part
    return 0.0 if part is None else part.done


def paint(window: Window, layer: Labels) -> None:
    """Draw a stroke with the mouse in the middle of the canvas."""
    window.viewer.reset_view()
    layer.mode, layer.selected_label, layer.brush_size = "paint", 77, 10
    canvas = window.viewer.window._qt_viewer.canvas.native
    middle = QPoint(canvas.width() // 2, canvas.height() // 2)
    window.qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=middle)
    window.qtbot.mouseMove(canvas, middle + QPoint(20, 5))
    window.qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=middle + QPoint(20, 5))


def test_an_image_is_predicted_corrected_and_accepted_with_the_mouse(window: Window) -> None:
    tab = window.tab
    assert tab.layer.button.toolTip() == "No image layer. Drag an image file onto the window."
    image = window.viewer.add_image(field(), name="well", scale=(0.5, 0.5), translate=(3, 4))
    window.click(tab.layer.button)
    window.until(lambda: tab.progress.isVisible())
    window.until(window.labels)
    layer = window.labels()[0]
    assert layer.name == "well unet_run_002"
    assert np.allclose(layer.scale, image.scale)
    assert np.allclose(layer.translate, image.translate)
    assert layer.metadata["prediction_id"] == "prediction_001"
    assert tab.correction.source.text() == "Predicted with unet_run_002 from well"
    window.until(lambda: [row.image for row in tab.kept.model.shown] == ["layer well"])

    paint(window, layer)
    assert 77 in layer.data
    window.click(tab.correction.button)
    window.until(lambda: len(window.session.workspace.snapshot.active_pairs) == 4)
    pair = Project.open(window.folder).dataset.pairs[-1]
    facts = {name: pair.metadata[name] for name in ("prediction_id", "checkpoint_id", "was_edited")}
    assert (pair.source, facts) == (
        "corrected_prediction",
        {"prediction_id": "prediction_001", "checkpoint_id": "unet_run_002", "was_edited": True},
    )
    assert np.array_equal(
        Project.open(window.folder).dataset.read_mask(pair).read() > 0, layer.data > 0
    )


def test_what_was_predicted_last_is_what_is_accepted(window: Window) -> None:
    tab = window.tab
    window.viewer.add_labels(np.zeros((64, 64), np.uint8), name="drawn by hand")
    for name in ("first", "second"):
        layer = window.viewer.add_image(field(), name=name)
        window.chosen.image.choose(layer)
        window.click(tab.layer.button)
        window.until(
            lambda name=name: (
                f"{name} unet_run_002" in window.viewer.layers
                and not window.session.prediction.is_active
            )
        )
        assert window.chosen.labels.layer.name == f"{name} unet_run_002"
        assert tab.correction.source.text() == f"Predicted with unet_run_002 from {name}"
        assert tab.correction.button.isEnabled()


def test_a_slice_is_predicted_into_its_place_with_scores(window: Window) -> None:
    tab = window.tab
    stack = np.stack([field(seed) for seed in range(3)])
    window.viewer.add_image(stack, name="stack", metadata={"axes": "ZYX"})
    window.viewer.dims.set_current_step(0, 2)
    tab.layer.extent.setCurrentIndex(1)
    tab.options.probabilities.setChecked(True)
    window.click(tab.layer.button)
    window.until(window.labels)
    layer = window.labels()[0]
    assert layer.data.shape == stack.shape
    assert not layer.data[:2].any()
    tab.layer.extent.setCurrentIndex(0)
    window.click(tab.layer.button)
    window.until(lambda: len(window.viewer.layers) == 6)
    assert {one.name for one in window.viewer.layers if "unet_run_002 " in one.name} == {
        f"stack unet_run_002 {name}" for name in ("foreground", "center", "boundary")
    }
    assert window.viewer.layers.selection.active.name == "stack unet_run_002"


def test_unnamed_axes_and_wrong_channels_are_told_on_the_button(window: Window) -> None:
    window.viewer.add_image(np.zeros((3, 64, 64)), name="stack")
    assert (
        "Select the axes of 'stack' (3 dimensions) below it." in window.tab.layer.button.toolTip()
    )
    window.viewer.add_image(np.zeros((64, 64, 3), np.uint8), name="colour")
    window.chosen.image.choose_by_name("colour")
    assert "has 3 channels, unet_run_002 was trained on 1" in window.tab.layer.button.toolTip()
    window.viewer.layers.clear()
    window.tab.predict()
    assert "Nothing was predicted. No image layer" in window.told[-1]


def test_a_prediction_is_cancelled_and_a_killed_one_is_told(window: Window) -> None:
    tab = window.tab
    window.viewer.add_image(
        np.zeros((60, 700, 700), np.uint8), name="film", metadata={"axes": "TYX"}
    )
    window.click(tab.layer.button)
    window.until(lambda: tiles_of(window))
    assert "tiles" in tab.progress.words.text()
    window.qtbot.mouseClick(tab.progress.cancel, Qt.MouseButton.LeftButton)
    window.until(lambda: tab.outcome.isVisible() and "was cancelled after" in tab.outcome.text())
    processes: list[int] = []
    window.session.prediction.run.told.connect(
        lambda told: processes.extend(one.process_id for one in told if isinstance(one, Started))
    )
    window.click(tab.layer.button)
    window.until(lambda: tiles_of(window))
    os.kill(processes[-1], signal.SIGKILL)
    window.until(lambda: tab.outcome.isVisible() and "stopped unexpectedly" in tab.outcome.text())
    assert not any("Traceback" in text for text in window.told)
    assert tab.layer.button.isEnabled()


def test_files_are_chosen_predicted_and_looked_at_again(window: Window, tmp_path: Path) -> None:
    tab = window.tab
    inputs = tmp_path / "new"
    inputs.mkdir()
    write_image(inputs / "well_1.tif", Image(field(), "YX", {"Y": 0.5, "X": 0.5}))
    (inputs / "broken.tif").write_bytes(b"no image")
    assert tab.files.button.toolTip() == "Select files or a folder first."
    tab.files.add_folder.click()
    dialog = tab.files.findChild(QFileDialog)
    dialog.fileSelected.emit(str(inputs))
    dialog.reject()
    assert tab.files.words.text() == "1 selected: new"
    tab.files.button.click()
    window.until(lambda: [one.name for one in tab.files.model.shown] == ["broken.tif"])
    window.until(lambda: [row.image for row in tab.kept.model.shown] == ["well_1.tif"])
    view = tab.kept.table.view
    tab.area.ensureWidgetVisible(view)
    place = view.visualRect(tab.kept.model.index(0, 0)).center()
    window.qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=place)
    window.qtbot.mouseDClick(view.viewport(), Qt.MouseButton.LeftButton, pos=place)
    window.until(window.labels)
    assert [layer.name for layer in window.viewer.layers] == [
        "well_1.tif",
        "well_1.tif unet_run_002",
    ]
    assert np.allclose(window.labels()[0].scale, (0.5, 0.5))
    # So small a network finds nothing, so it is asked whether that is meant; the Dataset tab shows
    # the question.
    asked: list[Callable[[], None]] = []
    window.session.accepting.empty_asked.connect(asked.append)
    tab.correction.accept()
    window.until(lambda: asked)
    asked[0]()
    window.until(lambda: len(window.session.workspace.snapshot.active_pairs) == 4)
    assert Project.open(window.folder).dataset.pairs[-1].metadata["was_edited"] is False


def test_labels_drawn_by_hand_are_sent_to_the_dataset_tab(window: Window) -> None:
    window.viewer.add_labels(np.eye(64, dtype=np.uint8), name="mine")
    assert "added in Dataset" in window.tab.correction.button.toolTip()
    window.tab.accept()
    assert window.told[-1].startswith("Nothing was accepted.")
