"""The settings and notes of a project."""

from __future__ import annotations

from typing import Any

from maskloop.project.configs import ProjectConfig
from maskloop.project.fields import now
from maskloop.project.folder import Folder
from maskloop.project.paths import CONFIG

__all__ = ["Settings", "installed_version"]


class Settings:
    """Reads the settings and changes some of them."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._file = folder.record(CONFIG, ProjectConfig)

    def read(self) -> ProjectConfig:
        """The settings as they are now.

        Raises
        ------
        RecordError
            If they cannot be read.
        """
        return self._file.read()

    def update(self, **changes: Any) -> ProjectConfig:
        """Change some settings; the others stay as they are.

        Raises
        ------
        UsageError
            If there is no such setting or value.
        """
        with self._folder.writing("change settings"):
            # Stamped here, so that opening to read changes nothing.
            stamped = {**changes, "last_opened_at": now(), "plugin_version": installed_version()}
            config = self._folder.checked(ProjectConfig, self._file.read(), stamped)
            self._file.write(config)
            return config


def installed_version() -> str:
    """The version of maskloop that is running."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("maskloop")
    except PackageNotFoundError:
        return "unknown"
