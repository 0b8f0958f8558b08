"""Widgets of the Train tab: the plan as a table that can be edited, and the picture that sharpens."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QEvent, QSize, Qt, Signal
from qtpy.QtGui import QImage, QKeyEvent, QPixmap, QResizeEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLabel,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from maskloop.ui.controllers.train_plan import Row

__all__ = ["Picture", "PlanTable"]

WHAT, VALUE, WHY, BACK = range(4)
SOURCES = {
    "planned": "planned",
    "yours": "yours",
    "settings": "project's settings",
    "network": "Advanced",
}
MARGIN_PX = 8
VALUE_PX = 100
HINT = "Click a value to see why, double-click to change it."


class PlanTable(QTableWidget):
    """What, value, why: values can be typed over, and given back to the plan."""

    typed = Signal(str, str)
    """A name and what was typed for it."""
    given_back = Signal(str)
    """The name of a value that is left to the plan again."""

    explained = Signal(str)
    """Why the chosen value is what it is, in full."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, 4, parent)
        self.setAccessibleName("Plan")
        self.setHorizontalHeaderLabels(["What", "Value", "Why", ""])
        self.verticalHeader().hide()
        self.setWordWrap(False)
        self.setShowGrid(False)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        header = self.horizontalHeader()
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setMinimumSectionSize(1)
        for column in (WHAT, VALUE, BACK):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Fixed)
        header.setSectionResizeMode(WHY, QHeaderView.ResizeMode.Stretch)
        self._rows: list[Row] = []
        self.itemChanged.connect(self._tell_typed)
        self.cellClicked.connect(self._tell_clicked)
        self.currentCellChanged.connect(self._explain)

    def show_rows(self, rows: Sequence[Row]) -> None:
        """Show a plan; a value that is being typed is left alone."""
        if [row.name for row in rows] != [row.name for row in self._rows]:
            self.setRowCount(len(rows))
        edited = (
            self.currentItem() if self.state() == QAbstractItemView.State.EditingState else None
        )
        before = self.blockSignals(True)
        for index, row in enumerate(rows):
            if edited is None or edited.row() != index:
                self._fill(index, row)
        self.blockSignals(before)
        self._rows = list(rows)
        self._fit()
        self._explain()
        self.viewport().update()

    def _explain(self, *_: int) -> None:
        index = self.currentRow()
        self.explained.emit(
            f"{self._rows[index].label}: {self._rows[index].reason}"
            if 0 <= index < len(self._rows)
            else HINT
        )

    def _fill(self, index: int, row: Row) -> None:
        back = "\N{MULTIPLICATION SIGN}" if row.can_be_given_back else ""
        tip = f"{row.label} ({SOURCES[row.source]}): {row.tooltip}\n{row.reason}"
        for column, text in (
            (WHAT, row.label),
            (VALUE, row.words),
            (WHY, row.reason),
            (BACK, back),
        ):
            item = self.item(index, column) or QTableWidgetItem()
            if item.tableWidget() is None:
                self.setItem(index, column, item)
            item.setText(text)
            item.setToolTip(
                tip if column != BACK else "Leave it to the plan again (Delete)" if back else ""
            )
            is_typed = column == VALUE and row.is_editable
            item.setFlags(
                Qt.ItemFlag.ItemIsEnabled
                | Qt.ItemFlag.ItemIsSelectable
                | (Qt.ItemFlag.ItemIsEditable if is_typed else Qt.ItemFlag.NoItemFlags)
            )
            font = self.font()
            font.setBold(column in (WHAT, VALUE) and row.source == "yours")
            item.setFont(font)
            if column == BACK:
                item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)

    def _fit(self) -> None:
        metrics = self.fontMetrics()
        self.setColumnWidth(
            WHAT,
            max((metrics.horizontalAdvance(row.label) for row in self._rows), default=40)
            + 3 * MARGIN_PX,
        )
        self.setColumnWidth(
            VALUE,
            min(
                VALUE_PX,
                max((metrics.horizontalAdvance(row.words) for row in self._rows), default=40)
                + 3 * MARGIN_PX,
            ),
        )
        self.setColumnWidth(BACK, metrics.height() + MARGIN_PX)
        self.verticalHeader().setDefaultSectionSize(metrics.height() + MARGIN_PX)
        self.updateGeometry()

    def sizeHint(self) -> QSize:
        """As high as its rows: the tab scrolls, not the table."""
        rows = self.rowCount() * self.verticalHeader().defaultSectionSize()
        return QSize(
            200, self.horizontalHeader().sizeHint().height() + rows + 2 * self.frameWidth()
        )

    def minimumSizeHint(self) -> QSize:
        """See `sizeHint`."""
        return self.sizeHint()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Delete gives the value back."""
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


class Picture(QLabel):
    """A picture as wide as there is room, sharp on any screen."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.image: QImage | None = None

    def show_image(self, image: QImage | None) -> None:
        """Show another picture, or none."""
        self.image = image
        self._draw()

    def _draw(self) -> None:
        if self.image is None or self.image.isNull():
            self.clear()
            self.setFixedHeight(0)
            return
        width = max(1, min(self.width(), self.image.width()))
        height = max(1, round(self.image.height() * width / self.image.width()))
        ratio = self.devicePixelRatioF()
        size = QSize(round(width * ratio), round(height * ratio))
        scaled = self.image.scaled(
            size, Qt.AspectRatioMode.IgnoreAspectRatio, Qt.TransformationMode.SmoothTransformation
        )
        pixmap = QPixmap.fromImage(scaled)
        pixmap.setDevicePixelRatio(ratio)
        self.setPixmap(pixmap)
        self.setFixedHeight(height)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Fit the picture into the new width."""
        super().resizeEvent(event)
        if event.oldSize().width() != event.size().width():
            self._draw()

    def changeEvent(self, event: QEvent) -> None:
        """Draw anew on a screen of another resolution."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ScreenChangeInternal:
            self._draw()
