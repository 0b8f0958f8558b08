"""The pixels of a layer as a file: a prediction runs in another process, which reads files."""

from __future__ import annotations

import re
import shutil
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from maskloop.compute.overview import run_state
from maskloop.images.image import Image
from maskloop.jobs.base import read_job
from maskloop.jobs.execute import JOB
from maskloop.records import write_errors

if TYPE_CHECKING:
    from maskloop.compute.project import Project

__all__ = ["INPUTS", "remove_input", "sweep_inputs", "write_input"]

INPUTS = "cache/inputs"
OLD_S = 86_400.0


def write_input(folder: Path, image: Image, name: str) -> Path:
    """Write an image region by region, never whole in memory; call it in a thread.

    Parameters
    ----------
    folder
        For such files; each gets its own subfolder.
    image
        The pixels, read as they are written.
    name
        Of the file; characters that a file name cannot have are replaced.

    Raises
    ------
    ProjectError
        If the disk is full or the folder not writable.
    """
    from maskloop.images.writers import write_image

    place = folder / uuid.uuid4().hex[:12]
    stem = re.sub(r"[^\w.+-]+", "_", name).strip("._")[:80] or "image"
    with write_errors(place):
        place.mkdir(parents=True)
    try:
        # A plain TIFF holds more pixel types than an OME-TIFF, and ours keeps axes and pixel size.
        write_image(place / f"{stem}.tif", image)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return place / f"{stem}.tif"


def remove_input(path: Path) -> None:
    """Remove what `write_input` wrote."""
    shutil.rmtree(path.parent, ignore_errors=True)


def sweep_inputs(project: Project) -> None:
    """Remove files of windows that were closed or killed before their prediction ended."""
    folder = project.path(INPUTS)
    before = time.time() - OLD_S
    places = [place for place in folder.iterdir() if place.is_dir()] if folder.is_dir() else []
    old = [place for place in places if place.stat().st_mtime < before]
    if not old:
        return  # the usual case: journals of runs are read only if there is something to remove
    wanted = _in_use(project)
    for place in old:
        if not any(Path(path).parent == place for path in wanted):
            shutil.rmtree(place, ignore_errors=True)


def _in_use(project: Project) -> set[str]:
    paths: set[str] = set()
    for run_id in project.history.runs():
        if run_id.startswith("predict") and run_state(project, run_id) == "running":
            job = read_job((project.history.run_folder(run_id) / JOB).read_bytes())
            paths.update(getattr(job, "inputs", ()))
    return paths
