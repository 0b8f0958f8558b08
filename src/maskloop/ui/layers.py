"""What the rest of the window knows of napari's layers: which is chosen, what it shows as our `Image`, and where a mask is put."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels, Layer, Shapes
from numpy.typing import NDArray

from maskloop.errors import AxesError, MaskError, UsageError
from maskloop.images.image import Image
from maskloop.ui.layer_axes import AxesKnown, guess_axes, layer_axes, possible_axes
from maskloop.ui.layer_choice import LayerChoice, LayerCombo
from maskloop.ui.layer_images import finest, fit_labels, listed, to_image, to_labels
from maskloop.ui.lazy_views import crop
from maskloop.ui.placement import carry, index_in_view, place_like

__all__ = [
    "AxesKnown",
    "Extent",
    "LayerChoice",
    "LayerCombo",
    "add_labels",
    "crop_metadata",
    "guess_axes",
    "new_mask",
    "possible_axes",
    "take",
    "take_image",
    "to_image",
    "to_labels",
]

Extent = Literal["whole", "slice", "rectangle"]
SMALLEST_PX = 8
"""A rectangle with a shorter side is a slip of the mouse: nothing can be learnt from it."""


@dataclass(frozen=True)
class _Crop:
    """Where a part of a layer lies, by axis: the index of the plane, and the first pixel and one past the last."""

    index: Mapping[str, int] = field(default_factory=dict)
    bounds: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def take(
    image_layers: Layer | Sequence[Layer],
    labels_layer: Labels,
    *,
    axes: str,
    extent: Extent,
    viewer: ViewerModel,
    shapes_layer: Shapes | None = None,
) -> tuple[Image, Image]:
    """The image and the mask to accept; no pixel is read, so do that in the background.

    Parameters
    ----------
    image_layers
        An Image layer, or several that are channels of one image.
    labels_layer
        The mask drawn on it. Labels in memory are not copied: what is drawn until they are read is
        read too.
    axes
        One letter of TCZYX per dimension of the image layer.
    extent
        The whole layer, the slice in view (what the sliders of T and Z show, all channels), or the
        rectangle on it.
    viewer
        Whose sliders are meant.
    shapes_layer
        Holds the rectangle: the selected shape, or the only one.

    Returns
    -------
    image, labels
        The labels have the axes of the image without C.

    Raises
    ------
    AxesError, ImageError
        As for `to_image`.
    MaskError
        If the labels do not lie pixel on pixel on the image.
    UsageError
        If there is no such slice or rectangle.
    """
    image = take_image(
        image_layers, axes=axes, extent=extent, viewer=viewer, shapes_layer=shapes_layer
    )
    first = listed(image_layers)[0]
    if extent == "whole":
        return image, to_labels(labels_layer, first, axes=axes)
    where = _find_crop(first, axes, extent, viewer, shapes_layer)
    letters = fit_labels(labels_layer, first, axes=axes)
    if not set(image.axes) <= set(letters + "C"):
        raise MaskError(
            f"Mask '{labels_layer.name}' has one plane ({letters}), the viewer shows a volume of '{first.name}' ({image.axes}).",
            "Switch the viewer to two dimensions and accept the visible slice.",
        )
    data = finest(labels_layer)
    if "C" in letters:
        channel = where.index.get("C", 0) if data.shape[letters.index("C")] > 1 else 0
        where = _Crop({**where.index, "C": channel}, where.bounds)
    part = crop(data, tuple(_at(letter, where) for letter in letters))
    kept = "".join(letter for letter in letters if letter not in where.index)
    return image, Image(
        part, kept, image.pixel_size_um, name=labels_layer.name + _suffix(where, first, axes)
    )


def take_image(
    image_layers: Layer | Sequence[Layer],
    *,
    axes: str,
    extent: Extent,
    viewer: ViewerModel,
    shapes_layer: Shapes | None = None,
) -> Image:
    """The image alone, as `take` gives it.

    Raises
    ------
    AxesError, ImageError, UsageError
        As for `take`.
    """
    image, first = to_image(image_layers, axes=axes), listed(image_layers)[0]
    where = _find_crop(first, axes, extent, viewer, shapes_layer)
    places = tuple(slice(None) if letter == "C" else _at(letter, where) for letter in image.axes)
    kept = "".join(
        letter for letter, place in zip(image.axes, places, strict=True) if isinstance(place, slice)
    )
    sizes = {letter: size for letter, size in image.pixel_size_um.items() if letter in kept}
    return Image(
        crop(image.data, places),
        kept,
        sizes,
        image.channel_names,
        image.name + _suffix(where, first, axes),
    )


def crop_metadata(
    image_layers: Layer | Sequence[Layer],
    labels_layer: Labels | None = None,
    *,
    axes: str,
    extent: Extent,
    viewer: ViewerModel,
    shapes_layer: Shapes | None = None,
) -> dict[str, Any]:
    """Where what `take` gives comes from, to be kept with the pair.

    Parameters
    ----------
    image_layers, labels_layer, axes, extent, viewer, shapes_layer
        As for `take`.

    Returns
    -------
    metadata
        ``image_layers``, ``labels_layer``, ``source_path`` (None when the layer came from no file),
        ``axes``, ``extent``, ``index`` (such as ``{"T": 2, "Z": 5}``) and ``rectangle`` (first and
        one-past-last pixel along Y and X); ready for JSON.
    """
    chosen = listed(image_layers)
    where = _find_crop(chosen[0], axes, extent, viewer, shapes_layer)
    return {
        "image_layers": [layer.name for layer in chosen],
        "labels_layer": labels_layer.name if labels_layer is not None else None,
        "source_path": chosen[0].source.path and str(chosen[0].source.path),
        "axes": layer_axes(chosen[0], axes),
        "extent": extent,
        "index": {letter: at for letter, at in where.index.items() if letter != "C"},
        "rectangle": {letter: list(bounds) for letter, bounds in where.bounds.items()},
    }


def new_mask(viewer: ViewerModel, image_layer: Layer, *, axes: str | None = None) -> Labels:
    """Put an empty mask exactly on an image, chosen and ready to be painted on.

    Parameters
    ----------
    viewer
        Gets the layer.
    image_layer
        The image to draw on.
    axes
        Its axes; by default what `guess_axes` knows.

    Returns
    -------
    layer
        uint16 zeros with the shape of the image without C. A C between other axes stays with length
        one, spread over all channels: napari matches dimensions by their place, so without it the
        mask's Z would be moved by the slider of the channels.

    Raises
    ------
    AxesError
        If the axes are not known.
    """
    axes = _known_axes(viewer, image_layer, axes)
    shape = [
        length
        for letter, length in zip(axes, finest(image_layer).shape, strict=True)
        if letter != "C"
    ]
    layer = add_labels(
        viewer,
        np.zeros(shape, np.uint16),
        image_layer,
        name=f"{image_layer.name} mask",
        metadata={},
        axes=axes,
    )
    layer.brush_size = max(
        3, round(min(_length(image_layer, axes, letter) for letter in "YX") / 60)
    )
    layer.mode = "paint"
    return layer


def add_labels(
    viewer: ViewerModel,
    labels: NDArray[Any],
    image_layer: Layer,
    *,
    name: str,
    metadata: Mapping[str, Any],
    axes: str | None = None,
) -> Labels:
    """Put labels exactly on an image and choose them; a layer of this name is kept, and napari numbers the new one.

    Parameters
    ----------
    viewer
        Gets the layer.
    labels
        Integers with the axes of the image without C.
    image_layer
        The image they belong to.
    name
        What to call the layer.
    metadata
        Kept in ``layer.metadata``, together with ``axes``.
    axes
        The axes of the image; by default what `guess_axes` knows.

    Raises
    ------
    AxesError
        If the axes of the image are not known.
    MaskError
        If the labels have another shape than the image.
    """
    axes = _known_axes(viewer, image_layer, axes)
    plain = axes.replace("C", "")
    expected = tuple(_length(image_layer, axes, letter) for letter in plain)
    if labels.shape != expected:
        raise MaskError(
            f"Labels '{name}' have shape {labels.shape}, image '{image_layer.name}' has {plain} {expected}.",
            "Choose the image these labels belong to.",
        )
    own = axes[: image_layer.ndim]
    # A leading C can go, because napari matches dimensions from the last.
    dims = [dim for dim, letter in enumerate(own) if letter != "C" or dim > 0]
    spread = {dim: _length(image_layer, axes, "C") for dim in dims if own[dim] == "C"}
    data = np.expand_dims(labels, [place for place, dim in enumerate(dims) if dim in spread])
    kept = {**metadata, "axes": "".join(own[dim] for dim in dims)}
    layer = viewer.add_labels(
        data, name=name, metadata=kept, **place_like(image_layer, dims, spread)
    )
    viewer.layers.selection.active = layer
    assert isinstance(layer, Labels)
    return layer


def _find_crop(
    layer: Layer, axes: str, extent: Extent, viewer: ViewerModel, shapes_layer: Shapes | None
) -> _Crop:
    if extent == "whole":
        return _Crop()
    own = layer_axes(layer, axes)[: layer.ndim]
    index = index_in_view(layer, own, viewer)
    return _Crop(index, _rectangle(layer, own, shapes_layer) if extent == "rectangle" else {})


def _rectangle(layer: Layer, own: str, shapes_layer: Shapes | None) -> dict[str, tuple[int, int]]:
    """The pixels of the image that the shape's bounding rectangle covers, from the first to one past the last."""
    corners = _shape(shapes_layer)
    assert shapes_layer is not None
    rows = [own.index(letter) - layer.ndim for letter in "YX"]
    if min(rows) < -corners.shape[1]:
        raise UsageError(
            f"The rectangle has {corners.shape[1]} dimensions.",
            f"Draw it on '{layer.name}' with Y and X in view.",
        )
    dims, layer_dims = [row + corners.shape[1] for row in rows], [row + layer.ndim for row in rows]
    there = carry(corners[:, dims], shapes_layer, dims, layer, layer_dims)
    # Pixel centres are at whole numbers in napari; adding a half rounds ties upwards, so that
    # neighbours neither overlap nor leave a gap.
    low, high = np.floor(there.min(axis=0) + 0.5), np.floor(there.max(axis=0) + 0.5)
    bounds = {}
    for letter, start, stop in zip("YX", low, high, strict=True):
        length = int(finest(layer).shape[own.index(letter)])
        bounds[letter] = (int(np.clip(start, 0, length)), int(np.clip(stop, 0, length)))
    height, width = (stop - start for start, stop in bounds.values())
    if min(height, width) < SMALLEST_PX:
        raise UsageError(
            f"The rectangle covers {height} x {width} pixels of '{layer.name}'.",
            f"Draw a rectangle of at least {SMALLEST_PX} x {SMALLEST_PX} pixels on the image.",
        )
    return bounds


def _shape(shapes_layer: Shapes | None) -> NDArray[Any]:
    """Corners of the shape that is meant, one row each."""
    if shapes_layer is None or len(shapes_layer.data) == 0:
        raise UsageError(
            "There is no rectangle.", "Add a Shapes layer and draw a rectangle on the image."
        )
    selected = sorted(shapes_layer.selected_data)
    meant = selected if selected else list(range(len(shapes_layer.data)))
    if len(meant) != 1:
        raise UsageError(
            f"'{shapes_layer.name}' has {len(shapes_layer.data)} shapes, {len(selected) or 'none'} of them selected.",
            "Select the one rectangle that is meant.",
        )
    return np.asarray(shapes_layer.data[meant[0]], dtype=np.float64)


def _at(letter: str, where: _Crop) -> int | slice:
    return (
        where.index[letter] if letter in where.index else slice(*where.bounds.get(letter, (None,)))
    )


def _suffix(where: _Crop, layer: Layer, axes: str) -> str:
    """Such as " t002 z05": as many digits as the stack needs, at least two, so that names sort."""
    places = [(letter, where.index[letter]) for letter in "TZ" if letter in where.index]
    words = [
        f" {letter.lower()}{at:0{max(2, len(str(_length(layer, axes, letter) - 1)))}d}"
        for letter, at in places
    ]
    words += [f" {letter.lower()}{start}-{stop}" for letter, (start, stop) in where.bounds.items()]
    return "".join(words)


def _length(layer: Layer, axes: str, letter: str) -> int:
    return int(finest(layer).shape[layer_axes(layer, axes).index(letter)])


def _known_axes(viewer: ViewerModel, layer: Layer, axes: str | None) -> str:
    known = axes or guess_axes(layer, viewer).axes
    if known is None:
        raise AxesError(
            f"The axes of '{layer.name}' are not known.", "Choose what its dimensions are."
        )
    return layer_axes(layer, known)
