"""Tables of many rows that sort and filter at once: both use keys that are computed once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import (
    QAbstractTableModel,
    QEvent,
    QItemSelectionModel,
    QModelIndex,
    QRect,
    QSize,
    Qt,
    Signal,
)
from qtpy.QtGui import QImage, QPainter, QPaintEvent, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLineEdit,
    QTableView,
    QVBoxLayout,
    QWidget,
)

__all__ = ["Column", "RowModel", "Table", "Thumbnails"]

Row = TypeVar("Row")
ROW_MARGIN_PX = 4
MOST_KEPT = 500
"""Thumbnails in memory."""
Load = Callable[[str, Callable[[NDArray[np.uint8]], None]], None]


@dataclass(frozen=True)
class Column(Generic[Row]):
    """One column: what it shows of a row."""

    title: str
    value: Callable[[Row], Any]
    """Shown, sorted by and searched; None is empty and sorted last."""
    tooltip: Callable[[Row], str] | None = None
    """The whole text by default."""
    picture: Callable[[Row], QPixmap | None] | None = None


class RowModel(QAbstractTableModel, Generic[Row]):
    """Rows of records, sorted and filtered.

    Not a QSortFilterProxyModel, which asks Python for each comparison: slow for ten thousand rows.

    Parameters
    ----------
    columns
        What is shown of a row.
    key
        Identifies a row, so that the selection survives new rows; the row itself by default.
    """

    def __init__(
        self, columns: Sequence[Column[Row]], *, key: Callable[[Row], Any] = lambda row: row
    ) -> None:
        super().__init__()
        self.columns = list(columns)
        self.key = key
        self._rows: list[Row] = []
        # By id of the row, since rows need not be hashable: row, values, text to search.
        self._texts: dict[int, tuple[Row, list[Any], str]] = {}
        self._shown: list[Row] = []
        self._words: list[str] = []
        self._order: tuple[int, bool] | None = None
        self._sorted: dict[int, list[Row]] = {}

    @property
    def shown(self) -> list[Row]:
        """The rows that pass the filter, in the order shown."""
        return self._shown

    def set_rows(self, rows: Sequence[Row]) -> None:
        """Show other rows; those that are the same objects as before are not read again."""
        self._rows = list(rows)
        known = self._texts
        # With the row itself: while it lives, no other object has its id.
        self._texts = {id(row): known.get(id(row)) or self._read(row) for row in self._rows}
        self._sorted.clear()
        self._arrange()

    def _read(self, row: Row) -> tuple[Row, list[Any], str]:
        values = [column.value(row) for column in self.columns]
        return row, values, " ".join(str(value) for value in values if value is not None).casefold()

    def filter(self, text: str) -> None:
        """Show only rows that contain all these words, in any column."""
        self._words = text.casefold().split()
        self._arrange()

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column; a negative one restores the order of `set_rows`."""
        self._order = None if column < 0 else (column, order == Qt.SortOrder.DescendingOrder)
        self._arrange()

    def _arrange(self) -> None:
        texts, found = self._texts, self._in_order()
        if self._words:
            found = [row for row in found if all(word in texts[id(row)][2] for word in self._words)]
        # A change of the layout and not a reset: a reset would clear the selection.
        self.layoutAboutToBeChanged.emit()
        before = self.persistentIndexList()
        kept = [self.key(self._shown[index.row()]) for index in before]
        self._shown = found
        # Qt keeps the selection as indices, which are moved along with their rows.
        if before:
            places = {self.key(row): number for number, row in enumerate(found)}
            after = [
                self.index(places[key], index.column()) if key in places else QModelIndex()
                for key, index in zip(kept, before, strict=True)
            ]
            self.changePersistentIndexList(before, after)
        self.layoutChanged.emit()

    def _in_order(self) -> list[Row]:
        """All rows in order; each column is sorted once, until there are other rows."""
        if self._order is None:
            return self._rows
        column, is_descending = self._order
        if column not in self._sorted:
            values = [self._texts[id(row)][1][column] for row in self._rows]
            keys = [None if value is None else _sort_key(value) for value in values]
            places = [place for place, key in enumerate(keys) if key is not None]
            # Stable, so that equal values stay as the rows came.
            places.sort(key=keys.__getitem__)  # type: ignore[arg-type]
            self._sorted[column] = [self._rows[place] for place in places]
        filled = self._sorted[column]
        # Last in both directions: who sorts by a score looks for scores.
        empty = []
        if len(filled) < len(self._rows):
            empty = [row for row in self._rows if self._texts[id(row)][1][column] is None]
        return (filled[::-1] if is_descending else filled) + empty

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """The number of rows shown."""
        return 0 if parent is not None and parent.isValid() else len(self._shown)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """The number of columns."""
        return 0 if parent is not None and parent.isValid() else len(self.columns)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """The titles of the columns."""
        is_title = orientation == Qt.Orientation.Horizontal and role in (
            Qt.ItemDataRole.DisplayRole,
            Qt.ItemDataRole.ToolTipRole,
        )
        return self.columns[section].title if is_title else None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """The content of a cell."""
        row, column = self._shown[index.row()], self.columns[index.column()]
        value = self._texts[id(row)][1][index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return _text(value)
        if role == Qt.ItemDataRole.ToolTipRole:
            return column.tooltip(row) if column.tooltip is not None else _text(value)
        if role == Qt.ItemDataRole.DecorationRole and column.picture is not None:
            return column.picture(row)
        if role == Qt.ItemDataRole.TextAlignmentRole and isinstance(value, int | float):
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        return None


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _sort_key(value: Any) -> tuple[int, Any]:
    # Numbers before text: Python cannot compare one with the other.
    return (0, value) if isinstance(value, int | float) else (1, str(value).casefold())


class _View(QTableView):
    """A list of rows, with a sentence in its middle if there are none.

    Not a QTreeView, which asks the model for each of ten thousand rows whenever they are sorted,
    filtered or changed.
    """

    def __init__(self, empty: str) -> None:
        super().__init__(
            showGrid=False, cornerButtonEnabled=False, tabKeyNavigation=False, wordWrap=False
        )
        self._empty = empty
        self.verticalHeader().hide()
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self._fit_rows()

    def header(self) -> QHeaderView:
        """The titles of the columns."""
        return self.horizontalHeader()

    def setIconSize(self, size: QSize) -> None:
        """Show pictures of this size, in rows of their height."""
        super().setIconSize(size)
        self._fit_rows()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._fit_rows()

    def _fit_rows(self) -> None:
        # One height for all: fitting each row to its content asks for all of them.
        picture = self.iconSize().height() if self.iconSize().isValid() else 0
        self.verticalHeader().setDefaultSectionSize(
            max(self.fontMetrics().height(), picture) + ROW_MARGIN_PX
        )

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        if self.model() is not None and self.model().rowCount() == 0 and self._empty:
            painter = QPainter(self.viewport())
            painter.setPen(self.palette().color(self.palette().ColorRole.PlaceholderText))
            painter.drawText(
                QRect(self.viewport().rect()),
                Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap,
                self._empty,
            )
            painter.end()


class Table(QWidget):
    """A table with a filter; a click on a title sorts.

    Parameters
    ----------
    model
        The rows.
    empty
        Shown in the middle if there are no rows.
    """

    selection_changed = Signal()
    activated = Signal(object)
    """The row that was double-clicked, or on which Return was pressed."""

    def __init__(
        self, model: RowModel[Any], *, empty: str = "", parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.model = model
        self.filter = QLineEdit(
            placeholderText="Filter", clearButtonEnabled=True, accessibleName="Filter"
        )
        self.view = _View(empty)
        self.view.setModel(model)
        self.view.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.view.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.view.setSortingEnabled(True)
        header = self.view.header()
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setHighlightSections(False)
        # A third click on a title restores the order of the rows.
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        header.setSortIndicatorClearable(True)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setMinimumSectionSize(24)
        header.setDefaultSectionSize(84)
        self.view.setMinimumHeight(6 * self.fontMetrics().lineSpacing())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.filter)
        layout.addWidget(self.view, 1)
        self.filter.textChanged.connect(model.filter)
        self.view.selectionModel().selectionChanged.connect(self.selection_changed)
        self.view.activated.connect(lambda index: self.activated.emit(model.shown[index.row()]))

    def set_widths(self, *widths: int) -> None:
        """Set the widths of the columns, in letters."""
        # In letters, since fonts differ between systems.
        letter = self.fontMetrics().averageCharWidth()
        for column, letters in enumerate(widths):
            self.view.setColumnWidth(column, letters * letter)

    def selected(self) -> list[Any]:
        """The selected rows, in the order shown."""
        return [
            self.model.shown[index.row()]
            for index in sorted(self.view.selectionModel().selectedRows(), key=QModelIndex.row)
        ]

    def select(self, key: Any) -> None:
        """Select the row with this key and scroll to it."""
        for number, row in enumerate(self.model.shown):
            if self.model.key(row) == key:
                index = self.model.index(number, 0)
                flags = QItemSelectionModel.SelectionFlag
                self.view.selectionModel().setCurrentIndex(index, flags.ClearAndSelect | flags.Rows)
                self.view.scrollTo(index)


class Thumbnails:
    """Small pictures by key, loaded when they are shown for the first time.

    Parameters
    ----------
    load
        Called with a key and a function that takes the picture later, in the main thread: uint8, YX
        or YXC.
    changed
        Called when a picture was loaded, to draw it.
    size_px
        Size shown, in pixels of a standard screen.
    """

    def __init__(
        self,
        load: Load,
        changed: Callable[[], None],
        *,
        size_px: int = 32,
    ) -> None:
        self._load, self._changed = load, changed
        self.size = QSize(size_px, size_px)
        self._kept: OrderedDict[str, QPixmap] = OrderedDict()
        self._asked: set[str] = set()

    def get(self, key: str) -> QPixmap | None:
        """The picture, or None while it is being loaded."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if key not in self._asked:
            self._asked.add(key)
            self._load(key, lambda pixels: self._take(key, pixels))
        return None

    def _take(self, key: str, pixels: NDArray[np.uint8]) -> None:
        self._asked.discard(key)
        picture = to_pixmap(pixels)
        # A picture of more pixels is shown no larger, but sharp on a screen of high resolution.
        longer = max(picture.width(), picture.height())
        picture.setDevicePixelRatio(max(1.0, longer / self.size.width()))
        self._kept[key] = picture
        # The least recently shown go first: who scrolls back finds the others at once.
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        self._changed()

    def clear(self) -> None:
        """Forget all of them."""
        self._kept.clear()
        self._asked.clear()


def to_pixmap(pixels: NDArray[np.uint8]) -> QPixmap:
    """A picture of an array of uint8, YX (gray) or YXC (red, green, blue)."""
    whole = np.ascontiguousarray(pixels)
    height, width = whole.shape[:2]
    kind = QImage.Format.Format_Grayscale8 if whole.ndim == 2 else QImage.Format.Format_RGB888
    # The image uses the memory of the array; the pixmap is a copy.
    return QPixmap.fromImage(QImage(whole.data, width, height, whole.strides[0], kind))
