"""Repair a folder without inventing or deleting anything.

A damaged record is rebuilt from what lies beside it; what repeats the checkpoints is completed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from maskloop.errors import MaskloopError
from maskloop.events import Report, silent
from maskloop.project import paths
from maskloop.project.check import CheckReport, check, is_readable
from maskloop.project.configs import (
    ArchitectureConfig,
    OutputMode,
    ProjectConfig,
    default_architecture,
)
from maskloop.project.fields import now
from maskloop.project.inventory import (
    Collection,
    collection_of_record,
    empty_record,
    records,
)
from maskloop.project.project import ProjectFolder
from maskloop.project.store import changed, place_file
from maskloop.records import Record, last_good, read_record

__all__ = ["RepairReport", "repair"]


class RepairReport(Record):
    """What was repaired, and what is left."""

    repaired: tuple[str, ...]
    left: CheckReport


def repair(project: ProjectFolder, *, report: Report = silent) -> RepairReport:
    """Repair what can be repaired.

    A record that cannot be read is rebuilt from its last good copy and the intact entries of the
    damaged file (a record has one entry per line); without either, it starts empty. The damaged
    file is kept as ``.broken-<time>``. What repeats the checkpoints elsewhere is completed. No file
    is deleted, and no orphan is taken in.

    Raises
    ------
    ProjectError
        If the folder cannot be written. Whatever moment it stops at, it can be started again:
        nothing that it reads is moved away before its result is on the disk.
    """
    done: list[str] = []
    with project.writing("repair"):
        done += [_restore(project, path) for path in records() if not is_readable(project, path)]
        done += _restore_benchmarks(project)
        before = {
            problem.path for problem in check(project).problems if problem.kind == "out of step"
        }
        project.checkpoints.follow()
        done += [f"'{path}' now agrees with '{paths.CHECKPOINTS}'." for path in sorted(before)]
        return RepairReport(repaired=tuple(done), left=check(project, report=report))


def _restore(project: ProjectFolder, path: str) -> str:
    place = project.path(path)
    row = collection_of_record(path)
    good = _good_copy(place, records()[path])
    record, added = good or _start_anew(project, path), 0
    if row is not None:
        record, added = _with_entries(record, row, _intact_entries(place, row))
        record = _count_on(project, record, row)
    aside = _keep_aside(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    project.record(path, type(record)).restore(record)
    origin = "its last good copy" if good else "nothing, since there was no good copy"
    more = f" and {added} intact entries of the damaged file" if added else ""
    kept = f" The damaged file is kept as '{aside.name}'." if aside else ""
    return f"'{path}' was rebuilt from {origin}{more}.{kept}"


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


def _intact_entries(place: Path, row: Collection[Any]) -> list[Record]:
    entries = []
    for line in place.read_bytes().splitlines() if place.is_file() else ():
        try:
            entries.append(row.entry.model_validate_json(line.rstrip(b",\r ")))
        except ValidationError:
            continue  # the line that broke the file, or the rest of the record
    return entries


def _with_entries(
    record: Record, row: Collection[Any], saved: Iterable[Record]
) -> tuple[Record, int]:
    # The good copy wins: a line of the damaged file may be valid and still wrong.
    entries = {row.id_of(entry): entry for entry in row.entries_of(record)}
    fresh = {row.id_of(entry): entry for entry in saved if row.id_of(entry) not in entries}
    changes = {row.entries: (*entries.values(), *fresh.values())}
    return changed(record, **changes), len(fresh)


def _count_on(project: ProjectFolder, record: Record, row: Collection[Any]) -> Record:
    """The record with its counter past every name that was ever given."""
    numbered = project.path(row.numbered_in)
    names = [entry.name for entry in numbered.glob("*")]
    names += [row.id_of(entry) for entry in row.entries_of(record)]
    found = (re.search(r"_(\d+)(?:[_.]|$)", name) for name in names)
    numbers = [int(number[1]) + 1 for number in found if number]
    return changed(record, **{row.counter: max([getattr(record, row.counter), *numbers])})


def _start_anew(project: ProjectFolder, path: str) -> Record:
    if path == paths.CONFIG:
        mode: OutputMode = "binary"
        if is_readable(project, paths.ARCHITECTURE):
            mode = project.architecture.get("output_mode", mode)
        stamp = now()
        return ProjectConfig(
            project_name=project.folder.name,
            created_at=stamp,
            last_opened_at=stamp,
            binary_or_multiclass=mode,
        )
    if path == paths.ARCHITECTURE:
        return ArchitectureConfig.model_validate(_known_architecture(project))
    return empty_record(path)


def _known_architecture(project: ProjectFolder) -> dict[str, Any]:
    latest = None
    if is_readable(project, paths.CHECKPOINTS):
        latest = project.checkpoints.latest
    if latest is not None and latest.architecture:
        return latest.architecture
    mode: OutputMode = "binary"
    if is_readable(project, paths.CONFIG):
        mode = project.config.binary_or_multiclass
    return default_architecture(mode, ("background", "foreground"))


def _restore_benchmarks(project: ProjectFolder) -> list[str]:
    try:
        project.history.benchmarks()
    except MaskloopError:
        aside = _keep_aside(project.path(paths.BENCHMARKS))
        project.history.write_benchmarks([])
        kept = f" The damaged file is kept as '{aside.name}'." if aside else ""
        return [f"'{paths.BENCHMARKS}' was rebuilt from the checkpoints.{kept}"]
    return []
