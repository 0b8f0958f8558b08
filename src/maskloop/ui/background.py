"""Work away from the thread of the window: in threads of this process, or apart in a child process."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any, TypeVar

from maskloop.ui.helper import Helper
from maskloop.ui.quiet import read_quietly

__all__ = ["Background", "Deliver"]

Result = TypeVar("Result")
Deliver = Callable[[Callable[[], None]], None]
"""Calls a function in the thread of the window, soon; may itself be called from any thread."""


class Background:
    """Runs work elsewhere and hands the result back to the thread of the window. Knows nothing of projects and of Qt.

    Parameters
    ----------
    deliver
        How a result reaches the thread of the window.
    fail
        Hears of an error that nobody else handles, in the thread of the window.
    """

    def __init__(self, deliver: Deliver, fail: Callable[[Exception], None]) -> None:
        self._deliver, self._fail = deliver, fail
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="maskloop")
        self._waiting = ThreadPoolExecutor(
            max_workers=1, thread_name_prefix="maskloop waits for the helper"
        )
        self._helper = Helper()
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
            What to do; its result is handed to `then`.
        then
            Called with the result, in the thread of the window.
        key
            Of work with the same key only the newest counts: the others' results are dropped, and
            what has not begun is left out.
        otherwise
            Called with the error instead of the common place for errors.
        """
        if not self._is_closed:
            self._watch(self._threads.submit(_quietly, work), then, key, otherwise)

    def run_apart(
        self,
        function: Callable[..., Result],
        *arguments: Any,
        then: Callable[[Result], None],
        key: str | None = None,
        otherwise: Callable[[Exception], None] | None = None,
    ) -> None:
        """Call a function in a child process that stays: for what loads torch, which would hold the window for seconds.

        Parameters
        ----------
        function
            Of a module, so that it can be found in the child; arguments and result must be
            picklable.
        arguments
            What to call it with.
        then, key, otherwise
            As for `run`.
        """
        if not self._is_closed:
            self._watch(
                self._waiting.submit(self._helper.call, function, *arguments), then, key, otherwise
            )

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
            older = [
                other for other, its_key in self._open.items() if key is not None and its_key == key
            ]
            self._open[future] = key
        for other in older:
            other.cancel()
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
        if isinstance(error, CancelledError):
            return
        if isinstance(error, Exception):
            (otherwise or self._fail)(error)
        elif then is not None:
            then(future.result())

    @property
    def is_busy(self) -> bool:
        """Whether something is still being done, or waits to be handed over."""
        return bool(self._open)

    def close(self) -> None:
        """End in good order: what is being written is finished, what has not begun is left out, nothing is handed over any more."""
        self._is_closed = True
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._helper.kill()
        self._waiting.shutdown(wait=True, cancel_futures=True)
        self._helper.close()


def _quietly(work: Callable[[], Result]) -> Result:
    with read_quietly():
        return work()
