"""What all controllers have in common."""

from __future__ import annotations

from psygnal import Signal

from maskloop.compute.project import Project
from maskloop.ui.snapshot import Snapshot
from maskloop.ui.workspace import Workspace

__all__ = ["Controller"]


class Controller:
    """One subject of the window: what is known of it, what can be done, and why not; without Qt.

    A subclass overrides `reset` and `take`, calls other controllers that its constructor is given,
    and emits `changed` (and signals of its own) in the main thread.

    Parameters
    ----------
    workspace
        The open project and the way to do work with it.
    """

    changed = Signal()
    """Something that is shown of this controller changed."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        # Controllers hear in the order in which they are made: what they are given hears first.
        workspace.events.project_changed.connect(self.reset)
        workspace.events.snapshot_changed.connect(self.take)

    def reset(self, project: Project | None) -> None:
        """Forget what belongs to the previous project."""

    def take(self, snapshot: Snapshot) -> None:
        """Show the new state of the project."""

    def close(self) -> None:
        """Finish what must not be lost when the window closes."""
