"""Layers as lazy images with named axes, and masks that fit their image pixel by pixel."""

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
from maskloop.ui.transforms import STRAY_PX, differences, stray_px

__all__ = ["finest", "fit_labels", "listed", "to_image", "to_labels"]

NEW_MASK = 'Make a mask for this image with the button "New mask"'


def to_image(layers: Layer | Sequence[Layer], *, axes: str, name: str | None = None) -> Image:
    """The image that one or several layers show; reads no pixels.

    Parameters
    ----------
    layers
        An Image layer, or the channels of one image in order: several Image layers that coincide.
    axes
        One letter of TCZYX per dimension of each layer; several layers get a C in front.
    name
        Of the image; the names of the layers by default.

    Returns
    -------
    image
        The finest level, RGB without alpha, with the pixel size in micrometers if the layer has
        one.

    Raises
    ------
    AxesError
        If the axes do not fit, or one of several layers has channels itself.
    ImageError
        If the layers differ in shape or position.
    """
    chosen = listed(layers)
    first, axes = chosen[0], layer_axes(chosen[0], axes)
    pixel_size_um = _pixel_size(first, axes)
    if len(chosen) == 1:
        return Image(
            _colors(first), axes, pixel_size_um, _channel_names(first, axes), name or first.name
        )
    if "C" in axes:
        raise AxesError(
            f"'{first.name}' has axes {axes}: it has channels already and cannot be one of"
            f" {len(chosen)} channels.",
            "Select this layer alone, or layers with one channel each.",
        )
    for other in chosen[1:]:
        _check_alike(first, other)
    # The names of the layers are those of the channels: napari splits channels into layers so.
    names = tuple(layer.name for layer in chosen)
    return Image(
        Channels([finest(layer) for layer in chosen]),
        "C" + axes,
        pixel_size_um,
        names,
        name or " + ".join(names),
    )


def to_labels(layer: Labels, image_layer: Layer, *, axes: str) -> Image:
    """The labels of a whole layer, with the axes of their image without C; reads no pixels.

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
        If the labels differ from the image in shape or position, have channels, or are one plane
        of a stack.
    """
    axes = layer_axes(image_layer, axes)
    letters, plain = fit_labels(layer, image_layer, axes=axes), axes.replace("C", "")
    if not set(plain) <= set(letters):
        raise MaskError(
            f"Mask '{layer.name}' is one plane ({letters}), image '{image_layer.name}' is a stack"
            f" ({axes}).",
            f"Add the slice in view instead of the whole image. {NEW_MASK} to draw on all planes.",
        )
    data = finest(layer)
    if "C" in letters:
        channels = int(data.shape[letters.index("C")])
        if channels > 1:
            raise MaskError(
                f"Mask '{layer.name}' has {channels} channels; a mask has one label per pixel.",
                "Add the slice in view, which is the mask of the channel in view."
                f" {NEW_MASK} to draw one mask for all channels.",
            )
        data = crop(data, tuple(0 if letter == "C" else slice(None) for letter in letters))
    return Image(data, plain, _pixel_size(image_layer, axes), name=layer.name)


def fit_labels(layer: Labels, image_layer: Layer, *, axes: str) -> str:
    """The axes of labels that fit an image pixel by pixel.

    Parameters
    ----------
    layer, image_layer
        The labels and the layer they were drawn on.
    axes
        The axes of the image layer.

    Returns
    -------
    axes
        All of the image without C, fewer if the labels are one plane, or with C if the labels have
        channels.

    Raises
    ------
    MaskError
        If the labels have too many dimensions, or differ from the image in shape or position.
    """
    axes = layer_axes(image_layer, axes)
    own = axes[: image_layer.ndim]  # napari does not count the colors of RGB
    letters = _label_axes(layer, own)
    if not letters:
        raise MaskError(
            f"Mask '{layer.name}' has {layer.ndim} dimensions, image '{image_layer.name}' ({axes})"
            f" has {len(own)}.",
            f"Select the image this mask was drawn on. {NEW_MASK}.",
        )
    data, pixels = finest(layer), finest(image_layer)
    # A C of length one is spread over all channels (see `add_labels`): it fits any number of them.
    is_spread = "C" in letters and data.shape[letters.index("C")] == 1
    kept = [letter for letter in letters if letter != "C" or not is_spread]
    shape = tuple(int(data.shape[letters.index(letter)]) for letter in kept)
    reference = tuple(int(pixels.shape[own.index(letter)]) for letter in kept)
    # Shapes first: labels of another size would be said to be shifted.
    if shape != reference:
        _check_shape(layer, image_layer, axes, "".join(kept))
    dims = [letters.index(letter) for letter in kept]
    image_dims = [own.index(letter) for letter in kept]
    away = stray_px(layer, dims, image_layer, image_dims)
    if away > STRAY_PX:
        how = differences(layer, dims, image_layer, image_dims)
        raise MaskError(
            f"Mask '{layer.name}' is shifted by up to {away:.3g} pixels against image"
            f" '{image_layer.name}': {how}.",
            f"{NEW_MASK}, or select the image this mask was drawn on. If the mask belongs here (its"
            " file may have no scale), copy the transform of the image: right-click the image in"
            " the layer list, 'Copy all to clipboard', then the mask, 'Apply scale/transforms from"
            " Clipboard'.",
        )
    return letters


def listed(layers: Layer | Sequence[Layer]) -> list[Layer]:
    """One layer or several as a list.

    Raises
    ------
    ImageError
        If there is none, or one is not an Image layer.
    """
    chosen = [layers] if isinstance(layers, Layer) else list(layers)
    if not chosen:
        raise ImageError("No image layer selected.", "Select the layer that shows the image.")
    for layer in chosen:
        if not isinstance(layer, ImageLayer):
            raise ImageError(
                f"Layer '{layer.name}' is a {type(layer).__name__} layer, not an Image layer.",
                "Select an Image layer.",
            )
    return chosen


def finest(layer: Layer) -> ArrayLike:
    """The pixels of a layer as they were given; the finest level of a pyramid."""
    data: ArrayLike = layer.data[0] if layer.multiscale else layer.data
    return data


def _label_axes(layer: Labels, own: str) -> str:
    """The axes that the number of dimensions implies; empty if there are too many."""
    # Counted from the last dimension, as napari does.
    plain = own.replace("C", "")
    if layer.ndim <= len(plain):
        return plain[-layer.ndim :]
    return own if layer.ndim == len(own) else ""


def _check_shape(layer: Labels, image_layer: Layer, axes: str, kept: str) -> None:
    """Refuse another shape in the words that `check_pair` has for it everywhere."""
    letters = _label_axes(layer, axes[: image_layer.ndim])
    # Labels of one plane are compared with one plane: the first, since no pixel is read.
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
            f"'{first.name}' has shape {shapes[0]}, '{other.name}' has {shapes[1]}: they cannot be"
            " channels of one image.",
            "Select layers of the same shape.",
        )
    dims = range(first.ndim)
    away = stray_px(other, dims, first, dims)
    if away > STRAY_PX:
        how = differences(other, dims, first, dims)
        raise ImageError(
            f"'{other.name}' is shifted by up to {away:.3g} pixels against '{first.name}': {how}.",
            "Select layers that coincide, or give them the same scale and translation.",
        )


def _colors(layer: Layer) -> ArrayLike:
    """The pixels without alpha."""
    data = finest(layer)
    if not layer.rgb or data.shape[-1] == 3:
        return data
    return crop(data, (*(slice(None) for _ in data.shape[:-1]), slice(0, 3)))


def _channel_names(layer: Layer, axes: str) -> tuple[str, ...]:
    if layer.rgb:
        return ("red", "green", "blue")
    names = layer.metadata.get("channel_names") or ()
    # Readers put all kinds of things there; a string would give a name per letter.
    if "C" not in axes or isinstance(names, str):
        return ()
    fits = len(names) == finest(layer).shape[axes.index("C")]
    return tuple(str(name) for name in names) if fits else ()


def _pixel_size(layer: Layer, axes: str) -> dict[str, float]:
    """Micrometers per pixel along Z, Y, X; a scale in pixels says nothing about lengths."""
    sizes: dict[str, float] = {}
    for letter, scale, unit in zip(axes, layer.scale, layer.units, strict=False):
        if letter in "ZYX" and unit.is_compatible_with("micrometer"):
            # A negative scale mirrors the image, which changes no length.
            size: Any = abs(float((float(scale) * unit).to("micrometer").magnitude))
            if math.isfinite(size) and size > 0:
                sizes[letter] = size
    return sizes
