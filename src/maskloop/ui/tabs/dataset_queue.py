"""Images to go through: which is shown, and the way to the next; wiring only."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QGridLayout, QPushButton, QVBoxLayout, QWidget

from maskloop.images.readers import endings
from maskloop.ui.chosen import Chosen
from maskloop.ui.controllers.display import SOURCE
from maskloop.ui.controllers.queue import QueueController
from maskloop.ui.picker import NAMED
from maskloop.ui.widgets import Line, ReasonButton

__all__ = ["QueueSection"]


class QueueSection(QWidget):
    """Lists images and goes through them.

    Parameters
    ----------
    part
        The list and the place in it.
    chosen
        The image that is shown: what a person says of its axes holds for the next ones.
    """

    def __init__(self, part: QueueController, chosen: Chosen) -> None:
        super().__init__()
        self.part, self._chosen = part, chosen
        self.words = Line()
        self.previous_button = ReasonButton("◀ Previous")
        self.next_button = ReasonButton("Next ▶")
        self.folder_button = QPushButton(
            "Folder...", toolTip="Choose a folder of images to go through"
        )
        self.files_button = QPushButton("Files...", toolTip="Choose image files to go through")
        buttons = QGridLayout()
        for place, (button, verb) in enumerate(
            (
                (self.previous_button, self.previous),
                (self.next_button, self.next),
                (self.folder_button, self._choose_folder),
                (self.files_button, self._choose_files),
            )
        ):
            buttons.addWidget(button, place // 2, place % 2)
            button.clicked.connect(verb)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.words)
        column.addLayout(buttons)
        part.events.changed.connect(self._show)
        self._show()

    def next(self) -> None:
        """Open the next image of the list."""
        self._remember_axes()
        self.part.next()

    def previous(self) -> None:
        """Open the image before in the list."""
        self._remember_axes()
        self.part.previous()

    def _remember_axes(self) -> None:
        image = self._chosen.image.layer
        if image is not None and image.metadata.get(NAMED) and image.metadata.get(SOURCE):
            self.part.name_axes(str(image.metadata["axes"]))

    def _choose_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of images to go through")
        if folder:
            self.part.choose([folder])

    def _choose_files(self) -> None:
        kinds = " ".join(f"*{ending}" for ending in endings())
        files, _ = QFileDialog.getOpenFileNames(
            self, "Images to go through", "", f"Images ({kinds})"
        )
        if files:
            self.part.choose([Path(file) for file in files])

    def _show(self) -> None:
        self.words.setText(self.part.words)
        self.next_button.set_reason(self.part.why_not_next)
        self.previous_button.set_reason(self.part.why_not_previous)
