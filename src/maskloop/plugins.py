"""Entry-point registries: what others (and we) plug in, each imported on first use."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from maskloop.errors import UsageError

__all__ = ["load", "names"]


@cache
def _registered(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"maskloop.{group}")}


def names(group: str) -> list[str]:
    """Names registered under ``maskloop.<group>``, sorted."""
    return sorted(_registered(group))


def load(group: str, name: str) -> Any:
    """The object registered as `name` under ``maskloop.<group>``, imported now.

    Raises
    ------
    UsageError
        If nothing is registered under this name.
    """
    point = _registered(group).get(name)
    if point is None:
        raise UsageError(f"There is no {group[:-1]} named '{name}'.", f"Choose one of: {', '.join(names(group)) or 'none is installed'}.")
    return point.load()
