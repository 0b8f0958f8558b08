"""Descriptions and plans of version 2, in which the task stood beside the network.

They are found in checkpoint files (``.pt``), in the records of checkpoints and imported weights,
and in the inputs of interrupted runs, and stay readable for ever: this is the one place that does.
"""

from __future__ import annotations

from typing import Any

from maskloop.images.instances import InstanceSettings
from maskloop.predict.outputs import output_for
from maskloop.task import Task

__all__ = ["network_of_version_2", "plan_of_version_2"]

BESIDE = (
    "backend",
    "output_mode",
    "num_classes",
    "class_labels",
    "activation",
    "loss",
    "threshold",
)
"""What a description of version 2 told besides the network."""


def network_of_version_2(values: Any) -> Any:
    """The network alone in a description of version 2; any other is given back as it is."""
    if not isinstance(values, dict) or not set(values) & set(BESIDE):
        return values
    # By any field that only version 2 had: descriptions of that version name no version themselves.
    network = {name: value for name, value in values.items() if name not in BESIDE}
    if "output_channels" not in network:
        task = Task.of_description(values)
        network["output_channels"] = output_for(task.mode, task.class_names).channels
    return network


def plan_of_version_2(values: Any) -> Any:
    """A plan of version 2 as one of version 3; any other is given back as it is."""
    if not isinstance(values, dict) or "architecture" not in values:
        return values
    plan = dict(values)
    # Copies: the caller may still hold what it gave.
    described = dict(plan.pop("architecture"))
    task = Task.of_description(described)
    usual = InstanceSettings().seed_threshold
    output = output_for(
        task.mode,
        task.class_names,
        threshold=described.get("threshold", 0.5),
        instances=InstanceSettings(
            seed_threshold=plan.pop("seed_threshold", usual),
            typical_diameter_px=plan.pop("object_diameter_px", None),
            largest_extent_px=plan.pop("object_extent_px", 0),
        ),
    )
    return {
        **plan,
        "task": task.model_dump(),
        "network": network_of_version_2(described),
        "output": output.model_dump(),
    }
