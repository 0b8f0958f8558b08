"""The records of one napari-training-assistant project or task, turned into ours."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from maskloop.project import layout
from maskloop.project.history import training_run
from maskloop.project.layout import (
    ArchitectureConfig,
    CheckpointRecord,
    Checkpoints,
    ImportedModel,
    Manifest,
    ModelRegistry,
    Pair,
    PredictionRecord,
    Predictions,
    ProjectConfig,
    Sam3Config,
    StartingWeights,
    TrainingRuns,
)
from maskloop.project.legacy_tasks import PLACES, OlderTask
from maskloop.project.legacy_values import Raw, as_dicts, describe, fit, next_after, slashes
from maskloop.project.version2 import choices_of, load_raw, task_of
from maskloop.records import Record, read_ordinary, read_record
from maskloop.wording import fault_in_words

__all__ = ["Converted", "LegacyReader"]

AnyRecord = TypeVar("AnyRecord", bound=Record)
_RESHAPED = {path: {layout.BEFORE} for path in (layout.CONFIG, layout.ARCHITECTURE)}
THEIR_DEFAULTS = {
    "patch_size": 256,
    "batch_size": 4,
    "epochs": 10,
    "learning_rate": 1e-4,
    "validation_split": 0.2,
}
"""Values nobody chose; ours are planned from the data."""


@dataclass
class Converted:
    """What an older folder holds, as records of ours."""

    records: dict[str, Record] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    """Path in the records to path in the older folder; they differ where a task becomes a folder
    of its own.
    """
    originals: list[str] = field(default_factory=list)
    benchmarks: str | None = None
    task: OlderTask | None = None
    other_tasks: list[OlderTask] = field(default_factory=list)
    warnings: tuple[str, ...] = ()


class LegacyReader:
    """Turns the raw records of one project or task into ours, one after the other."""

    def __init__(self, folder: Path, task: OlderTask | None, *, apart: bool) -> None:
        self._folder = folder
        self._task = task
        self._base = task.base if task else ""
        self._apart = apart
        self._found = Converted(task=task)
        self._warnings: list[str] = []

    def read(self, others: list[OlderTask]) -> Converted:
        """All records of the project or task; what `others` are is said in the warnings."""
        found = self._found
        found.other_tasks = others
        # First: the run history is told from them, so that the two agree.
        checkpoints = self._checkpoints()
        records: dict[str, Record] = {
            layout.ARCHITECTURE: self._architecture(),
            layout.SAM3: self._free(layout.SAM3, Sam3Config),
            layout.MANIFEST: self._manifest(),
            layout.REGISTRY: self._registry(),
            layout.STARTING_WEIGHTS: self._starting_weights(),
            layout.CHECKPOINTS: checkpoints,
            layout.PREDICTIONS: self._predictions(),
            layout.TRAINING_RUNS: TrainingRuns(
                runs=tuple(training_run(one) for one in checkpoints.checkpoints)
            ),
        }
        records[layout.CONFIG] = self._config()
        # A kill during an upgrade leaves some records upgraded: those are as they should be.
        if not self._apart:
            done = [path for path in records if self._is_done(path)]
            records |= {
                path: read_record(self._folder / path, layout.records()[path]) for path in done
            }
        found.records = records
        found.benchmarks = self._text(layout.BENCHMARKS)
        # Only what is replaced is kept apart; images and weights stay where they are.
        found.originals = [
            path
            for path in (*layout.records(), layout.BENCHMARKS, layout.LATEST, layout.TASKS)
            if (self._folder / path).is_file()
        ]
        # One file may be named by several records.
        found.warnings = (*dict.fromkeys(self._warnings), *(self._about(other) for other in others))
        return found

    def _is_done(self, path: str) -> bool:
        raw = load_raw(self._folder / path)
        # Of version 2 all records but two are read as they are.
        readable = {layout.VERSION} | ({layout.BEFORE} - _RESHAPED.get(path, set()))
        return raw is not None and raw.get("version") in readable

    def _about(self, task: OlderTask) -> str:
        return (
            f"Task '{task.task_id}' ({task.display_name}) was not upgraded.\n"
            "  -> Make it a project of its own: maskloop upgrade "
            f"{self._folder} --task {task.task_id} --out NEW_FOLDER"
        )

    def _raw(self, path: str) -> Raw:
        """A raw record of the task, else of the folder around it; empty where there is none."""
        bases = dict.fromkeys(
            (self._base, "")
            if path in (layout.CONFIG, layout.ARCHITECTURE, layout.SAM3)
            else (self._base,)
        )
        for base in bases:
            place = self._folder / base / path
            raw = load_raw(place)
            # A task that has no settings of its own uses those of the folder around it.
            if raw is not None:
                return raw
            if place.is_file():
                self._warnings.append(
                    f"Record '{place}' is damaged and was left out.\n"
                    "  -> It stays as it is; restore it from a backup and upgrade again."
                )
        return {}

    def _text(self, path: str) -> str | None:
        try:
            return read_ordinary(self._folder / self._base / path).decode(errors="replace")
        except OSError:
            return None

    def _place(self, raw: Any, default: str) -> tuple[str, bool]:
        """The path to record for a file, and whether the file is there.

        Backslashes, drives and old absolute paths are understood.
        """
        path = slashes(raw) or default
        # The folder was moved or copied since: its old absolute path leads nowhere, or to a
        # stranger.
        anchored = PLACES.search(path)
        if anchored and (path.startswith("/") or ":" in path):
            path = anchored[1]
        if path.startswith("/") or ":" in path or ".." in path.split("/"):
            self._warnings.append(
                f"The path '{raw}' leaves the project folder and was not followed.\n"
                "  -> Copy that file into the folder."
            )
            path = default
        # Paths of a task are relative to the task in some records and to the folder in others.
        candidates = dict.fromkeys([f"{self._base}/{path}".strip("/"), path])
        source = next(
            (candidate for candidate in candidates if (self._folder / candidate).is_file()),
            next(iter(candidates)),
        )
        target = source.removeprefix(f"{self._base}/") if self._apart and self._base else source
        self._found.files[target] = source
        return target, (self._folder / source).is_file()

    def _config(self) -> ProjectConfig:
        # Defaults that nobody chose would stop ours from being planned.
        raw = {
            name: value
            for name, value in self._raw(layout.CONFIG).items()
            if value != THEIR_DEFAULTS.get(name, ...)
        }
        # Their places of files are not ours, and our version must be written.
        for name in [name for name in raw if name == "version" or name.endswith("_path")]:
            del raw[name]
        # The task tells both now; kept apart they could contradict it.
        for name in ("binary_or_multiclass", "input_channels"):
            raw.pop(name, None)
        raw["task"] = task_of(self._described(), self._decisions())
        # The sign that what repeats the checkpoints (latest.pt, the tables) is still to be
        # completed.
        raw["latest_checkpoint_id"] = None
        if self._task:
            raw["project_name"] = (
                self._task.display_name
                if self._apart
                else raw.get("project_name", self._task.display_name)
            )
            raw["metadata"] = {"task": self._task.raw}
        stamp = layout.now()
        return fit(
            ProjectConfig,
            raw,
            {"project_name": self._folder.name, "created_at": stamp, "last_opened_at": stamp},
        )

    def _architecture(self) -> ArchitectureConfig:
        return ArchitectureConfig.model_validate(choices_of(self._described(), self._decisions()))

    def _decisions(self) -> list[Raw]:
        return as_dicts(self._raw(layout.CONFIG).get("auto_configuration_decisions"))

    def _described(self) -> Raw:
        """The description of the project's network, in the words of version 2."""
        raw = self._raw(layout.ARCHITECTURE)
        if self._task:
            raw = {
                **raw,
                **{
                    name: self._task.raw[name]
                    for name in ("output_mode", "class_labels")
                    if name in self._task.raw
                },
            }
        return describe(raw)

    def _free(self, path: str, kind: type[AnyRecord]) -> AnyRecord:
        return kind.model_validate({**self._raw(path), "version": layout.VERSION})

    def _manifest(self) -> Manifest:
        raw = self._raw(layout.MANIFEST)
        pairs = [pair for entry in as_dicts(raw.get("pairs")) if (pair := self._pair(entry))]
        stamp = layout.now()
        return fit(
            Manifest,
            {
                "created_at": raw.get("created_at") or stamp,
                "updated_at": raw.get("updated_at") or stamp,
                "pairs": tuple(pairs),
                "next_pair": next_after(pair.pair_id for pair in pairs),
            },
            {"created_at": stamp, "updated_at": stamp},
        )

    def _pair(self, raw: Raw) -> Pair | None:
        pair_id = str(raw.get("pair_id", ""))
        image, has_image = self._place(raw.get("image_path"), f"{layout.IMAGES}/{pair_id}.tif")
        mask, has_mask = self._place(raw.get("mask_path"), f"{layout.MASKS}/{pair_id}.tif")
        used = tuple(str(name) for name in raw.get("used_in_checkpoints") or ())
        if not (has_image and has_mask):
            lacking = mask if has_image else image
            self._warnings.append(
                f"The file '{lacking}' of pair '{pair_id}' is missing.\n"
                "  -> Restore the file, then restore the pair."
            )
        values = {
            **raw,
            "name": str(raw.get("image_layer_name") or Path(image).stem),
            "image_path": image,
            "mask_path": mask,
            "state": "active" if has_image and has_mask else "missing",
            "group": pair_id,
            # Their patches of one image landed on both sides, so whatever was used was trained on.
            "split": "training" if used else None,
            "used_in_checkpoints": used,
        }
        return self._try(
            Pair,
            values,
            {"shape": (), "mask_shape": (), "created_at": layout.now(), "pair_id": "unnamed"},
        )

    def _checkpoints(self) -> Checkpoints:
        entries = as_dicts(self._raw(layout.CHECKPOINTS).get("checkpoints")) or as_dicts(
            self._raw(layout.TRAINING_RUNS).get("runs")
        )
        records = [record for entry in entries if (record := self._checkpoint(entry))]
        # Weights that no record names are still a training of somebody.
        known = {self._found.files[record.checkpoint_path] for record in records}
        for path in sorted((self._folder / self._base).rglob("best_model.pt")):
            bare = path.relative_to(self._folder).as_posix()
            # At the top of a 0.3 folder, the weights below tasks/ belong to its tasks.
            if bare not in known and (self._base or not bare.startswith("tasks/")):
                number = next_after(record.checkpoint_id for record in records)
                entry = {
                    "checkpoint_id": f"unet_run_{number:03d}",
                    "checkpoint_path": bare,
                    "training_mode": "unknown",
                }
                records.extend(record for record in [self._checkpoint(entry)] if record)
                self._warnings.append(
                    f"'{bare}' was not registered; it is now '{entry['checkpoint_id']}'.\n"
                    "  -> Its architecture is unverified."
                )
        return Checkpoints(
            checkpoints=tuple(records),
            next_checkpoint=next_after(record.checkpoint_id for record in records),
        )

    def _checkpoint(self, raw: Raw) -> CheckpointRecord | None:
        checkpoint_id = str(raw.get("checkpoint_id", ""))
        path, is_there = self._place(raw.get("checkpoint_path"), f"checkpoints/{checkpoint_id}.pt")
        if not is_there:
            self._warnings.append(
                f"The weights '{path}' of checkpoint '{checkpoint_id}' are missing.\n"
                "  -> Restore them from a backup, or train again."
            )
        split = raw.get("train_validation_split")
        architecture = (
            raw.get("architecture") if isinstance(raw.get("architecture"), dict) else None
        )
        described = describe(architecture) if architecture else self._described()
        values = {
            **raw,
            "checkpoint_path": path,
            "format": "state_dict",
            "architecture_verified": False,
            "architecture": described,
            "classes": described["class_labels"],
            "train_validation_split": split
            if isinstance(split, dict)
            else {"validation_split": split},
        }
        return self._try(
            CheckpointRecord, values, {"timestamp": layout.now(), "checkpoint_id": "unnamed"}
        )

    def _registry(self) -> ModelRegistry:
        raw, stamp = self._raw(layout.REGISTRY), layout.now()
        models: list[ImportedModel] = []
        for entry in as_dicts(raw.get("models")):
            path, _ = self._place(
                entry.get("model_path"),
                f"{layout.IMPORTED}/{entry.get('source_filename', 'unknown')}",
            )
            blank = {
                "model_id": "unnamed",
                "model_name": "",
                "source_filename": Path(path).name,
                "imported_at": stamp,
                "format": "state_dict",
            }
            models.extend(
                model
                for model in [self._try(ImportedModel, {**entry, "model_path": path}, blank)]
                if model
            )
        return ModelRegistry(
            created_at=str(raw.get("created_at") or stamp),
            updated_at=str(raw.get("updated_at") or stamp),
            models=tuple(models),
            next_model=len(models) + 1,
        )

    def _starting_weights(self) -> StartingWeights:
        raw = self._raw(layout.STARTING_WEIGHTS)
        if raw.get("imported_model_path"):
            raw["imported_model_path"], _ = self._place(
                raw["imported_model_path"], "models/imported/unknown.pt"
            )
        return fit(
            StartingWeights,
            {
                name: value
                for name, value in raw.items()
                if name in StartingWeights.model_fields and name != "version"
            },
            {},
        )

    def _predictions(self) -> Predictions:
        entries = {
            slashes(value).rpartition("/")[2]: entry
            for entry in as_dicts(self._raw(layout.PREDICTIONS).get("predictions"))
            for value in entry.values()
        }
        # Their record lists some predictions only: the files are what there is.
        folder = self._folder / self._base / "predictions"
        records: list[PredictionRecord] = []
        for file in sorted(folder.glob("*.tif*")) if folder.is_dir() else ():
            path, _ = self._place(f"predictions/{file.name}", "")
            entry = entries.get(file.name, {})
            values = {
                "prediction_id": file.stem,
                "path": path,
                # Measured by `upgrade`, which may read files; this only reads records.
                "sha256": "",
                "settings": entry,
                "checkpoint_id": entry.get("checkpoint_id"),
            }
            records.extend(
                record
                for record in [self._try(PredictionRecord, values, {"created_at": layout.now()})]
                if record
            )
        return Predictions(
            predictions=tuple(records),
            next_prediction=next_after(record.prediction_id for record in records),
        )

    def _try(self, kind: type[AnyRecord], values: Raw, blank: Raw) -> AnyRecord | None:
        try:
            return fit(kind, values, blank)
        except ValidationError as error:
            self._warnings.append(
                f"An entry could not be read. {fault_in_words(error)}\n"
                "  -> It is kept in the original record."
            )
            return None
