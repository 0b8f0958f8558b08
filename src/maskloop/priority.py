"""Work in the background leaves the processor to whoever sits at the computer."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["give_way"]

NICE = 10
"""A tenth of the processor beside somebody who wants all of it, the whole of it beside nobody."""


def give_way() -> None:
    """Let this process, and what it starts from now on, come after what a person does meanwhile.

    Windows sets the priority where a process is started: see `maskloop.compute.base.start`.
    """
    if not hasattr(os, "nice"):
        return
    os.nice(NICE)
    # Linux desktops weigh sessions against each other, and nice counts within one only (sched(7), "The autogroup feature"):
    # a process that leads a session of its own lowers all of it, any other would lower those who started it.
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(NICE), encoding="ascii")
