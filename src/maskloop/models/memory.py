"""How much memory there is for a training or prediction, and what its lack looks like."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["available_memory", "is_out_of_memory"]

# Words of PyTorch, C++ and oneDNN: on a CPU no type of exception tells.
SHORTAGE = re.compile(
    r"out of memory|can.?t allocate memory|not enough memory|bad_alloc"
    # oneDNN does not say why; on a processor it means that its buffers could not be allocated.
    r"|could not create a primitive|could not create a memory",
    re.IGNORECASE,
)
UNLIMITED = 2**60
"""The kernel writes a limit near 2 ** 63 where there is none."""


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that a new process may use without swapping, on every system.

    What is cached from files counts as available, for the system gives it back. On Linux the limit
    of the control group counts, too: a container or a SLURM job sees the whole machine's memory,
    but is killed at its limit.

    Parameters
    ----------
    root
        Where /proc and /sys are; for tests.
    """
    # Loaded here: nobody who merely opens a project needs it.
    import psutil

    return min([int(psutil.virtual_memory().available), *_left_in_groups(root)])


def _left_in_groups(root: Path) -> list[int]:
    """Bytes left in the control groups that this process belongs to, version 1 or 2."""
    left = []
    for line in _lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            base, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = base / path.strip("/")
        # In a container the path may be that of the host, which is not visible inside.
        if not group.is_dir():
            group = base
        # A limit of a group above binds as well.
        while group.is_relative_to(base):
            left += _left_in(group, *names)
            group = group.parent
    return left


def _left_in(group: Path, limit_name: str, usage_name: str, cache_name: str) -> list[int]:
    limit, usage = _number(group / limit_name), _number(group / usage_name)
    if limit is None or limit >= UNLIMITED:
        return []
    cached = 0
    for line in _lines(group / "memory.stat"):
        name, _, value = line.partition(" ")
        if name == cache_name:
            cached = int(value)
    return [max(0, limit - (usage or 0) + cached)]


def _number(path: Path) -> int | None:
    # Version 2 writes the word max where there is no limit.
    lines = _lines(path)
    return int(lines[0]) if lines and lines[0].isdigit() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return []  # not Linux, or not allowed to look


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory of the processor or the GPU was not enough."""
    if isinstance(error, MemoryError):
        return True
    # PyTorch raises a plain RuntimeError on the processor, so that its words have to tell.
    return isinstance(error, RuntimeError) and SHORTAGE.search(str(error)) is not None
