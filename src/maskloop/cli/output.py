"""What a terminal shows: lines, tables, problems with their way out; for scripts, JSON alone."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from maskloop.records import Record

__all__ = [
    "answer",
    "finish",
    "make_console",
    "make_table",
    "say",
    "say_json",
    "say_problem",
    "show_facts",
    "show_table",
    "shown_path",
]


def make_console(*, to_stderr: bool = False) -> Console:
    """The terminal that a verb prints to."""
    console = Console(stderr=to_stderr, highlight=False, soft_wrap=True)
    if console.is_terminal:
        return console
    # A pipe or a file has no width: wrapping at 80 columns would tear paths and tables apart.
    return Console(stderr=to_stderr, highlight=False, soft_wrap=True, width=200)


def say(text: str) -> None:
    """Print a line as it is."""
    make_console().print(text, markup=False)


def say_problem(problem: str, way_out: str) -> None:
    """Print what is wrong and what to do about it, on stderr."""
    make_console(to_stderr=True).print(f"{escape(problem)}\n  -> {escape(way_out)}")


def answer(value: Any, as_json: bool, show: Callable[[Any], None]) -> None:
    """Print a verb's result: as JSON for a script, by `show` for a person."""
    if as_json:
        say_json(value)
    else:
        show(value)


def say_json(value: Any) -> None:
    """Print a value as JSON, alone on stdout; NaN and infinity become null."""
    # Not through rich: a pipe gets every byte, and a terminal no line breaks inside strings.
    sys.stdout.write(json.dumps(_plain(value), indent=2, ensure_ascii=False) + "\n")


def _plain(value: Any) -> Any:
    # As Python values, not as JSON: infinities are still numbers then, and become null below.
    if isinstance(value, Record):
        return _plain(value.model_dump(mode="python"))
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    # JSON has no NaN: what Python would write, other readers refuse.
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def show_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str = "none"
) -> None:
    """Print a table.

    Parameters
    ----------
    title
        Above it.
    columns
        Names of the columns; columns of numbers are aligned right.
    rows
        Values in the order of the columns.
    empty
        What to print instead of a table without rows.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    if not cells:
        say(f"{title}: {empty}.")
        return
    make_console().print(make_table(title, columns, cells))


def make_table(title: str, columns: Sequence[str], cells: Sequence[Sequence[str]]) -> Table:
    """A table of texts, shown as they are: brackets in a person's names are no markup."""
    table = Table(
        title=escape(title), title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    for at, name in enumerate(columns):
        # Folded, never cut: a cut id or path cannot be copied.
        figures = all(_is_figure(row[at]) for row in cells)
        table.add_column(escape(name), justify="right" if figures else "left", overflow="fold")
    for row in cells:
        table.add_row(*(escape(cell) for cell in row))
    return table


def _is_figure(cell: str) -> bool:
    return not cell or cell.replace(".", "", 1).replace("-", "", 1).isdigit()


def show_facts(title: str, facts: Mapping[str, Any]) -> None:
    """Print names with their values, one per line; those without a value are left out."""
    table = Table(
        title=escape(title),
        title_justify="left",
        box=None,
        show_header=False,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for name, value in facts.items():
        # By equality with empty values: 0 is a fact and stays.
        if value not in (None, "", (), [], {}):
            table.add_row(escape(name), escape(_cell(value)))
    make_console().print(table)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        # Four digits: scores of a few images mean no more.
        return "" if math.isnan(value) else f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(
            f"{name} {_cell(entry)}" for name, entry in value.items() if entry is not None
        )
    if isinstance(value, list | tuple):
        return ", ".join(_cell(entry) for entry in value)
    return "" if value is None else str(value)


def shown_path(path: str | Path) -> str:
    """A path as a person would type it: relative if it lies in the current folder."""
    absolute = Path(path).absolute()
    here = Path.cwd()
    # Never with "..": such a path can be copied into a script that runs elsewhere.
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(absolute)


def finish(*, ok: bool) -> None:
    """End the verb with code 0, or with 1 if something failed and its reason was printed."""
    if not ok:
        raise typer.Exit(1)
