"""Imported weights, and where the next training starts. Never reads tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maskloop.errors import ProjectError, UsageError
from maskloop.project import paths
from maskloop.project.checkpoints import CheckpointList
from maskloop.project.configs import StartingWeights
from maskloop.project.entries import ImportedModel
from maskloop.project.fields import now
from maskloop.project.folder import Folder
from maskloop.project.inventory import MODELS
from maskloop.project.kept import Kept
from maskloop.project.store import RecordFile, changed, copy_file, file_sha256
from maskloop.records import jsonable
from maskloop.task import Task

__all__ = ["Weights"]

SUFFIXES = (".pt", ".pth", ".safetensors")


class Weights:
    """Keeps copies of imported weights with the architecture they need."""

    def __init__(self, folder: Folder, checkpoints: CheckpointList) -> None:
        self._folder = folder
        self._checkpoints = checkpoints
        self._kept = Kept(folder, MODELS)
        self._start: RecordFile[StartingWeights] = folder.record(
            paths.STARTING_WEIGHTS, StartingWeights
        )

    def list(self) -> Sequence[ImportedModel]:
        """All imported weights, the oldest first."""
        return self._kept.entries()

    def get(self, model_id: str) -> ImportedModel:
        """The imported weights with this id.

        Raises
        ------
        NotFound
            If there are none.
        """
        return self._kept.get(model_id)

    def path(self, model_id: str) -> Path:
        """The file of imported weights.

        Raises
        ------
        ProjectError
            If it is missing.
        """
        return self._kept.path(model_id)

    def add(
        self,
        source: Path,
        *,
        model_name: str | None = None,
        network: Mapping[str, Any],
        backend: str = "basic_unet",
        task: Task | None = None,
        format: str,
        metadata: Mapping[str, Any] | None = None,
    ) -> ImportedModel:
        """Copy a file of weights into the project and register it.

        Its contents are the caller's to check.

        Parameters
        ----------
        source
            A .pt, .pth or .safetensors file.
        model_name
            What to call it; by default the file's name.
        network, backend, task
            The model that the weights need, its family, and what they are to find.
        format
            How the tensors are stored, such as state_dict, safetensors, maskloop.

        Raises
        ------
        UsageError
            If the file is of another kind.
        ProjectError
            If it is missing or the folder cannot be written.
        """
        suffix = source.suffix.lower()
        if suffix not in SUFFIXES:
            raise UsageError(
                f"'{source.name}' is not a weights file.",
                f"Choose a file that ends in {', '.join(SUFFIXES)}.",
            )
        # Before the lock: hashing gigabytes must not keep other writers waiting.
        digest = file_sha256(source)
        with self._folder.writing("import weights"):
            numbers = self._kept.numbers()
            name = f"imported_model_{numbers.take():03d}_{digest[:8]}{suffix}"
            path = f"{paths.IMPORTED}/{name}"
            copy_file(source, self._folder.path(path))
            # A file that is still being downloaded would be registered with a hash of its half.
            if file_sha256(self._folder.path(path)) != digest:
                raise ProjectError(
                    f"'{source}' changed while it was being copied.",
                    "Wait until it has been written, then import it again.",
                )
            model = ImportedModel(
                model_id=Path(path).stem,
                model_name=model_name or source.stem,
                source_filename=source.name,
                model_path=path,
                backend=backend,
                task=task,
                network=jsonable(dict(network)),
                imported_at=now(),
                format=format,
                sha256=digest,
                metadata=jsonable(dict(metadata or {})),
            )
            self._kept.add([model], next_number=numbers.next)
            return model

    @property
    def start(self) -> StartingWeights:
        """Where the next training begins when nobody says otherwise."""
        return self._start.read()

    def set_start(self, **changes: Any) -> StartingWeights:
        """Change where the next training begins.

        Raises
        ------
        UsageError
            If there is no such setting or value.
        NotFound
            If the checkpoint or the imported weights do not exist.
        """
        with self._folder.writing("choose starting weights"):
            start = self._folder.checked(StartingWeights, self._start.read(), changes)
            # Checked now: a training that starts tomorrow should not be the first to notice.
            if start.checkpoint_id is not None:
                self._checkpoints.get(start.checkpoint_id)
            if start.imported_model_id is not None:
                start = changed(
                    start, imported_model_path=self.get(start.imported_model_id).model_path
                )
            self._start.write(start)
            return start
