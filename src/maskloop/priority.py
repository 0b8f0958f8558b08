"""Work in the background leaves the processor to the person at the computer."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

__all__ = ["CREATION_FLAGS", "lower_priority"]

NICE = 10
"""About a tenth of a core beside a program that wants all of it, the whole core otherwise."""
CREATION_FLAGS: int = getattr(subprocess, "CREATE_NO_WINDOW", 0) | getattr(
    subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0
)
"""For `subprocess.Popen`: Windows sets the priority where a process is started, and would open a
console for it.
"""


def lower_priority() -> None:
    """Run this process, and all that it starts from now on, at a lower priority.

    On Windows the process that starts it sets the priority, by the `CREATION_FLAGS`.
    """
    if not hasattr(os, "nice"):
        return
    os.nice(NICE)
    # Linux desktops weigh sessions against each other, and nice counts within one only (sched(7),
    # "The autogroup feature"): a process that leads a session of its own lowers all of it, any
    # other would lower those who started it.
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(NICE), encoding="ascii")
