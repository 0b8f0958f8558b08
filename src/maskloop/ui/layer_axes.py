"""What the dimensions of a layer are, if the layer or the viewer knows; else a person is asked."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any

from napari.components import ViewerModel
from napari.layers import Layer

from maskloop.errors import AxesError
from maskloop.images.axes import parse_axes

__all__ = ["AxesKnown", "guess_axes", "layer_axes", "possible_axes"]

_WORDS = {
    "T": ("t", "time", "times", "timepoint", "timepoints", "frame", "frames"),
    "C": ("c", "channel", "channels", "wavelength"),
    "Z": ("z", "plane", "planes", "depth", "slice", "slices", "section", "sections"),
    "Y": ("y", "row", "rows", "height"),
    "X": ("x", "column", "columns", "col", "width"),
}
_LETTERS = {word: letter for letter, words in _WORDS.items() for word in words}
_USUAL = (
    "ZYX",
    "TYX",
    "CYX",
    "TZYX",
    "CZYX",
    "ZCYX",
    "TCYX",
    "CTYX",
    "ZTYX",
    "TCZYX",
    "TZCYX",
    "CTZYX",
)
"""What microscopes write, most frequent first."""


@dataclass(frozen=True)
class AxesKnown:
    """What is known about the axes of a layer.

    Parameters
    ----------
    axes
        One letter of TCZYX per dimension of the pixels (colors are C); None if a person must
        select one of `choices`.
    choices
        The axes that fit the number of dimensions, most likely first.
    """

    axes: str | None
    choices: tuple[str, ...]


def possible_axes(ndim: int, rgb: bool = False) -> tuple[str, ...]:
    """The axes that fit a number of dimensions.

    Parameters
    ----------
    ndim
        Dimensions as napari counts them, ``layer.ndim``: without the colors of an RGB image.
    rgb
        Whether a dimension of colors comes last.

    Returns
    -------
    axes
        Such as ``("ZYX", "TYX", "CYX")`` for three, most frequent first; empty if none fit.
    """
    if ndim < 2:
        return ()
    # Y and X are always last: napari shows the last two dimensions.
    before = ("".join(letters) for letters in permutations("TZ" if rgb else "TCZ", ndim - 2))
    found = [letters + "YX" for letters in before]
    # Stable, so that unusual ones keep the order of the permutations.
    found.sort(key=lambda axes: _USUAL.index(axes) if axes in _USUAL else len(_USUAL))
    return tuple(axes + "C" * rgb for axes in found)


def guess_axes(layer: Layer, viewer: ViewerModel) -> AxesKnown:
    """The axes of a layer, if the layer or the viewer names them; lengths never decide.

    In this order: ``layer.metadata["axes"]``, the names of the layer's dimensions, two dimensions
    are YX, and the names that a person gave to the sliders.
    """
    rgb = bool(getattr(layer, "rgb", False))
    choices = possible_axes(layer.ndim, rgb)
    metadata = layer.metadata.get("axes")
    if isinstance(metadata, str) and (axes := _complete(metadata, layer)):
        return AxesKnown(axes, choices)
    if axes := _from_names(layer.axis_labels, layer):
        return AxesKnown(axes, choices)
    if layer.ndim == 2:
        return AxesKnown(choices[0], choices)
    names = tuple(viewer.dims.axis_labels[-layer.ndim :])
    axes = _from_names(names, layer)
    # Where both agree, the viewer only repeats the layers, and nobody has named anything.
    if axes and names != tuple(viewer.layers.axis_labels[-layer.ndim :]):
        return AxesKnown(axes, choices)
    # Names that the viewer took from another layer may be wrong for this one: only a first choice.
    return AxesKnown(None, tuple(sorted(choices, key=lambda choice: choice != axes)))


def layer_axes(layer: Layer, axes: str) -> str:
    """Check the axes of a layer; colors get their C.

    Raises
    ------
    AxesError
        If they do not fit the layer.
    """
    rgb = bool(getattr(layer, "rgb", False))
    axes = parse_axes(axes)
    # napari does not count the colors, so people do not name them.
    if rgb and len(axes) == layer.ndim and "C" not in axes:
        axes += "C"
    if len(axes) != layer.ndim + rgb or (rgb and not axes.endswith("C")):
        colors = " and colors" if rgb else ""
        way_out = f"Select one of {', '.join(possible_axes(layer.ndim, rgb))}."
        if layer.ndim > 5:
            way_out = "Reduce the layer to five dimensions."
        raise AxesError(
            f"Axes {axes} do not fit layer '{layer.name}', which has {layer.ndim} dimensions"
            f"{colors}.",
            way_out,
        )
    return axes


def _complete(axes: str, layer: Layer) -> str | None:
    try:
        return layer_axes(layer, axes)
    except AxesError:
        # Metadata of another program, or from before the dimensions of the layer were changed.
        return None


def _from_names(names: Any, layer: Layer) -> str | None:
    """Axes from the names of dimensions, if all are known."""
    letters = [_LETTERS.get(str(name).strip().lower(), "") for name in names]
    # napari shows rows and columns last, so these two need no names; made-up names are numbers.
    for place, letter in ((-2, "Y"), (-1, "X")):
        if len(letters) > 2 and not letters[place] and str(names[place]).lstrip("-").isdigit():
            letters[place] = letter
    return _complete("".join(letters), layer) if all(letters) else None
