"""A screen for the tests of the window, so that they need none and disturb nobody's."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping

XVFB = shutil.which("Xvfb") if sys.platform == "linux" else None
"""The program that stands in for a screen, where there is one."""


def is_of_worker(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether other processes run tests at the same time."""
    return "PYTEST_XDIST_WORKER" in environment


def has_screen(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether windows can be shown; elsewhere than on Linux always."""
    names = ("DISPLAY", "WAYLAND_DISPLAY")
    return sys.platform != "linux" or any(environment.get(name) for name in names)


@functools.cache
def make_screen() -> None:
    """Start a screen for this process where it has none, or shares it with other workers.

    Windows of two processes on one screen take the keyboard from each other.
    """
    if XVFB is None or (has_screen() and not is_of_worker()):
        return
    listen, tell = os.pipe()
    command = [XVFB, "-displayfd", str(tell), "-screen", "0", "1600x1200x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[tell], stderr=subprocess.DEVNULL)
    os.close(tell)
    atexit.register(server.kill)
    with os.fdopen(listen) as told:
        # The number of the screen, when it is ready; nothing when the server ended before.
        number = told.readline().strip()
    assert number, f"{XVFB} ended with {server.wait()}"
    os.environ["DISPLAY"] = f":{number}"
    os.environ.pop("WAYLAND_DISPLAY", None)
