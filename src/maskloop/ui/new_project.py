"""Ask what a new project is for; nothing is written before the person says Create."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

from qtpy.QtWidgets import (
    QButtonGroup,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)

from maskloop.errors import MaskloopError
from maskloop.project.project import refuse_occupied
from maskloop.task import OutputMode

__all__ = ["NewProjectDialog"]

EXPLAINED: dict[OutputMode, str] = {
    "binary": "Foreground or not (an area, a tissue)",
    "multiclass": "Several classes (axon, myelin, background ...)",
    "instances": "Single objects, counted and measured (nuclei, cells)",
}


class NewProjectDialog(QDialog):
    """Folder, kind of result and class names of a new project."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("New training project")
        self.folder = QLineEdit(placeholderText="A folder that does not exist yet")
        self.folder.setMinimumWidth(280)
        browse = QPushButton("Browse...")
        browse.clicked.connect(self._browse)
        place = QHBoxLayout()
        place.addWidget(self.folder, 1)
        place.addWidget(browse)
        self.modes = QButtonGroup(self)
        choices = QVBoxLayout()
        for number, mode in enumerate(get_args(OutputMode)):
            button = QRadioButton(EXPLAINED[mode])
            button.setObjectName(mode)
            self.modes.addButton(button, number)
            choices.addWidget(button)
        self.modes.button(get_args(OutputMode).index("instances")).setChecked(True)
        self.classes = QLineEdit(placeholderText="axon, myelin")
        self.classes.setToolTip("Names of the classes without the background, separated by commas.")
        self.words = QLabel(wordWrap=True)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.create = self.buttons.addButton("Create", QDialogButtonBox.ButtonRole.AcceptRole)
        form = QFormLayout(self)
        form.addRow("Folder", place)
        form.addRow("To be found", choices)
        form.addRow("Classes", self.classes)
        form.addRow(self.words)
        form.addRow(self.buttons)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        self.folder.textChanged.connect(self._check)
        self.classes.textChanged.connect(self._check)
        self.modes.idToggled.connect(self._check)
        self._check()

    @property
    def mode(self) -> OutputMode:
        """What the model shall find."""
        return list(EXPLAINED)[int(self.modes.checkedId())]

    @property
    def class_names(self) -> list[str]:
        """As typed, without the background."""
        return [name.strip() for name in self.classes.text().split(",") if name.strip()]

    @property
    def path(self) -> Path:
        """Where the project is made; what is no whole path is in the person's home, not wherever napari was started."""
        return Path.home() / Path(self.folder.text().strip()).expanduser()

    def _browse(self) -> None:
        chosen, _ = QFileDialog.getSaveFileName(
            self, "Name of the new project folder", str(Path.home()), "Folder (*)"
        )
        if chosen:
            self.folder.setText(chosen)

    def _check(self) -> None:
        is_multiclass = self.mode == "multiclass"
        self.classes.setPlaceholderText(
            "axon, myelin" if is_multiclass else "nucleus (may stay empty)"
        )
        missing = "Name a folder." if not self.folder.text().strip() else _why_not(self.path)
        if is_multiclass and not self.class_names:
            missing = missing or "Name the classes, separated by commas."
        self.words.setText(missing or f"It is made as '{self.path}'.")
        self.create.setEnabled(not missing)
        self.create.setToolTip(missing)


def _why_not(path: Path) -> str:
    """Why no project can be made there; empty when one can.

    Told while a person types, who would else have to type all anew.
    """
    try:
        refuse_occupied(path)
    except MaskloopError as error:
        return f"{error.problem} {error.way_out}"
    except OSError as error:
        return f"'{path}' cannot be used: {error.strerror}."
    above = next(folder for folder in path.parents if folder.is_dir())
    return (
        ""
        if os.access(above, os.W_OK)
        else f"You may not write to '{above}': name a folder elsewhere."
    )
