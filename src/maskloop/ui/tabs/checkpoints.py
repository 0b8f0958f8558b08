"""Checkpoints: what came from what, how good it is, two of them compared, and what to do with one. Wiring only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QGridLayout, QLineEdit, QScrollArea, QVBoxLayout, QWidget

from maskloop.errors import MaskloopError
from maskloop.ui.chosen import Chosen
from maskloop.ui.controllers.ancestry import CheckpointRow
from maskloop.ui.controllers.comparison import Difference
from maskloop.ui.controllers.predicted import PredictedImage
from maskloop.ui.picker import ImagePicker
from maskloop.ui.predicted_layers import Subject, outline, show_predicted
from maskloop.ui.tables import Column, RowModel, Table
from maskloop.ui.widgets import Line, Notice, ProgressLine, ReasonButton, Section

if TYPE_CHECKING:
    from maskloop.ui.session import Session

__all__ = ["CheckpointsTab"]

ONE = "Choose one checkpoint in the table."
COLOURS = ("#3c9ee8", "#f0962d")
"""Of the outlines of the first and the second: apart for people who do not tell red from green."""
TWO = "Choose two checkpoints in the table (Ctrl+click the second)."


class CheckpointsTab(QWidget):
    """Shows, compares, notes, chooses and exports checkpoints.

    Parameters
    ----------
    session
        Whose project is shown.
    chosen
        The layers of the viewer.
    parent
        As for any widget.
    """

    def __init__(self, session: Session, chosen: Chosen, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session, self.part = session, session.checkpoints
        columns: list[Column[CheckpointRow]] = [
            Column(
                "Checkpoint",
                lambda row: ("\N{WARNING SIGN} " if row.warning else "") + row.label,
                lambda row: row.tooltip,
            ),
            Column("Dice", lambda row: row.dice, lambda row: row.tooltip),
            Column("IoU", lambda row: row.iou, lambda row: row.tooltip),
            Column("AP50", lambda row: row.ap50, lambda row: row.tooltip),
            Column("Images", lambda row: row.images, lambda row: row.tooltip),
            Column("From", lambda row: row.parent, lambda row: row.tooltip),
            Column("When (UTC)", lambda row: row.when, lambda row: row.tooltip),
            Column("Note", lambda row: row.note, lambda row: row.tooltip),
        ]
        self.model = RowModel(columns, key=lambda row: row.checkpoint_id)
        self.table = Table(self.model, empty="What you train is listed here.")
        self.table.set_widths(20, 7, 7, 7, 8, 15, 17, 24)
        self.table.setMinimumHeight(11 * self.fontMetrics().lineSpacing())
        self.one = OneSection(session)
        self.two = TwoSection(session, chosen)
        self._lay_out()
        self.table.selection_changed.connect(self._choose)
        self.part.events.rows_changed.connect(self._show)
        self.part.events.changed.connect(self._choose)
        self._show()

    def _lay_out(self) -> None:
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, 4, 0)
        column.addWidget(self.table)
        column.addWidget(Section("Chosen checkpoint", self.one))
        column.addWidget(Section("Compare two", self.two))
        column.addStretch(1)
        self.area = QScrollArea(widgetResizable=True)
        self.area.setFrameShape(QScrollArea.Shape.NoFrame)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.area.setWidget(inside)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(4, 4, 4, 4)
        whole.addWidget(self.area)

    def _show(self) -> None:
        self.model.set_rows(self.part.rows)
        self._choose()

    def _choose(self) -> None:
        rows = self.table.selected()
        self.one.show_row(rows[0] if len(rows) == 1 else None)
        self.two.show_rows(rows)


class OneSection(QWidget):
    """The chosen checkpoint: where it came from, its note, and what to do with it."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session, self._part = session, session.checkpoints
        self._row: CheckpointRow | None = None
        self.ancestry, self.scores, self.network = Line(ONE), Line(), Line()
        self.warning = Notice()
        self.note = QLineEdit(
            placeholderText="Note", accessibleName="Note", clearButtonEnabled=True
        )
        self.proceed = ReasonButton("Train on from it")
        self.predict = ReasonButton("Predict with it")
        self.export = ReasonButton("Export...")
        self.proceed.setToolTip("The next training goes on from this checkpoint.")
        self.predict.setToolTip("Choose it in Predict.")
        self.export.setToolTip(
            "Copy the file to anywhere: it describes itself, so it is all that is needed."
        )
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        for place, widget in enumerate(
            (self.ancestry, self.scores, self.network, self.warning, self.note)
        ):
            grid.addWidget(widget, place, 0, 1, 3)
        for place, button in enumerate((self.proceed, self.predict, self.export)):
            grid.addWidget(button, 5, place)
        self.note.editingFinished.connect(self._keep_note)
        self.proceed.clicked.connect(lambda: self._part.use_for_continuing(self._chosen))
        self.predict.clicked.connect(lambda: self._part.use_for_predicting(self._chosen))
        self.export.clicked.connect(self._ask_target)

    @property
    def _chosen(self) -> str:
        return self._row.checkpoint_id if self._row is not None else ""

    def show_row(self, row: CheckpointRow | None) -> None:
        """Show a checkpoint, or that none is chosen."""
        is_other = row is None or self._chosen != row.checkpoint_id
        if is_other:
            self._keep_note()
        self._row = row
        if is_other or not self.note.hasFocus():
            self.note.setText(row.note if row is not None else "")
        self.ancestry.setText(ONE if row is None else self._part.ancestry(row.checkpoint_id))
        self.scores.setText("" if row is None else row.scores or "No scores")
        self.network.setText(
            "" if row is None else f"{row.network}; {row.images} images, {row.mode}"
        )
        self.warning.show_message("" if row is None else row.warning, level="warning")
        self._enable(row)

    def _enable(self, row: CheckpointRow | None) -> None:
        part, chosen = self._part, self._chosen
        self.note.setEnabled(row is not None and part.why_not_write is None)
        self.note.setToolTip(
            ONE
            if row is None
            else part.why_not_write or "What you want to remember of this checkpoint"
        )
        self.proceed.set_reason(ONE if row is None else part.why_not_continue(chosen))
        self.predict.set_reason(ONE if row is None else part.why_not_predict(chosen))
        self.export.set_reason(ONE if row is None else part.why_not_export(chosen))

    def _keep_note(self) -> None:
        if self._row is not None and self.note.isEnabled():
            self._part.set_note(self._chosen, self.note.text())

    def _ask_target(self) -> None:
        checkpoint = self._chosen
        dialog = QFileDialog(self, f"Export {checkpoint}", f"{checkpoint}.pt", "Checkpoints (*.pt)")
        # It asks before it gives the name of a file that is there.
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setDefaultSuffix("pt")
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(
            lambda path: self._part.export(checkpoint, Path(path), overwrite=True)
        )
        dialog.open()


class TwoSection(QWidget):
    """Two checkpoints: what differs, and their predictions of one image."""

    def __init__(self, session: Session, chosen: Chosen) -> None:
        super().__init__()
        self._session, self._chosen, self._part = session, chosen, session.checkpoints
        self._ids: tuple[str, str] | None = None
        self.words = Line(TWO)
        self.model: RowModel[Difference] = RowModel(
            [
                Column("What", lambda row: row[0]),
                Column("First", lambda row: row[1]),
                Column("Second", lambda row: row[2]),
            ]
        )
        self.table = Table(self.model)
        self.table.filter.hide()
        self.table.set_widths(20, 16, 16)
        self.table.setMinimumHeight(10 * self.fontMetrics().lineSpacing())
        self.picker = ImagePicker(chosen)
        self.button = ReasonButton("Predict with both")
        self.button.setToolTip(
            "Predict this image with both, one after the other: the first is outlined in blue, the second in orange."
        )
        self.progress = ProgressLine()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for widget in (self.words, self.table, self.picker, self.button, self.progress):
            column.addWidget(widget)
        self.button.clicked.connect(self.predict)
        self.picker.changed.connect(self._enable)
        self.progress.cancelled.connect(session.prediction.cancel)
        session.prediction.events.changed.connect(self._enable)
        session.prediction.events.run_changed.connect(self._show_run)
        self.show_rows([])
        self._show_run()

    def show_rows(self, rows: list[CheckpointRow]) -> None:
        """Compare two checkpoints, the older one first; nothing where there are not two."""
        older = sorted(rows, key=lambda row: row.record.timestamp) if len(rows) == 2 else []
        self._ids = (older[0].checkpoint_id, older[1].checkpoint_id) if older else None
        differences = self._part.compare(*self._ids) if self._ids else []
        self.model.set_rows(differences)
        self.table.setVisible(bool(self._ids))
        self.words.setText(f"First {self._ids[0]}, second {self._ids[1]}" if self._ids else TWO)
        self._enable()

    def _subject(self) -> Subject:
        return Subject(
            self._chosen.viewer,
            self.picker.layers(),
            self.picker.axes(),
            "whole",
            self.picker.problem(),
        )

    def predict(self) -> None:
        """Predict the chosen image with both."""
        session, subject = self._session, self._subject()
        if self._ids is None or subject.image is None:
            session.fail(
                MaskloopError(
                    "Nothing was predicted.", TWO if self._ids is None else subject.problem or ""
                )
            )
            return
        colours = dict(zip(self._ids, COLOURS, strict=True))

        def show(found: PredictedImage) -> None:
            show_predicted(
                session, subject, found, lambda layer: outline(layer, colours[found.checkpoint_id])
            )

        self._part.side_by_side(
            *self._ids, subject.image, name=subject.name, origin=subject.origin, then=show
        )

    def _enable(self) -> None:
        subject = self._subject()
        self.button.set_reason(
            TWO
            if self._ids is None
            else self._part.why_not_side_by_side(*self._ids, subject.image, subject.problem)
        )

    def _show_run(self) -> None:
        prediction = self._session.prediction
        self.progress.setVisible(prediction.is_active)
        self.progress.show_progress(*prediction.story.share, prediction.story.words)
