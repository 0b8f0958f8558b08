"""The Dataset tab in a real napari window: draw, accept, correct, go on; pairs, classes, import."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")

from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtWidgets import QApplication, QMessageBox
from ui_window import TabWindow

from maskloop import Image, Project
from maskloop.images.writers import write_image, write_labels
from maskloop.samples import simulate_pairs
from maskloop.ui.chosen import Chosen
from maskloop.ui.picker import NO_IMAGE, ImagePicker
from maskloop.ui.tabs.dataset import DatasetTab
from maskloop.ui.tabs.dataset_table import PORTION


class Window(TabWindow):
    """What a person does in this tab."""

    def click_row(self, number: int) -> None:
        view = self.tab.pairs.table.view
        self.tab.area.ensureWidgetVisible(view)
        index = self.tab.pairs.model.index(number, 1)
        view.scrollTo(index)
        place = view.visualRect(index).center()
        self.qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=place)

    def answer(self, words: str) -> list[str]:
        """Press the button with these words in the question that comes."""
        asked: list[str] = []

        def press() -> None:
            box = QApplication.activeModalWidget()
            if isinstance(box, QMessageBox):
                asked.append(box.text())
                next(button for button in box.buttons() if words in button.text()).click()
            else:
                QTimer.singleShot(50, press)

        QTimer.singleShot(0, press)
        return asked

    def paint(self, label: int = 1, at: int = 10) -> None:
        """One stroke on the chosen mask."""
        layer = self.chosen.labels.layer
        with layer.block_history():
            rows, columns = np.mgrid[at : at + 8, at : at + 8]
            layer.data_setitem((rows.ravel(), columns.ravel()), label)


@pytest.fixture
def window(viewer: Any, qtbot: Any, tmp_path: Path) -> Iterator[Window]:
    made = Window(viewer, qtbot, DatasetTab, tmp_path)
    yield made
    made.close()


def new_project(
    folder: Path, mode: Any = "instances", classes: list[str] | None = None, count: int = 0
) -> Path:
    project = Project.create(folder, mode=mode, classes=classes)
    for number, (image, labels) in enumerate(simulate_pairs(count, shape=(64, 64), seed=1)):
        project.dataset.accept(image, labels, name=f"cells {number}")
    return folder


def write_images(folder: Path, count: int = 3) -> Path:
    folder.mkdir()
    for number, (image, _) in enumerate(simulate_pairs(count, shape=(64, 64), seed=9)):
        write_image(folder / f"cell_{number}.tif", Image(image, "YX"))
    return folder


def test_a_mask_is_drawn_described_accepted_and_corrected(window: Window, tmp_path: Path) -> None:
    project = window.open(new_project(tmp_path / "cells"))
    tab = window.tab
    assert tab.accept_button.toolTip() == NO_IMAGE
    window.viewer.add_image(simulate_pairs(1, shape=(64, 64), seed=2)[0][0], name="field")
    assert tab.accept_button.toolTip() == 'There is no mask layer. Press "New mask" and paint.'
    window.click(tab.new_mask_button)
    window.until(lambda: tab.description.text() == "The mask is empty.")
    window.paint(1)
    window.until(lambda: tab.description.text() == "1 object will be saved.")
    window.paint(2, at=30)
    window.until(lambda: tab.description.text() == "2 objects will be saved.")
    window.chosen.labels.layer.undo()
    window.until(lambda: tab.description.text() == "1 object will be saved.")
    window.click(tab.accept_button)
    window.until(lambda: len(window.session.pairs.rows) == 1)
    assert window.told == ["Accepted pair_0001: 1 object"]
    window.until(lambda: tab.accept_button.text() == "Replace the mask of pair_0001")
    window.paint(2, at=30)
    window.click(tab.accept_button)
    window.until(lambda: window.told[-1] == "Replaced the mask of pair_0001: 2 objects")
    assert project.config.last_selected_image_layer == "field"
    assert project.config.last_selected_mask_layer == "field mask"
    assert len(project.dataset.all_pairs) == 1


def test_an_empty_mask_is_asked_about(window: Window, tmp_path: Path) -> None:
    window.open(new_project(tmp_path / "cells"))
    window.viewer.add_image(simulate_pairs(1, shape=(64, 64), seed=2)[0][0], name="field")
    window.tab.make_mask()
    asked = window.answer("Add")
    window.tab.accept()
    window.until(lambda: window.session.pairs.rows)
    assert asked == ["This mask is empty. Add it as a negative example?"]


def test_a_new_mask_is_for_the_image_that_is_selected(window: Window, tmp_path: Path) -> None:
    window.open(new_project(tmp_path / "cells"))
    for number, name in enumerate(("first", "second")):
        window.viewer.add_image(simulate_pairs(1, shape=(64, 64), seed=number)[0][0], name=name)
    assert window.viewer.layers.selection.active.name == "second"
    window.click(window.tab.new_mask_button)
    assert window.chosen.image.layer.name == "second"
    window.paint(1)
    window.tab.accept()
    window.until(lambda: window.session.pairs.rows)
    assert window.session.workspace.snapshot.active_pairs[0].metadata["image_layers"] == ["second"]


def test_a_mask_that_was_made_for_another_image_is_asked_about(
    window: Window, tmp_path: Path
) -> None:
    window.open(new_project(tmp_path / "cells"))
    window.viewer.add_image(simulate_pairs(1, shape=(64, 64), seed=0)[0][0], name="first")
    window.click(window.tab.new_mask_button)
    window.paint(1)
    window.chosen.image.choose(
        window.viewer.add_image(
            simulate_pairs(1, shape=(64, 64), seed=1)[0][0], name="second", visible=False
        )
    )
    questions: list[str] = []
    for words in ("No", "Yes"):
        asked = window.answer(words)
        window.until(window.tab.accept_button.isEnabled)
        window.tab.accept()
        questions += asked
    assert questions == ["This mask was drawn on 'first'. Use this mask for 'second' anyway?"] * 2
    window.until(lambda: window.session.pairs.rows)
    assert window.session.workspace.snapshot.active_pairs[0].metadata["image_layers"] == ["second"]


def test_a_mask_of_an_image_that_is_hidden_is_asked_about(window: Window, tmp_path: Path) -> None:
    window.open(new_project(tmp_path / "cells"))
    window.viewer.add_image(simulate_pairs(1, shape=(64, 64), seed=0)[0][0], name="below")
    above = window.viewer.add_image(simulate_pairs(1, shape=(64, 64), seed=1)[0][0], name="above")
    window.viewer.add_labels(np.eye(64, dtype=np.uint8), name="by napari's own button")
    assert window.chosen.image.layer.name == "below"
    asked = window.answer("No")
    window.until(window.tab.accept_button.isEnabled)
    window.tab.accept()
    assert asked == ["The selected image is hidden by 'above'. Use this mask for 'below' anyway?"]
    above.blending = "additive"
    window.tab.accept()
    window.until(lambda: window.session.pairs.rows)
    assert window.session.workspace.snapshot.active_pairs[0].metadata["image_layers"] == ["below"]


def test_an_image_that_is_here_already_is_offered_to_be_replaced(
    window: Window, tmp_path: Path
) -> None:
    window.open(new_project(tmp_path / "cells", count=1))
    window.viewer.add_image(simulate_pairs(1, shape=(64, 64), seed=1)[0][0], name="the same")
    window.tab.make_mask()
    window.paint(1)
    asked = window.answer("Replace")
    window.tab.accept()
    window.until(lambda: window.told)
    assert asked == ["Replace the mask of pair_0001?"]
    assert window.told == ["Replaced the mask of pair_0001: 1 object"]


def test_a_slice_and_a_rectangle_of_a_stack_are_accepted_once_its_axes_are_named(
    window: Window, tmp_path: Path
) -> None:
    project = window.open(new_project(tmp_path / "cells"))
    tab = window.tab
    stack = np.random.default_rng(0).integers(0, 999, (5, 64, 64)).astype(np.uint16)
    window.viewer.add_image(stack, name="stack")
    assert "Select the axes of 'stack' (3 dimensions)" in tab.accept_button.toolTip()
    assert not tab.new_mask_button.isEnabled()
    assert "Select the axes of 'stack' (3 dimensions)" in tab.new_mask_button.toolTip()
    assert tab.picker.axes_combo.isVisible()
    tab.picker.axes_combo.setCurrentIndex(1)
    tab.picker.axes_combo.activated.emit(1)
    assert tab.picker.axes() == "ZYX"
    window.click(tab.new_mask_button)
    labels = window.chosen.labels.layer
    labels.data[2, 10:20, 10:20] = 4
    labels.data[3, 30:40, 30:40] = 5
    labels.refresh()
    window.viewer.dims.set_current_step(0, 2)
    tab.extent.setCurrentIndex(1)
    tab.extent.activated.emit(1)
    window.until(lambda: tab.description.text() == "1 object will be saved.")
    window.viewer.dims.set_current_step(0, 3)
    window.until(lambda: tab.description.text() == "1 object will be saved.")
    window.click(tab.accept_button)
    window.until(lambda: len(window.session.pairs.rows) == 1)
    pair = project.dataset.pairs[0]
    assert (pair.axes, pair.shape) == ("YX", (64, 64))
    assert pair.metadata["index"] == {"Z": 3}
    tab.extent.setCurrentIndex(2)
    tab.extent.activated.emit(2)
    window.until(lambda: "No rectangle" in tab.description.text())
    window.click(tab.draw_button)
    window.viewer.layers["Region to add"].add_rectangles(
        np.array([[24, 24], [24, 47], [47, 47], [47, 24]])
    )
    window.until(lambda: tab.description.text() == "1 object will be saved.")
    window.click(tab.accept_button)
    window.until(lambda: len(window.session.pairs.rows) == 2)
    assert project.dataset.pairs[1].shape == (23, 23)
    assert not [words for words in window.told if "Accepted" not in words]


def test_a_click_shows_a_pair_and_the_next_click_takes_its_place(
    window: Window, tmp_path: Path
) -> None:
    project = window.open(new_project(tmp_path / "cells", count=3))
    window.until(lambda: len(window.tab.pairs.model.shown) == 3)
    window.click_row(0)
    window.until(lambda: window.chosen.labels.layer is not None)
    first = window.chosen.image.layer
    assert [layer.name for layer in window.viewer.layers] == [
        "cells 0 (pair_0001)",
        "cells 0 (pair_0001) mask",
    ]
    window.click_row(1)
    window.until(
        lambda: window.chosen.image.layer.metadata["maskloop_pair"].startswith("pair_0002")
    )
    assert [layer.name for layer in window.viewer.layers] == [
        "cells 1 (pair_0002)",
        "cells 1 (pair_0002) mask",
    ]
    assert window.chosen.image.layer is first
    assert (
        window.chosen.image.layer.data
        == project.dataset.read_image(project.dataset.pairs[1]).read()
    ).all()
    assert window.tab.accept_button.text() == "Replace the mask of pair_0002"
    window.paint(9)
    window.click_row(2)
    window.until(lambda: len(window.viewer.layers) == 4)
    assert window.told == [
        "Kept 'cells 1 (pair_0002) mask' and its image: the painting is not accepted yet."
    ]
    # nothing was painted here: what was undone must not be that of another pair
    window.chosen.labels.layer.undo()
    assert (
        window.chosen.labels.layer.data
        == project.dataset.read_mask(project.dataset.pairs[2]).read()
    ).all()


def test_pairs_are_removed_and_brought_back(window: Window, tmp_path: Path) -> None:
    window.open(new_project(tmp_path / "cells", count=2))
    tab = window.tab.pairs
    window.until(lambda: len(tab.model.shown) == 2)
    assert tab.remove_button.toolTip() == "Select pairs in the table first."
    window.click_row(1)
    window.click(tab.remove_button)
    window.until(lambda: len(tab.model.shown) == 1)
    tab.removed_too.setChecked(True)
    window.until(lambda: len(tab.model.shown) == 2)
    window.click_row(1)
    window.click(tab.restore_button)
    window.until(lambda: window.told[-1] == "Restored pair_0002")
    window.until(lambda: window.session.pairs.words == "2 pairs")


def test_a_removed_pair_never_comes_back_without_a_question(window: Window, tmp_path: Path) -> None:
    project = window.open(new_project(tmp_path / "cells", count=1))
    tab = window.tab
    window.until(lambda: len(tab.pairs.model.shown) == 1)
    window.click_row(0)
    window.until(lambda: tab.accept_button.text() == "Replace the mask of pair_0001")
    window.click(tab.pairs.remove_button)
    window.until(lambda: tab.accept_button.text() == "Add to training set")
    window.paint(60)
    for words, state in (("No", "removed"), ("Restore", "active")):
        asked = window.answer(words)
        window.click(tab.accept_button)
        window.until(lambda asked=asked: asked)
        window.until(lambda: not window.session.workspace.background.is_busy)
        assert asked == ["Restore pair_0001 with this mask?"]
        assert [pair.state for pair in project.dataset.all_pairs] == [state]


def test_thousands_of_pairs_are_handed_over_in_portions_and_none_is_lost(
    window: Window, tmp_path: Path
) -> None:
    from maskloop.project import layout
    from maskloop.project.layout import Manifest
    from maskloop.project.store import changed

    project = Project.open(new_project(tmp_path / "cells", count=1))
    first, count = project.dataset.pairs[0], 2 * PORTION + 7
    pairs = [
        changed(first, pair_id=f"pair_{number:04d}_{number:08x}", perceptual_hash="")
        for number in range(count)
    ]
    stamp = layout.now()
    project.record(layout.MANIFEST, Manifest).write(
        Manifest(created_at=stamp, updated_at=stamp, pairs=tuple(pairs))
    )
    window.open(project.folder)
    window.until(lambda: len(window.tab.pairs.model.shown) == count)
    assert window.tab.pairs.words.text() == f"{count:,} pairs"
    window.tab.pairs.table.filter.setText("pair_2006")
    assert [row.short for row in window.tab.pairs.model.shown] == ["pair_2006"]


def test_thumbnails_come(window: Window, tmp_path: Path) -> None:
    window.open(new_project(tmp_path / "cells", count=1))
    pairs = window.tab.pairs
    window.until(
        lambda: (
            pairs.model.shown and pairs.thumbnails.get(pairs.model.shown[0].picture_key) is not None
        )
    )


def test_images_are_gone_through_without_losing_what_was_painted(
    window: Window, tmp_path: Path
) -> None:
    window.open(new_project(tmp_path / "cells"))
    images, tab = write_images(tmp_path / "images"), window.tab
    assert tab.queue.next_button.toolTip() == "Select a folder or files first."
    window.session.queue.choose([images])
    window.until(lambda: [layer.name for layer in window.viewer.layers] == ["cell_0.tif"])
    window.tab.make_mask()
    window.paint(1)
    window.click(tab.accept_button)
    window.until(lambda: window.session.pairs.rows)
    window.until(lambda: tab.queue.words.text() == "1 of 3: cell_0.tif (accepted), 1 accepted")
    window.click(tab.queue.next_button)
    window.until(lambda: [layer.name for layer in window.viewer.layers] == ["cell_1.tif"])
    assert window.chosen.image.layer.name == "cell_1.tif"
    assert window.tab.accept_button.text() == "Add to training set"
    window.tab.make_mask()
    window.paint(1)
    window.click(tab.queue.next_button)
    window.until(lambda: window.session.queue.index == 2 and not window.session.queue.is_opening)
    window.until(
        lambda: (
            [layer.name for layer in window.viewer.layers]
            == ["cell_1.tif", "cell_1.tif mask", "cell_2.tif"]
        )
    )
    assert "Kept 'cell_1.tif mask' and its image: the painting is not accepted yet." in window.told
    window.click(tab.queue.previous_button)
    window.until(
        lambda: [layer.name for layer in window.viewer.layers] == ["cell_1.tif", "cell_1.tif mask"]
    )
    assert window.chosen.labels.layer.name == "cell_1.tif mask"
    assert [layer.visible for layer in window.viewer.layers] == [True, True]
    assert tab.queue.next_button.isEnabled()


def test_a_mask_that_napari_made_is_never_saved_for_the_next_image(
    window: Window, tmp_path: Path
) -> None:
    window.open(new_project(tmp_path / "cells"))
    images, tab, viewer = write_images(tmp_path / "images"), window.tab, window.viewer
    window.session.queue.choose([images])
    window.until(lambda: [layer.name for layer in viewer.layers] == ["cell_0.tif"])
    viewer._new_labels()
    drawn = window.chosen.labels.layer
    window.paint(1)
    for name in ("cell_1.tif", "cell_2.tif"):
        window.click(tab.queue.next_button)
        window.until(lambda name=name: window.chosen.image.layer.name == name)
        window.until(lambda: not window.session.queue.is_opening)
        assert window.chosen.labels.layer is None
        assert tab.accept_button.toolTip() == 'There is no mask layer. Press "New mask" and paint.'
        assert not drawn.visible
    tab.accept()
    assert not window.session.pairs.rows
    # Who selects it all the same is asked, and told where it was drawn.
    window.chosen.labels.choose(drawn)
    asked = window.answer("No")
    tab.accept()
    assert asked == ["This mask was drawn on 'cell_0.tif'. Use this mask for 'cell_2.tif' anyway?"]
    window.session.queue.go(0)
    window.until(lambda: window.chosen.image.layer.name == "cell_0.tif")
    assert window.chosen.labels.layer is drawn
    assert [layer.name for layer in viewer.layers if layer.visible] == ["cell_0.tif", drawn.name]
    window.click(tab.accept_button)
    window.until(lambda: window.session.pairs.rows)
    pair = window.session.workspace.snapshot.active_pairs[0]
    assert str(pair.metadata["source_path"]).endswith("cell_0.tif")


def test_classes_have_names_colours_and_a_button_to_paint(window: Window, tmp_path: Path) -> None:
    project = window.open(new_project(tmp_path / "cells", "multiclass", ["nucleus", "cytoplasm"]))
    tab = window.tab.classes
    window.viewer.add_image(np.random.default_rng(0).random((64, 64)), name="field")
    window.click(tab.rows[1][2])
    assert window.told.pop() == 'There is no mask to paint on yet: press "New mask".'
    window.tab.make_mask()
    layer = window.chosen.labels.layer
    assert np.allclose(layer.get_color(1), [230 / 255, 159 / 255, 0, 1], atol=0.01)
    window.tab.area.ensureWidgetVisible(tab)
    window.click(tab.rows[1][2])
    assert (layer.selected_label, layer.mode) == (2, "paint")
    name = tab.rows[0][1]
    name.setFocus()
    name.selectAll()
    window.qtbot.keyClicks(name, "nuclei")
    window.qtbot.keyClick(name, Qt.Key.Key_Return)
    window.until(lambda: project.task.class_names[1] == "nuclei")
    window.qtbot.keyClicks(tab.new_name, "membrane")
    window.qtbot.keyClick(tab.new_name, Qt.Key.Key_Return)
    window.until(lambda: len(tab.rows) == 3)
    assert project.task.num_classes == 4
    assert not [words for words in window.told if "Added" not in words and "Renamed" not in words]


def test_pairs_are_imported_from_folders(window: Window, tmp_path: Path) -> None:
    window.open(new_project(tmp_path / "cells"))
    images, masks, tab = write_images(tmp_path / "images"), tmp_path / "masks", window.tab.importing
    masks.mkdir()
    for number in range(2):
        write_labels(masks / f"cell_{number}.tif", np.eye(64, dtype=np.uint8), axes="YX")
    tab.images.line.setText(str(images))
    assert "Select the folder of the masks" in tab.look_button.toolTip()
    tab.masks.line.setText(str(masks))
    tab.look_button.click()
    window.until(lambda: tab.import_button.text() == "Import 2 pairs")
    assert [row.state for row in tab.model.shown] == ["rejected", "OK", "OK"]
    tab.import_button.click()
    window.until(lambda: len(window.session.pairs.rows) == 2)
    window.until(lambda: window.told == ["2 pairs imported, 1 rejected."])


def test_labels_are_mapped_to_classes_in_a_small_table(window: Window, tmp_path: Path) -> None:
    window.open(new_project(tmp_path / "cells", "multiclass", ["nucleus", "cytoplasm"]))
    tab = window.tab
    window.viewer.add_image(np.random.default_rng(0).random((64, 64)), name="field")
    tab.make_mask()
    window.paint(7)
    window.until(lambda: "holds label 7, but the project has 3 classes" in tab.description.text())
    tab.meaning.rule.setCurrentIndex(1)
    tab.meaning.rule.activated.emit(1)
    window.until(lambda: tab.meaning.label_map.rowCount() == 1)
    combo = tab.meaning.label_map.cellWidget(0, 1)
    assert combo.currentText() == "choose..."
    combo.setCurrentIndex(2)
    combo.activated.emit(2)
    window.until(lambda: tab.description.text() == "Will be saved: label 7 as nucleus.")


def test_the_layers_accepted_from_last_are_chosen_again(window: Window, tmp_path: Path) -> None:
    folder = new_project(tmp_path / "cells")
    Project.open(folder).update_config(
        last_selected_image_layer="b", last_selected_mask_layer="b mask"
    )
    for name in ("a", "b", "c"):
        window.viewer.add_image(np.zeros((16, 16)), name=name)
    window.viewer.add_labels(np.zeros((16, 16), np.uint8), name="b mask")
    window.viewer.add_labels(np.zeros((16, 16), np.uint8), name="c mask")
    window.open(folder)
    window.until(lambda: window.chosen.image.layer.name == "b")
    assert window.chosen.labels.layer.name == "b mask"


def test_further_channels_are_chosen_and_dropped_with_their_layer(viewer: Any, qtbot: Any) -> None:
    chosen = Chosen.of(viewer)
    picker = ImagePicker(chosen)
    qtbot.addWidget(picker)
    assert picker.problem() == NO_IMAGE
    for name in ("green", "red"):
        viewer.add_image(np.zeros((16, 16)), name=name)
    viewer.add_image(np.zeros((8, 8)), name="small")
    chosen.image.choose(viewer.layers["red"])
    (action,) = picker.channels.menu().actions()
    action.trigger()
    assert [layer.name for layer in picker.layers()] == ["red", "green"]
    elsewhere = ImagePicker(chosen)
    qtbot.addWidget(elsewhere)
    assert [layer.name for layer in elsewhere.layers()] == ["red", "green"], (
        "an image is chosen once, for all tabs"
    )
    assert elsewhere.channels.text() == "+ 1 channel"
    viewer.layers["green"].translate = (3, 3)
    assert "'green' is shifted by up to 3 pixels" in str(picker.problem())
    viewer.layers.remove("green")
    assert [layer.name for layer in picker.layers()] == ["red"]
    assert picker.problem() is None
    assert not picker.channels.menu().actions()
    viewer.add_image(np.zeros((16, 16)), name="blue")
    elsewhere.channels.menu().actions()[0].trigger()
    assert [layer.name for layer in picker.layers()] == ["red", "blue"]
    chosen.image.choose(viewer.layers["small"])
    assert [layer.name for layer in picker.layers()] == ["small"]
    chosen.close()


def test_a_picker_that_is_gone_hears_nothing_more(viewer: Any) -> None:
    chosen = Chosen.of(viewer)
    picker = ImagePicker(chosen)
    layer = viewer.add_image(np.zeros((4, 16, 16)), name="stack")
    heard: list[int] = []
    picker.changed.connect(lambda: heard.append(1))
    picker.deleteLater()
    QApplication.sendPostedEvents(picker, QEvent.Type.DeferredDelete)
    layer.metadata = {"axes": "ZYX"}
    viewer.dims.axis_labels = ("z", "y", "x")
    assert not heard
    chosen.close()


def test_another_project_gets_nothing_of_the_one_before_unasked(
    window: Window, tmp_path: Path
) -> None:
    first, second = new_project(tmp_path / "blood"), new_project(tmp_path / "nuclei")
    window.open(first)
    tab, viewer = window.tab, window.viewer
    viewer.add_image(simulate_pairs(1, shape=(64, 64), seed=2)[0][0], name="field")
    tab.make_mask()
    window.paint(1)
    window.session.queue.choose([write_images(tmp_path / "images")])
    window.until(lambda: viewer.layers[-1].name == "cell_0.tif")
    tab.make_mask()
    window.paint(1)
    window.click(tab.accept_button)
    window.until(lambda: len(window.session.pairs.rows) == 1)
    tab.importing.images.line.setText(str(tmp_path / "images"))
    tab.importing.suffix.setText("_mask")
    project = window.open(second)
    # What the queue showed is gone; what the person opened and painted stays.
    assert [layer.name for layer in viewer.layers] == ["field", "field mask"]
    assert tab.importing.images.path() is None
    assert tab.importing.suffix.text() == ""
    assert window.session.pair_import.why_not_look == "Select the folder of the images first."
    window.until(tab.accept_button.isEnabled)
    asked = window.answer("No")
    tab.accept()
    assert asked == ["Add 'field' to the project 'nuclei'?"]
    assert not window.session.accepting.is_accepting
    window.answer("Add")
    tab.accept()
    window.until(lambda: len(window.session.pairs.rows) == 1)
    assert len(project.dataset.pairs) == 1


def test_a_label_in_several_pieces_is_asked_about_and_separated(
    window: Window, tmp_path: Path
) -> None:
    project = window.open(new_project(tmp_path / "cells"))
    window.viewer.add_image(simulate_pairs(1, shape=(64, 64), seed=2)[0][0], name="field")
    window.tab.make_mask()
    for place in (4, 24, 44):
        window.paint(1, at=place)
    window.paint(2, at=52)  # touches the last piece of label 1: stays another object
    window.until(window.tab.accept_button.isEnabled)
    for words in ("Cancel", "Separate"):
        asked = window.answer(words)
        window.tab.accept()
        assert asked == ["Label 1 lies in 3 separate pieces."]
        assert not window.session.accepting.is_accepting
    assert window.told == ["2 pieces became new objects. Check the mask and accept it."]
    window.tab.accept()
    window.until(lambda: window.session.pairs.rows)
    assert np.unique(project.dataset.read_mask(project.dataset.pairs[0]).read()).tolist() == [
        0,
        1,
        2,
        3,
        4,
    ]
    window.chosen.labels.layer.undo()
    asked = window.answer("as drawn")
    window.tab.accept()
    window.until(lambda: window.told[-1].startswith("Replaced the mask of pair_0001: 2 objects"))
    assert asked == ["Label 1 lies in 3 separate pieces."]
