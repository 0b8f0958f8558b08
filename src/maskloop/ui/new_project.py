"""Asks for the folder and the task of a new project; writes nothing."""

from __future__ import annotations

import os
from pathlib import Path

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
from maskloop.task import MODES, OutputMode

__all__ = ["NewProjectDialog"]

EXPLAINED: dict[OutputMode, str] = {
    "binary": "Foreground / background (e.g. tissue)",
    "multiclass": "Several classes (e.g. axon, myelin); background is implied",
    "instances": "Individual objects (e.g. nuclei, cells)",
}


class NewProjectDialog(QDialog):
    """Folder, task and class names of a new project."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("New training project")
        self.folder = QLineEdit(placeholderText="A new, empty folder")
        self.folder.setMinimumWidth(280)
        browse = QPushButton("Browse...")
        browse.clicked.connect(self._browse)
        place = QHBoxLayout()
        place.addWidget(self.folder, 1)
        place.addWidget(browse)
        self.modes = QButtonGroup(self)
        choices = QVBoxLayout()
        for number, mode in enumerate(MODES):
            button = QRadioButton(EXPLAINED[mode])
            self.modes.addButton(button, number)
            choices.addWidget(button)
        # What most people of the field segment.
        self.modes.button(MODES.index("instances")).setChecked(True)
        self.classes = QLineEdit(placeholderText="axon, myelin")
        self.classes.setToolTip("Names of the classes without the background, separated by commas")
        self.words = QLabel(wordWrap=True)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        # Nothing but this button writes anything.
        self.create = self.buttons.addButton("Create", QDialogButtonBox.ButtonRole.AcceptRole)
        form = QFormLayout(self)
        form.addRow("Folder", place)
        form.addRow(QLabel("What do you want to segment?"))
        form.addRow(choices)
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
        """What to segment."""
        return MODES[int(self.modes.checkedId())]

    @property
    def class_names(self) -> list[str]:
        """The names typed, without the background."""
        return [name.strip() for name in self.classes.text().split(",") if name.strip()]

    @property
    def path(self) -> Path:
        """The folder; a relative path starts at the home folder."""
        # Not at the working directory: nobody knows where napari was started.
        return Path.home() / Path(self.folder.text().strip()).expanduser()

    def _browse(self) -> None:
        # Not `getExistingDirectory`: the folder is to be created.
        chosen, _ = QFileDialog.getSaveFileName(
            self, "New project folder", str(Path.home()), "Folder (*)"
        )
        if chosen:
            self.folder.setText(chosen)

    def _check(self) -> None:
        is_multiclass = self.mode == "multiclass"
        self.classes.setPlaceholderText(
            "axon, myelin" if is_multiclass else "optional, e.g. nucleus"
        )
        reason = "Choose a new, empty folder."
        if self.folder.text().strip():
            reason = _why_not(self.path)
        if is_multiclass and not self.class_names:
            reason = reason or "Name the classes, separated by commas."
        self.words.setText(reason or f"Will be created at '{self.path}'.")
        self.create.setEnabled(not reason)
        self.create.setToolTip(reason)


def _why_not(path: Path) -> str:
    """Why no project can be created there; empty if one can."""
    # Checked as a person types: after Create the dialog and all that was typed would be gone.
    try:
        refuse_occupied(path)
    except MaskloopError as error:
        return f"{error.problem} {error.way_out}"
    except OSError as error:
        return f"'{path}' cannot be used: {error.strerror}."
    # The folder itself does not exist yet: the nearest one above it decides.
    above = next(folder for folder in path.parents if folder.is_dir())
    if os.access(above, os.W_OK):
        return ""
    return f"You have no permission to write to '{above}'. Choose another folder."
