"""Folders of napari-training-assistant 0.2 and 0.3, read as records of ours. Writes nothing.

What those programs left out (hashes, axes, fingerprints) is measured by `upgrade`; what they
claimed and nobody can verify (the architecture of a checkpoint) is marked so; what has no place
here is kept under ``metadata``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from maskloop.errors import NotFound
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
from maskloop.project.version2 import USUAL, choices_of, load_raw, task_of
from maskloop.records import Record, open_ordinary, read_ordinary, read_record
from maskloop.task import Task
from maskloop.wording import fault_in_words

__all__ = ["Converted", "OlderTask", "convert", "find_tasks", "is_legacy"]

AnyRecord = TypeVar("AnyRecord", bound=Record)
Raw = dict[str, Any]

_RESHAPED = {path: {layout.BEFORE} for path in (layout.CONFIG, layout.ARCHITECTURE)}
_VERSION = re.compile(rb'"version"\s*:\s*(\d+)')
_PLACES = re.compile(r"(?:^|/)((?:tasks|dataset|checkpoints|models|predictions)/.*)$")
THEIR_DEFAULTS = {
    "patch_size": 256,
    "batch_size": 4,
    "epochs": 10,
    "learning_rate": 1e-4,
    "validation_split": 0.2,
}
"""Values nobody chose; ours are planned from the data."""


@dataclass(frozen=True)
class OlderTask:
    """A task of a 0.3 folder: a project of its own in all but name."""

    task_id: str
    display_name: str
    base: str
    is_active: bool
    raw: Raw


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


def is_legacy(folder: Path) -> bool:
    """Whether a folder was made by napari-training-assistant and not upgraded yet."""
    config, architecture = load_raw(folder / layout.CONFIG), load_raw(folder / layout.ARCHITECTURE)
    # The architecture is written last: an upgrade that was killed before it is still to be ended.
    if config is not None and config.get("version", 1) != 1:
        return architecture is not None and architecture.get("version", 1) == 1
    if config is not None:
        return True
    # Settings that are missing or broken tell nothing: any record of ours settles it.
    return not any(_claims_ours(folder / path) for path in layout.records()) and any(
        (folder / path).is_file() for path in layout.records()
    )


def _claims_ours(path: Path) -> bool:
    try:
        with open_ordinary(path) as file:
            found = _VERSION.search(file.read(4096))
    except OSError:
        return False
    # An empty or torn file is taken for ours: calling it broken is safer than converting it.
    return found is None or int(found[1]) >= layout.BEFORE


def find_tasks(folder: Path) -> list[OlderTask]:
    """The tasks of a 0.3 folder, archived ones too."""
    raw = load_raw(folder / layout.TASKS) or {}
    tasks = []
    for entry in _dicts(raw.get("tasks")):
        task_id = str(entry.get("task_id", ""))
        base = _slashes(entry.get("task_path")) or f"tasks/{task_id}"
        found = _PLACES.search(base)
        base = found[1] if found else base
        if task_id and (folder / base).is_dir() and ".." not in base.split("/"):
            tasks.append(
                OlderTask(
                    task_id,
                    str(entry.get("display_name") or task_id),
                    base.strip("/"),
                    task_id == raw.get("active_task_id"),
                    entry,
                )
            )
    return tasks


def convert(folder: Path, *, task_id: str | None = None, apart: bool = False) -> Converted:
    """Read an older folder.

    Parameters
    ----------
    folder
        The older folder.
    task_id
        The task to read; by default the active one, or the first.
    apart
        Whether the records are for a folder of their own, where the task's files lie at the top.

    Raises
    ------
    NotFound
        If there is no such task.
    """
    tasks = find_tasks(folder)
    task = _choose_task(tasks, task_id, folder)
    return _Reader(folder, task, apart=apart).read([other for other in tasks if other is not task])


def _choose_task(tasks: list[OlderTask], task_id: str | None, folder: Path) -> OlderTask | None:
    if task_id is not None:
        for task in tasks:
            if task.task_id == task_id:
                return task
        known = [task.task_id for task in tasks]
        raise NotFound(
            f"'{folder}' has no task '{task_id}'.",
            f"Select one of: {', '.join(known) or 'none (it has no tasks)'}.",
        )
    return next((task for task in tasks if task.is_active), tasks[0] if tasks else None)


class _Reader:
    """Turns the raw records of one project or task into ours, one after the other."""

    def __init__(self, folder: Path, task: OlderTask | None, *, apart: bool) -> None:
        self._folder = folder
        self._task = task
        self._base = task.base if task else ""
        self._apart = apart
        self._found = Converted(task=task)
        self._warnings: list[str] = []

    def read(self, others: list[OlderTask]) -> Converted:
        found = self._found
        found.other_tasks = others
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
        found.originals = [
            path
            for path in (*layout.records(), layout.BENCHMARKS, layout.LATEST, layout.TASKS)
            if (self._folder / path).is_file()
        ]
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
        path = _slashes(raw) or default
        anchored = _PLACES.search(path)
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
        for name in [name for name in raw if name == "version" or name.endswith("_path")]:
            del raw[name]
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
        return self._fit(
            ProjectConfig,
            raw,
            {"project_name": self._folder.name, "created_at": stamp, "last_opened_at": stamp},
        )

    def _architecture(self) -> ArchitectureConfig:
        return ArchitectureConfig.model_validate(choices_of(self._described(), self._decisions()))

    def _decisions(self) -> list[Raw]:
        return _dicts(self._raw(layout.CONFIG).get("auto_configuration_decisions"))

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
        pairs = [pair for entry in _dicts(raw.get("pairs")) if (pair := self._pair(entry))]
        stamp = layout.now()
        return self._fit(
            Manifest,
            {
                "created_at": raw.get("created_at") or stamp,
                "updated_at": raw.get("updated_at") or stamp,
                "pairs": tuple(pairs),
                "next_pair": _after(pair.pair_id for pair in pairs),
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
        entries = _dicts(self._raw(layout.CHECKPOINTS).get("checkpoints")) or _dicts(
            self._raw(layout.TRAINING_RUNS).get("runs")
        )
        records = [record for entry in entries if (record := self._checkpoint(entry))]
        known = {self._found.files[record.checkpoint_path] for record in records}
        for path in sorted((self._folder / self._base).rglob("best_model.pt")):
            bare = path.relative_to(self._folder).as_posix()
            if bare not in known and (self._base or not bare.startswith("tasks/")):
                number = _after(record.checkpoint_id for record in records)
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
            next_checkpoint=_after(record.checkpoint_id for record in records),
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
        for entry in _dicts(raw.get("models")):
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
        return self._fit(
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
            _slashes(value).rpartition("/")[2]: entry
            for entry in _dicts(self._raw(layout.PREDICTIONS).get("predictions"))
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
            next_prediction=_after(record.prediction_id for record in records),
        )

    def _try(self, kind: type[AnyRecord], values: Raw, blank: Raw) -> AnyRecord | None:
        try:
            return self._fit(kind, values, blank)
        except ValidationError as error:
            self._warnings.append(
                f"An entry could not be read. {fault_in_words(error)}\n"
                "  -> It is kept in the original record."
            )
            return None

    def _fit(self, kind: type[AnyRecord], values: Raw, blank: Raw) -> AnyRecord:
        """A record of the values that fit.

        The others go to `metadata`, or are left out where a record has none.
        """
        # One wrong value must not cost the entry: each that is refused is taken out and kept apart.
        fitting = {
            **blank,
            **{
                name: value
                for name, value in values.items()
                if name in kind.model_fields and value is not None
            },
        }
        kept = {name: value for name, value in values.items() if name not in kind.model_fields}
        for _ in range(len(kind.model_fields)):
            with_rest = (
                {**fitting, "metadata": {**_dict(fitting.get("metadata")), **kept}}
                if "metadata" in kind.model_fields
                else fitting
            )
            try:
                return kind.model_validate(with_rest)
            except ValidationError as error:
                for name in {
                    str(problem["loc"][0])
                    for problem in error.errors(include_url=False)
                    if problem["loc"]
                } & set(values):
                    kept[name] = fitting.pop(name, None)
                    if name in blank:
                        fitting[name] = blank[name]
        return kind.model_validate(fitting)


def describe(raw: Mapping[str, Any]) -> Raw:
    """Their description of a network in the words of version 2.

    Derived values are derived anew, class names completed, and presets called by our names.
    """
    task = Task.of_description(raw)
    ours: Raw = {
        **{name: value for name, value in USUAL.items() if name != "z_strides"},
        "input_channels": 1,
    }
    for name, value in raw.items():
        if name in ours and isinstance(value, type(ours[name])):
            ours[name] = value
    preset = str(ours["preset"])
    ours["preset"] = preset.removesuffix("_2d").removesuffix("_3d")
    if preset.endswith("_3d"):
        ours["spatial_dims"] = "3d"
    return {
        **ours,
        "output_mode": task.mode,
        "num_classes": task.num_classes,
        "output_channels": {"binary": 1, "multiclass": task.num_classes, "instances": 3}[task.mode],
        "activation": "softmax" if task.mode == "multiclass" else "sigmoid",
        "loss": {
            "binary": "bce_dice",
            "multiclass": "cross_entropy_dice",
            "instances": "instance_distances",
        }[task.mode],
        "class_labels": task.class_labels,
    }


def _dicts(value: Any) -> list[Raw]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _dict(value: Any) -> Raw:
    return dict(value) if isinstance(value, dict) else {}


def _slashes(path: Any) -> str:
    return path.replace("\\", "/").removeprefix("./") if isinstance(path, str) else ""


def _after(ids: Any) -> int:
    numbers = [
        int(found[1])
        for found in (re.search(r"_(\d+)(?:_[0-9a-f]{8})?$", name) for name in ids)
        if found
    ]
    return max(numbers, default=0) + 1
