"""Files to images and masks, whatever their format; lazy where the format allows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from maskloop.errors import MaskError
from maskloop.images.formats import ending_of, endings, find_format, refer
from maskloop.images.image import Image
from maskloop.images.refs import ImageRef

__all__ = ["ending_of", "endings", "open_image", "open_labels"]


def open_image(image: str | Path | ImageRef, *, axes: str | None = None) -> Image:
    """Open an image; its pixels are read when they are asked for.

    Uncompressed TIFF and NPY are mapped, compressed or tiled TIFF is read strip by strip or tile
    by tile; PNG and JPEG, which allow neither, are read at once. Palette images become RGB.

    Parameters
    ----------
    image
        A .tif, .tiff (OME, ImageJ or plain), .png, .jpg, .jpeg or .npy file, or whatever an
        installed format opens; one image in a container as ``scan.tif::2`` or as a reference.
    axes
        One letter of TCZYX per dimension; wins over what the file says. Needed where the file does
        not say.

    Returns
    -------
    image
        Named after the file, with pixel size (micrometers) and channel names where the file has
        them.

    Raises
    ------
    ImageError
        If the file is missing, damaged, empty, holds several images or pixels that are not real
        numbers.
    AxesError
        If the file does not say what its dimensions are, or `axes` do not fit them.
    """
    ref = refer(image, axes=axes)
    return find_format(ref).open(ref)


def open_labels(mask: str | Path | ImageRef, *, axes: str | None = None) -> Image:
    """Open a mask, as `open_image` but without channels; a palette's indices are the labels.

    Raises
    ------
    MaskError
        If the mask has several channels (a color picture of labels), or the file is a JPEG, which
        changes labels.
    ImageError, AxesError
        As for `open_image`.
    """
    ref = refer(mask, axes=axes)
    image = find_format(ref).open_labels(ref)
    image = _grey_as_color(image)
    if image.channels > 1:
        raise MaskError(
            f"Mask '{ref.uri}' has {image.channels} channels (axes {image.axes}, shape "
            f"{image.shape}); a mask has one number per pixel.",
            "Name the axes if its planes are depth or time (for instance --axes ZYX), save it as "
            "a label image with one channel, or select the right file.",
        )
    # Some programs save a mask as an image of one channel.
    if "C" not in image.axes:
        return image
    kept = image.axes.replace("C", "")
    shape = tuple(image.sizes[letter] for letter in kept)
    channel = image.axes.index("C")
    # Formats need not know how to drop an axis of length one.
    data = (
        image.data.reshape(shape)
        if hasattr(image.data, "reshape")
        else image.data[(slice(None),) * channel + (0,)]
    )
    return replace(image, data=data, axes=kept, channel_names=())


def _grey_as_color(image: Image) -> Image:
    """A mask that a program saved as a color picture, grey in each pixel, with one channel."""
    # Equal planes are no picture: only colors that lie together are one.
    if not image.axes.endswith("YXC") or image.channels != 3 or image.data.dtype != np.uint8:
        return image
    pixels = image.read()
    if (pixels != pixels[..., :1]).any():
        return image
    note = "The mask is a color picture without color: one of its equal channels was read."
    return replace(image, data=pixels[..., :1], channel_names=(), notes=(*image.notes, note))
