"""Advanced: the network, imported weights, notes, check and repair, and what is known of the project."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from typing import TYPE_CHECKING

from psygnal import Signal, SignalGroup

from maskloop.project.upgrade import is_legacy
from maskloop.ui.controllers.checkup import CheckupController
from maskloop.ui.controllers.network import NetworkController
from maskloop.ui.controllers.notes import NotesController
from maskloop.ui.controllers.weights_import import WeightsController

if TYPE_CHECKING:
    from maskloop.compute.project import Project
    from maskloop.ui.session import Session
    from maskloop.ui.snapshot import Snapshot

__all__ = ["AdvancedController"]

LIBRARIES = ("maskloop", "napari", "torch", "numpy")
LEGACY = (
    "A folder of napari-training-assistant: it is read as it is, and brought up to date when something is written into it first. "
    "The old records are kept beside the new ones."
)


class AdvancedEvents(SignalGroup):
    """Told in the thread of the window."""

    changed = Signal()
    """`facts` or `words` changed."""


class AdvancedController:
    """What is needed now and then, each in a part of its own.

    Parameters
    ----------
    session
        Whose project it belongs to.
    """

    def __init__(self, session: Session) -> None:
        self.events = AdvancedEvents()
        self.network = NetworkController(session)
        self.imported = WeightsController(session)
        self.notes = NotesController(session)
        self.checkup = CheckupController(session)
        self.facts: tuple[tuple[str, str], ...] = ()
        """Name and value of what is known of the project, such as its folder and versions."""
        self.words = ""
        """What a person should know of the folder: that it may only be read, or is of another
        program.
        """
        self._session = session
        session.events.snapshot_changed.connect(self._take)

    @property
    def folder(self) -> str:
        """Of the project; empty where none is open."""
        return "" if self._session.project is None else str(self._session.project.folder)

    def _take(self, snapshot: Snapshot) -> None:
        project = self._session.project
        if project is None:
            self._show(((), ""))
            return
        self._session.background.run(
            lambda: _look(project, snapshot), self._show, key="about the project"
        )

    def _show(self, found: tuple[tuple[tuple[str, str], ...], str]) -> None:
        if found != (self.facts, self.words):
            self.facts, self.words = found
            self.events.changed.emit()

    def close(self) -> None:
        """End in good order: notes are written, a check is stopped."""
        for part in (self.network, self.imported, self.notes, self.checkup):
            part.close()


def _look(project: Project, snapshot: Snapshot) -> tuple[tuple[tuple[str, str], ...], str]:
    facts = [("Folder", str(project.folder))]
    if snapshot.config is not None:
        config = snapshot.config
        facts += [
            ("Name", config.project_name),
            ("Made", config.created_at[:10]),
            ("Last written", config.last_opened_at[:10]),
        ]
        facts += [("Written by maskloop", config.plugin_version or "unknown")]
    facts += [
        (
            "This program",
            ", ".join(
                [
                    f"Python {python_version()}",
                    *(f"{name} {found}" for name in LIBRARIES if (found := _version(name))),
                ]
            ),
        )
    ]
    words = (
        [f"{snapshot.words}. {snapshot.way_out}"]
        if snapshot.condition in ("missing", "incomplete", "read-only")
        else []
    )
    return tuple(facts), "\n".join([*words, LEGACY] if is_legacy(project.folder) else words)


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""
