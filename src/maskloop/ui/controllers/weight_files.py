"""Which checkpoints have lost their weights."""

from __future__ import annotations

from maskloop.compute.project import Project
from maskloop.ui.controllers.base import Controller
from maskloop.ui.snapshot import Snapshot

__all__ = ["WeightFiles"]


class WeightFiles(Controller):
    """Looks in a thread whether the weights of each checkpoint are in the folder.

    `changed` means: `missing` changed.
    """

    missing: frozenset[str] = frozenset()
    """Ids of checkpoints whose weights are not there."""

    def why_missing(self, checkpoint_id: str) -> str | None:
        """That the weights are missing and what to do, or None."""
        if checkpoint_id not in self.missing:
            return None
        return f"The weights of {checkpoint_id} are missing: restore them from a backup."

    def take(self, snapshot: Snapshot) -> None:
        """Look again: the folder changed."""
        project, records = self._workspace.project, snapshot.checkpoints
        if project is None:
            return

        # In a thread: asking for hundreds of files on a network folder takes seconds.
        def find() -> frozenset[str]:
            paths = {one.checkpoint_id: project.path(one.checkpoint_path) for one in records}
            return frozenset(name for name, path in paths.items() if not path.is_file())

        self._workspace.background.run(find, self._mark, key="missing weights")

    def _mark(self, missing: frozenset[str]) -> None:
        if missing != self.missing:
            self.missing = missing
            self.changed.emit()

    def reset(self, project: Project | None) -> None:
        """Nothing is known of another project yet."""
        self.missing = frozenset()
