"""Verbs for training: ``plan``, ``train``, ``checkpoints``, ``import-weights``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from maskloop.cli.arguments import Folder, Json, Settings, Start, Target
from maskloop.cli.options import parser, read_settings, takes
from maskloop.cli.output import answer, say, show_facts, show_table, shown_path
from maskloop.cli.readers import read_duration, read_normalization, read_selection
from maskloop.cli.run_view import RunView
from maskloop.compute.project import Project
from maskloop.jobs.choices import backend_of
from maskloop.jobs.imports import import_weights as import_file
from maskloop.jobs.training import TrainJob
from maskloop.models.base import DEFAULT_BACKEND, Plan, backend, outline_of
from maskloop.project.ancestry import by_descent
from maskloop.project.layout import CheckpointRecord, ImportedModel
from maskloop.wording import local_time, time_in_words

__all__ = ["checkpoints", "import_weights", "plan", "show_checkpoints", "train"]

_BACKEND = backend(DEFAULT_BACKEND)
NOT_TYPED = ("augmentation", "save_every_s")
"""Fields of the recipe without an option: the window has a form for them."""
# The outputs follow from the project's task.
NETWORK = tuple(name for name in _BACKEND.Network.model_fields if name != "output_channels")
RECIPE = tuple(name for name in _BACKEND.Recipe.model_fields if name not in NOT_TYPED)
SCORES = ("dice", "iou", "f1", "ap50", "ap75")

Pairs = Annotated[
    Any,
    typer.Option(
        "--pairs",
        metavar="all|new|ID,...",
        parser=parser(read_selection),
        help=str(TrainJob.model_fields["pairs"].description),
    ),
]
_takes_recipe = takes(
    _BACKEND.Recipe,
    *RECIPE,
    names={"time_s": "--time", "patch_size": "--patch", "batch_size": "--batch"},
    readers={"time_s": read_duration, "normalization": read_normalization},
)


@_takes_recipe
def plan(
    folder: Folder,
    start: Start = "auto",
    settings: Settings = [],  # noqa: B006 - typer reads it, nobody changes it
    json: Json = False,
    **recipe: Any,
) -> None:
    """Show what a training on this data and machine would do, and why; nothing is changed."""
    project = Project.open(folder)
    recipe |= read_settings(backend_of(project).Recipe, settings)
    # No view of a run: planning takes a moment and changes nothing.
    made = project.plan(start=start, **recipe)
    answer(made, json, _show_plan)


@_takes_recipe
def train(
    folder: Folder,
    start: Start = "auto",
    pairs: Pairs = "all",
    target: Target = "inline",
    settings: Settings = [],  # noqa: B006 - typer reads it, nobody changes it
    json: Json = False,
    **recipe: Any,
) -> None:
    """Train a model and save it as a checkpoint.

    Ctrl-C stops the training and keeps the best model so far. The same command resumes a training
    that was interrupted.
    """
    project = Project.open(folder)
    recipe |= read_settings(backend_of(project).Recipe, settings)
    with RunView(to_stderr=json) as view:
        checkpoint = project.train(start=start, pairs=pairs, target=target, report=view, **recipe)
    answer(checkpoint, json, partial(_show_checkpoint, folder=project.folder))


def checkpoints(folder: Folder, json: Json = False) -> None:
    """List the checkpoints with their parents and scores."""
    answer(Project.open(folder).checkpoints.list(), json, show_checkpoints)


@takes(_BACKEND.Network, *NETWORK)
def import_weights(
    folder: Folder,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Weights as .pt, .pth or .safetensors; no code in the file is executed.",
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="Name of the model; by default that of the file.")
    ] = None,
    json: Json = False,
    **architecture: Any,
) -> None:
    """Import weights to start a training from.

    Describe the network where the file does not.
    """
    model = import_file(Project.open(folder), file, name=name, architecture=architecture)
    answer(model, json, partial(_show_model, folder=folder))


def _show_plan(plan: Plan) -> None:
    rows = [
        (one.name.replace("_", " "), one.value, one.reason, one.source) for one in plan.decisions
    ]
    show_table("Plan", ("setting", "value", "reason", "source"), rows)
    if plan.estimated_s is not None:
        # Where a time was given it ends the training; without one early stopping may come first.
        limit = "" if plan.time_s else "at most about "
        say(f"Training takes {limit}{time_in_words(plan.estimated_s)}.")


def _show_checkpoint(checkpoint: CheckpointRecord, folder: Path) -> None:
    """A training that has just ended."""
    facts = {
        "checkpoint": checkpoint.checkpoint_id,
        "trained from": checkpoint.parent_checkpoint_id or "scratch",
        "images": checkpoint.number_of_images,
        "stopped by": checkpoint.metrics.get("stopped"),
        "epochs": checkpoint.metrics.get("epochs"),
        "best epoch": checkpoint.metrics.get("best_epoch"),
        "scores": checkpoint.benchmark_summary,
        "file": shown_path(folder / checkpoint.checkpoint_path),
    }
    show_facts("Trained", facts)
    say(f"Next: maskloop predict {shown_path(folder)} NEW_IMAGES")


def show_checkpoints(checkpoints: Sequence[CheckpointRecord]) -> None:
    """All checkpoints, each below the one it was trained from, the oldest first."""
    # A project has the scores of its mode: columns for the others would stay empty.
    scores = [
        name for name in SCORES if any(_scores(one).get(name) is not None for one in checkpoints)
    ]
    columns = ("checkpoint", "parent", "images", "epochs", *scores, "created", "note")
    rows = [_checkpoint_row(one, depth, scores) for one, depth in by_descent(checkpoints)]
    show_table("Checkpoints", columns, rows, empty="none yet")


def _checkpoint_row(one: CheckpointRecord, depth: int, scores: Sequence[str]) -> tuple[Any, ...]:
    imported = one.starting_weights.get("imported_model_id")
    # ASCII: terminals on Windows may not have box-drawing characters.
    indent = "  " * (depth - 1) + "`-" if depth else ""
    return (
        indent + one.checkpoint_id,
        one.parent_checkpoint_id or imported or "scratch",
        one.number_of_images,
        one.metrics.get("epochs"),
        *(_scores(one).get(name) for name in scores),
        local_time(one.timestamp),
        one.note,
    )


def _scores(checkpoint: CheckpointRecord) -> Mapping[str, Any]:
    # Projects of napari-training-assistant keep their scores under the first name alone.
    return {**checkpoint.dice_iou_metrics, **checkpoint.metrics}


def _show_model(model: ImportedModel, folder: Path) -> None:
    """Weights that were just imported."""
    facts = {
        "model": model.model_id,
        "name": model.model_name,
        "network": outline_of(model.backend, model.network).title,
        "file": model.model_path,
    }
    show_facts("Imported", facts)
    say(f"Next: maskloop train {shown_path(folder)} --from {model.model_id}")
