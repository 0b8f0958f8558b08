"""The U-Net keeps the contract of a backend, in each output mode."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from maskloop.models.base import Backend
from maskloop.models.unet.backend import UNET
from maskloop.task import OutputMode
from maskloop.testing import BackendContract


@pytest.mark.filterwarnings("ignore::UserWarning:lightning_fabric")
class TestUNet(BackendContract):
    architecture: ClassVar[dict[str, Any]] = {"depth": 1, "base_channels": 2}
    recipe: ClassVar[dict[str, Any]] = {
        "epochs": 4,
        "patch_size": (16, 16),
        "batch_size": 2,
        "precision": "fp32",
        "device": "cpu",
    }

    def make_backend(self) -> Backend:
        return UNET


class TestUNetForInstances(TestUNet):
    mode: OutputMode = "instances"


class TestUNetForClasses(TestUNet):
    mode: OutputMode = "multiclass"
