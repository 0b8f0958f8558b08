"""Predicted images kept in the project, each with the checkpoint, the input and the settings it came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from maskloop.errors import NotFound, ProjectError
from maskloop.images.image import Image
from maskloop.project import paths
from maskloop.project.checkpoints import CheckpointList
from maskloop.project.entries import PredictionRecord, Predictions
from maskloop.project.fields import now
from maskloop.project.folder import Folder
from maskloop.project.store import RecordFile, changed, copy_file, file_sha256
from maskloop.records import jsonable

__all__ = ["PredictionList"]


class PredictionList:
    """Writes predictions with their provenance; never overwrites one."""

    def __init__(self, folder: Folder, checkpoints: CheckpointList) -> None:
        self._folder = folder
        self._checkpoints = checkpoints
        self._file: RecordFile[Predictions] = folder.record(paths.PREDICTIONS, Predictions)

    def list(self) -> Sequence[PredictionRecord]:
        """All predictions, the oldest first."""
        return self._file.read().predictions

    def get(self, prediction_id: str) -> PredictionRecord:
        """The prediction with this id.

        Raises
        ------
        NotFound
            If there is none.
        """
        for record in self._file.read().predictions:
            if record.prediction_id == prediction_id:
                return record
        raise NotFound(
            f"There is no prediction '{prediction_id}'.",
            f"Look into '{self._folder.path(paths.PREDICTIONS)}'.",
        )

    def path(self, prediction_id: str) -> Path:
        """The file of a prediction.

        Raises
        ------
        ProjectError
            If it is missing.
        """
        path = self._folder.path(self.get(prediction_id).path)
        if not path.is_file():
            raise ProjectError(f"The prediction '{path}' is missing.", "Predict the image again.")
        return path

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
            What predicted it.
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

        return self._add(save, ".tif", checkpoint_id, str(input_path), input_sha256, settings)

    def register(
        self,
        file: Path,
        *,
        checkpoint_id: str | None,
        input_path: str | Path = "",
        input_sha256: str = "",
        settings: Mapping[str, Any] | None = None,
    ) -> PredictionRecord:
        """Copy a file that was predicted (for instance in pieces, when it is larger than the memory) in under the next number.

        Raises
        ------
        ProjectError
            If it could not be written.
        """
        suffix = "".join(file.suffixes[-2:]) if file.name.endswith(".ome.tif") else file.suffix
        return self._add(
            lambda target: copy_file(file, target),
            suffix,
            checkpoint_id,
            str(input_path),
            input_sha256,
            settings,
        )

    def _add(
        self,
        save: Callable[[Path], None],
        suffix: str,
        checkpoint_id: str | None,
        input_path: str,
        input_sha256: str,
        settings: Mapping[str, Any] | None,
    ) -> PredictionRecord:
        with self._folder.writing("keep a prediction"):
            source = self._checkpoints.get(checkpoint_id) if checkpoint_id else None
            known = self._file.read()
            number = known.next_prediction
            while any(self._folder.path("predictions").glob(f"prediction_{number:03d}.*")):
                number += 1
            path = f"predictions/prediction_{number:03d}{suffix}"
            save(self._folder.path(path))
            record = PredictionRecord(
                prediction_id=f"prediction_{number:03d}",
                path=path,
                sha256=file_sha256(self._folder.path(path)),
                checkpoint_id=source.checkpoint_id if source else None,
                checkpoint_sha256=source.sha256 if source else "",
                input_path=input_path,
                input_sha256=input_sha256,
                settings=jsonable(dict(settings or {})),
                created_at=now(),
            )
            self._file.write(
                changed(known, next_prediction=number + 1, predictions=(*known.predictions, record))
            )
            return record
