"""Pairs and files put into the viewer and taken out again, never with painting that was not accepted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary, ref

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels, Layer

from maskloop.errors import MaskloopError
from maskloop.images.image import ArrayLike, Image
from maskloop.ui.layer_images import fit_labels
from maskloop.ui.layers import add_labels, guess_axes
from maskloop.ui.parts.dataset import OpenedPair
from maskloop.ui.parts.pair_rows import short_id
from maskloop.ui.parts.queue import OpenedFile
from maskloop.ui.parts.shown import IMAGE, PAIR, PROJECT, SOURCE
from maskloop.ui.picker import NAMED, Watch

__all__ = ["Shelf"]


class Shelf:
    """Shows one pair or file at a time in a viewer. What a person painted stays until it was accepted.

    Parameters
    ----------
    viewer
        Gets the layers.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._image: Layer | None = None
        self._older: set[Layer] = set()
        self._strokes: WeakKeyDictionary[Layer, int] = WeakKeyDictionary()
        self._accepted: WeakKeyDictionary[Layer, int] = WeakKeyDictionary()
        self._listening: WeakKeyDictionary[Layer, Watch] = WeakKeyDictionary()
        self._layers = Watch(self._listen)
        self._layers.follow([viewer.layers.events.inserted, viewer.layers.events.removed])
        self._listen()

    def close(self, *_gone: object) -> None:
        """Listen no more; the layers stay."""
        self._layers.stop()
        for watch in self._listening.values():
            watch.stop()

    def strokes(self, layer: Layer) -> int:
        """How often was painted on a layer."""
        return self._strokes.get(layer, 0)

    def accept(self, layer: Layer, strokes: int) -> None:
        """The labels were accepted as they were after so many strokes."""
        self._accepted[layer] = strokes

    def is_unsaved(self, layer: Layer) -> bool:
        """Whether something was painted that was not accepted."""
        return self.strokes(layer) > self._accepted.get(layer, 0)

    @property
    def unsaved(self) -> list[Layer]:
        """Masks of the image shown with painting that was not accepted."""
        return [layer for layer in self._masks() if self.is_unsaved(layer)]

    def show_pair(self, opened: OpenedPair, folder: str) -> tuple[Layer, Labels]:
        """Put a pair into the viewer, in place of what was shown before where nothing was painted."""
        before = self._begin()
        image, pair = opened.image, opened.pair
        kept = {PAIR: pair.pair_id, PROJECT: folder}
        name = f"{pair.name or 'pair'} ({short_id(pair.pair_id)})"
        self._image, axes = _add_image(self._viewer, image, image.axes, opened.limits, name, kept)
        drawn = _arrange(opened.labels, pair.mask_axes, axes)
        labels = add_labels(self._viewer, drawn, self._image, name=f"{name} mask", metadata=kept, axes=axes)
        self._take_out(before)
        return self._image, labels

    def show_file(self, opened: OpenedFile) -> Layer:
        """Put an image of the list into the viewer, in place of the one before where nothing was painted."""
        before = self._begin()
        kept: dict[str, Any] = {SOURCE: str(opened.path)}
        if opened.is_named:
            kept[NAMED] = True
        self._image, _ = _add_image(self._viewer, opened.image, opened.axes, opened.limits, opened.path.name, kept)
        self._take_out(before)
        self._viewer.layers.selection.active = self._image
        return self._image

    def _begin(self) -> list[Layer]:
        """What is shown and can go: nothing where something was painted that was not accepted."""
        masks, image = self._masks(), self._image
        self._older = set(self._viewer.layers)
        if image is None or image not in self._viewer.layers or any(self.is_unsaved(layer) for layer in masks):
            return []
        return [*masks, image]

    def _take_out(self, layers: list[Layer]) -> None:
        for layer in layers:
            self._viewer.layers.remove(layer)

    def find(self, pair_id: str, folder: str) -> tuple[Layer, Labels] | None:
        """The layers that show a pair already."""
        shown = [layer for layer in self._viewer.layers if (layer.metadata.get(PAIR), layer.metadata.get(PROJECT)) == (pair_id, folder)]
        images = [layer for layer in shown if not isinstance(layer, Labels)]
        masks = [layer for layer in shown if isinstance(layer, Labels)]
        return (images[-1], masks[-1]) if images and masks else None

    def _masks(self) -> list[Layer]:
        """Masks that came after the image shown and lie on it."""
        image = self._image
        if image is None or image not in self._viewer.layers:
            return []
        axes = guess_axes(image, self._viewer).axes
        newer = [layer for layer in self._viewer.layers if isinstance(layer, Labels) and layer not in self._older]
        return [layer for layer in newer if _lies_on(layer, image, axes)]

    def _listen(self) -> None:
        for layer in self._viewer.layers:
            if isinstance(layer, Labels) and layer not in self._listening:
                self._listening[layer] = _Strokes(self._strokes, layer).watch


class _Strokes:
    """Counts how often was painted on a layer, without keeping the layer."""

    def __init__(self, counts: WeakKeyDictionary[Layer, int], layer: Layer) -> None:
        self._counts, self._layer = counts, ref(layer)
        self.watch = Watch(self._count)
        self.watch.follow([layer.events.paint, layer.events.data])

    def _count(self) -> None:
        layer = self._layer()
        if layer is not None:
            self._counts[layer] = self._counts.get(layer, 0) + 1


def _lies_on(labels: Labels, image: Layer, axes: str | None) -> bool:
    if axes is None:
        return bool(labels.metadata.get(IMAGE) == image.unique_id)
    try:
        fit_labels(labels, image, axes=axes)
    except MaskloopError:
        return False
    return True


def _add_image(
    viewer: ViewerModel, image: Image, axes: str | None, limits: tuple[float, float] | None, name: str, metadata: Mapping[str, Any]
) -> tuple[Layer, str]:
    """Add an image layer; colours that napari cannot show as such become a slider."""
    data, letters = image.data, image.axes
    is_rgb = letters.endswith("C") and image.channels == 3 and image.data.dtype == np.uint8
    if not is_rgb and not letters.endswith("YX"):
        letters = "".join(letter for letter in "TCZYX" if letter in letters)
        data = image.read(letters)
    own = letters[:-1] if is_rgb else letters
    kept = {**metadata, "channel_names": list(image.channel_names)}
    if axes is not None:
        kept["axes"] = letters
    layer = viewer.add_image(
        _showable(data),
        name=name,
        rgb=is_rgb,
        metadata=kept,
        contrast_limits=None if is_rgb else limits,
        scale=[image.pixel_size_um.get(letter, 1.0) for letter in own],
        units=["um" if letter in image.pixel_size_um else "pixel" for letter in own],
    )
    return layer, letters


def _showable(data: ArrayLike) -> Any:
    """Pixels that napari can slice: lazy ones in planes."""
    if isinstance(data, np.ndarray):
        return data
    from dask.array import from_array

    shape = tuple(int(length) for length in data.shape)
    chunks = (*(1 for _ in shape[:-2]), *shape[-2:])
    return from_array(data, chunks=chunks, meta=np.empty((0,) * len(shape), data.dtype), name=False)


def _arrange(labels: np.ndarray[Any, Any], mask_axes: str, axes: str) -> np.ndarray[Any, Any]:
    """Labels in the order of the image's axes."""
    wanted = axes.replace("C", "")
    return np.ascontiguousarray(labels.transpose([mask_axes.index(letter) for letter in wanted])) if mask_axes != wanted else labels
