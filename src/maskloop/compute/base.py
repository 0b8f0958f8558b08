"""Places where jobs run, and runs that are followed wherever they are.

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

from maskloop.errors import MaskloopError
from maskloop.events import Event, Failed, Finished, Report, silent
from maskloop.project.project import ProjectFolder

__all__ = ["RunHandle", "Target", "catch_up", "follow", "last_word"]

GRACE_S = 20.0
"""A process that has told its last event may still take so long to end."""


class RunHandle(Protocol):
    """One run, wherever it is: read what it tells, ask whether it is alive, cancel it."""

    run_id: str
    position: int | None
    """Byte of the journal where this start began; None when the run was started by others."""

    @property
    def folder(self) -> Path:
        """The run's folder with its previews, here or mirrored here."""

    def events(self, position: int = 0, *, end: int | None = None) -> tuple[list[Event], int]:
        """Events from byte `position` on (before byte `end`), and the byte to read from next."""

    def is_alive(self) -> bool:
        """Whether it waits to be executed or is being executed."""

    def cancel(self) -> None:
        """Ask it to stop in good order; what is best so far is kept."""

    def log(self) -> str:
        """The last words of its process that are not in the journal; empty where there are none."""


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
            Told of each event by a place that executes the run before it returns; others leave it
            alone.

        Returns
        -------
        handle
            At once; the run is then alive until it ends.
        """

    def attach(self, project: ProjectFolder, run_id: str) -> RunHandle:
        """The handle of a run that another process started here earlier."""


def follow(
    handle: RunHandle, is_stopped: Callable[[], bool] = lambda: False, *, poll_s: float = 0.1
) -> Iterator[Event]:
    """Events of a run as they come, until its last; one that was killed ends with `Failed`.

    Parameters
    ----------
    handle
        The run, followed from `handle.position`.
    is_stopped
        Asked between events: whether to stop following. The run itself goes on.
    poll_s
        Seconds between two looks at the journal.
    """
    position = handle.position or 0
    while True:
        # Asked before reading: what a process writes last is then certain to be read.
        is_alive = not is_stopped() and handle.is_alive()
        events, position = handle.events(position)
        for event in events:
            if isinstance(event, Finished | Failed):
                _let_end(handle, is_stopped, poll_s)
                yield event
                return
            yield event
        if not is_alive:
            break
        time.sleep(poll_s)
    if not is_stopped():
        yield _interrupted(handle)


def _let_end(handle: RunHandle, is_stopped: Callable[[], bool], poll_s: float) -> None:
    """Wait until its process has gone: else whoever starts the run again would find it alive."""
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
    """What a run told so far; `follow` then goes on from there.

    Returns
    -------
    events
        Without the ends of earlier starts.
    is_over
        Whether the last of them ends the run, so that nothing is left to follow.
    """
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
        If the run failed, with the words of its journal.
    """
    for event in follow(handle):
        report(event)
        if isinstance(event, Failed):
            raise MaskloopError(event.problem, event.way_out)
        if isinstance(event, Finished):
            return event
    raise AssertionError("follow ends with the last event")
