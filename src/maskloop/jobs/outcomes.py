"""How a run ended, in the words that the window and the terminal both show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from maskloop.events import Failed, Finished
from maskloop.jobs.base import job_class
from maskloop.wording import counted, time_in_words

__all__ = ["Failure", "Outcome", "RunState", "Tone", "outcome_of", "short_outcome", "state_after"]

RunState = Literal["submitted", "running", "finished", "failed", "interrupted"]
Tone = Literal["", "good", "bad", "stopped"]
RESUMABLE = ("Cancelled", "Interrupted", "ProjectError", "ProjectLocked")
"""Errors that come from outside the job (someone stopped it, a full disk): the same job started
again resumes.
"""
STOPPED_BY = {
    "time": "; time limit reached",
    "patience": "; stopped early: the validation score no longer improved",
}


@dataclass(frozen=True)
class Failure:
    """A file that could not be predicted, and why."""

    file: str
    problem: str
    way_out: str

    @property
    def name(self) -> str:
        """Of the file, without its folder."""
        return Path(self.file).name


@dataclass(frozen=True)
class Outcome:
    """How a run ended, and what to do about it."""

    tone: Tone
    text: str
    way_out: str = ""
    failures: tuple[Failure, ...] = ()


def state_after(last: object) -> RunState:
    """The state of a run that is no longer running, from its last event."""
    if isinstance(last, Finished):
        return "finished"
    if isinstance(last, Failed):
        return "interrupted" if last.error in RESUMABLE else "failed"
    return "submitted" if last is None else "interrupted"


def outcome_of(event: Finished | Failed, *, kind: str = "", epoch: int = 0) -> Outcome:
    """Describe how a run ended.

    Parameters
    ----------
    event
        The last event of the run.
    kind
        The kind of its job: train, predict, ...
    epoch
        The last epoch of a training that has metrics; 0 where there is none.
    """
    if isinstance(event, Failed):
        return _failed(event, kind, epoch)
    # A result says by itself what it is of, so that journals of older versions read the same.
    if "written" in event.result:
        return _predicted(event.result)
    if "metrics" in event.result:
        return _trained(event.result, epoch)
    return Outcome("good", str(event.result.get("summary") or "Finished."))


def short_outcome(last: object) -> str:
    """How a run ended, for one cell of a table; empty while it runs."""
    if isinstance(last, Failed):
        return last.problem
    if not isinstance(last, Finished):
        return ""
    result = last.result
    if "written" in result:
        return f"{len(result['written'])} predicted, {len(result.get('failed', ()))} failed"
    names = ("checkpoint_id", "summary")
    return " ".join(str(result[name]) for name in names if result.get(name))


def _failed(event: Failed, kind: str, epoch: int) -> Outcome:
    job = job_class(kind)
    where = f" after epoch {epoch}" if epoch else ""
    # Nothing can be kept before the first validation, which explains why there is no checkpoint.
    if kind == "train" and not epoch:
        where = " before the first epoch was validated"
    if event.error == "Cancelled":
        # A prediction says itself how far it was.
        text = f"Cancelled{where}." if kind == "train" else event.problem
        return Outcome("stopped", text, event.way_out)
    if event.error == "Interrupted":
        # The problem holds the end of the log, which is for programmers.
        text = f"The {job.noun} stopped unexpectedly{where}."
        return Outcome("bad", text, job.after_kill)
    return Outcome("bad", event.problem, event.way_out)


def _trained(result: Mapping[str, Any], epoch: int) -> Outcome:
    metrics = dict(result["metrics"] or {})
    name, summary = result.get("checkpoint_id", ""), result.get("summary") or ""
    epochs = int(metrics.get("epochs") or epoch)
    # A training that stopped early has still registered its best weights.
    kept = f"the best weights so far (epoch {metrics.get('best_epoch')}) are kept as {name}"
    stopped = str(metrics.get("stopped"))
    if stopped == "cancelled":
        return Outcome("stopped", f"Cancelled at epoch {epochs}: {kept}: {summary}.")
    if stopped == "not finite":
        text = f"Stopped at epoch {epochs} because of a NaN loss: {kept}: {summary}."
        return Outcome(
            "bad", text, "Check the images for invalid values, or lower the learning rate."
        )
    seconds = float(metrics.get("seconds") or 0)
    spent = f"{counted(epochs, 'epoch')} in {time_in_words(seconds)}"
    return Outcome("good", f"Finished: {name}, {summary}; {spent}{STOPPED_BY.get(stopped, '')}.")


def _predicted(result: Mapping[str, Any]) -> Outcome:
    failures = tuple(
        Failure(one["source"], one["problem"], one["way_out"]) for one in result.get("failed", ())
    )
    done, failed = len(result["written"]), len(failures)
    # The only image failed: its reason says more than a count.
    if failed == 1 and not done:
        return Outcome("bad", failures[0].problem, failures[0].way_out, failures)
    text = f"{done} image{'s' * (done != 1)} predicted with {result.get('checkpoint_id', '')}"
    text += f", {failed} failed." if failed else "."
    return Outcome("bad" if failed else "good", text, "", failures)
