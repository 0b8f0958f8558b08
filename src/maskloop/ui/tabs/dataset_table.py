"""The pair table: all that was accepted, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QTimer, Signal
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import QCheckBox, QGridLayout, QVBoxLayout, QWidget

from maskloop.ui.controllers.dataset import DatasetController
from maskloop.ui.controllers.pair_rows import PairRow
from maskloop.ui.session import Session
from maskloop.ui.tables import Column, RowModel, Table, Thumbnails
from maskloop.ui.widgets import Line, ReasonButton, ask

__all__ = ["PairsSection"]

PORTION = 1000
THUMBNAIL_PX = 56
WIDTHS = (22, 9, 14, 15, 10, 13, 14, 11, 15, 10)


class PairsSection(QWidget):
    """Shows the pairs and removes, restores, keeps for validation what is marked.

    Parameters
    ----------
    session
        Whose pairs are shown.
    """

    wanted = Signal(str)
    """This pair is to be shown in the viewer."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.part: DatasetController = session.dataset
        self.thumbnails = Thumbnails(self._load, self._draw, size_px=THUMBNAIL_PX)
        self.model: RowModel[PairRow] = RowModel(self._columns(), key=lambda row: row.pair_id)
        self.table = Table(
            self.model, empty="No pairs yet: draw a mask and accept it, or import pairs."
        )
        self.table.view.setAccessibleName("Pairs")
        self.table.view.setIconSize(self.thumbnails.size)
        self.table.set_widths(*WIDTHS)
        self.table.setMinimumHeight(22 * self.fontMetrics().lineSpacing())
        self._wanted: list[PairRow] = []
        self._given: set[int] = set()
        self._more = QTimer(self, singleShot=True, interval=0)
        self._more.timeout.connect(self._fill)
        self.words = Line()
        self.removed_too = QCheckBox(
            "Removed too", toolTip="Show pairs that were removed; they can be brought back"
        )
        self.show_button = ReasonButton("Show")
        self.show_button.setToolTip("Show the pair in the viewer to look at it or to correct it")
        self.remove_button = ReasonButton("Remove")
        self.remove_button.setToolTip(
            "Leave these pairs out from now on. Their files stay; they can be brought back."
        )
        self.restore_button = ReasonButton("Bring back")
        self.restore_button.setToolTip("Train on these pairs again")
        self.validation_button = ReasonButton("For validation")
        self.validation_button.setToolTip("Never train on these pairs: measure with them")
        self.train_button = ReasonButton("Train on these")
        self.train_button.setToolTip("The next training learns from the marked pairs only")
        self._lay_out()
        self._connect()
        self._show_rows()

    def _columns(self) -> list[Column[PairRow]]:
        return [
            Column("Pair", lambda row: row.short, lambda row: row.tooltip, self._picture),
            Column("Objects", lambda row: row.objects),
            Column("Name", lambda row: row.name, lambda row: row.tooltip),
            Column("Like", lambda row: row.like or None, lambda row: row.like_tooltip),
            Column("Source", lambda row: row.source),
            Column("Shape", lambda row: row.shape, lambda row: f"{row.pair.axes} {row.shape}"),
            Column("Classes", lambda row: row.classes),
            Column("Split", lambda row: row.split or None),
            Column(
                "Used in",
                lambda row: row.used or None,
                lambda row: ", ".join(row.pair.used_in_checkpoints),
            ),
            Column("State", lambda row: row.state or None),
        ]

    def _lay_out(self) -> None:
        buttons = QGridLayout()
        for place, button in enumerate(
            (
                self.show_button,
                self.train_button,
                self.validation_button,
                self.remove_button,
                self.restore_button,
            )
        ):
            buttons.addWidget(button, place // 2, place % 2)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.words)
        column.addWidget(self.table, 1)
        column.addWidget(self.removed_too)
        column.addLayout(buttons)

    def _connect(self) -> None:
        self.table.selection_changed.connect(self._select)
        self.table.activated.connect(lambda row: self.wanted.emit(row.pair_id))
        self.removed_too.toggled.connect(self._show_rows)
        self.show_button.clicked.connect(self._want)
        self.remove_button.clicked.connect(self._remove)
        self.restore_button.clicked.connect(lambda: self.part.restore(self._ids()))
        self.validation_button.clicked.connect(lambda: self.part.mark_validation(self._ids()))
        self.train_button.clicked.connect(lambda: self.part.train_on(self._ids()))
        self.part.events.rows_changed.connect(self._show_rows)
        self._session.events.snapshot_changed.connect(self._enable)

    def _ids(self) -> list[str]:
        return [row.pair_id for row in self.table.selected()]

    def _show_rows(self) -> None:
        self.words.setText(self.part.words)
        self._wanted = (
            list(self.part.rows)
            if self.removed_too.isChecked()
            else [row for row in self.part.rows if row.is_active]
        )
        self._fill()

    def _fill(self) -> None:
        """Hand the rows over; thousands of new ones in portions, so that the window stays awake."""
        new = [row for row in self._wanted if id(row) not in self._given]
        later = {id(row) for row in new[PORTION:]}
        rows = [row for row in self._wanted if id(row) not in later]
        self.model.set_rows(rows)
        self._given = {id(row) for row in rows}
        if later:
            self._more.start()
        self._enable()

    def _select(self) -> None:
        """One click shows a pair."""
        self._enable()
        ids = self._ids()
        if len(ids) == 1:
            self.wanted.emit(ids[0])

    def _want(self) -> None:
        for pair_id in self._ids()[:1]:
            self.wanted.emit(pair_id)

    def _remove(self) -> None:
        ids = self._ids()
        if len(ids) == 1 or ask(
            self,
            f"Remove {len(ids)} pairs?",
            "Their files stay, and they can be brought back.",
            yes="Remove",
        ):
            self.part.remove(ids)

    def _enable(self, _snapshot: object = None) -> None:
        rows = self.table.selected()
        self.show_button.set_reason(self.part.why_not_show(rows))
        self.remove_button.set_reason(self.part.why_not_remove(rows))
        self.restore_button.set_reason(self.part.why_not_restore(rows))
        self.validation_button.set_reason(self.part.why_not_validate(rows))
        self.train_button.set_reason(self.part.why_not_train_on(rows))

    def _picture(self, row: PairRow) -> QPixmap | None:
        return self.thumbnails.get(row.picture_key)

    def _load(self, key: str, take: Callable[[NDArray[np.uint8]], None]) -> None:
        row = self.part.row(key.split()[0])
        if row is not None:
            self.part.thumbnail(row, take)

    def _draw(self) -> None:
        self.table.view.viewport().update()
