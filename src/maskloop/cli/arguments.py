"""Arguments and options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from maskloop.cli.options import field_reader, parser
from maskloop.cli.readers import read_names
from maskloop.jobs.training import TrainJob
from maskloop.task import Task

__all__ = [
    "Axes",
    "Classes",
    "Folder",
    "Json",
    "MaskSuffix",
    "ModeName",
    "Start",
    "Target",
    "Settings",
]

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The project folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON only, for scripts.")]
Start = Annotated[
    str,
    typer.Option(
        "--from",
        metavar="scratch|latest|ID",
        help=str(TrainJob.model_fields["start"].description),
    ),
]
Target = Annotated[
    str,
    typer.Option(
        "--target",
        metavar="PLACE",
        help="Where to run it: inline (in this process), process (in a child process), or a place "
        "that an installed plug-in offers, such as a queue.",
    ),
]
# Options are made of the usual backend's fields; those of a plug-in's are known only at run time.
Settings = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any setting of the project's backend; may be given several times.",
    ),
]
ModeName = Annotated[
    Any,
    typer.Option(
        "--mode",
        metavar="binary|multiclass|instances",
        # Not an enumeration: typer would refuse a value in its own words, not in the record's.
        parser=parser(field_reader(Task, "mode")),
        help="What to segment: foreground and background (binary), several classes (multiclass) "
        "or individual objects (instances).",
    ),
]
Classes = Annotated[
    Any,
    typer.Option(
        "--classes",
        metavar="A,B,...",
        parser=parser(read_names),
        help="Names of the classes; background is implied.",
    ),
]
Axes = Annotated[
    str | None,
    typer.Option(
        metavar="AXES",
        help="Axes of the files whose metadata does not name them, such as ZYX.",
    ),
]
MaskSuffix = Annotated[
    str,
    typer.Option(
        metavar="SUFFIX",
        help="What follows the image's name in the name of its mask, such as _mask.",
    ),
]
