"""What a run reports while it works: one JSON line per event, for whoever follows it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, TypeAdapter, field_validator

from maskloop.records import Record, open_append, open_ordinary

__all__ = [
    "Event",
    "Failed",
    "Finished",
    "Message",
    "Metric",
    "Preview",
    "Progress",
    "Report",
    "Started",
    "append_event",
    "last_event",
    "read_events",
    "silent",
]


def _finite_or_none(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


Finite = Annotated[float, Field(allow_inf_nan=False)]
FiniteOrNone = Annotated[float | None, AfterValidator(_finite_or_none)]


class _Timed(Record):
    # Up to the year 5000: dates end soon after.
    time: float = Field(default_factory=time.time, ge=0, le=1e11, description="Seconds since 1970.")


class Started(_Timed):
    """A process has started or resumed the run."""

    kind: Literal["started"] = "started"
    process_id: int
    host: str
    resumed: bool = False


class Progress(_Timed):
    """How far the work is."""

    kind: Literal["progress"] = "progress"
    stage: str = Field(description="What is being done, such as 'training' or 'cell_07.tif'.")
    done: Finite
    total: Finite
    unit: str = ""
    rate: FiniteOrNone = Field(None, description="Units per second (images for a training).")
    seconds_left: FiniteOrNone = None


class Metric(_Timed):
    """Metrics of one epoch, such as loss, val_loss, dice, iou, ap50."""

    kind: Literal["metric"] = "metric"
    epoch: int
    values: dict[str, float]


class Preview(_Timed):
    """A picture of the current state, saved beside the journal."""

    kind: Literal["preview"] = "preview"
    epoch: int
    path: str = Field(description="Relative to the run's folder.")


class Message(_Timed):
    """Something that a person should read, such as a halved batch."""

    kind: Literal["message"] = "message"
    level: Literal["info", "warning"] = "info"
    text: str


class _FailedFile(BaseModel):
    source: str
    problem: str
    way_out: str


class _ShownMetrics(BaseModel):
    epochs: int | None = None
    seconds: Finite | None = None


class _Shown(BaseModel):
    """Those parts of a result that people are shown, where it has them."""

    checkpoint_id: str | None = None
    summary: str | None = None
    written: list[str] = []
    failed: list[_FailedFile] = []
    metrics: _ShownMetrics | None = None


class Finished(_Timed):
    """The last event of a run that succeeded (or was cancelled with a result that is kept)."""

    kind: Literal["finished"] = "finished"
    result: dict[str, Any]

    @field_validator("result")
    @classmethod
    def _check_result(cls, result: dict[str, Any]) -> dict[str, Any]:
        # What is shown of it must be of the right type; the rest is the job's own.
        _Shown.model_validate(result)
        return result


class Failed(_Timed):
    """The last event of a run that failed."""

    kind: Literal["failed"] = "failed"
    error: str = Field(description="The name of the error's class.")
    problem: str
    way_out: str


# By their kind, so that a journal's line is read as the right one without trying all.
Event = Annotated[
    Started | Progress | Metric | Preview | Message | Finished | Failed,
    Field(discriminator="kind"),
]
Report = Callable[[Event], None]
# Enough for the last event of most runs.
TAIL_BYTES = 16_384
_ADAPTER: TypeAdapter[Event] = TypeAdapter(Event)


def silent(_event: Event) -> None:
    """Report to nobody."""


def append_event(path: Path, event: Event) -> None:
    """Append one event as one line to a journal.

    Raises
    ------
    ProjectError
        If the disk is full or the folder is not writable.
    """
    with open_append(path) as file:
        # A line torn by a kill must not swallow the next one: begin a line of our own.
        if file.tell() and _last_byte(path) != b"\n":
            file.write(b"\n")
        file.write(event.model_dump_json().encode() + b"\n")


def _last_byte(path: Path) -> bytes:
    with open_ordinary(path) as file:
        file.seek(-1, 2)
        return file.read(1)


def read_events(path: Path, start: int = 0, *, end: int | None = None) -> tuple[list[Event], int]:
    """Events between two bytes of a journal; a line that is still being written is left for later.

    Parameters
    ----------
    path
        The journal; a missing one has no events.
    start, end
        Bytes to read from and up to; by default the whole journal.

    Returns
    -------
    events
        In the order in which they were told.
    position
        The byte to read from next time.
    """
    if not path.exists():
        return [], start
    with open_ordinary(path) as file:
        file.seek(start)
        content = file.read(-1 if end is None else end - start)
    # The writer may be in the middle of a line: it is read whole next time.
    whole, newline, _torn = content.rpartition(b"\n")
    lines = whole.split(b"\n") if newline else []
    events = [event for event in map(_parse, lines) if event is not None]
    return events, start + len(whole) + len(newline)


def last_event(path: Path) -> Event | None:
    """The last event of a journal, read from its end; None where there is none."""
    if not path.exists():
        return None
    with open_ordinary(path) as file:
        size = file.seek(0, 2)
        # A journal of hours has megabytes; a result that names thousands of files has many, too.
        length = min(size, TAIL_BYTES)
        while True:
            file.seek(size - length)
            lines = file.read(length).split(b"\n")
            # The last piece is empty or torn; the first may have lost its beginning.
            for line in reversed(lines[0 if length == size else 1 : -1]):
                event = _parse(line)
                if event is not None:
                    return event
            if length == size:
                return None
            length = min(size, 8 * length)


def _parse(line: bytes) -> Event | None:
    try:
        return _ADAPTER.validate_json(line)
    except ValueError:
        # A line torn by a kill, or an event of a newer version: the events around it still count.
        return None
