"""Whether an image is at the scale that a model was trained at, as far as files tell."""

from __future__ import annotations

from collections.abc import Mapping

from maskloop.images.image import Image

__all__ = ["TOLERATED_FACTOR", "scale_warning"]

TOLERATED_FACTOR = 1.5
"""Augmentation changes sizes by 20 %; pixels this much larger or smaller show other objects."""


def scale_warning(image: Image, trained_um: Mapping[str, float], spatial_dims: int) -> str | None:
    """What to tell of an image whose pixel size is not that of the training, else None.

    Parameters
    ----------
    image
        The image; an axis without pixel size is not compared.
    trained_um
        Median pixel size of the training images per axis, where known.
    spatial_dims
        2 for a model of planes, to which Z does not matter; 3.
    """
    factors = {
        axis: trained_um[axis] / image.pixel_size_um[axis]
        for axis in "ZYX"[-spatial_dims:]
        if trained_um.get(axis, 0) > 0 and image.pixel_size_um.get(axis, 0) > 0
    }
    # The axis that is off the most is told; X and Y mostly are off alike.
    axis = max(factors, key=lambda each: max(factors[each], 1 / factors[each]), default=None)
    if axis is None or 1 / TOLERATED_FACTOR < factors[axis] < TOLERATED_FACTOR:
        return None
    factor, size = factors[axis], "large" if factors[axis] > 1 else "small"
    times = factor if factor > 1 else 1 / factor
    extent = "along Z " if axis == "Z" else ""
    return (
        f"The pixel size {extent}is {image.pixel_size_um[axis]:.3g} µm, but the model was trained "
        f"at {trained_um[axis]:.3g} µm: objects appear {times:.1f} times as {size}, and the labels "
        f"may be wrong. Resize the image to {trained_um[axis]:.3g} µm per pixel first, or train on "
        "images of this pixel size."
    )
