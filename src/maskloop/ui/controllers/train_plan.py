"""What a training would do and why, as rows that a person can change."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from maskloop.compute.project import Project
from maskloop.errors import IncompatibleWeights, MaskloopError, UsageError
from maskloop.jobs.choices import find_start
from maskloop.jobs.training import TrainJob
from maskloop.models.base import Plan, Recipe, kinds, outline_of
from maskloop.wording import title_of

__all__ = ["Proposal", "Row", "parse_choice", "propose", "rows_of", "value_in_words"]

Source = Literal["planned", "yours", "settings", "network"]
SHARES = ("foreground_share", "validation_share")
IN_FORM = ("normalization", "augmentation")
"""These have too many values for a cell of a table."""


@dataclass(frozen=True)
class Proposal:
    """The plan of a job, its pairs, and whether the starting weights fit."""

    plan: Plan | None = None
    compatibility: str = ""
    training_count: int = 0
    validation_count: int = 0
    split_reason: str = ""
    problem: str = ""
    """Why it cannot be trained like this; empty when it can."""
    way_out: str = ""


@dataclass(frozen=True)
class Row:
    """One value of the plan."""

    name: str
    label: str
    words: str
    reason: str
    source: Source
    tooltip: str
    is_editable: bool = False
    """Whether a person can type another value."""

    @property
    def can_be_given_back(self) -> bool:
        """Whether it can be left to the plan again."""
        return self.source in ("yours", "settings")


def propose(folder: str, job: TrainJob) -> Proposal:
    """Plan a job; what does not fit is told in words.

    Called in a child process; changes nothing.
    """
    from maskloop.jobs.training import plan_split, plan_training

    project, compatibility = _project(folder), ""
    try:
        compatibility = _compatibility(project, job)
        split = plan_split(project, job)
        return Proposal(
            plan_training(project, job),
            compatibility,
            len(split.training),
            len(split.validation),
            split.reason,
        )
    except IncompatibleWeights as error:
        return Proposal(
            compatibility=f"Does not fit: {error.problem}",
            problem=error.problem,
            way_out=error.way_out,
        )
    except MaskloopError as error:
        return Proposal(compatibility=compatibility, problem=error.problem, way_out=error.way_out)


@lru_cache(maxsize=1)
def _project(folder: str) -> Project:
    # Kept, so that ten thousand pairs are not read anew with each choice.
    from maskloop.compute.project import Project

    return Project.open(Path(folder))


def _compatibility(project: Project, job: TrainJob) -> str:
    """In words, for weights that fit; whether they do is for the plan to say."""
    if job.start == "scratch":
        return "A new network, fitted to your images."
    start, _ = find_start(project, job.start)
    if start is None:
        return ""
    # What does not fit is refused by the plan itself, in its words.
    title = outline_of(start.backend, start.network).title
    return f"Fits. The training keeps its network: {title}."


def rows_of(
    family: str,
    plan: Plan | None,
    choices: Mapping[str, Any],
    planned: Mapping[str, str],
    *,
    share: tuple[float, str] | None = None,
) -> list[Row]:
    """The plan as rows, the most interesting first.

    Choices that no plan could be made of stay, so that they can be reset.

    Parameters
    ----------
    family
        Name of the backend.
    plan
        The last one that could be made.
    choices
        Fields of its recipe that a person set.
    planned
        In words, what was planned for a value before a person set it.
    share
        Of the pairs that are kept for the score, and why so many; None where nothing is planned.
    """
    architecture, recipe = kinds(family)
    decisions = {} if plan is None else {one.name: one for one in plan.decisions}
    names = [*decisions, *(name for name in recipe.model_fields if name not in decisions)]
    if share is not None and "class_weights" in names:
        names.remove("validation_share")
        names.insert(names.index("class_weights") + 1, "validation_share")

    def row(name: str, value: Any, reason: str, source: Source) -> Row:
        field = recipe.model_fields.get(name) or architecture.model_fields.get(name)
        return Row(
            name,
            (field.title if field is not None else None) or title_of(name),
            value_in_words(name, value),
            reason,
            source,
            (field.description if field is not None else None) or "",
            is_editable=name in recipe.model_fields and name not in IN_FORM,
        )

    rows = []
    for name in names:
        decision = decisions.get(name)
        if name in choices and (decision is not None or recipe.model_fields[name].title):
            before = f" Planned was {planned[name]}." if name in planned else ""
            rows.append(row(name, choices[name], f"Set by you.{before}", "yours"))
        elif decision is not None and decision.source == "planned":
            rows.append(row(name, decision.value, decision.reason, "planned"))
        elif decision is not None and name in architecture.model_fields:
            rows.append(row(name, decision.value, "Set in Advanced: Network.", "network"))
        elif decision is not None:
            rows.append(row(name, decision.value, "From the settings of the project.", "settings"))
        elif name == "validation_share" and share is not None:
            rows.append(row(name, share[0], share[1], "planned"))
    return rows


def value_in_words(name: str, value: Any) -> str:
    """A value as it is shown, and as it can be typed."""
    value = value.model_dump(mode="json") if hasattr(value, "model_dump") else value
    if name in SHARES:
        return f"{value:.0%}"
    if name == "normalization":
        spread = f" {value['low']:g}-{value['high']:g}" if value["mode"] == "percentile" else ""
        return f"{value['mode'].replace('_', '-')}{spread}, by {value['scope']}"
    if name == "augmentation":
        used = [
            part.replace("_", " ")
            for part, strength in value.items()
            if strength and part != "rotation_degrees"
        ]
        return ", ".join(used) or "none"
    if isinstance(value, tuple | list):
        return (" x " if name == "patch_size" else ", ").join(f"{one:g}" for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def parse_choice(kind: type[Recipe], name: str, text: str) -> Any:
    """What a person typed, as a value of a field of a recipe.

    Raises
    ------
    UsageError
        If it cannot be one.
    """
    numbers = re.findall(
        r"-?\d+(?:[.,]\d+)?(?:[eE]-?\d+)?"
        if name != "class_weights"
        else r"-?\d+(?:\.\d+)?(?:[eE]-?\d+)?",
        text,
    )
    value: Any = text.strip()
    if name in ("patch_size", "class_weights"):
        value = tuple(numbers)
    elif name in SHARES and numbers:
        share = float(numbers[0].replace(",", "."))
        value = share / 100 if "%" in text or share > 1 else share
    try:
        return getattr(kind.model_validate({name: value or None}), name)
    except ValidationError as error:
        words = error.errors(include_url=False)[0]["msg"].replace("Input should be", "it must be")
        label = kind.model_fields[name].title or title_of(name)
        raise UsageError(
            f"'{text.strip()}' cannot be the {label.lower()}: {words}.",
            "Type another value, or leave it to the plan.",
        ) from None
