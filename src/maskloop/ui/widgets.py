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
    "narrow_combo",
]

TINTS = {"info": "#3c82dc", "warning": "#dc961e", "error": "#d23c3c"}
CURVES = ("#4aa3df", "#e8a33d", "#5cb85c", "#d9534f", "#9b7fd4", "#8c8c8c")
"""Readable on dark and light themes; different in brightness for people who see no red or green."""


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


class ReasonButton(QPushButton):
    """A button whose tooltip says why it is disabled."""

    def __init__(self, text: str, parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        self._usual = ""

    def setToolTip(self, text: str) -> None:
        """Say what the button does, while it is enabled."""
        self._usual = text
        super().setToolTip(text)

    def set_reason(self, reason: str | None) -> None:
        """Disable it for a reason, or enable it with None."""
        self.setEnabled(reason is None)
        super().setToolTip(self._usual if reason is None else reason)


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


class Curves(pyqtgraph.PlotWidget):
    """Curves over epochs, in the colors of the theme."""

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent, background=None, enableMenu=False)
        # pyqtgraph makes this menu even if menus are disabled, as a window that nobody closes.
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
        """Show curves by name, as epochs and values, and no others."""
        for name in set(self._curves) - set(curves):
            self.removeItem(self._curves.pop(name))
        for name, (epochs, values) in curves.items():
            if name not in self._curves:
                pen = pyqtgraph.mkPen(CURVES[len(self._curves) % len(CURVES)], width=2)
                self._curves[name] = self.plot(pen=pen, name=name)
            # A single point has no line.
            self._curves[name].setData(epochs, values, symbol="o" if len(epochs) == 1 else None)

    def follow_palette(self) -> None:
        """Draw axes and text in the text color of the theme."""
        color = self.palette().color(QPalette.ColorRole.WindowText)
        for side in ("left", "bottom"):
            axis = self.getAxis(side)
            axis.setPen(color)
            axis.setTextPen(color)
        self._legend.setLabelTextColor(color)
        for _, label in self._legend.items:
            label.setText(label.text, color=color)
        # The view would keep the background of the theme before.
        self.resetCachedContent()

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        is_theme = event.type() in (QEvent.Type.PaletteChange, QEvent.Type.StyleChange)
        # Qt sends the first of these from within `__init__`.
        if is_theme and hasattr(self, "_legend"):
            self.follow_palette()


def narrow_combo(name: str, options: Iterable[tuple[Any, str]] = ()) -> QComboBox:
    """A combo box that is never wider than its place.

    Parameters
    ----------
    name
        What is selected, for screen readers.
    options
        Values with their text.
    """
    combo = QComboBox(accessibleName=name)
    combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    for value, words in options:
        combo.addItem(words, value)
    return combo


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
