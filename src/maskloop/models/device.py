"""What this machine offers: device, precision, memory, cores."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from maskloop.errors import UsageError
from maskloop.models.memory import available_memory

__all__ = ["Machine", "find_machine"]


@dataclass(frozen=True)
class Machine:
    """The device a training or prediction runs on."""

    device: Literal["cpu", "cuda"]
    name: str
    memory_bytes: int
    """Available memory of the device."""
    has_bf16: bool
    """Whether the hardware computes in bf16, so that it is faster than fp32."""
    cores: int


def find_machine(device: Literal["auto", "cpu", "cuda"] = "auto") -> Machine:
    """The device that is asked for, as it is now; `auto` takes a GPU where there is one.

    Raises
    ------
    UsageError
        If a GPU is asked for and none can be used.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "A GPU was selected (cuda), but PyTorch finds none on this machine.",
            "Select the CPU (--device cpu), or install a CUDA build of PyTorch.",
        )
    cores = _cores()
    if device != "cpu" and torch.cuda.is_available():
        free, _total = torch.cuda.mem_get_info()
        return Machine(
            "cuda",
            torch.cuda.get_device_name(),
            free,
            torch.cuda.is_bf16_supported(including_emulation=False),
            cores,
        )
    found = torch.cpu.get_capabilities()
    has_bf16 = any(bool(found.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return Machine("cpu", str(found.get("cpu_name", "CPU")), available_memory(), has_bf16, cores)


def _cores() -> int:
    # A job of a cluster may use some of the cores only; macOS and Windows do not tell.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
