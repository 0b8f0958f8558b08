"""Whether a measurement keeps its promises, tried on small frames."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop.errors import MaskloopError, UsageError
from maskloop.measure.base import Column, Measurement, Scene
from maskloop.measure.frame import ObjectFrame
from maskloop.measure.measurer import checked_values
from maskloop.records import Record

__all__ = [
    "CHECKS",
    "SCENES",
    "check_columns",
    "check_ids",
    "check_repeats",
    "check_settings",
    "check_unknown_pixel_size",
    "check_values",
    "find_problems",
    "make_frame",
]

SCENES = tuple(
    Scene(spatial_axes=axes, channels=channels)
    for axes, channels in product(("YX", "ZYX"), ((), ("DAPI",), ("DAPI", "GFP")))
)
"""Planes and volumes; without an image, with one channel and with two."""


def check_settings(measurement: Measurement) -> None:
    """Its settings are a record whose fields all have defaults, and can be written down."""
    kind = measurement.Settings
    if not (isinstance(kind, type) and issubclass(kind, Record)):
        raise UsageError(
            f"The settings are {kind!r}, not a class derived from maskloop.records.Record.",
            "Write: class Settings(Record): ...",
        )
    settings = kind()
    if kind.model_validate_json(settings.model_dump_json()) != settings:
        raise UsageError(
            "The settings change when they are saved and loaded.",
            "Use numbers, strings, and tuples of these.",
        )


def check_columns(measurement: Measurement) -> None:
    """Every column has a name of its own and says what it holds."""
    for scene in SCENES:
        columns = _columns(measurement, scene)
        names = [column.name for column in columns]
        if len(set(names)) < len(names):
            raise UsageError(
                f"Two columns have the same name: {', '.join(names)} ({_words(scene)}).",
                "Give each column a unique name; columns of a channel end in its name.",
            )
        bare = [column.name for column in columns if not column.description]
        if bare:
            raise UsageError(
                f"The column '{bare[0]}' has no description.", "Describe what it holds."
            )


def check_values(measurement: Measurement) -> None:
    """It fills the columns that it promised with one value per object."""
    for scene in SCENES:
        _measured(measurement, make_frame(scene), scene)


def check_unknown_pixel_size(measurement: Measurement) -> None:
    """It works without a pixel size, and then leaves physical columns empty."""
    for scene in SCENES:
        found = _measured(measurement, make_frame(scene, pixel_size=False), scene)
        for column in _columns(measurement, scene):
            values = found[column.name]
            if column.unit.startswith("um") and not np.isnan(values.astype(float)).all():
                raise UsageError(
                    f"The column '{column.name}' has values in {column.unit} although the pixel "
                    f"size is unknown.",
                    "Return numpy.nan where frame.pixel_size_um is None.",
                )


def check_ids(measurement: Measurement) -> None:
    """Values follow the objects, whatever their numbers are: with gaps, and above 32 bits."""
    scene = SCENES[2]
    frame = make_frame(scene)
    # A plug-in that indexes by label would need 64 GB here.
    far = np.where(frame.labels, frame.labels.astype(np.int64) * 7 + 2**33, 0)
    renumbered = ObjectFrame(
        far, frame.image, channel_names=scene.channels, pixel_size_um=frame.pixel_size_um
    )
    _refuse_difference(
        _measured(measurement, frame, scene),
        _measured(measurement, renumbered, scene),
        "when the objects are renumbered",
        [column.name for column in _columns(measurement, scene) if column.unit == "id"],
    )


def check_repeats(measurement: Measurement) -> None:
    """It gives the same values again: nothing is left over from the frame before."""
    scene = SCENES[-1]
    first = _measured(measurement, make_frame(scene), scene)
    # Another frame in between, so that a cache without a key shows.
    _measured(measurement, make_frame(scene, objects=2), scene)
    again = _measured(measurement, make_frame(scene), scene)
    _refuse_difference(first, again, "when the same frame is measured again")


CHECKS: tuple[Callable[[Measurement], None], ...] = (
    check_settings,
    check_columns,
    check_values,
    check_unknown_pixel_size,
    check_ids,
    check_repeats,
)


def find_problems(measurement: Any) -> tuple[str, ...]:
    """What a measurement does not keep of the contract, in words; nothing if all is well."""
    missing = [
        name
        for name in ("name", "Settings", "columns", "measure")
        if not hasattr(measurement, name)
    ]
    if missing:
        return (f"It does not define {', '.join(missing)}.",)
    # A dict and no list: one mistake is found by several checks, and told once.
    problems: dict[str, None] = {}
    for check in CHECKS:
        try:
            check(measurement)
        except MaskloopError as error:
            problems[f"{error.problem} {error.way_out}"] = None
        except Exception as error:  # a stranger's code may raise anything
            problems[f"It raises {type(error).__name__}: {error}."] = None
    return tuple(problems)


def make_frame(scene: Scene, *, objects: int = 4, pixel_size: bool = True) -> ObjectFrame:
    """A small frame: a box at the edge of the image, two boxes that touch, and a single pixel."""
    dimensions = len(scene.spatial_axes)
    labels = np.zeros((5, 16, 20)[-dimensions:], np.int32)
    places = [
        (slice(0, 4), slice(0, 5)),
        (slice(6, 10), slice(4, 8)),
        (slice(6, 12), slice(8, 11)),
        (slice(14, 15), slice(17, 18)),
    ]
    for number, place in enumerate(places[:objects], 1):
        labels[(slice(1, 3), *place)[-dimensions:]] = number
    random = np.random.default_rng(0)
    image = random.integers(100, 4000, (len(scene.channels), *labels.shape)).astype(np.uint16)
    return ObjectFrame(
        labels,
        image if scene.channels else None,
        channel_names=scene.channels,
        pixel_size_um=(1.5, 0.5, 0.5)[-dimensions:] if pixel_size else None,
    )


def _columns(measurement: Measurement, scene: Scene) -> tuple[Column, ...]:
    return tuple(measurement.columns(measurement.Settings(), scene))


def _measured(
    measurement: Measurement, frame: ObjectFrame, scene: Scene
) -> dict[str, NDArray[Any]]:
    names = [column.name for column in _columns(measurement, scene)]
    try:
        return checked_values(
            measurement.measure(frame, measurement.Settings()), names, frame.count
        )
    except MaskloopError:
        raise
    except Exception as error:  # a stranger's code may raise anything
        raise UsageError(
            f"It raises {type(error).__name__}: {error} ({_words(scene)}, {frame.count} objects).",
            "Correct the measurement.",
        ) from error


def _refuse_difference(
    first: dict[str, NDArray[Any]],
    second: dict[str, NDArray[Any]],
    when: str,
    allowed: Collection[str] = (),
) -> None:
    for name in first.keys() - set(allowed):
        if not np.array_equal(first[name], second[name], equal_nan=first[name].dtype.kind == "f"):
            raise UsageError(
                f"The column '{name}' changes {when}.",
                "Compute each value from the object's pixels alone.",
            )


def _words(scene: Scene) -> str:
    return f"{scene.spatial_axes}, channels: {', '.join(scene.channels) or 'none'}"
