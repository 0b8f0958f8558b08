"""Do these weights fit this architecture: each mismatch by name, with both values."""

from __future__ import annotations

from typing import Any, NamedTuple

from maskloop.errors import IncompatibleWeights
from maskloop.models.base import Architecture, UNetArchitecture
from maskloop.task import Task

__all__ = ["Mismatch", "compare_architectures", "compare_choices", "require_compatible", "shown"]

COMPARED = {
    "backend": "backend",
    "spatial_dims": "dimensionality",
    "preset": "preset",
    "depth": "depth",
    "z_strides": "strides along Z",
    "base_channels": "base channels",
    "normalization": "normalization",
    "upsampling": "upsampling",
    "input_channels": "input channels",
    "output_mode": "output mode",
    "num_classes": "number of classes",
    "output_channels": "output channels",
}
"""Fields that must agree, and what people call them."""


class Mismatch(NamedTuple):
    """One property in which two architectures differ."""

    name: str
    wanted: Any
    found: Any

    def __str__(self) -> str:
        return f"{self.name} is {self.found}, needed is {self.wanted}"


def shown(field: str, value: Any) -> Any:
    """A value of a field of `Architecture` as people are told it: of `z_strides` also how they go on."""
    if field != "z_strides":
        return value
    return ", ".join([*map(str, value), "then 2"]) if value else "2"


def compare_architectures(wanted: Architecture, found: Architecture) -> list[Mismatch]:
    """What keeps weights made for `found` from being used as `wanted`; empty when nothing does.

    Names of the classes, threshold and loss may differ: they do not change what the weights mean to
    the network.
    """
    pairs = (
        (name, *(shown(field, getattr(one, field)) for one in (wanted, found)))
        for field, name in COMPARED.items()
    )
    return [Mismatch(name, ours, theirs) for name, ours, theirs in pairs if ours != theirs]


def compare_choices(task: Task, choices: UNetArchitecture, found: Architecture) -> list[Mismatch]:
    """What keeps weights made for `found` from serving this task with these choices."""
    return compare_architectures(_as_chosen(task, choices, found), found)


def _as_chosen(task: Task, choices: UNetArchitecture, found: Architecture) -> Architecture:
    """The network of some weights with everything that a project says otherwise."""
    kept = found.model_dump(include=set(COMPARED) - {"output_channels"})
    channels = {} if task.channels is None else {"input_channels": task.channels}
    wanted = {"output_mode": task.mode, "num_classes": task.num_classes}
    labels = {"class_labels": task.class_labels}
    return Architecture.model_validate({**kept, **choices.chosen, **channels, **wanted, **labels})


def require_compatible(
    task: Task, choices: UNetArchitecture, found: Architecture, *, source: str
) -> Architecture:
    """The network of some weights, named as the task names its classes.

    Parameters
    ----------
    task
        What is to be found.
    choices
        What a person chose about the network.
    found
        The network that the weights were made for.
    source
        What to call the weights in the message, such as ``checkpoint 'unet_run_001'``.

    Raises
    ------
    IncompatibleWeights
        If they do not serve the task, or the choices ask for another network; each mismatch is
        named with both values.
    """
    wanted = _as_chosen(task, choices, found)
    mismatches = compare_architectures(wanted, found)
    if mismatches:
        raise IncompatibleWeights(
            f"{source} does not fit the architecture: {'; '.join(map(str, mismatches))}.",
            "Choose other weights, start from scratch, or set the architecture to that of the weights.",
        )
    return wanted
