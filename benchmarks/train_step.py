"""Images per second of training: our loop against the one that a user would write in plain PyTorch.

Both train the standard U-Net (base 32) with BCE + Dice and AdamW on patches of 256 x 256 from the
same images in memory, in batches of the same size. Theirs: fp32, contiguous, a Dataset that flips,
turns by right angles and changes intensities with NumPy, a DataLoader in the same process. Ours:
what the plan decides, with free rotation, zoom, elastic deformation, blur and noise on top,
gradient clipping and averaged weights. Timed are whole steps, patches included; not validation, and
not the state that is saved every 30 seconds.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import side_by_side
import torch
from nuclei import plan_for, read_nuclei, samples_for
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from maskloop.images.normalize import normalize
from maskloop.models.unet.loop import train
from maskloop.models.unet.network import build_unet

WARM_UP = 2


class Patches(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The Dataset of many tutorials: random crops, flips, rotations and intensities in NumPy."""

    def __init__(self, samples: Sequence[Any], patch: int, length: int) -> None:
        # Normalised once: many users would do it for every patch.
        self.images = [normalize(sample.image, sample.ranges)[0] for sample in samples]
        self.masks = [(sample.labels > 0).astype(np.float32) for sample in samples]
        self.patch, self.length = patch, length
        self.random = np.random.default_rng(0)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, _index: int) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = int(self.random.integers(len(self.images)))
        top, left = (
            int(self.random.integers(length - self.patch + 1))
            for length in self.masks[chosen].shape
        )
        where = slice(top, top + self.patch), slice(left, left + self.patch)
        image, mask = self.images[chosen][where], self.masks[chosen][where]
        for axis in (0, 1):
            if self.random.random() < 0.5:
                image, mask = np.flip(image, axis), np.flip(mask, axis)
        turns = int(self.random.integers(4))
        image, mask = np.rot90(image, turns), np.rot90(mask, turns)
        image = image * self.random.uniform(0.8, 1.2) + self.random.uniform(-0.2, 0.2)
        image = (image + self.random.normal(0, 0.05, image.shape)).astype(np.float32)
        return torch.from_numpy(np.ascontiguousarray(image)[None]), torch.from_numpy(
            np.ascontiguousarray(mask)[None]
        )


def dice_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    scores = torch.sigmoid(logits)
    return 1 - (2 * (scores * target).sum() + 1) / (scores.sum() + target.sum() + 1)


def plain_pytorch(plan: Any, samples: Sequence[Any], steps: int) -> Callable[[], float]:
    """The loop that a user would write."""
    batch, patch = plan.batch_size, plan.patch_size[0]
    large_enough = [sample for sample in samples if min(sample.labels.shape) >= patch]
    model = build_unet(plan.network).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.learning_rate)

    def measure() -> float:
        loader = DataLoader(
            Patches(large_enough, patch, (WARM_UP + steps) * batch), batch_size=batch, num_workers=0
        )
        ticks = [time.perf_counter()]
        for images, masks in loader:
            logits = model(images)
            loss = functional.binary_cross_entropy_with_logits(logits, masks) + dice_loss(
                logits, masks
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
            ticks.append(time.perf_counter())
        return float(batch * steps / (ticks[-1] - ticks[WARM_UP]))

    return measure


def our_loop(plan: Any, samples: Sequence[Any], steps: int) -> Callable[[], float]:
    """Our training loop, timed from outside: it asks before each step if it is cancelled."""
    # The last step has no question after it, so one more is made than is timed.
    short = plan.model_copy(update={"epochs": 1, "steps_per_epoch": WARM_UP + steps + 1})

    def measure() -> float:
        ticks: list[float] = []

        def is_cancelled() -> bool:
            ticks.append(time.perf_counter())
            return False

        with tempfile.TemporaryDirectory() as folder:
            train(short, samples, folder=Path(folder), is_cancelled=is_cancelled)
        return float(plan.batch_size * steps / (ticks[-1] - ticks[WARM_UP]))

    return measure


def main() -> None:
    parser = side_by_side.options("train_step", __doc__)
    parser.add_argument("--steps", type=int, default=12, help="steps per measurement")
    arguments = parser.parse_args()
    steps = 2 if arguments.quick else arguments.steps
    on = side_by_side.machine()
    pairs, source = read_nuclei(arguments.data)
    plan = plan_for(pairs, quick=arguments.quick)
    samples = samples_for(pairs, plan)
    values = side_by_side.in_turn(
        {
            "plain PyTorch": plain_pytorch(plan, samples, steps),
            "maskloop": our_loop(plan, samples, steps),
        },
        rounds=arguments.rounds,
    )
    found = side_by_side.sides(values, "images/s")
    ratio = found["maskloop"]["median"] / found["plain PyTorch"]["median"]
    settings = {
        "images": source,
        "steps": steps,
        "threads": torch.get_num_threads(),
        **_facts(plan),
    }
    claims = [side_by_side.claim("training, maskloop over plain PyTorch", ratio, 4.0)]
    side_by_side.write(
        "train_step",
        arguments,
        {"settings": settings, "sides": found, "claims": claims},
        started_on=on,
    )


def _facts(plan: Any) -> dict[str, Any]:
    return {
        "base_channels": plan.network.base_channels,
        "patch": list(plan.patch_size),
        "batch": plan.batch_size,
        "precision": plan.precision,
    }


if __name__ == "__main__":
    main()
