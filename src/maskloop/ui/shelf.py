"""Pairs and files in the viewer, one at a time; painting that is not accepted is never removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary, ref

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from napari.layers import Labels, Layer
from numpy.typing import NDArray

from maskloop.errors import MaskloopError
from maskloop.images.image import ArrayLike, Image
from maskloop.ui.controllers.pair_rows import short_id
from maskloop.ui.controllers.pairs import OpenedPair
from maskloop.ui.controllers.queue import OpenedFile
from maskloop.ui.layer_images import fit_labels
from maskloop.ui.layer_metadata import IMAGE, PAIR, PROJECT, SOURCE
from maskloop.ui.layers import add_labels, guess_axes
from maskloop.ui.picker import NAMED
from maskloop.ui.watch import Watch

__all__ = ["Shelf", "doubt_of"]

OPAQUE = ("translucent", "translucent_no_depth", "opaque")
HIDES = 0.8
"""Opacity above which little is visible of layers below."""


class Shelf:
    """Shows one pair or file at a time in a viewer; what a person painted stays until accepted.

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
        """Stop listening; the layers stay."""
        self._layers.stop()
        for watch in self._listening.values():
            watch.stop()

    def strokes(self, layer: Layer) -> int:
        """How many strokes were painted on a layer."""
        return self._strokes.get(layer, 0)

    def accept(self, layer: Layer, strokes: int) -> None:
        """Remember that the labels were accepted as they were after so many strokes."""
        self._accepted[layer] = strokes

    def is_unsaved(self, layer: Layer) -> bool:
        """Whether something was painted that is not accepted."""
        return self.strokes(layer) > self._accepted.get(layer, 0)

    @property
    def unsaved(self) -> list[Layer]:
        """Masks on the image shown with painting that is not accepted."""
        return [layer for layer in self._masks() if self.is_unsaved(layer)]

    def show_pair(self, opened: OpenedPair, folder: str) -> tuple[Layer, Labels]:
        """Show a pair instead of what was shown before, unless that was painted on."""
        before = self._begin()
        pair = opened.pair
        name = f"{pair.name or 'pair'} ({short_id(pair.pair_id)})"
        shown = _Shown(
            opened.image,
            opened.image.axes,
            opened.limits,
            name,
            {PAIR: pair.pair_id, PROJECT: folder},
        )
        drawn = _arrange(opened.labels, pair.mask_axes, shown.axes)
        kept = {PAIR: pair.pair_id, PROJECT: folder}
        image = self._put_image(shown, before)
        masks = [layer for layer in before if isinstance(layer, Labels)]
        is_reused = any(image is layer for layer in before) and "C" not in shown.axes
        if is_reused and len(masks) == 1 and masks[0].ndim == drawn.ndim:
            labels = masks[0]
            _exchange_labels(
                labels, drawn, image, name=f"{name} mask", metadata={**kept, "axes": shown.axes}
            )
            self.accept(labels, self.strokes(labels))
        else:
            labels = add_labels(
                self._viewer, drawn, image, name=f"{name} mask", metadata=kept, axes=shown.axes
            )
        self._take_out([layer for layer in before if layer is not image and layer is not labels])
        return image, labels

    def show_file(self, opened: OpenedFile) -> Layer:
        """Show an image of the queue instead of the previous one, unless that was painted on."""
        before = self._begin()
        kept: dict[str, Any] = {SOURCE: str(opened.path)}
        # A person chose these axes: the picker offers to choose others.
        if opened.is_named:
            kept[NAMED] = True
        image = self._put_image(
            _Shown(opened.image, opened.axes, opened.limits, opened.path.name, kept), before
        )
        self._take_out([layer for layer in before if layer is not image])
        self._viewer.layers.selection.active = image
        return image

    def _put_image(self, shown: _Shown, before: list[Layer]) -> Layer:
        """Show an image in the layer of the previous one if possible, else in a new one.

        To add a layer and to remove one takes napari much longer than to change its data.
        """
        old = next((layer for layer in before if not isinstance(layer, Labels)), None)
        if old is not None and not shown.is_rgb and not old.rgb and old.ndim == len(shown.axes):
            shown.exchange(old)
            self._image = old
        else:
            self._image = shown.add(self._viewer)
        return self._image

    def _begin(self) -> list[Layer]:
        """What is shown and can be replaced: nothing if something painted is not accepted."""
        masks, image = self._masks(), self._image
        is_there = image is not None and image in self._viewer.layers
        is_free = is_there and not any(self.is_unsaved(layer) for layer in masks)
        gone = [*masks, image] if is_free else []
        self._older = set(self._viewer.layers) - set(gone)
        return gone

    def _take_out(self, layers: list[Layer]) -> None:
        for layer in layers:
            self._viewer.layers.remove(layer)

    def find(self, pair_id: str, folder: str) -> tuple[Layer, Labels] | None:
        """The layers that show a pair already, or None."""
        shown = [
            layer
            for layer in self._viewer.layers
            if (layer.metadata.get(PAIR), layer.metadata.get(PROJECT)) == (pair_id, folder)
        ]
        # The newest ones: napari may show copies of a layer.
        images = [layer for layer in shown if not isinstance(layer, Labels)]
        masks = [layer for layer in shown if isinstance(layer, Labels)]
        return (images[-1], masks[-1]) if images and masks else None

    def _masks(self) -> list[Layer]:
        """Masks that were added after the image shown and lie on it."""
        image = self._image
        if image is None or image not in self._viewer.layers:
            return []
        axes = guess_axes(image, self._viewer).axes
        newer = [
            layer
            for layer in self._viewer.layers
            if isinstance(layer, Labels) and layer not in self._older
        ]
        return [layer for layer in newer if _lies_on(layer, image, axes)]

    def _listen(self) -> None:
        for layer in self._viewer.layers:
            if isinstance(layer, Labels) and layer not in self._listening:
                self._listening[layer] = _Strokes(self._strokes, layer).watch


class _Strokes:
    """Counts strokes on a layer without keeping the layer alive."""

    def __init__(self, counts: WeakKeyDictionary[Layer, int], layer: Layer) -> None:
        self._counts, self._layer = counts, ref(layer)
        self.watch = Watch(self._count)
        self.watch.follow([layer.events.paint, layer.events.data])

    def _count(self) -> None:
        layer = self._layer()
        if layer is not None:
            self._counts[layer] = self._counts.get(layer, 0) + 1


def doubt_of(labels: Layer, images: Sequence[Layer], viewer: ViewerModel) -> str:
    """Why a mask may belong to another image than the selected one; empty if nothing says so."""
    pair = images[0].metadata.get(PAIR)
    if labels.metadata.get(IMAGE) == images[0].unique_id or (
        pair is not None and labels.metadata.get(PAIR) == pair
    ):
        return ""
    made_for = next(
        (layer for layer in viewer.layers if layer.unique_id == labels.metadata.get(IMAGE)), None
    )
    if made_for is not None and made_for not in images:
        return f"This mask was drawn on '{made_for.name}'."
    over = _hiding(images, viewer)
    return "" if over is None else f"The selected image is hidden by '{over.name}'."


def _hiding(images: Sequence[Layer], viewer: ViewerModel) -> Layer | None:
    """An image that hides these, so that a person may have painted on that one; or None."""
    layers = list(viewer.layers)
    if viewer.canvas.grid.enabled or not images:
        return None  # in a grid they are side by side
    # Later layers are drawn over earlier ones.
    highest = max(layers.index(image) for image in images)
    above = [
        layer
        for layer in layers[highest + 1 :]
        if isinstance(layer, ImageLayer) and layer.visible and layer.opacity > HIDES
    ]
    return next(
        (layer for layer in above if layer.blending in OPAQUE and _overlap(layer, images[0])), None
    )


def _overlap(one: Layer, other: Layer) -> bool:
    """Whether two layers overlap in the image plane."""
    (low, high), (other_low, other_high) = one.extent.world[:, -2:], other.extent.world[:, -2:]
    return bool((low < other_high).all() and (other_low < high).all())


def _lies_on(labels: Labels, image: Layer, axes: str | None) -> bool:
    if axes is None:
        # Without axes nothing tells whether they fit; what they were drawn on does.
        return bool(labels.metadata.get(IMAGE) == image.unique_id)
    try:
        fit_labels(labels, image, axes=axes)
    except MaskloopError:
        return False
    return True


class _Shown:
    """An image as a layer shows it; channels that are no RGB get a slider."""

    def __init__(
        self,
        image: Image,
        axes: str | None,
        limits: tuple[float, float] | None,
        name: str,
        metadata: Mapping[str, Any],
    ) -> None:
        data, letters = image.data, image.axes
        self.is_rgb = letters.endswith("C") and image.channels == 3 and image.data.dtype == np.uint8
        if not self.is_rgb and not letters.endswith("YX"):
            letters = "".join(letter for letter in "TCZYX" if letter in letters)
            data = image.read(letters)
        own = letters[:-1] if self.is_rgb else letters
        self.axes, self.data = letters, _showable(data)
        self.name = name
        self.limits = None if self.is_rgb else limits
        self.metadata = {**metadata, "channel_names": list(image.channel_names)} | (
            {} if axes is None else {"axes": letters}
        )
        self.scale = [image.pixel_size_um.get(letter, 1.0) for letter in own]
        self.units = ["um" if letter in image.pixel_size_um else "pixel" for letter in own]

    def add(self, viewer: ViewerModel) -> Layer:
        """Add a layer for it."""
        return viewer.add_image(
            self.data,
            name=self.name,
            rgb=self.is_rgb,
            metadata=self.metadata,
            contrast_limits=self.limits,
            scale=self.scale,
            units=self.units,
        )

    def exchange(self, layer: Layer) -> None:
        """Show it in a layer that showed another image."""
        layer.data, layer.name = self.data, self.name
        layer.scale, layer.units = self.scale, self.units
        layer.reset_contrast_limits_range()
        if self.limits is not None:
            layer.contrast_limits = self.limits
        else:
            layer.reset_contrast_limits()
        layer.metadata = dict(self.metadata)


def _exchange_labels(
    layer: Labels, labels: NDArray[Any], image: Layer, *, name: str, metadata: Mapping[str, Any]
) -> None:
    """Show labels in a layer that showed others, with an empty history of undo."""
    layer.data, layer.name = labels, name
    layer.scale, layer.units = image.scale, image.units
    mode = layer.mode
    layer.editable = False  # napari forgets the history
    layer.editable = True
    layer.mode = mode
    layer.metadata = dict(metadata)


def _showable(data: ArrayLike) -> Any:
    """Pixels that napari can slice; lazy ones plane by plane."""
    if isinstance(data, np.ndarray):
        return data
    from dask.array import from_array

    shape = tuple(int(length) for length in data.shape)
    # A plane is what napari asks for; larger chunks would read what nobody sees.
    chunks = (*(1 for _ in shape[:-2]), *shape[-2:])
    return from_array(data, chunks=chunks, meta=np.empty((0,) * len(shape), data.dtype), name=False)


def _arrange(labels: NDArray[Any], mask_axes: str, axes: str) -> NDArray[Any]:
    """Labels in the order of the image's axes."""
    wanted = axes.replace("C", "")
    if mask_axes == wanted:
        return labels
    return np.ascontiguousarray(labels.transpose([mask_axes.index(letter) for letter in wanted]))
