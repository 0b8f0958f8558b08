"""Checkpoints, registered in an order that stays consistent after a kill at any instruction.

The weights come first, then ``checkpoints.json``; from there on the checkpoint exists. What follows
(``latest.pt``, the run history, the benchmark table, the log, the pairs' ``used_in_checkpoints``,
the settings) repeats it elsewhere and is completed from ``checkpoints.json`` at the next write.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from maskloop.errors import ProjectError
from maskloop.project import paths
from maskloop.project.dataset import Dataset
from maskloop.project.entries import CheckpointRecord, Content, Pair, PairVersion
from maskloop.project.fields import now
from maskloop.project.folder import Folder
from maskloop.project.history import History
from maskloop.project.inventory import CHECKPOINTS
from maskloop.project.kept import Kept
from maskloop.project.settings import Settings
from maskloop.project.store import changed, copy_file, file_sha256, place_file
from maskloop.records import jsonable
from maskloop.task import Task

__all__ = ["CheckpointList"]

AnyVersion = TypeVar("AnyVersion", Pair, PairVersion)


class CheckpointList:
    """Registers checkpoints and finds them.

    Never reads weights: `maskloop.models` does.
    """

    def __init__(
        self, folder: Folder, settings: Settings, dataset: Dataset, history: History
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._dataset = dataset
        self._history = history
        self._kept = Kept(folder, CHECKPOINTS)

    def list(self) -> Sequence[CheckpointRecord]:
        """All checkpoints, the oldest first."""
        return self._kept.entries()

    @property
    def latest(self) -> CheckpointRecord | None:
        """The checkpoint registered last, or None."""
        checkpoints = self.list()
        return checkpoints[-1] if checkpoints else None

    def get(self, checkpoint_id: str) -> CheckpointRecord:
        """The checkpoint with this id; ``"latest"`` is the last one.

        Raises
        ------
        NotFound
            If there is none.
        """
        if checkpoint_id == "latest" and self.latest is not None:
            return self.latest
        return self._kept.get(checkpoint_id)

    def path(self, checkpoint_id: str) -> Path:
        """The file of a checkpoint.

        Raises
        ------
        ProjectError
            If it is missing.
        """
        return self._kept.path(self.get(checkpoint_id).checkpoint_id)

    def note(self, checkpoint_id: str, text: str) -> CheckpointRecord:
        """Write a note on a checkpoint."""
        with self._folder.writing("note on a checkpoint"):
            return self._kept.change(checkpoint_id, note=text)

    def register(
        self,
        weights_file: Path,
        *,
        run_id: str,
        parent: str | None = None,
        training_mode: str = "scratch",
        pair_ids: Sequence[str] = (),
        contents: Mapping[str, Content] | None = None,
        number_of_images: int = 0,
        number_of_patches: int = 0,
        split: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
        backend: str = "basic_unet",
        prefix: str = "unet_run",
        task: Task | None = None,
        network: Mapping[str, Any] | None = None,
        starting_weights: Mapping[str, Any] | None = None,
        plan: Mapping[str, Any] | None = None,
        summary: Mapping[str, Any] | None = None,
        versions: Mapping[str, str] | None = None,
        seed: int | None = None,
        benchmark_summary: str = "",
        metadata: Mapping[str, Any] | None = None,
    ) -> CheckpointRecord:
        """Register a finished training as a checkpoint.

        A run has one checkpoint: asked again after a kill, the same one is returned.

        Parameters
        ----------
        weights_file
            A whole, self-describing file, usually in the run's folder; it becomes the checkpoint
            and is gone afterwards.
        run_id
            The run that trained it.
        parent
            The checkpoint it was continued from.
        training_mode
            scratch, continue_from_latest, continue_from_selected, imported.
        pair_ids
            Pairs that were trained on.
        contents
            Image and mask of these pairs as the training saw them; by default as they are now. A
            pair that was replaced meanwhile counts as new.
        metrics
            Figures of the best epoch: loss, val_loss, dice, iou and any others.
        backend, prefix
            The family of models, and how the name of the checkpoint begins.
        task, network, starting_weights, plan, summary, versions, seed
            What was built, for what, from what, how, with which libraries.

        Raises
        ------
        ProjectError
            If the weights are missing or the folder cannot be written.
        """
        with self._folder.writing("register a checkpoint"):
            # A kill after the registration, before the run noted it: the run resumes and asks
            # again.
            for known in self.list():
                if run_id and known.run_id == run_id:
                    weights_file.unlink(missing_ok=True)
                    return known
            # Pairs may be replaced while a training runs for hours: what it saw is what counts.
            seen = contents or {}
            if contents is None:
                seen = {pair_id: self._dataset.get(pair_id).content for pair_id in pair_ids}
            facts = {
                "run_id": run_id,
                "parent_checkpoint_id": parent,
                "training_mode": training_mode,
                "dataset_pair_ids_used": tuple(pair_ids),
                "number_of_images": number_of_images,
                "number_of_patches": number_of_patches,
                "train_validation_split": jsonable(dict(split or {})),
                "backend": backend,
                "task": task,
                "network": jsonable(dict(network or {})),
                "starting_weights": jsonable(dict(starting_weights or {})),
                "plan": jsonable(dict(plan or {})),
                "architecture_summary": jsonable(dict(summary or {})),
                "versions": dict(versions or {}),
                "seed": seed,
                "benchmark_summary": benchmark_summary,
                "metadata": jsonable(dict(metadata or {})),
                "classes": {} if task is None else task.class_labels,
                "dataset_pixel_hashes": {pair_id: pixels for pair_id, (pixels, _) in seen.items()},
                "dataset_mask_hashes": {pair_id: mask for pair_id, (_, mask) in seen.items()},
                **_figures(metrics or {}),
            }
            record = self._add(weights_file, prefix, facts)
            self.follow()
            weights_file.unlink(missing_ok=True)
            return record

    def _add(self, weights_file: Path, prefix: str, facts: Mapping[str, Any]) -> CheckpointRecord:
        number = self._kept.next_number
        # An orphan of a killed registration keeps its name, unless it is this very file.
        ending = weights_file.suffix
        while (
            target := self._folder.path(f"checkpoints/{prefix}_{number:03d}{ending}")
        ).exists() and not target.samefile(weights_file):
            number += 1
        # Hashed before it is placed: what is registered is what was trained.
        digest = file_sha256(weights_file)
        place_file(weights_file, target)
        record = CheckpointRecord.model_validate(
            {
                "checkpoint_id": target.stem,
                "checkpoint_path": f"checkpoints/{target.name}",
                "timestamp": now(),
                "sha256": digest,
                **facts,
            }
        )
        self._kept.add([record], next_number=number + 1)
        return record

    def follow(self) -> None:
        """Complete what repeats the checkpoints elsewhere.

        The settings are updated last: they name the latest checkpoint when all is complete.
        """
        latest = self.latest
        if latest is None:
            return
        steps = (self._move_latest, self._complete_pairs, self._history.complete)
        # The order matters little; that the settings come after all of them does.
        for step in steps:
            # A damaged follower must not cost a finished training; `check` reports it.
            with contextlib.suppress(ProjectError):
                step(self.list())
        with contextlib.suppress(ProjectError):
            self._settings.update(
                latest_checkpoint_id=latest.checkpoint_id,
                latest_checkpoint_path=latest.checkpoint_path,
            )

    def is_followed(self) -> bool:
        """Whether the settings name the latest checkpoint, which happens last of all."""
        latest = self.latest
        return latest is None or self._settings.read().latest_checkpoint_id == latest.checkpoint_id

    def _move_latest(self, checkpoints: Sequence[CheckpointRecord]) -> None:
        target = self._folder.path(paths.LATEST)
        # Of a backend with files of another kind there is no copy: latest.pt stays that of the
        # latest .pt file.
        alike = [one for one in checkpoints if one.checkpoint_path.endswith(target.suffix)]
        if not alike:
            return
        weights = self._folder.path(alike[-1].checkpoint_path)
        # A copy and no second name: whoever writes over latest.pt must not reach the checkpoint.
        if weights.is_file() and not (target.is_file() and file_sha256(target) == alike[-1].sha256):
            copy_file(weights, target)

    def _complete_pairs(self, checkpoints: Sequence[CheckpointRecord]) -> None:
        used: dict[tuple[str, ...], list[str]] = {}
        for record in checkpoints:
            for pair_id, pixels in record.dataset_pixel_hashes.items():
                mask = record.dataset_mask_hashes.get(pair_id)
                # Older checkpoints do not say which mask they were trained on.
                key = (pair_id, pixels) if mask is None else (pair_id, pixels, mask)
                used.setdefault(key, []).append(record.checkpoint_id)
        self._dataset.change("note which pairs were used", lambda pair: _marked(pair, used))


def _marked(pair: Pair, used: Mapping[tuple[str, ...], Sequence[str]]) -> Pair:
    """The pair with the checkpoints that were trained on it, and on each version before."""
    history = tuple(
        _with_used(version, used.get((pair.pair_id, *version.content), ()))
        for version in pair.history
    )
    # A pair that was replaced after the training counts as new.
    former = {name for version in history for name in version.used_in_checkpoints}
    by_pixels = used.get((pair.pair_id, pair.pixels_sha256), ())
    names = [name for name in by_pixels if name not in former]
    marked = _with_used(pair, [*names, *used.get((pair.pair_id, *pair.content), ())])
    return marked if history == pair.history else changed(marked, history=history)


def _with_used(version: AnyVersion, names: Sequence[str]) -> AnyVersion:
    used = tuple(dict.fromkeys((*version.used_in_checkpoints, *names)))
    # The same object: `Dataset.change` writes only where an object is another one.
    if used == version.used_in_checkpoints:
        return version
    return changed(version, used_in_checkpoints=used)


def _figures(metrics: Mapping[str, Any]) -> dict[str, Any]:
    def pick(*names: str) -> dict[str, float | None]:
        return {name: metrics.get(name) for name in names}

    return {
        "loss_metrics": pick("loss", "val_loss"),
        "dice_iou_metrics": pick("dice", "iou"),
        "metrics": jsonable(dict(metrics)),
    }
