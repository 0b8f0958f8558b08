"""The Advanced tab, with the mouse and the keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("napari")

import torch
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QSpinBox

from maskloop import Project
from maskloop.models.unet.network import build_unet
from maskloop.models.unet.records import UNetNetwork
from maskloop.project import layout
from maskloop.samples import simulate_pairs
from maskloop.ui.chosen import Chosen
from maskloop.ui.controllers.notes import BOTH
from maskloop.ui.main_thread import MainThread
from maskloop.ui.recent import RecentProjects
from maskloop.ui.session import Session
from maskloop.ui.tabs.advanced import AdvancedTab

DEADLINE_MS = 120_000
SMALL = {"depth": 2, "base_channels": 4}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    project = Project.create(tmp_path / "cells", mode="binary", architecture=SMALL)
    image, labels = simulate_pairs(1, shape=(64, 64), seed=1)[0]
    project.dataset.accept(image, labels > 0)
    return project.folder


@pytest.fixture
def session(qtbot: Any, tmp_path: Path, folder: Path) -> Iterator[Session]:
    session = Session(MainThread(), recent=RecentProjects(tmp_path / "recent.json"))
    session.workspace.open(folder)
    qtbot.waitUntil(lambda: session.workspace.snapshot.condition == "valid", timeout=DEADLINE_MS)
    yield session
    session.close()


@pytest.fixture
def tab(qtbot: Any, session: Session) -> Iterator[AdvancedTab]:
    chosen = Chosen.of(ViewerModel())
    tab = AdvancedTab(session, chosen)
    qtbot.addWidget(tab)
    tab.resize(350, 800)
    for section in tab.sections.values():
        section.button.setChecked(False)
    tab.show()
    qtbot.waitExposed(tab)
    yield tab
    chosen.close()


def click(qtbot: Any, button: Any) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def until(qtbot: Any, is_true: Any) -> None:
    qtbot.waitUntil(is_true, timeout=DEADLINE_MS)


def test_the_network_is_typed_counted_and_saved(qtbot: Any, tab: AdvancedTab, folder: Path) -> None:
    click(qtbot, tab.sections["Network"].button)
    network = tab.network
    assert not network.save.isEnabled()
    assert "Nothing was changed" in network.save.toolTip()
    field = network.form.editors["base_channels"]
    assert isinstance(field, QSpinBox)
    assert (field.minimum(), field.maximum()) == (0, 256)
    assert field.specialValueText() == "Automatic"
    assert "Feature channels" in field.toolTip()
    field.selectAll()
    qtbot.keyClicks(field, "6")
    qtbot.keyClick(field, Qt.Key.Key_Return)
    assert network.save.isEnabled()
    until(qtbot, lambda: "10 convolutions + 2 upsamplings + 1 projection" in network.summary.text())
    assert "for a training step of" in network.summary.text()
    click(qtbot, network.save)
    until(qtbot, lambda: Project.open(folder).architecture["base_channels"] == 6)
    until(qtbot, lambda: not network.save.isEnabled())


def test_an_edited_network_is_reverted(qtbot: Any, tab: AdvancedTab) -> None:
    click(qtbot, tab.sections["Network"].button)
    field = tab.network.form.editors["depth"]
    field.stepUp()
    until(qtbot, lambda: tab.network.revert.isEnabled())
    click(qtbot, tab.network.revert)
    assert field.value() == 2
    assert not tab.network.revert.isEnabled()


def test_weights_are_brought_in_and_chosen(
    qtbot: Any, tab: AdvancedTab, tmp_path: Path, folder: Path
) -> None:
    click(qtbot, tab.sections["Pretrained weights"].button)
    file = tmp_path / "deeper.pt"
    torch.save(build_unet(UNetNetwork(depth=3, base_channels=4)).state_dict(), file)
    weights = tab.weights
    assert "Select weights" in weights.start.toolTip()
    weights.bring_in(file)
    until(qtbot, lambda: weights.model.rowCount() == 1)
    assert "All tensors match (U-Net 2D, depth 3" in weights.words.text()
    weights.table.select(weights.model.shown[0].model.model_id)
    click(qtbot, weights.adopt)
    assert tab.network.form.editors["depth"].value() == 3
    click(qtbot, weights.start)
    until(qtbot, lambda: Project.open(folder).weights.start.mode == "imported_pretrained_unet")


def test_notes_are_kept_when_the_editor_is_left(qtbot: Any, tab: AdvancedTab, folder: Path) -> None:
    click(qtbot, tab.sections["Notes"].button)
    editor = tab.notes.editor
    editor.setFocus()
    qtbot.keyClicks(editor, "Stained with DAPI")
    assert tab.notes.state.text() == "Not saved yet"
    tab.network.save.parentWidget().setFocus()
    QApplication.sendEvent(editor, _focus_out())
    until(qtbot, lambda: Project.open(folder).notes == "Stained with DAPI")
    until(qtbot, lambda: tab.notes.state.text() == "Saved")


def _focus_out() -> Any:
    from qtpy.QtCore import QEvent
    from qtpy.QtGui import QFocusEvent

    return QFocusEvent(QEvent.Type.FocusOut)


def test_notes_are_kept_a_moment_after_the_last_key(
    qtbot: Any, tab: AdvancedTab, folder: Path
) -> None:
    click(qtbot, tab.sections["Notes"].button)
    qtbot.keyClicks(tab.notes.editor, "later")
    until(qtbot, lambda: Project.open(folder).notes == "later")


def test_notes_of_two_windows_are_chosen_from(qtbot: Any, tab: AdvancedTab, folder: Path) -> None:
    click(qtbot, tab.sections["Notes"].button)
    qtbot.keyClicks(tab.notes.editor, "mine")
    Project.open(folder).set_notes("theirs")
    until(qtbot, lambda: tab.notes.both.isVisible())
    assert "'theirs'" in tab.notes.theirs.text()
    click(qtbot, tab.notes.both)
    until(qtbot, lambda: Project.open(folder).notes == f"mine{BOTH}theirs")
    assert tab.notes.editor.toPlainText() == f"mine{BOTH}theirs"
    assert not tab.notes.both.isVisible()


def test_a_broken_record_is_found_and_repaired_after_asking(
    qtbot: Any, tab: AdvancedTab, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    click(qtbot, tab.sections["Check and repair"].button)
    (folder / layout.CHECKPOINTS).write_text("{")
    checkup = tab.checkup
    assert "Check the folder first" in checkup.repair.toolTip()
    click(qtbot, checkup.check)
    until(qtbot, lambda: checkup.model.rowCount() == 1)
    assert checkup.words.text().startswith("1 problem in ")
    checkup.table.select(checkup.model.key(checkup.model.shown[0]))
    assert "checkpoints.json" in checkup.detail.text()
    asked: list[str] = []
    monkeypatch.setattr(
        "maskloop.ui.tabs.advanced.ask",
        lambda _parent, _question, detail, **_: asked.append(detail) is None,
    )
    click(qtbot, checkup.repair)
    until(qtbot, lambda: checkup.words.text().startswith("Repaired."))
    assert "is rebuilt" in asked[0]
    assert "No file is deleted" in asked[0]


def test_a_folder_that_vanished_disables_what_writes_and_says_why(
    qtbot: Any, tab: AdvancedTab, session: Session, folder: Path
) -> None:
    folder.rename(folder.with_name("elsewhere"))
    until(qtbot, lambda: session.workspace.snapshot.condition == "missing")
    assert tab.notes.editor.isReadOnly()
    for button in (tab.weights.bring, tab.network.save, tab.checkup.check, tab.checkup.repair):
        assert not button.isEnabled()
        assert "Move it back" in button.toolTip()


def test_the_project_is_described(qtbot: Any, tab: AdvancedTab, folder: Path) -> None:
    click(qtbot, tab.sections["About this project"].button)
    until(qtbot, lambda: tab.about.facts.rowCount() > 3)
    assert tab.about.facts.itemAt(0, tab.about.facts.ItemRole.FieldRole).widget().text() == str(
        folder
    )


def test_nothing_is_wider_than_the_dock(tab: AdvancedTab) -> None:
    for title in ("Pretrained weights", "Notes", "Check and repair", "About this project"):
        tab.sections[title].button.setChecked(True)
    assert tab.area.widget().width() <= 350
    assert tab.area.widget().minimumSizeHint().width() <= 350
