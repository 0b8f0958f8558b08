"""What a person sees in a terminal: tables, a run as it goes, and problems with their way out; for scripts, JSON alone."""

from __future__ import annotations

import errno
import json
import logging
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from maskloop.errors import MaskloopError
from maskloop.events import Event, Message, Metric, Progress, Started
from maskloop.records import Record
from maskloop.wording import time_in_words

__all__ = [
    "RunView",
    "Verbs",
    "answer",
    "finish",
    "say",
    "say_json",
    "say_problem",
    "show_facts",
    "show_table",
    "shown_path",
]

SHOWN = ("loss", "val_loss", "dice", "iou", "f1", "ap50", "ap75")
"""Figures of a training that have a column."""
ROWS = 12
"""So many validations stay in view."""


class Verbs(TyperGroup):
    """The rim: what a person can cause ends in words and exit code 1, never in a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        # Warnings of a run reach the person through its events; without this Python would print
        # them a second time.
        logging.getLogger("maskloop").addHandler(logging.NullHandler())
        logging.getLogger("lightning_fabric.utilities.rank_zero").setLevel(logging.WARNING)
        try:
            return super().invoke(ctx)
        except MaskloopError as error:
            say_problem(error.problem, error.way_out)
            raise typer.Exit(1) from None
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            say_problem(
                f"{error.filename or 'A file'}: {error.strerror or error}.",
                "Check the path, the permissions and the disk.",
            )
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            say_problem(
                "Stopped.", "Start the same command again; what was saved before is unchanged."
            )
            raise typer.Exit(1) from None


def _console(*, to_stderr: bool = False) -> Console:
    # A pipe or a file has no width: wrapping there would tear paths and tables apart.
    console = Console(stderr=to_stderr, highlight=False, soft_wrap=True)
    return (
        console
        if console.is_terminal
        else Console(stderr=to_stderr, highlight=False, soft_wrap=True, width=200)
    )


def say(text: str) -> None:
    """Print a line as it is."""
    _console().print(text, markup=False)


def say_problem(problem: str, way_out: str) -> None:
    """Print what is wrong and what to do about it, on stderr."""
    _console(to_stderr=True).print(f"{escape(problem)}\n  -> {escape(way_out)}")


def answer(value: Any, as_json: bool, show: Callable[[Any], None]) -> None:
    """Tell a verb's result: to a script as JSON, to a person by `show`."""
    if as_json:
        say_json(value)
    else:
        show(value)


def say_json(value: Any) -> None:
    """Print a value as JSON, alone on stdout; figures that are not defined become null."""
    sys.stdout.write(json.dumps(_plain(value), indent=2, ensure_ascii=False) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return _plain(value.model_dump(mode="python"))
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
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
        Names of the columns; those of figures are set flush right.
    rows
        Values in the order of the columns.
    empty
        What to say in the place of a table without rows.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    if not cells:
        say(f"{title}: {empty}.")
        return
    _console().print(_table(title, columns, cells))


def _table(title: str, columns: Sequence[str], cells: Sequence[Sequence[str]]) -> Table:
    table = Table(
        title=escape(title), title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    for at, name in enumerate(columns):
        figures = all(_is_figure(row[at]) for row in cells)
        table.add_column(escape(name), justify="right" if figures else "left", overflow="fold")
    for row in cells:
        table.add_row(*(escape(cell) for cell in row))
    return table


def _is_figure(cell: str) -> bool:
    return not cell or cell.replace(".", "", 1).replace("-", "", 1).isdigit()


def show_facts(title: str, facts: Mapping[str, Any]) -> None:
    """Print names with their values, one per line, those without a value left out."""
    table = Table(
        title=escape(title),
        title_justify="left",
        box=None,
        show_header=False,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for name, value in facts.items():
        if value not in (None, "", (), [], {}):
            table.add_row(escape(name), escape(_cell(value)))
    _console().print(table)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(
            f"{name} {_cell(entry)}" for name, entry in value.items() if entry is not None
        )
    if isinstance(value, list | tuple):
        return ", ".join(_cell(entry) for entry in value)
    return "" if value is None else str(value)


class RunView:
    """A run as it goes: a live table in a terminal, else one line per validation and per image.

    Call it with events; use it as a context manager, so that the terminal is left as it was found.

    Parameters
    ----------
    to_stderr
        Whether stdout is kept for JSON.
    """

    def __init__(self, *, to_stderr: bool = False) -> None:
        self._console = _console(to_stderr=to_stderr)
        self._live = (
            Live(console=self._console, auto_refresh=False, transient=False)
            if self._console.is_terminal
            else None
        )
        self._metrics: list[Metric] = []
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._progress = None
            self._live.update(self._picture(), refresh=True)
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, Started) and event.resumed:
            self._line("This run was interrupted before; it goes on where it was.")
        elif isinstance(event, Message):
            self._line(("Warning: " if event.level == "warning" else "") + event.text)
        elif isinstance(event, Metric):
            self._metrics.append(event)
            self._refresh(self._sentence(event))
        elif isinstance(event, Progress):
            self._progress = event
            self._refresh(
                f"{event.done:.0f} of {event.total:.0f} images done"
                if event.stage == "images"
                else None
            )

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False)

    def _refresh(self, line: str | None) -> None:
        """Draw anew in a terminal; elsewhere print a line, where the event deserves one."""
        if self._live:
            self._live.update(self._picture(), refresh=True)
        elif line:
            self._line(line)

    def _sentence(self, metric: Metric) -> str:
        figures = "  ".join(f"{name} {metric.values[name]:.4f}" for name in self._columns())
        return f"epoch {metric.epoch}  {figures}{self._pace()}"

    def _columns(self) -> list[str]:
        return [name for name in SHOWN if any(name in metric.values for metric in self._metrics)]

    def _pace(self) -> str:
        rate, left = (
            (self._progress.rate, self._progress.seconds_left) if self._progress else (None, None)
        )
        return (f"  {rate:.1f} {_thing(self._progress)}/s" if rate else "") + (
            f"  {time_in_words(left)} left" if left is not None else ""
        )

    def _picture(self) -> Group:
        parts: list[Any] = []
        if self._metrics:
            columns = self._columns()
            rows = [
                [str(one.epoch), *(_figure(one.values.get(name)) for name in columns)]
                for one in self._metrics[-ROWS:]
            ]
            parts.append(_table("", ["epoch", *columns], rows))
        if self._progress:
            line = Table.grid(padding=(0, 1))
            bar = ProgressBar(
                total=max(self._progress.total, 1e-9), completed=self._progress.done, width=24
            )
            done = f"{self._progress.done:.0f} of {self._progress.total:.0f} {self._progress.unit}"
            line.add_row(Text(self._progress.stage), bar, Text(done + self._pace()))
            parts.append(line)
        return Group(*parts)


def _figure(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.4f}"


def _thing(progress: Progress | None) -> str:
    return "images" if progress is None or progress.unit == "epochs" else progress.unit


def shown_path(path: str | Path) -> str:
    """A path as one would type it: relative to where one is when it lies below."""
    absolute = Path(path).absolute()
    here = Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(absolute)


def finish(*, ok: bool) -> None:
    """End the verb: code 0 when all is well, 1 when something was left out for a reason that was told."""
    if not ok:
        raise typer.Exit(1)
