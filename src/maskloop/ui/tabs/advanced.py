"""Advanced: the network, pretrained weights, notes, check and repair, facts of the project."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QEvent, QObject, QUrl
from qtpy.QtGui import QDesktopServices, QHideEvent, QShowEvent
from qtpy.QtWidgets import QCheckBox, QFileDialog, QFormLayout, QPushButton, QTextEdit, QWidget

from maskloop.project.check import Problem
from maskloop.ui.actions import Action, ActionButton
from maskloop.ui.arrange import Paragraph, column, debounced, row
from maskloop.ui.chosen import Chosen
from maskloop.ui.controllers.weights_import import SUFFIXES, ModelRow
from maskloop.ui.forms import RecordForm
from maskloop.ui.session import Session
from maskloop.ui.tables import Column, RowModel, Table
from maskloop.ui.tabs.base import Tab
from maskloop.ui.widgets import Line, Notice, ProgressLine, Section, ask

__all__ = ["AdvancedTab"]

COUNT_AFTER_MS = 300
"""Pause after typing before the network is counted; a tab shown in passing counts nothing."""
PAUSE_MS = 1000
"""Pause after typing before notes are saved."""


class AdvancedTab(Tab):
    """What is needed now and then, in sections that fold."""

    title = "Advanced"

    def __init__(self, session: Session, chosen: Chosen) -> None:
        super().__init__(session, chosen)
        self.network = NetworkSection(session)
        self.weights = WeightsSection(session)
        self.notes = NotesSection(session)
        self.checkup = CheckupSection(session)
        self.about = AboutSection(session)
        self.sections = {
            "Network": Section("Network", self.network),
            "Pretrained weights": Section("Pretrained weights", self.weights, expanded=False),
            "Notes": Section("Notes", self.notes),
            "Check and repair": Section("Check and repair", self.checkup, expanded=False),
            "About this project": Section("About this project", self.about, expanded=False),
        }
        self.fill(self.sections.values())


class NetworkSection(QWidget):
    """The form of the network, with what it means below."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._network = network = session.network
        # Drawn from the record: another backend brings its own fields.
        self.form = RecordForm(network.kind)
        self._kind = network.kind
        self.decided, self.summary = Paragraph(), Paragraph()
        self.adapted, self.misfits = Paragraph(), Paragraph()
        self.problem = Notice()
        self.save = ActionButton(Action("Save", network.save, lambda: network.why_not_save))
        self.revert = ActionButton(Action("Revert", network.revert, lambda: network.why_not_revert))
        words = (self.decided, self.problem, self.summary, self.adapted, self.misfits)
        column((self.form, *words, row(self.save, self.revert, stretch=True)), into=self)
        self.form.changed.connect(network.edit)
        # Counting builds the network in a helper process: not at each key.
        self._count_later = debounced(self, COUNT_AFTER_MS, network.count)
        network.stale.connect(self._count_later.throttle)
        network.loaded.connect(self._load)
        network.changed.connect(self._show)
        self._load()
        self._show()

    def _load(self) -> None:
        if self._network.kind is not self._kind:
            self._draw()
        known = self._kind.model_fields
        self.form.set_values(
            {name: value for name, value in self._network.values.items() if name in known}
        )

    def _draw(self) -> None:
        """Draw the choices that another backend takes."""
        self._kind = self._network.kind
        form = RecordForm(self._kind)
        form.changed.connect(self._network.edit)
        layout = self.layout()
        assert layout is not None
        # In its place: added again it would come last.
        layout.replaceWidget(self.form, form)
        self.form.deleteLater()
        self.form = form

    def _show(self) -> None:
        network = self._network
        self.decided.setText(network.decided)
        self.problem.show_message(network.complaint, level="warning")
        self.summary.setText(network.words)
        self.adapted.setText(network.adapted)
        self.misfits.setText(network.misfits)
        self.save.refresh()
        self.revert.refresh()

    def showEvent(self, event: QShowEvent) -> None:
        """Count while somebody looks."""
        super().showEvent(event)
        self._network.watch(True)

    def hideEvent(self, event: QHideEvent) -> None:
        """Count nothing that nobody sees."""
        super().hideEvent(event)
        self._network.watch(False)


class WeightsSection(QWidget):
    """Weights from elsewhere: imported, listed, chosen for the next training."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._weights, self._network = session.weights, session.network
        weights, workspace = session.weights, session.workspace
        self.bring = ActionButton(
            Action("Import weights...", self.ask_file, lambda: weights.why_not_bring_in),
            workspace.events.snapshot_changed,
        )
        # Files of bare weights do not say what network they are for.
        self.as_form = QCheckBox("Use the architecture above")
        self.as_form.setToolTip("Otherwise it is read from the file, as far as the file says")
        self.words = Paragraph()
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
        self.table = Table(self.model, empty="No weights imported yet.")
        self.table.set_widths(16, 22, 6, 11)
        self.start = ActionButton(
            Action(
                "Use for the next training",
                lambda: weights.start_from(self._selected()),
                lambda: workspace.snapshot.why_not_write or self._why_none(),
            ),
            self.table.selection_changed,
            workspace.events.snapshot_changed,
        )
        self.adopt = ActionButton(
            Action(
                "Show their network above",
                lambda: self._network.show(weights.network_of(self._selected())),
                self._why_none,
            ),
            self.table.selection_changed,
        )
        imported = (row(self.bring, stretch=True), self.as_form, self.words, self.table)
        column((*imported, self.start, self.adopt), into=self)
        weights.changed.connect(self._show)
        self._show()

    def ask_file(self) -> None:
        """Ask for a file and import it."""
        kinds = " ".join(f"*{suffix}" for suffix in SUFFIXES)
        file, _ = QFileDialog.getOpenFileName(self, "Weights to import", "", f"Weights ({kinds})")
        if file:
            self.bring_in(Path(file))

    def bring_in(self, file: Path) -> None:
        """Import a file, with the architecture of the form if that is ticked."""
        self._weights.bring_in(file, self._network.edited if self.as_form.isChecked() else None)

    def _selected(self) -> str:
        return next((one.model.model_id for one in self.table.selected()), "")

    def _why_none(self) -> str | None:
        return None if self._selected() else "Select weights in the table."

    def _show(self) -> None:
        self.words.setText(self._weights.words)
        self.model.set_rows(self._weights.rows)
        for button in (self.bring, self.start, self.adopt):
            button.refresh()


class NotesSection(QWidget):
    """Notes, saved automatically; if two windows wrote at once, a person chooses."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._workspace, self._notes = session.workspace, session.notes
        self.editor = QTextEdit(
            accessibleName="Notes",
            placeholderText="What the next person should know",
            acceptRichText=False,
        )
        # Not as high as its text: the sections below would move while one types.
        self.editor.setFixedHeight(7 * self.fontMetrics().lineSpacing())
        self.state = Line()
        self.theirs = Notice()
        self.both = ActionButton(Action("Keep both", self._notes.keep_both))
        self.mine = ActionButton(Action("Keep mine", self._notes.keep_mine))
        self.other = ActionButton(Action("Keep theirs", self._notes.take_theirs))
        self.answers = row(self.both, self.mine, self.other, stretch=True)
        column((self.editor, self.state, self.theirs, self.answers), into=self)
        self._save_later = debounced(self, PAUSE_MS, self._notes.save)
        self.editor.textChanged.connect(self._edit)
        self.editor.installEventFilter(self)
        self._notes.loaded.connect(self._load)
        self._notes.changed.connect(self._show)
        session.workspace.events.snapshot_changed.connect(self._enable)
        self._load(self._notes.text)
        self._show()
        self._enable()

    def _edit(self) -> None:
        self._notes.edit(self.editor.toPlainText())
        self._save_later.throttle()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Save the notes when the editor is left."""
        # Whoever leaves the editor may close the window next.
        if event.type() == QEvent.Type.FocusOut:
            self._notes.save()
        return bool(super().eventFilter(watched, event))

    def _load(self, text: str) -> None:
        # What is loaded was not typed: it must not be saved again.
        before = self.editor.blockSignals(True)
        self.editor.setPlainText(text)
        self.editor.blockSignals(before)

    def _show(self) -> None:
        self.state.setText(self._notes.state)
        self.theirs.show_message(self._notes.theirs_in_words, level="warning")
        self.answers.setVisible(self._notes.theirs is not None)

    def _enable(self) -> None:
        reason = self._workspace.snapshot.why_not_write
        # Not disabled: notes of a read-only project can still be selected and copied.
        self.editor.setReadOnly(reason is not None)
        self.editor.setToolTip(reason or "Saved automatically")


class CheckupSection(QWidget):
    """Checks the folder, lists problems, repairs after asking."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._checkup = checkup = session.checkup
        self.check = ActionButton(
            Action(
                "Check",
                checkup.check,
                lambda: checkup.why_not_check,
                "Read every record and compare every file with its hash; nothing is changed",
            )
        )
        self.repair = ActionButton(
            Action("Repair...", self.ask_repair, lambda: checkup.why_not_repair)
        )
        self.progress = ProgressLine()
        self.words = Paragraph()
        self.model: RowModel[Problem] = RowModel(
            [
                Column("Kind", lambda row: row.kind),
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
        self.detail = Paragraph()
        buttons = row(self.check, self.repair, stretch=True)
        column((buttons, self.progress, self.words, self.table, self.detail), into=self)
        self.table.selection_changed.connect(self._describe)
        self.progress.cancelled.connect(checkup.cancel)
        checkup.progressed.connect(self._show_progress)
        checkup.changed.connect(self._show)
        session.workspace.events.snapshot_changed.connect(self._show)
        self._show()

    def ask_repair(self) -> None:
        """Say what a repair would do, and do it if a person agrees."""
        if ask(self, "Repair the project?", self._checkup.question, yes="Repair"):
            self._checkup.repair()

    def _describe(self) -> None:
        self.detail.setText(
            "\n".join(
                f"{problem.path}: {problem.problem} {problem.way_out}"
                # In full: in the narrow columns both texts are elided.
                for problem in self.table.selected()[:1]
            )
        )

    def _show_progress(self, done: float, total: float) -> None:
        self.progress.show_progress(done, total, f"{done:,.0f} of {total:,.0f} files")

    def _show(self) -> None:
        checkup = self._checkup
        # The progress line speaks while it works.
        self.words.setText("" if checkup.is_busy else checkup.words)
        self.model.set_rows(checkup.problems)
        # An empty table would look like a check that found nothing to check.
        self.table.setVisible(bool(checkup.problems))
        self.progress.setVisible(checkup.is_busy)
        # A repair is not interrupted: half of it would be worse than none.
        self.progress.cancel.setVisible(checkup.is_checking)
        self.check.refresh()
        self.repair.refresh()


class AboutSection(QWidget):
    """Where the project is, and which versions wrote it."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._about = about = session.about
        self.words = Notice()
        self.facts = QFormLayout()
        self.open = QPushButton(
            "Open the folder", toolTip="Show the project's files in the file browser"
        )
        column((self.words, self.facts, row(self.open, stretch=True)), into=self)
        self.open.clicked.connect(
            lambda: QDesktopServices.openUrl(QUrl.fromLocalFile(about.folder))
        )
        about.changed.connect(self._show)
        self._show()

    def _show(self) -> None:
        self.words.show_message(self._about.words, level="warning")
        # Few rows that change rarely: simpler than a model.
        while self.facts.rowCount():
            self.facts.removeRow(0)
        for name, value in self._about.facts:
            self.facts.addRow(f"{name}:", Line(value))
        self.open.setEnabled(bool(self._about.folder))
