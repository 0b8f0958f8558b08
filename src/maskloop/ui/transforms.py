"""Where the pixels of layers lie in the world that the viewer shows.

Made from the public properties of layers: napari's own transform of a layer is private, and holds
what grid mode adds to show layers side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels, Layer
from napari.utils.transforms import CompositeAffine
from numpy.typing import NDArray

from maskloop.errors import UsageError

__all__ = ["STRAY_PX", "carry", "differences", "index_in_view", "place_like", "stray_px"]

STRAY_PX = 0.25
"""Pixels that lie closer than this coincide. It is less than half a pixel, by which conventions
about the center of a pixel differ.
"""


def stray_px(
    layer: Layer, dims: Sequence[int], reference: Layer, reference_dims: Sequence[int]
) -> float:
    """The largest distance between pixels of the same indices, in pixels of the reference.

    Parameters
    ----------
    layer, dims
        A layer, and the dimensions of it to compare.
    reference, reference_dims
        The other layer, and its dimensions in the same order.
    """
    # Both transforms are affine, so that no pixel is further off than a corner.
    lengths = [layer.extent.data[1][dim] for dim in dims]
    corners = np.array(list(product(*((0.0, length) for length in lengths))))
    there = carry(corners, layer, dims, reference, reference_dims)
    return float(np.abs(there - corners).max())


def carry(
    points: NDArray[Any],
    source: Layer,
    dims: Sequence[int],
    target: Layer,
    target_dims: Sequence[int],
) -> NDArray[np.float64]:
    """Convert points of one layer to pixel indices of another.

    Parameters
    ----------
    points
        One row per point, one column per dimension in `dims`.
    source, dims
        The layer that the points belong to, and the dimensions of it that are the columns.
    target, target_dims
        The layer that is indexed, and its dimensions in the same order.

    Returns
    -------
    indices
        Of the shape of `points`; pixel centers are whole numbers.
    """
    there, here = _part(target, target_dims), _part(source, dims)
    factors = _factors(
        [source.units[dim] for dim in dims], [target.units[dim] for dim in target_dims]
    )
    # Homogeneous coordinates: (dims + 1, dims + 1), the last column is the translation.
    combined = np.linalg.inv(there) @ np.diag([*factors, 1.0]) @ here
    return _apply(combined, np.asarray(points, dtype=np.float64))


def index_in_view(layer: Layer, axes: str, viewer: ViewerModel) -> dict[str, int]:
    """Indices of the plane in view, along the dimensions of a layer that are not displayed.

    Parameters
    ----------
    layer
        A layer of the viewer.
    axes
        One letter per dimension of ``layer.ndim``: without the colors of RGB.
    viewer
        Its sliders say which plane.

    Raises
    ------
    UsageError
        If the viewer shows other planes than YX, the layer is rotated out of them, or no plane of
        it is in view.
    """
    # The viewer has the dimensions of its deepest layer, and matches them from the last.
    missing = viewer.dims.ndim - layer.ndim
    displayed = [dim - missing for dim in viewer.dims.displayed if dim >= missing]
    shown = "".join(axes[dim] for dim in displayed)
    if not {"Y", "X"} <= set(shown):
        raise UsageError(
            f"The viewer shows {' and '.join(shown)} of '{layer.name}', and a slice has rows Y"
            " and columns X.",
            "Change the order of the visible axes (button below the layer list) to Y and X.",
        )
    here, beside = _in_view(layer, displayed, viewer)
    hidden = [dim for dim in range(layer.ndim) if dim not in displayed]
    if hidden and np.abs(here - beside)[hidden].max() > 1e-6:
        raise UsageError(
            f"'{layer.name}' is rotated out of the plane in view.",
            "Undo its rotation, or take the whole image.",
        )
    index = {axes[dim]: round(float(here[dim])) for dim in hidden}
    shape = layer.data[0].shape if layer.multiscale else layer.data.shape
    for dim in hidden:
        letter, last = axes[dim], int(shape[dim]) - 1
        if not 0 <= index[letter] <= last:
            raise UsageError(
                f"'{layer.name}' is not in view: the {letter} slider is at {index[letter]}, the"
                f" layer has 0 to {last}.",
                f"Move the {letter} slider until the layer is visible.",
            )
    return index


def _in_view(
    layer: Layer, displayed: Sequence[int], viewer: ViewerModel
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Indices of the point where the sliders stand, and of one beside it in the plane in view."""
    point, units = viewer.dims.point[-layer.ndim :], viewer.dims.units
    factors = [1.0] * layer.ndim
    if units is not None:
        factors = _factors(units[-layer.ndim :], layer.units)
    points = np.array([point, point], dtype=np.float64) * np.array(factors, dtype=np.float64)
    # Their indices differ along a hidden dimension only when the layer is rotated out of the plane.
    points[1, list(displayed)] += 1.0
    back = np.linalg.inv(_part(layer, range(layer.ndim))).astype(np.float64)
    here, beside = _apply(back, points)
    return here, beside


def place_like(layer: Layer, dims: Sequence[int], spread: Mapping[int, int]) -> dict[str, Any]:
    """Keywords of ``viewer.add_labels`` that put a new layer exactly on another.

    Parameters
    ----------
    layer
        The layer to lie on.
    dims
        The dimensions of it that the new layer has.
    spread
        Dimensions along which one entry of the new layer covers this many of the other's.
    """
    scale = np.array(layer.scale, dtype=float)
    translate = np.array(layer.translate, dtype=float)
    for dim, count in spread.items():
        # Centers coincide: the middle of the first entry lies in the middle of those it covers.
        translate[dim] += scale[dim] * (count - 1) / 2
        scale[dim] *= count
    whole = CompositeAffine(
        scale=scale, translate=translate, rotate=layer.rotate, shear=layer.shear, ndim=layer.ndim
    )
    part = whole.set_slice(list(dims))
    # Names that napari made up are left to it: they are numbers, other ones with fewer dimensions.
    is_nameless = layer.axis_labels == _nameless(layer.ndim)
    return {
        "scale": part.scale,
        "translate": part.translate,
        "rotate": part.rotate,
        "shear": part.shear,
        "affine": layer.affine.set_slice(list(dims)),
        "units": [layer.units[dim] for dim in dims],
        "axis_labels": None if is_nameless else [layer.axis_labels[dim] for dim in dims],
    }


def differences(
    labels: Labels, dims: Sequence[int], image: Layer, image_dims: Sequence[int]
) -> str:
    """How the transforms of two layers differ, with the values."""
    found = []
    for name in ("scale", "translate"):
        mine, other = getattr(labels, name)[list(dims)], getattr(image, name)[list(image_dims)]
        if not np.allclose(mine, other):
            found.append(f"{name} {_values(mine)} instead of {_values(other)}")
    units = [str(labels.units[dim]) for dim in dims], [str(image.units[dim]) for dim in image_dims]
    if units[0] != units[1]:
        found.append(f"units {', '.join(units[0])} instead of {', '.join(units[1])}")
    if not np.allclose(_direction(labels, dims), _direction(image, image_dims)):
        found.append("different rotation, shear or affine")
    return "; ".join(found)


def _part(layer: Layer, dims: Sequence[int]) -> NDArray[np.float64]:
    """The matrix from indices to the world along some dimensions."""
    place = CompositeAffine(
        scale=layer.scale,
        translate=layer.translate,
        rotate=layer.rotate,
        shear=layer.shear,
        ndim=layer.ndim,
    )
    # napari applies the affine last, after scale, shear, rotation and translation.
    whole = np.asarray(layer.affine.affine_matrix @ place.affine_matrix, dtype=np.float64)
    kept = [*dims, layer.ndim]
    return whole[np.ix_(kept, kept)]


def _direction(layer: Layer, dims: Sequence[int]) -> NDArray[np.float64]:
    """The linear part with the scale taken out."""
    # So that a difference of scale, which is named by itself, is not named a second time.
    linear: NDArray[np.float64] = _part(layer, dims)[:-1, :-1]
    scale: NDArray[np.float64] = np.asarray(layer.scale, dtype=np.float64)[list(dims)]
    return linear / scale


def _factors(units: Sequence[Any], others: Sequence[Any]) -> list[float]:
    """Lengths in `others` per length in `units`."""
    # Where they do not compare, such as pixels and micrometers, napari takes the bare numbers.
    return [
        float((1.0 * unit).to(other).magnitude) if unit.is_compatible_with(other) else 1.0
        for unit, other in zip(units, others, strict=True)
    ]


def _apply(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    moved: NDArray[np.float64] = points @ matrix[:-1, :-1].T + matrix[:-1, -1]
    return moved


def _nameless(ndim: int) -> tuple[str, ...]:
    return tuple(str(dim) for dim in range(-ndim, 0))


def _values(numbers: NDArray[Any]) -> str:
    return "(" + ", ".join(f"{number:g}" for number in numbers) + ")"
