"""Check every file of a project against its record.

Finds what is missing, changed, left over or damaged, each with its way out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from maskloop.errors import Cancelled, MaskloopError
from maskloop.events import Progress, Report, silent
from maskloop.project import paths
from maskloop.project.folder import Folder
from maskloop.project.inventory import (
    COLLECTIONS,
    collection_of_file,
    records,
)
from maskloop.project.journal import LOST, lost_in_words
from maskloop.project.journal import SUFFIX as JOURNAL
from maskloop.project.project import ProjectFolder
from maskloop.project.store import file_sha256
from maskloop.records import LAST_GOOD, Record

__all__ = ["CheckReport", "Problem", "check", "is_readable"]

Kind = Literal[
    "broken record",
    "lost entries",
    "missing file",
    "changed file",
    "orphan",
    "unfinished write",
    "out of step",
]
HARMLESS = ("orphan", "unfinished write")
LEFTOVERS = (".tmp", ".link")
COPIES = (LAST_GOOD, JOURNAL, ".broken-")
"""In the names of files that are kept beside a record."""
OUT_OF_STEP = (
    "The next write corrects it; to correct it now, repair the project (maskloop check --repair)."
)


class Problem(Record):
    """One thing that is not as it should be."""

    kind: Kind
    path: str = Field(description="Relative to the project folder.")
    problem: str
    way_out: str

    @property
    def is_harmless(self) -> bool:
        """Whether nothing that was accepted is touched by it."""
        return self.kind in HARMLESS


class CheckReport(Record):
    """What a check found."""

    problems: tuple[Problem, ...]
    files_checked: int
    bytes_checked: int

    @property
    def is_sound(self) -> bool:
        """Whether all accepted files are there, byte for byte; leftovers do not count."""
        return all(problem.is_harmless for problem in self.problems)


class _Expected(Record):
    path: str
    sha256: str
    owner: str
    way_out: str


def check(
    project: ProjectFolder,
    *,
    report: Report = silent,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> CheckReport:
    """Read every record and every file, and compare the bytes with their hashes. Changes nothing.

    Parameters
    ----------
    project
        The project to check; it need not be writable.
    report
        Told of the progress.
    is_cancelled
        Asked before each file.

    Raises
    ------
    Cancelled
        If the check was cancelled.
    """
    problems = [
        *_broken_records(project),
        *_repeated_ids(project),
        *_lost_entries(project),
        *_out_of_step(project),
    ]
    # All of them first: the progress needs the total, and leftovers are what none of them names.
    expected = list(_expected(project))
    checked_bytes = 0
    for done, one in enumerate(expected):
        if is_cancelled():
            raise Cancelled(
                f"The check was stopped after {done} of {len(expected)} files.",
                "Start it again to check all of them.",
            )
        report(Progress(stage="check", done=done, total=len(expected), unit="files"))
        found, size = _compare(project, one)
        problems += found
        checked_bytes += size
    problems += _leftovers(project, {one.path for one in expected})
    # Again at the end, so that a bar shows all of it even where there are no files.
    report(Progress(stage="check", done=len(expected), total=len(expected), unit="files"))
    return CheckReport(
        problems=tuple(problems), files_checked=len(expected), bytes_checked=checked_bytes
    )


def is_readable(folder: Folder, path: str) -> bool:
    """Whether one of the folder's records can be read."""
    try:
        folder.record(path, records()[path]).read()
    except MaskloopError:
        return False
    return True


def _broken_records(project: ProjectFolder) -> Iterator[Problem]:
    readers: dict[str, Callable[[], object]] = {
        path: project.record(path, kind).read for path, kind in records().items()
    }
    # A table and no record, but read all the same.
    readers[paths.BENCHMARKS] = project.history.benchmarks
    for path, read in readers.items():
        try:
            read()
        except MaskloopError as error:
            yield Problem(
                kind="broken record", path=path, problem=error.problem, way_out=error.way_out
            )


def _repeated_ids(project: ProjectFolder) -> Iterator[Problem]:
    for row in COLLECTIONS.values():
        if not is_readable(project, row.record):
            continue
        entries = row.entries_of(project.record(row.record, row.kind).read())
        for name, count in Counter(row.id_of(entry) for entry in entries).items():
            # Two entries of one id can only come from an editor: writers count on under the lock.
            if count > 1:
                yield Problem(
                    kind="broken record",
                    path=row.record,
                    problem=f"'{name}' is recorded {count} times.",
                    way_out=(
                        f"The record was edited by hand: compare it with '{row.record}.last-good'."
                    ),
                )


def _lost_entries(project: ProjectFolder) -> Iterator[Problem]:
    for row in COLLECTIONS.values():
        if not is_readable(project, row.record):
            continue
        # An edit by hand, or an old copy put in its place, is valid JSON: only the journal tells.
        lost = project.record(row.record, row.kind).lost()
        if lost:
            yield Problem(
                kind="lost entries", path=row.record, problem=lost_in_words(row, lost), way_out=LOST
            )


def _out_of_step(project: ProjectFolder) -> Iterator[Problem]:
    if not is_readable(project, paths.CHECKPOINTS):
        return
    latest = project.checkpoints.latest
    if latest is None:
        return
    if is_readable(project, paths.CONFIG) and not project.checkpoints.is_followed():
        named = project.config.latest_checkpoint_id
        yield Problem(
            kind="out of step",
            path=paths.CONFIG,
            problem=f"The settings name '{named}', not '{latest.checkpoint_id}'.",
            way_out=OUT_OF_STEP,
        )
    # latest.pt follows the latest checkpoint that is such a file: see `CheckpointList`.
    alike = [
        one
        for one in project.checkpoints.list()
        if one.checkpoint_path.endswith(Path(paths.LATEST).suffix)
    ]
    if not alike:
        return
    latest = alike[-1]
    try:
        weights, pointer = project.path(latest.checkpoint_path), project.path(paths.LATEST)
    except MaskloopError as error:
        yield Problem(
            kind="out of step", path=paths.LATEST, problem=error.problem, way_out=error.way_out
        )
        return
    # A missing checkpoint is reported by its own file; the pointer can then not be judged.
    if not latest.sha256 or not weights.is_file():
        return
    if not pointer.is_file() or file_sha256(pointer) != latest.sha256:
        yield Problem(
            kind="out of step",
            path=paths.LATEST,
            problem=f"It is not the file of checkpoint '{latest.checkpoint_id}'.",
            way_out=OUT_OF_STEP,
        )


def _expected(project: ProjectFolder) -> Iterator[_Expected]:
    """Every file that a record names, with its hash; unreadable records are left out."""
    for row in COLLECTIONS.values():
        # A broken record is a problem of its own; every file of it as well would bury the others.
        if not row.files or not is_readable(project, row.record):
            continue
        for entry in row.entries_of(project.record(row.record, row.kind).read()):
            name = row.id_of(entry)
            for path, sha256 in row.files_of(entry).items():
                yield _Expected(
                    path=path,
                    sha256=sha256,
                    owner=f"{row.noun} '{name}'",
                    way_out=row.way_out.format(id=name),
                )


def _compare(project: ProjectFolder, one: _Expected) -> tuple[list[Problem], int]:
    def problem(kind: Kind, text: str) -> list[Problem]:
        return [Problem(kind=kind, path=one.path, problem=text, way_out=one.way_out)]

    try:
        # A link that leads outside counts as missing: its target is not part of the project.
        path = project.path(one.path)
    except MaskloopError as error:
        return problem("missing file", error.problem), 0
    if not path.is_file():
        return problem("missing file", f"The file of {one.owner} is missing."), 0
    try:
        # Entries of older programs have no hash until they are upgraded.
        is_changed = bool(one.sha256) and file_sha256(path) != one.sha256
    except MaskloopError as error:
        return problem("changed file", error.problem), 0
    found = []
    if is_changed:
        found = problem("changed file", f"The file of {one.owner} changed after it was written.")
    return found, path.stat().st_size


def _leftovers(project: ProjectFolder, expected: set[str]) -> Iterator[Problem]:
    for path in sorted(project.folder.rglob("*")):
        relative = path.relative_to(project.folder).as_posix()
        # Runs write their journals at any time, and the cache may hold anything.
        if not path.is_file() or relative.startswith((f"{paths.RUNS}/", "cache/")):
            continue
        if path.name.endswith(LEFTOVERS):
            yield Problem(
                kind="unfinished write",
                path=relative,
                problem="A temporary file: its program was stopped, or is still writing.",
                way_out="If no program is writing to the project, delete it.",
            )
            continue
        row = collection_of_file(relative)
        if row is None or _is_known(relative, path.name, expected, row.besides):
            continue
        # Without its record every file in the folder would look like an orphan.
        if is_readable(project, row.record):
            yield Problem(
                kind="orphan",
                path=relative,
                problem=f"No record names it: '{row.record}' does not.",
                way_out=row.orphan_way_out,
            )


def _is_known(path: str, name: str, expected: set[str], besides: tuple[str, ...]) -> bool:
    # Kept on purpose beside a record, and what a repair reads.
    is_copy = any(part in name for part in COPIES)
    return path in expected or path in besides or path in records() or is_copy
