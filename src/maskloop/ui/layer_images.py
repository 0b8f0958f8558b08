"""Layers as our images: lazy pixels with named axes, and masks that lie pixel on pixel on their image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from napari.layers import Image as ImageLayer
from napari.layers import Labels, Layer

from maskloop.errors import AxesError, ImageError, MaskError
from maskloop.images.image import ArrayLike, Image
from maskloop.images.masks import check_pair
from maskloop.ui.layer_axes import layer_axes
from maskloop.ui.lazy_views import Channels, crop
from maskloop.ui.placement import STRAY_PX, differences, stray_px

__all__ = ["finest", "fit_labels", "listed", "to_image", "to_labels"]

NEW_MASK = 'Make a mask for this image with the button "New mask"'


def to_image(layers: Layer | Sequence[Layer], *, axes: str, name: str | None = None) -> Image:
    """The image that one or several layers show; no pixel is read.

    Parameters
    ----------
    layers
        An Image layer, or several of one shape and place that are channels of one image, in this
        order.
    axes
        One letter of TCZYX per dimension of each layer; the C of several layers is put in front.
    name
        What to call the image; by default as the layers are called.

    Returns
    -------
    image
        The finest level, RGB without alpha, with the pixel size in micrometres where the layer
        knows it.

    Raises
    ------
    AxesError
        If the axes do not fit, or layers that have channels already are to be channels.
    ImageError
        If the layers differ in shape or place.
    """
    chosen = listed(layers)
    first, axes = chosen[0], layer_axes(chosen[0], axes)
    pixel_size_um = _pixel_size(first, axes)
    if len(chosen) == 1:
        return Image(
            _colours(first), axes, pixel_size_um, _channel_names(first, axes), name or first.name
        )
    if "C" in axes:
        raise AxesError(
            f"'{first.name}' has axes {axes}, so it has channels already and cannot be one channel among {len(chosen)} layers.",
            "Choose this layer alone, or layers with one channel each.",
        )
    for other in chosen[1:]:
        _check_alike(first, other)
    names = tuple(layer.name for layer in chosen)
    return Image(
        Channels([finest(layer) for layer in chosen]),
        "C" + axes,
        pixel_size_um,
        names,
        name or " + ".join(names),
    )


def to_labels(layer: Labels, image_layer: Layer, *, axes: str) -> Image:
    """The labels of a whole layer, with the axes of their image without C; no pixel is read.

    Parameters
    ----------
    layer
        Labels of any integer type.
    image_layer
        The layer they were drawn on.
    axes
        The axes of the image layer.

    Raises
    ------
    MaskError
        If the labels have another shape or lie elsewhere, have channels, or were drawn on one plane
        of a stack.
    """
    axes = layer_axes(image_layer, axes)
    letters, plain = fit_labels(layer, image_layer, axes=axes), axes.replace("C", "")
    if not set(plain) <= set(letters):
        raise MaskError(
            f"Mask '{layer.name}' was drawn on one plane ({letters}), image '{image_layer.name}' is a stack ({axes}).",
            f"Accept the visible slice instead of the whole layer. {NEW_MASK} to draw on all planes.",
        )
    data = finest(layer)
    if "C" in letters:
        if data.shape[letters.index("C")] > 1:
            raise MaskError(
                f"Mask '{layer.name}' has {data.shape[letters.index('C')]} channels, and a mask holds one label per pixel.",
                f"Accept the visible slice, which takes the channel in view. {NEW_MASK} to have one mask for all channels.",
            )
        data = crop(data, tuple(0 if letter == "C" else slice(None) for letter in letters))
    return Image(data, plain, _pixel_size(image_layer, axes), name=layer.name)


def fit_labels(layer: Labels, image_layer: Layer, *, axes: str) -> str:
    """Which axes the labels have, once it is sure that they lie pixel on pixel on the image.

    Parameters
    ----------
    layer, image_layer
        The labels and the layer they were drawn on.
    axes
        The axes of the image layer.

    Returns
    -------
    axes
        Those of the image: all without C, fewer where the labels were drawn on one plane, or with C
        where the labels have channels.

    Raises
    ------
    MaskError
        If the labels have too many dimensions, another shape, or lie elsewhere.
    """
    axes = layer_axes(image_layer, axes)
    own = axes[: image_layer.ndim]  # napari does not count the colours of RGB
    letters = _label_axes(layer, own)
    if not letters:
        raise MaskError(
            f"Mask '{layer.name}' has {layer.ndim} dimensions, image '{image_layer.name}' ({axes}) has room for {len(own)}.",
            f"Choose the image this mask was drawn on. {NEW_MASK}.",
        )
    data, pixels = finest(layer), finest(image_layer)
    wide = "C" in letters and data.shape[letters.index("C")] == 1
    kept = [letter for letter in letters if not (wide and letter == "C")]
    shape = tuple(int(data.shape[letters.index(letter)]) for letter in kept)
    reference = tuple(int(pixels.shape[own.index(letter)]) for letter in kept)
    if shape != reference:
        _check_shape(layer, image_layer, axes, "".join(kept))
    dims, image_dims = (
        [letters.index(letter) for letter in kept],
        [own.index(letter) for letter in kept],
    )
    away = stray_px(layer, dims, image_layer, image_dims)
    if away > STRAY_PX:
        how = differences(layer, dims, image_layer, image_dims)
        raise MaskError(
            f"Mask '{layer.name}' lies up to {away:.3g} pixels away from its place on image '{image_layer.name}': {how}.",
            f"{NEW_MASK}, or choose the image this mask was drawn on. If it belongs here (a file knows no scale), give it the place "
            "of the image: right-click the image in the layer list, 'Copy all to clipboard', then the mask, "
            "'Apply scale/transforms from Clipboard'.",
        )
    return letters


def listed(layers: Layer | Sequence[Layer]) -> list[Layer]:
    """One layer or several as a list.

    Raises
    ------
    ImageError
        If there is none, or one is no image.
    """
    chosen = [layers] if isinstance(layers, Layer) else list(layers)
    if not chosen:
        raise ImageError("No image layer is chosen.", "Choose the layer that shows the image.")
    for layer in chosen:
        if not isinstance(layer, ImageLayer):
            raise ImageError(
                f"Layer '{layer.name}' is no image ({type(layer).__name__}).",
                "Choose an Image layer.",
            )
    return chosen


def finest(layer: Layer) -> ArrayLike:
    """The pixels of a layer as they were given; of a pyramid the finest level."""
    data: ArrayLike = layer.data[0] if layer.multiscale else layer.data
    return data


def _label_axes(layer: Labels, own: str) -> str:
    """Axes of the labels by their number, aligned from the last as napari aligns them; empty when there are too many."""
    plain = own.replace("C", "")
    if layer.ndim <= len(plain):
        return plain[-layer.ndim :]
    return own if layer.ndim == len(own) else ""


def _check_shape(layer: Labels, image_layer: Layer, axes: str, kept: str) -> None:
    """Refuse another shape in the words that every part of the program uses."""
    letters = _label_axes(layer, axes[: image_layer.ndim])
    plane = crop(
        finest(image_layer),
        tuple(slice(None) if letter in kept or letter == "C" else 0 for letter in axes),
    )
    image = Image(
        plane,
        "".join(letter for letter in axes if letter in kept or letter == "C"),
        name=image_layer.name,
    )
    data = finest(layer)
    check_pair(
        image,
        [int(data.shape[letters.index(letter)]) for letter in kept],
        kept,
        mask_name=layer.name,
    )


def _check_alike(first: Layer, other: Layer) -> None:
    shapes = [tuple(int(length) for length in finest(layer).shape) for layer in (first, other)]
    if shapes[0] != shapes[1] or other.ndim != first.ndim:
        raise ImageError(
            f"'{first.name}' has shape {shapes[0]}, '{other.name}' has {shapes[1]}: they cannot be channels of one image.",
            "Choose layers of the same shape.",
        )
    dims = range(first.ndim)
    away = stray_px(other, dims, first, dims)
    if away > STRAY_PX:
        raise ImageError(
            f"'{other.name}' lies up to {away:.3g} pixels away from '{first.name}': {differences(other, dims, first, dims)}.",
            "Choose layers that lie on each other, or give them the same scale and translation.",
        )


def _colours(layer: Layer) -> ArrayLike:
    """The pixels without alpha."""
    data = finest(layer)
    if not layer.rgb or data.shape[-1] == 3:
        return data
    return crop(data, (*(slice(None) for _ in data.shape[:-1]), slice(0, 3)))


def _channel_names(layer: Layer, axes: str) -> tuple[str, ...]:
    if layer.rgb:
        return ("red", "green", "blue")
    names = layer.metadata.get("channel_names") or ()
    fits = (
        "C" in axes
        and not isinstance(names, str)
        and len(names) == finest(layer).shape[axes.index("C")]
    )
    return tuple(str(name) for name in names) if fits else ()


def _pixel_size(layer: Layer, axes: str) -> dict[str, float]:
    """Micrometres per pixel along Z, Y, X; a scale in pixels says nothing about lengths."""
    sizes: dict[str, float] = {}
    for letter, scale, unit in zip(axes, layer.scale, layer.units, strict=False):
        if letter in "ZYX" and unit.is_compatible_with("micrometer"):
            size: Any = abs(float((float(scale) * unit).to("micrometer").magnitude))
            if math.isfinite(size) and size > 0:
                sizes[letter] = size
    return sizes
