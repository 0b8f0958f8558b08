"""What a place where jobs run promises."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from maskloop import plugins
from maskloop.compute.base import RunHandle, follow, last_word
from maskloop.compute.overview import run_state, summary_of
from maskloop.compute.project import Project
from maskloop.compute.run_folder import FolderHandle
from maskloop.compute.runs import attach, find_interrupted, start, submit
from maskloop.errors import MaskloopError, UsageError
from maskloop.events import Event, Failed, Finished, Progress, Started, silent
from maskloop.jobs.execute import EVENTS
from maskloop.testing.count_job import CountJob, install_count_job, release

__all__ = ["TargetContract"]

DEADLINE_S = 120.0
"""Long enough for a busy machine: only a test that fails waits so long."""


class TargetContract:
    """What the window, the command line and Python rely on in any place.

    Subclass it, name the place in `target`, and register it (in a fixture, say) unless it is
    installed::

        class TestQueue(TargetContract):
            target = "queue"
    """

    target: ClassVar[str]
    """The name under which the place is registered."""
    returns_at_once: ClassVar[bool] = True
    """Whether `start` returns before the run ends, because another process executes it."""

    @pytest.fixture
    def project(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
        """A project, and the job of these tests known to every process that is started."""
        packages = tmp_path / "packages"
        install_count_job(packages)
        monkeypatch.syspath_prepend(str(packages))
        # Inherited by every process that a place starts.
        monkeypatch.setenv("PYTHONPATH", str(packages), prepend=os.pathsep)
        plugins.forget_installed()
        yield Project.create(tmp_path / "project", mode="instances")
        # The registry remembers what it found: without the job's package it has to look again.
        monkeypatch.undo()
        plugins.forget_installed()

    def kill(self, handle: RunHandle) -> None:
        """Kill the process that executes the run, without a warning."""
        started = [event for event in handle.events()[0] if isinstance(event, Started)]
        os.kill(started[-1].process_id, signal.SIGKILL)

    def test_a_run_is_followed_to_its_end(self, project: Project) -> None:
        """The handle gives every event once and in order, and then the run is over."""
        told: list[Event] = []
        handle = start(submit(project, CountJob(until=5)), self.target, report=told.append)
        events = list(follow(handle))
        assert _numbers(events) == [1, 2, 3, 4, 5]
        assert isinstance(events[0], Started)
        assert isinstance(events[-1], Finished)
        assert events[-1].result["first"] == 0
        assert not handle.is_alive()
        assert run_state(project, handle.run_id) == "finished"
        # A place that executes the run itself reports its events; others leave that to `follow`.
        assert told in ([], events)

    def test_the_journal_is_whole(self, project: Project) -> None:
        """Each event is a line of its own, from whatever process it came."""
        handle = start(submit(project, CountJob(until=50)), self.target)
        last_word(handle)
        lines = (handle.folder / EVENTS).read_bytes().splitlines(keepends=True)
        events, position = handle.events()
        assert all(line.endswith(b"\n") for line in lines)
        # Started, fifty numbers, Finished.
        assert len(lines) == len(events) == 52
        assert position == sum(map(len, lines))
        assert handle.events(position) == ([], position)

    def test_a_run_that_is_finished_is_not_run_again(self, project: Project) -> None:
        """A queue may deliver a job twice."""
        run = submit(project, CountJob(until=2))
        last_word(start(run, self.target))
        # Byte by byte: not even a second Started.
        before = (run.folder / EVENTS).read_bytes()
        handle = start(run, self.target)
        _until(lambda: not handle.is_alive())
        assert (run.folder / EVENTS).read_bytes() == before

    def test_a_job_that_fails_says_why(self, project: Project) -> None:
        """The message reaches the caller and the journal."""
        run = submit(project, CountJob(until=1, fails=True))
        # Any class of the tree: from elsewhere only the journal comes, which knows errors by name.
        with pytest.raises(MaskloopError, match="1 is not a number to count to"):
            last_word(start(run, self.target))
        last = run.events()[0][-1]
        assert isinstance(last, Failed)
        assert (last.error, last.way_out) == ("UsageError", "Count to another one.")
        assert run_state(project, run.run_id) == "failed"

    def test_a_run_is_cancelled_in_good_order_and_resumed(self, project: Project) -> None:
        """What was done before is not done again."""
        job = CountJob(until=4, hold_at=2)
        run = submit(project, job)
        with self._running(run) as handle:
            _until(lambda: _numbers(handle.events()[0]) == [1, 2])
            assert handle.is_alive()
            assert run_state(project, run.run_id) == "running"
            # In the middle, held by the job itself and not by a clock.
            handle.cancel()
            last = list(follow(handle))[-1]
        assert isinstance(last, Failed)
        assert last.error == "Cancelled"
        self._resume(project, job, run)

    def test_a_run_is_found_again_and_never_started_twice(self, project: Project) -> None:
        """Another window follows it, and may not start it."""
        run = submit(project, CountJob(until=3, hold_at=1))
        with self._running(run) as handle:
            _until(lambda: _numbers(handle.events()[0]) == [1])
            other = attach(project, run.run_id)
            assert other.is_alive()
            # Two processes in one run folder would overwrite each other's state.
            with pytest.raises(UsageError, match="is already running"):
                start(run, self.target)
            release(handle.folder)
            assert _numbers(list(follow(other))) == [1, 2, 3]
        assert summary_of(project, run.run_id).outcome == "Counted from 0 to 3."

    def test_a_killed_run_is_interrupted_and_resumed(self, project: Project) -> None:
        """Its followers are told, and the same job resumes from what was saved."""
        if not self.returns_at_once:
            pytest.skip("A run in this process cannot be killed without killing the test.")
        job = CountJob(until=4, hold_at=2)
        run = submit(project, job)
        handle = start(run, self.target)
        _until(lambda: _numbers(handle.events()[0]) == [1, 2])
        # As the system does when memory runs out: no handler runs, nothing is cleaned up.
        self.kill(handle)
        last = list(follow(handle))[-1]
        assert isinstance(last, Failed)
        assert last.error == "Interrupted"
        assert "stopped unexpectedly" in last.problem
        self._resume(project, job, run)

    def _resume(self, project: Project, job: CountJob, run: FolderHandle) -> None:
        _until(lambda: run_state(project, run.run_id) == "interrupted")
        # By the job alone: another window does not know the run's id.
        found = find_interrupted(project, job)
        assert found == run
        release(run.folder)
        handle = start(found, self.target)
        events = list(follow(handle))
        assert isinstance(events[0], Started)
        assert events[0].resumed
        assert _numbers(events) == [3, 4]
        assert isinstance(events[-1], Finished)
        # It counted on from what the first process had saved, and did not begin again.
        assert events[-1].result["first"] == 2

    def _running(self, run: FolderHandle) -> _Running:
        return _Running(run, self.target, returns_at_once=self.returns_at_once)


class _Running:
    """A run that is started, in a thread where starting it means doing it."""

    def __init__(self, run: FolderHandle, target: str, *, returns_at_once: bool) -> None:
        self._run, self._target = run, target
        self._returns_at_once = returns_at_once
        self._thread = threading.Thread(target=self._start)

    def _start(self) -> None:
        try:
            start(self._run, self._target, report=silent)
        except MaskloopError:
            return  # the journal says why

    def __enter__(self) -> RunHandle:
        if self._returns_at_once:
            return start(self._run, self._target)
        self._thread.start()
        handle = attach(self._run.project, self._run.run_id)
        _until(handle.is_alive)
        return handle

    def __exit__(self, *_: object) -> None:
        if not self._returns_at_once:
            self._thread.join()


def _numbers(events: list[Event]) -> list[float]:
    return [event.done for event in events if isinstance(event, Progress)]


def _until(is_true: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not is_true():
        assert time.monotonic() < end, f"This did not come true within {DEADLINE_S:g} s."
        threading.Event().wait(0.01)
