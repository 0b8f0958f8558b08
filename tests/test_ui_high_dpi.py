"""The dock at its narrowest, on a usual screen and on one of high resolution.

A process each: Qt scales a program as a whole.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("napari")

from maskloop import Project
from maskloop.samples import simulate_pairs

NARROW_PX = 350
LOOK = """
import json, sys
import napari
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication
from maskloop.ui.tabs.dataset import DatasetTab
from waiting import wait_until

if __name__ == "__main__":
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(1000, 900)
    holder, dock = viewer.window.add_plugin_dock_widget("maskloop")
    viewer.window._qt_window.resizeDocks([holder], [350], Qt.Orientation.Horizontal)
    dock.open_project(sys.argv[1])
    table = dock.tab(DatasetTab).pairs

    def picture():
        return table.model.shown and table.thumbnails.get(table.model.shown[0].picture_key)

    wait_until(picture, "the picture of the pair", meanwhile=QApplication.processEvents)
    told = {"ratio": dock.devicePixelRatioF(), "width": dock.width(), "wide": [], "hidden": []}
    for number in range(dock.tabs.count()):
        dock.tabs.setCurrentIndex(number)
        QApplication.processEvents()
        tab = dock.tabs.widget(number)
        inside = tab.area.widget().minimumSizeHint().width()
        if tab.minimumSizeHint().width() > dock.width() or inside > tab.area.viewport().width():
            told["wide"].append(dock.tabs.tabText(number))
        if dock.tabs.tabBar().tabRect(number).isEmpty():
            told["hidden"].append(dock.tabs.tabText(number))
    shown = picture()
    told["thumbnail"] = [shown.width(), shown.deviceIndependentSize().width()]
    told["grabbed"] = dock.grab().width()
    print(json.dumps(told))
    viewer.close()
"""


@pytest.mark.parametrize("scale", [1, 2])
def test_all_tabs_fit_into_a_narrow_dock_and_are_sharp(
    qtbot: Any, tmp_path: Path, scale: int
) -> None:
    # The fixture only says that there is a screen, and why not.
    project = Project.create(tmp_path / "cells", mode="instances")
    image, labels = simulate_pairs(1, shape=(128, 128), seed=1)[0]
    project.dataset.accept(image, labels)
    script = tmp_path / "look.py"
    script.write_text(LOOK)
    environment = {
        **os.environ,
        "QT_SCALE_FACTOR": str(scale),
        "NAPARI_CONFIG": str(tmp_path / "napari.yaml"),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)]),
    }
    ran = subprocess.run(
        [sys.executable, str(script), str(project.folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout.strip().splitlines()[-1])
    assert told["ratio"] >= scale, "a screen of high resolution multiplies it"
    assert told["width"] <= NARROW_PX
    assert told["wide"] == told["hidden"] == []
    assert told["grabbed"] == round(told["ratio"] * told["width"])
    pixels, shown = told["thumbnail"]
    assert shown <= 56
    assert pixels >= min(64, scale * shown), "all pixels of the screen have one of the picture"
