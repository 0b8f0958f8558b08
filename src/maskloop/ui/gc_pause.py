"""Reading much at once without holding up the window."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collect_again", "gc_paused"]

MANY = 20_000
"""Objects (of a few thousand pairs) that are worth being set aside."""
SWITCH_S = 0.0002
"""So long a reading thread keeps the interpreter while the window waits for it; Python's own 5 ms are paid anew at each step
back from Qt, and a table that is drawn asks for hundreds of cells."""
_lock = threading.Lock()
_readers = 0
_usual_switch_s = 0.0


@contextmanager
def gc_paused() -> Iterator[None]:
    """Let the window go first within the block, where a thread reads much that stays: put off Python's collection of garbage.

    A full collection looks at every object of the process in one go and holds all its threads: 110
    ms in an empty napari, 200 to 300 ms while ten thousand pairs are read. What was read is set
    aside, so that later ones do not look at it either.
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
                # While nothing is collected this counts what was made and still lives. Seldom:
                # garbage that lies about at this moment is set aside, too.
                if gc.get_count()[0] > MANY:
                    gc.freeze()
                gc.enable()


def collect_again() -> None:
    """Let what was set aside be collected again, when a project is left."""
    gc.unfreeze()
