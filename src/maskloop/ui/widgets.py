"""Small widgets that every tab uses."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

__all__ = [
    "Line",
    "Notice",
    "ProgressLine",
    "Section",
    "ask",
    "ask_which",
]

TINTS = {"info": "#3c82dc", "warning": "#dc961e", "error": "#d23c3c"}


class Line(QElidingLabel):
    """One line of text that can be selected; its tooltip has what does not fit."""

    def __init__(self, text: str = "", parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setToolTip(text)

    def setText(self, text: str) -> None:
        """Show another text."""
        # Progress repeats itself many times a second, and eliding takes milliseconds.
        if text != self.text() or text != self.toolTip():
            super().setText(text)
            self.setToolTip(text)


class Notice(QFrame):
    """A framed message, hidden if there is none."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("notice")
        self._shown = "", ""
        self._label = QLabel(wordWrap=True)
        self._label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        # Qt would take the width of the longest word, such as a path, for the least of the dock.
        self._label.setMinimumWidth(40)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 8, 4)
        layout.addWidget(self._label)
        self.hide()

    def show_message(self, text: str, *, level: str = "info") -> None:
        """Show a message in the color of its level (info, warning, error); an empty one hides."""
        self.setVisible(bool(text))
        # Qt works out a style sheet again even if it is the same.
        if (text, level) == self._shown:
            return
        self._shown = text, level
        tint = QColor(TINTS[level])
        # Mostly transparent: text stays readable on dark and light themes.
        background = f"rgba({tint.red()}, {tint.green()}, {tint.blue()}, 40)"
        self.setStyleSheet(
            f"#notice {{ border: none; border-left: 3px solid {tint.name()};"
            f" background: {background}; }} #notice QLabel {{ background: transparent; }}"
        )
        self._label.setText(text)

    def text(self) -> str:
        """The message."""
        return str(self._label.text())


class ProgressLine(QWidget):
    """Progress as a bar and in words, with a button to cancel."""

    cancelled = Signal()

    def __init__(self, *, has_cancel: bool = True, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.bar = QProgressBar(textVisible=False, maximum=1000, accessibleName="Progress")
        self.words = Line()
        self.cancel = QPushButton("Cancel")
        self.cancel.setVisible(has_cancel)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        row = QHBoxLayout()
        row.addWidget(self.bar, 1)
        row.addWidget(self.cancel)
        layout.addLayout(row)
        layout.addWidget(self.words)
        self.cancel.clicked.connect(self.cancelled)

    def show_progress(self, done: float, total: float, words: str = "") -> None:
        """Show the progress; a total of 0 if it is not known."""
        # Qt shows a maximum of 0 as busy.
        self.bar.setMaximum(1000 if total else 0)
        self.bar.setValue(round(1000 * min(done / total, 1)) if total else 0)
        self.words.setText(words or (f"{done:g} of {total:g}" if total else ""))


class Section(QWidget):
    """A titled part of a tab that can be collapsed.

    Not superqt's QCollapsible: that fixes the height of its content when it is expanded, so that a
    notice that appears later is cut off, and only shrinks what is collapsed to no height, so that
    the Tab key still goes through it and it never hears that it is hidden.
    """

    def __init__(
        self, title: str, content: QWidget, *, expanded: bool = True, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.button = QToolButton(text=title, checkable=True, checked=expanded, autoRaise=True)
        self.button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.content = content
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.button)
        layout.addWidget(content)
        self.button.toggled.connect(self._show_content)
        self._show_content(expanded)

    def expand(self) -> None:
        """Show the content."""
        self.button.setChecked(True)

    def _show_content(self, is_open: bool) -> None:
        self.button.setArrowType(Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow)
        self.content.setVisible(is_open)


def ask(parent: QWidget, question: str, detail: str, *, yes: str = "Yes") -> bool:
    """Ask before something that is hard to undo; Escape and Return mean No."""
    box = QMessageBox(QMessageBox.Icon.Question, "maskloop", question, parent=parent)
    box.setInformativeText(detail)
    agree = box.addButton(yes, QMessageBox.ButtonRole.AcceptRole)
    box.setDefaultButton(box.addButton("No", QMessageBox.ButtonRole.RejectRole))
    box.exec()
    agreed = box.clickedButton() is agree
    box.deleteLater()
    return agreed


def ask_which(parent: QWidget, question: str, detail: str, answers: Sequence[str]) -> str | None:
    """Ask which of several things to do; Escape and Cancel mean none: None."""
    box = QMessageBox(QMessageBox.Icon.Warning, "maskloop", question, parent=parent)
    box.setInformativeText(detail)
    buttons = {box.addButton(one, QMessageBox.ButtonRole.AcceptRole): one for one in answers}
    cancel = box.addButton(QMessageBox.StandardButton.Cancel)
    box.setDefaultButton(cancel)
    box.setEscapeButton(cancel)
    box.exec()
    answer = buttons.get(box.clickedButton())
    box.deleteLater()
    return answer
