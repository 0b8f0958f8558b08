"""The way from any thread into the thread of the window."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QObject, Qt, Signal

__all__ = ["MainThread"]


class MainThread(QObject):
    """Calls functions in the thread it was made in, soon and in order."""

    _asked = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._asked.connect(self._call, Qt.ConnectionType.QueuedConnection)

    def __call__(self, function: Callable[[], None]) -> None:
        """Have a function called; may be asked from any thread."""
        self._asked.emit(function)

    def _call(self, function: Callable[[], None]) -> None:
        function()
