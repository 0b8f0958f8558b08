"""Beside each record of entries: what was written to it, line by line.

A record is replaced as a whole, and the copy before it is one write behind. The journal is not: it
holds every entry as it was written last, so that a record that is lost or damaged can be rebuilt.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from maskloop.project.inventory import Collection
from maskloop.records import (
    Record,
    open_append,
    open_ordinary,
    read_ordinary,
    write_errors,
    write_whole,
)

__all__ = ["SUFFIX", "Journal", "Replayed"]

SUFFIX = ".journal"
REMOVED = "removed"
RECORD = "record"
_SPARE = 1 << 20
_TAIL = 256
"""Bytes at the end of a journal that hold its last line, a SHA-256."""


class Replayed:
    """What a journal holds: entries as they were written last, and those that were erased."""

    def __init__(self) -> None:
        self.entries: dict[str, Record] = {}
        self.removed: set[str] = set()
        self.counter = 1


class Journal:
    """The journal of one record.

    Its last line names the record that it leads to. Where that is another one (the record was
    edited by hand, or its writer was killed in between), the journal is begun anew from the record.

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
        self._collection = collection
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
            # From the record as it is, not as it will be: the write below may fail.
            size = self._begin_anew(before) if self._is_due(len(content)) else self._size()
            try:
                self._append(before, after, hashlib.sha256(content).hexdigest())
                yield
            except BaseException:
                # Shortening a file needs no space: this works on a full disk too.
                os.truncate(self.path, size)
                self._is_current = False
                raise
        self._is_current = True

    def _is_due(self, length: int) -> bool:
        size = self._size()
        # Long journals are begun anew: they grow by each change, the record by each entry.
        if size == 0 or size > 3 * length + _SPARE:
            return True
        # Hashing a large record takes milliseconds: once for each reading, not for each write.
        return not self._is_current and not self._leads_to_record()

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def _leads_to_record(self) -> bool:
        try:
            written = hashlib.sha256(read_ordinary(self._record)).hexdigest()
            with open_ordinary(self.path) as file:
                file.seek(max(0, self._size() - _TAIL))
                last = file.read().rstrip(b"\n").rpartition(b"\n")[2]
            return bool(json.loads(last)[RECORD] == written)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _begin_anew(self, before: Record | None) -> int:
        with write_whole(self.path) as file:
            for entry in self._collection.entries_of(before) if before is not None else ():
                file.write(entry.json_line.encode() + b"\n")
            return file.tell()

    def _append(self, before: Record | None, after: Record, sha256: str) -> None:
        lines = [*self._changes(before, after)]
        lines.append(json.dumps({self._collection.counter: self._counter_of(after)}))
        lines.append(json.dumps({RECORD: sha256}))
        with open_append(self.path) as file:
            file.write("".join(f"{line}\n" for line in lines).encode())
            file.flush()
            os.fsync(file.fileno())

    def _changes(self, before: Record | None, after: Record) -> Iterator[str]:
        row = self._collection
        known = {} if before is None else {row.id_of(one): one for one in row.entries_of(before)}
        for entry in row.entries_of(after):
            old = known.pop(row.id_of(entry), None)
            # Unchanged entries are the same object, which spares ten thousand comparisons.
            if old is not entry and (old is None or old.json_line != entry.json_line):
                yield entry.json_line
        # What is left was in the record before and is not in it now.
        for gone in known:
            yield json.dumps({REMOVED: gone})

    def _counter_of(self, record: Record) -> int:
        counter: int = getattr(record, self._collection.counter)
        return counter

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
        row = self._collection
        try:
            raw = json.loads(line)
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
        except (ValueError, TypeError, ValidationError):
            return
