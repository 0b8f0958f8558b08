"""The whole loop in one go, on simulated microscopy or on a person's own pairs; every figure it tells is measured."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from maskloop.compute.project import Project
from maskloop.errors import MaskloopError, ProjectError, UsageError
from maskloop.events import Message, Report, silent
from maskloop.images.image import Image
from maskloop.images.masks import MaskRule
from maskloop.images.meaning import MaskMeaning, tell_meaning
from maskloop.images.readers import open_image, open_labels
from maskloop.images.sources import PairTable, find_images, match_pairs, stem_of
from maskloop.images.writers import overlay_png, write_image, write_labels
from maskloop.jobs.evaluate import Evaluation, evaluate_folders
from maskloop.project.splits import split_pairs
from maskloop.project.store import copy_file
from maskloop.records import Record, write_bytes, write_errors, write_record
from maskloop.samples import simulate_pairs
from maskloop.task import OutputMode

__all__ = ["DemoResult", "run_demo"]

FIELDS = 16
"""Simulated images: 12 to train and validate on, 4 that the model never sees."""
FIELD_SHAPE = (256, 256)
UNSEEN_SHARE = 0.25
RECORD = "demo.json"
SHOWN_SCORES = ("dice", "iou", "ap50", "ap70", "ap75", "ap90", "f1")
MARKER = "DEMO.txt"


class DemoResult(Record):
    """What the demo measured and where it put everything."""

    version: int = 1
    folder: str
    mode: OutputMode
    trained_pairs: int = Field(
        description="Accepted pairs: trained on, or kept to choose the best epoch."
    )
    unseen_images: int = Field(description="Images that were held out from all of it, and scored.")
    scores: dict[str, float | None] = Field(description="On the unseen images, all together.")
    files: dict[str, str]
    seconds: float
    next_commands: tuple[str, ...]


def run_demo(
    folder: str | Path,
    *,
    images: Path | None = None,
    masks: Path | None = None,
    mask_suffix: str = "",
    mode: str | None = None,
    axes: str | None = None,
    time_s: float = 100.0,
    device: str = "auto",
    seed: int = 0,
    overwrite: bool = False,
    report: Report = silent,
) -> DemoResult:
    """Accept pairs, plan, train, predict images that were held out, score them, and draw one.

    Parameters
    ----------
    folder
        A new folder for all of it.
    images, masks, mask_suffix
        A person's own pairs; simulated nuclei when left out.
    mode
        What the masks mean; told from the masks where that is certain.
    axes
        Of the images, where the files do not tell.
    time_s
        How long to train, in seconds.
    device, seed
        As for a training; the seed also draws the simulated images and the held-out share.
    overwrite
        Erase an earlier demo in this folder.
    report
        Told of each step.

    Raises
    ------
    ProjectError
        If the folder is occupied.
    UsageError
        If the meaning of the masks is not certain, or there is nothing to hold out.
    MaskloopError
        If a step fails.
    """
    began = time.monotonic()
    place = Path(folder).expanduser().absolute()
    table = (
        None
        if images is None
        else match_pairs(images, images if masks is None else masks, mask_suffix=mask_suffix)
    )
    if table is None and masks is not None:
        raise UsageError(
            "Masks were given without images.", "Give both folders: --images DIR --masks DIR."
        )
    meaning = _simulated_meaning(mode) if table is None else _meaning(table, mode, axes, report)
    _make_room(place, [path for path in (images, masks) if path is not None], overwrite=overwrite)
    with write_errors(place):
        place.mkdir(parents=True, exist_ok=True)
    write_bytes(
        place / MARKER,
        b"Made by 'maskloop demo'; 'maskloop demo --overwrite' erases this folder with all that is in it.\n",
    )
    project = _accept(place, table or _simulate(place, seed, report), meaning, axes, report)
    unseen = _hold_out(place, project, seed)
    report(Message(text=f"Training on {len(project.dataset.pairs)} pairs for {time_s:.0f} s ..."))
    project.train(time_s=time_s, device=device, seed=seed, report=report)
    report(Message(text=f"Predicting {unseen} images that the model has never seen ..."))
    project.predict(
        place / "unseen" / "images", out=str(place / "predictions"), device=device, report=report
    )
    evaluation = evaluate_folders(
        place / "predictions",
        place / "unseen" / "masks",
        mode=meaning.mode,
        num_classes=len(meaning.labels) + 1,
    )
    return _tell(place, project, evaluation, time.monotonic() - began)


def _simulated_meaning(mode: str | None) -> MaskMeaning:
    if mode not in (None, "instances"):
        raise UsageError(
            f"The simulated nuclei are instances, not {mode}.",
            "Leave --mode out, or give images of your own.",
        )
    return MaskMeaning("instances", (1,), "They are simulated.")


def _make_room(place: Path, sources: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse a folder that holds anything; an earlier demo is erased only when asked for, anything else never."""
    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        return
    if not (place / MARKER).is_file():
        raise ProjectError(
            f"'{place}' is not an empty folder.", "Choose another folder: maskloop demo OTHER_DIR."
        )
    if not overwrite:
        raise ProjectError(
            f"'{place}' holds an earlier demo.",
            "Choose another folder (maskloop demo OTHER_DIR), or erase that demo with --overwrite.",
        )
    if any(source.expanduser().resolve().is_relative_to(place.resolve()) for source in sources):
        raise ProjectError(
            f"Your images lie in '{place}', which would be erased.",
            "Choose another folder for the demo: maskloop demo OTHER_DIR.",
        )
    shutil.rmtree(place)


def _meaning(table: PairTable, mode: str | None, axes: str | None, report: Report) -> MaskMeaning:
    meaning = tell_meaning(_readable(table, axes), mode=mode)
    report(Message(text=f"Mode {meaning.mode}. {meaning.reason}"))
    return meaning


def _readable(table: PairTable, axes: str | None) -> Iterator[NDArray[Any]]:
    """Masks that can be read; what is wrong with the others is told when they are refused, or now where all are wrong."""
    faults: list[MaskloopError] = []
    for pair in table.matched:
        try:
            labels = open_labels(
                pair.mask, axes=None if axes is None else axes.upper().replace("C", "")
            )
        except MaskloopError as error:
            faults.append(error)
        else:
            yield labels.read()
    if len(faults) == len(table.matched):
        raise (
            faults[0]
            if faults
            else UsageError(
                "No image has a mask of the same name.", "Name them alike, or give --mask-suffix."
            )
        )


def _simulate(place: Path, seed: int, report: Report) -> PairTable:
    report(
        Message(text=f"Simulating {FIELDS} microscopy images of nuclei, with their exact masks ...")
    )
    for part in ("images", "masks"):
        (place / "simulated" / part).mkdir(parents=True)
    for number, (image, labels) in enumerate(
        simulate_pairs(FIELDS, shape=FIELD_SHAPE, seed=seed), 1
    ):
        name = f"field_{number:02d}.tif"
        write_image(place / "simulated" / "images" / name, Image(image, "YX", name=name))
        write_labels(place / "simulated" / "masks" / name, labels, axes="YX")
    return match_pairs(place / "simulated" / "images", place / "simulated" / "masks")


def _accept(
    place: Path, table: PairTable, meaning: MaskMeaning, axes: str | None, report: Report
) -> Project:
    """A project with all pairs in it."""
    is_multiclass = meaning.mode == "multiclass"
    classes = [f"label_{label}" for label in meaning.labels] if is_multiclass else None
    project = Project.create(place / "project", mode=meaning.mode, classes=classes)
    to_class = {label: number for number, label in enumerate(meaning.labels, 1)}
    rule = MaskRule(mask_mode="manual_label_map", label_map=to_class) if is_multiclass else None
    done = project.dataset.import_pairs(table, axes=axes, rule=rule)
    for refused in done.refused:
        report(
            Message(
                level="warning",
                text=f"{refused.image or refused.mask}: {refused.problem} {refused.way_out}",
            )
        )
    if not done.accepted:
        raise UsageError(
            "None of the pairs could be accepted.",
            "The reasons are told above; 'maskloop add --dry-run' tells them too.",
        )
    return project


def _hold_out(place: Path, project: Project, seed: int) -> int:
    """Take whole groups out of the project, so that nothing of them is trained on or used to choose the best epoch."""
    pairs = project.dataset.pairs
    unseen = split_pairs(pairs, share=UNSEEN_SHARE, seed=seed).validation
    if not unseen or len(unseen) == len(pairs):
        groups = len({pair.group for pair in pairs})
        raise UsageError(
            f"None of the {len(pairs)} pairs can be held out honestly: they belong to {groups} group{'s' * (groups != 1)} "
            "(stack, film or near-duplicates).",
            "Add pairs of other images, or train without a demo: 'maskloop new' and 'maskloop add'.",
        )
    for part in ("images", "masks"):
        (place / "unseen" / part).mkdir(parents=True)
    for pair in map(project.dataset.get, unseen):
        name = stem_of(Path(str(pair.metadata["image_file"]))) + ".tif"
        copy_file(project.path(pair.image_path), place / "unseen" / "images" / name)
        copy_file(project.path(pair.mask_path), place / "unseen" / "masks" / name)
        project.dataset.remove(pair.pair_id)
        project.dataset.purge(pair.pair_id)
    return len(unseen)


def _draw(place: Path) -> Path:
    """One unseen image with what was found (yellow) and what is true (blue below it)."""
    source = find_images([place / "unseen" / "images"])[0]
    image = open_image(source)
    labels = open_labels(place / "predictions" / f"{stem_of(source)}_labels.tif")
    truth = open_labels(place / "unseen" / "masks" / source.name)
    overlay_png(place / "overlay.png", _plane(image), _plane(labels), _plane(truth))
    return place / "overlay.png"


def _plane(image: Image) -> NDArray[Any]:
    """The middle plane as (Y, X), or (Y, X, 3) for three channels."""
    pixels = image.read("".join(letter for letter in "TZCYX" if letter in image.axes))
    for letter in "TZ":
        if letter in image.axes:
            pixels = pixels[len(pixels) // 2]
    if "C" not in image.axes:
        return pixels
    return np.moveaxis(pixels, 0, -1) if len(pixels) == 3 else pixels[0]


def _tell(place: Path, project: Project, evaluation: Evaluation, seconds: float) -> DemoResult:
    evaluation.write_csv(place / "scores.csv")
    total = evaluation.rows()[-1]
    result = DemoResult(
        folder=str(place),
        mode=evaluation.mode,
        trained_pairs=len(project.dataset.pairs),
        unseen_images=len(evaluation.images),
        scores={name: total[name] for name in SHOWN_SCORES if name in total},
        files={
            "picture": str(_draw(place)),
            "table": str(place / "scores.csv"),
            "project": str(project.folder),
        },
        seconds=round(seconds, 1),
        next_commands=_next_commands(place, evaluation.mode),
    )
    write_record(place / RECORD, result)
    return result


def _next_commands(place: Path, mode: str) -> tuple[str, ...]:
    project = shlex.quote(str(place / "project"))
    return (
        f"maskloop status {project} --pairs",
        f"maskloop train {project} --time 5m",
        f"maskloop predict {project} YOUR_IMAGES --out YOUR_RESULTS",
        f"maskloop new my_project --mode {mode}",
        "maskloop add my_project --images YOUR_IMAGES --masks YOUR_MASKS",
        "maskloop train my_project --time 10m",
    )
