"""What the machine offers: device, arithmetic, memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from maskloop.errors import UsageError

__all__ = ["Machine", "find_machine"]


@dataclass(frozen=True)
class Machine:
    """The device a training or prediction runs on."""

    device: Literal["cpu", "cuda"]
    name: str
    memory_bytes: int
    """Free memory of the device."""
    has_bf16: bool
    """Whether bf16 arithmetic is quicker than fp32 here, not merely emulated."""
    cores: int


def find_machine(device: Literal["auto", "cpu", "cuda"] = "auto") -> Machine:
    """Look at the device that is asked for; `auto` takes a GPU where there is one.

    Raises
    ------
    UsageError
        If a GPU is asked for and none can be used.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "A GPU was requested (cuda), but PyTorch finds none.",
            "Use the CPU (--device cpu), or install a CUDA build of PyTorch.",
        )
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
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
    return Machine("cpu", str(found.get("cpu_name", "CPU")), _free_memory(), has_bf16, cores)


def _free_memory() -> int:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux
    return 8 * 2**30
