"""Train: what the next training is to do, and what the present one does."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from psygnal import Signal, SignalGroup
from pydantic import ValidationError

from maskloop.errors import MaskloopError, UsageError
from maskloop.events import Event, Failed, Finished
from maskloop.jobs.training import TrainJob
from maskloop.models.base import Recipe
from maskloop.records import Record
from maskloop.ui.controllers.runs import RunController
from maskloop.ui.controllers.train_plan import (
    Proposal,
    Row,
    parse_choice,
    propose,
    rows_of,
    value_in_words,
)
from maskloop.ui.controllers.train_settings import (
    ALL,
    NEW,
    SettingsKeeper,
    TrainSettings,
    kept_settings,
)
from maskloop.ui.controllers.train_story import TrainStory
from maskloop.wording import time_in_words

if TYPE_CHECKING:
    from maskloop.compute.overview import RunSummary
    from maskloop.compute.project import Project
    from maskloop.project.layout import Pair
    from maskloop.ui.session import Session
    from maskloop.ui.snapshot import Snapshot

__all__ = ["TrainingEvents", "TrainingController"]

NOT_SET = {
    "epochs": None,
    "batch_size": None,
    "learning_rate": None,
    "patch_size": None,
    "normalization_mode": "percentile",
}
"""Settings of the project that nobody set."""
TIMES_S = [60.0, 300.0, 600.0, 1800.0, 3600.0, 3 * 3600.0, 8 * 3600.0]


class TrainingEvents(SignalGroup):
    """Told in the thread of the window."""

    settings_changed = Signal()
    """`start`, `pairs`, `choices`, or what can be chosen, changed."""
    plan_changed = Signal()
    """`proposal`, `rows` or `is_planning` changed."""
    run_changed = Signal()
    """`story`, `words` or what can be done with the run changed."""
    stale = Signal()
    """`catch_up` should be called soon; not at each key that is pressed."""


class TrainingController:
    """Chooses, plans, trains, cancels, goes on and follows.

    Parameters
    ----------
    session
        Whose project is trained.
    """

    def __init__(self, session: Session) -> None:
        self.events = TrainingEvents()
        self.proposal: Proposal | None = None
        """The newest one; None until one was made."""
        self.is_planning = False
        self.story = TrainStory()
        self.running = RunController(session, "train")
        self._session = session
        self._keeper: SettingsKeeper | None = None
        self._settings = self._kept = TrainSettings()
        self._writes = 0
        self._selected: tuple[str, ...] = ()
        self._planned: dict[str, str] = {}
        self._last_rows: list[Row] = []
        self._is_watched = self._is_stale = self._is_joined = False
        self._seen: tuple[Any, ...] = ()
        self._seen_pairs: tuple[Pair, ...] = ()
        self._shown: tuple[str, str] = ("", "")
        self.running.events.changed.connect(self.events.run_changed.emit)
        self.running.events.told.connect(self._hear)
        self.running.events.ended.connect(self._end)
        session.events.project_changed.connect(self._change_project)
        session.events.snapshot_changed.connect(self._take)

    # What is chosen.

    @property
    def start(self) -> str:
        """Where it starts: scratch, latest, or the id of a checkpoint or of imported weights that are there."""
        known = [value for value, _ in self.start_options]
        return self._settings.start if self._settings.start in known else known[0]

    @property
    def start_options(self) -> list[tuple[str, str]]:
        """All that can be started from, and what it is called."""
        snapshot = self._session.snapshot
        records = snapshot.checkpoints[::-1]
        latest = snapshot.status.latest_checkpoint if snapshot.status else None
        options = [("latest", f"Continue from the latest ({latest})")] if latest else []
        options.append(("scratch", "From scratch"))
        options += [(one.checkpoint_id, f"Continue from {one.checkpoint_id}") for one in records]
        return options + [(one.model_id, f"Imported: {one.model_name}") for one in snapshot.models]

    @property
    def pairs(self) -> Literal["all", "new", "selected"]:
        """Which pairs it learns from."""
        return "selected" if self._selected else self._settings.pairs

    @property
    def pairs_options(self) -> list[tuple[str, str]]:
        """All that can be learned from, and what it is called; those selected in the table only when there are some."""
        snapshot = self._session.snapshot
        new = snapshot.status.new_pair_count if snapshot.status else 0
        options = [
            (ALL, f"All pairs ({len(snapshot.active_pairs)})"),
            (NEW, f"New since the last checkpoint ({new})"),
        ]
        count = len(self._selected)
        return [*options, ("selected", f"Selected in the table ({count})")] if count else options

    @property
    def choices(self) -> Mapping[str, Any]:
        """The fields of `Recipe` that a person set."""
        return self._settings.choices

    def set_start(self, start: str) -> None:
        """Choose where the next training starts."""
        if start != self.start:
            self._set(self._settings.with_(start=start))

    def set_pairs(self, pairs: Literal["all", "new"] | tuple[str, ...]) -> None:
        """Choose what is learned from: all pairs, those new since the last checkpoint, or ids."""
        selected = pairs if isinstance(pairs, tuple) else ()
        if (selected, pairs) != (self._selected, self.pairs):
            self._selected = selected
            self._set(
                self._settings if isinstance(pairs, tuple) else self._settings.with_(pairs=pairs)
            )

    def choose_pairs(self, what: Literal["all", "new", "selected"]) -> None:
        """Choose one of `pairs_options`."""
        if what != "selected":
            self.set_pairs(what)

    def set_choice(self, name: str, value: Any) -> None:
        """Set a value of the recipe; None leaves it to the plan again."""
        self.set_choices({name: value})

    def set_choices(self, values: Mapping[str, Any]) -> None:
        """Set several values of the recipe; what is None, or what a recipe has anyway, is left to the plan.

        Raises
        ------
        UsageError
            If a value does not fit; nothing is changed.
        """
        try:
            choices = self._settings.changed(values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = ".".join(str(part) for part in first["loc"]).replace("_", " ")
            raise UsageError(
                f"{name.capitalize()} does not fit: {first['msg']}.",
                "Choose another value; nothing was changed.",
            ) from None
        if choices != self._settings:
            self._set(choices)

    def type_choice(self, name: str, text: str) -> None:
        """Set a value of the recipe as a person types it; what cannot be read is told, and nothing is changed."""
        try:
            if name in self.choices or text != next(
                (row.words for row in self.rows if row.name == name), None
            ):
                self.set_choice(name, parse_choice(self._settings.kind, name, text))
        except UsageError as error:
            self._session.fail(error)
            self.events.plan_changed.emit()

    def record_of(self, name: str) -> dict[str, Any]:
        """The values of normalization or augmentation, as chosen or planned; empty until they are planned."""
        plan = None if self.proposal is None else self.proposal.plan
        found: Record | None = self.choices.get(name) or getattr(plan, name, None)
        return {} if found is None else dict(found)

    def edit_record(self, name: str, values: Mapping[str, Any]) -> None:
        """Set some values of normalization or augmentation; what does not fit is told, and nothing is changed."""
        before = self.record_of(name)
        if before and {**before, **values} != before:
            self.edit({name: {**before, **values}})

    def edit(self, values: Mapping[str, Any]) -> None:
        """Set values of the recipe; what does not fit is told, and nothing is changed."""
        try:
            self.set_choices(values)
        except UsageError as error:
            self._session.fail(error)
            self.events.plan_changed.emit()

    def give_back(self, name: str) -> None:
        """Leave a value to the plan again, be it set here or in the settings of the project."""
        if name in self.choices:
            self.set_choice(name, None)
            return
        setting: dict[str, Any] = {"augmentation_settings": {}} if name == "augmentation" else {}
        setting |= {
            key: value for key, value in NOT_SET.items() if key.removesuffix("_mode") == name
        }
        if setting:
            self._session.do(lambda project: project.update_config(**setting))

    @property
    def time_s(self) -> float | None:
        """How long it may train, or None for as long as is planned."""
        found: float | None = self.choices.get("time_s")
        return found

    @property
    def time_options(self) -> list[tuple[float | None, str]]:
        """How long it may train, and what that is called."""
        usual = (
            TIMES_S
            if self.time_s is None or self.time_s in TIMES_S
            else sorted([*TIMES_S, self.time_s])
        )
        plan = None if self.proposal is None else self.proposal.plan
        open_end = plan.estimated_s if plan is not None and plan.time_s is None else None
        planned = (
            f"As long as planned, at most about {time_in_words(open_end)}"
            if open_end
            else "As long as planned"
        )
        return [
            (None, planned),
            *((seconds, f"After {time_in_words(seconds)}") for seconds in usual),
        ]

    @property
    def recipe(self) -> Recipe:
        """The choices as a recipe."""
        return self._settings.kind.model_validate(dict(self.choices))

    @property
    def job(self) -> TrainJob:
        """What `train` would do."""
        return TrainJob(
            backend=self._settings.backend,
            recipe=self.recipe,
            start=self.start,
            pairs=self._selected or self._settings.pairs,
        )

    def _set(self, settings: TrainSettings) -> None:
        self._take_settings(settings)
        self._make_stale()

    def _take_settings(self, settings: TrainSettings) -> None:
        self._settings = settings
        if self._keeper is not None:
            self._keeper.newest = settings

    def _make_stale(self) -> None:
        self._is_stale = True
        self.events.settings_changed.emit()
        self.events.plan_changed.emit()
        self.events.stale.emit()

    # What is planned.

    @property
    def rows(self) -> list[Row]:
        """The plan, each value with its reason and who decided it."""
        plan = None if self.proposal is None else self.proposal.plan
        if plan is not None:
            self._last_rows = rows_of(
                self._settings.backend, plan, self.choices, self._planned, share=self._share
            )
            return self._last_rows
        # Nothing could be planned: what was there stays, so that a choice can be given back.
        kept = {row.name: row for row in self._last_rows if row.source != "yours"}
        mine = {
            row.name: row
            for row in rows_of(self._settings.backend, None, self.choices, self._planned)
        }
        names = dict.fromkeys([*(row.name for row in self._last_rows), *mine])
        return [(kept | mine)[name] for name in names if name in kept | mine]

    @property
    def _share(self) -> tuple[float, str] | None:
        config = self._session.snapshot.config
        return (
            None
            if config is None or self.proposal is None
            else (config.validation_split, self.proposal.split_reason)
        )

    @property
    def compatibility(self) -> str:
        """Whether the starting point fits, in words."""
        return "" if self.proposal is None else self.proposal.compatibility

    @property
    def problem(self) -> str:
        """Why it cannot be trained like this, with the way out; empty when it can."""
        return (
            ""
            if self.proposal is None or not self.proposal.problem
            else f"{self.proposal.problem} {self.proposal.way_out}"
        )

    @property
    def foreseen(self) -> str:
        """How many pairs are learned from, and how many the score comes from, or why there is none."""
        made = self.proposal
        if made is None or made.plan is None:
            return ""
        if not made.validation_count:
            return f"Learns from {made.training_count}. {made.split_reason}"
        return f"Learns from {made.training_count}, scored on {made.validation_count} other{'s' * (made.validation_count != 1)}"

    @property
    def plan_words(self) -> str:
        """How the plan stands, in a line."""
        if self.is_planning:
            return "Planning..."
        count = len(self.choices)
        return (
            f"{count} value{'s' * (count != 1)} set by you"
            if count
            else ""
            if self.proposal is None
            else "All planned from your images"
        )

    def watch(self, is_watched: bool) -> None:
        """Plan only while somebody looks: it takes a process that loads torch."""
        self._is_watched = is_watched
        if is_watched and self._is_stale:
            self.events.stale.emit()

    def catch_up(self) -> None:
        """Keep what was chosen and plan anew, where something changed."""
        self._keep()
        project, snapshot = self._session.project, self._session.snapshot
        if (
            project is None
            or not self._is_watched
            or not self._is_stale
            or not snapshot.active_pairs
        ):
            return
        self._is_stale, self.is_planning = False, True
        self.events.plan_changed.emit()
        self._session.background.apart(
            propose,
            str(project.folder),
            self.job,
            helper="plan",
            then=self._show,
            key="training plan",
            otherwise=self._cannot_plan,
        )

    def _show(self, proposal: Proposal) -> None:
        self.proposal, self.is_planning = proposal, False
        if proposal.plan is not None:
            decided = {
                one.name: value_in_words(one.name, one.value)
                for one in proposal.plan.decisions
                if one.source == "planned"
            }
            self._planned |= decided
        self.events.plan_changed.emit()
        self.events.run_changed.emit()

    def _cannot_plan(self, error: Exception) -> None:
        self.is_planning = False
        self.events.plan_changed.emit()
        self._session.fail(error)

    def _keep(self) -> None:
        keeper, settings = self._keeper, self._settings
        if (
            keeper is None
            or settings == self._kept
            or self._session.snapshot.why_not_write is not None
        ):
            return
        self._kept = settings
        self._writes += 1
        self._session.do(lambda _: keeper.keep(), self._have_kept, otherwise=self._have_not_kept)

    def _have_kept(self, _: None) -> None:
        self._writes -= 1

    def _have_not_kept(self, error: Exception) -> None:
        self._writes -= 1
        self._kept = kept_settings(self._session.snapshot)
        self._session.fail(error)

    # What is done.

    @property
    def is_active(self) -> bool:
        """Whether a training is going on or about to."""
        return self.running.is_active or self.running.is_starting

    @property
    def why_not_train(self) -> str | None:
        """Why no training can be started, or None."""
        snapshot = self._session.snapshot
        if snapshot.why_not_write is not None:
            return snapshot.why_not_write
        if self.is_active:
            return "A training is going on."
        if not snapshot.active_pairs:
            return "There is no pair to learn from: accept one in Dataset."
        if self.pairs == NEW and snapshot.status is not None and not snapshot.status.new_pair_count:
            return "No pair is new since the last checkpoint: accept new ones, or train on all."
        return self.problem or None

    @property
    def why_not_cancel(self) -> str | None:
        """Why there is nothing to cancel, or None."""
        return None if self.running.is_active else "No training is going on."

    @property
    def interrupted(self) -> RunSummary | None:
        """The last training, when it can go on."""
        last = self._last_run(self._session.snapshot)
        return (
            last
            if last is not None and last.state == "interrupted" and not self.is_active
            else None
        )

    @property
    def offer(self) -> str:
        """Whether to go on with the last training, as a question; empty where there is nothing to go on with."""
        found = self.interrupted
        if found is None:
            return ""
        where = (
            f"after epoch {found.epochs}" if found.epochs else "before its first epoch was scored"
        )
        return f"Training {found.run_id} was interrupted {where}: go on?"

    @property
    def words(self) -> str:
        """What the run does now, in a line."""
        if self.running.is_starting:
            return "Starting"
        if self.running.is_active and self._is_joined:
            return f"{self.story.progress} (going on since {self.story.age()}, followed here)"
        return self.story.progress if self.running.is_active else ""

    @property
    def has_run(self) -> bool:
        """Whether there is anything to show of a training."""
        return self.is_active or bool(self.story.history) or self.story.has_ended

    @property
    def preview(self) -> tuple[int, Path] | None:
        """The newest picture and its epoch."""
        folder = self.running.folder
        return (
            None
            if self.story.preview is None or folder is None
            else (self.story.preview[0], folder / self.story.preview[1])
        )

    def train(self) -> None:
        """Start a training as it is planned; the same one that was interrupted goes on where it was."""
        why_not = self.why_not_train
        if why_not is not None:
            self._session.fail(MaskloopError("No training was started.", why_not))
            return
        job = self.job
        self._keep()
        self._begin()
        self.running.start(lambda _: job)

    def go_on(self) -> None:
        """Go on with the training that was interrupted."""
        found = self.interrupted
        if found is not None:
            self._begin()
            self.running.resume(found.run_id)

    def cancel(self) -> None:
        """Stop in good order; what is best so far is kept."""
        self.running.cancel()

    def _begin(self) -> None:
        self.story, self._is_joined = TrainStory(), False
        self.events.run_changed.emit()

    def _hear(self, events: list[Event]) -> None:
        if self.story.run_id != self.running.run_id:
            self.story = TrainStory(run_id=str(self.running.run_id))
        self.story.take(events)
        self.events.run_changed.emit()

    def _end(self, last: Finished | Failed) -> None:
        if self.story.tone == "bad":
            self._session.fail(MaskloopError(self.story.outcome, self.story.way_out))
        else:
            self._session.say(f"{self.story.outcome} {self.story.way_out}".strip())
        self._shown = (str(self.running.run_id), "ended")

    # What others do.

    def _take(self, snapshot: Snapshot) -> None:
        if not self._writes:  # else it may have been read before what was chosen here was written
            kept = kept_settings(snapshot)
            self._take_settings(self._settings.merged(self._kept, kept))
            self._kept = kept
        alive = {pair.pair_id for pair in snapshot.active_pairs} if self._selected else set()
        self._selected = tuple(pair_id for pair_id in self._selected if pair_id in alive)
        self._follow(snapshot)
        config = snapshot.config
        settings = (
            None
            if config is None
            else config.model_dump(exclude={"last_opened_at", "notes", "training_choices"})
        )
        seen = (self.job, snapshot.architecture, snapshot.checkpoints, snapshot.models, settings)
        # Pairs are compared by identity: ten thousand of them would take too long otherwise.
        same_pairs = len(snapshot.pairs) == len(self._seen_pairs) and all(
            map(operator.is_, snapshot.pairs, self._seen_pairs)
        )
        if seen != self._seen or not same_pairs:
            self._seen, self._seen_pairs = seen, snapshot.pairs
            self._make_stale()
        self.events.run_changed.emit()

    def _last_run(self, snapshot: Snapshot) -> RunSummary | None:
        return next((run for run in reversed(snapshot.runs) if run.kind == "train"), None)

    def _follow(self, snapshot: Snapshot) -> None:
        """Show the newest training, be it over or going on in another window."""
        last = self._last_run(snapshot)
        if last is None or last.state == "submitted" or self.is_active:
            return
        state = "running" if last.state == "running" else "ended"
        if self._shown != (last.run_id, state):
            self._shown, self._is_joined = (last.run_id, state), True
            self.story = TrainStory(run_id=last.run_id)
            self.running.take_up(last.run_id)

    def _change_project(self, project: Project | None) -> None:
        if self._keeper is not None and self._settings != self._kept:
            self._session.background.run(self._keeper.keep_for_good)
        self._keeper = None if project is None else SettingsKeeper(project)
        self.proposal, self.is_planning, self.story = None, False, TrainStory()
        self._settings = self._kept = TrainSettings()
        self._selected, self._planned, self._last_rows, self._writes = (), {}, [], 0
        self._seen, self._seen_pairs, self._shown, self._is_stale = (), (), ("", ""), True
        for signal in (
            self.events.settings_changed,
            self.events.plan_changed,
            self.events.run_changed,
        ):
            signal.emit()

    def close(self) -> None:
        """End; what was chosen is kept, and a training goes on."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None and (self._settings != self._kept or self._writes):
            keeper.keep_for_good()
        self.running.close()
