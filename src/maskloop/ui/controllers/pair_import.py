"""Pairs that lie in folders: looked through first, then accepted; one bad file does not stop the rest."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal, SignalGroup

from maskloop.events import Event, Progress
from maskloop.images.masks import MaskRule
from maskloop.jobs.imports import add_pairs
from maskloop.project.imports import ImportReport

if TYPE_CHECKING:
    from maskloop.compute.project import Project
    from maskloop.ui.session import Session

__all__ = ["ImportChoice", "ImportRow", "PairImportController"]

TOLD_EVERY_S = 0.1


class ImportEvents(SignalGroup):
    """Told in the thread of the window."""

    changed = Signal()
    """What was found, or how far it is."""


@dataclass(frozen=True)
class ImportChoice:
    """Where the pairs lie and how they are to be read."""

    images: Path | None = None
    masks: Path | None = None
    mask_suffix: str = ""
    table: Path | None = None
    axes: str | None = None
    group_by: str | None = None
    allow_empty: bool = False


@dataclass(frozen=True)
class ImportRow:
    """A pair that fits, or a file that was refused."""

    image: str
    mask: str
    state: str
    reason: str


class PairImportController:
    """Looks through folders of pairs and accepts what fits.

    Parameters
    ----------
    session
        Whose project the pairs go into.
    """

    def __init__(self, session: Session) -> None:
        self.events = ImportEvents()
        self.choice = ImportChoice()
        self.report: ImportReport | None = None
        self.rows: tuple[ImportRow, ...] = ()
        self.is_busy = False
        self.done, self.total = 0.0, 0.0
        self.stage = ""
        self._session = session
        self._stop = threading.Event()
        session.events.project_changed.connect(self._change_project)

    def choose(self, **changes: object) -> None:
        """Change where or how; what was found before no longer counts."""
        choice = replace(self.choice, **changes)  # type: ignore[arg-type]
        if choice != self.choice:
            self.choice, self.report, self.rows = choice, None, ()
            self.events.changed.emit()

    @property
    def why_not_look(self) -> str | None:
        """Why it cannot be looked through yet, or None."""
        choice = self.choice
        if self.is_busy:
            return "It is being done."
        if choice.table is None and choice.images is None:
            return "Choose the folder of the images first."
        if choice.table is None and choice.masks is None and not choice.mask_suffix:
            return "Choose the folder of the masks, or say how the names of masks end."
        return self._session.snapshot.why_not_read

    @property
    def why_not_import(self) -> str | None:
        """Why nothing can be imported yet, or None."""
        if self.is_busy:
            return "It is being done."
        if self.report is None or not self.report.dry_run:
            return "Look through the files first."
        return (
            self._session.snapshot.why_not_write
            if self.report.accepted
            else "None of the files fits."
        )

    @property
    def title(self) -> str:
        """What the button that imports says."""
        count = len(self.report.accepted) if self.report is not None and self.report.dry_run else 0
        return f"Import {_pairs(count)}" if count else "Import"

    @property
    def words(self) -> str:
        """What was found or done, in a sentence."""
        if self.is_busy:
            return (
                f"{self.done:.0f} of {self.total:.0f}: {self.stage}"
                if self.total
                else "Looking for files..."
            )
        if self.report is None:
            return ""
        refused = f", {len(self.report.refused)} refused" if self.report.refused else ""
        stopped = " Stopped before the end." if self.report.cancelled else ""
        verb = "fit" if self.report.dry_run else "imported"
        return f"{_pairs(len(self.report.accepted))} {verb}{refused}.{stopped}"

    def look(self) -> None:
        """See what fits and what does not; nothing is written."""
        if self.why_not_look is None:
            self._run(dry_run=True)

    def run(self) -> None:
        """Accept the pairs that fit."""
        if self.why_not_import is None:
            self._run(dry_run=False)

    def cancel(self) -> None:
        """Stop after the file that is being read; what was accepted stays."""
        self._stop.set()

    def _run(self, *, dry_run: bool) -> None:
        choice, rule, stop = self.choice, self._session.dataset.rule, threading.Event()
        self._stop, self.is_busy, self.done, self.total, self.stage = stop, True, 0.0, 0.0, ""
        self.events.changed.emit()

        def ended(report: ImportReport) -> None:
            if self._stop is stop:
                self.is_busy, self.report, self.rows = False, report, _rows(report)
                self.events.changed.emit()
                if not dry_run:
                    self._session.say(self.words)

        def failed(error: Exception) -> None:
            if self._stop is stop:
                self.is_busy = False
                self.events.changed.emit()
                self._session.fail(error)

        self._session.do(
            lambda project: self._add(project, choice, rule, stop, dry_run=dry_run),
            ended,
            otherwise=failed,
        )

    def _add(
        self,
        project: Project,
        choice: ImportChoice,
        rule: MaskRule,
        stop: threading.Event,
        *,
        dry_run: bool,
    ) -> ImportReport:
        told = 0.0

        def report(event: Event) -> None:
            nonlocal told
            if isinstance(event, Progress) and time.monotonic() - told > TOLD_EVERY_S:
                told = time.monotonic()
                self._session.deliver(lambda: self._show(event, stop))

        return add_pairs(
            project,
            choice.images,
            choice.masks,
            mask_suffix=choice.mask_suffix,
            table=choice.table,
            axes=choice.axes,
            group_by=choice.group_by,
            dry_run=dry_run,
            rule=rule,
            allow_empty=choice.allow_empty,
            report=report,
            is_cancelled=stop.is_set,
        )

    def _show(self, event: Progress, stop: threading.Event) -> None:
        if self._stop is stop and self.is_busy:
            self.done, self.total, self.stage = event.done, event.total, event.stage
            self.events.changed.emit()

    def _change_project(self, _project: Project | None) -> None:
        self._stop.set()
        self._stop = threading.Event()
        self.report, self.rows, self.is_busy = None, (), False
        self.events.changed.emit()

    def close(self) -> None:
        """Stop in good order; what was accepted stays."""
        self._stop.set()


def _rows(report: ImportReport) -> tuple[ImportRow, ...]:
    state = "fits" if report.dry_run else "imported"
    refused = [
        ImportRow(
            Path(row.image).name, Path(row.mask).name, "refused", f"{row.problem} {row.way_out}"
        )
        for row in report.refused
    ]
    return (
        *refused,
        *(
            ImportRow(Path(row.image).name, Path(row.mask).name, state, "")
            for row in report.accepted
        ),
    )


def _pairs(count: int) -> str:
    return "1 pair" if count == 1 else f"{count} pairs"
