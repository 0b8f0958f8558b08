"""One writer at a time: the lock of a project, held only for the length of a transaction."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maskloop.errors import ProjectError, ProjectLocked
from maskloop.project import paths
from maskloop.project.fields import now
from maskloop.records import parse_json, read_ordinary, refuse_special, write_errors, write_note
from maskloop.wording import time_in_words

__all__ = ["WriterLock"]

POLL_S = 0.01


class WriterLock:
    """Lets one thread of one process write to a project folder.

    The system releases it when its holder dies.

    Parameters
    ----------
    folder
        The project folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = threading.RLock()
        # Nested transactions take it once: only the outermost locks the file.
        self._depth = 0
        self._file: Any = None

    @contextlib.contextmanager
    def hold(self, verb: str, *, timeout_s: float) -> Iterator[bool]:
        """Hold the lock within the block; whoever holds it already goes straight on.

        Yields
        ------
        outermost
            Whether the lock was taken here.

        Raises
        ------
        ProjectLocked
            If another writer held it for `timeout_s` seconds; the message names the holder.
        ProjectError
            If the folder is not writable.
        """
        # A file lock does not keep threads of one process apart.
        if not self._thread.acquire(timeout=timeout_s):
            raise self._locked(timeout_s)
        try:
            if self._depth == 0:
                self._acquire(verb, timeout_s)
            self._depth += 1
            try:
                yield self._depth == 1
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self._release()
        finally:
            self._thread.release()

    def _acquire(self, verb: str, timeout_s: float) -> None:
        import filelock

        path = self._folder / paths.LOCK
        # The lock would make the folder anew: a ghost of a project that was moved while open.
        if not self._folder.is_dir():
            raise ProjectError(
                f"The project folder '{self._folder}' was moved or deleted.",
                "Open the project where it is now.",
            )
        with write_errors(path):
            refuse_special(path)
            # Not one for each thread: the thread lock above already lets one in at a time.
            self._file = filelock.FileLock(path, mode=0o666, thread_local=False)
            try:
                self._file.acquire(timeout=timeout_s, poll_interval=POLL_S)
            except filelock.Timeout:
                raise self._locked(timeout_s) from None
            except (NotImplementedError, RuntimeError) as error:
                raise ProjectError(
                    f"'{self._folder}' cannot be locked: {error}.",
                    "Copy the project to a disk that supports file locks, and write there.",
                ) from error
        holder = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "user": _user(),
            "verb": verb,
            "since": now(),
        }
        # Only words for whoever waits; the lock does not depend on it.
        with contextlib.suppress(OSError):
            write_note(self._folder / paths.HOLDER, json.dumps(holder).encode())

    def _release(self) -> None:
        # Removed before the lock is released: a note never outlives its writer, but for a kill.
        with contextlib.suppress(OSError):
            (self._folder / paths.HOLDER).unlink(missing_ok=True)
        self._file.release()

    def _locked(self, timeout_s: float) -> ProjectLocked:
        return ProjectLocked(
            f"'{self._folder}' is being written by {self._holder()}; "
            f"waited {time_in_words(timeout_s)}.",
            "Wait until it has finished and try again, or stop that program. Reading still works.",
        )

    def _holder(self) -> str:
        try:
            who = parse_json(read_ordinary(self._folder / paths.HOLDER))
            process = f"process {who['pid']} of {who['user']} on {who['host']}"
            return f"{process} ({who['verb']}, since {who['since']})"
        except (OSError, ValueError, KeyError, TypeError):
            return "another program that did not leave its name"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"
