"""Plug-ins by kind and name: what can be added to maskloop with one file and one line.

A package offers an object under an entry point; maskloop names its own in `BUILT_IN`::

    [project.entry-points."maskloop.formats"]
    nrrd = "my_package.nrrd:NRRD"

Nothing is imported before somebody asks for it by name, so a plug-in costs nothing until it is
used, and one that is broken costs only itself.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from types import TracebackType
from typing import Any, Literal, Self, get_args

from maskloop.errors import BrokenPlugin, MaskloopError, NotFound, UsageError

__all__ = [
    "BUILT_IN",
    "KINDS",
    "Kind",
    "Registration",
    "forget_installed",
    "get",
    "loadable",
    "names",
    "register",
]

Kind = Literal["backends", "formats", "jobs", "measurements", "targets", "prompters"]
"""What can be added: models, file formats, kinds of jobs, measurements of objects, places to run,
prompt models.
"""

KINDS: tuple[Kind, ...] = get_args(Kind)

# As texts: the registry is below everything that it names, and importing it must cost nothing.
BUILT_IN: dict[Kind, dict[str, str]] = {
    "backends": {"basic_unet": "maskloop.models.unet.backend:UNET"},
    "formats": {
        "tiff": "maskloop.images.formats.tiff:TIFF",
        "picture": "maskloop.images.formats.pictures:PICTURES",
        "npy": "maskloop.images.formats.npy:NPY",
    },
    "jobs": {
        "train": "maskloop.jobs.training:TrainJob",
        "predict": "maskloop.jobs.prediction:PredictJob",
        "measure": "maskloop.jobs.measurement:MeasureJob",
    },
    "measurements": {
        name: f"maskloop.measure.{name}:{name.upper()}"
        for name in (
            "position",
            "size",
            "shape",
            "intensity",
            "background",
            "border",
            "neighbors",
        )
    },
    "targets": {
        "inline": "maskloop.compute.inline:Inline",
        "process": "maskloop.compute.process:Process",
    },
    "prompters": {},
}
"""Where maskloop's own plug-ins are: kind -> {name: "module:object"}, in order of precedence."""

_logger = logging.getLogger(__name__)
_registered: dict[Kind, dict[str, Any]] = {kind: {} for kind in KINDS}
_warned: set[tuple[Kind, str]] = set()


@dataclass(frozen=True)
class Registration:
    """Undoes a registration: call `undo`, or leave the ``with`` block.

    Parameters
    ----------
    kind, name
        What was registered.
    """

    kind: Kind
    name: str

    def undo(self) -> None:
        """Forget the plug-in; nothing happens if it was forgotten before."""
        # A second undo is harmless, as closing a file twice is.
        _registered[self.kind].pop(self.name, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.undo()


def names(kind: Kind) -> tuple[str, ...]:
    """The plug-ins of a kind that can be selected; none of them is imported.

    Returns
    -------
    names
        maskloop's own first, then those registered in this process, then those of installed
        packages.
    """
    return tuple(_places(kind))


def get(kind: Kind, name: str) -> Any:
    """The plug-in of this name, imported on first use.

    Raises
    ------
    NotFound
        If there is no such plug-in; the message lists those there are.
    BrokenPlugin
        If it cannot be imported.
    MissingExtra
        If it needs an optional library that is not installed.
    """
    places = _places(kind)
    if name not in places:
        raise NotFound(
            f"'{name}' is not one of the {kind}: {', '.join(places) or 'none is installed'}.",
            "Select one of these, or install the package that provides it.",
        )
    place = places[name]
    return _load(kind, name, place) if isinstance(place, str) else place


def loadable(kind: Kind) -> Iterator[tuple[str, Any]]:
    """Every plug-in of a kind that can be imported, with its name, in the order of `names`.

    One that cannot is named in a warning, once, and left out.
    """
    # One at a time: those before a broken one are used already.
    for name in names(kind):
        try:
            yield name, get(kind, name)
        except MaskloopError as error:
            # Formats are asked for with each file: once is enough.
            if (kind, name) not in _warned:
                _warned.add((kind, name))
                _logger.warning("%s", error.problem)


def register(kind: Kind, name: str, place: Any) -> Registration:
    """Add a plug-in for the rest of this process.

    A child process does not know of it: jobs that run in one need an entry point.

    Parameters
    ----------
    kind
        What it is.
    name
        What people select it by.
    place
        Where it is, as ``"module:object"``, or the object itself.

    Returns
    -------
    registration
        Undoes it, also as a context manager.

    Raises
    ------
    UsageError
        If the name is taken.
    """
    # Replacing in silence would change results without a trace.
    if name in _places(kind):
        raise UsageError(
            f"'{name}' is already one of the {kind}.", "Register the plug-in under another name."
        )
    _registered[kind][name] = place
    return Registration(kind, name)


def _places(kind: Kind) -> dict[str, Any]:
    # Installed packages come first in the merge and last in the order: a package that is merely
    # installed must not replace what maskloop itself means by a name.
    if kind not in BUILT_IN:
        raise NotFound(
            f"'{kind}' is not a kind of plug-in: {', '.join(KINDS)}.", "Name one of these kinds."
        )
    return {
        **BUILT_IN[kind],
        **_registered[kind],
        **{
            name: place
            for name, place in _installed(kind).items()
            if name not in BUILT_IN[kind] and name not in _registered[kind]
        },
    }


@cache
def _installed(kind: Kind) -> dict[str, str]:
    # Looking through all installed packages takes tens of milliseconds; they do not change.
    return {entry.name: entry.value for entry in sorted(entry_points(group=f"maskloop.{kind}"))}


def forget_installed() -> None:
    """Look for installed packages again when next asked (after one was installed)."""
    _installed.cache_clear()
    _load.cache_clear()
    _warned.clear()


@cache
def _load(kind: Kind, name: str, place: str) -> Any:
    # Cached by place: what is registered again under a name is loaded anew.
    module, _, attributes = place.partition(":")
    try:
        found = importlib.import_module(module)
        for attribute in attributes.split("."):
            found = getattr(found, attribute)
    except MaskloopError:
        raise
    except Exception as error:  # a stranger's module may raise anything while it is imported
        raise BrokenPlugin(
            f"The plug-in '{name}' ({kind}) cannot be loaded from {place}: "
            f"{type(error).__name__}: {error}.",
            "Update or uninstall the package that provides it.",
        ) from error
    return found
