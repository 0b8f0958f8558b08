"""The plan of a training as rows, each with its reason, which a person can change."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from maskloop.errors import UsageError
from maskloop.models.base import Plan, Recipe, kinds
from maskloop.wording import fault_in_words, title_of

__all__ = ["Row", "parse_choice", "rows_of", "value_in_words"]

Source = Literal["planned", "yours", "settings", "network"]
SHARES = ("foreground_share", "validation_share")
IN_FORM = ("normalization", "augmentation")
"""These have too many values for a cell of the table: they have forms of their own."""


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


def rows_of(
    family: str,
    plan: Plan | None,
    choices: Mapping[str, Any],
    planned: Mapping[str, str],
    *,
    share: tuple[float, str] | None = None,
) -> list[Row]:
    """The plan as rows, the most interesting first; choices stay even if no plan could be made.

    Parameters
    ----------
    family
        Name of the backend.
    plan
        The newest one that could be made.
    choices
        Fields of its recipe that a person set.
    planned
        In words, what was planned for a value before a person set it.
    share
        Of the pairs that are reserved for validation, and why; None if nothing is planned.
    """
    architecture, recipe = kinds(family)
    decisions = {} if plan is None else {one.name: one for one in plan.decisions}
    # Also what was not decided: a choice stays visible when no plan could be made.
    names = [*decisions, *(name for name in recipe.model_fields if name not in decisions)]
    # It is decided with the split, not with the plan; people look for it beside the losses.
    if share is not None and "class_weights" in names:
        names.remove("validation_share")
        names.insert(names.index("class_weights") + 1, "validation_share")

    def row(name: str, value: Any, reason: str, source: Source) -> Row:
        # Some values, such as the depth, are in both: the recipe's choice wins over the network's.
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
        # None means planned: what has another default, such as the device, nobody plans.
        can_be_planned = name in recipe.model_fields and recipe.model_fields[name].default is None
        if name in choices and (decision is not None or can_be_planned):
            before = f" Planned was {planned[name]}." if name in planned else ""
            rows.append(row(name, choices[name], f"Set by you.{before}", "yours"))
        elif decision is not None and decision.source == "planned":
            rows.append(row(name, decision.value, decision.reason, "planned"))
        elif decision is not None and name in architecture.model_fields:
            rows.append(row(name, decision.value, "Set in Advanced: Network.", "network"))
        elif decision is not None:
            rows.append(row(name, decision.value, "From the project's settings.", "settings"))
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
        If it is not valid.
    """
    # A comma separates the weights of classes; elsewhere it may be a decimal comma.
    mark = r"\." if name == "class_weights" else "[.,]"
    numbers = re.findall(rf"-?\d+(?:{mark}\d+)?(?:[eE]-?\d+)?", text)
    value: Any = text.strip()
    if name in ("patch_size", "class_weights"):
        value = tuple(numbers)
    elif name in SHARES and numbers:
        share = float(numbers[0].replace(",", "."))
        # "20" and "20 %" mean a fifth, "0.2" as well; a share cannot be more than one.
        value = share / 100 if "%" in text or share > 1 else share
    try:
        # Nothing typed leaves it to the plan.
        return getattr(kind.model_validate({name: value or None}), name)
    except ValidationError as error:
        raise UsageError(
            fault_in_words(error, kind=kind), "Type another value, or leave it to the plan."
        ) from None
