"""The verb ``demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from maskloop.cli.arguments import Axes, Json, MaskSuffix, ModeName
from maskloop.cli.options import field_reader, parser
from maskloop.cli.output import answer, say, show_facts
from maskloop.cli.readers import read_duration
from maskloop.cli.run_view import RunView
from maskloop.demo import DemoResult, run_demo
from maskloop.models.base import Recipe
from maskloop.wording import counted, time_in_words

__all__ = ["demo"]


def demo(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="A new folder for the demo.", show_default=True)
    ] = Path("maskloop-demo"),
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of your own images, instead of simulated ones."),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of their masks, with the same file names."),
    ] = None,
    mask_suffix: MaskSuffix = "",
    mode: ModeName = None,
    axes: Axes = None,
    time: Annotated[
        Any,
        typer.Option(
            metavar="DURATION",
            parser=parser(read_duration),
            help="Training time, such as 100s or 10m.",
        ),
    ] = "100s",
    device: Annotated[
        Any,
        typer.Option(
            metavar="auto|cpu|cuda",
            parser=parser(field_reader(Recipe, "device")),
            help=str(Recipe.model_fields["device"].description),
        ),
    ] = "auto",
    seed: Annotated[
        int, typer.Option(min=0, help=str(Recipe.model_fields["seed"].description))
    ] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete an earlier demo in this folder.")
    ] = False,
    json: Json = False,
) -> None:
    """See the whole loop in three minutes: images, training, prediction, scores and a picture."""
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
    answer(result, json, _show)


def _show(result: DemoResult) -> None:
    """What the demo measured, what it wrote, and what to do next."""
    # The first line has no value: it is the heading of the scores.
    show_facts(
        f"Demo in {result.folder}",
        {"scores on images never trained on": "", **result.scores, **result.files},
    )
    used = counted(result.trained_pairs, "pair")
    predicted = counted(result.unseen_images, "image")
    took = time_in_words(result.seconds)
    say(f"{used} used to train and validate, {predicted} predicted, {took} in total.")
    say("Next steps:")
    for command in result.next_commands:
        say(f"  {command}")
