"""What a person can do, said once: its words, its shortcut, and why it cannot be done now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QGridLayout, QPushButton, QWidget

from maskloop.ui.widgets import Line

__all__ = ["Action", "ActionButton", "ActionGrid"]


def _nothing_against_it() -> None:
    return None


@dataclass(frozen=True)
class Action:
    """One thing a person can do.

    Parameters
    ----------
    title
        What its button says; a function if that changes.
    run
        Does it.
    why_not
        Says why it cannot be done now, or None.
    tooltip
        What it does, while it can be done.
    shortcut
        Keys such as ``Ctrl+Return``, which work in the whole window.
    name
        What the list of shortcuts calls it; by default its title.
    """

    title: str | Callable[[], str]
    run: Callable[[], object]
    why_not: Callable[[], str | None] = _nothing_against_it
    tooltip: str = ""
    shortcut: str = ""
    name: str = ""

    @property
    def text(self) -> str:
        """What its button says now."""
        return self.title if isinstance(self.title, str) else self.title()

    @property
    def hint(self) -> str:
        """Its keys and what they do, such as ``Ctrl+Return add mask``."""
        return f"{self.keys} {(self.name or self.text).lower()}"

    @property
    def keys(self) -> str:
        """Its shortcut as this system writes it."""
        # Command signs on macOS, Strg on a German Windows.
        native = QKeySequence.SequenceFormat.NativeText
        return str(QKeySequence(self.shortcut).toString(native))


class ActionButton(QPushButton):
    """Draws an action: enabled if it can be done, else with the reason as its tooltip.

    Parameters
    ----------
    action
        What to do when it is clicked.
    news
        Signals (of psygnal or Qt) after which it is drawn again.
    """

    def __init__(self, action: Action, *news: Any) -> None:
        super().__init__(action.text)
        self.action = action
        self.reason: str | None = None
        self._line: Line | None = None
        # Not `clicked.connect(action.run)`: Qt would pass whether the button is checked.
        self.clicked.connect(lambda: action.run())
        for signal in news:
            signal.connect(self.refresh)
        self.refresh()

    def reason_line(self) -> Line:
        """A line to be placed near it that shows the reason: a tooltip is easily missed."""
        if self._line is None:
            self._line = Line()
            self.refresh()
        return self._line

    def refresh(self, *_news: object) -> None:
        """Draw it as it is now."""
        reason = self.action.why_not()
        # A new text lays the dock out again, which takes milliseconds.
        if self.text() != self.action.text:
            self.setText(self.action.text)
        self.reason = reason
        self.setEnabled(reason is None)
        keys = f" ({self.action.keys})" if self.action.shortcut else ""
        self.setToolTip(reason or f"{self.action.tooltip}{keys}".strip())
        if self._line is not None:
            self._line.setText(reason or "")
            # An empty line would still take room in the dock.
            self._line.setVisible(bool(reason))


class ActionGrid(QWidget):
    """Buttons side by side, some in a row.

    Parameters
    ----------
    buttons
        In reading order.
    columns
        How many in a row.
    """

    def __init__(self, buttons: Sequence[ActionButton | QPushButton], *, columns: int = 2) -> None:
        super().__init__()
        self.buttons = buttons
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        for place, button in enumerate(buttons):
            grid.addWidget(button, place // columns, place % columns)

    def refresh(self, *_news: object) -> None:
        """Draw all of them as they are now."""
        for button in self.buttons:
            if isinstance(button, ActionButton):
                button.refresh()
