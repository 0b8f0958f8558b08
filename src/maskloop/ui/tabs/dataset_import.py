"""Import pairs from folders: select, check, import."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QCheckBox, QFileDialog, QHBoxLayout, QLineEdit, QToolButton, QWidget

from maskloop.ui.actions import Action, ActionButton, ActionGrid
from maskloop.ui.arrange import column, form
from maskloop.ui.choice import Choice
from maskloop.ui.controllers.pair_import import ImportRow
from maskloop.ui.session import Session
from maskloop.ui.tables import Column, RowModel, Table
from maskloop.ui.widgets import Line, ProgressLine

__all__ = ["ImportSection", "PathLine"]

AXES = ("ZYX", "TYX", "CYX", "TZYX", "CZYX", "TCYX", "YXC")
GROUPS = (
    (None, "By similarity and name", "Near-duplicates, and planes of one stack by their names"),
    ("folder", "By folder", "All images of a folder are kept together"),
    ("file", "None", "Every image is split on its own"),
)


class PathLine(QWidget):
    """A path that can be typed or selected."""

    def __init__(self, title: str, *, is_folder: bool = True) -> None:
        super().__init__()
        self._title, self._is_folder = title, is_folder
        self.line = QLineEdit(accessibleName=title, clearButtonEnabled=True)
        self.button = QToolButton(text="...", toolTip=f"Select: {title.lower()}")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.line, 1)
        layout.addWidget(self.button)
        self.button.clicked.connect(self._ask)

    def path(self) -> Path | None:
        """What was selected."""
        text = self.line.text().strip()
        return Path(text).expanduser() if text else None

    def _ask(self) -> None:
        before = self.line.text()
        if self._is_folder:
            found = QFileDialog.getExistingDirectory(self, self._title, before)
        else:
            found, _ = QFileDialog.getOpenFileName(self, self._title, before, "Tables (*.csv)")
        if found:
            self.line.setText(found)


class ImportSection(QWidget):
    """Adds the pairs of two folders, of one folder with a suffix, or of a table.

    Parameters
    ----------
    session
        Whose project they are added to.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._import = session.pair_import
        self._shown: tuple[ImportRow, ...] | None = None
        self.images = PathLine("Folder of the images")
        self.masks = PathLine("Folder of the masks")
        self.suffix = QLineEdit(accessibleName="Mask suffix", placeholderText="e.g. _mask")
        self.table_file = PathLine("CSV table of pairs", is_folder=False)
        self.axes = Choice("Axes", ((None, "From file metadata"), *((one, one) for one in AXES)))
        self.groups = Choice("Keep together for validation", GROUPS)
        self.empty = QCheckBox("Allow empty masks")
        self.look_button = ActionButton(
            Action(
                "Check files",
                self._import.look,
                lambda: self._import.why_not_look,
                "See what can be imported; nothing is written",
            )
        )
        self.import_button = ActionButton(
            Action(
                lambda: self._import.title, self._import.run, lambda: self._import.why_not_import
            )
        )
        self.buttons = ActionGrid((self.look_button, self.import_button))
        self.words = Line()
        self.progress = ProgressLine()
        self.model: RowModel[ImportRow] = RowModel(
            [
                Column("Image", lambda row: row.image),
                Column("Mask", lambda row: row.mask),
                Column("State", lambda row: row.state),
                Column("Reason", lambda row: row.reason or None),
            ]
        )
        self.table = Table(self.model)
        self.table.set_widths(16, 16, 10, 60)
        choices = form(
            [
                ("Images", self.images),
                ("Masks", self.masks),
                ("Mask suffix", self.suffix),
                ("or CSV table", self.table_file),
                ("Axes", self.axes),
                ("Keep together", self.groups),
                self.empty,
            ]
        )
        column((choices, self.buttons, self.progress, self.words, self.table), into=self)
        self._connect()
        session.workspace.events.snapshot_changed.connect(self.buttons.refresh)
        session.workspace.events.project_changed.connect(self._clear)
        self._show()

    def _connect(self) -> None:
        for line in (self.images.line, self.masks.line, self.suffix, self.table_file.line):
            # At each key: the buttons say at once what is still missing.
            line.textChanged.connect(self._choose)
        for choice in (self.axes, self.groups):
            choice.activated.connect(self._choose)
        self.empty.toggled.connect(self._choose)
        self.progress.cancelled.connect(self._import.cancel)
        self._import.changed.connect(self._show)

    def _clear(self, _project: object) -> None:
        """Another project gets no files of the one before."""
        for line in (self.images.line, self.masks.line, self.suffix, self.table_file.line):
            line.clear()
        for choice in (self.axes, self.groups):
            choice.setCurrentIndex(0)
        self.empty.setChecked(False)
        self._choose()

    def _choose(self) -> None:
        self._import.choose(
            images=self.images.path(),
            masks=self.masks.path(),
            mask_suffix=self.suffix.text().strip(),
            table=self.table_file.path(),
            axes=self.axes.value,
            group_by=self.groups.value,
            allow_empty=self.empty.isChecked(),
        )
        self.buttons.refresh()

    def _show(self) -> None:
        one = self._import
        self.progress.setVisible(one.is_busy)
        self.progress.show_progress(one.done, one.total, one.words)
        self.words.setVisible(not one.is_busy and bool(one.words))
        self.words.setText(one.words)
        self.table.setVisible(bool(one.rows))
        # Progress comes ten times a second; the rows only at the end.
        if self._shown is not one.rows:
            self._shown = one.rows
            self.model.set_rows(one.rows)
        self.buttons.refresh()
