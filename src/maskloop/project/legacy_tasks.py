"""The tasks of a napari-training-assistant 0.3 folder, each a project in all but name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from maskloop.errors import NotFound
from maskloop.project import layout
from maskloop.project.legacy_values import Raw, as_dicts, slashes
from maskloop.project.version2 import load_raw

__all__ = ["PLACES", "OlderTask", "choose_task", "find_tasks"]

PLACES = re.compile(r"(?:^|/)((?:tasks|dataset|checkpoints|models|predictions)/.*)$")
"""The part of a path that lies in a project, whatever folder it was written in."""


@dataclass(frozen=True)
class OlderTask:
    """A task of a 0.3 folder: a project of its own in all but name."""

    task_id: str
    display_name: str
    base: str
    is_active: bool
    raw: Raw


def find_tasks(folder: Path) -> list[OlderTask]:
    """The tasks of a 0.3 folder, archived ones too."""
    raw = load_raw(folder / layout.TASKS) or {}
    tasks = []
    for entry in as_dicts(raw.get("tasks")):
        task_id = str(entry.get("task_id", ""))
        base = slashes(entry.get("task_path")) or f"tasks/{task_id}"
        # Absolute where the folder has been moved since: only the part inside the project counts.
        found = PLACES.search(base)
        base = found[1] if found else base
        # A path that climbs out of the folder is no task: the project may be a stranger's.
        if task_id and (folder / base).is_dir() and ".." not in base.split("/"):
            tasks.append(
                OlderTask(
                    task_id,
                    str(entry.get("display_name") or task_id),
                    base.strip("/"),
                    task_id == raw.get("active_task_id"),
                    entry,
                )
            )
    return tasks


def choose_task(tasks: list[OlderTask], task_id: str | None, folder: Path) -> OlderTask | None:
    """The task with this id; by default the active one, else the first, or None without tasks.

    Raises
    ------
    NotFound
        If there is no such task.
    """
    if task_id is not None:
        for task in tasks:
            if task.task_id == task_id:
                return task
        known = [task.task_id for task in tasks]
        raise NotFound(
            f"'{folder}' has no task '{task_id}'.",
            f"Select one of: {', '.join(known) or 'none (it has no tasks)'}.",
        )
    return next((task for task in tasks if task.is_active), tasks[0] if tasks else None)
