"""A child process that stays and calls functions, one after the other: for what loads torch.

Not `multiprocessing`: its children run the person's script again, and many of those open a viewer
without asking whether they are the program (``if __name__ == "__main__"``).
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar

from maskloop.errors import MaskloopError
from maskloop.priority import CREATION_FLAGS, lower_priority

__all__ = ["Helper"]

Result = TypeVar("Result")


class Helper:
    """The side of the window.

    The process starts with the first call, and anew after it was ended from outside.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._is_closed = False

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call a function in the process and wait; for one thread at a time.

        Parameters
        ----------
        function
            Of a module, so that the process finds it; arguments and result must be picklable.
        arguments
            What to call it with.

        Raises
        ------
        MaskloopError
            If the process was ended meanwhile.
            What the function raised, if it is one of these.
        RuntimeError
            If it raised something else.
        """
        process = self._alive()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump((function, arguments), process.stdin)
            process.stdin.flush()
            # Both ends of these pipes are ours.
            result, error = pickle.load(process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError) as gone:
            with self._lock:  # `kill` may look at the process at this moment
                self._end(process)
            problem = "The helper process that plans and counts was ended from outside."
            raise MaskloopError(problem, "Do it again: a new one is started.") from gone
        if error is not None:
            raise error
        found: Result = result
        return found

    def _alive(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._process is not None and self._process.poll() is not None:
                self._end(self._process)
            if self._process is None and not self._is_closed:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "maskloop.ui.helper"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    start_new_session=True,
                    creationflags=CREATION_FLAGS,
                )
            if self._process is None:
                raise MaskloopError("The window is closing.", "Open it again.")
            return self._process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was not sent is not wanted any more
                    pipe.close()
        self._process = None

    def kill(self) -> None:
        """End the process, whatever it does: it writes nothing, and may be loading torch for seconds. A call that waits fails."""
        with self._lock:
            self._is_closed = True
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """Collect what is left after `kill`, when nobody calls any more."""
        with self._lock:
            if self._process is not None:
                self._end(self._process)


def _serve(asked: BinaryIO, told: BinaryIO) -> None:
    """The side of the process: answer until the window is gone."""
    while True:
        try:
            function, arguments = pickle.load(asked)
        except EOFError:
            return
        answer: tuple[Any, Exception | None]
        try:
            answer = function(*arguments), None
        except MaskloopError as error:
            answer = None, error
        except Exception as error:
            # Not every error survives the way; the whole of it is for whoever started napari in a
            # terminal.
            traceback.print_exc()
            answer = None, RuntimeError(f"{type(error).__name__}: {error}")
        pickle.dump(answer, told)
        told.flush()


def main() -> None:
    """Serve on the pipes of this process, and keep whatever libraries print out of them."""
    lower_priority()
    asked, told = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115
    _serve(asked, told)


if __name__ == "__main__":
    main()
