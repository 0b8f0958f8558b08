"""The pictures and the briefly trained network on which speed is measured.

Also a script that makes a project with a briefly trained checkpoint, in a process of its own:
``python benchmarks/nuclei.py FOLDER --mode instances --epochs 20``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

Pairs = list[tuple[NDArray[Any], NDArray[Any]]]


def read_nuclei(data: Path, *, count: int = 24) -> tuple[Pairs, str]:
    """Nuclei of dsb2018 with masks, or simulated ones without the data, and which it was."""
    found = sorted((data / "dsb2018" / "images").glob("fluo_*.tif"))[:count]
    if found:
        return [
            (tifffile.imread(path), tifffile.imread(path.parents[1] / "masks" / path.name))
            for path in found
        ], "dsb2018"
    from maskloop.samples import simulate_pairs

    return list(simulate_pairs(count, shape=(256, 256))), "simulated"


def mosaic(pairs: Pairs, side: int) -> NDArray[np.uint8]:
    """A large image put together from the corners of small ones, each stretched to 8 bits."""
    part = 256
    tiles = [_to_8_bits(image[:part, :part]) for image, _ in pairs if min(image.shape) >= part]
    across = -(-side // part)
    rows = [
        np.hstack([tiles[(row * across + column) % len(tiles)] for column in range(across)])
        for row in range(across)
    ]
    return np.ascontiguousarray(np.vstack(rows)[:side, :side])


def _to_8_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    low, high = float(pixels.min()), float(pixels.max())
    return ((pixels.astype(np.float32) - low) * (255 / max(high - low, 1))).astype(np.uint8)


def plan_for(pairs: Pairs, *, quick: bool, **choices: Any) -> Any:
    """What maskloop plans for these images with the standard U-Net; quick: a tiny one."""
    from maskloop.images.fingerprint import combine_fingerprints, fingerprint_pair
    from maskloop.images.image import Image
    from maskloop.models.unet.plan import make_plan
    from maskloop.models.unet.records import UNetArchitecture, UNetRecipe
    from maskloop.task import Task

    facts = combine_fingerprints(
        [fingerprint_pair(Image(image, "YX"), mask, instances=False) for image, mask in pairs]
    )
    tiny = {"base_channels": 8, "patch_size": (64, 64), "batch_size": 2} if quick else {}
    recipe = UNetRecipe(device="cpu", **{**tiny, **choices})
    return make_plan(Task(), UNetArchitecture(), recipe, facts)


def samples_for(pairs: Pairs, plan: Any) -> list[Any]:
    """Images and masks as the training takes them."""
    from maskloop.models.samples import Sample

    return [
        Sample(
            f"nuclei_{number}",
            image[None],
            (mask > 0).astype(np.uint8),
            plan.normalization.fit(image[None]),
        )
        for number, (image, mask) in enumerate(pairs)
    ]


def train_briefly(plan: Any, samples: Sequence[Any], *, steps: int) -> Any:
    """A network after a few steps: good enough to compare two ways of predicting."""
    from maskloop.models.unet.loop import train
    from maskloop.models.unet.network import build_unet
    from maskloop.models.weights_file import load_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        trained = train(
            plan.model_copy(update={"epochs": 1, "steps_per_epoch": steps}),
            samples,
            folder=Path(folder),
        )
        assert trained is not None
        module = build_unet(plan.network)
        module.load_state_dict(load_checkpoint(trained.weights).state_dict)
    return module.eval()


def main() -> None:
    from maskloop.compute.project import Project
    from maskloop.samples import simulate_pairs

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mode", choices=("binary", "instances"), default="binary")
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()
    with Project.create(arguments.folder, mode=arguments.mode) as project:
        for image, mask in simulate_pairs(8, shape=(256, 256)):
            project.dataset.accept(image, mask)
        project.train(epochs=arguments.epochs, validation_share=0, device="cpu")


if __name__ == "__main__":
    main()
