"""Import many pairs: what matched, what did not and why; a bad file does not stop the rest."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pydantic import Field

from maskloop.errors import MaskError, MaskloopError, ProjectError, UsageError
from maskloop.events import Progress, Report, silent
from maskloop.images.masks import MaskRule
from maskloop.project.entries import Pair
from maskloop.project.groups import Offer
from maskloop.project.intake import Candidate, Pixels
from maskloop.project.store import changed
from maskloop.records import Record

if TYPE_CHECKING:
    from maskloop.images.sources import PairTable

__all__ = ["ImportReport", "Imported", "Refused", "import_pairs"]

BATCH_S = 2.0
"""Accepted pairs are recorded together this often: rewriting a manifest of thousands for each
would take longer than reading the images.
"""
BATCH_BYTES = 256 * 2**20
UNMATCHED = (
    "Give image and mask the same name, name the suffix of the masks (--mask-suffix), or list the "
    "pairs in a table (--pairs)."
)
ONLY_EMPTY = (
    "All of these masks are empty: there is nothing to learn from them alone. Add images that show "
    "objects too."
)
GROUP_BY = (
    "Use 'folder', 'file', or a regular expression such as '(.+)_z', whose parentheses match the "
    "group in the file name."
)


class Destination(Protocol):
    """What an import writes to: the dataset of a project."""

    def examine(
        self,
        image: Pixels,
        mask: Pixels,
        *,
        axes: str | None = None,
        rule: MaskRule | None = None,
        name: str | None = None,
        allow_empty: bool = False,
        pixel_size_um: Mapping[str, float] | None = None,
    ) -> Candidate:
        """Check a pair and write nothing."""
        ...

    def record(self, offers: Sequence[Offer]) -> list[Pair]:
        """Write checked pairs, all or none of them."""
        ...


class Imported(Record):
    """A pair that was accepted, or would be."""

    image: str
    mask: str
    pair_id: str = ""
    notes: tuple[str, ...] = Field((), description="What a person may want to check.")


class Refused(Record):
    """A file that was not accepted, and why."""

    image: str
    mask: str
    problem: str
    way_out: str


class ImportReport(Record):
    """What an import did, or would do."""

    dry_run: bool
    accepted: tuple[Imported, ...]
    refused: tuple[Refused, ...]
    notes: tuple[str, ...] = Field((), description="What concerns all of them.")
    cancelled: bool = Field(
        False, description="It was stopped before all files were checked; accepted pairs are kept."
    )


def import_pairs(
    dataset: Destination,
    table: PairTable,
    *,
    dry_run: bool = False,
    axes: str | None = None,
    rule: MaskRule | None = None,
    group_by: str | None = None,
    allow_empty: bool = False,
    pixel_size_um: Mapping[str, float] | None = None,
    report: Report = silent,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> ImportReport:
    """Accept all pairs of a table.

    Parameters
    ----------
    dataset
        Where to.
    table
        Matched images and masks, and files that matched nothing.
    dry_run
        Check everything, write nothing.
    axes
        Of the images, where the files do not tell.
    rule
        What the labels mean.
    group_by
        What belongs together: None (near-duplicates, and stacks and films by their names),
        ``"folder"`` (the images of one folder), ``"file"`` (each file by itself), or a regular
        expression whose first bracket finds the group in the name.
    allow_empty
        Images without anything to segment are meant.
    pixel_size_um
        Of all images, micrometres along Z, Y, X; wins over what the files say.
    report
        Told of each file before it is read.
    is_cancelled
        Asked before each file; what was accepted until then stays.

    Raises
    ------
    UsageError
        If `group_by` is not a regular expression with one bracket.
    ProjectError
        If the folder cannot be written (disk full, locked): then going on makes no sense. What was
        recorded stays.
    """
    # Before any file is read: a wrong pattern should not cost an hour.
    naming = _naming(group_by)
    # Files without a partner are refused like bad ones, so that the sum is what was in the folders.
    refused = [
        Refused(image=str(entry.path), mask="", problem=entry.reason, way_out=UNMATCHED)
        for entry in table.problems
    ]
    batch = _Batch(dataset, dry_run=dry_run)
    cancelled = False
    empty = 0
    for number, entry in enumerate(table.matched):
        if cancelled := is_cancelled():
            break
        report(
            Progress(stage=entry.image.name, done=number, total=len(table.matched), unit="pairs")
        )
        row = Imported(image=str(entry.image), mask=str(entry.mask))
        try:
            candidate = dataset.examine(
                entry.image,
                entry.mask,
                axes=entry.axes or axes,
                rule=rule,
                allow_empty=allow_empty,
                pixel_size_um=pixel_size_um,
            )
            row = changed(row, notes=candidate.prepared.preparation.notes)
            empty += candidate.prepared.preparation.is_empty
            group = entry.group or _group(entry.image, naming)
            batch.add(
                Offer(
                    candidate,
                    "imported_pair",
                    group,
                    metadata={"image_file": row.image, "mask_file": row.mask},
                ),
                row,
            )
        # A full disk fails for every file; a bad image fails alone.
        except ProjectError:
            raise
        except MaskloopError as error:
            refused.append(_refused(row, error))
        if batch.is_due():
            batch.flush()
    batch.flush()
    return ImportReport(
        dry_run=dry_run,
        accepted=tuple(batch.accepted),
        notes=(ONLY_EMPTY,) if empty and empty == len(batch.accepted) else (),
        refused=(*refused, *batch.refused),
        cancelled=cancelled,
    )


def _refused(row: Imported, error: MaskloopError) -> Refused:
    return Refused(image=row.image, mask=row.mask, problem=error.problem, way_out=error.way_out)


class _Batch:
    """Checked pairs that wait to be recorded together."""

    def __init__(self, dataset: Destination, *, dry_run: bool) -> None:
        self._dataset = dataset
        self._dry_run = dry_run
        self.accepted: list[Imported] = []
        self.refused: list[Refused] = []
        self._waiting: list[tuple[Offer, Imported]] = []
        self._bytes = 0
        self._since = time.monotonic()
        self._seen: dict[str, str] = {}

    def add(self, offer: Offer, row: Imported) -> None:
        # The project does not know a pair that still waits: twice the same file must fail alone
        # here, not fail its batch.
        digest = offer.candidate.pixels_sha256
        if digest in self._seen:
            raise MaskError(
                f"'{row.image}' has the same pixels as '{self._seen[digest]}' of this import.",
                "Use only one of the two.",
            )
        self._seen[digest] = row.image
        self._waiting.append((offer, row))
        # Waiting images are held in memory.
        self._bytes += 0 if self._dry_run else offer.candidate.image.read().nbytes

    def is_due(self) -> bool:
        return time.monotonic() - self._since > BATCH_S or self._bytes > BATCH_BYTES

    def flush(self) -> None:
        # Emptied first: what fails below must not be offered again by the next flush.
        waiting, self._waiting = self._waiting, []
        self._bytes = 0
        self._since = time.monotonic()
        if self._dry_run or not waiting:
            self.accepted += [row for _offer, row in waiting]
            return
        try:
            self._record(waiting)
        except ProjectError:
            raise
        except MaskloopError:
            # One of them cannot be accepted, for instance because another program just did: find
            # out which.
            for offer, row in waiting:
                try:
                    self._record([(offer, row)])
                except ProjectError:
                    raise
                except MaskloopError as error:
                    self.refused.append(_refused(row, error))

    def _record(self, waiting: list[tuple[Offer, Imported]]) -> None:
        pairs = self._dataset.record([offer for offer, _row in waiting])
        self.accepted += [
            changed(row, pair_id=pair.pair_id)
            for (_offer, row), pair in zip(waiting, pairs, strict=True)
        ]


def _naming(group_by: str | None) -> re.Pattern[str] | str | None:
    if group_by in (None, "folder", "file"):
        return group_by
    try:
        pattern = re.compile(str(group_by))
    except re.error as error:
        raise UsageError(f"'{group_by}' is not a regular expression: {error}.", GROUP_BY) from error
    # With two it would be open which of them names the group.
    if pattern.groups != 1:
        raise UsageError(
            f"'{group_by}' has {pattern.groups} groups in parentheses; it needs one.", GROUP_BY
        )
    return pattern


def _group(image: Path, naming: re.Pattern[str] | str | None) -> str | None:
    # None lets the dataset look for near-duplicates and stacks; a name would end that.
    if naming is None:
        return None
    if naming == "folder":
        return image.parent.name
    if isinstance(naming, str):
        return image.name
    # A name that the pattern does not know is a group by itself, never one of all the others.
    found = naming.search(image.stem)
    return found[1] if found else image.name
