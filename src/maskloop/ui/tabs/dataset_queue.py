"""The annotation queue: which image is shown, and the way to the next."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QWidget

from maskloop.images.readers import endings
from maskloop.ui.actions import Action, ActionButton, ActionGrid
from maskloop.ui.arrange import column
from maskloop.ui.chosen import Chosen
from maskloop.ui.controllers.queue import QueueController
from maskloop.ui.layer_metadata import SOURCE
from maskloop.ui.picker import NAMED
from maskloop.ui.widgets import Line

__all__ = ["QueueSection"]


class QueueSection(QWidget):
    """Selects images and goes through them.

    Parameters
    ----------
    queue
        The list and the position in it.
    chosen
        The image that is shown: axes that a person names hold for the next ones.
    """

    def __init__(self, queue: QueueController, chosen: Chosen) -> None:
        super().__init__()
        self._queue, self._chosen = queue, chosen
        self.words = Line()
        self.previous_button = ActionButton(
            Action(
                "\N{BLACK LEFT-POINTING TRIANGLE} Previous",
                self.previous,
                lambda: queue.why_not_previous,
                "Open the previous image of the queue",
                "Ctrl+Shift+Left",
                "previous image",
            )
        )
        self.next_button = ActionButton(
            Action(
                "Next \N{BLACK RIGHT-POINTING TRIANGLE}",
                self.next,
                lambda: queue.why_not_next,
                "Open the next image of the queue",
                "Ctrl+Shift+Right",
                "next image",
            )
        )
        self.folder_button = ActionButton(
            Action("Folder...", self._ask_folder, tooltip="Select a folder of images")
        )
        self.files_button = ActionButton(
            Action("Files...", self._ask_files, tooltip="Select image files")
        )
        self.buttons = ActionGrid(
            (self.previous_button, self.next_button, self.folder_button, self.files_button)
        )
        column((self.words, self.buttons), into=self)
        queue.changed.connect(self._show)
        self._show()

    def next(self) -> None:
        """Open the next image of the queue."""
        self._remember_axes()
        self._queue.next()

    def previous(self) -> None:
        """Open the previous image of the queue."""
        self._remember_axes()
        self._queue.previous()

    def _remember_axes(self) -> None:
        # Only axes that a person named on an image of the queue hold for the next one.
        image = self._chosen.image.layer
        if image is not None and image.metadata.get(NAMED) and image.metadata.get(SOURCE):
            self._queue.name_axes(str(image.metadata["axes"]))

    def _ask_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of images to annotate")
        if folder:
            self._queue.choose([folder])

    def _ask_files(self) -> None:
        kinds = " ".join(f"*{ending}" for ending in endings())
        files, _ = QFileDialog.getOpenFileNames(self, "Images to annotate", "", f"Images ({kinds})")
        if files:
            self._queue.choose([Path(file) for file in files])

    def _show(self) -> None:
        self.words.setText(self._queue.words)
        self.buttons.refresh()
