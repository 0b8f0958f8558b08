"""The progress of a run, live in a terminal or as plain lines."""

from __future__ import annotations

import math
from types import TracebackType
from typing import Any, Self

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from maskloop.cli.output import make_console, make_table
from maskloop.compute.run_progress import FIGURES, RunProgress
from maskloop.events import Event, Message, Metric, Progress, Started

__all__ = ["RunView"]

ROWS = 12
"""How many validations stay in view."""


class RunView:
    """Shows a run: as a live table in a terminal, else as one line per validation and per image.

    Call it with events; use it as a context manager, so that the terminal is left as it was found.

    Parameters
    ----------
    to_stderr
        Whether stdout is kept for JSON.
    """

    def __init__(self, *, to_stderr: bool = False) -> None:
        self._console = make_console(to_stderr=to_stderr)
        self._errors = make_console(to_stderr=True)
        self._live: Live | None = None
        if self._console.is_terminal:
            # Redrawn with each event: a thread that redraws in between would compete with training.
            self._live = Live(console=self._console, auto_refresh=False, transient=False)
        self._run = RunProgress()

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
            # The bar has served its time; the table of validations stays on the screen.
            self._live.update(Group(*self._validations()), refresh=True)
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        # First of all: what is drawn below is computed from the state, not from the event.
        self._run.take([event])
        if isinstance(event, Started) and event.resumed:
            self._line("Resuming an interrupted run.")
        elif isinstance(event, Message):
            self._tell(event)
        elif isinstance(event, Metric):
            self._refresh(self._sentence(event))
        elif isinstance(event, Progress):
            # Epochs are told with their scores, and there are too many tiles for a line each.
            is_told = event.stage == "images"
            done = f"{event.done:.0f} of {event.total:.0f} images done"
            self._refresh(done if is_told else None)

    def _tell(self, message: Message) -> None:
        if message.level != "warning":
            self._line(message.text)
        elif self._live:
            # Above the live table, which a line from elsewhere would tear apart.
            self._line(f"Warning: {message.text}")
        else:
            self._errors.print(f"Warning: {message.text}", markup=False)

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False)

    def _refresh(self, line: str | None) -> None:
        """Redraw in a terminal; elsewhere print the line, if the event deserves one."""
        if self._live:
            self._live.update(Group(*self._validations(), *self._bar()), refresh=True)
        elif line:
            self._line(line)

    def _columns(self) -> list[str]:
        return [name for name in self._run.figures if name in FIGURES]

    def _sentence(self, metric: Metric) -> str:
        # Known figures only: those of each class would make lines that nobody can read.
        shown = [name for name in self._columns() if name in metric.values]
        figures = [f"{name} {metric.values[name]:.4f}" for name in shown]
        parts = [f"epoch {metric.epoch}", *figures, self._run.rate_words, self._run.left_words]
        return "  ".join(part for part in parts if part)

    def _validations(self) -> list[Table]:
        # A live table that is taller than the terminal could not be redrawn.
        history = sorted(self._run.history.items())[-ROWS:]
        if not history:
            return []
        columns = self._columns()
        rows = [
            [str(epoch), *(_figure(values.get(name)) for name in columns)]
            for epoch, values in history
        ]
        return [make_table("", ["Epoch", *(FIGURES[name] for name in columns)], rows)]

    def _bar(self) -> list[Any]:
        now = self._run.current
        if now is None:
            return [Text(self._run.stage)] if self._run.stage else []
        # Not rich's Progress, which is a Live of its own: table and bar are drawn together.
        line = Table.grid(padding=(0, 1))
        # A total of zero would be a division by zero in rich.
        bar = ProgressBar(total=max(now.total, 1e-9), completed=now.done, width=24)
        line.add_row(bar, Text(self._run.words))
        return [line]


def _figure(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.4f}"
