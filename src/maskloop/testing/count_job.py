"""A job for tests of places: it counts, saves each number, and can be held, stopped and resumed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Literal

from pydantic import Field

from maskloop.errors import Cancelled, UsageError
from maskloop.events import Progress
from maskloop.jobs.base import Job, Result, RunContext
from maskloop.records import write_bytes

__all__ = ["CountJob", "install_count_job", "release"]

HOLD_S = 0.01
ENTRY_POINTS = "[maskloop.jobs]\ncount = maskloop.testing.count_job:CountJob\n"


class CountJob(Job):
    """Count to a number."""

    kind: Literal["count"] = "count"
    until: int = Field(ge=1, description="The last number.")
    hold_at: int | None = Field(None, description="Wait here until `release` is called.")
    fails: bool = Field(False, description="Whether it fails at the end.")

    def run(self, run: RunContext) -> Result:
        """Count on from the number that an earlier process saved."""
        state = run.folder / "count.txt"
        first = int(state.read_text(encoding="ascii")) if state.exists() else 0
        number = first
        while number < self.until:
            if run.is_cancelled():
                raise Cancelled(f"Stopped at {number}.", "Start it again: it resumes.")
            # A file and no event or lock: the job may run in another process or on another machine.
            if number == self.hold_at and not (run.folder / "go").exists():
                # Short, because it is also how soon the job notices that it was cancelled.
                threading.Event().wait(HOLD_S)
                continue
            number += 1
            # Saved before it is told: who reads an event can rely on what it says.
            write_bytes(state, str(number).encode("ascii"))
            run.report(Progress(stage="counting", done=number, total=self.until, unit="numbers"))
        if self.fails:
            raise UsageError(f"{self.until} is not a number to count to.", "Count to another one.")
        return {"summary": f"Counted from {first} to {number}.", "first": first}


def release(folder: Path) -> None:
    """Let the job of the run in this folder count on from where it is held."""
    (folder / "go").touch()


def install_count_job(packages: Path) -> None:
    """Make a folder of packages that offers the job, to any Python that has it on its path.

    A job must be known where it runs, in another process; that is what entry points are for.
    """
    facts = packages / "maskloop_count_job-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Name: maskloop-count-job\nVersion: 1.0\n", encoding="utf-8")
    (facts / "entry_points.txt").write_text(ENTRY_POINTS, encoding="utf-8")
