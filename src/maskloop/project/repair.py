"""Repair a folder without inventing or deleting anything.

A damaged record is rebuilt from what lies beside it; what repeats the checkpoints is completed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from maskloop.errors import MaskloopError
from maskloop.events import Report, silent
from maskloop.images.masks import default_rule
from maskloop.project import paths
from maskloop.project.check import CheckReport, check, is_readable
from maskloop.project.configs import ProjectConfig
from maskloop.project.fields import now
from maskloop.project.inventory import (
    Collection,
    collection_of_record,
    empty_record,
    records,
)
from maskloop.project.journal import Journal
from maskloop.project.project import ProjectFolder
from maskloop.project.store import changed, number_in, place_file
from maskloop.records import Record, last_good, read_ordinary, read_record
from maskloop.task import MODES, Task
from maskloop.wording import counted

__all__ = ["RepairReport", "plan_repair", "repair"]


class RepairReport(Record):
    """What was repaired, and what is left."""

    repaired: tuple[str, ...]
    left: CheckReport


def plan_repair(project: ProjectFolder, report: CheckReport) -> tuple[str, ...]:
    """What `repair` would do about the problems of a check, in words; changes nothing."""
    planned = []
    broken = (problem.path for problem in report.problems if problem.kind == "broken record")
    for path in dict.fromkeys(broken):
        origin = _origin_of(project.folder / path, path)
        planned.append(f"'{path}' is rebuilt from {origin}; the damaged file is kept.")
    planned += [
        f"'{problem.path}' gets back from its journal what it lacks."
        for problem in report.problems
        if problem.kind == "lost entries"
    ]
    planned += [
        f"'{problem.path}' is updated from the checkpoints."
        for problem in report.problems
        if problem.kind == "out of step"
    ]
    return tuple(planned)


def _origin_of(place: Path, path: str) -> str:
    row = collection_of_record(path)
    if row is not None and Journal(place, row).path.is_file():
        return "its journal"
    if last_good(place).is_file():
        return "its last good copy"
    return "what else is in the folder, since there is no good copy"


def repair(project: ProjectFolder, *, report: Report = silent) -> RepairReport:
    """Repair what can be repaired.

    A record that cannot be read is rebuilt from its last good copy, the intact entries of the
    damaged file (a record has one entry per line) and its journal; without them, it starts empty.
    The damaged file is kept as ``.broken-<time>``. What repeats the checkpoints elsewhere is
    completed. Entries that a record lost when it was edited by hand come back from its journal. No
    file is deleted, and no orphan is taken in.

    Raises
    ------
    ProjectError
        If the folder cannot be written. Whatever moment it stops at, it can be started again:
        nothing that it reads is moved away before its result is on the disk.
    """
    done: list[str] = []
    with project.writing("repair"):
        # The settings come first: other records are rebuilt from them.
        done += [_restore(project, path) for path in records() if not is_readable(project, path)]
        done += [line for path in records() for line in _restore_lost(project, path)]
        done += _restore_benchmarks(project)
        # Looked for before they are completed, to say what was done.
        before = {
            problem.path for problem in check(project).problems if problem.kind == "out of step"
        }
        project.checkpoints.follow()
        done += [f"'{path}' now agrees with '{paths.CHECKPOINTS}'." for path in sorted(before)]
        return RepairReport(repaired=tuple(done), left=check(project, report=report))


def _restore(project: ProjectFolder, path: str) -> str:
    place = project.path(path)
    good = _good_copy(place, records()[path])
    record = good or _start_anew(project, path)
    sources = ["its last good copy"] if good else []
    row = collection_of_record(path)
    if row is not None:
        record, found = _with_entries(record, row, place)
        record = _count_on(project, record, row)
        sources += found
    # A second name, not a move: until the result is on the disk the damaged file is a source.
    aside = _keep_aside(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    project.record(path, type(record)).restore(record)
    origin = " and ".join(sources) or "nothing, since there was no good copy"
    kept = f" The damaged file is kept as '{aside.name}'." if aside else ""
    return f"'{path}' was rebuilt from {origin}.{kept}"


def _restore_lost(project: ProjectFolder, path: str) -> list[str]:
    """Write back what a record that was edited by hand lacks."""
    file = project.record(path, records()[path])
    if not is_readable(project, path) or not (lost := file.lost()):
        return []
    aside = _keep_aside(file.path)
    # Each write takes up what was lost.
    file.write(file.read())
    entries = counted(len(lost), "entry", "entries")
    kept = f" The file before is kept as '{aside.name}'." if aside else ""
    return [f"'{path}' lacked {entries}, which its journal still holds.{kept}"]


def _keep_aside(place: Path) -> Path | None:
    """Keep a damaged file under a second name; it stays in its place until it is replaced."""
    if not place.exists():
        return None
    aside = place.with_name(f"{place.name}.broken-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
    place_file(place, aside)
    return aside


def _good_copy(place: Path, kind: type[Record]) -> Record | None:
    try:
        return read_record(last_good(place), kind)
    except MaskloopError:
        return None


def _with_entries(
    record: Record, row: Collection[Any], place: Path
) -> tuple[Record, Sequence[str]]:
    """The record with the entries that lie beside it, and where they were found."""
    sources = []
    entries = {row.id_of(entry): entry for entry in row.entries_of(record)}
    # The good copy wins over the damaged file, whose lines may be valid and still wrong; the
    # journal wins over both, since it holds the last word on every entry.
    saved = {row.id_of(entry): entry for entry in _intact_entries(place, row)}
    intact = len(saved.keys() - entries.keys())
    if intact:
        sources.append(f"{counted(intact, 'intact entry', 'intact entries')} of the damaged file")
    entries |= {name: entry for name, entry in saved.items() if name not in entries}
    written = Journal(place, row).replay()
    if written.entries or written.removed:
        sources.append("its journal")
    entries |= written.entries
    counter = max(getattr(record, row.counter), written.counter)
    kept = tuple(entry for name, entry in entries.items() if name not in written.removed)
    return changed(record, **{row.entries: kept, row.counter: counter}), sources


def _intact_entries(place: Path, row: Collection[Any]) -> list[Record]:
    damaged = place
    if not place.is_file():
        # A repair by an older program moved the damaged file away first, and may have been killed.
        damaged = max(place.parent.glob(f"{place.name}.broken-*"), default=place)
    entries = []
    for line in _bytes_of(damaged).splitlines():
        try:
            entries.append(row.entry.model_validate_json(line.rstrip(b",\r ")))
        except ValidationError:
            continue  # the line that broke the file, or the rest of the record
    return entries


def _bytes_of(path: Path) -> bytes:
    try:
        return read_ordinary(path)
    except OSError:
        return b""


def _count_on(project: ProjectFolder, record: Record, row: Collection[Any]) -> Record:
    """The record with its counter past every name that was ever given."""
    numbered = project.path(row.numbered_in)
    names = [entry.name for entry in numbered.glob("*")]
    names += [row.id_of(entry) for entry in row.entries_of(record)]
    # Files that no record names count too: their names were given once.
    numbers = [number_in(name) + 1 for name in names]
    return changed(record, **{row.counter: max([getattr(record, row.counter), *numbers])})


def _start_anew(project: ProjectFolder, path: str) -> Record:
    if path == paths.CONFIG:
        stamp = now()
        return ProjectConfig(
            project_name=project.folder.name,
            created_at=stamp,
            last_opened_at=stamp,
            task=_known_task(project),
        )
    return empty_record(path)


def _known_task(project: ProjectFolder) -> Task:
    """The task as the latest checkpoint tells it, else as the masks were prepared for it."""
    if is_readable(project, paths.CHECKPOINTS):
        for record in reversed(project.checkpoints.list()):
            if record.task is not None:
                return record.task
    pairs = project.dataset.pairs if is_readable(project, paths.MANIFEST) else ()
    rules = {pair.mask_preparation.get("mask_mode") for pair in pairs}
    mode = next((mode for mode in MODES if {default_rule(mode).mask_mode} == rules), "binary")
    if mode != "multiclass":
        return Task(mode=mode)
    labels = [pair.fingerprint.class_pixels for pair in pairs if pair.fingerprint]
    count = max((max(found, default=1) for found in labels), default=1)
    return Task(mode=mode, classes=tuple(f"class_{number + 1}" for number in range(count)))


def _restore_benchmarks(project: ProjectFolder) -> list[str]:
    try:
        project.history.benchmarks()
    except MaskloopError:
        aside = _keep_aside(project.path(paths.BENCHMARKS))
        project.history.write_benchmarks([])
        kept = f" The damaged file is kept as '{aside.name}'." if aside else ""
        return [f"'{paths.BENCHMARKS}' was rebuilt from the checkpoints.{kept}"]
    return []
