"""Import pairs from folders: checked first, then added; one bad file does not stop the rest."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

from maskloop.compute.project import Project
from maskloop.events import Event, Progress
from maskloop.images.masks import MaskRule
from maskloop.jobs.imports import add_pairs
from maskloop.project.imports import ImportReport
from maskloop.ui.controllers.base import Controller
from maskloop.ui.controllers.label_rule import LabelRuleController
from maskloop.ui.workspace import Workspace
from maskloop.wording import without_commands

__all__ = ["ImportChoice", "ImportRow", "PairImportController"]

BUSY = "Wait until it is done."
TOLD_EVERY_S = 0.1


@dataclass(frozen=True)
class ImportChoice:
    """Where the pairs are and how they are read."""

    images: Path | None = None
    masks: Path | None = None
    mask_suffix: str = ""
    table: Path | None = None
    axes: str | None = None
    group_by: str | None = None
    allow_empty: bool = False


@dataclass(frozen=True)
class ImportRow:
    """A pair that is OK, or a file that was rejected."""

    image: str
    mask: str
    state: str
    reason: str


class PairImportController(Controller):
    """Checks folders of pairs and adds those that are OK.

    `changed` means: what was found, or the progress, changed.

    Parameters
    ----------
    workspace
        Whose project the pairs are added to.
    label_rule
        How their labels are read.
    """

    def __init__(self, workspace: Workspace, label_rule: LabelRuleController) -> None:
        super().__init__(workspace)
        self._label_rule = label_rule
        self.choice = ImportChoice()
        self.report: ImportReport | None = None
        self.rows: tuple[ImportRow, ...] = ()
        self.is_busy = False
        self.done, self.total = 0.0, 0.0
        self.stage = ""
        self._stop = threading.Event()

    def choose(self, **changes: object) -> None:
        """Change where or how; what was found before is dropped."""
        choice = replace(self.choice, **changes)  # type: ignore[arg-type]
        # Typing a path checks nothing yet, but what was found belongs to another path.
        if choice != self.choice:
            self.choice, self.rows = choice, ()
            self.report = None
            self.changed.emit()

    @property
    def why_not_look(self) -> str | None:
        """Why nothing can be checked yet, or None."""
        choice = self.choice
        if self.is_busy:
            return BUSY
        if choice.table is None and choice.images is None:
            return "Select the folder of the images first."
        if choice.table is None and choice.masks is None and not choice.mask_suffix:
            return "Select the folder of the masks, or type the mask suffix."
        return self._workspace.snapshot.why_not_read

    @property
    def why_not_import(self) -> str | None:
        """Why nothing can be imported yet, or None."""
        if self.is_busy:
            return BUSY
        if self.report is None or not self.report.dry_run:
            return "Check the files first."
        if not self.report.accepted:
            return "None of the files can be imported."
        return self._workspace.snapshot.why_not_write

    @property
    def title(self) -> str:
        """What the import button says."""
        count = len(self.report.accepted) if self.report is not None and self.report.dry_run else 0
        return f"Import {_pairs(count)}" if count else "Import"

    @property
    def words(self) -> str:
        """What was found or done, in a sentence."""
        if self.is_busy:
            progress = f"{self.done:.0f} of {self.total:.0f}: {self.stage}"
            return progress if self.total else "Looking for files..."
        if self.report is None:
            return ""
        refused = f", {len(self.report.refused)} rejected" if self.report.refused else ""
        stopped = " Cancelled before the end." if self.report.cancelled else ""
        verb = "OK" if self.report.dry_run else "imported"
        return f"{_pairs(len(self.report.accepted))} {verb}{refused}.{stopped}"

    def look(self) -> None:
        """Check all files; nothing is written."""
        if self.why_not_look is None:
            self._run(dry_run=True)

    def run(self) -> None:
        """Add the pairs that are OK."""
        if self.why_not_import is None:
            self._run(dry_run=False)

    def cancel(self) -> None:
        """Stop after the file that is being read; what was added stays."""
        self._stop.set()

    def _run(self, *, dry_run: bool) -> None:
        choice, rule = self.choice, self._label_rule.rule
        stop = threading.Event()
        self._stop, self.is_busy = stop, True
        self.done, self.total = 0.0, 0.0
        self.stage = ""
        self.changed.emit()

        def ended(report: ImportReport) -> None:
            if self._stop is stop:
                self.is_busy = False
                self.report, self.rows = report, _rows(report)
                self.changed.emit()
                if not dry_run:
                    self._workspace.say(self.words)

        def failed(error: Exception) -> None:
            if self._stop is stop:
                self.is_busy = False
                self.changed.emit()
                self._workspace.fail(error)

        self._workspace.do(
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
        # Ten times a second at most: a person reads no faster, and each update draws.
        told = 0.0

        def report(event: Event) -> None:
            nonlocal told
            if isinstance(event, Progress) and time.monotonic() - told > TOLD_EVERY_S:
                told = time.monotonic()
                self._workspace.deliver(lambda: self._show(event, stop))

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
            self.done, self.total = event.done, event.total
            self.stage = event.stage
            self.changed.emit()

    def reset(self, project: Project | None) -> None:
        """Stop, and forget what was found."""
        self._stop.set()
        self._stop = threading.Event()
        self.report, self.is_busy = None, False
        # The folders were those of the previous project.
        self.choice, self.rows = ImportChoice(), ()
        self.changed.emit()

    def close(self) -> None:
        """Stop; what was added stays."""
        self._stop.set()


def _rows(report: ImportReport) -> tuple[ImportRow, ...]:
    state = "OK" if report.dry_run else "imported"
    # Rejected files first: they are what a person has to look at.
    refused = [
        ImportRow(
            Path(row.image).name,
            Path(row.mask).name,
            "rejected",
            without_commands(f"{row.problem} {row.way_out}"),
        )
        for row in report.refused
    ]
    return (
        *refused,
        *(
            ImportRow(Path(row.image).name, Path(row.mask).name, state, " ".join(row.notes))
            for row in report.accepted
        ),
    )


def _pairs(count: int) -> str:
    return "1 pair" if count == 1 else f"{count} pairs"
