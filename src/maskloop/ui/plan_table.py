"""The plan of a training as a table that can be edited."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from maskloop.ui.controllers.plan_rows import Row

__all__ = ["PlanTable"]

SETTING, VALUE, REASON, BACK = range(4)
READ_ONLY = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
SOURCES = {
    "planned": "automatic",
    "yours": "set by you",
    "settings": "project settings",
    "network": "Advanced tab",
}
MARGIN_PX = 8
VALUE_PX = 100
HINT = "Click a value to see its reason, double-click to change it."


class PlanTable(QTableWidget):
    """The settings of a plan with their reasons; values can be changed, and reset to automatic."""

    typed = Signal(str, str)
    """A name and what was typed for it."""
    given_back = Signal(str)
    """The name of a value that was reset to automatic."""
    explained = Signal(str)
    """The reason for the selected value, in full."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, 4, parent)
        self.setAccessibleName("Plan")
        self.setHorizontalHeaderLabels(["Setting", "Value", "Reason", ""])
        self.verticalHeader().hide()
        self.setWordWrap(False)
        self.setShowGrid(False)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        # The tab scrolls: see `sizeHint`.
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        header = self.horizontalHeader()
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        # Qt's usual minimum is wider than the column of the cross.
        header.setMinimumSectionSize(1)
        for column in (SETTING, VALUE, BACK):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Fixed)
        header.setSectionResizeMode(REASON, QHeaderView.ResizeMode.Stretch)
        self._rows: list[Row] = []
        self.itemChanged.connect(self._tell_typed)
        self.cellClicked.connect(self._tell_clicked)
        self.currentCellChanged.connect(self._explain)

    def show_rows(self, rows: Sequence[Row]) -> None:
        """Show a plan; a value that is being typed stays as it is."""
        if [row.name for row in rows] != [row.name for row in self._rows]:
            self.setRowCount(len(rows))
        is_typing = self.state() == QAbstractItemView.State.EditingState
        edited = self.currentRow() if is_typing else -1
        # `itemChanged` is for what a person changes.
        before = self.blockSignals(True)
        for index, row in enumerate(rows):
            if index != edited:
                self._fill(index, row)
        self.blockSignals(before)
        self._rows = list(rows)
        self._fit()
        self._explain()
        self.viewport().update()

    def _explain(self, *_: int) -> None:
        words, index = HINT, self.currentRow()
        if 0 <= index < len(self._rows):
            words = f"{self._rows[index].label}: {self._rows[index].reason}"
        self.explained.emit(words)

    def _fill(self, index: int, row: Row) -> None:
        tip = f"{row.label} ({SOURCES[row.source]}): {row.tooltip}\n{row.reason}"
        for column, text in ((SETTING, row.label), (VALUE, row.words), (REASON, row.reason)):
            self._item(index, column).setText(text)
            self._item(index, column).setToolTip(tip)
        # What a person changed is seen at a glance.
        font = self.font()
        font.setBold(row.source == "yours")
        for column in (SETTING, VALUE):
            self._item(index, column).setFont(font)
        if row.is_editable:
            self._item(index, VALUE).setFlags(READ_ONLY | Qt.ItemFlag.ItemIsEditable)
        else:
            self._item(index, VALUE).setFlags(READ_ONLY)
        back = self._item(index, BACK)
        back.setText("\N{MULTIPLICATION SIGN}" if row.can_be_given_back else "")
        back.setToolTip("Reset to automatic (Delete)" if row.can_be_given_back else "")
        back.setTextAlignment(Qt.AlignmentFlag.AlignCenter)

    def _item(self, index: int, column: int) -> QTableWidgetItem:
        """The cell, made when it is asked for first."""
        item = self.item(index, column)
        if item is None:
            item = QTableWidgetItem()
            item.setFlags(READ_ONLY)
            self.setItem(index, column, item)
        return item

    def _fit(self) -> None:
        metrics = self.fontMetrics()

        def width(texts: list[str]) -> int:
            return max(map(metrics.horizontalAdvance, texts), default=40) + 3 * MARGIN_PX

        self.setColumnWidth(SETTING, width([row.label for row in self._rows]))
        # A long value is elided, so that the reasons have room; its tooltip has all of it.
        self.setColumnWidth(VALUE, min(VALUE_PX, width([row.words for row in self._rows])))
        self.setColumnWidth(BACK, metrics.height() + MARGIN_PX)
        self.verticalHeader().setDefaultSectionSize(metrics.height() + MARGIN_PX)
        self.updateGeometry()

    def sizeHint(self) -> QSize:
        """As high as its rows: the tab scrolls, not the table."""
        rows = self.rowCount() * self.verticalHeader().defaultSectionSize()
        titles = self.horizontalHeader().sizeHint().height()
        return QSize(200, titles + rows + 2 * self.frameWidth())

    def minimumSizeHint(self) -> QSize:
        """See `sizeHint`."""
        return self.sizeHint()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Delete resets the value to automatic."""
        # While a cell is edited its editor gets the keys: Delete is for the row only.
        if event.key() in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace) and self.currentRow() >= 0:
            self._tell_clicked(self.currentRow(), BACK)
            return
        super().keyPressEvent(event)

    def _tell_typed(self, item: QTableWidgetItem) -> None:
        if item.column() == VALUE:
            self.typed.emit(self._rows[item.row()].name, item.text())

    def _tell_clicked(self, index: int, column: int) -> None:
        if column == BACK and self._rows[index].can_be_given_back:
            self.given_back.emit(self._rows[index].name)
