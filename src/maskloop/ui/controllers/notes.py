"""Notes on a project that are never lost and never silently overwrite those of another window."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from psygnal import Signal

from maskloop.compute.project import Project
from maskloop.errors import MaskloopError
from maskloop.ui.controllers.base import Controller
from maskloop.ui.snapshot import Snapshot
from maskloop.ui.workspace import Workspace

__all__ = ["BOTH", "NotesController"]

BOTH = "\n\n--- written in another window at the same time ---\n\n"
SHOWN = 120
"""Up to this many characters of the other window's notes are shown."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Found:
    """What was on disk when the notes were to be written."""

    theirs: str
    is_written: bool


class NotesController(Controller):
    """The notes as they are typed here, and as they are saved.

    `changed` means: `state` or `theirs` changed.

    Parameters
    ----------
    workspace
        Whose project they belong to.
    """

    loaded = Signal(str)
    """The text is another one than was typed here."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self.text = ""
        self.theirs: str | None = None
        """What another window wrote while something was typed here, or None."""
        self._project: Project | None = None
        self._base = ""
        self._is_saving = False

    @property
    def is_dirty(self) -> bool:
        """Whether something is not saved yet."""
        return self.text != self._base

    @property
    def state(self) -> str:
        """Whether the notes are saved, in a few words."""
        if self.theirs is not None:
            return "Another window changed the notes meanwhile."
        if self.is_dirty:
            return "Not saved yet"
        return "Saved" if self.text else ""

    @property
    def theirs_in_words(self) -> str:
        """What another window wrote, with the choice to make; empty if none did."""
        if self.theirs is None:
            return ""
        return f"Another window wrote: '{_short(self.theirs)}'. Choose what to keep."

    def edit(self, text: str) -> None:
        """Take what is typed; `save` writes it."""
        self.text = text
        self.changed.emit()

    def save(self) -> None:
        """Save the notes, unless another window changed them: then a person chooses."""
        # One at a time: a second save would take the first for the work of another window.
        if self._project is None or self._is_saving or not self.is_dirty or self.theirs is not None:
            return
        self._is_saving = True
        project = self._project
        base, text = self._base, self.text

        def done(found: _Found) -> None:
            self._is_saving = False
            if self._project is project:
                self._settle(found, text)

        def failed(error: Exception) -> None:
            self._is_saving = False
            self._workspace.fail(error)

        self._workspace.do(lambda _: _write(project, base, text), done, otherwise=failed)

    def _settle(self, found: _Found, text: str) -> None:
        if not found.is_written:
            self._meet(found.theirs)
            return
        self._base = text
        self.changed.emit()
        self.save()

    def keep_both(self) -> None:
        """Put what the other window wrote below what was typed here."""
        if self.theirs is not None:
            self._agree(_both(self.text, self.theirs))

    def keep_mine(self) -> None:
        """Replace what the other window wrote."""
        if self.theirs is not None:
            self._agree(self.text)

    def take_theirs(self) -> None:
        """Discard what was typed here."""
        if self.theirs is not None:
            self._agree(self.theirs)

    def _agree(self, text: str) -> None:
        self._base, self.theirs = str(self.theirs), None
        self.text = text
        self.loaded.emit(text)
        self.changed.emit()
        self.save()

    def _meet(self, theirs: str) -> None:
        """Another window wrote: shown at once if nothing is lost by it."""
        # Nothing typed here is lost: take theirs without asking.
        if theirs == self.text or not self.is_dirty:
            self._base, self.theirs = theirs, None
            if self.text != theirs:
                self.text = theirs
                self.loaded.emit(theirs)
        else:
            self.theirs = theirs
        self.changed.emit()

    def take(self, snapshot: Snapshot) -> None:
        """Notice what another window wrote."""
        if snapshot.config is None or self._is_saving:
            return
        if snapshot.config.notes != (self._base if self.theirs is None else self.theirs):
            self._meet(snapshot.config.notes)

    def reset(self, project: Project | None) -> None:
        """Save the notes of the previous project, whatever happens."""
        # The previous project is closed; its notes are written by a thread that keeps it.
        old = self._project
        base, text = self._base, self.text
        if old is not None and text != base:
            self._workspace.background.run(lambda: _write_whatever(old, base, text))
        self._project, self._is_saving = project, False
        self._base, self.text = "", ""
        self.theirs = None
        self.loaded.emit("")
        self.changed.emit()

    def close(self) -> None:
        """Save at once; if another window wrote, too, both are kept."""
        project, self._project = self._project, None
        if project is None or not self.is_dirty:
            return
        try:
            _write_whatever(project, self._base, self.text)
        except MaskloopError:
            # The window is closing: only the log is left to be told.
            log.exception("The notes of %s could not be saved: %r", project.folder, self.text)


def _write(project: Project, base: str, text: str) -> _Found:
    with project.writing("write the notes"):
        theirs = project.notes
        # Nobody wrote since they were read: nothing is overwritten.
        if theirs == base:
            project.set_notes(text)
        return _Found(theirs, theirs in (base, text))


def _write_whatever(project: Project, base: str, text: str) -> None:
    """Save the notes when nobody can be asked any more."""
    with project.writing("write the notes"):
        present = project.notes
        # Another window may have saved the same text.
        if present != text:
            project.set_notes(text if present == base else _both(text, present))


def _short(text: str) -> str:
    # In one line: the notice has no room for paragraphs.
    flat = " ".join(text.split())
    return flat if len(flat) <= SHOWN else f"{flat[:SHOWN]}..."


def _both(mine: str, theirs: str) -> str:
    return f"{mine}{BOTH}{theirs}"
