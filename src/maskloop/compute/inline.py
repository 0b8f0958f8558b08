"""Running a job in this thread."""

from __future__ import annotations

from maskloop.compute.run_folder import FolderHandle
from maskloop.events import Report, silent
from maskloop.jobs.execute import execute
from maskloop.project.project import ProjectFolder

__all__ = ["Inline"]


class Inline:
    """Runs jobs in this thread: when `start` returns, the run has ended."""

    def start(
        self, project: ProjectFolder, run_id: str, *, report: Report = silent
    ) -> FolderHandle:
        """Execute the run.

        Raises
        ------
        MaskloopError
            If the job fails.
        """
        execute(project, run_id, report=report)
        return FolderHandle(project, run_id)

    def attach(self, project: ProjectFolder, run_id: str) -> FolderHandle:
        """The handle of a run that a thread of another process executes."""
        return FolderHandle(project, run_id)
