"""Check every file of a project against its record.

Finds what is missing, changed, left over or broken, each with its way out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from maskloop.errors import Cancelled, MaskloopError
from maskloop.events import Progress, Report, silent
from maskloop.project import layout
from maskloop.project.layout import Pair
from maskloop.project.pairs import pair_files
from maskloop.project.store import file_sha256
from maskloop.records import Record

if TYPE_CHECKING:
    from maskloop.project.project import ProjectFolder

__all__ = ["CheckReport", "Problem", "check"]

Kind = Literal[
    "broken record", "missing file", "changed file", "orphan", "unfinished write", "out of step"
]
HARMLESS = ("orphan", "unfinished write")
LEFTOVERS = (".tmp", ".link")


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
        """Whether everything accepted is there, byte for byte; leftovers of a crash do not count."""
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
        The project to look at; it need not be writable.
    report
        Told how far it is.
    is_cancelled
        Asked before each file.

    Raises
    ------
    Cancelled
        If somebody asked to stop.
    """
    problems = [*_broken_records(project), *_repeated_ids(project), *_out_of_step(project)]
    expected = list(_expected(project))
    checked_bytes = 0
    for done, one in enumerate(expected):
        if is_cancelled():
            raise Cancelled(
                f"The check was stopped after {done} of {len(expected)} files.",
                "Start it again to look at all of them.",
            )
        report(Progress(stage="check", done=done, total=len(expected), unit="files"))
        found, size = _compare(project, one)
        problems += found
        checked_bytes += size
    problems += _leftovers(project, {one.path for one in expected})
    report(Progress(stage="check", done=len(expected), total=len(expected), unit="files"))
    return CheckReport(
        problems=tuple(problems), files_checked=len(expected), bytes_checked=checked_bytes
    )


def _broken_records(project: ProjectFolder) -> Iterator[Problem]:
    readers: dict[str, Callable[[], object]] = {
        path: project.record(path, kind).read for path, kind in layout.RECORDS.items()
    }
    readers[layout.BENCHMARKS] = project.history.benchmarks
    for path, read in readers.items():
        try:
            read()
        except MaskloopError as error:
            yield Problem(
                kind="broken record", path=path, problem=error.problem, way_out=error.way_out
            )


def is_readable(project: ProjectFolder, path: str) -> bool:
    """Whether one of the folder's records can be read."""
    try:
        project.record(path, layout.RECORDS[path]).read()
    except MaskloopError:
        return False
    return True


def _repeated_ids(project: ProjectFolder) -> Iterator[Problem]:
    ids: dict[str, list[str]] = {}
    if is_readable(project, layout.MANIFEST):
        ids[layout.MANIFEST] = [pair.pair_id for pair in project.dataset.all_pairs]
    if is_readable(project, layout.CHECKPOINTS):
        ids[layout.CHECKPOINTS] = [record.checkpoint_id for record in project.checkpoints.list()]
    for path, names in ids.items():
        for name, count in Counter(names).items():
            if count > 1:
                yield Problem(
                    kind="broken record",
                    path=path,
                    problem=f"'{name}' is recorded {count} times.",
                    way_out=f"The record was edited by hand: compare it with '{path}.last-good'.",
                )


def _out_of_step(project: ProjectFolder) -> Iterator[Problem]:
    if (
        not is_readable(project, layout.CHECKPOINTS)
        or (latest := project.checkpoints.latest) is None
    ):
        return
    way_out = "It is put right when something is written next, or by 'maskloop check --repair'."
    if is_readable(project, layout.CONFIG) and not project.checkpoints.is_followed():
        named = project.config.latest_checkpoint_id
        yield Problem(
            kind="out of step",
            path=layout.CONFIG,
            problem=f"The settings name '{named}', not '{latest.checkpoint_id}'.",
            way_out=way_out,
        )
    pointer = project.path(layout.LATEST)
    if (
        latest.sha256
        and project.path(latest.checkpoint_path).is_file()
        and (not pointer.is_file() or file_sha256(pointer) != latest.sha256)
    ):
        yield Problem(
            kind="out of step",
            path=layout.LATEST,
            problem=f"It is not checkpoint '{latest.checkpoint_id}'.",
            way_out=way_out,
        )


def _expected(project: ProjectFolder) -> Iterator[_Expected]:
    """Every file that a record names, with the hash it should have; those of records that cannot be read are left out."""
    if is_readable(project, layout.MANIFEST):
        for pair in project.dataset.all_pairs:
            yield from _expected_of(pair)
    if is_readable(project, layout.CHECKPOINTS):
        for record in project.checkpoints.list():
            yield _Expected(
                path=record.checkpoint_path,
                sha256=record.sha256,
                owner=f"checkpoint '{record.checkpoint_id}'",
                way_out="Put it back from a backup, or continue from another checkpoint.",
            )
    if is_readable(project, layout.REGISTRY):
        for model in project.weights.list():
            yield _Expected(
                path=model.model_path,
                sha256=model.sha256,
                owner=f"imported weights '{model.model_id}'",
                way_out="Import the weights again.",
            )
    if is_readable(project, layout.PREDICTIONS):
        for one in project.predictions.list():
            yield _Expected(
                path=one.path,
                sha256=one.sha256,
                owner=f"'{one.prediction_id}'",
                way_out="Predict the image again.",
            )


def _expected_of(pair: Pair) -> Iterator[_Expected]:
    hashes = {pair.image_path: pair.image_sha256, pair.mask_path: pair.mask_sha256}
    for version in pair.history:
        hashes |= {version.image_path: version.image_sha256, version.mask_path: version.mask_sha256}
    for path in pair_files(pair):
        way_out = f"Put it back from a backup, or leave the pair out: 'maskloop remove DIR {pair.pair_id}'."
        yield _Expected(
            path=path, sha256=hashes[path], owner=f"pair '{pair.pair_id}'", way_out=way_out
        )


def _compare(project: ProjectFolder, one: _Expected) -> tuple[list[Problem], int]:
    path = project.path(one.path)
    if not path.is_file():
        return [
            Problem(
                kind="missing file",
                path=one.path,
                problem=f"The file of {one.owner} is missing.",
                way_out=one.way_out,
            )
        ], 0
    try:
        changed = bool(one.sha256) and file_sha256(path) != one.sha256
    except MaskloopError as error:
        return [
            Problem(kind="changed file", path=one.path, problem=error.problem, way_out=one.way_out)
        ], 0
    if changed:
        problem = f"The bytes of {one.owner} are not those that were written."
        return [
            Problem(kind="changed file", path=one.path, problem=problem, way_out=one.way_out)
        ], path.stat().st_size
    return [], path.stat().st_size


def _leftovers(project: ProjectFolder, expected: set[str]) -> Iterator[Problem]:
    owners = dict(
        zip(
            layout.OWNED_FOLDERS,
            (
                layout.MANIFEST,
                layout.MANIFEST,
                layout.REGISTRY,
                layout.CHECKPOINTS,
                layout.PREDICTIONS,
            ),
            strict=True,
        )
    )
    own = {layout.LATEST, *layout.RECORDS}
    for path in sorted(project.folder.rglob("*")):
        relative = path.relative_to(project.folder).as_posix()
        if not path.is_file() or relative.startswith((f"{layout.RUNS}/", "cache/")):
            continue
        if path.name.endswith(LEFTOVERS):
            problem = "A write that did not end: of a program that was stopped, or of one that is writing now."
            yield Problem(
                kind="unfinished write",
                path=relative,
                problem=problem,
                way_out="If nobody is writing to the project, delete it.",
            )
            continue
        owner = next(
            (record for folder, record in owners.items() if relative.startswith(f"{folder}/")), None
        )
        known = (
            relative in expected
            or relative in own
            or ".last-good" in path.name
            or ".broken-" in path.name
        )
        if owner is None or known or not is_readable(project, owner):
            continue
        yield Problem(
            kind="orphan",
            path=relative,
            problem=f"No record names it: '{owner}' does not.",
            way_out=_orphan_way_out(relative),
        )


def _orphan_way_out(path: str) -> str:
    if path.startswith("dataset/"):
        return "It was never accepted (a crash came first). Accept it again with 'maskloop add', then move this file away."
    if path.startswith("checkpoints/"):
        return "It was never registered. Bring it in with 'maskloop import-weights' if you want it, or move it away."
    return "Move it away if you do not need it."
