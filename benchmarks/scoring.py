"""The same scores for every side: over the test images in sum."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import DATASETS, Picture
from numpy.typing import NDArray

from maskloop.images.image import Image
from maskloop.images.readers import open_image, open_labels
from maskloop.images.writers import overlay_png
from maskloop.predict.metrics import class_scores, instance_scores


def read_truth(picture: Picture) -> NDArray[Any]:
    return open_labels(picture.mask).read()


def read_picture(name: str, picture: Picture) -> Image:
    """The image, with the pixel size where only the data's README tells it."""
    image = open_image(picture.image)
    return Image(
        image.read(),
        image.axes,
        {**DATASETS[name].pixel_size_um, **image.pixel_size_um},
        name=picture.name,
    )


def score(
    name: str, found: Sequence[NDArray[Any]], truths: Sequence[NDArray[Any]]
) -> dict[str, float]:
    """AP at .5 and .75 and F1 of instances, else Dice per class; over all test images."""
    kind = DATASETS[name]
    if kind.mode == "instances":
        objects = [
            instance_scores(ours, truth, thresholds=(0.5, 0.75))
            for ours, truth in zip(found, truths, strict=True)
        ]
        total = sum(objects[1:], objects[0])
        return {
            "AP .5": total.average_precision(0.5),
            "AP .75": total.average_precision(0.75),
            "F1 .5": total.f1(0.5),
        }
    classes = kind.classes or ("foreground",)
    pixels = [
        class_scores(ours, truth, len(classes) + 1)
        for ours, truth in zip(found, truths, strict=True)
    ]
    in_sum = sum(pixels[1:], pixels[0])
    return {f"Dice {label}": in_sum.dice[number] for number, label in enumerate(classes, 1)}


def draw(path: Path, image: Image, labels: NDArray[Any], truth: NDArray[Any]) -> None:
    """Outlines of what was found (yellow) over the truth (blue), the middle plane of a volume."""
    pixels = image.read()
    if "Z" in image.axes:
        middle = len(pixels) // 2
        pixels, labels, truth = pixels[middle], labels[middle], truth[middle]
    path.parent.mkdir(parents=True, exist_ok=True)
    overlay_png(path, pixels, labels, truth=truth)


def mean(values: dict[str, float]) -> float:
    return float(np.nanmean(list(values.values())))
