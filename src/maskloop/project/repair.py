"""Put a folder right without inventing or deleting anything: broken records give way to their last good copy, followers are completed."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from maskloop.errors import MaskloopError
from maskloop.events import Report, silent
from maskloop.images.masks import default_rule
from maskloop.project import layout
from maskloop.project.check import CheckReport, check, is_readable
from maskloop.project.layout import (
    CheckpointRecord,
    ImportedModel,
    Pair,
    PredictionRecord,
    TrainingRun,
)
from maskloop.project.store import changed
from maskloop.records import Record, last_good, read_record, write_errors
from maskloop.task import MODES, Task

if TYPE_CHECKING:
    from maskloop.project.project import ProjectFolder

__all__ = ["RepairReport", "repair"]

ENTRIES: dict[str, tuple[str, type[Record], str]] = {
    layout.MANIFEST: ("pairs", Pair, "pair_id"),
    layout.CHECKPOINTS: ("checkpoints", CheckpointRecord, "checkpoint_id"),
    layout.REGISTRY: ("models", ImportedModel, "model_id"),
    layout.PREDICTIONS: ("predictions", PredictionRecord, "prediction_id"),
    layout.TRAINING_RUNS: ("runs", TrainingRun, "checkpoint_id"),
}
"""Records that are lists: the field, what it holds, and what tells its entries apart."""


class RepairReport(Record):
    """What was repaired, and what is left."""

    repaired: tuple[str, ...]
    left: CheckReport


def repair(project: ProjectFolder, *, report: Report = silent) -> RepairReport:
    """Repair what can be repaired.

    A record that cannot be read is kept beside as ``.broken-<time>`` and its last good copy is put
    in its place, with the entries of the broken one that are whole (a record has one entry per
    line). Where there is no good copy, it begins anew. What repeats the checkpoints elsewhere is
    completed. No file is deleted, and no orphan is taken in.

    Raises
    ------
    ProjectError
        If the folder cannot be written.
    """
    done: list[str] = []
    with project.writing("repair"):
        for path in layout.RECORDS:
            if not is_readable(project, path):
                done.append(_restore(project, path))
        done += _restore_benchmarks(project)
        before = {
            problem.path for problem in check(project).problems if problem.kind == "out of step"
        }
        project.checkpoints.follow()
        done += [
            f"'{path}' was brought in step with '{layout.CHECKPOINTS}'." for path in sorted(before)
        ]
        return RepairReport(repaired=tuple(done), left=check(project, report=report))


def _restore(project: ProjectFolder, path: str) -> str:
    place = project.path(path)
    aside = _set_aside(place)
    good = _good_copy(place, layout.RECORDS[path])
    saved = _whole_entries(aside, path)
    record = good or _begin_anew(project, path)
    record, added = _with_entries(record, path, saved)
    place.parent.mkdir(parents=True, exist_ok=True)
    project.record(path, type(record)).write(_count_on(project, record))
    origin = "its last good copy" if good else "nothing, for there was no good copy"
    more = f" and {added} entries that were whole in the broken file" if added else ""
    kept = f" The broken file is kept as '{aside.name}'." if aside else ""
    return f"'{path}' was made again from {origin}{more}.{kept}"


def _set_aside(place: Path) -> Path | None:
    if not place.exists():
        return None
    aside = place.with_name(f"{place.name}.broken-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
    with write_errors(aside):
        place.rename(aside)
    return aside


def _good_copy(place: Path, kind: type[Record]) -> Record | None:
    try:
        return read_record(last_good(place), kind)
    except MaskloopError:
        return None


def _whole_entries(broken: Path | None, path: str) -> list[Record]:
    if broken is None or path not in ENTRIES or not broken.is_file():
        return []
    _field, kind, _key = ENTRIES[path]
    entries = []
    for line in broken.read_bytes().splitlines():
        try:
            entries.append(kind.model_validate_json(line.rstrip(b",\r ")))
        except ValidationError:
            continue  # the line that broke the file; the whole ones are what is looked for
    return entries


def _with_entries(record: Record, path: str, saved: list[Record]) -> tuple[Record, int]:
    if path not in ENTRIES or not saved:
        return record, 0
    field, _kind, key = ENTRIES[path]
    # The good copy wins: a line of the broken file may be whole and still wrong.
    entries = {getattr(entry, key): entry for entry in getattr(record, field)}
    fresh = {getattr(entry, key): entry for entry in saved if getattr(entry, key) not in entries}
    return changed(record, **{field: (*entries.values(), *fresh.values())}), len(fresh)


def _begin_anew(project: ProjectFolder, path: str) -> Record:
    if path == layout.CONFIG:
        stamp = layout.now()
        return layout.ProjectConfig(
            project_name=project.folder.name,
            created_at=stamp,
            last_opened_at=stamp,
            task=_known_task(project),
        )
    return layout.empty_record(path)


def _known_task(project: ProjectFolder) -> Task:
    """The task as the latest checkpoint tells it, else how the masks were prepared."""
    if is_readable(project, layout.CHECKPOINTS):
        for record in reversed(project.checkpoints.list()):
            if record.architecture:
                return Task.of_description(record.architecture)
    pairs = project.dataset.pairs if is_readable(project, layout.MANIFEST) else ()
    rules = {pair.mask_preparation.get("mask_mode") for pair in pairs}
    mode = next((mode for mode in MODES if {default_rule(mode).mask_mode} == rules), "binary")
    if mode != "multiclass":
        return Task(mode=mode)
    labels = [pair.fingerprint.class_pixels for pair in pairs if pair.fingerprint]
    count = max((max(found, default=1) for found in labels), default=1)
    return Task(mode=mode, classes=tuple(f"class_{number + 1}" for number in range(count)))


def _count_on(project: ProjectFolder, record: Record) -> Record:
    """The record with its counter past every name that was ever given."""
    counters = {
        "next_pair": layout.IMAGES,
        "next_model": layout.IMPORTED,
        "next_checkpoint": "checkpoints",
        "next_prediction": "predictions",
    }
    for counter, folder in {**counters, "next_run": layout.RUNS}.items():
        if counter in type(record).model_fields:
            names = [entry.name for entry in project.path(folder).glob("*")]
            numbers = [
                int(found[1])
                for found in (re.search(r"_(\d+)(?:[_.]|$)", name) for name in names)
                if found
            ]
            record = changed(
                record,
                **{counter: max([getattr(record, counter), *(number + 1 for number in numbers)])},
            )
    return record


def _restore_benchmarks(project: ProjectFolder) -> list[str]:
    try:
        project.history.benchmarks()
    except MaskloopError:
        aside = _set_aside(project.path(layout.BENCHMARKS))
        project.history.write_benchmarks([])
        return [
            f"'{layout.BENCHMARKS}' was made again from the checkpoints. The broken file is kept as '{aside.name if aside else ''}'."
        ]
    return []
