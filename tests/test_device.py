"""What this machine offers: the device, its memory under every kind of limit, and its cores."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from maskloop.errors import UsageError
from maskloop.models.device import find_machine
from maskloop.models.memory import available_memory, is_out_of_memory

GIB = 2**30


@pytest.fixture(autouse=True)
def _sixteen_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    found = SimpleNamespace(available=16 * GIB, total=32 * GIB)
    monkeypatch.setattr("psutil.virtual_memory", lambda: found)


def group(folder: Path, **files: str) -> None:
    """A control group as the kernel shows it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"memory.{name}").write_text(f"{text}\n", encoding="ascii")


def test_a_cpu_is_found_with_its_memory_and_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskloop.models.memory._left_in_groups", lambda _root: [])
    machine = find_machine("cpu")
    assert (machine.device, machine.memory_bytes) == ("cpu", 16 * GIB)
    assert machine.name
    assert machine.cores == len(
        os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else "1"
    )


def test_cores_are_counted_where_the_system_tells_no_affinity(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert find_machine("cpu").cores == 6


@pytest.mark.parametrize(("flag", "has_bf16"), [("amx_bf16", True), ("avx2", False)])
def test_bf16_counts_where_the_processor_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, flag: str, has_bf16: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {flag: True, "cpu_name": "Chip"})
    machine = find_machine("cpu")
    assert (machine.name, machine.has_bf16) == ("Chip", has_bf16)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match=r"A GPU was selected \(cuda\), but PyTorch finds none"):
        find_machine("cuda")
    assert find_machine("auto").device == "cpu"


@pytest.mark.parametrize("asked", ["auto", "cuda"])
def test_a_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (3 * GIB, 8 * GIB))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A GPU")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    machine = find_machine(asked)  # type: ignore[arg-type]
    assert (machine.device, machine.name) == ("cuda", "A GPU")
    assert (machine.memory_bytes, machine.has_bf16) == (3 * GIB, True)
    assert find_machine("cpu").device == "cpu"


def test_without_control_groups_the_system_tells_what_is_available(tmp_path: Path) -> None:
    assert available_memory(tmp_path) == 16 * GIB


def test_a_container_is_held_to_its_limit(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/job/step\n", encoding="ascii")
    base = tmp_path / "sys/fs/cgroup"
    group(base, max="max", current=str(20 * GIB))
    group(
        base / "job",
        max=str(4 * GIB),
        current=str(3 * GIB),
        stat=f"anon 7\ninactive_file {GIB // 2}",
    )
    group(base / "job/step", max="max", current=str(GIB))
    assert available_memory(tmp_path) == GIB + GIB // 2
    # The group's path is the host's, and not visible in the container.
    (tmp_path / "proc/self/cgroup").write_text("0::/host/1234\n", encoding="ascii")
    group(base, max=str(2 * GIB), current=str(3 * GIB))
    assert available_memory(tmp_path) == 0


def test_a_control_group_of_the_first_version_counts_too(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    text = "5:cpu,cpuacct:/a\n4:memory:/slurm/job_1\n0::/\n"
    (tmp_path / "proc/self/cgroup").write_text(text, encoding="ascii")
    base = tmp_path / "sys/fs/cgroup/memory"
    group(base, limit_in_bytes="9223372036854771712", usage_in_bytes=str(GIB))
    group(base / "slurm/job_1", limit_in_bytes=str(8 * GIB), usage_in_bytes=str(GIB))
    assert available_memory(tmp_path) == 7 * GIB
    (base / "slurm/job_1/memory.limit_in_bytes").write_text("broken", encoding="ascii")
    assert available_memory(tmp_path) == 16 * GIB


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried 8 bytes"), True),
        (RuntimeError("could not create a primitive"), True),
        (torch.OutOfMemoryError("Allocation failed: out of memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_a_lack_of_memory_is_told_from_other_errors(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
