"""Running a job in a child process, which outlives the window and cannot crash it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass

from maskloop.compute.run_folder import STDERR, FolderHandle
from maskloop.events import Report, silent
from maskloop.jobs.execute import STARTED
from maskloop.priority import CREATION_FLAGS
from maskloop.project.project import ProjectFolder
from maskloop.records import open_append

__all__ = ["Process", "ProcessHandle", "execute_command", "execute_environment"]

_children: list[subprocess.Popen[bytes]] = []
"""Kept until they end, so that none becomes a zombie: runs outlive their handles."""


def execute_command(project: ProjectFolder, run_id: str) -> list[str]:
    """The command that executes a run, on any machine with access to the same folders."""
    history = project.history
    elsewhere = ["--runs", str(history.runs_folder)] if history.is_elsewhere else []
    # -P: scripts that happen to lie in the current folder are not taken for libraries.
    python = [sys.executable, "-P", "-m", "maskloop"]
    return [*python, "execute", str(project.folder), run_id, *elsewhere]


def execute_environment(run_id: str) -> dict[str, str]:
    """Environment variables for that command.

    With them the run has a low priority and obeys a request to cancel that came before it began.
    """
    return {STARTED: run_id}


class Process:
    """Runs jobs in child processes, at a lower priority than the window."""

    def start(
        self, project: ProjectFolder, run_id: str, *, report: Report = silent
    ) -> ProcessHandle:
        """Start the process; the handle follows its events."""
        log = project.history.run_folder(run_id) / STDERR
        with open_append(log) as errors:
            child = subprocess.Popen(
                execute_command(project, run_id),
                env={**os.environ, **execute_environment(run_id)},
                # It asks nothing, and a terminal that closes must not end it.
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
        """The handle of a run started elsewhere: it is alive while it holds its lock."""
        return FolderHandle(project, run_id)


@dataclass(kw_only=True)
class ProcessHandle(FolderHandle):
    """A run that a child of this process executes."""

    child: subprocess.Popen[bytes]

    def is_alive(self) -> bool:
        """Whether the child is alive, which it is for a while before it holds the run's lock."""
        return self.child.poll() is None
