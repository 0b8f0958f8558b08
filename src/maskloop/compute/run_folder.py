"""A run in a folder that this machine can read, whichever process executes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from maskloop.events import Event, read_events
from maskloop.jobs.execute import CANCEL, EVENTS, RUN_LOCK
from maskloop.project.project import ProjectFolder
from maskloop.records import open_append, read_ordinary

__all__ = ["STDERR", "FolderHandle", "is_locked"]

STDERR = "stderr.txt"
"""What the process of a run printed besides its events: perhaps the reason why it died."""
TAIL_CHARACTERS = 500


@dataclass
class FolderHandle:
    """Follows a run through its folder alone: the journal, the lock, the request to cancel.

    Places that share the project's folder extend it with a better `is_alive`.
    """

    project: ProjectFolder
    run_id: str
    position: int | None = None

    @property
    def folder(self) -> Path:
        """The run's folder, with job, journal and saved state."""
        return self.project.history.run_folder(self.run_id)

    def events(self, position: int = 0, *, end: int | None = None) -> tuple[list[Event], int]:
        """Events of the journal between two bytes, and the byte to read from next."""
        return read_events(self.folder / EVENTS, position, end=end)

    def is_alive(self) -> bool:
        """Whether any process holds the run's lock."""
        return is_locked(self.folder)

    def cancel(self) -> None:
        """Ask the run to stop; the best result so far is kept."""
        # Opened, not touched: a link that came with a stranger's project is not followed.
        with open_append(self.folder / CANCEL):
            pass

    def log(self) -> str:
        """The end of what its process printed."""
        try:
            content = read_ordinary(self.folder / STDERR)
        except OSError:
            return ""
        return content.decode(errors="replace")[-TAIL_CHARACTERS:].strip()


def is_locked(folder: Path) -> bool:
    """Whether a process is executing the run in this folder."""
    from filelock import FileLock, Timeout

    # Asking must not create a file where nothing was ever run.
    if not (folder / RUN_LOCK).exists():
        return False
    # The system frees the lock when its holder dies, however it dies; a note with a process id
    # would outlive it, and ids are reused.
    lock = FileLock(folder / RUN_LOCK)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        return True
    lock.release()
    return False
