"""What napari finds in the manifest, in a real window."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")

from napari._app_model.constants import MenuId
from napari.utils.notifications import notification_manager
from npe2 import PluginManager, PluginManifest, read
from qtpy.QtCore import QMimeData, QPointF, Qt, QTimer, QUrl
from qtpy.QtGui import QAction, QDropEvent
from qtpy.QtWidgets import QApplication, QMenu, QRadioButton
from tifffile import imwrite

from maskloop import Project
from maskloop.samples import simulate_pairs
from maskloop.ui.contributions import get_reader, sample_nuclei, sample_nuclei_3d, sample_tissue

DEADLINE_MS = 60_000


@pytest.fixture
def manifest() -> PluginManifest:
    return PluginManifest.from_distribution("maskloop")


def make_project(folder: Path) -> Path:
    image, labels = simulate_pairs(1, shape=(64, 64), seed=3)[0]
    Project.create(folder, mode="instances").dataset.accept(image, labels)
    return folder


def make_ordinary_folder(folder: Path) -> Path:
    folder.mkdir()
    imwrite(folder / "image.tif", np.zeros((20, 30), np.uint8))
    return folder


def find_docks(viewer: Any) -> list[Any]:
    from maskloop.ui.dock import MaskloopDock

    return list(viewer.window._qt_window.findChildren(MaskloopDock))


def drop(viewer: Any, path: Path, *, reader: str | None = None) -> list[str]:
    """Drop a path on the canvas; answers napari's question for the reader.

    Gives back the readers that it offered.
    """
    offered: list[str] = []

    def answer() -> None:
        dialog = QApplication.activeModalWidget()
        if dialog is None:
            return
        timer.stop()
        buttons = {button.text(): button for button in dialog.findChildren(QRadioButton)}
        offered.extend(buttons)
        if reader is None:
            dialog.reject()
        else:
            buttons[reader].click()
            dialog.accept()

    timer = QTimer()
    timer.timeout.connect(answer)
    what = QMimeData()
    what.setUrls([QUrl.fromLocalFile(str(path))])
    dropped = QDropEvent(
        QPointF(5, 5),
        Qt.DropAction.CopyAction,
        what,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    timer.start(10)
    try:
        viewer.window._qt_viewer.dropEvent(dropped)
    finally:
        timer.stop()
    return offered


def find_action(menu: QMenu, *titles: str) -> QAction:
    """An entry by the words of its menus and its own, as a person reads them."""
    first, *others = titles
    menu.aboutToShow.emit()
    found = next(
        action for action in menu.actions() if action.text().replace("&", "").startswith(first)
    )
    return find_action(found.menu(), *others) if others else found


def test_the_manifest_is_valid_and_all_it_names_exists(manifest: PluginManifest) -> None:
    manifest.validate_imports()
    named = {command.id for command in manifest.contributions.commands or ()}
    assert set(manifest.contributions.menus) <= set(MenuId.contributables())
    assert {
        item.command for items in manifest.contributions.menus.values() for item in items
    } <= named  # type: ignore[union-attr]
    assert manifest.contributions.widgets is not None
    assert [widget.display_name for widget in manifest.contributions.widgets] == ["maskloop"]


def test_the_plugin_loads_no_torch() -> None:
    code = "import sys, maskloop.ui.contributions, maskloop.ui.dock; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False"]


def test_the_contributions_load_neither_torch_nor_qt() -> None:
    code = (
        "import sys, maskloop.ui.contributions; "
        "print([name for name in ('torch', 'qtpy', 'napari') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_project_that_is_dropped_on_napari_opens_in_the_dock(
    viewer: Any, qtbot: Any, tmp_path: Path
) -> None:
    folder = make_project(tmp_path / "cells")
    assert drop(viewer, folder, reader="maskloop") == ["maskloop", "napari builtins"]
    (dock,) = find_docks(viewer)
    qtbot.waitUntil(
        lambda: len(dock.session.workspace.snapshot.active_pairs) == 1, timeout=DEADLINE_MS
    )
    assert dock.session.workspace.project.folder == folder
    assert len(viewer.layers) == 0


def test_the_settings_of_a_project_are_dropped_without_a_question(
    viewer: Any, qtbot: Any, tmp_path: Path
) -> None:
    folder = make_project(tmp_path / "cells")
    assert drop(viewer, folder / "project_config.json") == []
    (dock,) = find_docks(viewer)
    qtbot.waitUntil(lambda: dock.session.workspace.project is not None, timeout=DEADLINE_MS)


def test_the_next_project_opens_in_the_same_dock(viewer: Any, qtbot: Any, tmp_path: Path) -> None:
    for name in ("cells", "axons"):
        folder = make_project(tmp_path / name)
        viewer.open(folder, plugin="maskloop")
        (dock,) = find_docks(viewer)
        qtbot.waitUntil(
            lambda dock=dock, folder=folder: (
                dock.session.workspace.project is not None
                and dock.session.workspace.project.folder == folder
            ),
            timeout=DEADLINE_MS,
        )


def test_without_a_viewer_a_project_reads_as_no_layers(tmp_path: Path) -> None:
    PluginManager.instance().discover()
    assert read([str(make_project(tmp_path / "cells"))], stack=False, plugin_name="maskloop") == [
        (None,)
    ]


def test_ordinary_files_are_left_to_others(tmp_path: Path) -> None:
    folder = make_ordinary_folder(tmp_path / "images")
    (tmp_path / "images.json").touch()
    assert get_reader(str(folder / "image.tif")) is None
    assert get_reader(str(tmp_path / "images.json")) is None
    assert get_reader(str(tmp_path / "nowhere" / "project_config.json")) is None
    assert get_reader([str(make_project(tmp_path / "cells"))]) is None


def test_an_ordinary_folder_opens_as_before(viewer: Any, tmp_path: Path) -> None:
    folder = make_ordinary_folder(tmp_path / "images")
    viewer.open(folder)
    drop(viewer, folder, reader="napari builtins")
    # A person who drops a folder of images may choose maskloop in napari's question, or leave it
    # chosen.
    viewer.open(folder, plugin="maskloop")
    assert [layer.data.shape for layer in viewer.layers] == [(20, 30), (20, 30), (20, 30)]
    assert not viewer.window._wrapped_dock_widgets.get("maskloop (maskloop)")


@pytest.mark.parametrize(
    ("sample", "dimensions"), [(sample_nuclei, 2), (sample_nuclei_3d, 3), (sample_tissue, 2)]
)
def test_sample_data_have_their_truth(sample: Any, dimensions: int) -> None:
    (image, about, kind), (truth, about_truth, truth_kind) = sample()
    assert (kind, truth_kind) == ("image", "labels")
    assert image.ndim == dimensions == len(about["metadata"]["axes"])
    assert about["metadata"] == about_truth["metadata"]
    assert image.shape == truth.shape
    assert image[truth > 0].mean() > image[truth == 0].mean()


def test_the_sample_of_three_classes_has_three() -> None:
    assert list(np.unique(sample_tissue()[1][0])) == [0, 1, 2]


@pytest.mark.parametrize(
    ("title", "dimensions"),
    [
        ("Simulated nuclei (with truth)", 2),
        ("Simulated nuclei in 3D (with truth)", 3),
        ("Simulated tissue (three classes)", 2),
    ],
)
def test_sample_data_open_from_the_menu(viewer: Any, title: str, dimensions: int) -> None:
    find_action(viewer.window.file_menu, "Open Sample", "maskloop", title).trigger()
    assert [type(layer).__name__ for layer in viewer.layers] == ["Image", "Labels"]
    assert {layer.ndim for layer in viewer.layers} == {dimensions}


@pytest.mark.parametrize(
    ("menu", "titles"), [("file_menu", ("New Layer",)), ("layers_menu", ("Annotate",))]
)
def test_a_mask_is_added_from_the_menu(viewer: Any, menu: str, titles: tuple[str, ...]) -> None:
    viewer.add_image(np.zeros((40, 60)), name="cells", scale=(0.5, 0.5))
    find_action(getattr(viewer.window, menu), *titles, "Mask for the selected image").trigger()
    mask = viewer.layers[-1]
    assert mask.data.shape == (40, 60)
    assert tuple(mask.scale) == (0.5, 0.5)
    assert mask.mode == "paint"


def test_a_mask_without_an_image_is_refused_with_the_way_out(viewer: Any) -> None:
    viewer.add_labels(np.zeros((40, 60), int))
    find_action(viewer.window.layers_menu, "Annotate", "Mask for the selected image").trigger()
    assert len(viewer.layers) == 1
    assert (
        notification_manager.records[-1].message
        == "No image layer selected.\nSelect the image to draw on in the layer list."
    )


def test_a_mask_on_an_image_of_unknown_axes_is_refused_with_the_way_out(viewer: Any) -> None:
    viewer.add_image(np.zeros((3, 4, 40, 60)), name="cells")
    find_action(viewer.window.layers_menu, "Annotate", "Mask for the selected image").trigger()
    assert len(viewer.layers) == 1
    assert "\n" in notification_manager.records[-1].message


@pytest.mark.parametrize(("menu", "titles"), [("plugins_menu", ()), ("layers_menu", ("Segment",))])
def test_the_dock_opens_from_the_menus(viewer: Any, menu: str, titles: tuple[str, ...]) -> None:
    find_action(getattr(viewer.window, menu), *titles, "maskloop").trigger()
    assert len(find_docks(viewer)) == 1
