"""Folders of version 2, read as records of version 3. Writes nothing.

Version 2 kept the task and the planned network in one description of all fields, and wrote what a
plan had decided over what a person had chosen. Two records changed their shape: the settings and
the architecture. All the others are read as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from maskloop.project import layout
from maskloop.project.layout import ArchitectureConfig, ProjectConfig
from maskloop.records import Record, last_good, parse_json, read_ordinary
from maskloop.task import Task

__all__ = ["choices_of", "convert", "damaged", "is_version_2", "load_raw", "task_of"]

USUAL: Mapping[str, Any] = {
    "backend": "basic_unet",
    "spatial_dims": "2d",
    "preset": "standard_unet",
    "depth": 4,
    "z_strides": [],
    "base_channels": 32,
    "normalization": "batch",
    "upsampling": "transpose",
    "threshold": 0.5,
}
"""What version 2 wrote for a network about which nobody had chosen anything."""
RESHAPED = (layout.CONFIG, layout.ARCHITECTURE)
"""The records that version 3 gave another shape, in the order in which they are written."""
REPLACED = ("version", "binary_or_multiclass", "input_channels")
"""Settings of version 2 that the task took the place of."""


def is_version_2(folder: Path) -> bool:
    """Whether the settings or the architecture are of version 2.

    The architecture is written last, so that an upgrade which was killed between the two is
    finished by the next one.
    """
    return any(
        raw is not None and raw.get("version") == layout.BEFORE
        for raw in (load_raw(folder / layout.CONFIG), load_raw(folder / layout.ARCHITECTURE))
    )


def convert(folder: Path) -> dict[str, Record]:
    """The settings and the architecture as records of version 3.

    Returns
    -------
    records
        By path, in the order in which they are to be written. One that is broken, or of version 3
        already, is left out.
    """
    config, architecture = (_source(folder / path) for path in RESHAPED)
    found: dict[str, Record] = {}
    decisions = (config or {}).get("auto_configuration_decisions") or ()
    if config is not None and config.get("version") == layout.BEFORE:
        # Settings without their architecture still tell the mode.
        described = architecture or {"output_mode": config.get("binary_or_multiclass")}
        settings = {name: value for name, value in config.items() if name not in REPLACED}
        task = task_of(described, decisions)
        record = _valid(ProjectConfig, {**settings, "task": task})
        found |= {} if record is None else {layout.CONFIG: record}
    if architecture is not None and architecture.get("version") == layout.BEFORE:
        record = _valid(ArchitectureConfig, choices_of(architecture, decisions))
        found |= {} if record is None else {layout.ARCHITECTURE: record}
    return found


def damaged(folder: Path) -> tuple[str, ...]:
    """What is damaged and read from its last good copy, with what to do about it."""
    return tuple(
        f"Record '{folder / path}' is damaged; its last good copy is used."
        "\n  -> Run 'maskloop check --repair' to put the copy in its place."
        for path in RESHAPED
        if load_raw(folder / path) is None and _source(folder / path) is not None
    )


def _source(path: Path) -> dict[str, Any] | None:
    """A record's plain JSON; of a damaged one that of its last good copy.

    Repair could not read that copy: it is of version 2 too.
    """
    raw = load_raw(path)
    if raw is not None or not path.is_file():
        return raw
    copy = load_raw(last_good(path))
    return copy if copy is not None and copy.get("version") == layout.BEFORE else None


def task_of(description: Mapping[str, Any], decisions: Iterable[Mapping[str, Any]]) -> Task:
    """The task in a description of version 2; channels that nobody chose are left to the data."""
    channels = description.get("input_channels", 1)
    is_chosen = channels != 1 and ("input_channels", str(channels)) not in _planned(decisions)
    task = Task.of_description(description)
    return task.model_copy(update={"channels": channels}) if is_chosen else task


def choices_of(
    description: Mapping[str, Any], decisions: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """What a person chose in a description of version 2.

    It differs from what was written when nobody chose, and no plan decided it. That is as much as
    can be known: a choice that equals the usual value was never told apart from none.
    """
    planned = _planned(decisions)
    return {
        name: value
        for name, value in description.items()
        if name in USUAL and value != USUAL[name] and (name, str(value)) not in planned
    }


def _planned(decisions: Iterable[Mapping[str, Any]]) -> set[tuple[str, str]]:
    return {
        (str(entry.get("name")), str(entry.get("value")))
        for entry in decisions
        if entry.get("source") == "planned"
    }


def _valid(kind: type[Record], values: Mapping[str, Any]) -> Record | None:
    # A record that cannot be converted stays on disk as it is, and reading it says what is wrong.
    try:
        return kind.model_validate(values)
    except ValidationError:
        return None


def load_raw(path: Path) -> dict[str, Any] | None:
    """The plain JSON of a record; None where it is missing or broken."""
    try:
        raw = parse_json(read_ordinary(path))
    except (OSError, ValueError):
        return None
    return raw if isinstance(raw, dict) else None
