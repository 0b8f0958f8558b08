"""Values of napari-training-assistant's records, in our words: paths, numbers, descriptions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from maskloop.project.version2 import USUAL
from maskloop.records import Record
from maskloop.task import Task

__all__ = ["Raw", "as_dict", "as_dicts", "describe", "fit", "next_after", "slashes"]

AnyRecord = TypeVar("AnyRecord", bound=Record)
Raw = dict[str, Any]


def fit(kind: type[AnyRecord], values: Raw, blank: Raw) -> AnyRecord:
    """A record of the values that fit.

    The others go to `metadata`, or are left out where a record has none.
    """
    # One wrong value must not cost the entry: each that is refused is taken out and kept apart.
    fitting = {
        **blank,
        **{
            name: value
            for name, value in values.items()
            if name in kind.model_fields and value is not None
        },
    }
    # What has no field here is not thrown away: a later version may know what to do with it.
    kept = {name: value for name, value in values.items() if name not in kind.model_fields}
    # One round is not enough: pydantic checks the record as a whole only when all its fields are
    # right.
    for _ in range(len(kind.model_fields)):
        with_rest = (
            {**fitting, "metadata": {**as_dict(fitting.get("metadata")), **kept}}
            if "metadata" in kind.model_fields
            else fitting
        )
        try:
            return kind.model_validate(with_rest)
        except ValidationError as error:
            for name in {
                str(problem["loc"][0])
                for problem in error.errors(include_url=False)
                if problem["loc"]
            } & set(values):
                kept[name] = fitting.pop(name, None)
                if name in blank:
                    fitting[name] = blank[name]
    return kind.model_validate(fitting)


def describe(raw: Mapping[str, Any]) -> Raw:
    """Their description of a network in the words of version 2.

    Derived values are derived anew, class names completed, and presets called by our names.
    """
    task = Task.of_description(raw)
    ours: Raw = {
        **{name: value for name, value in USUAL.items() if name != "z_strides"},
        "input_channels": 1,
    }
    for name, value in raw.items():
        # A value of another type was damaged or edited: the usual one is kept.
        if name in ours and isinstance(value, type(ours[name])):
            ours[name] = value
    # They put the dimensions into the name of the preset; ours is a field of its own.
    preset = str(ours["preset"])
    ours["preset"] = preset.removesuffix("_2d").removesuffix("_3d")
    if preset.endswith("_3d"):
        ours["spatial_dims"] = "3d"
    return {
        **ours,
        "output_mode": task.mode,
        "num_classes": task.num_classes,
        "output_channels": {"binary": 1, "multiclass": task.num_classes, "instances": 3}[task.mode],
        "activation": "softmax" if task.mode == "multiclass" else "sigmoid",
        "loss": {
            "binary": "bce_dice",
            "multiclass": "cross_entropy_dice",
            "instances": "instance_distances",
        }[task.mode],
        "class_labels": task.class_labels,
    }


def as_dicts(value: Any) -> list[Raw]:
    """The objects in a JSON list; none where it is no list."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def as_dict(value: Any) -> Raw:
    """A copy of a JSON object; empty where it is none."""
    return dict(value) if isinstance(value, dict) else {}


def slashes(path: Any) -> str:
    """A path with ``/``, whichever system wrote it; empty where there is none."""
    return path.replace("\\", "/").removeprefix("./") if isinstance(path, str) else ""


def next_after(ids: Iterable[str]) -> int:
    """The number after the highest in these ids."""
    # The hash of eight digits that may end an id is no number of it.
    numbers = [
        int(found[1])
        for found in (re.search(r"_(\d+)(?:_[0-9a-f]{8})?$", name) for name in ids)
        if found
    ]
    return max(numbers, default=0) + 1
