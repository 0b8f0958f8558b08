"""The command line: one function per verb, no logic."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from maskloop import show
from maskloop.images.masks import MaskRule
from maskloop.jobs.base import PredictJob, TrainJob
from maskloop.models.base import Architecture, Recipe, UNetArchitecture
from maskloop.options import (
    field_reader,
    mask_rule,
    parser,
    read_duration,
    read_label_map,
    read_names,
    read_normalization,
    read_pixel_size,
    read_selection,
    takes,
)
from maskloop.task import Task
from maskloop.terminal import RunView, Verbs, answer, finish, say, show_facts, show_table

__all__ = ["app", "main"]

app = typer.Typer(
    name="maskloop",
    cls=Verbs,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The project's folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON alone, for a script.")]
Start = Annotated[
    str,
    typer.Option(
        "--from",
        metavar="scratch|latest|ID",
        help=f"Where training starts: {TrainJob.model_fields['start'].description}",
    ),
]
Pairs = Annotated[
    Any,
    typer.Option(
        "--pairs",
        metavar="all|new|ID,...",
        parser=parser(read_selection),
        help=str(TrainJob.model_fields["pairs"].description),
    ),
]
ModeName = Annotated[
    Any,
    typer.Option(
        "--mode",
        metavar="binary|multiclass|instances",
        parser=parser(field_reader(Task, "mode")),
        help="What to find: one kind of thing (binary), several (multiclass), or each object by itself (instances).",
    ),
]
Classes = Annotated[
    Any,
    typer.Option(
        "--classes",
        metavar="A,B,...",
        parser=parser(read_names),
        help="Names of the classes, without the background.",
    ),
]
GROUP_HELP = (
    "What belongs together and is never parted between training and validation: each folder, each file, or what the bracket of a "
    "pattern such as '(.+)_z' finds in the name. By default stacks, films and near-duplicates."
)
_RECIPE = (
    "epochs", "time_s", "patience", "device", "seed", "patch_size", "batch_size", "learning_rate", "normalization", "class_weights",
    "foreground_share", "base_channels", "depth", "precision", "validation_share", "devices", "nodes", "tensorboard",
)  # fmt: skip
_takes_recipe = takes(
    Recipe,
    *_RECIPE,
    names={"time_s": "--time", "patch_size": "--patch", "batch_size": "--batch"},
    readers={"time_s": read_duration, "normalization": read_normalization},
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"maskloop {version('maskloop')}")
        raise typer.Exit


@app.callback()
def _begin(
    _version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_tell_version, help="Print the version."),
    ] = False,
) -> None:
    """Annotate, train, predict, correct, again: segmentation models of your own for microscopy.

    Begin with: maskloop demo
    """


@app.command()
def demo(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="A new folder for the demo.", show_default=True)
    ] = Path("maskloop-demo"),
    images: Annotated[
        Path | None,
        typer.Option(help="A folder of your own images, in the place of simulated ones."),
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="The folder of their masks, with the same names.")
    ] = None,
    mask_suffix: Annotated[
        str,
        typer.Option(help="What the name of a mask has after that of its image, such as _mask."),
    ] = "",
    mode: ModeName = None,
    axes: Annotated[
        str | None,
        typer.Option(
            metavar="AXES", help="Axes of your images where the files do not tell, such as ZYX."
        ),
    ] = None,
    time: Annotated[
        Any,
        typer.Option(
            metavar="DURATION",
            parser=parser(read_duration),
            help="How long to train, such as 100s or 10m.",
        ),
    ] = "100s",
    device: Annotated[
        Any,
        typer.Option(
            metavar="auto|cpu|cuda",
            parser=parser(field_reader(Recipe, "device")),
            help="Where to train.",
        ),
    ] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Start of all random numbers.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Erase an earlier demo in this folder.")
    ] = False,
    json: Json = False,
) -> None:
    """See the whole loop: images, training, prediction, scores and a picture, in under three minutes."""
    from maskloop.demo import run_demo

    with RunView(to_stderr=json) as view:
        result = run_demo(
            folder,
            images=images,
            masks=masks,
            mask_suffix=mask_suffix,
            mode=mode,
            axes=axes,
            time_s=time,
            device=device,
            seed=seed,
            overwrite=overwrite,
            report=view,
        )
    answer(result, json, show.show_demo)


@app.command()
@takes(UNetArchitecture, *UNetArchitecture.model_fields)
def new(
    folder: Folder,
    mode: ModeName = "binary",
    classes: Classes = None,
    json: Json = False,
    **architecture: Any,
) -> None:
    """Make a new, empty project."""
    from maskloop.compute.project import Project

    project = Project.create(folder, mode=mode, classes=classes, architecture=architecture)
    answer(project.status(), json, show.show_status)


@app.command()
@takes(
    MaskRule,
    "mask_mode",
    "label_map",
    "allow_empty",
    names={"label_map": "--map"},
    readers={"label_map": read_label_map},
)
def add(
    folder: Folder,
    images: Annotated[Path | None, typer.Option(help="Folder of images.")] = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            help="Folder of masks with the same names (or a corrected mask, with --replace)."
        ),
    ] = None,
    mask_suffix: Annotated[
        str,
        typer.Option(help="What the name of a mask has after that of its image, such as _mask."),
    ] = "",
    pairs: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE.CSV",
            help="A table with the columns image and mask, in the place of two folders.",
        ),
    ] = None,
    axes: Annotated[
        str | None,
        typer.Option(
            metavar="AXES", help="Axes of the images where the files do not tell, such as ZYX."
        ),
    ] = None,
    pixel_size: Annotated[
        Any,
        typer.Option(
            metavar="Z,Y,X",
            parser=parser(read_pixel_size),
            help="Micrometres per pixel, where the files do not tell.",
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="folder|file|PATTERN",
            help=GROUP_HELP,
        ),
    ] = None,
    replace: Annotated[
        str | None,
        typer.Option(
            metavar="PAIR",
            help="Put the corrected mask (--masks FILE) in the place of this pair's.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, write nothing.")
    ] = False,
    json: Json = False,
    **rule: Any,
) -> None:
    """Bring images with their masks into the project."""
    from maskloop.compute.project import Project
    from maskloop.jobs.imports import add_pairs

    report = add_pairs(
        Project.open(folder), images, masks, mask_suffix=mask_suffix, table=pairs, axes=axes, group_by=group, replace=replace,
        dry_run=dry_run, rule=mask_rule(rule), allow_empty=bool(rule.get("allow_empty")), pixel_size_um=pixel_size,
    )  # fmt: skip
    answer(report, json, show.show_import)
    finish(ok=not report.refused)


@app.command()
def remove(
    folder: Folder,
    pairs: Annotated[
        list[str],
        typer.Argument(
            metavar="PAIR...", help="Ids of pairs; 'maskloop status DIR --pairs' lists them."
        ),
    ],
    restore: Annotated[bool, typer.Option("--restore", help="Bring removed pairs back.")] = False,
    purge: Annotated[
        bool,
        typer.Option(
            "--purge", help="Erase the pairs with all their files. This cannot be undone."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Yes, erase.")] = False,
    json: Json = False,
) -> None:
    """Leave pairs out from now on; nothing is erased unless you ask for it."""
    from maskloop.compute.project import Project
    from maskloop.jobs.imports import remove_pairs

    changed = remove_pairs(Project.open(folder), pairs, restore=restore, purge=purge, is_sure=yes)
    answer(changed, json, lambda states: show_table("Changed", ("pair", "state"), states.items()))


@app.command()
def status(
    folder: Folder,
    pairs: Annotated[bool, typer.Option("--pairs", help="List the pairs too.")] = False,
    json: Json = False,
) -> None:
    """How the project stands: pairs, checkpoints, predictions, and what is not in order."""
    from maskloop.compute.project import Project

    project = Project.open(folder)
    listed = project.dataset.all_pairs if pairs else None
    answer(
        {**project.status().model_dump(), **({"pairs": listed} if pairs else {})}
        if json
        else project.status(),
        json,
        partial(show.show_status, pairs=listed),
    )


@app.command()
def check(
    folder: Folder,
    repair: Annotated[
        bool, typer.Option("--repair", help="Put right what can be put right; nothing is deleted.")
    ] = False,
    json: Json = False,
) -> None:
    """Compare every file with its record, and find what is missing, changed or left over."""
    from maskloop.compute.project import Project
    from maskloop.project.check import check as look
    from maskloop.project.repair import repair as mend

    project = Project.open(folder)
    with RunView(to_stderr=json) as view:
        mended = mend(project, report=view) if repair else None
        found = mended.left if mended else look(project, report=view)
    facts = {
        "is_sound": found.is_sound,
        **found.model_dump(),
        "repaired": mended.repaired if mended else (),
    }
    answer(facts if json else found, json, partial(show.show_check, repaired=mended))
    finish(ok=found.is_sound)


@app.command()
@_takes_recipe
def plan(folder: Folder, start: Start = "auto", json: Json = False, **recipe: Any) -> None:
    """What a training would do with this data on this machine, and why; changes nothing."""
    from maskloop.compute.project import Project

    made = Project.open(folder).plan(start=start, **recipe)
    answer(made, json, show.show_plan)


@app.command()
@_takes_recipe
def train(
    folder: Folder, start: Start = "auto", pairs: Pairs = "all", json: Json = False, **recipe: Any
) -> None:
    """Train a checkpoint.

    Ctrl-C keeps the best so far; a training that was interrupted goes on where it was.
    """
    from maskloop.compute.project import Project

    project = Project.open(folder)
    with RunView(to_stderr=json) as view:
        checkpoint = project.train(start=start, pairs=pairs, report=view, **recipe)
    answer(checkpoint, json, partial(show.show_checkpoint, folder=project.folder))


@app.command()
def runs(folder: Folder, json: Json = False) -> None:
    """List what was run, and what became of it."""
    from maskloop.compute.overview import list_runs
    from maskloop.compute.project import Project

    found = list_runs(Project.open(folder))
    answer(found, json, show.show_runs)


@app.command()
def checkpoints(folder: Folder, json: Json = False) -> None:
    """List the trained checkpoints, with what they were trained from and how good they are."""
    from maskloop.compute.project import Project

    found = Project.open(folder).checkpoints.list()
    answer(found, json, show.show_checkpoints)


@app.command("import-weights")
@takes(
    Architecture,
    *(name for name in UNetArchitecture.model_fields if name != "threshold"),
    "input_channels",
)
def import_weights(
    folder: Folder,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="Weights as .pt, .pth or .safetensors; the file is never run."
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="What to call them; by default the file's name.")
    ] = None,
    json: Json = False,
    **architecture: Any,
) -> None:
    """Bring weights in from elsewhere, to start a training from.

    Name of their network what the file does not tell.
    """
    from maskloop.compute.project import Project
    from maskloop.jobs.imports import import_weights as bring_in

    model = bring_in(Project.open(folder), file, name=name, architecture=architecture)
    answer(model, json, partial(show.show_model, folder=folder))


@app.command()
@takes(
    PredictJob, "checkpoint", "axes", "mirror", "probabilities", "device", names={"mirror": "--tta"}
)
def predict(
    folder: Folder,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Image files, folders or patterns: TIFF, OME-TIFF, PNG, JPEG, NPY.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help=str(PredictJob.model_fields["out"].description))
    ] = None,
    json: Json = False,
    **choices: Any,
) -> None:
    """Segment new images with a checkpoint."""
    from maskloop.compute.project import Project

    with RunView(to_stderr=json) as view:
        result = Project.open(folder).predict(
            *inputs, out=None if out is None else str(out), report=view, **choices
        )
    answer(result, json, show.show_prediction)
    finish(ok=not result["failed"])


@app.command()
def evaluate(
    predictions: Annotated[Path, typer.Option(help="Folder of predicted labels.")],
    masks: Annotated[Path, typer.Option(help="Folder of true masks, called like the images.")],
    mode: ModeName = None,
    axes: Annotated[
        str | None,
        typer.Option(metavar="AXES", help="Axes of the files where they do not tell, such as ZYX."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE.CSV", help="Also write the scores as a table (.csv) or as .json."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Compare predictions with the truth: Dice and IoU, and for instances AP, F1, PQ and AJI."""
    from maskloop.jobs.evaluate import evaluate_folders

    found = evaluate_folders(predictions, masks, mode=mode, axes=axes)
    if out is not None:
        (found.write_json if out.suffix.lower() == ".json" else found.write_csv)(out)
    answer(found.summary() if json else found, json, show.show_evaluation)
    finish(ok=not found.failures)


@app.command()
def execute(
    folder: Folder,
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Id of a run; 'maskloop runs DIR' lists them.")
    ],
    runs: Annotated[
        Path | None,
        typer.Option(help="Folder the run lies in instead, for a project that may only be read."),
    ] = None,
    json: Json = False,
) -> None:
    """Execute a run that was submitted, or go on with one that was interrupted (for queues and scripts)."""
    from maskloop.compute.project import Project
    from maskloop.jobs.execute import execute as work
    from maskloop.project.history import History

    project = Project.open(folder)
    if runs is not None:
        project.history = History(project, runs_folder=runs)
    with RunView(to_stderr=json) as view:
        result = work(project, run, report=view)
    answer(result, json, partial(show_facts, f"Run {run} is done"))


@app.command()
def upgrade(
    folder: Folder,
    task: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="The task to take from a folder with several; by default the active one.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="NEW", help="A new folder to put it into; the older one stays as it is."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Bring a folder of napari-training-assistant up to date; the originals are kept."""
    from maskloop.project.upgrade import upgrade as bring_up

    with RunView(to_stderr=json) as view:
        done = bring_up(folder, task=task, out=out, report=view)
    answer(done, json, show.show_upgrade)


def main() -> None:
    """What the command ``maskloop`` runs."""
    app()
