"""What all tabs have in common."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from qtpy.QtWidgets import QVBoxLayout, QWidget

from maskloop.ui.actions import Action
from maskloop.ui.arrange import scrolled
from maskloop.ui.chosen import Chosen
from maskloop.ui.session import Session

__all__ = ["Tab"]


class Tab(QWidget):
    """One tab of the dock: content that scrolls, and below it what is always visible.

    A subclass sets `title`, makes its widgets, wires them to controllers of the session and calls
    `fill`; it decides nothing about data. One line in `maskloop.ui.dock.TABS` adds it to the dock.

    Parameters
    ----------
    session
        Its controllers say what is shown, and do what is asked.
    chosen
        The layers of the viewer that a person works on.
    """

    title: ClassVar[str]

    def __init__(self, session: Session, chosen: Chosen) -> None:
        super().__init__()
        self._workspace, self._chosen = session.workspace, chosen

    @property
    def shortcuts(self) -> Sequence[Action]:
        """Its actions that have a shortcut in the whole window."""
        return ()

    def fill(self, content: Iterable[QWidget], always: Iterable[QWidget] = ()) -> None:
        """Lay the tab out: content that scrolls, and what is visible however far that is."""
        inside = QWidget()
        layout = QVBoxLayout(inside)
        # A gap before the scroll bar.
        layout.setContentsMargins(0, 0, 4, 0)
        for widget in content:
            layout.addWidget(widget)
        # Sections stay at the top when others are folded.
        layout.addStretch(1)
        self.area = scrolled(inside)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(4, 4, 4, 4)
        whole.addWidget(self.area, 1)
        for widget in always:
            whole.addWidget(widget)
