"""Verbs for a project as a whole: ``new``, ``status``, ``check``, ``upgrade``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from maskloop.cli.arguments import Classes, Folder, Json, ModeName, Settings
from maskloop.cli.options import read_settings, takes
from maskloop.cli.output import (
    answer,
    finish,
    say,
    say_problem,
    show_facts,
    show_table,
    shown_path,
)
from maskloop.cli.run_view import RunView
from maskloop.compute.project import Project
from maskloop.models.base import DEFAULT_BACKEND, backend, kinds
from maskloop.project.check import CheckReport
from maskloop.project.check import check as check_files
from maskloop.project.layout import Pair
from maskloop.project.repair import RepairReport
from maskloop.project.repair import repair as repair_files
from maskloop.project.status import Status
from maskloop.project.upgrade import UpgradeReport
from maskloop.project.upgrade import upgrade as upgrade_folder
from maskloop.wording import counted

__all__ = ["check", "new", "status", "upgrade"]


# When the module is loaded, because typer reads a verb's options before anything was typed.
ARCHITECTURE, _ = kinds(DEFAULT_BACKEND)


@takes(ARCHITECTURE, *ARCHITECTURE.model_fields)
def new(
    folder: Folder,
    mode: ModeName = "binary",
    classes: Classes = None,
    family: Annotated[
        str, typer.Option("--backend", help="Family of models; 'maskloop plugins' lists them.")
    ] = DEFAULT_BACKEND,
    settings: Settings = [],  # noqa: B006 - typer reads it, nobody changes it
    json: Json = False,
    **architecture: Any,
) -> None:
    """Create a new, empty project."""
    # After the options, so that --set wins where both name a field.
    architecture |= read_settings(backend(family).Architecture, settings)
    architecture = {"backend": family, **architecture}
    project = Project.create(folder, mode=mode, classes=classes, architecture=architecture)
    answer(project.status(), json, _show_status)


def status(
    folder: Folder,
    pairs: Annotated[bool, typer.Option("--pairs", help="List the pairs as well.")] = False,
    json: Json = False,
) -> None:
    """Show the state of the project: pairs, checkpoints, predictions and problems."""
    project = Project.open(folder)
    found = project.status()
    # Ten thousand pairs are read only for those who want to see them.
    if not pairs:
        answer(found, json, _show_status)
        return
    listed = project.dataset.all_pairs
    facts = {**found.model_dump(), "pairs": listed}
    answer(facts if json else found, json, partial(_show_status, pairs=listed))


def check(
    folder: Folder,
    repair: Annotated[
        bool, typer.Option("--repair", help="Repair what can be repaired; nothing is deleted.")
    ] = False,
    json: Json = False,
) -> None:
    """Compare every file with its record; report missing, changed and orphaned files."""
    project = Project.open(folder)
    with RunView(to_stderr=json) as view:
        # A repair ends with a check of its own: two would read every file twice.
        repaired = repair_files(project, report=view) if repair else None
        found = repaired.left if repaired else check_files(project, report=view)
    # First in the JSON, since it is what a script asks for.
    facts = {
        "is_sound": found.is_sound,
        **found.model_dump(),
        "repaired": repaired.repaired if repaired else (),
    }
    answer(facts if json else found, json, partial(_show_check, repaired=repaired))
    finish(ok=found.is_sound)


def upgrade(
    folder: Folder,
    task: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Task to take from a folder with several tasks; by default the active one.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="NEW", help="New folder for the upgraded project; the old one is not changed."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Upgrade a project of napari-training-assistant; the original records are kept."""
    with RunView(to_stderr=json) as view:
        done = upgrade_folder(folder, task=task, out=out, report=view)
    answer(done, json, _show_upgrade)


def _show_status(status: Status, pairs: Sequence[Pair] | None = None) -> None:
    facts = status.model_dump(exclude={"name", "warnings"})
    show_facts(status.name, {name.replace("_", " "): value for name, value in facts.items()})
    if pairs is not None:
        columns = ("pair", "name", "axes", "shape", "state", "group", "split", "checkpoints")
        show_table("Pairs", columns, [_pair_row(pair) for pair in pairs])
    for warning in status.warnings:
        # A status is a record, so its warnings are texts: the form of a MaskloopError.
        problem, _, way_out = warning.partition("\n  -> ")
        say_problem(problem, way_out)
    # Only there is the next step certain.
    if status.state == "empty":
        say(f"Next: maskloop add {shown_path(status.folder)} --images IMAGES --masks MASKS")


def _pair_row(pair: Pair) -> tuple[Any, ...]:
    return (
        pair.pair_id,
        pair.name,
        pair.axes,
        " x ".join(map(str, pair.shape)),
        pair.state,
        pair.group,
        pair.split,
        len(pair.used_in_checkpoints),
    )


def _show_check(report: CheckReport, repaired: RepairReport | None) -> None:
    for line in repaired.repaired if repaired else ():
        say(f"Repaired: {line}")
    problems = counted(len(report.problems), "problem")
    say(f"{counted(report.files_checked, 'file')} checked, {problems} found.")
    for problem in report.problems:
        say_problem(f"{problem.path}: {problem.kind}: {problem.problem}", problem.way_out)
    if report.is_sound:
        say("All accepted files are present and unchanged.")


def _show_upgrade(report: UpgradeReport) -> None:
    facts = report.model_dump(exclude={"was_needed", "warnings"})
    show_facts(
        "Upgraded" if report.was_needed else "Nothing to upgrade",
        {name.replace("_", " "): value for name, value in facts.items()},
    )
    for warning in report.warnings:
        say(f"Warning: {warning}")
