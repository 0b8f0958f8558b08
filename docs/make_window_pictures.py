"""Walk through the loop in napari on real images, with a picture of each step.

python docs/make_window_pictures.py [--out FOLDER]

Needs the images of BBBC039 (CC0, nuclei of U2OS cells) as they lie in `shared/data/bbbc039`, or in
the folder that MASKLOOP_DATA names, and a screen. It trains for a minute and a half, twice.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import numpy as np
from PIL import Image as Picture
from qtpy.QtCore import QSettings
from qtpy.QtWidgets import QApplication

from maskloop.images.readers import open_image, open_labels
from maskloop.ui.dock import MaskloopDock
from maskloop.ui.tabs.advanced import AdvancedTab
from maskloop.ui.tabs.checkpoints import CheckpointsTab
from maskloop.ui.tabs.dataset import DatasetTab
from maskloop.ui.tabs.predict import PredictTab
from maskloop.ui.tabs.train import TrainTab

PICTURES = Path(__file__).parent / "pictures"
DATA = (
    Path(os.environ.get("MASKLOOP_DATA", Path(__file__).parents[2] / "shared" / "data")) / "bbbc039"
)
TRAIN_S = 90.0
PAIRS = 7
WINDOW = (1320, 900)
DOCK_PX = 380


class Walk:
    """A window, and how to wait in it."""

    def __init__(self, pictures: Path) -> None:
        self.pictures = pictures
        self.viewer = napari.Viewer(show=True)
        self.window = self.viewer.window._qt_window
        self.window.resize(*WINDOW)
        holder, dock = self.viewer.window.add_plugin_dock_widget("maskloop")
        assert isinstance(dock, MaskloopDock)
        self.dock = dock
        self.window.resizeDocks([holder], [DOCK_PX], _horizontal())

    def until(self, is_true: Callable[[], object], timeout_s: float = 300.0) -> None:
        """Let the window live until something is true."""
        end = time.monotonic() + timeout_s
        while not is_true():
            if time.monotonic() > end:
                raise TimeoutError("the walk got stuck")
            QApplication.processEvents()
            time.sleep(0.01)

    def rest(self, seconds: float = 1.5) -> None:
        """Let the window live for a while."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > end)

    def picture(self, name: str) -> None:
        """Keep a picture of the window, in few colours."""
        self.rest()
        self.window.statusBar().clearMessage()
        shot = self.viewer.screenshot(canvas_only=False, flash=False)
        self.pictures.mkdir(exist_ok=True)
        Picture.fromarray(shot[..., :3]).quantize(192).save(
            self.pictures / f"{name}.png", optimize=True
        )
        print(name, shot.shape)

    def clear(self) -> None:
        """Take all layers away."""
        self.viewer.layers.clear()
        self.rest(0.5)

    def add(self, stem: str, *, with_mask: bool) -> None:
        """Show an image as a person opens it, and its mask where that is wanted."""
        image = open_image(next((DATA / "images").glob(f"{stem}.*")))
        self.viewer.add_image(image.read(), name=stem, contrast_limits=_limits(image.read()))
        if with_mask:
            labels = open_labels(next((DATA / "masks").glob(f"{stem}.*")))
            self.viewer.add_labels(labels.read(), name=f"{stem} mask")


def _horizontal() -> Any:
    from qtpy.QtCore import Qt

    return Qt.Orientation.Horizontal


def _limits(pixels: Any) -> tuple[float, float]:
    low, high = np.percentile(pixels, (1, 99.8))
    return float(low), float(high)


def walk(place: Path, pictures: Path) -> None:
    """The loop, step by step."""
    stems = sorted(path.stem for path in (DATA / "images").iterdir())
    step = Walk(pictures)
    dock, session = step.dock, step.dock.session
    step.add(stems[0], with_mask=False)
    step.picture("window_1_start")

    session.workspace.create(place / "nuclei", mode="instances", classes=["nucleus"])
    step.until(lambda: session.workspace.snapshot.condition == "valid")
    for stem in stems[:PAIRS]:
        step.clear()
        step.add(stem, with_mask=True)
        step.until(lambda: dock.tab(DatasetTab).accept_button.isEnabled())
        before = len(session.workspace.snapshot.active_pairs)
        dock.tab(DatasetTab).accept()
        step.until(lambda before=before: len(session.workspace.snapshot.active_pairs) > before)
    step.clear()
    step.add(stems[PAIRS], with_mask=True)
    step.picture("window_2_dataset")

    dock.tabs.setCurrentWidget(dock.tab(TrainTab))
    session.plan.set_choice("time_s", TRAIN_S)
    step.until(
        lambda: (
            dock.tab(TrainTab).train_button.isEnabled()
            and session.plan.proposal is not None
            and not session.plan.is_planning
        )
    )
    step.picture("window_3_plan")
    dock.tab(TrainTab).train()
    step.until(
        lambda: session.training.preview is not None and len(session.training.progress.history) > 2
    )
    dock.tab(TrainTab).area.ensureWidgetVisible(dock.tab(TrainTab).caption)
    step.picture("window_4_train")
    step.until(lambda: session.workspace.snapshot.checkpoints)

    step.clear()
    step.add(stems[PAIRS + 1], with_mask=False)
    dock.tabs.setCurrentWidget(dock.tab(PredictTab))
    step.until(lambda: dock.tab(PredictTab).layer.button.isEnabled())
    dock.tab(PredictTab).predict()
    step.until(lambda: len(step.viewer.layers) == 2)
    step.picture("window_5_predict")
    labels: Any = step.viewer.layers[-1]
    labels.selected_label, labels.brush_size, labels.mode = int(labels.data.max()) + 1, 14, "paint"
    before = len(session.workspace.snapshot.active_pairs)
    dock.tab(PredictTab).accept()
    step.until(lambda: len(session.workspace.snapshot.active_pairs) > before)

    dock.tabs.setCurrentWidget(dock.tab(TrainTab))
    step.until(lambda: dock.tab(TrainTab).train_button.isEnabled())
    dock.tab(TrainTab).train()
    step.until(lambda: len(session.workspace.snapshot.checkpoints) == 2)
    dock.tabs.setCurrentWidget(dock.tab(CheckpointsTab))
    step.rest()
    dock.tab(CheckpointsTab).table.view.selectAll()
    step.picture("window_6_checkpoints")
    dock.tabs.setCurrentWidget(dock.tab(AdvancedTab))
    step.rest(6)
    step.picture("window_7_advanced")
    step.viewer.theme = "light"
    dock.tabs.setCurrentWidget(dock.tab(DatasetTab))
    step.picture("window_8_light")
    step.viewer.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=PICTURES, help="folder for the pictures")
    with tempfile.TemporaryDirectory() as folder:
        # Neither the person's settings of napari nor the list of recent projects.
        os.environ["NAPARI_CONFIG"] = str(Path(folder) / "napari.yaml")
        os.environ["XDG_CONFIG_HOME"] = folder
        QSettings.setPath(QSettings.Format.NativeFormat, QSettings.Scope.UserScope, folder)
        # The bar writes paths from the person's home, and no other place of this machine belongs
        # into a picture.
        Path.home = classmethod(lambda _cls: Path(folder))  # type: ignore[method-assign, assignment]
        walk(Path(folder), parser.parse_args().out)
