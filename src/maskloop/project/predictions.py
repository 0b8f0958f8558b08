"""Predicted images kept in the project, each with its checkpoint, its image and its settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from maskloop.images.image import Image
from maskloop.project.checkpoints import CheckpointList
from maskloop.project.entries import PredictionRecord
from maskloop.project.fields import now
from maskloop.project.folder import Folder
from maskloop.project.inventory import PREDICTIONS
from maskloop.project.kept import Kept
from maskloop.project.store import copy_file, file_sha256, place_file
from maskloop.records import jsonable, sync_folder, write_errors

__all__ = ["Predicted", "PredictionList"]

BATCH_S = 2.0
"""Predictions are recorded together this often, and the lock is free in between: rewriting a record
of ten thousand for each of them would take hours.
"""


@dataclass(frozen=True)
class Predicted:
    """A predicted image that is to be kept, and where it came from."""

    file: Path
    checkpoint_id: str | None
    input_path: str = ""
    """The image, as the person gave it."""
    input_sha256: str = ""
    """Of the image's pixels or file."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Tiling, mirroring, threshold and the like; ``run_id`` says which run predicted it."""

    @property
    def origin(self) -> tuple[str, str] | None:
        """Run and image; None where no run is named. A run keeps one prediction of an image."""
        run_id = self.settings.get("run_id")
        return (str(run_id), self.input_path) if run_id else None


class PredictionList:
    """Keeps predictions with their provenance; never overwrites one."""

    def __init__(self, folder: Folder, checkpoints: CheckpointList) -> None:
        self._folder = folder
        self._checkpoints = checkpoints
        self._kept = Kept(folder, PREDICTIONS)

    def list(self) -> Sequence[PredictionRecord]:
        """All predictions, the oldest first."""
        return self._kept.entries()

    def get(self, prediction_id: str) -> PredictionRecord:
        """The prediction with this id.

        Raises
        ------
        NotFound
            If there is none.
        """
        return self._kept.get(prediction_id)

    def path(self, prediction_id: str) -> Path:
        """The file of a prediction.

        Raises
        ------
        ProjectError
            If it is missing.
        """
        return self._kept.path(prediction_id)

    def write(
        self,
        labels: Image,
        *,
        checkpoint_id: str | None,
        input_path: str | Path = "",
        input_sha256: str = "",
        settings: Mapping[str, Any] | None = None,
    ) -> PredictionRecord:
        """Write predicted labels (or probabilities) under the next number.

        Parameters
        ----------
        labels
            Integers are written in the smallest type that holds them, floats as they are.
        checkpoint_id
            The checkpoint that predicted it.
        input_path
            The image, as the person gave it.
        input_sha256
            Of the image's pixels or file.
        settings
            Tiling, mirroring, threshold and the like.

        Raises
        ------
        ProjectError
            If it could not be written.
        """
        from maskloop.images.writers import write_image, write_labels

        def save(target: Path) -> None:
            if labels.data.dtype.kind == "f":
                write_image(target, labels)
            else:
                write_labels(
                    target, labels.data, axes=labels.axes, pixel_size_um=labels.pixel_size_um
                )

        facts = Predicted(
            Path("labels.tif"), checkpoint_id, str(input_path), input_sha256, settings or {}
        )
        return self._add(facts, save)

    def register(
        self,
        file: Path,
        *,
        checkpoint_id: str | None,
        input_path: str | Path = "",
        input_sha256: str = "",
        settings: Mapping[str, Any] | None = None,
    ) -> PredictionRecord:
        """Copy a predicted file in under the next number.

        This is how an image larger than the memory, predicted region by region, is kept.

        Raises
        ------
        ProjectError
            If it could not be written.
        """
        facts = Predicted(file, checkpoint_id, str(input_path), input_sha256, settings or {})
        return self._add(facts, lambda target: copy_file(file, target))

    def _add(self, facts: Predicted, save: Callable[[Path], None]) -> PredictionRecord:
        with self._folder.writing("keep a prediction"):
            numbers = self._kept.numbers()
            record = self._entry(facts, numbers.take(), save)
            self._kept.add([record], next_number=numbers.next)
            return record

    def register_many(self, predicted: Iterable[Predicted]) -> Sequence[PredictionRecord]:
        """Keep many predicted files; the record is rewritten once every two seconds.

        A file that its run has kept already is not kept twice, so that a run that was stopped here
        can be started again. Stopped in the middle, it leaves files without a record, never a
        record without its file.

        Parameters
        ----------
        predicted
            Taken one by one, so that a generator may read what it needs as it goes. Each file
            becomes the project's: a second name where the disk knows that, else a copy. It must no
            longer be changed, and may be deleted afterwards.

        Returns
        -------
        records
            One for each file, in order; those that were kept before as they are.

        Raises
        ------
        ProjectError
            If they could not be written; those recorded until then stay.
        """
        waiting = iter(predicted)
        done: list[PredictionRecord] = []
        while True:
            with self._folder.writing("keep predictions"):
                batch = self._register_batch(waiting)
            # An empty batch and not an exhausted one: the generator may end exactly on a batch.
            if not batch:
                return done
            done += batch

    def _register_batch(self, waiting: Iterator[Predicted]) -> Sequence[PredictionRecord]:
        # Asked anew for each batch: the lock was free in between.
        known = {_origin(record): record for record in self._kept.entries()}
        # The folder is listed once for the whole batch.
        numbers = self._kept.numbers()
        fresh: list[PredictionRecord] = []
        batch: list[PredictionRecord] = []
        until = time.monotonic() + BATCH_S
        for facts in waiting:
            record = known.get(facts.origin) if facts.origin else None
            if record is None:
                record = self._entry(facts, numbers.take(), partial(place_file, facts.file))
                # An image that is listed twice is kept once, within a batch too.
                known[facts.origin] = record
                fresh.append(record)
            batch.append(record)
            # By time and not by count: files on a slow disk must not hold the lock for minutes.
            if time.monotonic() > until:
                break
        if fresh:
            # The files' names must be on the disk before the record that tells of them.
            sync_folder(self._folder.path(PREDICTIONS.numbered_in))
            self._kept.add(fresh, next_number=numbers.next)
        return batch

    def _entry(
        self, facts: Predicted, number: int, save: Callable[[Path], None]
    ) -> PredictionRecord:
        # Resolved now: "latest" is another checkpoint tomorrow.
        source = self._checkpoints.get(facts.checkpoint_id) if facts.checkpoint_id else None
        path = f"predictions/prediction_{number:03d}{_suffix(facts.file)}"
        target = self._folder.path(path)
        # Folders that are empty get lost in archives and repositories.
        with write_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        save(target)
        return PredictionRecord(
            prediction_id=f"prediction_{number:03d}",
            path=path,
            sha256=file_sha256(target),
            checkpoint_id=source.checkpoint_id if source else None,
            checkpoint_sha256=source.sha256 if source else "",
            input_path=facts.input_path,
            input_sha256=facts.input_sha256,
            settings=jsonable(dict(facts.settings)),
            created_at=now(),
        )


def _origin(record: PredictionRecord) -> tuple[str, str] | None:
    run_id = record.settings.get("run_id")
    return (str(run_id), record.input_path) if run_id else None


def _suffix(file: Path) -> str:
    # `Path.suffix` alone would make .tif of .ome.tif.
    return "".join(file.suffixes[-2:]) if file.name.endswith(".ome.tif") else file.suffix
