"""Verbs for the pairs of a project: ``add`` and ``remove``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from maskloop.cli.arguments import Axes, Folder, Json, MaskSuffix
from maskloop.cli.options import parser, takes
from maskloop.cli.output import answer, finish, say, say_problem, show_table
from maskloop.cli.readers import mask_rule, read_label_map, read_pixel_size
from maskloop.compute.project import Project
from maskloop.images.masks import MaskRule
from maskloop.jobs.imports import add_pairs, remove_pairs
from maskloop.project.imports import ImportReport
from maskloop.wording import counted

__all__ = ["add", "remove"]


@takes(
    MaskRule,
    "mask_mode",
    "label_map",
    "threshold",
    "ignore",
    "allow_empty",
    names={"label_map": "--map"},
    readers={"label_map": read_label_map},
)
def add(
    folder: Folder,
    images: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of images.")] = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of masks with the same file names (with --replace: the corrected mask).",
        ),
    ] = None,
    mask_suffix: MaskSuffix = "",
    pairs: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE.CSV",
            help="Table with the columns image and mask, instead of two folders.",
        ),
    ] = None,
    axes: Axes = None,
    pixel_size: Annotated[
        Any,
        typer.Option(
            metavar="Z,Y,X",
            parser=parser(read_pixel_size),
            help="Pixel size in micrometers; overrides the file metadata.",
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="folder|file|PATTERN",
            help="Pairs to keep together on one side of the validation split: those of a folder, "
            "of a file, or those whose names agree in the parentheses of a pattern such as "
            "'(.+)_z'. Default: stacks, movies and near-duplicates.",
        ),
    ] = None,
    replace: Annotated[
        str | None,
        typer.Option(
            metavar="PAIR",
            help="Replace the mask of this pair by the corrected one (--masks FILE).",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check all files and write nothing.")
    ] = False,
    json: Json = False,
    **rule: Any,
) -> None:
    """Add images with their masks to the project."""
    project = Project.open(folder)
    report = add_pairs(
        project,
        images,
        masks,
        mask_suffix=mask_suffix,
        table=pairs,
        axes=axes,
        group_by=group,
        replace=replace,
        dry_run=dry_run,
        rule=mask_rule(rule, project.dataset.usual_rule),
        # Apart from the rule: it holds with the project's own rule too.
        allow_empty=bool(rule.get("allow_empty")),
        pixel_size_um=pixel_size,
    )
    answer(report, json, _show_import)
    # Refused pairs end with code 1, although others were accepted: a script must notice them.
    finish(ok=not report.refused)


def remove(
    folder: Folder,
    pairs: Annotated[
        list[str],
        typer.Argument(
            metavar="PAIR...", help="Ids of pairs, as listed by 'maskloop status DIR --pairs'."
        ),
    ],
    restore: Annotated[bool, typer.Option("--restore", help="Restore removed pairs.")] = False,
    purge: Annotated[
        bool,
        typer.Option(
            "--purge", help="Delete the pairs and all their files. This cannot be undone."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Confirm the deletion.")] = False,
    json: Json = False,
) -> None:
    """Exclude pairs from future trainings; their files are kept unless you add --purge."""
    changed = remove_pairs(Project.open(folder), pairs, restore=restore, purge=purge, is_sure=yes)
    answer(changed, json, lambda states: show_table("Changed", ("pair", "state"), states.items()))


def _show_import(report: ImportReport) -> None:
    """What was accepted, and what was not and why."""
    verb = "would be accepted" if report.dry_run else "accepted"
    accepted = counted(len(report.accepted), "pair")
    say(f"{accepted} {verb}, {counted(len(report.refused), 'file')} refused.")
    # The real thing lists only what was refused; a dry run is there to be read.
    if report.dry_run:
        show_table("Pairs", ("image", "mask"), [(one.image, one.mask) for one in report.accepted])
    # Doubts about accepted masks are told in any case, also without a dry run.
    for note, files in _grouped(
        (note, one.mask or one.image) for one in report.accepted for note in one.notes
    ):
        say(f"{_some(files)}: {note}")
    for note in report.notes:
        say(note)
    # What to do is said once for all files that need it, not below each of a thousand.
    for way_out, problems in _grouped(
        (one.way_out, f"{one.image or one.mask}: {one.problem}") for one in report.refused
    ):
        say_problem("\n".join(problems), way_out)


def _grouped(pairs: Iterable[tuple[str, str]]) -> Iterable[tuple[str, list[str]]]:
    """Second texts by the first, in the order in which they come."""
    groups: dict[str, list[str]] = {}
    for key, text in pairs:
        groups.setdefault(key, []).append(text)
    return groups.items()


def _some(files: Sequence[str], most: int = 3) -> str:
    """Such as ``a.tif, b.tif, c.tif and 7 more``."""
    more = f" and {len(files) - most} more" if len(files) > most else ""
    return ", ".join(files[:most]) + more
