"""Predict files and folders: which ones, where their labels go, and which of them failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QPushButton, QWidget

from maskloop.images.readers import endings
from maskloop.jobs.outcomes import Failure
from maskloop.ui.actions import Action, ActionButton, ActionGrid
from maskloop.ui.arrange import form
from maskloop.ui.choice import Choice
from maskloop.ui.controllers.prediction import PredictionController
from maskloop.ui.tables import Column, RowModel, Table
from maskloop.ui.widgets import Line

__all__ = ["FilesSection"]

AXES = ("YX", "CYX", "YXC", "ZYX", "TYX", "CZYX", "ZCYX", "TCYX", "TZYX", "TZCYX", "TCZYX")
PROJECT, FOLDER = "project", "folder"


class FilesSection(QWidget):
    """Selects files and folders, predicts them and lists failures.

    Parameters
    ----------
    prediction
        Predicts them.
    """

    def __init__(self, prediction: PredictionController) -> None:
        super().__init__()
        self._prediction = prediction
        self.paths: list[str] = []
        self.out: Path | None = None
        self.words = Line()
        self.add_files, self.add_folder = QPushButton("Files..."), QPushButton("Folder...")
        self.clear = QPushButton("Clear")
        self.target = Choice("Save labels to", ((PROJECT, "This project"), (FOLDER, "A folder...")))
        # One choice for all files: those that name their axes need none.
        self.axes = Choice("Axes", ((None, "From file metadata"), *((axes, axes) for axes in AXES)))
        self.axes.setToolTip("The dimensions, if the files do not say")
        self.button = ActionButton(
            Action(
                "Predict files",
                lambda: prediction.predict_files(self.paths, out=self.out, axes=self.axes.value),
                lambda: prediction.why_not_files(self.paths, self.out),
            ),
            prediction.changed,
        )
        self.model: RowModel[Failure] = RowModel(
            [
                Column("Failed", lambda one: one.name, lambda one: one.file),
                Column("Reason", lambda one: one.problem, lambda one: _tooltip(one)),
            ]
        )
        # Failures only: a folder may hold thousands of files that worked.
        self.table = Table(self.model)
        self.table.filter.hide()
        self.table.set_widths(16, 60)
        form(
            [
                ActionGrid((self.add_files, self.add_folder, self.clear), columns=3),
                self.words,
                ("Save labels to", self.target),
                ("Axes", self.axes),
                self.button,
                self.table,
            ],
            into=self,
        )
        self._connect()
        self._show()
        self._show_failures()

    def _connect(self) -> None:
        self.add_files.clicked.connect(self._ask_files)
        self.add_folder.clicked.connect(
            lambda: self._ask_folder("Folder of images", lambda folder: self.add([folder]))
        )
        self.clear.clicked.connect(lambda: self.set_paths([]))
        self.target.chosen.connect(self._choose_target)
        self._prediction.run_changed.connect(self._show_failures)

    def add(self, paths: Sequence[str]) -> None:
        """Add files and folders to predict."""
        # A file that is added twice is predicted once.
        self.set_paths(list(dict.fromkeys([*self.paths, *paths])))

    def set_paths(self, paths: Sequence[str]) -> None:
        """Select other files and folders."""
        self.paths = list(paths)
        self._show()

    def set_out(self, folder: str | Path | None) -> None:
        """Choose where the labels are saved; None is the project."""
        self.out = None if folder is None else Path(folder)
        # The folder is named in the list itself: a line more would not fit the dock.
        self.target.setItemText(1, "A folder..." if self.out is None else str(self.out))
        self.target.set_value(PROJECT if self.out is None else FOLDER)
        self._show()

    def _ask_files(self) -> None:
        patterns = " ".join(f"*{ending}" for ending in endings())
        dialog = QFileDialog(self, "Images to predict", "", f"Images ({patterns});;All files (*)")
        dialog.setFileMode(QFileDialog.FileMode.ExistingFiles)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.filesSelected.connect(self.add)
        dialog.open()

    def _ask_folder(self, title: str, then: Callable[[str], None]) -> None:
        dialog = QFileDialog(self, title)
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(then)
        dialog.open()

    def _choose_target(self, target: str) -> None:
        # Until a folder is selected, the labels go where they went before.
        self.target.set_value(PROJECT if self.out is None else FOLDER)
        if target == PROJECT:
            self.set_out(None)
        else:
            self._ask_folder("Folder for the labels", self.set_out)

    def _show(self) -> None:
        names = ", ".join(Path(path).name for path in self.paths)
        self.words.setText(f"{len(self.paths)} selected: {names}" if names else "Nothing selected")
        # The line elides; the tooltip has every path.
        self.words.setToolTip("\n".join(self.paths))
        self.clear.setEnabled(bool(self.paths))
        self.button.refresh()

    def _show_failures(self) -> None:
        failures = self._prediction.progress.failures
        self.model.set_rows(failures)
        self.table.setVisible(bool(failures))


def _tooltip(failure: Failure) -> str:
    return f"{failure.problem}\n{failure.way_out}"
