"""Do these weights fit this task and these choices: each mismatch by name, with both values."""

from __future__ import annotations

from typing import Any

from maskloop.errors import IncompatibleWeights
from maskloop.models.base import Mismatch, Start
from maskloop.models.unet.records import UNetArchitecture, UNetNetwork, network_for
from maskloop.task import Task

__all__ = ["compare", "read_network", "require_compatible", "shown"]

COMPARED = {
    "spatial_dims": "dimensionality",
    "preset": "preset",
    "depth": "depth",
    "z_strides": "Z strides",
    "base_channels": "base channels",
    "normalization": "normalization",
    "upsampling": "upsampling",
    "input_channels": "input channels",
    "output_channels": "output channels",
}
"""Fields of the network that must agree, and what people call them."""
NAME = "basic_unet"


def shown(field: str, value: Any) -> Any:
    """A value of a network's field as people are told it: Z strides with how they continue."""
    if field != "z_strides":
        return value
    return ", ".join([*map(str, value), "then 2"]) if value else "2"


def compare(task: Task, choices: UNetArchitecture, start: Start) -> list[Mismatch]:
    """What keeps weights from serving this task with these choices; empty when nothing does.

    Class names and the threshold may differ: they do not change what the weights mean.
    """
    # All mismatches and not the first one: a person should need to change the architecture only
    # once.
    found: list[Mismatch] = []
    if start.backend != NAME:
        return [Mismatch("backend", NAME, start.backend)]
    if start.task is not None and start.task.mode != task.mode:
        found.append(Mismatch("output mode", task.mode, start.task.mode))
    if start.task is not None and start.task.num_classes != task.num_classes:
        found.append(Mismatch("number of classes", task.num_classes, start.task.num_classes))
    # Compared with the choices that a person has made; all that was left open follows the weights.
    theirs = read_network(start)
    ours = _as_chosen(task, choices, theirs)
    for field, name in COMPARED.items():
        wanted, given = (shown(field, getattr(one, field)) for one in (ours, theirs))
        if wanted != given:
            found.append(Mismatch(name, wanted, given))
    return found


def read_network(start: Start) -> UNetNetwork:
    """The network that weights were made for.

    Raises
    ------
    IncompatibleWeights
        If their record does not say, or not in a way that is understood.
    """
    # The same words for a record that says nothing and for one that nobody understands.
    unknown = IncompatibleWeights(
        f"{start.name} does not state the network it was made for.",
        "Select other weights, or start from scratch (--from scratch).",
    )
    if not start.network:
        raise unknown
    try:
        return UNetNetwork.model_validate(dict(start.network))
    except ValueError:
        raise unknown from None


def _as_chosen(task: Task, choices: UNetArchitecture, found: UNetNetwork) -> UNetNetwork:
    """The network of some weights with everything that a project says otherwise."""
    chosen = {
        name: value for name, value in choices.chosen.items() if name in UNetNetwork.model_fields
    }
    channels = {} if task.channels is None else {"input_channels": task.channels}
    outputs = network_for(task, choices).output_channels
    return UNetNetwork.model_validate(
        {**found.model_dump(), **chosen, **channels, "output_channels": outputs}
    )


def require_compatible(task: Task, choices: UNetArchitecture, start: Start) -> UNetNetwork:
    """The network of some weights.

    Raises
    ------
    IncompatibleWeights
        If they do not serve the task, or the choices ask for another network; each mismatch is
        named with both values.
    """
    mismatches = compare(task, choices, start)
    if mismatches:
        raise IncompatibleWeights(
            f"{start.name} does not match the architecture: {'; '.join(map(str, mismatches))}.",
            "Select other weights, start from scratch, or set the architecture to that of the "
            "weights.",
        )
    return read_network(start)
