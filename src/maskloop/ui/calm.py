"""The wheel changes no value by accident."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QWidget

__all__ = ["calm"]


class _CalmWheel(QObject):
    """Lets the wheel change a value only after a click into it; else it scrolls the tab."""

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        is_wheel = event.type() == QEvent.Type.Wheel and isinstance(watched, QWidget)
        if is_wheel and not watched.hasFocus():
            event.ignore()
            return True
        return False


def calm(widget: QWidget) -> None:
    """Let the wheel change a value only while the widget has the focus."""
    # Qt's usual policy would let the wheel itself give the focus.
    widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    widget.installEventFilter(_CalmWheel(widget))
