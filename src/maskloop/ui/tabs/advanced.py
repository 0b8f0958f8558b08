"""The Advanced tab: the network, pretrained weights, notes, check and repair, and what is known of the project."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QEvent, QObject, Qt, QTimer, QUrl
from qtpy.QtGui import QDesktopServices, QHideEvent, QShowEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QTextEdit,
    QVBoxLayout,
    QWidget,
)

from maskloop.project.check import Problem
from maskloop.ui.chosen import Chosen
from maskloop.ui.controllers.advanced import AdvancedController
from maskloop.ui.controllers.weights_import import SUFFIXES, ModelRow
from maskloop.ui.forms import RecordForm
from maskloop.ui.session import Session
from maskloop.ui.tables import Column, RowModel, Table
from maskloop.ui.widgets import Line, Notice, ProgressLine, ReasonButton, Section, ask

__all__ = ["AdvancedTab"]

COUNT_AFTER_MS = 300
"""The network is counted when nothing was typed for so long; a tab that is shown in passing
counts nothing.
"""
PAUSE_MS = 1000
"""Notes are kept when nothing was typed for so long."""


class AdvancedTab(QScrollArea):
    """What is needed now and then, in sections that fold.

    Parameters
    ----------
    session
        What is shown, and does what is asked.
    chosen
        What of the viewer the person works on; nothing of it is needed here.
    parent
        As for any widget.
    """

    def __init__(self, session: Session, chosen: Chosen, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.chosen = chosen
        part = session.advanced
        self.network = NetworkSection(session)
        self.weights = WeightsSection(session)
        self.notes = NotesSection(session)
        self.checkup = CheckupSection(session)
        self.about = AboutSection(part)
        self.sections: dict[str, Section] = {}
        content = QWidget()
        layout = QVBoxLayout(content)
        layout.setContentsMargins(4, 4, 4, 4)
        for title, section, is_open in (
            ("Network", self.network, True),
            ("Pretrained weights", self.weights, False),
            ("Notes", self.notes, True),
            ("Check and repair", self.checkup, False),
            ("About this project", self.about, False),
        ):
            self.sections[title] = Section(title, section, expanded=is_open)
            layout.addWidget(self.sections[title])
        layout.addStretch(1)
        self.setWidget(content)
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)


def _column(widget: QWidget) -> QVBoxLayout:
    layout = QVBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    return layout


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget)
    row.addStretch(1)
    return row


class _Words(QLabel):
    """A sentence or two, which may be marked and copied; takes no room while there are none."""

    def __init__(self) -> None:
        super().__init__(wordWrap=True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.hide()

    def setText(self, text: str) -> None:
        """Show another text."""
        super().setText(text)
        self.setVisible(bool(text))


class NetworkSection(QWidget):
    """The form of the network, with what it means below."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._part = session.advanced.network
        self.form = RecordForm(self._part.kind)
        self._kind = self._part.kind
        self.decided, self.summary, self.adapted, self.misfits = (
            _Words(),
            _Words(),
            _Words(),
            _Words(),
        )
        self.problem = Notice()
        self.save, self.revert = ReasonButton("Save"), ReasonButton("Revert")
        layout = _column(self)
        for widget in (
            self.form,
            self.decided,
            self.problem,
            self.summary,
            self.adapted,
            self.misfits,
        ):
            layout.addWidget(widget)
        layout.addLayout(_row(self.save, self.revert))
        self.form.changed.connect(self._part.edit)
        self.save.clicked.connect(self._part.save)
        self.revert.clicked.connect(self._part.revert)
        self._typed = QTimer(self, singleShot=True, interval=COUNT_AFTER_MS)
        self._typed.timeout.connect(self._part.count)
        self._part.events.stale.connect(self._count_soon)
        self._part.events.loaded.connect(self._load)
        self._part.events.changed.connect(self._show)
        self._load()
        self._show()

    def _count_soon(self) -> None:
        self._typed.start()

    def _load(self) -> None:
        if self._part.kind is not self._kind:
            self._draw()
        known = self._kind.model_fields
        self.form.set_values(
            {name: value for name, value in self._part.values.items() if name in known}
        )

    def _draw(self) -> None:
        """Draw the choices that another backend takes."""
        self._kind = self._part.kind
        form = RecordForm(self._kind)
        form.changed.connect(self._part.edit)
        layout = self.layout()
        assert layout is not None
        layout.replaceWidget(self.form, form)
        self.form.deleteLater()
        self.form = form

    def _show(self) -> None:
        part = self._part
        self.decided.setText(part.decided)
        self.problem.show_message(part.complaint, level="warning")
        self.summary.setText(part.words)
        self.adapted.setText(part.adapted)
        self.misfits.setText(part.misfits)
        self.save.set_reason(part.why_not_save)
        self.revert.set_reason(None if part.is_dirty else "Nothing was changed.")

    def showEvent(self, event: QShowEvent) -> None:
        """Count while somebody looks."""
        super().showEvent(event)
        self._part.watch(True)

    def hideEvent(self, event: QHideEvent) -> None:
        """Let the counting be."""
        super().hideEvent(event)
        self._part.watch(False)


class WeightsSection(QWidget):
    """Weights from elsewhere: brought in, listed, chosen for the next training."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session, self._part, self._network = (
            session,
            session.advanced.imported,
            session.advanced.network,
        )
        self.bring = ReasonButton("Import weights...")
        self.as_form = QCheckBox("Their network is the one in the form above")
        self.as_form.setToolTip("Otherwise it is read from the file, as far as the file tells.")
        self.words = _Words()
        self.model: RowModel[ModelRow] = RowModel(
            [
                Column(
                    "Name", lambda row: row.model.model_name, tooltip=lambda row: row.model.model_id
                ),
                Column("Network", lambda row: row.fit),
                Column("Next", lambda row: "yes" if row.is_start else ""),
                Column("Imported", lambda row: row.model.imported_at[:10]),
            ],
            key=lambda row: row.model.model_id,
        )
        self.table = Table(self.model, empty="No weights were imported yet.")
        self.table.set_widths(16, 22, 6, 11)
        self.start = ReasonButton("Use for the next training")
        self.adopt = ReasonButton("Show their network above")
        layout = _column(self)
        layout.addLayout(_row(self.bring))
        for widget in (self.as_form, self.words, self.table):
            layout.addWidget(widget)
        layout.addWidget(self.start)
        layout.addWidget(self.adopt)
        self.bring.clicked.connect(self.ask_file)
        self.start.clicked.connect(lambda: self._part.start_from(self._chosen()))
        self.adopt.clicked.connect(
            lambda: self._network.show(self._part.network_of(self._chosen()))
        )
        self.table.selection_changed.connect(self._enable)
        self._part.events.changed.connect(self._show)
        session.events.snapshot_changed.connect(self._enable)
        self._show()

    def ask_file(self) -> None:
        """Ask for a file and bring it in."""
        kinds = " ".join(f"*{suffix}" for suffix in SUFFIXES)
        file, _ = QFileDialog.getOpenFileName(self, "Weights to import", "", f"Weights ({kinds})")
        if file:
            self.bring_in(Path(file))

    def bring_in(self, file: Path) -> None:
        """Bring a file in, with the network of the form where it was ticked."""
        self._part.bring_in(file, self._network.edited if self.as_form.isChecked() else None)

    def _chosen(self) -> str:
        return next((row.model.model_id for row in self.table.selected()), "")

    def _show(self) -> None:
        self.words.setText(self._part.words)
        self.model.set_rows(self._part.rows)
        self._enable()

    def _enable(self) -> None:
        unwritable = self._session.snapshot.why_not_write
        self.bring.set_reason(self._part.why_not_bring_in)
        chosen = self._chosen()
        self.start.set_reason(unwritable or (None if chosen else "Select weights in the table."))
        self.adopt.set_reason(None if chosen else "Select weights in the table.")


class NotesSection(QWidget):
    """Notes, kept by themselves; those of two windows are both offered."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session, self._part = session, session.advanced.notes
        self.editor = QTextEdit(
            accessibleName="Notes",
            placeholderText="What the next person should know",
            acceptRichText=False,
        )
        self.editor.setFixedHeight(7 * self.fontMetrics().lineSpacing())
        self.state = Line()
        self.theirs = Notice()
        self.both, self.mine, self.other = (
            QPushButton("Keep both"),
            QPushButton("Keep mine"),
            QPushButton("Take theirs"),
        )
        layout = _column(self)
        for widget in (self.editor, self.state, self.theirs):
            layout.addWidget(widget)
        layout.addLayout(_row(self.both, self.mine, self.other))
        self._pause = QTimer(self, singleShot=True, interval=PAUSE_MS)
        self._pause.timeout.connect(self._part.save)
        self.editor.textChanged.connect(self._edit)
        self.editor.installEventFilter(self)
        self.both.clicked.connect(self._part.keep_both)
        self.mine.clicked.connect(self._part.keep_mine)
        self.other.clicked.connect(self._part.take_theirs)
        self._part.events.loaded.connect(self._load)
        self._part.events.changed.connect(self._show)
        session.events.snapshot_changed.connect(self._enable)
        self._load(self._part.text)
        self._show()
        self._enable()

    def _edit(self) -> None:
        self._part.edit(self.editor.toPlainText())
        self._pause.start()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Keep the notes when the editor is left."""
        if event.type() == QEvent.Type.FocusOut:
            self._part.save()
        return bool(super().eventFilter(watched, event))

    def _load(self, text: str) -> None:
        before = self.editor.blockSignals(True)
        self.editor.setPlainText(text)
        self.editor.blockSignals(before)

    def _show(self) -> None:
        self.state.setText(self._part.state)
        self.theirs.show_message(self._part.theirs_in_words, level="warning")
        for button in (self.both, self.mine, self.other):
            button.setVisible(self._part.theirs is not None)

    def _enable(self) -> None:
        reason = self._session.snapshot.why_not_write
        self.editor.setReadOnly(reason is not None)
        self.editor.setToolTip(reason or "Kept by themselves a second after you stop typing")


class CheckupSection(QWidget):
    """Checks the folder, lists what it finds, repairs after asking."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._part = session.advanced.checkup
        self.check, self.repair = ReasonButton("Check"), ReasonButton("Repair...")
        self.check.setToolTip(
            "Read every record and compare every file with its hash; nothing is changed"
        )
        self.progress = ProgressLine()
        self.words = _Words()
        self.model: RowModel[Problem] = RowModel(
            [
                Column("What", lambda row: row.kind),
                Column("File", lambda row: row.path),
                Column(
                    "Problem",
                    lambda row: row.problem,
                    tooltip=lambda row: f"{row.problem}\n{row.way_out}",
                ),
                Column("What to do", lambda row: row.way_out),
                Column("Harmless", lambda row: "yes" if row.is_harmless else "no"),
            ],
            key=lambda row: (row.kind, row.path, row.problem),
        )
        self.table = Table(self.model)
        self.table.set_widths(14, 18, 18, 18, 9)
        self.detail = _Words()
        layout = _column(self)
        layout.addLayout(_row(self.check, self.repair))
        for widget in (self.progress, self.words, self.table, self.detail):
            layout.addWidget(widget)
        self.check.clicked.connect(self._part.check)
        self.repair.clicked.connect(self.ask_repair)
        self.table.selection_changed.connect(self._describe)
        self.progress.cancelled.connect(self._part.cancel)
        self._part.events.progressed.connect(self._show_progress)
        self._part.events.changed.connect(self._show)
        session.events.snapshot_changed.connect(self._show)
        self._show()

    def ask_repair(self) -> None:
        """Say what a repair would do, and do it when that is wanted."""
        if ask(self, "Repair the project?", self._part.question, yes="Repair"):
            self._part.repair()

    def _describe(self) -> None:
        self.detail.setText(
            "\n".join(
                f"{problem.path}: {problem.problem} {problem.way_out}"
                for problem in self.table.selected()[:1]
            )
        )

    def _show_progress(self, done: float, total: float) -> None:
        self.progress.show_progress(done, total, f"{done:,.0f} of {total:,.0f} files")

    def _show(self) -> None:
        part = self._part
        self.words.setText("" if part.is_busy else part.words)
        self.model.set_rows(part.problems)
        self.table.setVisible(bool(part.problems))
        self.progress.setVisible(part.is_busy)
        self.progress.cancel.setVisible(part.is_checking)
        self.check.set_reason(part.why_not_check)
        self.repair.set_reason(part.why_not_repair)


class AboutSection(QWidget):
    """Where the project lies, who wrote it, and with what."""

    def __init__(self, part: AdvancedController) -> None:
        super().__init__()
        self._part = part
        self.words = Notice()
        self.facts = QFormLayout()
        self.open = QPushButton(
            "Open the folder", toolTip="Show the project's files in the file browser"
        )
        layout = _column(self)
        layout.addWidget(self.words)
        layout.addLayout(self.facts)
        layout.addLayout(_row(self.open))
        self.open.clicked.connect(lambda: QDesktopServices.openUrl(QUrl.fromLocalFile(part.folder)))
        part.events.changed.connect(self._show)
        self._show()

    def _show(self) -> None:
        self.words.show_message(self._part.words, level="warning")
        while self.facts.rowCount():
            self.facts.removeRow(0)
        for name, value in self._part.facts:
            self.facts.addRow(f"{name}:", Line(value))
        self.open.setEnabled(bool(self._part.folder))
