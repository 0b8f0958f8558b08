"""A child process of this machine: it outlives the window, and its end leaves the window alive."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass

from maskloop.compute.run_folder import STDERR, FolderHandle
from maskloop.events import Event, Failed, Finished, Report, silent
from maskloop.jobs.execute import STARTED
from maskloop.priority import CREATION_FLAGS
from maskloop.project.project import ProjectFolder
from maskloop.records import write_errors

__all__ = ["Process", "execute_command"]

_children: list[subprocess.Popen[bytes]] = []
"""Runs outlive the handle that started them; they are kept so that their exit is still collected."""


def execute_command(project: ProjectFolder, run_id: str) -> list[str]:
    """The command that executes a run, on any machine that sees the same folders."""
    history = project.history
    elsewhere = ["--runs", str(history.runs_folder)] if history.is_elsewhere else []
    # -P: scripts that happen to lie in the current folder are not taken for libraries.
    python = [sys.executable, "-P", "-m", "maskloop"]
    return [*python, "execute", str(project.folder), run_id, *elsewhere]


class Process:
    """Runs a job in a child process at a lower priority than the window."""

    def start(
        self, project: ProjectFolder, run_id: str, *, report: Report = silent
    ) -> ProcessHandle:
        """Start the process; its events are followed by the handle."""
        log = project.history.run_folder(run_id) / STDERR
        with write_errors(log), log.open("ab") as errors:
            child = subprocess.Popen(
                execute_command(project, run_id),
                env={**os.environ, STARTED: run_id},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                # Ctrl-C in the terminal of the window must not end it.
                start_new_session=True,
                creationflags=CREATION_FLAGS,
            )
        _children[:] = [other for other in _children if other.poll() is None]
        _children.append(child)
        return ProcessHandle(project, run_id, child=child)

    def attach(self, project: ProjectFolder, run_id: str) -> FolderHandle:
        """The handle of a run that another process started: it is alive while it holds its lock."""
        return FolderHandle(project, run_id)


@dataclass(kw_only=True)
class ProcessHandle(FolderHandle):
    """A run that a child of this process executes."""

    child: subprocess.Popen[bytes]

    def is_alive(self) -> bool:
        """Whether the child lives; it does some time before it holds the run's lock."""
        return self.child.poll() is None

    def events(self, position: int = 0, *, end: int | None = None) -> tuple[list[Event], int]:
        """Events of the journal; after the last one the child is waited for."""
        events, position = super().events(position, end=end)
        # Else whoever starts the run again right after its end would find it running.
        if end is None and events and isinstance(events[-1], Finished | Failed):
            self.child.wait()
        return events, position
