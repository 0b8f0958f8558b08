"""Checkpoints: what was trained from what, how good it is, and what to do with it."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QLineEdit, QWidget

from maskloop.compute.predicted import PredictedImage
from maskloop.project.comparison import Difference
from maskloop.ui.actions import Action, ActionButton, ActionGrid
from maskloop.ui.arrange import column
from maskloop.ui.chosen import Chosen
from maskloop.ui.controllers.ancestry import CheckpointRow
from maskloop.ui.picker import ImagePicker
from maskloop.ui.predicted_layers import Subject, outline, show_predicted
from maskloop.ui.session import Session
from maskloop.ui.tables import Column, RowModel, Table
from maskloop.ui.tabs.base import Tab
from maskloop.ui.widgets import Line, Notice, ProgressLine, Section

__all__ = ["CheckpointsTab"]

ONE = "Select one checkpoint in the table."
TWO = "Select two checkpoints in the table (Ctrl+click the second)."
OUTLINES = ("#3c9ee8", "#f0962d")
"""Colors of the first and the second; can be told apart with any color vision."""


class CheckpointsTab(Tab):
    """Shows, compares, annotates, selects and exports checkpoints."""

    title = "Checkpoints"

    def __init__(self, session: Session, chosen: Chosen) -> None:
        super().__init__(session, chosen)
        self._checkpoints = session.checkpoints
        columns: list[Column[CheckpointRow]] = [
            Column("Checkpoint", lambda row: ("\N{WARNING SIGN} " * bool(row.warning)) + row.label),
            Column("Dice", lambda row: row.dice),
            Column("IoU", lambda row: row.iou),
            Column("AP50", lambda row: row.ap50),
            Column("Images", lambda row: row.images),
            Column("From", lambda row: row.parent),
            Column("Trained", lambda row: row.when),
            Column("Note", lambda row: row.note),
        ]
        # The same tooltip in each cell: the row is what is explained.
        columns = [Column(one.title, one.value, lambda row: row.tooltip) for one in columns]
        self.model = RowModel(columns, key=lambda row: row.checkpoint_id)
        self.table = Table(self.model, empty="Trained checkpoints are listed here.")
        self.table.set_widths(20, 7, 7, 7, 8, 15, 17, 24)
        # In lines of text, so that a larger font shows as many rows.
        self.table.setMinimumHeight(11 * self.fontMetrics().lineSpacing())
        self.one = OneSection(session)
        self.two = TwoSection(session, chosen)
        self.fill(
            (
                self.table,
                Section("Selected checkpoint", self.one),
                Section("Compare two", self.two),
            )
        )
        self.table.selection_changed.connect(self._select)
        self._checkpoints.rows_changed.connect(self._show)
        self._checkpoints.changed.connect(self._select)
        self._show()

    def _show(self) -> None:
        self.model.set_rows(self._checkpoints.rows)
        self._select()

    def _select(self) -> None:
        rows = self.table.selected()
        self.one.show_row(rows[0] if len(rows) == 1 else None)
        self.two.show_rows(rows)


class OneSection(QWidget):
    """The selected checkpoint: where it came from, its note, and what to do with it."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._checkpoints = one = session.checkpoints
        self._row: CheckpointRow | None = None
        self.ancestry = Line(ONE)
        self.scores, self.network = Line(), Line()
        self.warning = Notice()
        self.note = QLineEdit(
            placeholderText="Note", accessibleName="Note", clearButtonEnabled=True
        )
        self.proceed = ActionButton(
            Action(
                "Continue training",
                lambda: one.use_for_continuing(self._id),
                lambda: one.why_not_continue(self._id) if self._id else ONE,
                "The next training continues from this checkpoint",
            )
        )
        self.predict = ActionButton(
            Action(
                "Predict",
                lambda: one.use_for_predicting(self._id),
                lambda: one.why_not_predict(self._id) if self._id else ONE,
                "Select this checkpoint in Predict",
            )
        )
        self.export = ActionButton(
            Action(
                "Export...",
                self._ask_target,
                lambda: one.why_not_export(self._id) if self._id else ONE,
                "Copy the checkpoint anywhere; the one file is all that is needed",
            )
        )
        self.buttons = ActionGrid((self.proceed, self.predict, self.export), columns=3)
        words = (self.ancestry, self.scores, self.network, self.warning)
        column((*words, self.note, self.buttons), into=self)
        # Not at each key: every note is a write to the project, which may lie on a server.
        self.note.editingFinished.connect(self._keep_note)

    @property
    def _id(self) -> str:
        return self._row.checkpoint_id if self._row is not None else ""

    def show_row(self, row: CheckpointRow | None) -> None:
        """Show a checkpoint, or that none is selected."""
        # The same row comes again with each snapshot; a note that is being typed stays.
        is_other = row is None or self._id != row.checkpoint_id
        if is_other:
            self._keep_note()
        self._row = row
        if is_other or not self.note.hasFocus():
            self.note.setText(row.note if row is not None else "")
        why_not_write = self._checkpoints.why_not_write
        self.note.setEnabled(row is not None and why_not_write is None)
        self.buttons.refresh()
        for line in (self.scores, self.network):
            line.setVisible(row is not None)
        if row is None:
            self.ancestry.setText(ONE)
            self.warning.show_message("")
            self.note.setToolTip(ONE)
            return
        self.ancestry.setText(self._checkpoints.ancestry(row.checkpoint_id))
        self.scores.setText(row.scores or "No scores")
        self.network.setText(f"{row.network}; {row.images} images, {row.mode}")
        self.warning.show_message(row.warning, level="warning")
        self.note.setToolTip(why_not_write or "What to remember about this checkpoint")

    def _keep_note(self) -> None:
        # Not of a read-only project: the field is only shown there.
        if self._row is not None and self.note.isEnabled():
            self._checkpoints.set_note(self._id, self.note.text())

    def _ask_target(self) -> None:
        # Taken now: the selection may change while the dialog is open.
        checkpoint = self._id
        dialog = QFileDialog(self, f"Export {checkpoint}", f"{checkpoint}.pt", "Checkpoints (*.pt)")
        # The dialog itself asks before it returns the name of an existing file.
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setDefaultSuffix("pt")
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(
            lambda path: self._checkpoints.export(checkpoint, Path(path), overwrite=True)
        )
        dialog.open()


class TwoSection(QWidget):
    """Two checkpoints: what differs, and their predictions of one image."""

    def __init__(self, session: Session, chosen: Chosen) -> None:
        super().__init__()
        self._checkpoints, self._prediction = session.checkpoints, session.prediction
        self._workspace, self._predictions = session.workspace, session.predictions
        self._chosen = chosen
        self._ids: tuple[str, str] | None = None
        self.words = Line(TWO)
        self.model: RowModel[Difference] = RowModel(
            [
                Column("Property", lambda row: row[0]),
                Column("First", lambda row: row[1]),
                Column("Second", lambda row: row[2]),
            ]
        )
        self.table = Table(self.model)
        # A comparison has few rows: nothing to search for.
        self.table.filter.hide()
        self.table.set_widths(20, 16, 16)
        self.table.setMinimumHeight(10 * self.fontMetrics().lineSpacing())
        self.picker = ImagePicker(chosen)
        self.button = ActionButton(
            Action(
                "Predict with both",
                self.predict,
                self._why_not,
                "Predict this image with both: the first is outlined in blue, the second in orange",
            ),
            self.picker.changed,
            session.prediction.changed,
        )
        self.progress = ProgressLine()
        column((self.words, self.table, self.picker, self.button, self.progress), into=self)
        self.progress.cancelled.connect(session.prediction.cancel)
        session.prediction.run_changed.connect(self._show_run)
        self.show_rows([])
        self._show_run()

    def show_rows(self, rows: list[CheckpointRow]) -> None:
        """Compare two checkpoints, the older one first; nothing unless there are two."""
        # By age, not by selection: "second" is the newer one.
        older = sorted(rows, key=lambda row: row.record.timestamp) if len(rows) == 2 else []
        self._ids = (older[0].checkpoint_id, older[1].checkpoint_id) if older else None
        self.model.set_rows(self._checkpoints.compare(*self._ids) if self._ids else [])
        self.table.setVisible(bool(self._ids))
        self.words.setText(f"First {self._ids[0]}, second {self._ids[1]}" if self._ids else TWO)
        self.button.refresh()

    def _subject(self) -> Subject:
        picker = self.picker
        return Subject(
            self._chosen.viewer, picker.layers(), picker.axes(), "whole", picker.problem()
        )

    def _why_not(self) -> str | None:
        if self._ids is None:
            return TWO
        subject = self._subject()
        return self._checkpoints.why_not_side_by_side(*self._ids, subject.image, subject.problem)

    def predict(self) -> None:
        """Predict the selected image with both."""
        subject = self._subject()
        # Asked again: the image may have been removed since the button was drawn.
        if self._ids is None or subject.image is None:
            why_not = TWO if self._ids is None else subject.problem or ""
            self._workspace.may(why_not, "Nothing was predicted.")
            return
        # Taken now: other checkpoints may be selected before both predictions are there.
        colors = dict(zip(self._ids, OUTLINES, strict=True))

        def show(found: PredictedImage) -> None:
            show_predicted(
                self._predictions,
                subject,
                found,
                self._workspace.say,
                lambda layer: outline(layer, colors[found.checkpoint_id]),
            )

        self._checkpoints.side_by_side(
            *self._ids, subject.image, name=subject.name, origin=subject.origin, then=show
        )

    def _show_run(self) -> None:
        progress = self._prediction.progress
        self.progress.setVisible(self._prediction.is_active)
        self.progress.show_progress(progress.done, progress.total, progress.words)
