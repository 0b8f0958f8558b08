"""Where jobs run: what a place offers, and how a run is followed there.

A new place (a cluster's queue, a remote GPU, Dask) is one class that fulfils `Target` and one line:
in the table ``targets`` of `maskloop.plugins`, or as an entry point of the group
``maskloop.targets``. `maskloop.testing.TargetContract` tests it. Where the place sees the project's
folder, `maskloop.compute.run_folder.FolderHandle` is most of its handle.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from maskloop import errors
from maskloop.errors import MaskloopError
from maskloop.events import Event, Failed, Finished, Report, silent
from maskloop.project.project import ProjectFolder

__all__ = ["RunHandle", "Target", "catch_up", "follow", "last_word"]

GRACE_S = 20.0
"""How long a process may take to end after its last event."""


class RunHandle(Protocol):
    """One run, wherever it runs: read its events, ask whether it is alive, cancel it."""

    run_id: str
    position: int | None
    """Byte of the journal where this start began; None if another process started the run."""

    @property
    def folder(self) -> Path:
        """The run's folder with its previews, here or mirrored here."""

    def events(self, position: int = 0, *, end: int | None = None) -> tuple[list[Event], int]:
        """Events from byte `position` on (before byte `end`), and the byte to read from next."""

    def is_alive(self) -> bool:
        """Whether it is waiting to be executed or is being executed."""

    def cancel(self) -> None:
        """Ask it to stop; the best result so far is kept."""

    def log(self) -> str:
        """The end of what its process printed besides its events; empty if there is nothing."""


class Target(Protocol):
    """A place where jobs run. Made without arguments."""

    def start(self, project: ProjectFolder, run_id: str, *, report: Report = silent) -> RunHandle:
        """Have `maskloop.jobs.execute.execute` called for a run whose job is written.

        In another process that is `execute_command` with `execute_environment` of
        `maskloop.compute.process`.

        Parameters
        ----------
        project, run_id
            Which run.
        report
            For a place that executes the run before it returns: call it with each event. Other
            places ignore it.

        Returns
        -------
        handle
            At once; the run is then alive until it ends.
        """

    def attach(self, project: ProjectFolder, run_id: str) -> RunHandle:
        """The handle of a run that was started here earlier, perhaps by another process."""


def follow(
    handle: RunHandle, is_stopped: Callable[[], bool] = lambda: False, *, poll_s: float = 0.1
) -> Iterator[Event]:
    """Events of a run as they arrive, until its last; a killed run ends with `Failed`.

    Parameters
    ----------
    handle
        The run, followed from `handle.position`.
    is_stopped
        Asked between events: whether to stop following. The run itself continues.
    poll_s
        Seconds between two reads of the journal.
    """
    position = handle.position or 0
    while True:
        # Asked before reading, or the last events of a process that ends in between would be lost.
        is_alive = not is_stopped() and handle.is_alive()
        events, position = handle.events(position)
        for event in events:
            if isinstance(event, Finished | Failed):
                _let_end(handle, is_stopped, poll_s)
                yield event
                return
            yield event
        # Read once more after the process has ended, then give up.
        if not is_alive:
            break
        time.sleep(poll_s)
    if not is_stopped():
        yield _interrupted(handle)


def _let_end(handle: RunHandle, is_stopped: Callable[[], bool], poll_s: float) -> None:
    """Wait until the process has ended, or a run that is resumed at once would seem to be alive."""
    end = time.monotonic() + GRACE_S
    while handle.is_alive() and not is_stopped() and time.monotonic() < end:
        time.sleep(poll_s / 10)


def _interrupted(handle: RunHandle) -> Failed:
    tail = handle.log()
    return Failed(
        error="Interrupted",
        problem=f"The run {handle.run_id} stopped unexpectedly" + (f": {tail}" if tail else "."),
        way_out="Start the same job again: it resumes from its last saved state.",
    )


def catch_up(handle: RunHandle) -> tuple[list[Event], bool]:
    """The events of a run so far; `follow` then continues from there.

    Returns
    -------
    events
        Without the last events of earlier starts.
    is_over
        Whether the run has ended, so that there is nothing left to follow.
    """
    # Of a run that was just resumed, everything up to here is the past: its last event says how
    # the earlier start ended, not this one.
    was_started_here = handle.position is not None
    events, handle.position = handle.events(end=handle.position)
    is_over = not was_started_here and bool(events) and isinstance(events[-1], Finished | Failed)
    last = events[-1:] if is_over else []
    return [event for event in events if not isinstance(event, Finished | Failed)] + last, is_over


def last_word(handle: RunHandle, report: Report = silent) -> Finished:
    """Wait for the end of a run.

    Raises
    ------
    MaskloopError
        If the run failed, with the message from its journal.
    """
    for event in follow(handle):
        report(event)
        if isinstance(event, Failed):
            # The same class as in the process that failed, so that callers can tell them apart.
            known = event.error in errors.__all__
            kind = getattr(errors, event.error) if known else MaskloopError
            raise kind(event.problem, event.way_out)
        if isinstance(event, Finished):
            return event
    raise AssertionError("follow ends with the last event")
