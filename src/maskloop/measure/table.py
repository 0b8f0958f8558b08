"""Labels and channels to a table with one row per object, frame by frame."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from maskloop import plugins
from maskloop.errors import ImageError, MaskloopError, UsageError
from maskloop.events import Event, Message, Report
from maskloop.images.axes import reorder
from maskloop.images.image import Image
from maskloop.measure.base import Column, Measurement, ObjectKind, Scene
from maskloop.measure.frame import ObjectFrame
from maskloop.records import Record
from maskloop.wording import fault_in_words

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["IDENTITY", "Measurer", "checked_values", "measure_objects", "scene_of"]

Settings = Mapping[str, Record | Mapping[str, Any]]

IDENTITY = (
    Column(name="timepoint", description="Number of the frame along T, from 0."),
    Column(name="plane", description="Number of the plane along Z, where planes are measured."),
    Column(
        name="object", unit="id", description="Label of the object, or its number within its frame."
    ),
    Column(name="class", description="Name of its class."),
)

_logger = logging.getLogger(__name__)


class _Chosen(NamedTuple):
    measurement: Measurement
    settings: Record
    columns: tuple[Column, ...]


class Measurer:
    """The chosen measurements with their settings, and hence the columns of a table.

    A measurement that fails leaves its own columns empty; `failures` says why.

    Parameters
    ----------
    scene
        What all images of the table have in common.
    measurements
        Names; every one that can be loaded by default.
    settings
        Settings by the name of the measurement, as its `Settings` or as a mapping of their fields.
    report
        Hears a warning when a measurement fails for the first time; by default it is logged.

    Raises
    ------
    NotFound
        If there is no measurement of a name.
    UsageError
        If settings do not fit, or two measurements have a column of the same name.
    """

    def __init__(
        self,
        scene: Scene,
        *,
        measurements: Sequence[str] | None = None,
        settings: Settings | None = None,
        report: Report | None = None,
    ) -> None:
        self.scene = scene
        self.failures: dict[str, str] = {}
        self._report = report or _log
        loaded = (
            dict(plugins.loadable("measurements"))
            if measurements is None
            else {name: plugins.get("measurements", name) for name in measurements}
        )
        given = dict(settings or {})
        if unused := sorted(given.keys() - loaded.keys()):
            raise UsageError(
                f"There are settings for '{unused[0]}', which is not measured.",
                f"The measurements are: {', '.join(loaded)}.",
            )
        self._chosen = {
            name: self._choose(name, measurement, given.get(name, {}))
            for name, measurement in loaded.items()
        }
        self._refuse_double_columns()

    @property
    def columns(self) -> tuple[Column, ...]:
        """All columns of the table, in order."""
        measured = (column for chosen in self._chosen.values() for column in chosen.columns)
        return (*IDENTITY, *measured)

    @property
    def settings(self) -> dict[str, Record]:
        """The settings of each measurement, defaults included."""
        return {name: chosen.settings for name, chosen in self._chosen.items()}

    def frames(
        self,
        labels: Image,
        image: Image | None = None,
        *,
        objects: ObjectKind = "instances",
        class_names: Mapping[int, str] | None = None,
        pixel_size_um: Mapping[str, float] | None = None,
    ) -> Iterator[pd.DataFrame]:
        """Tables of the frames one after the other; memory holds one frame at a time.

        Parameters
        ----------
        labels
            Axes TZYX, any of T and Z missing.
        image
            Of the same pixels, with any number of channels.
        objects
            What a label stands for.
        class_names
            Class id to name; objects of instances are all of class 1.
        pixel_size_um
            Micrometers along Z, Y, X; by default what the labels or else the image say.

        Raises
        ------
        ImageError
            If labels and image differ in size or do not fit the scene.
        MaskError
            If the labels are not whole numbers.
        """
        _refuse_other_size(labels, image)
        self._refuse_other_scene(labels, image)
        sizes = {**(image.pixel_size_um if image else {}), **labels.pixel_size_um}
        sizes.update(pixel_size_um or {})
        axes = self.scene.spatial_axes
        known = tuple(sizes[axis] for axis in axes) if set(axes) <= sizes.keys() else None
        for index, pixels, channels in _frames(labels, image, axes):
            found, classes = (pixels, None) if objects == "instances" else _pieces(pixels)
            frame = ObjectFrame(
                found, channels, channel_names=self.scene.channels, pixel_size_um=known
            )
            yield self.measure(frame, _name_classes(frame, classes, class_names or {}), **index)

    def count_frames(self, labels: Image) -> int:
        """How many frames `frames` will give."""
        return prod(labels.sizes[axis] for axis in _outer_axes(labels, self.scene.spatial_axes))

    def measure(
        self,
        frame: ObjectFrame,
        class_names: Sequence[str],
        *,
        timepoint: int = 0,
        plane: int = 0,
    ) -> pd.DataFrame:
        """The table of one frame.

        Parameters
        ----------
        frame
            The objects.
        class_names
            Name of the class of each object.
        timepoint, plane
            Where the frame lies.
        """
        import pandas as pd

        columns: dict[str, Any] = {
            "timepoint": np.full(frame.count, timepoint),
            "plane": np.full(frame.count, plane),
            "object": frame.ids,
            "class": list(class_names),
        }
        for name, chosen in self._chosen.items():
            columns |= self._values(name, chosen, frame)
        return pd.DataFrame(columns)

    def _choose(
        self, name: str, measurement: Measurement, given: Record | Mapping[str, Any]
    ) -> _Chosen:
        try:
            kind = measurement.Settings
            settings = given if isinstance(given, kind) else kind.model_validate(given)
        except ValidationError as error:
            raise UsageError(
                f"The settings of '{name}' do not fit. {fault_in_words(error)}",
                f"Its settings are: {', '.join(kind.model_fields) or 'none'}.",
            ) from None
        try:
            return _Chosen(measurement, settings, tuple(measurement.columns(settings, self.scene)))
        except Exception as error:
            self._fail(name, error)
            return _Chosen(measurement, settings, ())

    def _values(self, name: str, chosen: _Chosen, frame: ObjectFrame) -> dict[str, NDArray[Any]]:
        names = [column.name for column in chosen.columns]
        if not names or not frame.count:
            return dict.fromkeys(names, np.empty(0))
        try:
            found = chosen.measurement.measure(frame, chosen.settings)
            return checked_values(found, names, frame.count)
        except MemoryError:
            raise
        except Exception as error:
            self._fail(name, error)
            return dict.fromkeys(names, np.full(frame.count, np.nan))

    def _fail(self, name: str, error: Exception) -> None:
        problem = (
            error.problem
            if isinstance(error, MaskloopError)
            else f"{type(error).__name__}: {error}"
        )
        if name not in self.failures:
            text = f"The measurement '{name}' failed: {problem}"
            self._report(Message(level="warning", text=text))
        self.failures.setdefault(name, problem)

    def _refuse_double_columns(self) -> None:
        owner = dict.fromkeys((column.name for column in IDENTITY), "the table itself")
        for name, chosen in self._chosen.items():
            for column in chosen.columns:
                other = owner.setdefault(column.name, name)
                if other != name:
                    raise UsageError(
                        f"'{other}' and '{name}' both have a column '{column.name}'.",
                        "Select one of the two, or rename the column of the plug-in.",
                    )

    def _refuse_other_scene(self, labels: Image, image: Image | None) -> None:
        own = scene_of(labels, image, by_plane=self.scene.by_plane)
        if own.spatial_axes != self.scene.spatial_axes:
            raise ImageError(
                f"'{labels.name}' has axes {labels.axes}; the objects of this table are "
                f"measured in {self.scene.spatial_axes}.",
                "Measure planes and volumes in two tables, or measure each plane by itself.",
            )
        found = own.channels
        if self.scene.channels and found != self.scene.channels:
            raise ImageError(
                f"'{(image or labels).name}' has the channels {', '.join(found) or 'none'}; "
                f"this table has {', '.join(self.scene.channels)}.",
                "Measure images with other channels into a table of their own.",
            )


def measure_objects(
    labels: Image,
    image: Image | None = None,
    *,
    measurements: Sequence[str] | None = None,
    settings: Settings | None = None,
    objects: ObjectKind = "instances",
    class_names: Mapping[int, str] | None = None,
    by_plane: bool = False,
) -> pd.DataFrame:
    """Measure every object of a label image, in the channels of an image of the same pixels.

    Parameters
    ----------
    labels
        Axes TZYX, any of T and Z missing; 0 is background. Objects with Z are measured in three
        dimensions.
    image
        Same pixels, any number of channels; without it only shapes are measured.
    measurements
        Names, such as ``["size", "intensity"]``; all there are by default.
    settings
        Settings by measurement, such as ``{"background": {"radius_px": 20}}``.
    objects
        ``instances``: each label is one object; ``classes``: each label is a class, and its
        connected pieces are the objects.
    class_names
        Class id to name.
    by_plane
        Measure each plane of a stack by itself.

    Returns
    -------
    table
        One row per object and timepoint. ``table.attrs["columns"]`` has unit and description of
        each column, ``table.attrs["failures"]`` the measurements that failed, with the reason.

    Raises
    ------
    ImageError
        If labels and image differ in size.
    MaskError
        If the labels are not whole numbers.
    NotFound
        If there is no measurement of a name.
    UsageError
        If settings do not fit.
    """
    import pandas as pd

    measurer = Measurer(
        scene_of(labels, image, by_plane=by_plane),
        measurements=measurements,
        settings=settings,
    )
    frames = list(measurer.frames(labels, image, objects=objects, class_names=class_names))
    # Columns without rows have no type of their own and would change that of the others.
    table = pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
    table.attrs["columns"] = [column.model_dump() for column in measurer.columns]
    table.attrs["failures"] = dict(measurer.failures)
    return table


def scene_of(labels: Image, image: Image | None, *, by_plane: bool = False) -> Scene:
    """What a table of these labels and this image has in common with others of its kind."""
    names: tuple[str, ...] = ()
    if image is not None:
        names = tuple(map(_plain_name, image.channel_names))
        # Names that are missing or not unique cannot be columns.
        if len(set(names)) != image.channels:
            names = tuple(f"channel_{number}" for number in range(1, image.channels + 1))
    is_volume = "Z" in labels.axes and not by_plane
    return Scene(spatial_axes="ZYX" if is_volume else "YX", channels=names, by_plane=by_plane)


def _log(event: Event) -> None:
    if isinstance(event, Message):
        _logger.warning("%s", event.text)


def _name_classes(
    frame: ObjectFrame, classes: NDArray[Any] | None, names: Mapping[int, str]
) -> list[str]:
    ids = [1] * frame.count if classes is None else classes.tolist()
    return [names.get(number, f"class_{number}") for number in ids]


def _plain_name(name: str) -> str:
    """A channel's name as a part of a column's name."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name)


def _frames(
    labels: Image, image: Image | None, axes: str
) -> Iterator[tuple[dict[str, int], NDArray[Any], NDArray[Any] | None]]:
    """Index, labels ((Z)YX) and channels (C(Z)YX) of each frame, read one at a time."""
    outer = _outer_axes(labels, axes)
    for place in product(*(range(labels.sizes[axis]) for axis in outer)):
        index = dict(zip(outer, place, strict=True))
        channels = None if image is None else _cut(image, index, "C" + axes)
        yield (
            {"timepoint": index.get("T", 0), "plane": index.get("Z", 0)},
            _cut(labels, index, axes),
            channels,
        )


def _outer_axes(labels: Image, spatial_axes: str) -> list[str]:
    return [axis for axis in "TZ" if axis in labels.axes and axis not in spatial_axes]


def _cut(image: Image, index: Mapping[str, int], axes: str) -> NDArray[Any]:
    piece = image.data[tuple(index.get(letter, slice(None)) for letter in image.axes)]
    left = "".join(letter for letter in image.axes if letter not in index)
    return reorder(np.asarray(piece), left, axes)


def _pieces(labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Connected pieces of each class, numbered from 1, and the class of each piece."""
    import cc3d

    small = np.ascontiguousarray(labels.astype(np.uint32))
    pieces = cc3d.connected_components(small, connectivity=8 if labels.ndim == 2 else 26)
    flat = pieces.reshape(-1)
    classes = np.zeros(int(flat.max(initial=0)) + 1, np.int64)
    classes[flat] = labels.reshape(-1)
    return pieces, classes[1:]


def _refuse_other_size(labels: Image, image: Image | None) -> None:
    if image is None:
        return
    sides = [
        {axis: length for axis, length in one.sizes.items() if axis != "C" and length > 1}
        for one in (labels, image)
    ]
    if sides[0] != sides[1]:
        raise ImageError(
            f"The labels '{labels.name}' are {labels.axes} {labels.shape}, "
            f"the image '{image.name}' is {image.axes} {image.shape}.",
            "Measure an image with labels of the same pixels.",
        )


def checked_values(
    found: Mapping[str, NDArray[Any]], names: Sequence[str], count: int
) -> dict[str, NDArray[Any]]:
    """What a measurement returned, in the order of its columns, if it is what it promised."""
    if set(found) != set(names):
        missing, extra = sorted(set(names) - set(found)), sorted(set(found) - set(names))
        raise UsageError(
            f"it promised other columns than it returned (missing: {', '.join(missing) or 'none'}; "
            f"not promised: {', '.join(extra) or 'none'}).",
            "Return one array for each column.",
        )
    values = {name: np.asarray(found[name]) for name in names}
    for name, column in values.items():
        if column.shape != (count,):
            raise UsageError(
                f"its column '{name}' has the shape {column.shape}; there are {count} objects.",
                "Return one value per object.",
            )
        if column.dtype.kind not in "biuf":
            raise UsageError(
                f"its column '{name}' holds {column.dtype}, not numbers.", "Return real numbers."
            )
    return values
