"""Annotate, train, predict, correct, repeat: segmentation models of your own for microscopy."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maskloop.compute.project import Project
    from maskloop.errors import (
        AxesError,
        BrokenPlugin,
        Cancelled,
        EmptyMask,
        ImageError,
        IncompatibleWeights,
        KnownPixels,
        MaskError,
        MaskloopError,
        MissingExtra,
        NotFound,
        ProjectError,
        ProjectLocked,
        RecordError,
        TrainingFailed,
        UnsafeFile,
        UsageError,
    )
    from maskloop.images.image import Image
    from maskloop.images.masks import MaskRule
    from maskloop.images.readers import open_image, open_labels
    from maskloop.images.refs import ImageRef
    from maskloop.images.sources import find_images, match_pairs, read_pair_table
    from maskloop.images.writers import write_labels
    from maskloop.measure.table import measure_objects
    from maskloop.models.base import Plan, Recipe
    from maskloop.predict.segment import segment
    from maskloop.task import Task

__all__ = [
    "AxesError",
    "BrokenPlugin",
    "Cancelled",
    "EmptyMask",
    "Image",
    "ImageError",
    "ImageRef",
    "IncompatibleWeights",
    "KnownPixels",
    "MaskError",
    "MaskRule",
    "MaskloopError",
    "MissingExtra",
    "NotFound",
    "Plan",
    "Project",
    "ProjectError",
    "ProjectLocked",
    "Recipe",
    "RecordError",
    "Task",
    "TrainingFailed",
    "UnsafeFile",
    "UsageError",
    "find_images",
    "match_pairs",
    "measure_objects",
    "open_image",
    "open_labels",
    "read_pair_table",
    "segment",
    "write_labels",
]

_HOME = {
    "Image": "images.image",
    "ImageRef": "images.refs",
    "MaskRule": "images.masks",
    "Plan": "models.base",
    "Project": "compute.project",
    "Recipe": "models.base",
    "Task": "task",
    "find_images": "images.sources",
    "match_pairs": "images.sources",
    "measure_objects": "measure.table",
    "open_image": "images.readers",
    "open_labels": "images.readers",
    "read_pair_table": "images.sources",
    "segment": "predict.segment",
    "write_labels": "images.writers",
}
"""Where a public name lives; the others are errors."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'maskloop' has no attribute '{name}'")
    # When it is asked for (PEP 562): whoever wants one name does not wait for all the others.
    value = getattr(import_module(f"maskloop.{_HOME.get(name, 'errors')}"), name)
    # Python asks only for names that are missing: the next time it finds this one by itself.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
