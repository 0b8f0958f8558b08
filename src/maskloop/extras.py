"""Optional libraries: the module, or an error with the line to type."""

from __future__ import annotations

import importlib
from types import ModuleType

from maskloop.errors import MissingExtra

__all__ = ["require"]

_EXTRA_OF = {
    "napari": "napari",
    "pyarrow": "parquet",
    "pyqtgraph": "napari",
    "qtpy": "napari",
    "superqt": "napari",
    "tensorboard": "tensorboard",
}
"""The extra that installs a library; others are installed by their own name."""


def require(name: str) -> ModuleType:
    """Import a library that is not always installed.

    Raises
    ------
    MissingExtra
        If it is not installed; the message holds the pip line.
    """
    try:
        return importlib.import_module(name)
    # Also of a library that is installed but broken, so that the reason is part of the message.
    except ImportError as error:
        # Modules of a package come with it.
        extra = _EXTRA_OF.get(name.partition(".")[0])
        wanted = f'"maskloop[{extra}]"' if extra else name
        raise MissingExtra(
            f"This needs the library '{name}', which cannot be imported: {error}.",
            f"Run: pip install {wanted}",
        ) from error
