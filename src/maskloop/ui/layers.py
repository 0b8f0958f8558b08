"""What the window knows about napari's layers.

Which one is selected, what it shows as our `Image`, and where a mask belongs.
"""

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
from maskloop.ui.transforms import carry, index_in_view, place_like

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
"""A rectangle with a shorter side is a slip of the mouse: there is nothing in it to learn."""


@dataclass(frozen=True)
class _Crop:
    """A part of a layer by axis: index of the plane, first pixel and one past the last."""

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
    """The image and the mask of a training pair; reads no pixels, so read them in the background.

    Parameters
    ----------
    image_layers
        An Image layer, or several that are channels of one image.
    labels_layer
        The mask drawn on it. Labels in memory are not copied: drawing before they are read changes
        the mask.
    axes
        One letter of TCZYX per dimension of the image layer.
    extent
        The whole layer, the slice in view (at the T and Z sliders, all channels), or a rectangle
        of it.
    viewer
        Its sliders say which slice.
    shapes_layer
        Has the rectangle: the selected shape, or the only one.

    Returns
    -------
    image, labels
        The labels have the axes of the image without C.

    Raises
    ------
    AxesError, ImageError
        As for `to_image`.
    MaskError
        If the labels do not fit the image pixel by pixel.
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
    return image, _cut_labels(labels_layer, first, axes, image, where)


def _cut_labels(labels_layer: Labels, first: Layer, axes: str, image: Image, where: _Crop) -> Image:
    """The part of the labels that belongs to a part of their image."""
    letters = fit_labels(labels_layer, first, axes=axes)
    if not set(image.axes) <= set(letters + "C"):
        raise MaskError(
            f"Mask '{labels_layer.name}' is one plane ({letters}), the viewer shows a volume of"
            f" '{first.name}' ({image.axes}).",
            "Switch the viewer to 2D and add the slice in view.",
        )
    data = finest(labels_layer)
    if "C" in letters:
        # Labels of length one along C are for all channels, whichever is in view.
        channel = where.index.get("C", 0) if data.shape[letters.index("C")] > 1 else 0
        where = _Crop({**where.index, "C": channel}, where.bounds)
    part = crop(data, tuple(_at(letter, where) for letter in letters))
    kept = "".join(letter for letter in letters if letter not in where.index)
    return Image(
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
    """The image without a mask, as `take` gives it.

    Raises
    ------
    AxesError, ImageError, UsageError
        As for `take`.
    """
    image, first = to_image(image_layers, axes=axes), listed(image_layers)[0]
    where = _find_crop(first, axes, extent, viewer, shapes_layer)
    # All channels, also where the viewer has a slider for them and shows one.
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
    """Where the result of `take` comes from, to be saved with the pair.

    Parameters
    ----------
    image_layers, labels_layer, axes, extent, viewer, shapes_layer
        As for `take`.

    Returns
    -------
    metadata
        ``image_layers``, ``labels_layer``, ``source_path`` (None if the layer has no file),
        ``axes``, ``extent``, ``index`` (such as ``{"T": 2, "Z": 5}``) and ``rectangle`` (first and
        one past the last pixel along Y and X); ready for JSON.
    """
    chosen = listed(image_layers)
    where = _find_crop(chosen[0], axes, extent, viewer, shapes_layer)
    return {
        "image_layers": [layer.name for layer in chosen],
        "labels_layer": labels_layer.name if labels_layer is not None else None,
        "source_path": chosen[0].source.path and str(chosen[0].source.path),
        "axes": layer_axes(chosen[0], axes),
        "extent": extent,
        # Which channel is in view says nothing about the pair: all of them are in it.
        "index": {letter: at for letter, at in where.index.items() if letter != "C"},
        "rectangle": {letter: list(bounds) for letter, bounds in where.bounds.items()},
    }


def new_mask(viewer: ViewerModel, image_layer: Layer, *, axes: str | None = None) -> Labels:
    """Add an empty mask exactly on an image, selected and ready to paint on.

    Parameters
    ----------
    viewer
        Gets the layer.
    image_layer
        The image to draw on.
    axes
        Its axes; those of `guess_axes` by default.

    Returns
    -------
    layer
        uint16 zeros with the shape of the image without C. A C between other axes keeps a length
        of one, spread over all channels: napari matches dimensions by position, so without it the
        channel slider would move the Z of the mask.

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
    shorter = min(_length(image_layer, axes, letter) for letter in "YX")
    # napari's ten pixels are a whole cell in a small image, and a speck in a large one.
    layer.brush_size = max(3, round(shorter / 60))
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
    """Add labels exactly on an image and select them; napari numbers names that are taken.

    Parameters
    ----------
    viewer
        Gets the layer.
    labels
        Integers with the axes of the image without C.
    image_layer
        The image they belong to.
    name
        Of the layer.
    metadata
        Saved in ``layer.metadata``, together with ``axes``.
    axes
        The axes of the image; those of `guess_axes` by default.

    Raises
    ------
    AxesError
        If the axes of the image are not known.
    MaskError
        If the shapes of labels and image differ.
    """
    axes = _known_axes(viewer, image_layer, axes)
    plain = axes.replace("C", "")
    expected = tuple(_length(image_layer, axes, letter) for letter in plain)
    if labels.shape != expected:
        raise MaskError(
            f"Labels '{name}' have shape {labels.shape}, image '{image_layer.name}' has {plain}"
            f" {expected}.",
            "Select the image these labels belong to.",
        )
    own = axes[: image_layer.ndim]
    # A leading C can be dropped, because napari matches dimensions from the last.
    dims = [dim for dim, letter in enumerate(own) if letter != "C" or dim > 0]
    spread = {dim: _length(image_layer, axes, "C") for dim in dims if own[dim] == "C"}
    # (Z)YX to (Z)1YX or the like, wherever the C of the image is.
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
    """The pixels in the bounding rectangle of the shape: first, and one past the last."""
    corners = _shape(shapes_layer)
    assert shapes_layer is not None
    # Counted from the last, as napari does: a Shapes layer may have fewer dimensions.
    rows = [own.index(letter) - layer.ndim for letter in "YX"]
    if min(rows) < -corners.shape[1]:
        raise UsageError(
            f"The rectangle has {corners.shape[1]} dimensions.",
            f"Draw it on '{layer.name}' with Y and X in view.",
        )
    dims = [row + corners.shape[1] for row in rows]
    layer_dims = [row + layer.ndim for row in rows]
    there = carry(corners[:, dims], shapes_layer, dims, layer, layer_dims)
    # Pixel centers are at whole numbers in napari; adding a half rounds ties upwards, so that
    # neighboring rectangles neither overlap nor leave a gap.
    low = np.floor(there.min(axis=0) + 0.5)
    high = np.floor(there.max(axis=0) + 0.5)
    bounds = {}
    for letter, start, stop in zip("YX", low, high, strict=True):
        # A rectangle may be drawn over the edge of the image.
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
    """Corners of the selected shape, or of the only one, (corners, dimensions)."""
    if shapes_layer is None or len(shapes_layer.data) == 0:
        raise UsageError("No rectangle.", "Press Draw, then drag a rectangle on the image.")
    count, selected = len(shapes_layer.data), sorted(shapes_layer.selected_data)
    candidates = selected or list(range(count))
    if len(candidates) != 1:
        raise UsageError(
            f"'{shapes_layer.name}' has {count} shapes, {len(selected) or 'none'} selected.",
            "Select one rectangle.",
        )
    return np.asarray(shapes_layer.data[candidates[0]], dtype=np.float64)


def _at(letter: str, where: _Crop) -> int | slice:
    if letter in where.index:
        return where.index[letter]
    # Without bounds all of it: slice(None).
    return slice(*where.bounds.get(letter, (None,)))


def _suffix(where: _Crop, layer: Layer, axes: str) -> str:
    """Such as " t002 z05": as many digits as the stack needs, at least two, so that names sort."""
    words = []
    for letter in "TZ":
        if letter in where.index:
            digits = max(2, len(str(_length(layer, axes, letter) - 1)))
            words.append(f" {letter.lower()}{where.index[letter]:0{digits}d}")
    words += [f" {letter.lower()}{start}-{stop}" for letter, (start, stop) in where.bounds.items()]
    return "".join(words)


def _length(layer: Layer, axes: str, letter: str) -> int:
    return int(finest(layer).shape[layer_axes(layer, axes).index(letter)])


def _known_axes(viewer: ViewerModel, layer: Layer, axes: str | None) -> str:
    known = axes or guess_axes(layer, viewer).axes
    if known is None:
        raise AxesError(
            f"The axes of '{layer.name}' are not known.", "Select the axes of its dimensions."
        )
    return layer_axes(layer, known)
