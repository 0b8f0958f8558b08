"""What a run says while it works: one JSON line per event, for whoever is interested."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from maskloop.records import Record, write_errors

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
    "follow_events",
    "read_events",
    "silent",
]


class _Timed(Record):
    time: float = Field(default_factory=time.time, description="Seconds since 1970.")


class Started(_Timed):
    """A process has begun or taken up the run."""

    kind: Literal["started"] = "started"
    process_id: int
    host: str
    resumed: bool = False


class Progress(_Timed):
    """How far the work is."""

    kind: Literal["progress"] = "progress"
    stage: str = Field(description="What is being done, such as 'training' or 'cell_07.tif'.")
    done: float
    total: float
    unit: str = ""
    rate: float | None = Field(None, description="Units per second (images for a training).")
    seconds_left: float | None = None


class Metric(_Timed):
    """Figures of one epoch, such as loss, val_loss, dice, iou, ap50."""

    kind: Literal["metric"] = "metric"
    epoch: int
    values: dict[str, float]


class Preview(_Timed):
    """A picture of the present state, written beside the journal."""

    kind: Literal["preview"] = "preview"
    epoch: int
    path: str = Field(description="Relative to the run's folder.")


class Message(_Timed):
    """Something that a person should read, such as a halved batch."""

    kind: Literal["message"] = "message"
    level: Literal["info", "warning"] = "info"
    text: str


class Finished(_Timed):
    """The run's last word when all went well (or was cancelled with a result that is kept)."""

    kind: Literal["finished"] = "finished"
    result: dict[str, Any]


class Failed(_Timed):
    """The run's last word when it went wrong."""

    kind: Literal["failed"] = "failed"
    error: str = Field(description="The name of the error's class.")
    problem: str
    way_out: str


Event = Annotated[
    Started | Progress | Metric | Preview | Message | Finished | Failed,
    Field(discriminator="kind"),
]
Report = Callable[[Event], None]
_ADAPTER: TypeAdapter[Event] = TypeAdapter(Event)


def silent(_event: Event) -> None:
    """Report to nobody."""


def append_event(path: Path, event: Event) -> None:
    """Add one event as one line to a journal.

    Raises
    ------
    ProjectError
        If the disk is full or the folder is not writable.
    """
    with write_errors(path), path.open("ab") as file:
        # A line torn by a kill must not swallow the next one: begin on a line of our own.
        if file.tell() and _last_byte(path) != b"\n":
            file.write(b"\n")
        file.write(event.model_dump_json().encode() + b"\n")


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1)


def read_events(path: Path, start: int = 0, *, end: int | None = None) -> tuple[list[Event], int]:
    """Events from byte `start` on (and before byte `end`), and the byte to go on from; only lines ended by a newline are read."""
    if not path.exists():
        return [], start
    with path.open("rb") as file:
        file.seek(start)
        content = file.read(-1 if end is None else end - start)
    whole, newline, _torn = content.rpartition(b"\n")
    events: list[Event] = []
    for line in whole.split(b"\n") if newline else ():
        try:
            events.append(_ADAPTER.validate_json(line))
        except ValueError:
            # A torn line of a killed process: the events around it still count.
            continue
    return events, start + len(whole) + len(newline)


def follow_events(
    path: Path, is_alive: Callable[[], bool], *, position: int = 0, poll_s: float = 0.1
) -> Iterator[Event]:
    """Yield events from byte `position` on as they come, until the last word or until the run is gone without one."""
    while True:
        alive = is_alive()
        events, position = read_events(path, position)
        for event in events:
            yield event
            if isinstance(event, Finished | Failed):
                return
        if not alive:
            return
        time.sleep(poll_s)
