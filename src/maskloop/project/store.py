"""A record on disk, read again only when somebody has written it."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from maskloop.errors import ProjectError
from maskloop.project.inventory import Collection
from maskloop.project.journal import Journal
from maskloop.records import (
    Record,
    dump_record,
    read_record,
    refuse_special,
    replace_record,
    write_content,
    write_errors,
    write_whole,
)
from maskloop.wording import counted

__all__ = ["RecordFile", "changed", "copy_file", "file_sha256", "number_in", "place_file"]

AnyRecord = TypeVar("AnyRecord", bound=Record)
_CHUNK = 1 << 20


class RecordFile(Generic[AnyRecord]):
    """One record file of a project. Remembers what it read until the file changes.

    Parameters
    ----------
    path
        Of the file.
    kind
        The record it holds.
    guard
        Called before the file is read from or written to the disk; raises where it must not be.
    default
        What is read where there is no file; None: a missing file is an error.
    journal
        Where each write is noted, for records of entries.
    """

    def __init__(
        self,
        path: Path,
        kind: type[AnyRecord],
        *,
        guard: Callable[[], object] = lambda: None,
        default: AnyRecord | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.path = path
        self._kind = kind
        self._guard = guard
        self._default = default
        self.journal = journal
        self._seen: tuple[int, int, int] | None = None
        self._record: AnyRecord | None = None
        self._stand_in: AnyRecord | None = None
        self._lost: tuple[AnyRecord, list[Record]] | None = None

    def read(self) -> AnyRecord:
        """The record as it is on disk now.

        Raises
        ------
        RecordError
            If it is missing or broken.
        """
        # Looked at before reading: a record written in between is then read again next time.
        seen = self._look()
        if self._stand_in is not None and seen == self._seen:
            return self._stand_in
        if seen is None and self._default is not None:
            return self._default
        if self._record is None or seen is None or seen != self._seen:
            self._guard()
            self._record = read_record(self.path, self._kind, before=self._record)
            if self.journal is not None:
                self.journal.forget()
            self._seen, self._stand_in = seen, None
        return self._record

    def write(self, record: AnyRecord) -> None:
        """Replace the record on disk, keeping the copy before it.

        Raises
        ------
        ProjectError
            If the disk is full or the folder is not writable.
        """
        # A folder made before this kind of thing was kept has no place for its record yet.
        if self._default is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self._guard()
        refuse_special(self.path)
        if self.journal is None:
            write_content(self.path, dump_record(record))
        else:
            before = self._before()
            # The record was edited by hand: the first write after it must not make that final.
            record = self._with_lost(record, before, self.journal)
            content = dump_record(record)
            with self.journal.leading_to(before, record, content):
                write_content(self.path, content)
        self._keep(record)

    def lost(self) -> list[Record]:
        """Entries that were accepted and never erased, and that the record lacks all the same."""
        if self.journal is None or self._stand_in is not None:
            return []
        record = self.read()
        # Once for each reading: the window asks at each refresh.
        if self._lost is None or self._lost[0] is not record:
            self._lost = (record, self.journal.lost(record))
        return self._lost[1]

    def _with_lost(
        self, record: AnyRecord, before: AnyRecord | None, journal: Journal
    ) -> AnyRecord:
        lost = journal.lost(before)
        if not lost:
            return record
        logging.getLogger("maskloop").warning(
            "%s missing from '%s' and taken from its journal again.",
            counted(len(lost), "entry was", "entries were"),
            self.path,
        )
        return _with_entries(record, lost, journal.collection)

    def _before(self) -> AnyRecord | None:
        """The record on the disk, or None where there is none."""
        return self.read() if self.path.exists() else None

    def restore(self, record: AnyRecord) -> None:
        """Replace a damaged record and leave the copy before it as it is.

        The copy is what a repair reads: it must survive a repair that is stopped.

        Raises
        ------
        ProjectError
            If the disk is full or the folder is not writable.
        """
        self._guard()
        replace_record(self.path, record)
        if self.journal is not None:
            self.journal.forget()
        self._keep(record)

    def stand_in(self, record: AnyRecord | None) -> None:
        """Read this record instead of a file of an older program; None reads the file again."""
        self._record = None
        self._seen = self._look()
        self._stand_in = record

    def _keep(self, record: AnyRecord) -> None:
        """Remember what was written, so that it is not read again."""
        self._record = record
        self._seen = self._look()
        self._stand_in = None

    def forget(self) -> None:
        """Read the file again next time."""
        self._record = None

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        # Every write is a new file under the old name: the inode tells two of one size apart even
        # within one tick of the clock.
        return found.st_mtime_ns, found.st_size, found.st_ino


def _with_entries(record: AnyRecord, lost: Sequence[Record], row: Collection[Any]) -> AnyRecord:
    """The record with entries that it lacks, in the order of their numbers: the last is latest."""
    own = row.entries_of(record)
    known = {row.id_of(entry) for entry in own}
    back = [entry for entry in lost if row.id_of(entry) not in known]
    merged = sorted((*back, *own), key=lambda entry: number_in(row.id_of(entry)))
    counter = max(getattr(record, row.counter), *(number_in(row.id_of(one)) + 1 for one in lost))
    return changed(record, **{row.entries: tuple(merged), row.counter: counter})


def number_in(name: str) -> int:
    """The number in a name of an entry or a file, such as 7 of ``pair_0007_ab12``; else 0."""
    found = re.search(r"_(\d{1,12})(?:[_.]|$)", name)
    return int(found[1]) if found else 0


def changed(record: AnyRecord, **changes: Any) -> AnyRecord:
    """A copy of a record with some fields changed and validated; see `Record.model_copy`."""
    # Not dumped and read again: entries stay the objects that they are, ten thousand of them.
    values = {name: getattr(record, name) for name in type(record).model_fields}
    return type(record).model_validate({**values, **(record.model_extra or {}), **changes})


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Raises
    ------
    ProjectError
        If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ProjectError(
            f"'{path}' cannot be read: {error.strerror}.", "Check the disk and the permissions."
        ) from error


def place_file(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, atomically: a hard link, else a copy.

    Raises
    ------
    ProjectError
        If the disk is full or the folder is not writable.
    """
    # Linked beside and renamed: linking over an existing name is refused.
    fresh = target.with_name(f".{target.name}.link.tmp")
    with write_errors(target):
        fresh.unlink(missing_ok=True)
        try:
            fresh.hardlink_to(source)
        except OSError:  # another disk, or a file system without second names
            copy_file(source, target)
            return
        fresh.replace(target)
        # When both were names of one file already, rename does nothing and leaves the fresh one.
        fresh.unlink(missing_ok=True)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file, whole or not at all."""
    with source.open("rb") as old, write_whole(target) as new:
        while chunk := old.read(_CHUNK):
            new.write(chunk)
