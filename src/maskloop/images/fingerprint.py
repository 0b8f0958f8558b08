"""What the data is like: sizes, spacing, intensities, class frequencies, objects."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from maskloop.errors import ImageError, UsageError
from maskloop.images.annotated import split_off
from maskloop.images.image import Image
from maskloop.images.masks import check_pair
from maskloop.images.normalize import ChannelRange, Normalization, make_range, percentiles, thin_out
from maskloop.records import Record

__all__ = ["Fingerprint", "PairFingerprint", "combine_fingerprints", "fingerprint_pair"]

INTENSITY_PERCENTILES = (0.0, 1.0, 50.0, 99.8, 100.0)
DIAMETER_PERCENTILES = (5.0, 50.0, 95.0, 100.0)
FIGURES = len(INTENSITY_PERCENTILES) + 2
"""Of each channel: the percentiles, the mean and the standard deviation."""
LONGEST = 2**31
"""Length that no axis of an image exceeds."""


class PairFingerprint(Record):
    """Facts of one image and its mask, measured once when the pair is accepted."""

    axes: str = Field(description="Of the image, such as YX, CYX, ZYX.")
    shape: tuple[int, ...]
    channels: int
    dtype: str
    pixel_size_um: dict[str, float] = Field(default_factory=dict)
    intensity_percentiles: tuple[tuple[float, ...], ...] = Field(
        description="Per channel: minimum, percentiles 1, 50, 99.8, maximum, mean, standard "
        "deviation."
    )
    class_pixels: dict[int, int] = Field(
        description="Pixels per saved class id, background 0 included; instances count as class 1."
    )
    object_count: int = Field(
        description="Instances; for class masks the connected components of the foreground."
    )
    object_diameters_px: tuple[float, ...] = Field(
        (),
        description="Percentiles 5, 50, 95, 100 of the diameters of equal area or volume, in "
        "pixels of the plane.",
    )
    object_extent_px: int = Field(
        0, description="Longest side of any object's bounding box, in pixels of the plane."
    )
    touching_fraction: float = Field(0.0, description="Share of instances that touch another one.")

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        # It may come from a record that a person or a stranger edited: a plan calculates with it.
        lengths = dict(zip(self.axes, self.shape, strict=False))
        is_whole = len(self.axes) == len(self.shape) == len(lengths)
        if not is_whole or not {"Y", "X"} <= set(lengths) <= set("TCZYX"):
            raise ValueError(f"the axes {self.axes!r} do not fit the shape {self.shape}")
        if not all(1 <= length <= LONGEST for length in self.shape):
            raise ValueError(f"no image has the shape {self.shape}")
        if self.channels != lengths.get("C", 1):
            raise ValueError(f"{self.channels} channels do not fit the axes {self.axes!r}")
        rows = {len(row) for row in self.intensity_percentiles}
        if len(self.intensity_percentiles) != self.channels or rows != {FIGURES}:
            raise ValueError(f"each of the {self.channels} channels has {FIGURES} intensities")
        if len(self.object_diameters_px) not in (0, len(DIAMETER_PERCENTILES)):
            raise ValueError(f"there are {len(DIAMETER_PERCENTILES)} diameters, or none")
        if not all(0 <= diameter < LONGEST for diameter in self.object_diameters_px):
            raise ValueError(f"no object has a diameter of {self.object_diameters_px}")
        return self

    @property
    def sizes(self) -> dict[str, int]:
        """Length of each axis of the image by its letter."""
        return dict(zip(self.axes, self.shape, strict=True))


class Fingerprint(Record):
    """Facts of a dataset, from the fingerprints of its pairs."""

    pair_count: int
    spatial_dims: tuple[int, ...] = Field(
        description="Dimensions that occur: (2,), (3,) or (2, 3)."
    )
    channels: int
    smallest_shape: tuple[int, ...] = Field(description="Smallest length along each of ZYX or YX.")
    median_shape: tuple[int, ...]
    largest_shape: tuple[int, ...]
    total_pixels: int
    pixel_size_um: dict[str, float] = Field(
        default_factory=dict, description="Median per axis, where known."
    )
    ranges: tuple[ChannelRange, ...] = Field(
        description="Percentile range over the dataset, one per channel."
    )
    brightness_spread: float = Field(
        description="Spread of the images' brightness relative to their contrast; small when "
        "they are alike."
    )
    class_pixels: dict[int, int]
    object_count: int
    object_diameters_px: tuple[float, ...] = Field(
        (), description="Medians of the pairs' percentiles 5, 50, 95 and the largest."
    )
    object_extent_px: int = 0
    touching_fraction: float = 0.0
    intensity_percentiles: tuple[tuple[float, ...], ...] = Field(
        (),
        description="Per channel, over all pixels: minimum, percentiles 1, 50, 99.8, maximum, "
        "mean, standard deviation.",
    )

    @property
    def class_frequencies(self) -> dict[int, float]:
        """Share of the pixels per class id."""
        total = max(1, sum(self.class_pixels.values()))
        return {label: count / total for label, count in self.class_pixels.items()}

    def fit(self, settings: Normalization) -> tuple[ChannelRange, ...]:
        """The maps of a normalization fitted to the whole dataset, one per channel.

        Percentiles between those that are kept (0, 1, 50, 99.8, 100) are interpolated.
        """
        if settings.mode == "none" or not self.intensity_percentiles:
            return self.ranges
        return tuple(_fit_pooled(pooled, settings) for pooled in self.intensity_percentiles)


def fingerprint_pair(
    image: Image, labels: NDArray[Any], *, instances: bool, ignored: int | None = None
) -> PairFingerprint:
    """Measure one image and its prepared mask.

    Parameters
    ----------
    image
        The image. Its T axis counts as so many images: no object reaches over frames.
    labels
        Prepared labels, axes as the image's without C.
    instances
        Whether each label is an object of its own; otherwise labels are class ids.
    ignored
        Label of the pixels that are not annotated: they are of no class and no object. The image's
        intensities are those of all pixels, since all of them are normalized.

    Returns
    -------
    PairFingerprint
        Where the pixel size is known, a Z step counts as so many pixels of the plane as it is long.

    Raises
    ------
    MaskError
        If the labels do not have the shape of the image.
    """
    # A T axis is as many images: an object that moves is not one large object.
    label_axes = image.axes.replace("C", "")
    check_pair(image, labels.shape, label_axes)
    labels, known = split_off(labels, ignored)
    frames = list(np.moveaxis(labels, label_axes.index("T"), 0)) if "T" in label_axes else [labels]
    aspect = _z_aspect(image)
    measured = [_objects(frame, instances, aspect) for frame in frames]
    diameters = np.concatenate([diameters for diameters, _, _ in measured])
    return PairFingerprint(
        axes=image.axes,
        shape=image.shape,
        channels=image.channels,
        dtype=str(image.data.dtype),
        pixel_size_um=dict(image.pixel_size_um),
        intensity_percentiles=tuple(_intensities(channel) for channel in _channels(image)),
        class_pixels=_class_pixels(labels if known is None else labels[known], instances),
        object_count=diameters.size,
        object_diameters_px=tuple(
            round(float(d), 2) for d in percentiles(diameters, DIAMETER_PERCENTILES)
        )
        if diameters.size
        else (),
        object_extent_px=max(extent for _, extent, _ in measured),
        touching_fraction=sum(touching for _, _, touching in measured) / max(1, diameters.size),
    )


def _channels(image: Image) -> Iterator[NDArray[Any]]:
    pixels = image.read("C" + image.axes.replace("C", ""))
    yield from pixels


def _intensities(channel: NDArray[Any]) -> tuple[float, ...]:
    pixels = thin_out(channel)
    if pixels.size == 0:
        return (0.0,) * FIGURES
    # Sums of large floats may overflow: infinity says so, a warning on top does not help.
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = pixels.mean(dtype=np.float64), pixels.std(dtype=np.float64)
    return tuple(
        float(value) for value in (*percentiles(pixels, INTENSITY_PERCENTILES), mean, deviation)
    )


def _class_pixels(labels: NDArray[Any], instances: bool) -> dict[int, int]:
    if instances:
        # Counting each id would keep a table as long as the largest one.
        foreground = int(np.count_nonzero(labels))
        counts = {0: labels.size - foreground, 1: foreground}
    else:
        counts = dict(enumerate(np.bincount(labels.reshape(-1)).tolist()))
    return {label: count for label, count in counts.items() if count}


def _z_aspect(image: Image) -> float:
    """How many pixels of the plane a Z step is long; 1 where that is unknown."""
    size = image.pixel_size_um
    if not {"Z", "Y", "X"} <= set(size) or "Z" not in image.axes:
        return 1.0
    # Pixels of the plane are the unit: networks look at pixels, not at micrometers.
    in_plane = (size["Y"] * size["X"]) ** 0.5
    return size["Z"] / in_plane if in_plane > 0 and size["Z"] > 0 else 1.0


def _objects(
    labels: NDArray[Any], instances: bool, aspect: float
) -> tuple[NDArray[np.float64], int, int]:
    """Diameters of the objects of a frame, the longest side of any, and how many touch another."""
    objects = _numbered(labels) if instances else _components(labels)
    sizes = np.bincount(objects.reshape(-1))
    # Background is no object, however large.
    sizes[0] = 0
    areas = sizes[sizes > 0]
    diameters = (
        # The disc or ball of equal size: a bounding box would depend on the direction of an object.
        2 * np.sqrt(areas / np.pi) if objects.ndim == 2 else np.cbrt(6 * areas * aspect / np.pi)
    )
    touching = _touching(objects, sizes.size) if instances else 0
    return diameters, _longest_side(objects, aspect), touching


def _numbered(labels: NDArray[Any]) -> NDArray[Any]:
    """Labels that a table can hold; those of a prepared mask are already."""
    # A table of ids up to four billion would take 16 GB.
    if labels.size and int(labels.max()) > max(2**16, labels.size):
        return np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
    return np.ascontiguousarray(labels)


def _components(labels: NDArray[Any]) -> NDArray[Any]:
    import cc3d

    connected: Callable[..., NDArray[Any]] = cc3d.connected_components
    return connected(np.ascontiguousarray(labels > 0), connectivity=8 if labels.ndim == 2 else 26)


def _longest_side(objects: NDArray[Any], aspect: float) -> int:
    from scipy.ndimage import find_objects

    # Z is stretched to pixels of the plane.
    steps = (aspect, 1.0, 1.0)[-objects.ndim :]
    boxes = (box for box in find_objects(objects) if box is not None)
    sides = (
        (side.stop - side.start) * step
        for box in boxes
        for side, step in zip(box, steps, strict=True)
    )
    return round(max(sides, default=0))


def _touching(objects: NDArray[Any], count: int) -> int:
    touches = np.zeros(count, bool)
    for axis in range(objects.ndim):
        # Neighbors along one axis: touching across a corner does not count.
        before, after = np.delete(objects, -1, axis), np.delete(objects, 0, axis)
        meet = (before != after) & (before > 0) & (after > 0)
        touches[before[meet]] = True
        touches[after[meet]] = True
    return int(np.count_nonzero(touches))


def combine_fingerprints(
    pairs: Sequence[PairFingerprint], *, names: Sequence[str] = ()
) -> Fingerprint:
    """Facts of a dataset from those of its pairs.

    Parameters
    ----------
    pairs
        Facts of each.
    names
        Names of the pairs, for an error message.

    Raises
    ------
    UsageError
        If there is no pair.
    ImageError
        If the pairs differ in their number of channels.
    """
    if not pairs:
        raise UsageError(
            "No pairs have been accepted.",
            "Accept at least one image with its mask first.",
        )
    channels = _common_channels(pairs, names)
    shapes, frames = _spatial_shapes(pairs)
    pooled = tuple(
        _pooled([(_weight(pair), pair.intensity_percentiles[channel]) for pair in pairs])
        for channel in range(channels)
    )
    with_objects = [pair for pair in pairs if pair.object_diameters_px]
    return Fingerprint(
        pair_count=len(pairs),
        spatial_dims=tuple(sorted({3 if "Z" in pair.axes else 2 for pair in pairs})),
        channels=channels,
        smallest_shape=tuple(shapes.min(axis=0).tolist()),
        median_shape=tuple(round(_median(lengths, frames)) for lengths in shapes.T),
        largest_shape=tuple(shapes.max(axis=0).tolist()),
        total_pixels=sum(_weight(pair) for pair in pairs),
        pixel_size_um=_median_pixel_size(pairs),
        ranges=tuple(_fit_pooled(channel, Normalization()) for channel in pooled),
        brightness_spread=_brightness_spread(pairs, channels),
        class_pixels=_sum_counts(pairs),
        object_count=sum(pair.object_count for pair in pairs),
        object_diameters_px=_combined_diameters(with_objects),
        object_extent_px=max(pair.object_extent_px for pair in pairs),
        touching_fraction=sum(p.touching_fraction * p.object_count for p in pairs)
        / max(1, sum(p.object_count for p in pairs)),
        intensity_percentiles=pooled,
    )


def _common_channels(pairs: Sequence[PairFingerprint], names: Sequence[str]) -> int:
    counts = Counter(pair.channels for pair in pairs)
    if len(counts) > 1:
        found = ", ".join(
            f"{images} with {channels}" for channels, images in sorted(counts.items())
        )
        # The odd ones out are named: most often it is one picture among stacks.
        fewest = min(counts, key=lambda channels: counts[channels])
        those = [name for name, pair in zip(names, pairs, strict=False) if pair.channels == fewest]
        more = ", ..." if len(those) > 5 else ""
        which = f" (with {fewest}: {', '.join(those[:5])}{more})" if those else ""
        raise ImageError(
            f"The images differ in their number of channels: {found}{which}.",
            "Keep images of one kind in a project, or select pairs with the same number of "
            "channels.",
        )
    return pairs[0].channels


def _spatial_shapes(
    pairs: Sequence[PairFingerprint],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lengths along ZYX where any pair has depth, else YX, and the number of frames of each."""
    axes = "ZYX" if any("Z" in pair.axes for pair in pairs) else "YX"
    shapes = [[pair.sizes.get(letter, 1) for letter in axes] for pair in pairs]
    frames = [pair.sizes.get("T", 1) for pair in pairs]
    return np.array(shapes, np.int64), np.array(frames, np.int64)


def _median(values: NDArray[np.int64], counts: NDArray[np.int64]) -> float:
    """Median of values that occur so often; a film of a million frames is not written out."""
    order = np.argsort(values, kind="stable")
    ends = np.cumsum(counts[order])
    # With an even number the two in the middle are averaged, as `numpy.median` does.
    middle = [(int(ends[-1]) - 1) // 2, int(ends[-1]) // 2]
    return float(values[order][np.searchsorted(ends, middle, side="right")].mean())


def _weight(pair: PairFingerprint) -> int:
    return math.prod(pair.shape) // pair.channels


def _pooled(parts: Sequence[tuple[int, tuple[float, ...]]]) -> tuple[float, ...]:
    """Intensities over all pixels: the mixture of the pairs' distributions.

    Each distribution is taken as straight between the percentiles that are kept of it.
    """
    weights = np.array([weight for weight, _ in parts], np.float64)
    weights /= weights.sum()
    table = np.array([values for _, values in parts])
    knots = table[:, :-2]
    means, deviations = table[:, -2], table[:, -1]
    levels = np.unique(knots)
    shares = np.array(
        [
            # Equal percentiles would be no function: they are set apart by a hair.
            np.interp(levels, row + np.arange(row.size) * 1e-9, INTENSITY_PERCENTILES)
            for row in knots
        ]
    )
    cumulated = weights @ shares
    mean = float(weights @ means)
    deviation = float(np.sqrt(weights @ (deviations**2 + (means - mean) ** 2)))
    return (
        *(float(value) for value in np.interp(INTENSITY_PERCENTILES, cumulated, levels)),
        mean,
        deviation,
    )


def _fit_pooled(pooled: tuple[float, ...], settings: Normalization) -> ChannelRange:
    *knots, mean, deviation = pooled
    if settings.mode == "z_score":
        return make_range(mean, deviation)
    low, high = (
        float(value)
        for value in np.interp((settings.low, settings.high), INTENSITY_PERCENTILES, knots)
    )
    # As in `Normalization`: percentiles coincide on a dark field with few bright pixels.
    if settings.mode == "min_max" or high <= low:
        low, high = knots[0], knots[-1]
    return make_range(low, high - low)


def _median_pixel_size(pairs: Sequence[PairFingerprint]) -> dict[str, float]:
    known = {
        axis: [pair.pixel_size_um[axis] for pair in pairs if axis in pair.pixel_size_um]
        for axis in "ZYX"
    }
    return {axis: float(np.median(sizes)) for axis, sizes in known.items() if sizes}


def _brightness_spread(pairs: Sequence[PairFingerprint], channels: int) -> float:
    spreads = []
    for channel in range(channels):
        table = np.array([pair.intensity_percentiles[channel] for pair in pairs])
        # The median of the images: one that is empty must not set the scale.
        contrast = float(np.median(table[:, 3] - table[:, 1]))
        spreads.append(float(table[:, 2].std()) / contrast if contrast > 0 else 0.0)
    return float(np.mean(spreads))


def _sum_counts(pairs: Sequence[PairFingerprint]) -> dict[int, int]:
    total: Counter[int] = Counter()
    for pair in pairs:
        total.update(pair.class_pixels)
    return dict(sorted(total.items()))


def _combined_diameters(pairs: Sequence[PairFingerprint]) -> tuple[float, ...]:
    if not pairs:
        return ()
    table = np.array([pair.object_diameters_px for pair in pairs])
    return (
        *(float(value) for value in np.median(table[:, :-1], axis=0)),
        float(table[:, -1].max()),
    )
