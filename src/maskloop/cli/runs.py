"""Verbs for runs: ``runs`` and ``execute``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from maskloop.cli.arguments import Folder, Json
from maskloop.cli.output import answer, show_facts, show_table
from maskloop.cli.run_view import RunView
from maskloop.compute.overview import RunSummary, list_runs
from maskloop.compute.project import Project
from maskloop.compute.runs import open_with_runs
from maskloop.jobs.execute import execute as execute_run
from maskloop.wording import local_time

__all__ = ["execute", "runs"]


def runs(folder: Folder, json: Json = False) -> None:
    """List all runs and how they ended."""
    answer(list_runs(Project.open(folder)), json, _show_runs)


def execute(
    folder: Folder,
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Id of a run, as listed by 'maskloop runs DIR'.")
    ],
    runs: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder that holds the run, where the project is read-only."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Execute a submitted run or resume an interrupted one (for queues and scripts)."""
    project = Project.open(folder)
    # The runs of a read-only project lie elsewhere, and the queue's job is told where.
    if runs is not None:
        project = open_with_runs(project, runs)
    with RunView(to_stderr=json) as view:
        result = execute_run(project, run, report=view)
    answer(result, json, partial(show_facts, f"Run {run} is done"))


def _show_runs(runs: Sequence[RunSummary]) -> None:
    rows = [
        (
            run.run_id,
            run.kind,
            run.state,
            local_time(run.began),
            run.epochs or None,
            run.outcome,
        )
        for run in runs
    ]
    columns = ("run", "kind", "state", "started", "epochs", "outcome")
    show_table("Runs", columns, rows, empty="none yet")
