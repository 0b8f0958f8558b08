"""Small widgets that every tab uses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyqtgraph
from qtpy.QtCore import QEvent, Qt, Signal
from qtpy.QtGui import QColor, QPalette
from qtpy.QtWidgets import (
    QComboBox,
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
    "Curves",
    "Line",
    "Notice",
    "ProgressLine",
    "ReasonButton",
    "Section",
    "ask",
    "human_bytes",
    "human_time",
    "narrow_combo",
]

TINTS = {"info": "#3c82dc", "warning": "#dc961e", "error": "#d23c3c"}
CURVES = ("#4aa3df", "#e8a33d", "#5cb85c", "#d9534f", "#9b7fd4", "#8c8c8c")
"""Readable on dark and on light, and apart for people who do not tell red from green by their
brightness.
"""


class Line(QElidingLabel):
    """One line of text that can be marked; what does not fit is in the tooltip."""

    def __init__(self, text: str = "", parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setToolTip(text)

    def setText(self, text: str) -> None:
        """Show another text."""
        # What is said again and again must cost nothing: eliding takes milliseconds.
        if text != self.text() or text != self.toolTip():
            super().setText(text)
            self.setToolTip(text)


class ReasonButton(QPushButton):
    """A button that says in its tooltip why it is disabled."""

    def __init__(self, text: str, parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        self._usual = ""

    def setToolTip(self, text: str) -> None:
        """What the button does, shown while it is enabled."""
        self._usual = text
        super().setToolTip(text)

    def set_reason(self, reason: str | None) -> None:
        """Disable it with a reason, or enable it with None."""
        self.setEnabled(reason is None)
        super().setToolTip(self._usual if reason is None else reason)


class Notice(QFrame):
    """A framed message, hidden while there is none."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("notice")
        self._shown = "", ""
        self._label = QLabel(wordWrap=True)
        self._label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._label.setMinimumWidth(40)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 8, 4)
        layout.addWidget(self._label)
        self.hide()

    def show_message(self, text: str, *, level: str = "info") -> None:
        """Show a message with the colour of its level (info, warning, error) on its left; an empty one hides the frame."""
        if (text, level) == self._shown:
            # A style sheet would be worked out anew, even when it is the same.
            self.setVisible(bool(text))
            return
        self._shown = text, level
        tint = QColor(TINTS.get(level, TINTS["info"]))
        # A tint of the colour over whatever the theme has below it reads on dark and on light.
        self.setStyleSheet(
            f"#notice {{ border: none; border-left: 3px solid {tint.name()};"
            f" background: rgba({tint.red()}, {tint.green()}, {tint.blue()}, 40); }} #notice QLabel {{ background: transparent; }}"
        )
        self._label.setText(text)
        self.setVisible(bool(text))

    def text(self) -> str:
        """The message."""
        return str(self._label.text())


class ProgressLine(QWidget):
    """How far something is, in a bar and in words, with a button to stop it."""

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
        """Show how far it is; a total of 0 means that it is not known."""
        self.bar.setMaximum(1000 if total else 0)
        self.bar.setValue(round(1000 * min(done / total, 1)) if total else 0)
        self.words.setText(words or (f"{done:g} of {total:g}" if total else ""))


class Section(QWidget):
    """A titled part of a tab that can be folded away; its height follows what it shows."""

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
        self.button.toggled.connect(self._fold)
        self._fold(expanded)

    def expand(self) -> None:
        """Show what is inside."""
        self.button.setChecked(True)

    def _fold(self, is_open: bool) -> None:
        self.button.setArrowType(Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow)
        self.content.setVisible(is_open)


class Curves(pyqtgraph.PlotWidget):
    """Some curves over epochs, in the colours of the theme."""

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent, background=None, enableMenu=False)
        # pyqtgraph makes this menu even when it is not enabled, as a window of its own that nobody
        # closes.
        menu = self.getPlotItem().ctrlMenu
        menu.setParent(self, menu.windowFlags())
        self.setAccessibleName(title)
        self.setFixedHeight(150)
        self.setMouseEnabled(x=False, y=False)
        self.hideButtons()
        self.setLabel("left", title)
        self.getAxis("left").enableAutoSIPrefix(False)
        self.setLabel("bottom", "Epoch")
        self._legend = self.addLegend(offset=(-4, 4), labelTextSize="8pt")
        self._curves: dict[str, pyqtgraph.PlotDataItem] = {}
        self.follow_palette()

    def show_curves(self, curves: Mapping[str, tuple[list[float], list[float]]]) -> None:
        """Show curves by name: epochs and values. Those that are not named are taken away."""
        for name in [name for name in self._curves if name not in curves]:
            self.removeItem(self._curves.pop(name))
        for name, (epochs, values) in curves.items():
            if name not in self._curves:
                pen = pyqtgraph.mkPen(CURVES[len(self._curves) % len(CURVES)], width=2)
                self._curves[name] = self.plot(pen=pen, name=name)
            # A single point has no line.
            self._curves[name].setData(epochs, values, symbol="o" if len(epochs) == 1 else None)

    def follow_palette(self) -> None:
        """Draw axes and words in the text colour of the theme."""
        colour = self.palette().color(QPalette.ColorRole.WindowText)
        for side in ("left", "bottom"):
            axis = self.getAxis(side)
            axis.setPen(colour)
            axis.setTextPen(colour)
        self._legend.setLabelTextColor(colour)
        for _, label in self._legend.items:
            label.setText(label.text, color=colour)
        # The view keeps its background as it was painted last.
        self.resetCachedContent()

    def changeEvent(self, event: QEvent) -> None:
        """Follow another theme."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.StyleChange) and hasattr(
            self, "_legend"
        ):
            self.follow_palette()


def narrow_combo(name: str, options: Iterable[tuple[Any, str]] = ()) -> QComboBox:
    """A list to choose from that is no wider than there is room.

    Parameters
    ----------
    name
        What it chooses, for people who hear the window.
    options
        Values and their words.
    """
    combo = QComboBox(accessibleName=name)
    combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    for value, words in options:
        combo.addItem(words, value)
    return combo


def ask(parent: QWidget, question: str, detail: str, *, yes: str = "Yes") -> bool:
    """Ask before something that is not easily undone; No is what Escape and Return mean."""
    box = QMessageBox(QMessageBox.Icon.Question, "maskloop", question, parent=parent)
    box.setInformativeText(detail)
    agree = box.addButton(yes, QMessageBox.ButtonRole.AcceptRole)
    box.setDefaultButton(box.addButton("No", QMessageBox.ButtonRole.RejectRole))
    box.exec()
    agreed = box.clickedButton() is agree
    box.deleteLater()
    return agreed


def human_time(seconds: float) -> str:
    """A span of time as people say it, such as ``2 min 5 s``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def human_bytes(count: float) -> str:
    """A number of bytes as people say it, such as ``1.6 GB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return (
                f"{count:.0f} {unit}" if unit == "bytes" or count >= 10 else f"{count:.1f} {unit}"
            )
        count /= 1000
    return f"{count:.1f} TB"
