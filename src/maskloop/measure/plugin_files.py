"""Measurements in a Python file of your own: loaded, and begun from a template."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from pathlib import Path
from typing import Any

from maskloop.errors import BrokenPlugin, UsageError
from maskloop.measure.base import Measurement
from maskloop.records import write_bytes

__all__ = ["MEASUREMENT", "load_measurement", "write_template"]

MEASUREMENT = "MEASUREMENT"
"""What a file of a measurement must define."""


def load_measurement(path: Path) -> Measurement:
    """The measurement that a Python file defines as ``MEASUREMENT``; the file is run.

    Raises
    ------
    UsageError
        If there is no such file, or it defines no measurement.
    BrokenPlugin
        If it cannot be imported.
    """
    if not path.is_file():
        raise UsageError(
            f"There is no file '{path}'.", "Create one: maskloop plugins new my_measurement"
        )
    name = f"maskloop_file_{re.sub(r'[^0-9A-Za-z_]', '_', path.stem)}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"'{path}' is not a Python file.", "Name a file that ends in .py.")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pydantic look up the module of a class by its name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a stranger's file may raise anything
        raise BrokenPlugin(
            f"'{path}' cannot be loaded: {type(error).__name__}: {error}.", "Correct the file."
        ) from error
    found: Any = getattr(module, MEASUREMENT, None)
    if not isinstance(getattr(found, "name", None), str):
        raise UsageError(
            f"'{path}' defines no {MEASUREMENT} with a name.",
            f"End the file with a line such as: {MEASUREMENT} = Texture()",
        )
    measurement: Measurement = found
    return measurement


def write_template(folder: Path, name: str) -> tuple[Path, Path]:
    """Begin a measurement: a commented file that works as it is, and its test.

    Parameters
    ----------
    folder
        Where the two files are written.
    name
        What people will select it by; also the name of the file.

    Raises
    ------
    UsageError
        If the name is not one that a Python module can have, or a file is there already.
    ProjectError
        If the files cannot be written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise UsageError(
            f"'{name}' is not a valid name for a measurement.",
            "Use lowercase letters, digits and _, starting with a letter, such as spot_count.",
        )
    paths = folder / f"{name}.py", folder / f"test_{name}.py"
    for path in paths:
        if path.exists():
            raise UsageError(
                f"'{path}' exists already.", "Select another name, or move the file away."
            )
    title = "".join(part.title() for part in name.split("_"))
    for path, text in zip(paths, (_TEMPLATE, _TEST), strict=True):
        filled = text.replace("NAME", name).replace("TITLE", title)
        write_bytes(path, filled.encode())
    return paths


_TEMPLATE = '''"""NAME: describe what is measured, and cite the method."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray
from pydantic import Field

from maskloop.measure.base import Column, Scene
from maskloop.measure.frame import ObjectFrame
from maskloop.records import Record


class TITLE:
    """Contrast of each object in each channel: replace this with what you want to measure."""

    name = "NAME"  # how users select it: maskloop measure --measurements size,NAME

    class Settings(Record):
        """Settings that users can change; every field needs a default and a description."""

        percentile: float = Field(95, ge=50, le=100, description="What counts as bright.")

    def columns(self, settings: Settings, scene: Scene) -> tuple[Column, ...]:
        """The columns it fills. They may depend on the settings, the channels and whether
        objects are planes or volumes (scene.is_volume), and on nothing else: a table has the
        same columns for all images.
        """
        return tuple(
            Column(
                name=f"NAME_{channel}",
                unit="",  # px, um, um2 ...; columns in um are nan where the pixel size is unknown
                description=f"Bright over dark intensity of {channel}.",
            )
            for channel in scene.channels
        )

    def measure(self, frame: ObjectFrame, settings: Settings) -> Mapping[str, NDArray[Any]]:
        """One number per object for each column, in the order of frame.ids.

        frame.labels        (Z)YX, 0 is background
        frame.channels      name and pixels ((Z)YX) of each channel
        frame.pixel_size_um micrometers along (Z)YX, or None
        frame.pixels        the pixels of all objects: sum, mean, std, min, max, percentiles
        frame.boxes         bounding boxes; frame.runs, stretches along X

        Computing all objects at once, as here, is far faster than looping over them.
        """
        found = {}
        for channel, plane in frame.channels:
            values = frame.pixels.take(plane)
            bright, dark = frame.pixels.percentiles(
                values, [settings.percentile, 100 - settings.percentile]
            )
            found[f"NAME_{channel}"] = (bright + 1) / (dark + 1)
        return found


MEASUREMENT = TITLE()

# Try it:         maskloop plugins check NAME.py
# Use it:         maskloop measure PROJECT --plugin NAME.py --out table.csv
# Share it:       in the pyproject.toml of your package
#                 [project.entry-points."maskloop.measurements"]
#                 NAME = "my_package.NAME:MEASUREMENT"
'''

_TEST = '''"""What maskloop relies on in NAME, and what it computes."""

import numpy as np
from NAME import MEASUREMENT

from maskloop import Image, measure_objects
from maskloop.plugins import register
from maskloop.testing import MeasurementContract


class TestTITLE(MeasurementContract):
    def make_measurement(self):
        return MEASUREMENT


def test_an_object_of_one_intensity_has_no_contrast():
    labels = Image(np.array([[0, 1, 1, 0]]), "YX")
    image = Image(np.array([[9, 5, 5, 9]]), "YX", channel_names=("DAPI",))
    with register("measurements", "NAME", MEASUREMENT):
        table = measure_objects(labels, image, measurements=["NAME"])
    assert table["NAME_DAPI"].tolist() == [1]
'''
