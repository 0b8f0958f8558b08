"""A small project with two real checkpoints, trained once for all tests of the window."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskloop import Project
from maskloop.samples import simulate_pairs

TINY: dict[str, Any] = {"patch_size": (32, 32), "batch_size": 2}
_MADE: dict[Path, Path] = {}


def copy_trained(tmp_path_factory: pytest.TempPathFactory, to: Path) -> Path:
    """A copy of the project: unet_run_002 goes on from unet_run_001."""
    place = tmp_path_factory.getbasetemp()
    if place not in _MADE:
        _MADE[place] = _train(tmp_path_factory.mktemp("trained") / "cells")
    return Path(shutil.copytree(_MADE[place], to))


def _train(folder: Path) -> Path:
    project = Project.create(folder, mode="instances")
    for image, labels in simulate_pairs(3, shape=(64, 64), seed=1):
        project.dataset.accept(image, labels)
    project.train(base_channels=2, depth=1, epochs=2, **TINY)
    project.train(epochs=3, learning_rate=1e-3, **TINY)
    return folder


def field(seed: int = 9, shape: tuple[int, ...] = (64, 64)) -> NDArray[np.uint16]:
    """An image that the project has not seen."""
    return simulate_pairs(1, shape=shape, seed=seed)[0][0]
