"""What a person chose for a project, as the records of its backend, and the weights to start from.

Loads no learning library: a window that only writes a job needs none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from maskloop.errors import UsageError
from maskloop.images.normalize import Normalization
from maskloop.models.base import Architecture, Augmentation, Backend, Recipe, Start, backend
from maskloop.project.entries import CheckpointRecord, ImportedModel
from maskloop.project.project import ProjectFolder
from maskloop.wording import fault_in_words

__all__ = ["backend_of", "choices_of", "find_start", "recipe_of", "start_from"]


def backend_of(project: ProjectFolder) -> Backend:
    """The family of models that a project trains.

    Raises
    ------
    NotFound, BrokenPlugin
        If it is not installed, or cannot be imported.
    """
    return backend(str(project.architecture["backend"]))


def choices_of(project: ProjectFolder) -> Architecture:
    """What a person chose about the model.

    Raises
    ------
    UsageError
        If the project keeps something that is no such choice.
    """
    values = {name: value for name, value in project.architecture.items() if name != "backend"}
    try:
        return backend_of(project).Architecture.model_validate(values)
    except ValidationError as error:
        raise UsageError(
            f"The project's choices about the model do not fit: {fault_in_words(error)}",
            "Change the architecture, or create a new project.",
        ) from None


def recipe_of(project: ProjectFolder, recipe: Recipe) -> Recipe:
    """The choices of a job; what they leave open comes from the project's settings.

    Raises
    ------
    UsageError
        If a setting does not fit.
    """
    config, kind = project.config, type(recipe)
    kept: dict[str, Any] = {
        "epochs": config.epochs if recipe.time_s is None else None,
        "batch_size": config.batch_size,
        "learning_rate": config.learning_rate,
        # One length in the settings; a plan makes a square or a cube of it.
        "patch_size": None if config.patch_size is None else (config.patch_size,),
        "validation_share": config.validation_split,
    }
    # The settings always hold a mode: the usual one is no choice, and the plan may decide.
    if config.normalization_mode != Normalization().mode:
        kept["normalization"] = {"mode": config.normalization_mode}
    if config.augmentation_settings:
        kept["augmentation"] = _switches(config.augmentation_settings)
    # A backend of a plug-in takes fewer settings; the others are not for it.
    known = {name: kept[name] for name in kept if name in kind.model_fields}
    chosen = {name: getattr(recipe, name) for name in kind.model_fields}
    merged = known | {name: value for name, value in chosen.items() if value is not None}
    try:
        # Validated once more: the project's settings may have been edited by hand.
        return kind.model_validate({k: v for k, v in merged.items() if v is not None})
    except ValidationError as error:
        raise UsageError(
            f"A setting of the project does not fit: {fault_in_words(error)}",
            "Choose a value for this training, or change the setting.",
        ) from None


def _switches(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Augmentation as the settings keep it: a number, or a switch for the usual strength."""
    usual = Augmentation()
    values = dict(settings)
    for name, value in settings.items():
        strength = getattr(usual, name, None)
        # Older projects keep a switch where a strength is needed now.
        if isinstance(value, bool) and isinstance(strength, float):
            values[name] = strength if value else 0
    if 90 not in list(settings.get("rotation_degrees", (90,))):
        values.setdefault("free_rotation", False)
    return values


def find_start(project: ProjectFolder, name: str) -> tuple[Start | None, dict[str, Any]]:
    """The weights that a training starts from, and how its record tells it.

    Parameters
    ----------
    project
        Whose checkpoints and imported weights are offered.
    name
        ``scratch``, ``latest``, ``auto`` (latest where there is one), or an id.

    Raises
    ------
    UsageError
        If there is no checkpoint yet.
    NotFound
        If there are no weights of this id.
    """
    latest = project.checkpoints.latest
    if name == "auto":
        name = "scratch" if latest is None else "latest"
    if name == "scratch":
        return None, {"training_mode": "train_from_scratch"}
    if name == "latest" and latest is None:
        raise UsageError(
            "This project has no checkpoint to continue from.",
            "Train from scratch first (--from scratch).",
        )
    # Looked up before checkpoints, whose lookup refuses a name it does not know.
    imported = {model.model_id: model for model in project.weights.list()}
    if name in imported:
        origin = {"training_mode": "continue_from_imported", "imported_model": name}
        return start_from(project, imported[name]), origin
    record = latest if name == "latest" and latest is not None else project.checkpoints.get(name)
    mode = "continue_from_latest" if name == "latest" else "continue_from_selected"
    origin = {"training_mode": mode, "parent": record.checkpoint_id}
    return start_from(project, record), origin


def start_from(project: ProjectFolder, record: CheckpointRecord | ImportedModel) -> Start:
    """A checkpoint or imported weights as a training starts from them."""
    if isinstance(record, CheckpointRecord):
        name, path = record.checkpoint_id, record.checkpoint_path
    else:
        name, path = record.model_id, record.model_path
    return Start(name, project.path(path), record.backend, record.network, record.task)
