"""Labels and channels to a table with one row per object, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskloop.errors import ImageError
from maskloop.images.axes import reorder
from maskloop.images.image import Image
from maskloop.measure.base import ObjectKind, Scene
from maskloop.measure.frame import ObjectFrame, whole_numbers
from maskloop.measure.measurer import Measurer, Settings

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["count_frames", "measure_frames", "measure_objects", "scene_of"]


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
        Axes TZYX, any of T and Z missing; 0 is background. With Z objects are volumes.
    image
        Same pixels, any number of channels; without it only shapes are measured.
    measurements
        Names, such as ``["size", "intensity"]``; all there are by default.
    settings
        Settings by measurement, such as ``{"background": {"radius_px": 20}}``.
    objects
        What a label stands for: an object, or a class whose connected pieces are the objects.
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
    frames = list(measure_frames(measurer, labels, image, objects=objects, class_names=class_names))
    # Columns without rows have no type of their own and would change that of the others.
    table = pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
    table.attrs["columns"] = [column.model_dump() for column in measurer.columns]
    table.attrs["failures"] = dict(measurer.failures)
    return table


def measure_frames(
    measurer: Measurer,
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
    measurer
        What is measured.
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
    scene = measurer.scene
    _refuse_other_size(labels, image)
    _refuse_other_scene(scene, labels, image)
    # What a person says wins over the labels, which may have been edited and know it best, and
    # these over the image.
    sizes = {**(image.pixel_size_um if image else {}), **labels.pixel_size_um}
    sizes.update(pixel_size_um or {})
    axes = scene.spatial_axes
    # With a size along some axes only, pixels and micrometers would be mixed.
    known = tuple(sizes[axis] for axis in axes) if set(axes) <= sizes.keys() else None
    for index, pixels, channels in _frames(labels, image, axes):
        found, classes = (pixels, None) if objects == "instances" else _pieces(pixels)
        frame = ObjectFrame(found, channels, channel_names=scene.channels, pixel_size_um=known)
        names = _name_classes(frame, classes, class_names or {})
        yield measurer.measure(frame, names, **index)


def count_frames(labels: Image, scene: Scene) -> int:
    """How many tables `measure_frames` gives."""
    return prod(labels.sizes[axis] for axis in _outer_axes(labels, scene.spatial_axes))


def scene_of(labels: Image, image: Image | None, *, by_plane: bool = False) -> Scene:
    """What a table of these labels and this image has in common with others of its kind."""
    names: tuple[str, ...] = ()
    if image is not None:
        names = tuple(map(_plain_name, image.channel_names))
        # Names that are missing or not unique cannot be columns.
        if len({name for name in names if name}) != image.channels:
            names = tuple(f"channel_{number}" for number in range(1, image.channels + 1))
    # A single plane has no shape in three dimensions, whatever its file calls it.
    is_volume = labels.sizes.get("Z", 1) > 1 and not by_plane
    return Scene(spatial_axes="ZYX" if is_volume else "YX", channels=names, by_plane=by_plane)


def _name_classes(
    frame: ObjectFrame, classes: NDArray[Any] | None, names: Mapping[int, str]
) -> list[str]:
    ids = [1] * frame.count if classes is None else classes.tolist()
    return [names.get(number, f"class_{number}") for number in ids]


def _plain_name(name: str) -> str:
    """A channel's name as a part of a column's name."""
    # Names of columns are typed in R and pandas; "GFP 488 (nm)" would need quotes there.
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

    small = np.ascontiguousarray(whole_numbers(labels).astype(np.uint32))
    pieces = cc3d.connected_components(small, connectivity=8 if labels.ndim == 2 else 26)
    flat = pieces.reshape(-1)
    classes = np.zeros(int(flat.max(initial=0)) + 1, np.int64)
    classes[flat] = small.reshape(-1)
    return pieces, classes[1:]


def _refuse_other_scene(scene: Scene, labels: Image, image: Image | None) -> None:
    own = scene_of(labels, image, by_plane=scene.by_plane)
    if own.spatial_axes != scene.spatial_axes:
        raise ImageError(
            f"'{labels.name}' has axes {labels.axes}; the objects of this table are "
            f"measured in {scene.spatial_axes}.",
            "Measure planes and volumes into separate tables, or by plane (--by-plane).",
        )
    found = own.channels
    if scene.channels and found != scene.channels:
        raise ImageError(
            f"'{(image or labels).name}' has the channels {', '.join(found) or 'none'}; "
            f"this table has {', '.join(scene.channels)}.",
            "Measure images with different channels into separate tables.",
        )


def _refuse_other_size(labels: Image, image: Image | None) -> None:
    if image is None:
        return
    # Axes of length one are a matter of taste; which file has them does not matter.
    sides = [
        {axis: length for axis, length in one.sizes.items() if axis != "C" and length > 1}
        for one in (labels, image)
    ]
    if sides[0] != sides[1]:
        raise ImageError(
            f"The labels '{labels.name}' are {labels.axes} {labels.shape}, "
            f"the image '{image.name}' is {image.axes} {image.shape}.",
            "Select the image that the labels were made from.",
        )
