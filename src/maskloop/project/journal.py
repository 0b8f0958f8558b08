"""Beside each record of entries: what was written to it, line by line.

A record is replaced as a whole, and the copy before it is one write behind. The journal is not: it
holds every entry as it was written last, so that a record that is lost or damaged can be rebuilt.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from maskloop.errors import ProjectError
from maskloop.project.inventory import Collection
from maskloop.records import (
    Record,
    open_append,
    parse_json,
    read_ordinary,
    write_errors,
    write_whole,
)

__all__ = ["LOST", "SUFFIX", "Journal", "Replayed", "lost_in_words"]

SUFFIX = ".journal"
LOST = (
    "The next write brings them back; to do it now, repair the project (maskloop check --repair)."
)
REMOVED = "removed"
RECORD = "record"
_SPARE = 1 << 20
_COMMIT = b'\n{"record": "'
"""How the line begins that ends the note of a write; the SHA-256 of the record follows."""


class Replayed:
    """What a journal holds: entries as they were written last, and those that were erased."""

    def __init__(self) -> None:
        self.entries: dict[str, Record] = {}
        self.removed: set[str] = set()
        self.counter = 1


class Journal:
    """The journal of one record.

    The note of a write ends with the hash of the record that it leads to. Where the record is the
    one before, its writer was killed in between, and the note is taken back. Where it is another
    one, the record was edited by hand, and the journal is begun anew from it; see `lost`.

    Parameters
    ----------
    record
        Path of the record.
    collection
        What the record holds.
    """

    def __init__(self, record: Path, collection: Collection[Any]) -> None:
        self.path = record.with_name(record.name + SUFFIX)
        self._record = record
        self.collection = collection
        self._is_current = False

    def forget(self) -> None:
        """Compare with the record again before the next write: another program has written it."""
        self._is_current = False

    @contextmanager
    def leading_to(self, before: Record | None, after: Record, content: bytes) -> Iterator[None]:
        """Note what a write changes, and take it back when the write in the block fails.

        Parameters
        ----------
        before
            The record on the disk; None where there is none.
        after
            The record that is written in the block.
        content
            Its bytes.

        Raises
        ------
        ProjectError
            If the journal cannot be written; nothing is then changed.
        """
        with write_errors(self.path):
            # The length before, which is where to cut if the write fails.
            size = self._prepare(before, len(content))
            try:
                self._append(before, after, hashlib.sha256(content).hexdigest())
                yield
            except BaseException:
                # Shortening a file needs no space: this works on a full disk too.
                with suppress(ProjectError):
                    self._shorten(size)
                self._is_current = False
                raise
        self._is_current = True

    def lost(self, record: Record | None) -> list[Record]:
        """Entries that the record lacks, although nobody erased them and their files are there.

        Whoever edits a record by hand, or puts an old copy in its place, loses them; so does a sync
        service that cannot tell which of two records is newer.
        """
        # The journal leads to this very record: nothing can be missing.
        if self._is_current or self._end_of_record() is not None:
            return []
        row = self.collection
        known = set() if record is None else {row.id_of(one) for one in row.entries_of(record)}
        return [
            entry
            for name, entry in self.replay().entries.items()
            if name not in known and self._has_files(entry)
        ]

    def _has_files(self, entry: Record) -> bool:
        # A program older than the journal erases files and notes nothing.
        project = self._record.parents[self.collection.record.count("/")]
        return all((project / path).is_file() for path in self.collection.files_of(entry))

    def _prepare(self, before: Record | None, length: int) -> int:
        """Make the journal lead to the record as it is on the disk; its length then."""
        size = self._size()
        # Long journals are begun anew: they grow by each change, the record by each entry.
        if size == 0 or size > 3 * length + _SPARE:
            return self._begin_anew(before)
        # Hashing a large record takes milliseconds: once for each reading, not for each write.
        if self._is_current:
            return size
        end = self._end_of_record()
        if end is None:
            return self._begin_anew(before)
        if end < size:
            self._shorten(end)
        return end

    def _shorten(self, size: int) -> None:
        with open_append(self.path) as file:
            file.truncate(size)

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def _end_of_record(self) -> int | None:
        """Where the note of the record on the disk ends, if it is one of the last two."""
        try:
            written = hashlib.sha256(read_ordinary(self._record)).hexdigest().encode()
            content = read_ordinary(self.path)
        except OSError:
            return None
        start = len(content)
        # Of the last two: a writer killed between note and record leaves one note too many.
        for _ in range(2):
            start = content.rfind(_COMMIT, 0, start)
            end = content.find(b"\n", start + 1) + 1
            if start < 0:
                return None
            if end and content.startswith(written, start + len(_COMMIT)):
                return end
        return None

    def _begin_anew(self, before: Record | None) -> int:
        # From the record as it is, not as it will be: the write that follows may fail.
        with write_whole(self.path) as file:
            for entry in self.collection.entries_of(before) if before is not None else ():
                file.write(entry.json_line.encode() + b"\n")
            if before is not None:
                file.write(
                    self._commit(before, hashlib.sha256(read_ordinary(self._record)).hexdigest())
                )
            return file.tell()

    def _append(self, before: Record | None, after: Record, sha256: str) -> None:
        lines = "".join(f"{line}\n" for line in self._changes(before, after))
        with open_append(self.path) as file:
            file.write(lines.encode() + self._commit(after, sha256))
            file.flush()
            # On the disk before the record is replaced, or a power cut could lose both.
            os.fsync(file.fileno())

    def _changes(self, before: Record | None, after: Record) -> Iterator[str]:
        row = self.collection
        known = {} if before is None else {row.id_of(one): one for one in row.entries_of(before)}
        for entry in row.entries_of(after):
            old = known.pop(row.id_of(entry), None)
            # Unchanged entries are the same object, which spares ten thousand comparisons.
            if old is not entry and (old is None or old.json_line != entry.json_line):
                yield entry.json_line
        # What is left was in the record before and is not in it now.
        for gone in known:
            yield json.dumps({REMOVED: gone})

    def _commit(self, record: Record, sha256: str) -> bytes:
        counter = self.collection.counter
        lines = ({counter: getattr(record, counter)}, {RECORD: sha256})
        return "".join(f"{json.dumps(line)}\n" for line in lines).encode()

    def replay(self) -> Replayed:
        """Read the journal; lines that are torn or damaged are passed over."""
        found = Replayed()
        try:
            lines = read_ordinary(self.path).split(b"\n")
        except OSError:
            return found
        for line in lines:
            self._replay_line(line, found)
        return found

    def _replay_line(self, line: bytes, found: Replayed) -> None:
        row = self.collection
        try:
            raw = parse_json(line)
            # The last line about an entry wins, be it that it was erased and accepted again.
            if REMOVED in raw:
                found.entries.pop(raw[REMOVED], None)
                found.removed.add(raw[REMOVED])
            elif row.counter in raw:
                found.counter = max(found.counter, int(raw[row.counter]))
            elif RECORD not in raw:
                entry = row.entry.model_validate_json(line)
                found.entries[row.id_of(entry)] = entry
                found.removed.discard(row.id_of(entry))
        # A line torn by a full disk must not cost the others.
        except (ValueError, TypeError, ValidationError):
            return


def lost_in_words(row: Collection[Any], lost: Sequence[Record]) -> str:
    """What a record lacks, for a person."""
    names = ", ".join(row.id_of(entry) for entry in lost[:3]) + (", ..." if len(lost) > 3 else "")
    return (
        f"'{row.record}' lacks {len(lost)} of the {row.name} that were written to it ({names}); "
        "their files are there."
    )
