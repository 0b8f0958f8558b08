"""A helper process that stays and calls functions, one after the other: for what loads torch.

Not `multiprocessing`: its children import the person's script again, and many scripts open a viewer
without ``if __name__ == "__main__"``.
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

    The process starts with the first call, and again after it was killed.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._is_closed = False

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call a function in the process and wait for its result; one thread at a time.

        Parameters
        ----------
        function
            Of a module, so that the process can import it; arguments and result must be picklable.
        arguments
            What to call it with.

        Raises
        ------
        MaskloopError
            If the process was killed meanwhile, or if the function raised one.
        RuntimeError
            If it raised something else.
        """
        process = self._alive()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump((function, arguments), process.stdin)
            process.stdin.flush()
            # Unpickling is safe here: the other end of the pipe is our own process.
            result, error = pickle.load(process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError) as gone:
            with self._lock:  # `kill` may look at the process at this moment
                self._end(process)
            problem = "The helper process stopped unexpectedly."
            raise MaskloopError(problem, "Try again: a new one will be started.") from gone
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
                with contextlib.suppress(OSError):  # what is still buffered goes nowhere
                    pipe.close()
        self._process = None

    def kill(self) -> None:
        """Kill the process, whatever it does; a call that waits fails.

        Nothing is lost, since it writes nothing, and it may be loading torch for seconds.
        """
        with self._lock:
            self._is_closed = True
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """Release the process after `kill`, when nobody calls any more."""
        with self._lock:
            if self._process is not None:
                self._end(self._process)


def _serve(asked: BinaryIO, told: BinaryIO) -> None:
    """Answer calls until the window is gone; runs in the helper process."""
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
            # Not every error can be pickled; the whole traceback goes to the terminal.
            traceback.print_exc()
            answer = None, RuntimeError(f"{type(error).__name__}: {error}")
        pickle.dump(answer, told)
        told.flush()


def main() -> None:
    """Serve on the pipes of this process, and keep what libraries print out of them."""
    lower_priority()
    asked, told = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115
    _serve(asked, told)


if __name__ == "__main__":
    main()
