"""Accuracy on real images in a fixed time: create, accept, train, predict, evaluate.

The split by group is fixed in datasets.py; the held-out images are measured once, after the
training. Everything else is maskloop's default. A minute is one for which all cores worked for the
training (side_by_side.core_s).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import side_by_side
from datasets import DATASETS, find_split, near_duplicates
from scoring import draw, read_picture, read_truth, score

from maskloop.compute.project import Project
from maskloop.models.unet import loop, validation


def measure(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train on a data set and score its held-out images."""
    kind, split = DATASETS[name], find_split(arguments.data, name)
    if arguments.quick:
        split.training[4:], split.test[1:] = [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        Project.create(Path(folder) / name, mode=kind.mode, classes=kind.classes) as project,
    ):
        for picture in split.training:
            project.dataset.accept(
                read_picture(name, picture), picture.mask, name=picture.name, group=picture.group
            )
        loop.time = validation.time = SimpleNamespace(monotonic=side_by_side.core_s)  # type: ignore[attr-defined]
        begin = side_by_side.core_s()
        checkpoint = project.train(
            start="scratch", time_s=60 * arguments.minutes, seed=arguments.seed, device="cpu"
        )
        trained_s = side_by_side.core_s() - begin
        segmenter = project.segmenter(device="cpu")
        begin = time.perf_counter()
        found = [segmenter.segment(read_picture(name, picture)) for picture in split.test]
        predicted_s = time.perf_counter() - begin
    truths = [read_truth(picture) for picture in split.test]
    if arguments.pictures:
        path = side_by_side.RESULTS / "pictures" / f"{name}.png"
        draw(path, read_picture(name, split.test[0]), found[0], truths[0])
    return {
        "settings": {
            "dataset": name,
            "minutes": arguments.minutes,
            "clock": "core_s",
            "seed": arguments.seed,
            "split": kind.rule,
            "training": [picture.name for picture in split.training],
            "test": [picture.name for picture in split.test],
            "near_duplicates": near_duplicates(split),
            "published": kind.published,
        },
        "scores": score(name, found, truths),
        "training_s": trained_s,
        "prediction_s": predicted_s,
        "validation": checkpoint.benchmark_summary,
        "metrics": checkpoint.metrics,
        "plan": {
            key: checkpoint.plan[key] for key in ("patch_size", "batch_size", "epochs", "precision")
        },
        "base_channels": checkpoint.network["base_channels"],
        "depth": checkpoint.network["depth"],
        "patches": checkpoint.number_of_patches,
    }


def main() -> None:
    parser = side_by_side.options("accuracy_DATASET", __doc__)
    parser.add_argument("--dataset", choices=[*DATASETS, "all"], default="all")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--pictures",
        action="store_true",
        help="also draw the first held-out image into results/pictures",
    )
    arguments = parser.parse_args()
    for name in DATASETS if arguments.dataset == "all" else (arguments.dataset,):
        on = side_by_side.machine()
        side_by_side.write(f"accuracy_{name}", arguments, measure(name, arguments), started_on=on)


if __name__ == "__main__":
    main()
