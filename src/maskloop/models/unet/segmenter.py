"""A trained U-Net as a segmenter: normalized tiles to scores."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import nn

from maskloop.errors import IncompatibleWeights
from maskloop.images.normalize import Normalization
from maskloop.models.device import find_machine
from maskloop.models.unet.losses import activate
from maskloop.models.unet.network import outline_unet, reach
from maskloop.models.unet.records import UNetPlan
from maskloop.models.weights_file import fit_weights, load_checkpoint
from maskloop.predict.base import Output
from maskloop.wording import fault_in_words

__all__ = ["UNetSegmenter", "load_segmenter", "plan_of"]

TILE_2D = {"cpu": 640, "cuda": 1024}
"""On a CPU larger tiles fall out of its caches: 640 px cost as much per pixel as 256 px, 1024 px
a fifth more.
"""
TILE_3D = {"cpu": 112, "cuda": 160}
HALO_LIMIT = {2: 64, 3: 24}
"""The theoretical receptive field is wider than what changes a score: with 64 px no score of a
nuclei model changed by 0.01, and no object changed.
"""


class UNetSegmenter:
    """A U-Net in memory that fulfils `maskloop.predict.base.Segmenter`.

    Parameters
    ----------
    module
        The network; used as it is when `owns` is false (validation during a training), else copied
        and prepared for fast prediction.
    plan
        The plan it was trained by.
    device
        Where it computes.
    """

    def __init__(
        self,
        module: nn.Module,
        plan: UNetPlan,
        *,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        owns: bool = False,
    ) -> None:
        machine = find_machine(device)
        self.plan = plan
        self.device = torch.device(machine.device)
        self.is_bf16 = plan.precision != "fp32" and machine.has_bf16
        self._format: Any = (
            torch.channels_last if self.spatial_dims == 2 else torch.channels_last_3d
        )
        # During a training the module is borrowed: a copy or another precision would be another
        # network.
        if owns:
            module = copy.deepcopy(module).to(self.device)
            module = module.to(memory_format=self._format)  # type: ignore[call-overload]
            if self.is_bf16:
                # Autocast would cast the weights again at each call.
                for layer in module.modules():
                    if isinstance(
                        layer, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d
                    ):
                        layer.to(torch.bfloat16)
        self.module = module.eval()

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        return self.plan.network.dimensions

    @property
    def input_channels(self) -> int:
        """Channels of the images it was made for."""
        return self.plan.network.input_channels

    @property
    def multiple(self) -> tuple[int, ...]:
        """Tile lengths must be multiples of these."""
        return self.plan.network.multiple

    @property
    def tile_shape(self) -> tuple[int, ...]:
        """Tile that is fast on this device."""
        side = (TILE_2D if self.spatial_dims == 2 else TILE_3D)[self.device.type]
        return tuple(
            max(length, -(-side // step) * step)
            for length, step in zip(self.plan.patch_size, self.multiple, strict=True)
        )

    @property
    def halo(self) -> tuple[int, ...]:
        """Border of a tile whose scores are not to be trusted."""
        # Never wider than the receptive field: beyond it there is nothing that could move a score.
        return tuple(min(far, HALO_LIMIT[self.spatial_dims]) for far in reach(self.plan.network))

    @property
    def batch_size(self) -> int:
        """Tiles per call."""
        # A tile already fills the cores of a CPU; a GPU would wait for the next one.
        return 1 if self.device.type == "cpu" else 4

    @property
    def normalization(self) -> Normalization:
        """How an image is normalized before it is cut into tiles."""
        return self.plan.normalization

    @property
    def output(self) -> Output:
        """What the scores mean."""
        return self.plan.output

    @torch.inference_mode()
    def scores(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores in 0..1 of normalized tiles (N, C, *tile): float32 (N, output.channels, *tile)."""
        # Channels last: the layout that the weights were brought into above, else each layer
        # converts.
        batch = torch.from_numpy(np.ascontiguousarray(tiles)).to(
            self.device, memory_format=self._format
        )
        # Logits leave it as fp32: sigmoid and softmax in bf16 would have steps of 0.4 % near 1.
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.is_bf16):
            logits = self.module(batch).float()
        scores = activate(logits, self.output)
        result: NDArray[np.float32] = scores.cpu().numpy()
        return result


def load_segmenter(path: Path, *, device: Literal["auto", "cpu", "cuda"] = "auto") -> UNetSegmenter:
    """Load a checkpoint file for prediction.

    Raises
    ------
    IncompatibleWeights
        If the file leaves any weight of its own architecture unset.
    UnsafeFile
        If the file would have to run code to be read.
    """
    loaded = load_checkpoint(path)
    plan = plan_of(loaded.header, path)
    # By the file's own description, not the project's: a checkpoint is used as it was trained.
    # Compared before it takes memory: a file of a few bytes may describe a network of gigabytes.
    module = outline_unet(plan.network)
    fit_weights(module, loaded.state_dict, source=path.name)
    return UNetSegmenter(module, plan, device=device, owns=True)


def plan_of(header: Mapping[str, Any], path: Path) -> UNetPlan:
    """The plan that a checkpoint's header holds.

    Raises
    ------
    IncompatibleWeights
        If it holds none that can be read.
    """
    try:
        return UNetPlan.model_validate(header["plan"])
    except (KeyError, ValidationError) as error:
        words = fault_in_words(error) if isinstance(error, ValidationError) else "it has no plan."
        raise IncompatibleWeights(
            f"The description in '{path.name}' cannot be read: {words}",
            "Copy the file again, or import its weights (maskloop import-weights).",
        ) from None
