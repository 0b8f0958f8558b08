"""Notice that somebody else wrote into a project, moved its folder or changed its permissions."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from maskloop.project import layout

__all__ = ["FolderWatch"]

WATCH_S = 1.0


class FolderWatch:
    """Looks at a folder every second, from a thread of its own, until it is closed.

    Not a `QFileSystemWatcher`: network file systems do not notify, and records are replaced as a
    whole, which it takes for a deletion.

    Parameters
    ----------
    folder
        Of a project.
    changed
        Called in that thread after each change.
    """

    def __init__(self, folder: Path, changed: Callable[[], None]) -> None:
        self._folder, self._changed = folder, changed
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._watch, name="maskloop watches the folder", daemon=True
        )
        self._thread.start()

    def _watch(self) -> None:
        seen = _look(self._folder)
        while not self._stopped.wait(WATCH_S):
            now = _look(self._folder)
            if now != seen:
                seen = now
                self._changed()

    def close(self) -> None:
        """Stop watching; returns when the thread has ended."""
        self._stopped.set()
        self._thread.join()


def _look(folder: Path) -> tuple[Any, ...]:
    """What differs after a change; cheap enough for every second."""
    if not folder.is_dir():
        return ("missing",)
    # Not the whole folder: ten thousand images need not be looked at every second.
    seen = [_stamp(folder / path) for path in (*layout.records(), layout.HOLDER, layout.RUNS)]
    return (*seen, os.access(folder, os.W_OK))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    # The inode, too: a record is replaced by a new file, within one tick of a coarse clock.
    return found.st_mtime_ns, found.st_size, found.st_ino
