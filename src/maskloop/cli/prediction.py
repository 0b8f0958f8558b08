"""The verb ``predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from maskloop.cli.arguments import Folder, Json, Target
from maskloop.cli.options import takes
from maskloop.cli.output import answer, finish, say, shown_path
from maskloop.cli.run_view import RunView
from maskloop.compute.project import Project
from maskloop.jobs.prediction import PredictJob
from maskloop.wording import counted

__all__ = ["predict"]


@takes(
    PredictJob, "checkpoint", "axes", "mirror", "probabilities", "device", names={"mirror": "--tta"}
)
def predict(
    folder: Folder,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Image files, folders or patterns: TIFF, OME-TIFF, PNG, JPEG, NPY.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help=str(PredictJob.model_fields["out"].description)),
    ] = None,
    target: Target = "inline",
    json: Json = False,
    **choices: Any,
) -> None:
    """Segment new images with a checkpoint."""
    # Jobs are written as JSON, in which paths are texts.
    place = None if out is None else str(out)
    with RunView(to_stderr=json) as view:
        result = Project.open(folder).predict(
            *inputs, out=place, target=target, report=view, **choices
        )
    answer(result, json, _show)
    # Some images failed: the others are written, but a script has to know.
    finish(ok=not result["failed"])


def _show(result: dict[str, Any]) -> None:
    """What was written; what failed was told as it happened."""
    for path in result["written"]:
        say(shown_path(path))
    predicted = counted(len(result["written"]), "image")
    say(f"{predicted} predicted with {result['checkpoint_id']}, {len(result['failed'])} failed.")
