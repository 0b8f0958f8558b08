"""Waiting in tests: for a condition, with a deadline, never for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

DEADLINE_S = 120.0
"""Long enough for a busy machine: only a test that fails waits so long."""
POLL_S = 0.005


def _rest() -> None:
    threading.Event().wait(POLL_S)


def wait_until(
    is_true: Callable[[], object],
    what: str = "the condition",
    *,
    deadline_s: float = DEADLINE_S,
    meanwhile: Callable[[], object] = _rest,
) -> None:
    """Return as soon as `is_true()` holds.

    Parameters
    ----------
    is_true
        Asked again and again.
    what
        Named in the failure.
    deadline_s
        Seconds until the wait fails.
    meanwhile
        Called between two questions, such as `QApplication.processEvents`; must return soon.

    Raises
    ------
    AssertionError
        When the deadline passes first.
    """
    end = time.monotonic() + deadline_s
    while not is_true():
        assert time.monotonic() < end, f"{what} did not come true within {deadline_s:g} s"
        meanwhile()
