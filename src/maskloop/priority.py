"""Work in the background leaves the processor to whoever sits at the computer."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

__all__ = ["CREATION_FLAGS", "give_way"]

NICE = 10
"""A tenth of the processor beside somebody who wants all of it, the whole of it beside nobody."""
CREATION_FLAGS: int = getattr(subprocess, "CREATE_NO_WINDOW", 0) | getattr(
    subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0
)
"""For `subprocess.Popen`: Windows sets the priority where a process is started, and would open a
console for it.
"""


def give_way() -> None:
    """Let this process, and what it starts from now on, come after what a person does meanwhile.

    On Windows whoever starts it gives it the `CREATION_FLAGS` instead.
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
