"""What a training tells, as it stands now: from its events to words, curves and the newest picture."""

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
from maskloop.wording import time_in_words

__all__ = ["TrainStory"]

Tone = Literal["", "good", "bad", "stopped"]
LOSSES = {"loss": "training", "val_loss": "validation"}
SCORES = {"dice": "Dice", "ap50": "AP50"}
"""What is drawn of the figures, and what it is called."""
MESSAGES = 4
"""So many of the last messages are shown."""


@dataclass
class TrainStory:
    """One run of a training, told from its beginning."""

    run_id: str = ""
    began: float | None = None
    stage: str = ""
    done: float = 0.0
    total: float = 0.0
    rate: float | None = None
    """Images per second."""
    seconds_left: float | None = None
    history: dict[int, dict[str, float]] = field(default_factory=dict)
    """Figures by epoch. After a kill some epochs are trained again: the newer figures count."""
    preview: tuple[int, str] | None = None
    """Epoch of the newest picture, and its path inside the run's folder."""
    messages: list[str] = field(default_factory=list)
    split_reason: str = ""
    """Which pairs are kept for validation, or why none are."""
    outcome: str = ""
    way_out: str = ""
    tone: Tone = ""

    def take(self, events: Iterable[Event]) -> None:
        """Go on with the story."""
        for event in events:
            if isinstance(event, Started):
                self._begin(event)
            elif isinstance(event, Progress):
                self.stage, self.done, self.total = "Training", event.done, event.total
                self.rate, self.seconds_left = event.rate, event.seconds_left
            elif isinstance(event, Metric):
                self.history[event.epoch] = dict(event.values)
            elif isinstance(event, Preview):
                self.preview = (event.epoch, event.path)
            elif isinstance(event, Message):
                self._hear(event.text)
            else:
                self._end(event)

    def _begin(self, event: Started) -> None:
        self.began = event.time if self.began is None else self.began
        self.stage = "Going on: getting ready" if event.resumed else "Getting ready"
        self.outcome, self.way_out, self.tone = "", "", ""

    def _hear(self, text: str) -> None:
        # A training says first of all how the pairs were parted.
        if not self.split_reason:
            self.split_reason = text
        elif text != self.split_reason and not text.startswith(
            "Training mode"
        ):  # chosen in the window, and seen there
            self.messages = [*(one for one in self.messages if one != text), text][-MESSAGES:]

    def _end(self, event: Finished | Failed) -> None:
        self.stage, self.rate, self.seconds_left = "", None, None
        if isinstance(event, Finished):
            self._finish(event)
        elif event.error == "Cancelled":
            self.tone, self.outcome, self.way_out = (
                "stopped",
                f"Cancelled{self._where()}.",
                event.way_out,
            )
        elif event.error == "Interrupted":
            # The words of the log are for programmers.
            self.tone, self.outcome = "bad", f"The training was ended from outside{self._where()}."
            self.way_out = "Go on: it continues from its last saved state. If it ends again, the memory may be too small: set a smaller batch."
        else:
            self.tone, self.outcome, self.way_out = "bad", event.problem, event.way_out

    def _finish(self, event: Finished) -> None:
        result, metrics = event.result, dict(event.result.get("metrics") or {})
        name, stopped, best = (
            result.get("checkpoint_id", ""),
            metrics.get("stopped"),
            metrics.get("best_epoch"),
        )
        epochs = int(metrics.get("epochs") or self.epoch)
        summary = str(result.get("summary") or "")
        spent = f"{epochs} epoch{'s' * (epochs != 1)} in {time_in_words(float(metrics.get('seconds') or 0))}"
        kept = f"the best so far (epoch {best}) is kept as {name}: {summary}."
        self.tone, self.way_out = "good", ""
        if stopped == "cancelled":
            self.tone, self.outcome = "stopped", f"Cancelled at epoch {epochs}: {kept}"
            self.messages = [text for text in self.messages if "was cancelled" not in text]
        elif stopped == "not finite":
            self.tone, self.outcome = (
                "bad",
                f"Stopped at epoch {epochs}, the loss was no number any more: {kept}",
            )
            self.way_out = "Look at the images for wrong values, or lower the learning rate."
        else:
            why = {"time": "; the time was up", "patience": "; the score no longer rose"}.get(
                str(stopped), ""
            )
            self.outcome = f"Finished: {name}, {summary}; {spent}{why}."

    def _where(self) -> str:
        epoch = self.epoch
        return f" after epoch {epoch}" if epoch else " before the first epoch was scored"

    @property
    def epoch(self) -> int:
        """The last one with figures."""
        return max(self.history, default=0)

    @property
    def has_ended(self) -> bool:
        """Whether the last word was heard."""
        return bool(self.tone)

    @property
    def why_no_score(self) -> str:
        """Why there is no curve of the score; empty where there is one, or none can be expected yet."""
        if not self.history or any("val_loss" in values for values in self.history.values()):
            return ""
        return f"No score: {self.split_reason}"

    @property
    def progress(self) -> str:
        """How far it is, in a line."""
        if self.stage != "Training":
            return self.stage
        parts = [f"Epoch {min(math.floor(self.done) + 1, round(self.total))} of {self.total:.0f}"]
        if self.rate is not None:
            parts.append(f"{self.rate:.3g} images/s")
        if self.seconds_left is not None:
            parts.append(f"{time_in_words(self.seconds_left)} left")
        return ", ".join(parts)

    def curves(self, kind: Literal["loss", "score"]) -> dict[str, tuple[list[float], list[float]]]:
        """Epochs and values of each curve, by its name; points that are no number are left out."""
        found: dict[str, tuple[list[float], list[float]]] = {}
        for name, title in (LOSSES if kind == "loss" else SCORES).items():
            points = [
                (epoch, values[name])
                for epoch, values in sorted(self.history.items())
                if math.isfinite(values.get(name, math.nan))
            ]
            if points:
                found[title] = (
                    [float(epoch) for epoch, _ in points],
                    [value for _, value in points],
                )
        return found

    def age(self, now: float | None = None) -> str:
        """How long ago it began, in words."""
        return (
            ""
            if self.began is None
            else time_in_words(max(0.0, (time.time() if now is None else now) - self.began))
        )
