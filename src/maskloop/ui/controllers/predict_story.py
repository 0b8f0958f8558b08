"""What a prediction tells, as it stands now: from its events to words and a share done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from maskloop.events import Event, Failed, Finished, Progress, Started
from maskloop.wording import time_in_words

__all__ = ["Failure", "PredictStory"]

Tone = Literal["", "good", "bad", "stopped"]


@dataclass(frozen=True)
class Failure:
    """A file without labels, and why."""

    file: str
    problem: str
    way_out: str

    @property
    def name(self) -> str:
        """Of the file, without its folder."""
        return Path(self.file).name


@dataclass
class PredictStory:
    """One run of a prediction, told from its beginning."""

    stage: str = ""
    tiles: tuple[float, float] = (0.0, 0.0)
    """Done and all, of the image that is predicted now."""
    images: tuple[float, float] = (0.0, 0.0)
    """Done and all; all is 0 until the first is done."""
    seconds_left: float | None = None
    """Of the image that is predicted now."""
    failures: list[Failure] = field(default_factory=list)
    outcome: str = ""
    way_out: str = ""
    tone: Tone = ""

    def take(self, events: Iterable[Event]) -> None:
        """Go on with the story."""
        for event in events:
            if isinstance(event, Started):
                self.stage, self.outcome, self.way_out, self.tone = "Loading the model", "", "", ""
            elif isinstance(event, Progress) and event.unit == "tiles":
                self.stage, self.tiles, self.seconds_left = (
                    event.stage,
                    (event.done, event.total),
                    event.seconds_left,
                )
            elif isinstance(event, Progress):
                self.images, self.tiles, self.seconds_left = (
                    (event.done, event.total),
                    (0.0, 0.0),
                    None,
                )
            elif isinstance(event, Finished):
                self._finish(event.result)
            elif isinstance(event, Failed):
                self._fail(event)

    def _finish(self, result: dict[str, Any]) -> None:
        self.failures = [_failure(one) for one in result.get("failed", ())]
        done, failed, checkpoint = (
            len(result.get("written", ())),
            len(self.failures),
            result.get("checkpoint_id", ""),
        )
        self.tone = "bad" if failed else "good"
        self.outcome = f"{done} image{'s' * (done != 1)} predicted with {checkpoint}" + (
            f", {failed} failed." if failed else "."
        )
        if failed == 1 and not done:
            self.outcome, self.way_out = self.failures[0].problem, self.failures[0].way_out

    def _fail(self, event: Failed) -> None:
        self.tone, self.outcome, self.way_out = "bad", event.problem, event.way_out
        if event.error == "Cancelled":
            self.tone = "stopped"
        elif event.error == "Interrupted":
            # The words of the log are for programmers.
            self.outcome = "The prediction was ended from outside."
            self.way_out = "Predict again. If it ends again, the memory may be too small: predict the visible slice."

    @property
    def has_ended(self) -> bool:
        """Whether the last word was heard."""
        return bool(self.tone)

    @property
    def share(self) -> tuple[float, float]:
        """Done and all, for a bar; all is 0 while it is not known."""
        done, total = self.tiles
        inside = done / total if total else 0.0
        if self.images[1]:
            return self.images[0] + inside, self.images[1]
        return (done, total) if total else (0.0, 0.0)

    @property
    def words(self) -> str:
        """How far it is, in a line."""
        if not self.tiles[1]:
            return self.stage
        parts = [f"{self.stage}: {self.tiles[0]:.0f} of {self.tiles[1]:.0f} tiles"]
        if self.images[1] > 1:
            parts.append(
                f"file {min(self.images[0] + 1, self.images[1]):.0f} of {self.images[1]:.0f}"
            )
        if self.seconds_left is not None and self.tiles[0] < self.tiles[1]:
            parts.append(f"{time_in_words(self.seconds_left)} left")
        return ", ".join(parts)


def _failure(one: dict[str, str]) -> Failure:
    return Failure(one["source"], one["problem"], one["way_out"])
