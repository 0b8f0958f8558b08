"""A place that a newcomer might write: a queue in a folder, and a worker that empties it.

Any machine that sees the folder runs a worker: ``python spool.py QUEUE``. All of it is in this
file; `TARGET` is the line that registers it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from maskloop.compute.process import execute_command, execute_environment
from maskloop.compute.run_folder import STDERR, FolderHandle
from maskloop.events import Report, silent
from maskloop.project.project import ProjectFolder
from maskloop.records import write_bytes

QUEUE = "SPOOL_FOLDER"
"""Environment variable: the folder of the queue."""
TICKET = "spool.txt"
"""In the run's folder: the path of its ticket in the queue."""
TARGET = "spool:Spool"


class Spool:
    """Puts runs into a queue; a worker executes one after the other."""

    def start(self, project: ProjectFolder, run_id: str, *, report: Report = silent) -> SpoolHandle:
        """Put a ticket into the queue."""
        folder = project.history.run_folder(run_id)
        ticket = Path(os.environ[QUEUE]) / f"{uuid.uuid4().hex}.json"
        order = {
            "command": execute_command(project, run_id),
            "environment": execute_environment(run_id),
            "stderr": str(folder / STDERR),
        }
        (folder / TICKET).write_text(str(ticket), encoding="utf-8")
        write_bytes(ticket, json.dumps(order).encode())
        return SpoolHandle(project, run_id, ticket=ticket)

    def attach(self, project: ProjectFolder, run_id: str) -> FolderHandle:
        """Find the ticket of a run again."""
        text = (project.history.run_folder(run_id) / TICKET).read_text(encoding="utf-8")
        return SpoolHandle(project, run_id, ticket=Path(text))


@dataclass(kw_only=True)
class SpoolHandle(FolderHandle):
    """A run in the queue."""

    ticket: Path

    def is_alive(self) -> bool:
        """Whether its ticket is still there: the worker removes it when the process has ended."""
        return self.ticket.exists()


def work(queue: Path) -> None:
    """Execute what is in the queue, until a file ``stop`` lies in it."""
    while not (queue / "stop").exists():
        for ticket in sorted(queue.glob("*.json")):
            order = json.loads(ticket.read_bytes())
            with Path(order["stderr"]).open("ab") as errors:
                environment = {**os.environ, **order["environment"]}
                subprocess.run(order["command"], env=environment, stderr=errors, check=False)
            ticket.unlink()
        Event().wait(0.02)


if __name__ == "__main__":
    work(Path(sys.argv[1]))
