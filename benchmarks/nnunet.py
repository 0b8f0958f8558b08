"""nnU-Net v2 beside maskloop, on the same images, split and processor.

``speed``: images per second of a training step, patches included; nnU-Net's default 2D plan against
the standard U-Net (base 32) with the same patch, in turn, each in a fresh process. ``race``:
foreground Dice on the held-out images against the time trained; maskloop gets a fifth of nnU-Net's
time. ``accuracy``: nnU-Net for as many minutes as accuracy.py gives maskloop, on the same split,
with the same scores. What differs from an nnU-Net training as it comes stands in nnunet_side.py.
Needs the environment of requirements-nnunet.txt.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import side_by_side
from datasets import DATASETS, Split, find_split, near_duplicates
from scoring import read_picture, read_truth, score

SHARE = 0.2
"""Of nnU-Net's time, for maskloop."""
STOPS = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)


def the_split(arguments: argparse.Namespace) -> Split:
    split = find_split(arguments.data, arguments.dataset)
    if arguments.quick:
        split.training[4:], split.test[1:] = [], []
    return split


def speed(arguments: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Images per second of both, in turn."""
    from nnunet_side import TimedTraining, configuration_for, prepare

    configuration = configuration_for(arguments.dataset)
    prepare(work, arguments.dataset, the_split(arguments), as_foreground=True)
    planned = TimedTraining(work, configuration).settings
    turns = {"nnU-Net": "turn-nnunet", "maskloop": "turn-maskloop"}
    values = side_by_side.in_turn(
        {
            name: partial(_turn, what, arguments, work, planned["patch"][-1])
            for name, what in turns.items()
        },
        rounds=arguments.rounds,
    )
    found = side_by_side.sides(values, "images/s")
    ratio = found["maskloop"]["median"] / found["nnU-Net"]["median"]
    return {
        "settings": {
            "dataset": arguments.dataset,
            "nnunet": planned,
            "maskloop": {"base_channels": 32},
            "steps": _steps(arguments),
        },
        "sides": found,
        "claims": [side_by_side.claim("training, maskloop over nnU-Net", ratio, 4.0)],
    }


def _steps(arguments: argparse.Namespace) -> int:
    return 1 if arguments.quick else arguments.steps


def _turn(what: str, arguments: argparse.Namespace, work: Path, patch: int) -> float:
    command = [
        sys.executable,
        __file__,
        "--what",
        what,
        "--dataset",
        arguments.dataset,
        "--data",
        arguments.data,
        "--work",
        work,
    ]
    command += [
        "--steps",
        str(_steps(arguments)),
        "--patch",
        str(patch),
        *(["--quick"] if arguments.quick else []),
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def turn_nnunet(arguments: argparse.Namespace, work: Path) -> float:
    """Images per second of nnU-Net, its augmenting processes beside it."""
    import os

    from nnunet_side import VARIABLES, TimedTraining, configuration_for

    for variable in VARIABLES:
        os.environ[f"nnUNet_{variable}"] = str(work / variable)
    training = TimedTraining(work, configuration_for(arguments.dataset))
    training.start()
    # What the augmenting processes have prepared by now would be a gift: use it up first.
    for _ in range(1 if arguments.quick else 6):
        training.step(0.0)
    begin = time.perf_counter()
    for _ in range(arguments.steps):
        training.step(0.0)
    taken = time.perf_counter() - begin
    training.end()
    return float(training.settings["batch"] * arguments.steps / taken)


def turn_maskloop(arguments: argparse.Namespace, _work: Path) -> float:
    """Images per second of maskloop with the same patch."""
    from nuclei import plan_for, samples_for
    from train_step import our_loop

    split = the_split(arguments)
    pairs = [
        (read_picture(arguments.dataset, picture).read(), read_truth(picture))
        for picture in split.training
    ]
    plan = plan_for(
        pairs, quick=False, base_channels=32, patch_size=(arguments.patch, arguments.patch)
    )
    return our_loop(plan, samples_for(pairs, plan), arguments.steps)()


def race(arguments: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Dice of the foreground against the seconds trained."""
    split = the_split(arguments)
    theirs, planned = _race_nnunet(arguments, work, split)
    best_s, best = max(theirs, key=lambda point: point[1])
    ours, base_channels = _race_maskloop(arguments, split, work)
    reached = next((seconds for seconds, dice in ours if dice >= best), None)
    our_best = max(dice for _, dice in ours)
    claims = [
        side_by_side.claim(
            "best Dice of maskloop in a fifth of the time over nnU-Net's", our_best / best, 1.0
        )
    ]
    if reached is not None:
        words = "time to nnU-Net's best Dice, maskloop's share of nnU-Net's"
        claims.append(side_by_side.claim(words, reached / best_s, SHARE, at_most=True))
    return {
        "settings": {
            "dataset": arguments.dataset,
            "minutes": arguments.minutes,
            "nnunet": planned,
            "base_channels": base_channels,
        },
        "nnunet": {"curve": theirs, "best": best, "best_s": best_s},
        "maskloop": {"curve": ours, "best": our_best, "reached_s": reached, "given_s": ours[-1][0]},
        "claims": claims,
    }


def _race_nnunet(
    arguments: argparse.Namespace, work: Path, split: Split
) -> tuple[list[tuple[float, float]], dict[str, Any]]:
    from nnunet_side import TimedTraining, configuration_for, prepare

    prepare(work, arguments.dataset, split, as_foreground=True)
    training = TimedTraining(work, configuration_for(arguments.dataset))
    training.start()
    truths = [read_truth(picture) > 0 for picture in split.test]
    curve = []
    for spent in training.train(60 * arguments.minutes, stops=STOPS):
        found = [
            training.predict(arguments.dataset, picture, mirror=False) > 0 for picture in split.test
        ]
        curve.append((spent, _dice(found, truths)))
        print(f"nnU-Net after {spent:.0f} s: Dice {curve[-1][1]:.4f}", file=sys.stderr, flush=True)
    training.end()
    return curve, {**training.settings, "iterations": training.iterations}


def _race_maskloop(
    arguments: argparse.Namespace, split: Split, work: Path
) -> tuple[list[tuple[float, float]], int]:
    """nnU-Net's own loop, validating on held-out images; the clock runs all the time."""
    from nuclei import plan_for, samples_for

    from maskloop.events import Event, Metric
    from maskloop.models.unet.loop import train

    pairs = {
        side: [
            (read_picture(arguments.dataset, picture).read(), read_truth(picture))
            for picture in pictures
        ]
        for side, pictures in (("training", split.training), ("test", split.test))
    }
    plan = plan_for(pairs["training"], quick=False, time_s=SHARE * 60 * arguments.minutes)
    curve: list[tuple[float, float]] = []
    begin = time.perf_counter()

    def report(event: Event) -> None:
        if isinstance(event, Metric):
            curve.append((time.perf_counter() - begin, event.values["dice"]))

    (work / "maskloop").mkdir()
    train(
        plan,
        samples_for(pairs["training"], plan),
        validation=samples_for(pairs["test"], plan),
        folder=work / "maskloop",
        report=report,
    )
    return curve, plan.network.base_channels


def _dice(found: list[Any], truths: list[Any]) -> float:
    both = sum(
        int(np.count_nonzero(ours & truth)) for ours, truth in zip(found, truths, strict=True)
    )
    return 2 * both / max(1, sum(int(np.count_nonzero(labels)) for labels in (*found, *truths)))


def accuracy(arguments: argparse.Namespace, work: Path) -> dict[str, Any]:
    """nnU-Net's scores on the held-out images after so many minutes."""
    from nnunet_side import TimedTraining, configuration_for, labels_of, prepare

    name, split = arguments.dataset, the_split(arguments)
    prepare(work, name, split)
    training = TimedTraining(work, configuration_for(name))
    training.start()
    trained_s = max(training.train(60 * arguments.minutes, clock=side_by_side.core_s))
    begin = time.perf_counter()
    found = [labels_of(name)(training.predict(name, picture)) for picture in split.test]
    predicted_s = time.perf_counter() - begin
    training.end()
    return {
        "settings": {
            "dataset": name,
            "minutes": arguments.minutes,
            "clock": "core_s",
            "split": DATASETS[name].rule,
            "test": [picture.name for picture in split.test],
            "near_duplicates": near_duplicates(split),
            "nnunet": {**training.settings, "iterations": training.iterations},
        },
        "scores": score(name, found, [read_truth(picture) for picture in split.test]),
        "training_s": trained_s,
        "prediction_s": predicted_s,
    }


TURNS = {"turn-nnunet": turn_nnunet, "turn-maskloop": turn_maskloop}
WHATS = {"speed": speed, "race": race, "accuracy": accuracy}


def main() -> None:
    parser = side_by_side.options("nnunet_WHAT_DATASET", __doc__)
    parser.add_argument("--what", choices=[*WHATS, *TURNS], default="accuracy")
    parser.add_argument("--dataset", choices=list(DATASETS), default="dsb2018")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--steps", type=int, default=12, help="steps per measurement of the speed")
    parser.add_argument("--patch", type=int, default=256, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.what in TURNS:
        print(json.dumps(TURNS[arguments.what](arguments, arguments.work)))
        return
    on = side_by_side.machine()
    with tempfile.TemporaryDirectory() as work:
        result = WHATS[arguments.what](arguments, Path(work))
    side_by_side.write(
        f"nnunet_{arguments.what}_{arguments.dataset}", arguments, result, started_on=on
    )


if __name__ == "__main__":
    main()
