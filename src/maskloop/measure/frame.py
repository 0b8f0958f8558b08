"""One frame of labels with its channels: the objects in it, their pixels sorted once for all."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskloop.errors import ImageError, MaskError
from maskloop.measure.groups import PixelGroups

__all__ = ["ObjectFrame", "Runs", "whole_numbers"]


class Runs(NamedTuple):
    """Unbroken stretches of one object along X, sorted by object and then by position.

    A dozen of them say of an object what hundreds of its pixels would: areas, moments, boxes and
    hulls are computed from runs.
    """

    owners: NDArray[np.int64]
    """Which object, 0..count-1."""
    starts: NDArray[np.int64]
    """Flat index of the first pixel."""
    lengths: NDArray[np.int64]


class ObjectFrame:
    """The objects of one frame (one timepoint), and what their measurements share.

    Arrays that measurements return have one value per object, in the order of `ids`.

    Parameters
    ----------
    labels
        YX or ZYX, whole numbers; 0 is background, each other value one object.
    image
        CYX or CZYX of the same size; None when only labels are measured.
    channel_names
        One per channel.
    pixel_size_um
        Micrometers along the axes of `labels`; None when unknown.

    Raises
    ------
    MaskError
        If the labels are not whole numbers from 0 up, or not two- or three-dimensional.
    ImageError
        If the image has another size than the labels.
    """

    def __init__(
        self,
        labels: NDArray[Any],
        image: NDArray[Any] | None = None,
        *,
        channel_names: Sequence[str] = (),
        pixel_size_um: Sequence[float] | None = None,
    ) -> None:
        # Read-only: what one measurement changed, all others would measure.
        self.labels = _read_only(np.ascontiguousarray(whole_numbers(labels)))
        self.image = None if image is None else _read_only(image)
        self.pixel_size_um = None if pixel_size_um is None else tuple(pixel_size_um)
        channels = 0 if image is None else len(image)
        self.channel_names = tuple(channel_names) or tuple(
            f"channel_{number}" for number in range(1, channels + 1)
        )
        if image is not None and image.shape[1:] != self.labels.shape:
            raise ImageError(
                f"The image is {image.shape[1:]}, its labels are {self.labels.shape}.",
                "Select the image that the labels were made from.",
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths along (Z)YX."""
        return self.labels.shape

    @property
    def count(self) -> int:
        """How many objects there are."""
        return len(self.ids)

    @property
    def channels(self) -> tuple[tuple[str, NDArray[Any]], ...]:
        """Name and pixels ((Z)YX) of each channel; none when only labels are measured."""
        planes = () if self.image is None else tuple(self.image)
        return tuple(zip(self.channel_names, planes, strict=True))

    @property
    def spacing(self) -> tuple[float, ...]:
        """Lengths of a pixel along (Z)YX in multiples of its width; all 1 when it is unknown."""
        sizes = self.pixel_size_um or (1.0,) * len(self.shape)
        return tuple(size / sizes[-1] for size in sizes)

    @property
    def ids(self) -> NDArray[np.int64]:
        """The labels that are there, in ascending order."""
        return self._sorted[0]

    @property
    def runs(self) -> Runs:
        """The objects as stretches along X."""
        return self._sorted[1]

    @cached_property
    def pixels(self) -> PixelGroups:
        """The pixels of each object."""
        lengths = self.runs.lengths
        # Each run's first index, repeated, plus the count since then: a range per run, in one go.
        steps = np.repeat(self.runs.starts - (np.cumsum(lengths) - lengths), lengths)
        steps += np.arange(len(steps))
        return PixelGroups(steps, self.sum_runs(lengths).astype(np.int64))

    @cached_property
    def run_places(self) -> tuple[NDArray[np.int64], ...]:
        """Where each run begins along (Z)YX."""
        places: tuple[NDArray[np.int64], ...] = np.unravel_index(self.runs.starts, self.shape)
        return places

    @cached_property
    def boxes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First pixel, and one beyond the last, of each object along (Z)YX: two (count, axes)."""
        firsts = np.stack(self.run_places, axis=1)
        lasts = firsts.copy()
        lasts[:, -1] += self.runs.lengths - 1
        if not self.count:
            return firsts, lasts
        # The runs of an object are neighbors in the list: one reduction per object.
        begins = np.searchsorted(self.runs.owners, np.arange(self.count))
        return np.minimum.reduceat(firsts, begins), np.maximum.reduceat(lasts, begins) + 1

    def sum_runs(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Sums over the runs of each object."""
        sums = np.bincount(self.runs.owners, values, minlength=self.count)
        return sums.astype(np.float64, copy=False)

    def owners_of(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        """The place in `ids` of labels that are there."""
        return np.searchsorted(self.ids, labels)

    @cached_property
    def _sorted(self) -> tuple[NDArray[np.int64], Runs]:
        flat = self.labels.reshape(-1)
        changes = np.empty(flat.size, bool)
        np.not_equal(flat[1:], flat[:-1], out=changes[1:])
        changes[:: self.shape[-1]] = True  # an object that ends a row may begin the next one
        starts = np.flatnonzero(changes)
        lengths = np.diff(starts, append=flat.size)
        # Background is a run, too, until here: its starts are the ends of objects.
        is_object = flat[starts] != 0
        starts, lengths = starts[is_object], lengths[is_object]
        # Ids of the runs, not of the pixels: a tenth of the numbers to sort.
        ids, owners = np.unique(flat[starts], return_inverse=True)
        order = np.argsort(owners, kind="stable")
        return ids.astype(np.int64), Runs(owners[order], starts[order], lengths[order])


def _read_only(pixels: NDArray[Any]) -> NDArray[Any]:
    view = pixels.view()
    view.flags.writeable = False
    return view


def whole_numbers(labels: NDArray[Any]) -> NDArray[Any]:
    """Labels as integers; floats are taken where they hold whole numbers."""
    if labels.ndim not in (2, 3) or 0 in labels.shape:
        raise MaskError(
            f"The labels have the shape {labels.shape}.", "Give labels of a plane or a volume."
        )
    if labels.dtype.kind == "b":
        # cc3d, SciPy and arithmetic treat booleans each in their own way.
        return labels.view(np.uint8) if labels.flags.c_contiguous else labels.astype(np.uint8)
    # Some programs save labels as float32.
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all() or (labels != np.rint(labels)).any():
            raise MaskError(
                "The labels hold values that are not whole numbers.",
                "Measure label images, not probabilities or intensities.",
            )
        labels = labels.astype(np.int64)
    if labels.dtype.kind == "i" and labels.min() < 0:
        raise MaskError(
            f"The labels hold negative values (down to {labels.min()}).",
            "Number the objects from 1; 0 is background.",
        )
    return labels
