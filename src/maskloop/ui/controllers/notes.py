"""Notes on a project that are never lost and never overwrite those of another window in silence."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psygnal import Signal, SignalGroup

from maskloop.errors import MaskloopError

if TYPE_CHECKING:
    from maskloop.compute.project import Project
    from maskloop.ui.session import Session
    from maskloop.ui.snapshot import Snapshot

__all__ = ["BOTH", "NotesController"]

BOTH = "\n\n--- written in another window at the same time ---\n\n"
SHOWN = 120
"""So many characters of another window's notes are shown."""
log = logging.getLogger(__name__)


class NotesEvents(SignalGroup):
    """Told in the thread of the window."""

    loaded = Signal(str)
    """The text is another one than was written here."""
    changed = Signal()
    """`state` or `theirs` changed."""


@dataclass(frozen=True)
class _Found:
    """What lay on the disk when the notes were to be written."""

    theirs: str
    is_written: bool


class NotesController:
    """The notes as they are written here, and as they are kept.

    Parameters
    ----------
    session
        Whose project they belong to.
    """

    def __init__(self, session: Session) -> None:
        self.events = NotesEvents()
        self.text = ""
        self.theirs: str | None = None
        """What another window wrote while something was being written here; None where nobody
        did.
        """
        self._session = session
        self._project: Project | None = None
        self._base = ""
        self._is_saving = False
        session.events.project_changed.connect(self._change_project)
        session.events.snapshot_changed.connect(self._take)

    @property
    def is_dirty(self) -> bool:
        """Whether something is not on the disk yet."""
        return self.text != self._base

    @property
    def state(self) -> str:
        """How the notes stand, in a few words."""
        if self.theirs is not None:
            return "Another window changed the notes meanwhile."
        return "Not saved yet" if self.is_dirty else "Saved" if self.text else ""

    @property
    def theirs_in_words(self) -> str:
        """What another window wrote, with the choice to make; empty where nobody did."""
        return (
            ""
            if self.theirs is None
            else f"Another window wrote meanwhile: '{_short(self.theirs)}'. Choose what to keep."
        )

    def edit(self, text: str) -> None:
        """Take what is being written; `save` keeps it."""
        self.text = text
        self.events.changed.emit()

    def save(self) -> None:
        """Keep the notes, unless another window changed them: then both are offered."""
        # One at a time: a second one would take the first for the work of another window.
        if self._project is None or self._is_saving or not self.is_dirty or self.theirs is not None:
            return
        self._is_saving = True
        project, base, text = self._project, self._base, self.text

        def done(found: _Found) -> None:
            self._is_saving = False
            if self._project is project:
                self._settle(found, text)

        def failed(error: Exception) -> None:
            self._is_saving = False
            self._session.fail(error)

        self._session.do(lambda _: _write(project, base, text), done, otherwise=failed)

    def _settle(self, found: _Found, text: str) -> None:
        if not found.is_written:
            self._meet(found.theirs)
            return
        self._base = text
        self.events.changed.emit()
        self.save()

    def keep_both(self) -> None:
        """Put what the other window wrote below what was written here."""
        if self.theirs is not None:
            self._agree(_both(self.text, self.theirs))

    def keep_mine(self) -> None:
        """Let what was written here replace what the other window wrote."""
        if self.theirs is not None:
            self._agree(self.text)

    def take_theirs(self) -> None:
        """Let go of what was written here."""
        if self.theirs is not None:
            self._agree(self.theirs)

    def _agree(self, text: str) -> None:
        self._base, self.theirs, self.text = str(self.theirs), None, text
        self.events.loaded.emit(text)
        self.events.changed.emit()
        self.save()

    def _meet(self, theirs: str) -> None:
        """Another window wrote: shown at once where nothing is lost by it."""
        if theirs == self.text or not self.is_dirty:
            self._base, self.theirs = theirs, None
            if self.text != theirs:
                self.text = theirs
                self.events.loaded.emit(theirs)
        else:
            self.theirs = theirs
        self.events.changed.emit()

    def _take(self, snapshot: Snapshot) -> None:
        if snapshot.config is None or self._is_saving:
            return
        if snapshot.config.notes != (self._base if self.theirs is None else self.theirs):
            self._meet(snapshot.config.notes)

    def _change_project(self, project: Project | None) -> None:
        old, base, text = self._project, self._base, self.text
        if old is not None and text != base:
            self._session.background.run(lambda: _write_whatever(old, base, text))
        self._project, self._base, self.text, self.theirs, self._is_saving = (
            project,
            "",
            "",
            None,
            False,
        )
        self.events.loaded.emit("")
        self.events.changed.emit()

    def close(self) -> None:
        """Write what is not on the disk yet, at once; where another window wrote too, both are kept."""
        project, self._project = self._project, None
        if project is None or not self.is_dirty:
            return
        try:
            _write_whatever(project, self._base, self.text)
        except MaskloopError:
            # The window is closing: nobody is left to be told, but for the log.
            log.exception("The notes of %s could not be saved: %r", project.folder, self.text)


def _write(project: Project, base: str, text: str) -> _Found:
    with project.writing("write the notes"):
        theirs = project.notes
        if theirs == base:
            project.set_notes(text)
        return _Found(theirs, theirs in (base, text))


def _write_whatever(project: Project, base: str, text: str) -> None:
    """Keep the notes when nobody can be asked any more."""
    with project.writing("write the notes"):
        present = project.notes
        if present != text:
            project.set_notes(text if present == base else _both(text, present))


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= SHOWN else f"{flat[:SHOWN]}..."


def _both(mine: str, theirs: str) -> str:
    return f"{mine}{BOTH}{theirs}"
