"""Work outside the main thread: in threads of this process, or in helper processes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any, TypeVar

from maskloop.ui.gc_pause import gc_paused
from maskloop.ui.helper import Helper

__all__ = ["Background", "Deliver"]

Result = TypeVar("Result")
Deliver = Callable[[Callable[[], None]], None]
"""Calls a function in the main thread, soon; may itself be called from any thread."""


class Background:
    """Runs work elsewhere and delivers the result to the main thread.

    It knows neither projects nor Qt. Not superqt's `create_worker`: that has no "only the newest
    counts", no process, and cannot run without a Qt application, as the tests of controllers do.

    Parameters
    ----------
    deliver
        How a result reaches the main thread.
    fail
        Called in the main thread with an error that nobody else handles.
    """

    def __init__(self, deliver: Deliver, fail: Callable[[Exception], None]) -> None:
        self._deliver, self._fail = deliver, fail
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="maskloop")
        self._helpers: dict[str, _NamedHelper] = {}
        self._tickets = itertools.count()
        self._newest: dict[str, int] = {}
        self._open: dict[Future[Any], str | None] = {}
        self._lock = threading.Lock()
        self._is_closed = False

    def run(
        self,
        work: Callable[[], Result],
        then: Callable[[Result], None] | None = None,
        *,
        key: str | None = None,
        otherwise: Callable[[Exception], None] | None = None,
    ) -> None:
        """Do work in a thread.

        Parameters
        ----------
        work
            What to do; `then` gets its result.
        then
            Called with the result, in the main thread.
        key
            Of work with the same key only the newest counts: other results are dropped, and work
            that has not begun is cancelled.
        otherwise
            Called with the error instead of `fail`.
        """
        # After closing there is nobody to tell, and the pool refuses work.
        if not self._is_closed:
            self._watch(self._threads.submit(_paused, work), then, key, otherwise)

    def apart(
        self,
        function: Callable[..., Result],
        *arguments: Any,
        helper: str,
        then: Callable[[Result], None],
        key: str | None = None,
        otherwise: Callable[[Exception], None] | None = None,
    ) -> None:
        """Call a function in a helper process: for what loads torch, which would block the window.

        Parameters
        ----------
        function
            Of a module, so that the process can import it; arguments and result must be
            picklable.
        arguments
            What to call it with.
        helper
            Name of the process. Each name has a process of its own, started with its first call
            and kept; calls with one name run one after the other, and never wait for another name.
        then, key, otherwise
            As for `run`.
        """
        if self._is_closed:
            return
        # Only the main thread calls this, so no lock is needed.
        named = self._helpers.setdefault(helper, _NamedHelper(helper))
        future = named.thread.submit(named.process.call, function, *arguments)
        self._watch(future, then, key, otherwise)

    def _watch(
        self,
        future: Future[Any],
        then: Callable[[Any], None] | None,
        key: str | None,
        otherwise: Callable[[Exception], None] | None,
    ) -> None:
        ticket = next(self._tickets)
        if key is not None:
            self._newest[key] = ticket
        with self._lock:
            # Cancelled below, outside the lock: the callback of a cancelled future takes it.
            older = [
                other for other, its_key in self._open.items() if key is not None and its_key == key
            ]
            self._open[future] = key
        for other in older:
            other.cancel()
        # The callback runs in the thread that did the work, which must touch no widget.
        future.add_done_callback(
            lambda done: self._deliver(lambda: self._finish(done, key, ticket, then, otherwise))
        )

    def _finish(
        self,
        future: Future[Any],
        key: str | None,
        ticket: int,
        then: Callable[[Any], None] | None,
        otherwise: Callable[[Exception], None] | None,
    ) -> None:
        with self._lock:
            self._open.pop(future, None)
        if (
            self._is_closed
            or future.cancelled()
            or (key is not None and self._newest.get(key) != ticket)
        ):
            return
        error = future.exception()
        # A result that was cancelled while it ran counts as nothing.
        if isinstance(error, CancelledError):
            return
        if isinstance(error, Exception):
            (otherwise or self._fail)(error)
        elif then is not None:
            then(future.result())

    @property
    def is_busy(self) -> bool:
        """Whether something is still being done, or waits to be delivered."""
        return bool(self._open)

    def close(self) -> None:
        """Stop: work in progress is finished, pending work is dropped, no result is delivered."""
        self._is_closed = True
        self._threads.shutdown(wait=True, cancel_futures=True)
        # All are killed first: otherwise each would be waited for in turn.
        for named in self._helpers.values():
            named.process.kill()
        for named in self._helpers.values():
            named.thread.shutdown(wait=True, cancel_futures=True)
            named.process.close()


class _NamedHelper:
    """A helper process, and the one thread that waits for its answers."""

    def __init__(self, name: str) -> None:
        self.process = Helper()
        self.thread = ThreadPoolExecutor(
            max_workers=1, thread_name_prefix=f"maskloop waits for the helper '{name}'"
        )


def _paused(work: Callable[[], Result]) -> Result:
    with gc_paused():
        return work()
