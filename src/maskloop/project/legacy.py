"""Folders of napari-training-assistant 0.2 and 0.3, read as records of ours. Writes nothing.

What those programs left out (hashes, axes, fingerprints) is measured by `upgrade`; what they
claimed and nobody can verify (the architecture of a checkpoint) is marked so; what has no place
here is kept under ``metadata``.
"""

from __future__ import annotations

import re
from pathlib import Path

from maskloop.project import layout
from maskloop.project.legacy_records import Converted, LegacyReader
from maskloop.project.legacy_tasks import choose_task, find_tasks
from maskloop.project.version2 import load_raw
from maskloop.records import open_ordinary

__all__ = ["Converted", "convert", "is_legacy"]

_VERSION = re.compile(rb'"version"\s*:\s*(\d+)')


def is_legacy(folder: Path) -> bool:
    """Whether a folder was made by napari-training-assistant and not upgraded yet."""
    config, architecture = load_raw(folder / layout.CONFIG), load_raw(folder / layout.ARCHITECTURE)
    # The architecture is written last: an upgrade that was killed before it is still to be ended.
    if config is not None and config.get("version", 1) != 1:
        return architecture is not None and architecture.get("version", 1) == 1
    if config is not None:
        return True
    # Settings that are missing or broken tell nothing: any record of ours settles it.
    return not any(_claims_ours(folder / path) for path in layout.records()) and any(
        (folder / path).is_file() for path in layout.records()
    )


# By its first bytes and not parsed: a manifest of thousands of pairs is large, and a damaged one
# must be told apart too.
def _claims_ours(path: Path) -> bool:
    try:
        with open_ordinary(path) as file:
            found = _VERSION.search(file.read(4096))
    except OSError:
        return False
    # An empty or torn file is taken for ours: calling it broken is safer than converting it.
    return found is None or int(found[1]) >= layout.BEFORE


def convert(folder: Path, *, task_id: str | None = None, apart: bool = False) -> Converted:
    """Read an older folder.

    Parameters
    ----------
    folder
        The older folder.
    task_id
        The task to read; by default the active one, or the first.
    apart
        Whether the records are for a folder of their own, where the task's files lie at the top.

    Raises
    ------
    NotFound
        If there is no such task.
    """
    tasks = find_tasks(folder)
    task = choose_task(tasks, task_id, folder)
    return LegacyReader(folder, task, apart=apart).read(
        [other for other in tasks if other is not task]
    )
