"""The verb ``evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskloop.cli.arguments import Axes, Json, ModeName
from maskloop.cli.output import answer, finish, say_problem, show_table
from maskloop.jobs.evaluate import Evaluation, evaluate_folders

__all__ = ["evaluate"]


def evaluate(
    predictions: Annotated[Path, typer.Option(metavar="DIR", help="Folder of predicted labels.")],
    masks: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder of ground-truth masks, named like the images."),
    ],
    mode: ModeName = None,
    axes: Axes = None,
    ignore: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Value of pixels in the masks that are not annotated: they count for nothing.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE.CSV", help="Also write the scores to a file, as .csv or .json."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Compare predictions with ground truth: Dice and IoU; for instances also AP, F1, PQ, AJI."""
    found = evaluate_folders(predictions, masks, mode=mode, axes=axes, ignore=ignore)
    if out is not None:
        write = found.write_json if out.suffix.lower() == ".json" else found.write_csv
        write(out)
    answer(found.summary() if json else found, json, _show)
    finish(ok=not found.failures)


def _show(evaluation: Evaluation) -> None:
    """Scores of each image, and of all together."""
    # The last row is the total, which has every column.
    rows = evaluation.rows()
    columns = list(rows[-1])
    show_table(
        f"Scores ({evaluation.mode})",
        columns,
        [[row.get(name) for name in columns] for row in rows],
    )
    for failure in evaluation.failures:
        say_problem(f"{failure.name}: {failure.problem}", "This image is not part of the scores.")
