"""The folder that all parts of a project share: paths, records and the one lock."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from maskloop.errors import UsageError
from maskloop.project.inventory import collection_of_record
from maskloop.project.journal import Journal
from maskloop.project.lock import WriterLock
from maskloop.project.paths import require_inside
from maskloop.project.store import RecordFile, changed
from maskloop.records import Record
from maskloop.wording import fault_in_words

__all__ = ["Folder"]

AnyRecord = TypeVar("AnyRecord", bound=Record)


class Folder:
    """Finds, reads and locks; this is all that a part (the dataset, the checkpoints, ...) needs.

    Knows nothing of the parts: one that needs another part gets it in its constructor.

    Parameters
    ----------
    folder
        Absolute path of the project.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock_timeout_s = 10.0
        self._lock = WriterLock(folder)
        self._records: dict[str, RecordFile[Any]] = {}
        self._is_settled = False

    def path(self, relative: str) -> Path:
        """Where a path of a record lies on this machine.

        Raises
        ------
        ProjectError
            If a link on the way leads out of the folder.
        """
        return require_inside(self.folder, self.folder / relative)

    def record(self, path: str, kind: type[AnyRecord]) -> RecordFile[AnyRecord]:
        """One of the folder's records, shared by all who ask for it."""
        # One object for each file: two would not notice what the other has written.
        if path not in self._records:
            row = collection_of_record(path)
            # Folders made before this kind of thing was kept have no record of it.
            default = kind() if row is not None and row.is_later else None
            # A link that leads out is refused when the record is read or written, not before: the
            # other records can still be read.
            place = self.folder / path
            guard = partial(require_inside, self.folder, place)
            journal = Journal(place, row) if row is not None else None
            self._records[path] = RecordFile(
                place, kind, guard=guard, default=default, journal=journal
            )
        return self._records[path]

    def forget(self) -> None:
        """Read every record from the disk next time."""
        for record in self._records.values():
            record.forget()

    def lock(
        self, verb: str, *, timeout_s: float | None = None
    ) -> contextlib.AbstractContextManager[bool]:
        """Hold the lock alone, for a folder that is still being made; see `writing`."""
        wait_s = self.lock_timeout_s if timeout_s is None else timeout_s
        return self._lock.hold(verb, timeout_s=wait_s)

    @contextlib.contextmanager
    def writing(self, verb: str, *, timeout_s: float | None = None) -> Iterator[None]:
        """Hold the project's one lock for a transaction.

        Parameters
        ----------
        verb
            What is being done, for those who wait.
        timeout_s
            How long to wait for another writer; 10 s by default.

        Raises
        ------
        ProjectLocked
            If another writer held the folder all that time; the message names who.
        ProjectError
            If the folder is not writable.
        """
        with self.lock(verb, timeout_s=timeout_s) as outermost:
            # Once for each open project; what it changes takes the lock again, which is nested.
            if outermost and not self._is_settled:
                self._settle()
                self._is_settled = True
            yield

    def _settle(self) -> None:
        """What must be done before the first change; a project completes and upgrades itself."""

    def checked(
        self, kind: type[AnyRecord], record: AnyRecord, changes: Mapping[str, Any]
    ) -> AnyRecord:
        """A record with changes that came from a person, refused in words when they do not fit.

        Raises
        ------
        UsageError
            If there is no such field or value.
        """
        # Before the values: the name of a setting that does not exist helps more than its fault.
        unknown = sorted(set(changes) - set(kind.model_fields))
        if unknown:
            raise UsageError(
                f"There is no setting '{unknown[0]}'.",
                f"Choose one of: {', '.join(kind.model_fields)}.",
            )
        try:
            return changed(record, **changes)
        except ValidationError as error:
            raise UsageError(
                fault_in_words(error, kind=kind), "Choose another value; nothing was changed."
            ) from None
