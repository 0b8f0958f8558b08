"""The decisions of a plan: each value with its reason and whose it is."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from maskloop.images.fingerprint import Fingerprint
from maskloop.models.base import Decision, Precision
from maskloop.models.device import Machine
from maskloop.models.unet.records import UNetRecipe

__all__ = ["Case", "Decisions"]

# Not the order in which they are taken, which follows from what depends on what.
ORDER = (
    "epochs",
    "patience",
    "patch_size",
    "batch_size",
    "learning_rate",
    "normalization",
    "augmentation",
    "foreground_share",
    "class_weights",
    "base_channels",
    "depth",
    "z_strides",
    "precision",
    "spatial_dims",
    "input_channels",
)
"""Decisions in the order in which a person reads them."""


class Decisions:
    """Collects values with their reasons; a value that a person set wins."""

    def __init__(self, *, of_weights: Collection[str]) -> None:
        self._all: list[Decision] = []
        self._of_weights = of_weights

    @property
    def in_order(self) -> tuple[Decision, ...]:
        """All decisions, the most interesting first."""
        return tuple(sorted(self._all, key=lambda one: ORDER.index(one.name)))

    def take(self, name: str, chosen: Any, planned: Any, reason: str) -> Any:
        """The value that a person chose, or else the planned one."""
        value, source = (planned, "planned") if chosen is None else (chosen, "person")
        # A record as the value would come back from JSON as a dictionary: it is one from the start.
        shown = value.model_dump(mode="json") if hasattr(value, "model_dump") else value
        self._all.append(
            Decision(
                name=name,
                value=shown,
                reason=reason if chosen is None else "Set by you.",
                source=source,
            )
        )
        return value

    def take_of_network(self, name: str, chosen: Any, planned: Any, reason: str) -> Any:
        """The same for a value of the network, which starting weights fix when there are some."""
        # What the weights fix must not be shown as the person's choice.
        if name in self._of_weights:
            value = planned if chosen is None else chosen
            return self.take(name, None, value, "Fixed by the starting weights.")
        return self.take(name, chosen, planned, reason)


@dataclass(frozen=True)
class Case:
    """What a plan is made from, and the decisions taken so far."""

    recipe: UNetRecipe
    data: Fingerprint
    machine: Machine
    precision: Precision
    fixed: Collection[str]
    """Fields of the network that a person or starting weights have settled."""
    say: Decisions
