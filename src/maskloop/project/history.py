"""What happened: runs with their folders, the benchmark table and the log."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from maskloop.errors import NotFound, ProjectError, RecordError
from maskloop.project import paths
from maskloop.project.entries import CheckpointRecord, TrainingRun, TrainingRuns
from maskloop.project.fields import now
from maskloop.project.folder import Folder
from maskloop.project.paths import require_inside
from maskloop.project.store import RecordFile, changed
from maskloop.records import open_append, read_ordinary, sync_folder, write_bytes, write_errors

__all__ = ["COLUMNS", "History"]

COLUMNS = ("timestamp", "checkpoint_id", "loss", "val_loss", "dice", "iou", "summary")


class History:
    """Gives runs their ids and folders, and keeps the tables that people read.

    Parameters
    ----------
    folder
        The project's.
    runs_folder
        Where runs have their folders instead, for a project that may only be read; nothing is then
        written into it.
    """

    def __init__(self, folder: Folder, *, runs_folder: Path | None = None) -> None:
        self._folder = folder
        self.runs_folder = folder.folder / paths.RUNS if runs_folder is None else runs_folder
        self.is_elsewhere = runs_folder is not None
        self._file: RecordFile[TrainingRuns] = folder.record(paths.TRAINING_RUNS, TrainingRuns)

    def new_run(self, kind: str) -> str:
        """A new run of this kind (train, predict, ...) with an empty folder.

        Its id is never reused.

        Raises
        ------
        ProjectError
            If the folder cannot be written.
        """
        # A read-only project has no counter to move.
        if self.is_elsewhere:
            return self._new_run_elsewhere(kind)
        with self._folder.writing("begin a run"):
            record = self._file.read()
            # Of all kinds together: the number alone tells which run came first.
            number = record.next_run
            while self.run_folder(f"{kind}_{number:03d}").exists():
                number += 1
            run_id = f"{kind}_{number:03d}"
            # Counter before folder: a kill in between wastes a number and never uses one twice.
            self._file.write(changed(record, next_run=number + 1))
            folder = self.run_folder(run_id)
            with write_errors(folder):
                folder.mkdir(parents=True)
                sync_folder(folder.parent)
            return run_id

    def _new_run_elsewhere(self, kind: str) -> str:
        number = 1
        while self.run_folder(f"{kind}_{number:03d}").exists():
            number += 1
        with write_errors(self.runs_folder):
            self.run_folder(f"{kind}_{number:03d}").mkdir(parents=True)
        return f"{kind}_{number:03d}"

    def run_folder(self, run_id: str) -> Path:
        """Where a run keeps its job, journal, log and resume state.

        Raises
        ------
        NotFound
            If this can be no run's id.
        """
        # An id comes from the command line and becomes a path.
        if not run_id or "/" in run_id or "\\" in run_id or run_id.startswith("."):
            raise NotFound(
                f"'{run_id}' is not the id of a run.", "List the runs (maskloop runs DIR)."
            )
        folder = self.runs_folder / run_id
        return folder if self.is_elsewhere else require_inside(self._folder.folder, folder)

    def runs(self) -> list[str]:
        """Ids of all runs that have a folder, in the order of their numbers."""
        folder = self.runs_folder
        found = folder.iterdir() if folder.is_dir() else ()
        # A link could lead into any folder of the person's: no run is one.
        names = [entry.name for entry in found if entry.is_dir() and not entry.is_symlink()]
        return sorted(names, key=_by_number)

    def training_runs(self) -> list[TrainingRun]:
        """Trainings that led to a checkpoint, the oldest first."""
        return [*self._file.read().runs]

    def benchmarks(self) -> list[dict[str, str]]:
        """Rows of the benchmark table, the oldest first.

        Raises
        ------
        RecordError
            If the table cannot be read.
        """
        path = self._folder.path(paths.BENCHMARKS)
        try:
            text = read_ordinary(path).decode()
            return [
                {name: row.get(name) or "" for name in COLUMNS}
                for row in csv.DictReader(io.StringIO(text, newline=""))
            ]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, csv.Error) as error:
            raise RecordError(
                f"The table '{path}' cannot be read: {error}.",
                "Rebuild it (maskloop check --repair); the damaged file is kept.",
            ) from error

    def complete(self, checkpoints: Sequence[CheckpointRecord]) -> None:
        """Add what is missing of these checkpoints to the run history, the table and the log."""
        with self._folder.writing("complete the history"):
            self._complete_runs(checkpoints)
            self._complete_benchmarks(checkpoints)
            self._complete_log(checkpoints)

    def _complete_runs(self, checkpoints: Sequence[CheckpointRecord]) -> None:
        record = self._file.read()
        known = {run.checkpoint_id for run in record.runs}
        fresh = tuple(training_run(one) for one in checkpoints if one.checkpoint_id not in known)
        if fresh:
            self._file.write(changed(record, runs=(*record.runs, *fresh)))

    def _complete_benchmarks(self, checkpoints: Sequence[CheckpointRecord]) -> None:
        rows = self.benchmarks()
        # Completed and not rewritten: rows of another program stay as they are.
        known = {row["checkpoint_id"] for row in rows}
        fresh = [_benchmark(one) for one in checkpoints if one.checkpoint_id not in known]
        path = self._folder.path(paths.BENCHMARKS)
        if fresh or not path.exists():
            self.write_benchmarks([*rows, *fresh])

    def write_benchmarks(self, rows: Sequence[dict[str, str]]) -> None:
        """Write the whole table."""
        # In memory first: a table that is written in place could be cut by a kill.
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        write_bytes(self._folder.path(paths.BENCHMARKS), text.getvalue().encode())

    def _complete_log(self, checkpoints: Sequence[CheckpointRecord]) -> None:
        path = self._folder.path(paths.LOG)
        try:
            known = read_ordinary(path).decode(errors="replace") if path.exists() else ""
        except OSError as error:
            raise ProjectError(
                f"'{path}' cannot be read: {error.strerror}.", "Check the disk and the permissions."
            ) from error
        for one in checkpoints:
            # The space ends the id: unet_run_1 must not be found in unet_run_10.
            if f"registered {one.checkpoint_id} " not in known:
                named = f"{one.checkpoint_id} ({one.checkpoint_path})"
                self.log(f"registered {named} {one.benchmark_summary}".rstrip())

    def log(self, text: str) -> None:
        """Add a line to the log.

        Raises
        ------
        ProjectError
            If it cannot be written.
        """
        path = self._folder.path(paths.LOG)
        with write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with open_append(path) as file:
                # Appended in one write: two programs must not mix their lines.
                file.write(f"{now()} {text}\n".encode())
                file.flush()
                os.fsync(file.fileno())


def _by_number(run_id: str) -> tuple[int, str]:
    # As text, run_1000 would come before run_999.
    number = run_id.rpartition("_")[2]
    return int(number) if number.isdigit() else 0, run_id


def training_run(record: CheckpointRecord) -> TrainingRun:
    """The line of history of a checkpoint."""
    return TrainingRun.model_validate(
        {name: getattr(record, name) for name in TrainingRun.model_fields}
    )


def _benchmark(record: CheckpointRecord) -> dict[str, str]:
    figures = {**record.loss_metrics, **record.dice_iou_metrics}
    numbers = {
        name: "" if figures.get(name) is None else f"{figures[name]:.6g}"
        for name in ("loss", "val_loss", "dice", "iou")
    }
    return {
        "timestamp": record.timestamp,
        "checkpoint_id": record.checkpoint_id,
        **numbers,
        "summary": record.benchmark_summary,
    }
