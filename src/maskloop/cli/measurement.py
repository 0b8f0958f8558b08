"""The verbs ``measure`` and ``trace``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from maskloop.cli.arguments import Json, ModeName
from maskloop.cli.options import takes
from maskloop.cli.output import answer, finish, say, show_table, shown_path
from maskloop.cli.readers import read_pixel_size, read_settings
from maskloop.cli.run_view import RunView
from maskloop.compute.project import Project
from maskloop.errors import UsageError
from maskloop.jobs.measurement import MeasureJob, measure_labels
from maskloop.jobs.trace import Link, trace_row
from maskloop.project.layout import is_project

__all__ = ["measure", "trace"]


@takes(
    MeasureJob,
    "predictions",
    "labels_only",
    "measurements",
    "by_plane",
    "axes",
    "plugins",
    "pixel_size_um",
    names={"plugins": "--plugin", "pixel_size_um": "--pixel-size"},
    readers={"pixel_size_um": read_pixel_size},
)
def measure(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR",
            help="A project, to measure its predictions, or a folder of labels.",
        ),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(metavar="DIR", help="Labels to measure: a folder, a file or a pattern."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the images that the labels belong to.",
        ),
    ] = None,
    mode: ModeName = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="MEASUREMENT.SETTING=VALUE",
            help="Change a setting, such as background.radius_px=20 or "
            "intensity.percentiles=10,90; can be repeated.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="TABLE", help=str(MeasureJob.model_fields["out"].description)),
    ] = None,
    json: Json = False,
    **choices: Any,
) -> None:
    """Measure objects into a table: size, shape, intensity, background, neighbors.

    Of the predictions of a project (maskloop measure DIR) or of any labels (maskloop measure
    --labels DIR --images DIR --out table.csv).
    """
    # Apart from the other options: the fields of a measurement's settings are known to it alone.
    choices["settings"] = read_settings(settings or ())
    given = list(labels or ())
    # The first argument may be either, because people point to the folder with their results.
    if folder is not None and folder.is_dir() and not is_project(folder):
        given.append(str(folder))
    # Refused and not ignored: predictions say themselves what they are.
    if folder is not None and not given and mode is not None:
        raise UsageError(
            "--mode does not apply to the predictions of a project.",
            "Omit --mode, or give --labels.",
        )
    with RunView(to_stderr=json) as view:
        if folder is None or given:
            result = measure_labels(given, images, mode=mode, out=out, report=view, **choices)
        else:
            result = Project.open(folder).measure(out=out, images=images, report=view, **choices)
    answer(result, json, _show)
    finish(ok=not (result["failed"] or result["failed_measurements"]))


def trace(
    table: Annotated[
        Path, typer.Argument(metavar="TABLE", help="A table written by 'maskloop measure'.")
    ],
    row: Annotated[
        int, typer.Argument(metavar="ROW", help="Row number, counted from 1 below the header.")
    ],
    project: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The project folder, if it has moved."),
    ] = None,
    json: Json = False,
) -> None:
    """Show where a row comes from: labels, image, checkpoint, down to the training pixels."""
    links = trace_row(table, row, project=project)
    answer(links, json, _show_links)
    # Unknown is no failure: tables of older versions recorded fewer hashes.
    finish(ok=not any(link.state in ("missing", "changed") for link in links))


def _show(result: dict[str, Any]) -> None:
    """The table; what failed was told as it happened."""
    say(f"{shown_path(result['table'])}: {result['summary']}.")
    if not result["channels"]:
        say("Only positions and shapes were measured. To measure intensities, give --images DIR.")


def _show_links(links: tuple[Link, ...]) -> None:
    show_table(
        "Origin",
        ("what", "name", "state", "SHA-256", "facts"),
        [(link.what, link.name, link.state, link.sha256[:16], link.facts) for link in links],
    )
