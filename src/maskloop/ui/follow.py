"""Follow a run from a thread: its events reach the main thread in batches."""

from __future__ import annotations

import threading
from collections.abc import Callable

from maskloop.compute.base import RunHandle, catch_up, follow
from maskloop.events import Event
from maskloop.ui.background import Deliver

__all__ = ["Follower"]


class Follower:
    """Reads a run's journal until its last event, which is added here where the run was killed.

    Parameters
    ----------
    handle
        The run.
    deliver
        How events reach the main thread.
    tell
        Called there with all events since its last call; a journal of hours is one batch.
    """

    def __init__(
        self, handle: RunHandle, deliver: Deliver, tell: Callable[[list[Event]], None]
    ) -> None:
        self.handle = handle
        self._deliver, self._tell = deliver, tell
        self._waiting: list[Event] = []
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        # Not one of the background's few threads: it waits for as long as a training takes. As a
        # daemon it cannot keep napari from quitting.
        self._thread = threading.Thread(
            target=self._read, name=f"maskloop follows {handle.run_id}", daemon=True
        )
        self._thread.start()

    def _read(self) -> None:
        # What is there already comes in one batch, not event by event.
        events, is_over = catch_up(self.handle)
        self._take(events)
        if is_over:
            return
        for event in follow(self.handle, self._stopped.is_set):
            self._take([event])

    def _take(self, events: list[Event]) -> None:
        with self._lock:
            # One delivery for all events since: a journal of hours has tens of thousands.
            is_first = not self._waiting and bool(events)
            self._waiting += events
        if is_first and not self._stopped.is_set():
            self._deliver(self._hand_over)

    def _hand_over(self) -> None:
        with self._lock:
            events, self._waiting = self._waiting, []
        # Delivered after `close`: the widgets may be gone.
        if events and not self._stopped.is_set():
            self._tell(events)

    def close(self) -> None:
        """Stop following; the run itself continues."""
        self._stopped.set()
        self._thread.join()
