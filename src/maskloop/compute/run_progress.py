"""The progress of a run, computed from its events: how far, how long, how good.

The terminal and the window both draw a `RunProgress`, so that they say the same.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from maskloop.events import (
    Event,
    Failed,
    Finished,
    Message,
    Metric,
    Preview,
    Progress,
    Started,
)
from maskloop.jobs.base import job_class
from maskloop.jobs.outcomes import Failure, Outcome, RunState, Tone, outcome_of, state_after
from maskloop.wording import time_in_words

__all__ = ["FIGURES", "RunProgress"]

FIGURES = {
    "loss": "Training loss",
    "val_loss": "Validation loss",
    "dice": "Dice",
    "iou": "IoU",
    "f1": "F1",
    "ap50": "AP50",
    "ap75": "AP75",
}
"""Figures of an epoch in the order in which they are shown, and their titles."""
LOSSES = {"loss": "training", "val_loss": "validation"}
CURVES = ("dice", "ap50")
"""Scores that are drawn where a training has them; of another kind of model, all it has."""
MESSAGES = 4
"""How many of the last messages are kept."""


@dataclass
class RunProgress:
    """The current state of one run; knows neither the project nor the screen."""

    run_id: str = ""
    kind: str = ""
    """The kind of its job: train, predict, ..."""
    stage: str = ""
    """What the run is doing while there is nothing to count."""
    began: float | None = None
    """Seconds since 1970."""
    overall: Progress | None = None
    """Progress of the whole run, in epochs, images or files."""
    part: Progress | None = None
    """Progress of the image that is being predicted, in tiles."""
    history: dict[int, dict[str, float]] = field(default_factory=dict)
    """Figures by epoch. A resumed run repeats some epochs: the newer figures count."""
    preview: tuple[int, str] | None = None
    """Epoch of the newest preview, and its path inside the run's folder."""
    messages: list[str] = field(default_factory=list)
    split_reason: str = ""
    """How the pairs of a training were split for validation, or why none is held out."""
    last: Finished | Failed | None = None
    """The event that ended it; None while it runs."""

    def take(self, events: Iterable[Event]) -> None:
        """Update the state with these events."""
        for event in events:
            if isinstance(event, Started):
                self._begin(event)
            elif isinstance(event, Progress):
                self._count(event)
            elif isinstance(event, Metric):
                # Not added to: of an epoch that was repeated after a kill, no old figure may stay.
                self.history[event.epoch] = dict(event.values)
            elif isinstance(event, Preview):
                self.preview = (event.epoch, event.path)
            elif isinstance(event, Message):
                self._hear(event.text)
            else:
                self._end(event)

    def _begin(self, event: Started) -> None:
        # The first start counts, although each resumed one reports its own.
        self.began = event.time if self.began is None else self.began
        self.stage = "Resuming" if event.resumed else job_class(self.kind).at_start
        self.overall = self.part = None
        self.last = None

    def _count(self, event: Progress) -> None:
        if event.unit == "tiles":
            self.part = event
        else:
            # One more image is done: its tiles no longer count.
            self.overall, self.part = event, None

    def _hear(self, text: str) -> None:
        # The first message of a training says how the pairs were split. It has a place of its own.
        if not self.split_reason:
            self.split_reason = text
        # The training mode is chosen in the window and visible there.
        elif text != self.split_reason and not text.startswith("Training mode"):
            self.messages = [*(one for one in self.messages if one != text), text][-MESSAGES:]

    def _end(self, event: Finished | Failed) -> None:
        self.last, self.stage = event, ""
        # The outcome says so already.
        self.messages = [text for text in self.messages if "cancelled" not in text]

    # Its state.

    @property
    def state(self) -> RunState:
        """By its events alone: after a kill it still says running, see `run_state`."""
        if self.last is not None:
            return state_after(self.last)
        return "submitted" if self.began is None else "running"

    @property
    def has_ended(self) -> bool:
        """Whether its last event has arrived."""
        return self.last is not None

    @property
    def ending(self) -> Outcome:
        """How it ended; empty while it runs."""
        if self.last is None:
            return Outcome("", "")
        return outcome_of(self.last, kind=self.kind, epoch=self.epoch)

    @property
    def outcome(self) -> str:
        """How it ended, in a sentence."""
        return self.ending.text

    @property
    def way_out(self) -> str:
        """What to do about how it ended."""
        return self.ending.way_out

    @property
    def tone(self) -> Tone:
        """Whether it ended well; empty while it runs."""
        return self.ending.tone

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Files of a prediction that failed."""
        return self.ending.failures

    # How far it is, and how long it takes.

    @property
    def done(self) -> float:
        """The amount done, in the unit of `total`."""
        part = self._part_done
        if self.overall is not None:
            # Half of the tiles of the third image are two and a half images.
            return self.overall.done + part
        return self.part.done if self.part is not None else 0.0

    @property
    def total(self) -> float:
        """The amount to do; 0 while there is nothing to count."""
        if self.overall is not None:
            return self.overall.total
        return self.part.total if self.part is not None else 0.0

    @property
    def fraction(self) -> float:
        """The fraction of the whole run that is done, 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    @property
    def _part_done(self) -> float:
        if self.part is None or not self.part.total:
            return 0.0
        return self.part.done / self.part.total

    @property
    def current(self) -> Progress | None:
        """What is being counted: the tiles of an image, or else the whole run."""
        return self.overall if self.part is None else self.part

    @property
    def rate(self) -> float | None:
        """Images (of a training), tiles or other units per second."""
        return None if self.current is None or self.has_ended else self.current.rate

    @property
    def rate_words(self) -> str:
        """The rate with its unit; empty if unknown."""
        if self.current is None or self.rate is None:
            return ""
        # A training counts epochs but measures its speed in images.
        unit = "images" if self.current.unit == "epochs" else self.current.unit
        return f"{self.rate:.3g} {unit}/s"

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the end of the training, or of the image that is being predicted."""
        return None if self.current is None or self.has_ended else self.current.seconds_left

    @property
    def left_words(self) -> str:
        """The time left in words; empty if unknown or over."""
        now = self.current
        # "0 s left" says nothing.
        if now is None or self.seconds_left is None or now.done >= now.total:
            return ""
        return f"{time_in_words(self.seconds_left)} left"

    @property
    def words(self) -> str:
        """The progress in one line."""
        now = self.current
        if now is None or self.has_ended:
            return self.stage
        # People count epochs from one, and the one that is running is not done.
        if now.unit == "epochs":
            epoch = min(math.floor(now.done) + 1, round(now.total))
            parts = [f"Epoch {epoch} of {now.total:.0f}", self.rate_words]
        else:
            name = "" if now.stage == now.unit else f"{now.stage}: "
            parts = [f"{name}{now.done:.0f} of {now.total:.0f} {now.unit}"]
        whole = self.overall
        if self.part is not None and whole is not None and whole.total > 1:
            parts.append(f"file {min(whole.done + 1, whole.total):.0f} of {whole.total:.0f}")
        return ", ".join(part for part in [*parts, self.left_words] if part)

    def age(self, now: float | None = None) -> str:
        """How long ago it began, in words."""
        if self.began is None:
            return ""
        return time_in_words(max(0.0, (time.time() if now is None else now) - self.began))

    # How good it is.

    @property
    def epoch(self) -> int:
        """The last epoch with figures."""
        return max(self.history, default=0)

    @property
    def figures(self) -> list[str]:
        """Names of all figures so far, in the order in which they are shown."""
        seen = {name: None for values in self.history.values() for name in values}
        known = [name for name in FIGURES if name in seen]
        return [*known, *(name for name in seen if name not in FIGURES)]

    @property
    def last_score(self) -> tuple[str, float] | None:
        """Title and value of the latest score; None before the first validation."""
        for _, values in sorted(self.history.items(), reverse=True):
            # AP50 says more of objects than the Dice of their pixels.
            for name in reversed(self._scores()):
                if math.isfinite(values.get(name, math.nan)):
                    return FIGURES.get(name, name), values[name]
        return None

    @property
    def why_no_score(self) -> str:
        """Why there is no curve of the score; empty if there is one or none is due yet."""
        if not self.history or any("val_loss" in values for values in self.history.values()):
            return ""
        return f"No validation score: {self.split_reason}"

    def curves(self, kind: Literal["loss", "score"]) -> dict[str, tuple[list[float], list[float]]]:
        """Epochs and values of each curve, by title; NaN and infinity are left out."""
        titles = LOSSES if kind == "loss" else {n: FIGURES.get(n, n) for n in self._scores()}
        found: dict[str, tuple[list[float], list[float]]] = {}
        for name, title in titles.items():
            points = [
                (epoch, values[name])
                for epoch, values in sorted(self.history.items())
                if math.isfinite(values.get(name, math.nan))
            ]
            if points:
                epochs = [float(epoch) for epoch, _ in points]
                found[title] = (epochs, [value for _, value in points])
        return found

    def _scores(self) -> list[str]:
        names = [name for name in self.figures if name not in LOSSES]
        # Few curves that can be told apart; the table has all figures.
        return [name for name in CURVES if name in names] or names
