"""The projects that a person opened last, in the settings of the person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from maskloop.errors import ProjectError
from maskloop.records import Record, write_bytes

__all__ = ["RecentProjects"]

KEPT = 10


class _Kept(Record):
    projects: dict[str, list[str]]
    """Inputs of the annotation queue by project folder, the last opened first."""


class RecentProjects:
    """Remembers project folders, and the annotation queue of each.

    Not in the project: the images of a queue lie on this computer, a project may move to another.

    Parameters
    ----------
    file
        Where to keep them; in the settings of the person by default.
    """

    def __init__(self, file: Path | None = None) -> None:
        if file is None:
            # Imported late: tests, and who names a file, need no platformdirs.
            from platformdirs import user_config_path

            file = user_config_path("maskloop", appauthor=False) / "recent.json"
        self._file = file

    def list(self) -> list[Path]:
        """The folders, the last opened first; none if the file cannot be read."""
        return [Path(folder) for folder in self._read()]

    def add(self, folder: Path) -> None:
        """Put a folder first; nothing happens if it cannot be written."""
        known = dict(self._read())
        # Taken out and put first: dicts keep the order of insertion, and JSON keeps that of the
        # dict.
        inputs = known.pop(str(folder), ())
        self._write({str(folder): inputs, **known})

    def images(self, folder: Path) -> tuple[str, ...]:
        """The folders, files and patterns that were in the annotation queue of a project."""
        return tuple(self._read().get(str(folder), ()))

    def set_images(self, folder: Path, inputs: Sequence[str]) -> None:
        """Remember the annotation queue of a project that was added."""
        self._write({**self._read(), str(folder): [*inputs]})

    def _read(self) -> Mapping[str, Sequence[str]]:
        # Read each time: another napari may have added a project.
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
            # A convenience: a full disk or a read-only home is not worth a message.
            return
