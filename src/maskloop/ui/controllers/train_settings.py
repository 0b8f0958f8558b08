"""What a person chose for the next training, and how the project keeps it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import ValidationError

from maskloop.compute.project import Project
from maskloop.errors import MaskloopError
from maskloop.models.base import DEFAULT_BACKEND, Recipe, kinds
from maskloop.ui.snapshot import Snapshot

__all__ = ["ALL", "NEW", "SettingsKeeper", "TrainSettings", "kept_settings"]

ALL: Literal["all"] = "all"
NEW: Literal["new"] = "new"
SOURCES = {ALL: "all_accepted_pairs", NEW: "new_accepted_pairs"}
"""What the project's settings call the pairs that are trained on."""
MODES = {
    "scratch": "train_from_scratch",
    "latest_project_checkpoint": "continue_from_latest",
    "selected_project_checkpoint": "continue_from_selected",
    "imported_pretrained_unet": "continue_from_imported",
}
"""Training mode in the project's settings, for each kind of starting weights."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainSettings:
    """Start, pairs and choices as they are kept; pairs selected in a table are not kept."""

    start: str = "latest"
    """scratch, latest, or the id of a checkpoint or of imported weights."""
    pairs: Literal["all", "new"] = ALL
    choices: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `kind`, as values."""
    backend: str = DEFAULT_BACKEND

    @property
    def kind(self) -> type[Recipe]:
        """The choices about a training that the project's backend takes."""
        return kinds(self.backend)[1]

    def with_(self, **changes: Any) -> TrainSettings:
        """The same with something changed."""
        return replace(self, **changes)

    def changed(self, values: Mapping[str, Any]) -> TrainSettings:
        """The same with other values of the recipe; None and a recipe's default are no choice."""
        usual = self.kind()
        # None is how a form says "planned".
        wanted = {
            name: value for name, value in {**self.choices, **values}.items() if value is not None
        }
        recipe = self.kind.model_validate(wanted)
        return self.with_(
            # A default is not kept: it would count as set by the person, and stay if it ever
            # changes.
            choices={
                name: found
                for name in wanted
                if (found := getattr(recipe, name)) != getattr(usual, name)
            }
        )

    def merged(self, before: TrainSettings, now: TrainSettings) -> TrainSettings:
        """What is kept now, except for what was changed here since."""
        return TrainSettings(
            # Field by field: two windows may each have changed another one.
            start=now.start if self.start == before.start else self.start,
            pairs=now.pairs if self.pairs == before.pairs else self.pairs,
            choices=now.choices if self.choices == before.choices else self.choices,
            backend=now.backend,
        )


def kept_settings(snapshot: Snapshot) -> TrainSettings:
    """What the project keeps; values that no recipe can have are left out."""
    start, config = snapshot.start, snapshot.config
    chosen = {
        "selected_project_checkpoint": start.checkpoint_id,
        "imported_pretrained_unet": start.imported_model_id,
        "scratch": "scratch",
    }
    settings = TrainSettings(start=chosen.get(start.mode) or "latest", backend=snapshot.backend)
    if config is None:
        return settings
    pairs = NEW if config.default_dataset_source == SOURCES[NEW] else ALL
    return settings.with_(pairs=pairs, choices=_readable(settings.kind, config.training_choices))


def _readable(kind: type[Recipe], values: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        try:
            # One by one: a single value of another version must not cost the others.
            found[name] = getattr(kind.model_validate({name: value}), name)
        except ValidationError:
            continue  # kept by another version of maskloop: it is planned again
    return found


class SettingsKeeper:
    """Writes the newest settings into one project; of two concurrent writes the newer wins.

    Parameters
    ----------
    project
        Keeps them.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.newest = TrainSettings()
        self._lock = threading.Lock()

    def keep(self) -> None:
        """Write the newest settings; may be called in any thread."""
        # The newest is read under the lock: a thread that had to wait writes what is newest then.
        with self._lock:
            _write(self.project, self.newest)

    def keep_for_good(self) -> None:
        """The same when nobody can be told any more that it failed."""
        try:
            self.keep()
        except MaskloopError:
            # The folder may be gone or read-only.
            log.warning(
                "The training settings of %s could not be kept.", self.project.folder, exc_info=True
            )


def _write(project: Project, settings: TrainSettings) -> None:
    # All of them, so that no id of an earlier choice is left beside the new mode.
    start: dict[str, Any] = {
        "mode": "latest_project_checkpoint",
        "checkpoint_id": None,
        "imported_model_id": None,
        "imported_model_path": None,
    }
    if settings.start == "scratch":
        start["mode"] = "scratch"
    elif settings.start in {model.model_id for model in project.weights.list()}:
        path = project.weights.get(settings.start).model_path
        start |= {
            "mode": "imported_pretrained_unet",
            "imported_model_id": settings.start,
            "imported_model_path": path,
        }
    elif settings.start != "latest":
        start |= {"mode": "selected_project_checkpoint", "checkpoint_id": settings.start}
    values = {
        "default_training_mode": MODES[start["mode"]],
        "default_dataset_source": SOURCES[settings.pairs],
        "training_choices": settings.kind.model_validate(dict(settings.choices)).model_dump(
            mode="json", include=set(settings.choices)
        ),
    }
    present = project.config
    with project.writing("keep the training settings"):
        # Unchanged values are not written: each write would have every other window read again.
        if project.weights.start.model_copy(update=start) != project.weights.start:
            project.weights.set_start(**start)
        if any(getattr(present, name) != value for name, value in values.items()):
            project.update_config(**values)
