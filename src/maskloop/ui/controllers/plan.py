"""What the next training will do: what a person chose, and what is planned from the images."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, Literal

from psygnal import Signal
from pydantic import ValidationError

from maskloop.compute.project import Project
from maskloop.compute.proposals import Proposal, propose
from maskloop.errors import UsageError
from maskloop.jobs.training import TrainJob
from maskloop.models.base import Recipe
from maskloop.project.layout import Pair
from maskloop.records import Record
from maskloop.ui.controllers.base import Controller
from maskloop.ui.controllers.plan_rows import (
    Row,
    parse_choice,
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
from maskloop.ui.snapshot import Snapshot
from maskloop.ui.workspace import Workspace
from maskloop.wording import counted, fault_in_words, time_in_words, without_commands

__all__ = ["PlanController"]

NOT_SET = {
    "epochs": None,
    "batch_size": None,
    "learning_rate": None,
    "patch_size": None,
    "normalization_mode": "percentile",
}
"""Settings of the project that nobody set."""
TIMES_S = [60.0, 300.0, 600.0, 1800.0, 3600.0, 3 * 3600.0, 8 * 3600.0]


class PlanController(Controller):
    """Keeps the settings of the next training and plans it while somebody looks.

    `changed` means: `start`, `pairs`, `choices`, or what can be chosen, changed.

    Parameters
    ----------
    workspace
        Whose project is trained.
    """

    planned = Signal()
    """`proposal`, `rows` or `is_planning` changed."""
    stale = Signal()
    """`catch_up` should be called soon; not at each key press."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self.proposal: Proposal | None = None
        """The newest one; None until one was made."""
        self.is_planning = False
        self._keeper: SettingsKeeper | None = None
        self._settings = self._kept = TrainSettings()
        self._writes = 0
        self._selected: tuple[str, ...] = ()
        self._before: dict[str, str] = {}
        self._last_rows: list[Row] = []
        self._is_watched = False
        self._is_stale = False
        self._seen: tuple[Any, ...] = ()
        self._seen_pairs: tuple[Pair, ...] = ()

    # What is chosen.

    @property
    def start(self) -> str:
        """Where it starts: scratch, latest, or the id of a checkpoint or imported weights."""
        known = [value for value, _ in self.start_options]
        return self._settings.start if self._settings.start in known else known[0]

    @property
    def start_options(self) -> list[tuple[str, str]]:
        """Where it can start, as value and words."""
        snapshot = self._workspace.snapshot
        latest = snapshot.status.latest_checkpoint if snapshot.status else None
        options = [("latest", f"Continue from latest ({latest})")] if latest else []
        options.append(("scratch", "From scratch"))
        names = [one.checkpoint_id for one in snapshot.checkpoints[::-1]]
        # The newest first: it is what a person looks for.
        options += [(name, f"Continue from {name}") for name in names]
        return options + [(one.model_id, f"Imported: {one.model_name}") for one in snapshot.models]

    @property
    def pairs(self) -> Literal["all", "new", "selected"]:
        """Which pairs it trains on."""
        return "selected" if self._selected else self._settings.pairs

    @property
    def pairs_options(self) -> list[tuple[str, str]]:
        """Which pairs it can train on, as value and words."""
        snapshot = self._workspace.snapshot
        new = snapshot.status.new_pair_count if snapshot.status else 0
        options = [
            (ALL, f"All pairs ({len(snapshot.active_pairs)})"),
            (NEW, f"New since last checkpoint ({new})"),
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
        """Choose what it trains on: all pairs, those new since the last checkpoint, or ids."""
        selected = pairs if isinstance(pairs, tuple) else ()
        if (selected, pairs) != (self._selected, self.pairs):
            self._selected = selected
            is_ids = isinstance(pairs, tuple)
            self._set(self._settings if is_ids else self._settings.with_(pairs=pairs))

    def choose_pairs(self, what: Literal["all", "new", "selected"]) -> None:
        """Choose one of `pairs_options`."""
        if what != "selected":
            self.set_pairs(what)

    def set_choice(self, name: str, value: Any) -> None:
        """Set a value of the recipe; None leaves it to the plan again."""
        self.set_choices({name: value})

    def set_choices(self, values: Mapping[str, Any]) -> None:
        """Set several values of the recipe; None, or a recipe's default, leaves it to the plan.

        Raises
        ------
        UsageError
            If a value is not valid; nothing is changed.
        """
        try:
            settings = self._settings.changed(values)
        except ValidationError as error:
            raise UsageError(
                fault_in_words(error), "Choose another value; nothing was changed."
            ) from None
        if settings != self._settings:
            self._set(settings)

    def type_choice(self, name: str, text: str) -> None:
        """Set a value as a person typed it; if it is not valid, say why and change nothing."""
        shown = next((row.words for row in self.rows if row.name == name), None)
        if name not in self.choices and text == shown:
            return  # a value that is only looked at stays planned
        try:
            self.set_choice(name, parse_choice(self._settings.kind, name, text))
        except UsageError as error:
            self._refuse(error)

    def record_of(self, name: str) -> dict[str, Any]:
        """Values of normalization or augmentation, chosen or planned; empty until planned."""
        plan = None if self.proposal is None else self.proposal.plan
        found: Record | None = self.choices.get(name) or getattr(plan, name, None)
        return {} if found is None else dict(found)

    def edit_record(self, name: str, values: Mapping[str, Any]) -> None:
        """Set some values of normalization or augmentation."""
        before = self.record_of(name)
        if before and {**before, **values} != before:
            self.edit({name: {**before, **values}})

    def edit(self, values: Mapping[str, Any]) -> None:
        """Set values of the recipe; if one is not valid, say why and change nothing."""
        try:
            self.set_choices(values)
        except UsageError as error:
            self._refuse(error)

    def _refuse(self, error: UsageError) -> None:
        self._workspace.fail(error)
        # The widget shows what was typed: have it show the value that is kept.
        self.planned.emit()

    def give_back(self, name: str) -> None:
        """Leave a value to the plan again, whether set here or in the project's settings."""
        if name in self.choices:
            self.set_choice(name, None)
            return
        # Not set here, so it comes from the project's settings: reset it there.
        setting: dict[str, Any] = {"augmentation_settings": {}} if name == "augmentation" else {}
        setting |= {
            key: value for key, value in NOT_SET.items() if key.removesuffix("_mode") == name
        }
        if setting:
            self._workspace.do(lambda project: project.update_config(**setting))

    @property
    def time_s(self) -> float | None:
        """The time limit; None for as long as planned."""
        found: float | None = self.choices.get("time_s")
        return found

    @property
    def time_options(self) -> list[tuple[float | None, str]]:
        """The time limits to choose from, as value and words."""
        # A limit that was set on the command line is in the list, too.
        limits = set(TIMES_S) | ({self.time_s} if self.time_s else set())
        plan = None if self.proposal is None else self.proposal.plan
        longest = plan.estimated_s if plan is not None and plan.time_s is None else None
        automatic = f"Automatic (up to {time_in_words(longest)})" if longest else "Automatic"
        return [(None, automatic), *((one, time_in_words(one)) for one in sorted(limits))]

    @property
    def recipe(self) -> Recipe:
        """The choices as a recipe."""
        return self._settings.kind.model_validate(dict(self.choices))

    @property
    def job(self) -> TrainJob:
        """What a training started now would do."""
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
        self.changed.emit()
        self.planned.emit()
        self.stale.emit()

    # What is planned.

    @property
    def rows(self) -> list[Row]:
        """The plan, each value with its reason and who decided it."""
        plan = None if self.proposal is None else self.proposal.plan
        if plan is not None:
            self._last_rows = rows_of(
                self._settings.backend, plan, self.choices, self._before, share=self._share
            )
            return self._last_rows
        # Nothing could be planned: earlier rows stay, so that a choice can be given back.
        kept = {row.name: row for row in self._last_rows if row.source != "yours"}
        mine = {
            row.name: row
            for row in rows_of(self._settings.backend, None, self.choices, self._before)
        }
        names = dict.fromkeys([*(row.name for row in self._last_rows), *mine])
        return [(kept | mine)[name] for name in names if name in kept | mine]

    @property
    def _share(self) -> tuple[float, str] | None:
        config = self._workspace.snapshot.config
        if config is None or self.proposal is None:
            return None
        return config.validation_split, self.proposal.split_reason

    @property
    def compatibility(self) -> str:
        """Whether the starting point fits, in words."""
        return "" if self.proposal is None else self.proposal.compatibility

    @property
    def problem(self) -> str:
        """Why it cannot be trained like this, and what to do; empty if it can."""
        made = self.proposal
        return "" if made is None else without_commands(f"{made.problem} {made.way_out}").strip()

    @property
    def foreseen(self) -> str:
        """How many pairs are for training and for validation, or why none are."""
        made = self.proposal
        if made is None or made.plan is None:
            return ""
        training = f"{counted(made.training_count, 'pair')} for training"
        if not made.validation_count:
            return f"{training}. {made.split_reason}"
        return f"{training}, {made.validation_count} for validation"

    @property
    def words(self) -> str:
        """The state of the plan, in a line."""
        if self.is_planning:
            return "Planning..."
        if set(self.choices) == {"time_s"}:
            return f"Time limit: {time_in_words(self.choices['time_s'])}"
        if self.choices:
            return f"{counted(len(self.choices), 'value')} set by you"
        return "" if self.proposal is None else "Planned from your images"

    def watch(self, is_watched: bool) -> None:
        """Plan only while somebody looks: it takes a process that loads torch."""
        self._is_watched = is_watched
        if is_watched and self._is_stale:
            self.stale.emit()

    def catch_up(self) -> None:
        """Save what was chosen and plan again, if something changed."""
        self.keep()
        project, snapshot = self._workspace.project, self._workspace.snapshot
        is_wanted = self._is_watched and self._is_stale and bool(snapshot.active_pairs)
        if project is None or not is_wanted:
            return
        self._is_stale, self.is_planning = False, True
        self.planned.emit()
        self._workspace.background.apart(
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
        # Remembered, so that a row can say what was planned before a person changed it.
        if proposal.plan is not None:
            planned = [one for one in proposal.plan.decisions if one.source == "planned"]
            self._before |= {one.name: value_in_words(one.name, one.value) for one in planned}
        self.planned.emit()

    def _cannot_plan(self, error: Exception) -> None:
        self.is_planning = False
        self.planned.emit()
        self._workspace.fail(error)

    # What is kept.

    def keep(self) -> None:
        """Save what was chosen, in a thread."""
        keeper, settings = self._keeper, self._settings
        is_read_only = self._workspace.snapshot.why_not_write is not None
        if keeper is None or settings == self._kept or is_read_only:
            return
        self._kept = settings
        # Counted, because writes can overlap.
        self._writes += 1
        self._workspace.do(lambda _: keeper.keep(), self._have_kept, otherwise=self._have_not_kept)

    def _have_kept(self, _: None) -> None:
        self._writes -= 1

    def _have_not_kept(self, error: Exception) -> None:
        self._writes -= 1
        self._kept = kept_settings(self._workspace.snapshot)
        self._workspace.fail(error)

    def take(self, snapshot: Snapshot) -> None:
        """Merge what others chose, and plan again if anything that matters changed."""
        # While something is being written, the snapshot may be older than what was chosen here.
        if not self._writes:
            kept = kept_settings(snapshot)
            self._take_settings(self._settings.merged(self._kept, kept))
            self._kept = kept
        # Ten thousand ids are collected only if some pairs are selected.
        alive = {pair.pair_id for pair in snapshot.active_pairs} if self._selected else set()
        self._selected = tuple(pair_id for pair_id in self._selected if pair_id in alive)
        config, settings = snapshot.config, None
        if config is not None:
            settings = config.model_dump(exclude={"last_opened_at", "notes", "training_choices"})
        seen = (self.job, snapshot.architecture, snapshot.checkpoints, snapshot.models, settings)
        # Pairs are compared by identity: comparing ten thousand of them would block the window.
        same_pairs = len(snapshot.pairs) == len(self._seen_pairs) and all(
            map(operator.is_, snapshot.pairs, self._seen_pairs)
        )
        if seen != self._seen or not same_pairs:
            self._seen, self._seen_pairs = seen, snapshot.pairs
            self._make_stale()

    def reset(self, project: Project | None) -> None:
        """Save the settings of the previous project, and forget them."""
        if self._keeper is not None and self._settings != self._kept:
            # Not `keep`: its failure would be shown in the next project.
            self._workspace.background.run(self._keeper.keep_for_good)
        self._keeper = None if project is None else SettingsKeeper(project)
        self._settings = self._kept = TrainSettings()
        self.proposal, self.is_planning = None, False
        self._selected, self._writes = (), 0
        self._before, self._last_rows = {}, []
        self._seen, self._seen_pairs = (), ()
        self._is_stale = True
        self.changed.emit()
        self.planned.emit()

    def close(self) -> None:
        """Save what was chosen, at once."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None and (self._settings != self._kept or self._writes):
            keeper.keep_for_good()
