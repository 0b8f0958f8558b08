"""The pair table: all annotated images, and what can be done with them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QTimer, Signal
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import QCheckBox, QWidget

from maskloop.ui.actions import Action, ActionButton, ActionGrid
from maskloop.ui.arrange import column
from maskloop.ui.controllers.pair_rows import PairRow
from maskloop.ui.session import Session
from maskloop.ui.tables import Column, RowModel, Table, Thumbnails
from maskloop.ui.widgets import Line, ask

__all__ = ["PairsSection"]

PORTION = 1000
THUMBNAIL_PX = 56
WIDTHS = (22, 9, 14, 18, 10, 13, 14, 11, 15, 10)


class PairsSection(QWidget):
    """Shows the pairs; removes, restores and reserves for validation what is selected.

    Parameters
    ----------
    session
        Whose pairs are shown.
    """

    wanted = Signal(str)
    """This pair is to be shown in the viewer."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._pairs = session.pairs
        self.thumbnails = Thumbnails(self._load, self._draw, size_px=THUMBNAIL_PX)
        self.model: RowModel[PairRow] = RowModel(self._columns(), key=lambda row: row.pair_id)
        self.table = Table(
            self.model, empty="No pairs yet: draw a mask and add it, or import pairs."
        )
        self.table.view.setAccessibleName("Annotated images")
        self.table.view.setIconSize(self.thumbnails.size)
        self.table.set_widths(*WIDTHS)
        self.table.setMinimumHeight(22 * self.fontMetrics().lineSpacing())
        self._wanted: list[PairRow] = []
        self._given: set[int] = set()
        self._more = QTimer(self, singleShot=True, interval=0)
        self._more.timeout.connect(self._fill)
        self.words = Line()
        self.removed_too = QCheckBox(
            "Show removed", toolTip="Also show removed pairs, which can be restored"
        )
        self._make_buttons()
        column((self.words, self.table, self.removed_too, self.buttons), into=self)
        self.table.selection_changed.connect(self._select)
        self.table.activated.connect(lambda row: self.wanted.emit(row.pair_id))
        self.removed_too.toggled.connect(self._show_rows)
        self._pairs.changed.connect(self._show_rows)
        session.workspace.events.snapshot_changed.connect(self.buttons.refresh)
        self._show_rows()

    def _make_buttons(self) -> None:
        pairs = self._pairs

        def button(
            title: str,
            run: Callable[[], object],
            why_not: Callable[[list[PairRow]], str | None],
            tooltip: str,
        ) -> ActionButton:
            return ActionButton(Action(title, run, lambda: why_not(self.table.selected()), tooltip))

        self.show_button = button(
            "Show", self._want, pairs.why_not_show, "Show the pair in the viewer, to correct it"
        )
        self.train_button = button(
            "Train on these",
            lambda: pairs.train_on(self._ids()),
            pairs.why_not_train_on,
            "The next training uses the selected pairs only",
        )
        self.validation_button = button(
            "For validation",
            lambda: pairs.mark_validation(self._ids()),
            pairs.why_not_validate,
            "Never train on these pairs: measure the score with them",
        )
        self.remove_button = button(
            "Remove",
            self._remove,
            pairs.why_not_remove,
            "Do not use these pairs. Their files stay; they can be restored.",
        )
        self.restore_button = button(
            "Restore",
            lambda: pairs.restore(self._ids()),
            pairs.why_not_restore,
            "Use these pairs again",
        )
        self.buttons = ActionGrid(
            (
                self.show_button,
                self.train_button,
                self.validation_button,
                self.remove_button,
                self.restore_button,
            )
        )

    def _columns(self) -> list[Column[PairRow]]:
        return [
            Column("Pair", lambda row: row.short, lambda row: row.tooltip, self._picture),
            Column("Objects", lambda row: row.objects),
            Column("Name", lambda row: row.name, lambda row: row.tooltip),
            Column("Near-duplicate of", lambda row: row.near or None, lambda row: row.near_tooltip),
            Column("Source", lambda row: row.source),
            Column("Shape", lambda row: row.shape, lambda row: f"{row.pair.axes} {row.shape}"),
            Column("Classes", lambda row: row.classes),
            Column("Split", lambda row: row.split or None),
            Column(
                "Used by",
                lambda row: row.used or None,
                lambda row: ", ".join(row.pair.used_in_checkpoints),
            ),
            Column("State", lambda row: row.state or None),
        ]

    def _ids(self) -> list[str]:
        return [row.pair_id for row in self.table.selected()]

    def _show_rows(self) -> None:
        self.words.setText(self._pairs.words)
        is_all = self.removed_too.isChecked()
        self._wanted = [row for row in self._pairs.rows if is_all or row.is_active]
        self._fill()

    def _fill(self) -> None:
        """Show the rows; thousands of new ones in portions, so that the window stays responsive."""
        new = [row for row in self._wanted if id(row) not in self._given]
        # By identity: a row that changed is another object.
        later = {id(row) for row in new[PORTION:]}
        rows = [row for row in self._wanted if id(row) not in later]
        self.model.set_rows(rows)
        self._given = {id(row) for row in rows}
        if later:
            self._more.start()
        self.buttons.refresh()

    def _select(self) -> None:
        """One click shows a pair."""
        self.buttons.refresh()
        if len(self._ids()) == 1:
            self._want()

    def _want(self) -> None:
        for pair_id in self._ids()[:1]:
            self.wanted.emit(pair_id)

    def _remove(self) -> None:
        ids = self._ids()
        detail = "Their files stay, and they can be restored."
        # One pair is restored with one click: no question for that.
        if len(ids) == 1 or ask(self, f"Remove {len(ids)} pairs?", detail, yes="Remove"):
            self._pairs.remove(ids)

    def _picture(self, row: PairRow) -> QPixmap | None:
        return self.thumbnails.get(row.picture_key)

    def _load(self, key: str, take: Callable[[NDArray[np.uint8]], None]) -> None:
        # The pair may be gone since its picture was asked for.
        row = self._pairs.row(key.split()[0])
        if row is not None:
            self._pairs.thumbnail(row, take)

    def _draw(self) -> None:
        self.table.view.viewport().update()
