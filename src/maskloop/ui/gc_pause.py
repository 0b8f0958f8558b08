"""Read much at once, in a thread, without blocking the window."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collect_again", "gc_paused"]

MANY = 20_000
"""So many new objects (a few thousand pairs) are worth being frozen."""
SWITCH_S = 0.0002
"""How long a reading thread keeps the interpreter while the window waits. With Python's own 5 ms, a
table of hundreds of cells waits 5 ms for each: Qt calls back into Python for every cell.
"""
_lock = threading.Lock()
_readers = 0
_usual_switch_s = 0.0


@contextmanager
def gc_paused() -> Iterator[None]:
    """Postpone garbage collection while a thread reads much that stays.

    A full collection visits every object and stops all threads: 110 ms in an empty napari, 200 to
    300 ms while ten thousand pairs are read. What was read is frozen, so that later collections do
    not visit it either.
    """
    global _readers, _usual_switch_s
    with _lock:
        _readers += 1
        if _readers == 1:
            gc.disable()
            _usual_switch_s = sys.getswitchinterval()
            sys.setswitchinterval(SWITCH_S)
    try:
        yield
    finally:
        with _lock:
            _readers -= 1
            if _readers == 0:
                sys.setswitchinterval(_usual_switch_s)
                # While collection is off, this counts the objects that were made and still live.
                # Rarely, because garbage of this moment is frozen, too.
                if gc.get_count()[0] > MANY:
                    gc.freeze()
                gc.enable()


def collect_again() -> None:
    """Collect again what was frozen, when a project is left."""
    gc.unfreeze()
