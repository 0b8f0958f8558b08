"""The projects a person opened last, kept with the person's settings and not with a project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from maskloop.errors import ProjectError
from maskloop.records import Record, write_bytes

__all__ = ["RecentProjects"]

KEPT = 10


class _Kept(Record):
    projects: dict[str, list[str]]
    """Images gone through by folder of the project; the last opened comes first."""


class RecentProjects:
    """Remembers folders, the last one first, and of each the images that were gone through: they lie where they lie on this computer.

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
        return [Path(folder) for folder in self._read()]

    def add(self, folder: Path) -> None:
        """Put a folder first. It is a convenience: where it cannot be written, nothing is said."""
        known = self._read()
        self._write(
            {
                str(folder): known.get(str(folder), ()),
                **{name: known[name] for name in known if name != str(folder)},
            }
        )

    def images(self, folder: Path) -> tuple[str, ...]:
        """The folders, files and patterns that were last gone through in a project."""
        return tuple(self._read().get(str(folder), ()))

    def set_images(self, folder: Path, inputs: Sequence[str]) -> None:
        """Remember what is gone through in a project that was added."""
        self._write({**self._read(), str(folder): [*inputs]})

    def _read(self) -> Mapping[str, Sequence[str]]:
        try:
            return _Kept.model_validate_json(self._file.read_bytes()).projects
        except (OSError, ValueError):
            return {}

    def _write(self, projects: Mapping[str, Sequence[str]]) -> None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            kept = _Kept(projects={name: list(projects[name]) for name in list(projects)[:KEPT]})
            write_bytes(self._file, kept.model_dump_json(indent=1).encode())
        except (ProjectError, OSError):
            return
