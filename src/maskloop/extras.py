"""Optional libraries: the module, or an error with the line to type."""

from __future__ import annotations

import importlib
from types import ModuleType

from maskloop.errors import MissingExtra

__all__ = ["require"]

_EXTRA_OF = {
    "zarr": "zarr",
    "napari": "napari",
    "tensorboard": "tensorboard",
    "transformers": "sam",
}


def require(name: str) -> ModuleType:
    """Import a library that is not always installed.

    Raises
    ------
    MissingExtra
        If it is not installed; the message holds the pip line.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        extra = _EXTRA_OF.get(name.partition(".")[0])
        line = (
            f'pip install -c constraints.txt "maskloop[{extra}]"'
            if extra
            else f"pip install {name}"
        )
        raise MissingExtra(
            f"This needs the library '{name}', which is not installed ({error}).", f"Run: {line}"
        ) from error
