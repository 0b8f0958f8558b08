"""Things of one kind that a project keeps: found by their ids, added in batches."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from maskloop.errors import NotFound, ProjectError
from maskloop.project.fields import now
from maskloop.project.folder import Folder
from maskloop.project.inventory import Collection
from maskloop.project.store import changed
from maskloop.records import Record

__all__ = ["Kept"]

AnyEntry = TypeVar("AnyEntry", bound=Record)
SHOWN = 5
"""So many ids are named when one does not exist."""


class Kept(Generic[AnyEntry]):
    """One collection of a project, read and added to.

    Parameters
    ----------
    folder
        The project's.
    collection
        The row of `COLLECTIONS`.
    """

    def __init__(self, folder: Folder, collection: Collection[AnyEntry]) -> None:
        self.collection = collection
        self._folder = folder
        self._file = folder.record(collection.record, collection.kind)

    def entries(self) -> tuple[AnyEntry, ...]:
        """All entries, the oldest first."""
        return self.collection.entries_of(self._file.read())

    def get(self, entry_id: str) -> AnyEntry:
        """The entry with this id.

        Raises
        ------
        NotFound
            If there is none.
        """
        entries = self.entries()
        # From the end: the entries asked for are mostly the latest.
        for entry in reversed(entries):
            if self.collection.id_of(entry) == entry_id:
                return entry
        latest = [self.collection.id_of(entry) for entry in entries[-SHOWN:]]
        raise NotFound(
            f"There is no {self.collection.noun} '{entry_id}'; "
            f"the latest: {', '.join(latest) or 'none yet'}.",
            self.collection.find,
        )

    def path(self, entry_id: str) -> Path:
        """The first file of an entry.

        Raises
        ------
        NotFound
            If there is no such entry.
        ProjectError
            If its file is missing.
        """
        entry = self.get(entry_id)
        # The first of the files is the thing itself; the others accompany it.
        path = self._folder.path(getattr(entry, self.collection.files[0][0]))
        if not path.is_file():
            raise ProjectError(
                f"The file '{path}' of {self.collection.noun} '{entry_id}' is missing.",
                self.collection.way_out.format(id=entry_id),
            )
        return path

    @property
    def next_number(self) -> int:
        """The number in the record that no entry was given yet."""
        number: int = getattr(self._file.read(), self.collection.counter)
        return number

    def numbers(self) -> _Numbers:
        """Numbers for new entries, to be asked for while the folder is locked."""
        return _Numbers(self.next_number, self._folder.path(self.collection.numbered_in))

    def add(self, entries: Sequence[AnyEntry], *, next_number: int) -> None:
        """Record new entries whose files are in place: the record is written once, and last.

        Parameters
        ----------
        entries
            New ones; the folder must be locked since their numbers were taken.
        next_number
            The number that no entry has yet.
        """
        record = self._file.read()
        changes: dict[str, Any] = {
            self.collection.counter: next_number,
            self.collection.entries: (*self.collection.entries_of(record), *entries),
        }
        # Not every record has it: those of napari-training-assistant differ, and stay as known.
        if "updated_at" in self.collection.kind.model_fields:
            changes["updated_at"] = now()
        self._file.write(changed(record, **changes))

    def change(self, entry_id: str, **changes: Any) -> AnyEntry:
        """Change some fields of one entry, while the folder is locked."""
        # Raises where there is none: the loop below would change nothing in silence.
        self.get(entry_id)
        record = self._file.read()
        entries = tuple(
            changed(entry, **changes) if self.collection.id_of(entry) == entry_id else entry
            for entry in self.collection.entries_of(record)
        )
        self._file.write(changed(record, **{self.collection.entries: entries}))
        return self.get(entry_id)


class _Numbers:
    """Hands out numbers that neither the record nor a leftover file has used.

    The folder is listed once: asking for each of ten thousand names would take minutes.
    """

    def __init__(self, counter: int, folder: Path) -> None:
        self.next = counter
        names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        found = (re.search(r"_(\d+)(?:[_.]|$)", name) for name in names if name[0] != ".")
        self._taken = {int(number[1]) for number in found if number}

    def take(self) -> int:
        """The next free number."""
        # A leftover of a killed writer keeps its name: it may be somebody's only copy.
        while self.next in self._taken:
            self.next += 1
        self.next += 1
        return self.next - 1
