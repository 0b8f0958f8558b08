"""Where the pixels of layers lie in the world that the viewer shows, from what the layers say in public."""

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
"""Pixels that lie closer than this count as coinciding; half a pixel is what conventions about a
pixel's centre differ by.
"""


def stray_px(
    layer: Layer, dims: Sequence[int], reference: Layer, reference_dims: Sequence[int]
) -> float:
    """How far the pixels of a layer lie from the pixels with the same indices of another, in pixels of the other, at most.

    Parameters
    ----------
    layer, dims
        A layer, and which of its dimensions are compared.
    reference, reference_dims
        The other layer, and its dimensions in the same order.
    """
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
    """Points of one layer in the pixel indices of another.

    Parameters
    ----------
    points
        One row per point, one column per dimension in `dims`.
    source, dims
        The layer the points are of, and its dimensions that the columns stand for.
    target, target_dims
        The layer whose indices are wanted, and its dimensions in the same order.
    """
    there, here = _part(target, target_dims), _part(source, dims)
    factors = _factors(
        [source.units[dim] for dim in dims], [target.units[dim] for dim in target_dims]
    )
    combined = np.linalg.inv(there) @ np.diag([*factors, 1.0]) @ here
    return _apply(combined, np.asarray(points, dtype=np.float64))


def index_in_view(layer: Layer, axes: str, viewer: ViewerModel) -> dict[str, int]:
    """Where the sliders stand, as indices into a layer along its dimensions that are not displayed.

    Parameters
    ----------
    layer
        A layer of the viewer.
    axes
        One letter per dimension of ``layer.ndim`` (without colours).
    viewer
        Whose sliders are meant.

    Raises
    ------
    UsageError
        If the viewer shows other planes than YX, the layer lies askew to them, or no plane of it is
        in view.
    """
    dims = viewer.dims
    displayed = [
        dim - (dims.ndim - layer.ndim) for dim in dims.displayed if dim >= dims.ndim - layer.ndim
    ]
    shown = "".join(axes[dim] for dim in displayed)
    if not {"Y", "X"} <= set(shown):
        raise UsageError(
            f"The viewer shows {' and '.join(shown)} of '{layer.name}', and a slice to accept has rows Y and columns X.",
            "Change the order of the visible axes (the button below the layer list) until Y and X are shown.",
        )
    factors = (
        _factors(dims.units[-layer.ndim :], layer.units)
        if dims.units is not None
        else [1.0] * layer.ndim
    )
    back = np.linalg.inv(_part(layer, range(layer.ndim))).astype(np.float64)
    points = np.array([dims.point[-layer.ndim :]] * 2, dtype=np.float64) * np.array(
        factors, dtype=np.float64
    )
    points[1, displayed] += 1.0
    here, beside = _apply(back, points)
    hidden = [dim for dim in range(layer.ndim) if dim not in displayed]
    if hidden and np.abs(here - beside)[hidden].max() > 1e-6:
        raise UsageError(
            f"'{layer.name}' is turned out of the plane in view.",
            "Take back its rotation, or accept the whole layer.",
        )
    index = {axes[dim]: round(float(here[dim])) for dim in hidden}
    for dim in hidden:
        length = (
            int(layer.data.shape[dim]) if not layer.multiscale else int(layer.data[0].shape[dim])
        )
        if not 0 <= index[axes[dim]] < length:
            raise UsageError(
                f"'{layer.name}' is not in view: the slider of {axes[dim]} stands at {index[axes[dim]]}, the layer has 0 to {length - 1}.",
                f"Move the slider of {axes[dim]} until the layer is seen.",
            )
    return index


def place_like(layer: Layer, dims: Sequence[int], spread: Mapping[int, int]) -> dict[str, Any]:
    """What puts a new layer exactly on some dimensions of another, as keywords of ``viewer.add_labels``.

    Parameters
    ----------
    layer
        The layer to lie on.
    dims
        Its dimensions that the new layer has.
    spread
        Dimensions along which the new layer has one entry that covers this many of the other's.
    """
    scale, translate = np.array(layer.scale, dtype=float), np.array(layer.translate, dtype=float)
    for dim, count in spread.items():
        translate[dim] += scale[dim] * (count - 1) / 2
        scale[dim] *= count
    whole = CompositeAffine(
        scale=scale, translate=translate, rotate=layer.rotate, shear=layer.shear, ndim=layer.ndim
    )
    part = whole.set_slice(list(dims))
    return {
        "scale": part.scale,
        "translate": part.translate,
        "rotate": part.rotate,
        "shear": part.shear,
        "affine": layer.affine.set_slice(list(dims)),
        "units": [layer.units[dim] for dim in dims],
        "axis_labels": None
        if layer.axis_labels == _nameless(layer.ndim)
        else [layer.axis_labels[dim] for dim in dims],
    }


def differences(
    labels: Labels, dims: Sequence[int], image: Layer, image_dims: Sequence[int]
) -> str:
    """How two layers lie differently, with the values."""
    found = []
    for name in ("scale", "translate"):
        mine, other = getattr(labels, name)[list(dims)], getattr(image, name)[list(image_dims)]
        if not np.allclose(mine, other):
            found.append(f"{name} {_values(mine)} instead of {_values(other)}")
    units = [str(labels.units[dim]) for dim in dims], [str(image.units[dim]) for dim in image_dims]
    if units[0] != units[1]:
        found.append(f"units {', '.join(units[0])} instead of {', '.join(units[1])}")
    if not np.allclose(_direction(labels, dims), _direction(image, image_dims)):
        found.append("another rotation, shear or affine")
    return "; ".join(found)


def _part(layer: Layer, dims: Sequence[int]) -> NDArray[np.float64]:
    """The matrix from indices to the world along some dimensions, without what grid mode adds to show layers side by side."""
    place = CompositeAffine(
        scale=layer.scale,
        translate=layer.translate,
        rotate=layer.rotate,
        shear=layer.shear,
        ndim=layer.ndim,
    )
    whole = np.asarray(layer.affine.affine_matrix @ place.affine_matrix, dtype=np.float64)
    kept = [*dims, layer.ndim]
    return whole[np.ix_(kept, kept)]


def _direction(layer: Layer, dims: Sequence[int]) -> NDArray[np.float64]:
    """The linear part with the scale taken out."""
    linear: NDArray[np.float64] = _part(layer, dims)[:-1, :-1]
    scale: NDArray[np.float64] = np.asarray(layer.scale, dtype=np.float64)[list(dims)]
    return linear / scale


def _factors(units: Sequence[Any], others: Sequence[Any]) -> list[float]:
    """Lengths in `others` per length in `units`; where they do not compare napari takes the bare numbers, and so do we."""
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
