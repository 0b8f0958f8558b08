"""The way from any thread into the main thread."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QObject, Qt, Signal

__all__ = ["MainThread"]


class MainThread(QObject):
    """Calls functions in the thread it was made in, soon and in order.

    Not psygnal's queued connections: they are emitted by a timer that polls. Not superqt's
    `ensure_main_thread`: from the main thread it calls at once, so that order is lost.
    """

    _asked = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._asked.connect(self._call, Qt.ConnectionType.QueuedConnection)

    def __call__(self, function: Callable[[], None]) -> None:
        """Have a function called; from any thread."""
        self._asked.emit(function)

    def _call(self, function: Callable[[], None]) -> None:
        function()
