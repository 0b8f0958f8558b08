"""Layouts as all tabs use them: no margins, and nothing wider than the dock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLayout,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import QSignalDebouncer

__all__ = ["Paragraph", "column", "debounced", "form", "row", "scrolled"]


class Paragraph(QLabel):
    """A sentence or two that can be selected; takes no room while it is empty."""

    def __init__(self) -> None:
        super().__init__(wordWrap=True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        # Qt gives an empty label the height of a line.
        self.hide()

    def setText(self, text: str) -> None:
        """Show another text."""
        super().setText(text)
        self.setVisible(bool(text))


def column(items: Iterable[QWidget | QLayout], into: QWidget | None = None) -> QWidget:
    """Widgets below each other, in a new widget or in `into`."""
    whole = QWidget() if into is None else into
    layout = QVBoxLayout(whole)
    layout.setContentsMargins(0, 0, 0, 0)
    for item in items:
        if isinstance(item, QLayout):
            layout.addLayout(item)
        else:
            layout.addWidget(item)
    return whole


def row(*widgets: QWidget, stretch: bool = False) -> QWidget:
    """Widgets side by side; lists take the room there is, or with `stretch` nothing does."""
    layout = QHBoxLayout(whole := QWidget())
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        # A list shows names of any length; a button needs only its title.
        layout.addWidget(widget, 1 if isinstance(widget, QComboBox) else 0)
    if stretch:
        layout.addStretch(1)
    return whole


def form(
    rows: Iterable[tuple[str, QWidget | QLayout] | QWidget], into: QWidget | None = None
) -> QWidget:
    """Widgets with their titles, or without one over the whole width."""
    layout = QFormLayout(whole := QWidget() if into is None else into)
    layout.setContentsMargins(0, 0, 0, 0)
    # The same on all systems: macOS would keep fields at their smallest width.
    layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    for one in rows:
        if isinstance(one, tuple):
            layout.addRow(*one)
        else:
            layout.addRow(one)
    return whole


def scrolled(inside: QWidget) -> QScrollArea:
    """A widget that scrolls up and down if there is not enough room, never sideways."""
    area = QScrollArea(widgetResizable=True)
    area.setFrameShape(QScrollArea.Shape.NoFrame)
    # A dock is narrow: what is too wide must elide or wrap, or buttons lie out of sight.
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(inside)
    return area


def debounced(parent: QWidget, pause_ms: int, call: Callable[[], Any]) -> QSignalDebouncer:
    """Calls a function once nothing has asked for it, with `throttle`, for so long."""
    debouncer = QSignalDebouncer(parent=parent)
    debouncer.setTimeout(pause_ms)
    debouncer.triggered.connect(call)
    return debouncer
