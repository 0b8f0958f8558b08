"""A session without a window, for the tests: what is to be delivered waits until the test pumps."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from maskloop.ui.recent import RecentProjects
from maskloop.ui.session import Session


class Pump:
    """Stands for the thread of the window: delivers when the test waits."""

    def __init__(self) -> None:
        self.waiting: queue.Queue[Callable[[], None]] = queue.Queue()

    def until(self, is_true: Callable[[], object], timeout_s: float = 60.0) -> None:
        """Deliver until something is true; fails after a while."""
        end = time.monotonic() + timeout_s
        while not is_true():
            left = end - time.monotonic()
            assert left > 0, f"still not so after {timeout_s} s"
            try:
                self.waiting.get(timeout=min(left, 0.05))()
            except queue.Empty:
                continue

    def settle(self, session: Session, timeout_s: float = 60.0) -> None:
        """Deliver until nothing is being done in the background."""
        self.until(
            lambda: self.waiting.empty() and not session.workspace.background.is_busy, timeout_s
        )


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
