"""Pairs from folders: choose, look through, import."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from maskloop.ui.controllers.pair_import import ImportRow, PairImportController
from maskloop.ui.session import Session
from maskloop.ui.tables import Column, RowModel, Table
from maskloop.ui.widgets import Line, ProgressLine, ReasonButton, narrow_combo

__all__ = ["ImportSection", "PathLine"]

AXES = ("ZYX", "TYX", "CYX", "TZYX", "CZYX", "TCYX", "YXC")
GROUPS = (
    (
        "By likeness and name",
        None,
        "Images that look alike, and planes of one stack by their names",
    ),
    ("By folder", "folder", "All images of a folder belong together"),
    ("Each by itself", "file", "Every image shows something else"),
)


class PathLine(QWidget):
    """A path that can be typed or chosen."""

    def __init__(self, title: str, *, is_folder: bool = True) -> None:
        super().__init__()
        self._title, self._is_folder = title, is_folder
        self.line = QLineEdit(accessibleName=title, clearButtonEnabled=True)
        self.button = QToolButton(text="...", toolTip=f"Choose: {title.lower()}")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.line, 1)
        row.addWidget(self.button)
        self.button.clicked.connect(self._choose)

    def path(self) -> Path | None:
        """What was chosen."""
        text = self.line.text().strip()
        return Path(text).expanduser() if text else None

    def _choose(self) -> None:
        if self._is_folder:
            found = QFileDialog.getExistingDirectory(self, self._title, self.line.text())
        else:
            found, _ = QFileDialog.getOpenFileName(
                self, self._title, self.line.text(), "Tables (*.csv)"
            )
        if found:
            self.line.setText(found)


class ImportSection(QWidget):
    """Accepts the pairs of two folders, of one folder with a suffix, or of a table.

    Parameters
    ----------
    session
        Whose project they go into.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.part: PairImportController = session.dataset.importing
        self.images = PathLine("Folder of the images")
        self.masks = PathLine("Folder of the masks")
        self.suffix = QLineEdit(accessibleName="Masks end in", placeholderText="such as _mask")
        self.table_file = PathLine("Table of pairs", is_folder=False)
        self.axes = narrow_combo("Axes")
        self.axes.addItem("As the files tell", None)
        for axes in AXES:
            self.axes.addItem(axes, axes)
        self.groups = narrow_combo("Belong together")
        for title, group_by, tooltip in GROUPS:
            self.groups.addItem(title, group_by)
            self.groups.setItemData(self.groups.count() - 1, tooltip, 3)
        self.empty = QCheckBox("Images with nothing on them are meant")
        self.look_button = ReasonButton("Look through")
        self.look_button.setToolTip("See what fits; nothing is written")
        self.import_button = ReasonButton("Import")
        self.words = Line()
        self.progress = ProgressLine()
        self.model: RowModel[ImportRow] = RowModel(
            [
                Column("Image", lambda row: row.image),
                Column("Mask", lambda row: row.mask),
                Column("State", lambda row: row.state),
                Column("Why", lambda row: row.reason or None),
            ]
        )
        self.table = Table(self.model)
        self.table.set_widths(16, 16, 10, 60)
        self._lay_out()
        self._connect()
        self._show()

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Images", self.images)
        form.addRow("Masks", self.masks)
        form.addRow("Masks end in", self.suffix)
        form.addRow("or a table", self.table_file)
        form.addRow("Axes", self.axes)
        form.addRow("Together", self.groups)
        buttons = QHBoxLayout()
        buttons.addWidget(self.look_button)
        buttons.addWidget(self.import_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(form)
        column.addWidget(self.empty)
        column.addLayout(buttons)
        for widget in (self.progress, self.words, self.table):
            column.addWidget(widget)

    def _connect(self) -> None:
        for line in (self.images.line, self.masks.line, self.suffix, self.table_file.line):
            line.textChanged.connect(self._choose)
        for combo in (self.axes, self.groups):
            combo.activated.connect(self._choose)
        self.empty.toggled.connect(self._choose)
        self.look_button.clicked.connect(self.part.look)
        self.import_button.clicked.connect(self.part.run)
        self.progress.cancelled.connect(self.part.cancel)
        self.part.events.changed.connect(self._show)
        self._session.events.snapshot_changed.connect(self._enable)

    def _choose(self) -> None:
        self.part.choose(
            images=self.images.path(),
            masks=self.masks.path(),
            mask_suffix=self.suffix.text().strip(),
            table=self.table_file.path(),
            axes=self.axes.currentData(),
            group_by=self.groups.currentData(),
            allow_empty=self.empty.isChecked(),
        )
        self._enable()

    def _show(self) -> None:
        part = self.part
        self.progress.setVisible(part.is_busy)
        self.progress.show_progress(part.done, part.total, part.words)
        self.words.setVisible(not part.is_busy and bool(part.words))
        self.words.setText(part.words)
        self.table.setVisible(bool(part.rows))
        if self._shown is not part.rows:
            self._shown = part.rows
            self.model.set_rows(part.rows)
        self._enable()

    _shown: tuple[ImportRow, ...] | None = None

    def _enable(self, _snapshot: object = None) -> None:
        self.import_button.setText(self.part.title)
        self.look_button.set_reason(self.part.why_not_look)
        self.import_button.set_reason(self.part.why_not_import)
