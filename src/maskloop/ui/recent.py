"""The projects a person opened last, kept with the person's settings and not with a project."""

from __future__ import annotations

import json
from pathlib import Path

from maskloop.errors import ProjectError
from maskloop.records import write_bytes

__all__ = ["RecentProjects"]

KEPT = 10


class RecentProjects:
    """Remembers folders, the last one first.

    Parameters
    ----------
    file
        Where they are kept; by default among the person's settings.
    """

    def __init__(self, file: Path | None = None) -> None:
        if file is None:
            from platformdirs import user_config_path

            file = user_config_path("maskloop", appauthor=False) / "recent.json"
        self._file = file

    def list(self) -> list[Path]:
        """The folders, the last opened first; a file that cannot be read counts as empty."""
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        return [Path(entry) for entry in found if isinstance(entry, str)] if isinstance(found, list) else []

    def add(self, folder: Path) -> None:
        """Put a folder first. It is a convenience: where it cannot be written, nothing is said."""
        kept = [folder, *(one for one in self.list() if one != folder)][:KEPT]
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(self._file, json.dumps([str(one) for one in kept], indent=1).encode())
        except (ProjectError, OSError):
            return
