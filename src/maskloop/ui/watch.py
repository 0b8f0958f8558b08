"""Listening to events of napari that come and go with their layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["Watch"]


class Watch:
    """Listens to some events of napari, and to others when asked to.

    Not psygnal's: napari's layers still have event emitters of their own.

    Parameters
    ----------
    heard
        Called without arguments whenever one of the events is emitted.
    """

    def __init__(self, heard: Callable[[], object]) -> None:
        self._heard = heard
        self._emitters: list[Any] = []

    def follow(self, emitters: Iterable[Any]) -> None:
        """Listen to these events and to no others."""
        self.stop()
        self._emitters = list(emitters)
        for emitter in self._emitters:
            emitter.connect(self._hear)

    def stop(self, *_gone: object) -> None:
        """Stop listening."""
        for emitter in self._emitters:
            emitter.disconnect(self._hear)
        self._emitters = []

    # napari tells by the parameters whether a callback takes the event: this one may or may not.
    def _hear(self, _event: Any = None) -> None:
        self._heard()
