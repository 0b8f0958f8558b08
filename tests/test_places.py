"""Places where jobs run keep their contract: a thread, a process, and a newcomer's queue."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import spool

from maskloop import Project, plugins
from maskloop.compute.runs import start, submit
from maskloop.errors import NotFound
from maskloop.testing import TargetContract
from maskloop.testing.count_job import CountJob


class TestInline(TargetContract):
    """This thread."""

    target = "inline"
    returns_at_once = False


class TestProcess(TargetContract):
    """A child process."""

    target = "process"


class TestSpool(TargetContract):
    """A queue in a folder: the place in `spool`, registered by one line."""

    target = "spool"

    @pytest.fixture(autouse=True)
    def queue(
        self, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[None]:
        """An empty queue with a worker, which knows the jobs that `project` installs."""
        folder = tmp_path / "queue"
        folder.mkdir()
        monkeypatch.setenv(spool.QUEUE, str(folder))
        worker = subprocess.Popen(
            [sys.executable, spool.__file__, str(folder)], stdout=subprocess.DEVNULL
        )
        with plugins.register("targets", "spool", spool.TARGET):
            yield
        (folder / "stop").touch()
        assert worker.wait(60) == 0


def test_a_place_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p", mode="binary")
    with pytest.raises(NotFound, match=r"'moon' is not one of the targets: inline, process"):
        start(submit(project, CountJob(until=1)), "moon")
