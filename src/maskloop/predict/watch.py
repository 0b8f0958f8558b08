"""Counts the tiles of a prediction, tells how long it will take, and stops when asked."""

from __future__ import annotations

import time
from collections.abc import Callable

from maskloop.errors import Cancelled
from maskloop.events import Progress, Report

__all__ = ["Watch"]

# Often enough to look smooth; small tiles come by the hundred per second.
REPORT_EVERY_S = 0.1


class Watch:
    """Progress of one image in tiles, over all its frames.

    Parameters
    ----------
    name
        What the image is called.
    total
        Tiles of all frames.
    report
        Hears `Progress`.
    is_cancelled
        Asked before each batch of tiles.
    """

    def __init__(
        self, name: str, total: int, report: Report, is_cancelled: Callable[[], bool]
    ) -> None:
        self._name, self._total = name, total
        self._report, self._is_cancelled = report, is_cancelled
        self._done = 0
        self._skipped = 0
        self._begin = time.monotonic()
        self._said = float("-inf")

    def check(self) -> None:
        """Stop if somebody asked for it.

        Raises
        ------
        Cancelled
            If so.
        """
        if self._is_cancelled():
            raise Cancelled(
                f"The prediction of '{self._name}' was cancelled after {self._done} of "
                f"{self._total} tiles.",
                "Start it again to resume; images that were finished before are kept.",
            )

    def skip(self, tiles: int) -> None:
        """Count tiles whose labels were there already; they say nothing about the speed."""
        self._skipped += tiles
        self.advance(tiles)

    def advance(self, tiles: int) -> None:
        """Count tiles that were scored, and report at times and at the end."""
        self._done += tiles
        now = time.monotonic()
        # The last one is always reported: views close with it.
        if self._done < self._total and now - self._said < REPORT_EVERY_S:
            return
        self._said = now
        # At least one tile: a run that skipped all so far has no rate yet.
        rate = max(1, self._done - self._skipped) / max(now - self._begin, 1e-9)
        self._report(
            Progress(
                stage=self._name,
                done=self._done,
                total=self._total,
                unit="tiles",
                rate=rate,
                seconds_left=(self._total - self._done) / rate,
            )
        )
