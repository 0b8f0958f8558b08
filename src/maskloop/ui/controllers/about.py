"""What is known of the project: its folder, its age, and the versions that wrote it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from platform import python_version

from maskloop.compute.project import Project
from maskloop.project.upgrade import is_legacy
from maskloop.ui.controllers.base import Controller
from maskloop.ui.snapshot import Snapshot
from maskloop.ui.workspace import Workspace

__all__ = ["AboutController"]

Facts = tuple[tuple[str, str], ...]
"""Name and value of each fact."""
LIBRARIES = ("maskloop", "napari", "torch", "numpy")
LEGACY = (
    "This folder was made by napari-training-assistant. It is read as it is, and upgraded when "
    "something is first written into it; the old records are kept."
)


class AboutController(Controller):
    """Where the project is, which versions wrote it, and what a person should know of it.

    `changed` means: `facts` or `words` changed.

    Parameters
    ----------
    workspace
        Whose project it is.
    """

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self.facts: Facts = ()
        self.words = ""
        """What is special about the folder, such as that it is read-only."""

    @property
    def folder(self) -> str:
        """Of the project; empty if none is open."""
        project = self._workspace.project
        return "" if project is None else str(project.folder)

    def take(self, snapshot: Snapshot) -> None:
        """Collect the facts, in a thread."""
        project = self._workspace.project
        if project is None:
            self._show(((), ""))
            return
        # In a thread: reading the versions of libraries looks through their folders.
        self._workspace.background.run(
            lambda: _look(project, snapshot), self._show, key="about the project"
        )

    def _show(self, found: tuple[Facts, str]) -> None:
        if found != (self.facts, self.words):
            self.facts, self.words = found
            self.changed.emit()


def _look(project: Project, snapshot: Snapshot) -> tuple[Facts, str]:
    # What can be told of a project whose settings are damaged, too.
    facts = [("Folder", str(project.folder))]
    if snapshot.config is not None:
        config = snapshot.config
        facts += [
            ("Name", config.project_name),
            ("Created", config.created_at[:10]),
            ("Last written", config.last_opened_at[:10]),
            ("Written by maskloop", config.plugin_version or "unknown version"),
        ]
    versions = [f"{name} {found}" for name in LIBRARIES if (found := _version(name))]
    facts += [("Software versions", ", ".join([f"Python {python_version()}", *versions]))]
    # Asked in the thread: it looks into the folder.
    words = [LEGACY] if is_legacy(project.folder) else []
    if snapshot.condition in ("missing", "incomplete", "read-only"):
        words.insert(0, f"{snapshot.words}. {snapshot.way_out}")
    return tuple(facts), "\n".join(words)


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""
