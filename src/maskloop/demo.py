"""The whole loop at once, on simulated microscopy or on your own pairs.

Every figure that it reports is measured on images that the model has not seen.
"""

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
from maskloop.images.sources import PairTable, find_files, match_pairs, stem_of
from maskloop.images.writers import overlay_png, write_image, write_labels
from maskloop.jobs.evaluate import Evaluation, evaluate_folders
from maskloop.project.splits import split_pairs
from maskloop.project.store import copy_file
from maskloop.records import Record, write_bytes, write_errors, write_record
from maskloop.samples import simulate_pairs
from maskloop.task import OutputMode
from maskloop.wording import counted, time_in_words

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
    trained_pairs: int = Field(description="Accepted pairs, used for training or for validation.")
    unseen_images: int = Field(description="Held-out images, neither trained nor validated on.")
    scores: dict[str, float | None] = Field(description="Over all unseen images.")
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
    """Accept pairs, plan, train, predict held-out images, score them and draw one.

    Parameters
    ----------
    folder
        A new folder for everything.
    images, masks, mask_suffix
        A person's own pairs; simulated nuclei when left out.
    mode
        What the masks mean; inferred from them where that is certain.
    axes
        Of the images whose metadata does not name them.
    time_s
        How long to train, in seconds.
    device, seed
        As for a training; the seed also draws the simulated images and the held-out share.
    overwrite
        Delete an earlier demo in this folder.
    report
        Told of each step.

    Raises
    ------
    ProjectError
        If the folder is not empty.
    UsageError
        If the meaning of the masks is not certain, or no image can be held out.
    MaskloopError
        If a step fails.
    """
    began = time.monotonic()
    place = Path(folder).expanduser().absolute()
    if images is None and masks is not None:
        raise UsageError(
            "Masks were given without images.", "Give both folders: --images DIR --masks DIR."
        )
    table = None
    if images is not None:
        # One folder for both is told apart by the suffix.
        table = match_pairs(images, masks or images, mask_suffix=mask_suffix)
    # Whatever can be refused is refused before anything is written or deleted.
    meaning = _simulated_meaning(mode) if table is None else _meaning(table, mode, axes, report)
    _make_room(place, [path for path in (images, masks) if path is not None], overwrite=overwrite)
    project = _accept(place, table or _simulate(place, seed, report), meaning, axes, report)
    unseen = _hold_out(place, project, seed)
    # After the unseen ones were taken out: the project does not even know their pixels.
    used = counted(len(project.dataset.pairs), "pair")
    report(Message(text=f"Training on {used} for {time_in_words(time_s)} ..."))
    project.train(time_s=time_s, device=device, seed=seed, report=report)
    report(Message(text=f"Predicting {counted(unseen, 'image')} the model has never seen ..."))
    project.predict(
        place / "unseen" / "images", out=str(place / "predictions"), device=device, report=report
    )
    # By the way that `maskloop evaluate` takes, so that its figures can be had again.
    evaluation = evaluate_folders(
        place / "predictions",
        place / "unseen" / "masks",
        mode=meaning.mode,
        num_classes=len(meaning.labels) + 1,
    )
    return _summarize(place, project, evaluation, time.monotonic() - began)


def _simulated_meaning(mode: str | None) -> MaskMeaning:
    if mode not in (None, "instances"):
        raise UsageError(
            f"The simulated nuclei are instances, not {mode}.",
            "Omit --mode, or give images of your own.",
        )
    return MaskMeaning("instances", (1,), "They are simulated.")


def _make_room(place: Path, sources: Sequence[Path], *, overwrite: bool) -> None:
    """Make the folder; an earlier demo in it is deleted only on request, anything else never."""
    if place.exists() and not (place.is_dir() and not any(place.iterdir())):
        _refuse_occupied(place, sources, overwrite=overwrite)
        shutil.rmtree(place)
    with write_errors(place):
        place.mkdir(parents=True, exist_ok=True)
    # The only mark by which a later --overwrite knows that everything in here is ours.
    write_bytes(
        place / MARKER,
        b"Created by 'maskloop demo'. 'maskloop demo --overwrite' deletes this folder with "
        b"everything in it.\n",
    )


def _refuse_occupied(place: Path, sources: Sequence[Path], *, overwrite: bool) -> None:
    if not (place / MARKER).is_file():
        raise ProjectError(
            f"'{place}' is not an empty folder.",
            "Choose another folder: maskloop demo OTHER_DIR.",
        )
    if not overwrite:
        raise ProjectError(
            f"'{place}' holds an earlier demo.",
            "Choose another folder (maskloop demo OTHER_DIR), or delete that demo with "
            "--overwrite.",
        )
    if any(source.expanduser().resolve().is_relative_to(place.resolve()) for source in sources):
        raise ProjectError(
            f"Your images are in '{place}', which would be deleted.",
            "Choose another folder for the demo: maskloop demo OTHER_DIR.",
        )


def _meaning(table: PairTable, mode: str | None, axes: str | None, report: Report) -> MaskMeaning:
    meaning = tell_meaning(_readable(table, axes), mode=mode)
    report(Message(text=f"Mode {meaning.mode}. {meaning.reason}"))
    return meaning


def _readable(table: PairTable, axes: str | None) -> Iterator[NDArray[Any]]:
    """Masks that can be read; the others are reported when they are refused, or now if all are."""
    # A person names the axes of the images; masks have no channels.
    mask_axes = None if axes is None else axes.upper().replace("C", "")
    faults: list[MaskloopError] = []
    for pair in table.matched:
        try:
            labels = open_labels(pair.mask, axes=mask_axes)
        except MaskloopError as error:
            faults.append(error)
        else:
            yield labels.read()
    if not table.matched:
        raise UsageError(
            "No image has a mask of the same name.",
            "Give image and mask the same file name, or name the suffix: --mask-suffix _mask.",
        )
    # Later there would only be "None of the pairs could be accepted", without any reason.
    if len(faults) == len(table.matched):
        raise faults[0]


def _simulate(place: Path, seed: int, report: Report) -> PairTable:
    report(Message(text=f"Simulating {FIELDS} microscopy images of nuclei with exact masks ..."))
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
    """A project with all pairs that can be accepted."""
    is_multiclass = meaning.mode == "multiclass"
    classes = [f"label_{label}" for label in meaning.labels] if is_multiclass else None
    project = Project.create(place / "project", mode=meaning.mode, classes=classes)
    to_class = {label: number for number, label in enumerate(meaning.labels, 1)}
    # Values of the masks may have gaps, such as 0, 100, 200; class ids have none.
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
            "Correct what the warnings above say, then start the demo again.",
        )
    return project


def _hold_out(place: Path, project: Project, seed: int) -> int:
    """Take whole groups out of the project, so that nothing of them is trained or validated on."""
    pairs = project.dataset.pairs
    # By groups, as for validation: planes of one stack on both sides would flatter the scores.
    unseen = split_pairs(pairs, share=UNSEEN_SHARE, seed=seed).validation
    if not unseen or len(unseen) == len(pairs):
        groups = counted(len({pair.group for pair in pairs}), "group")
        raise UsageError(
            f"The demo needs independent images to test on, but the {counted(len(pairs), 'pair')} "
            f"form {groups} (stack, movie or near-duplicates).",
            "Add pairs of other images, or train without a demo: 'maskloop new', then "
            "'maskloop add'.",
        )
    for part in ("images", "masks"):
        (place / "unseen" / part).mkdir(parents=True)
    # The project's copies and not the person's files, which may hold several images each.
    for pair in map(project.dataset.get, unseen):
        name = stem_of(Path(str(pair.metadata["image_file"]))) + ".tif"
        copy_file(project.path(pair.image_path), place / "unseen" / "images" / name)
        copy_file(project.path(pair.mask_path), place / "unseen" / "masks" / name)
        project.dataset.remove(pair.pair_id)
        project.dataset.purge(pair.pair_id)
    return len(unseen)


def _draw(place: Path) -> Path:
    """One unseen image with its prediction (yellow) and the ground truth (blue, below it)."""
    source = find_files([place / "unseen" / "images"])[0]
    image = open_image(source)
    labels = open_labels(place / "predictions" / f"{stem_of(source)}_labels.tif")
    truth = open_labels(place / "unseen" / "masks" / source.name)
    overlay_png(place / "overlay.png", _plane(image), _plane(labels), _plane(truth))
    return place / "overlay.png"


def _plane(image: Image) -> NDArray[Any]:
    """The middle plane as (Y, X), or (Y, X, 3) for three channels."""
    # In this order, whatever the file's: T and Z are then taken off the front.
    pixels = image.read("".join(letter for letter in "TZCYX" if letter in image.axes))
    for letter in "TZ":
        if letter in image.axes:
            pixels = pixels[len(pixels) // 2]
    if "C" not in image.axes:
        return pixels
    # Three channels make a color image; of any other number the first one stands for all.
    return np.moveaxis(pixels, 0, -1) if len(pixels) == 3 else pixels[0]


def _summarize(place: Path, project: Project, evaluation: Evaluation, seconds: float) -> DemoResult:
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
    # Commands are there to be pasted, and a folder's name may hold spaces.
    project = shlex.quote(str(place / "project"))
    return (
        f"maskloop status {project} --pairs",
        f"maskloop train {project} --time 5m",
        f"maskloop predict {project} YOUR_IMAGES --out YOUR_RESULTS",
        f"maskloop new my_project --mode {mode}",
        "maskloop add my_project --images YOUR_IMAGES --masks YOUR_MASKS",
        "maskloop train my_project --time 10m",
    )
