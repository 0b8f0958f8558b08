"""A session without a window, for the tests: what is to be delivered waits until the test pumps."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from waiting import wait_until

from maskloop.ui.recent import RecentProjects
from maskloop.ui.session import Session


class Pump:
    """Stands for the thread of the window: delivers when the test waits."""

    def __init__(self) -> None:
        self.waiting: queue.Queue[Callable[[], None]] = queue.Queue()

    def until(self, is_true: Callable[[], object]) -> None:
        """Deliver until something is true; fails after a while."""
        wait_until(is_true, meanwhile=self._deliver)

    def _deliver(self) -> None:
        # Asked again soon: what is waited for need not be told through the queue.
        with suppress(queue.Empty):
            self.waiting.get(timeout=0.05)()

    def settle(self, session: Session) -> None:
        """Deliver until nothing is being done in the background."""
        self.until(lambda: self.waiting.empty() and not session.workspace.background.is_busy)


@contextmanager
def open_session(folder: Path) -> Iterator[tuple[Session, Pump, list[tuple[str, str]]]]:
    """A session, its pump, and the failures that it tells."""
    pump = Pump()
    session = Session(pump.waiting.put, recent=RecentProjects(folder / "recent.json"))
    failures: list[tuple[str, str]] = []
    session.workspace.events.failed.connect(
        lambda problem, way_out: failures.append((problem, way_out))
    )
    try:
        yield session, pump, failures
    finally:
        session.close()
