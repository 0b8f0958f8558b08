"""The pixels of a layer as a file, because a prediction runs in another process and reads files."""

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
    """Write an image piece by piece, so that a large one is never in memory; in a thread, it may take a while.

    Parameters
    ----------
    folder
        The place for such files; each gets a folder of its own.
    image
        The pixels, read as they are written.
    name
        What the file is called, as far as a file may be called so.

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
        # A plain TIFF takes more types of pixels than an OME-TIFF does, and ours keeps axes and
        # pixel size just as well.
        write_image(place / f"{stem}.tif", image)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return place / f"{stem}.tif"


def remove_input(path: Path) -> None:
    """Remove what `write_input` wrote."""
    shutil.rmtree(path.parent, ignore_errors=True)


def sweep_inputs(project: Project) -> None:
    """Remove what windows left behind that were closed or killed before their prediction ended."""
    folder = project.path(INPUTS)
    before = time.time() - OLD_S
    old = (
        [place for place in folder.iterdir() if place.is_dir() and place.stat().st_mtime < before]
        if folder.is_dir()
        else []
    )
    if not old:
        return
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
