"""Pairs and files in the viewer, one at a time; painting that is not accepted is never removed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary, WeakSet, ref

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from napari.layers import Labels, Layer
from numpy.typing import NDArray

from maskloop.errors import MaskloopError
from maskloop.images.image import ArrayLike, Image
from maskloop.ui.belonging import belongs, key_of
from maskloop.ui.controllers.pair_rows import short_id
from maskloop.ui.controllers.pairs import OpenedPair
from maskloop.ui.controllers.queue import OpenedFile
from maskloop.ui.layer_images import fit_labels
from maskloop.ui.layer_metadata import IMAGE, PAIR, PROJECT, SHOWN, SOURCE
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
    painted_on
        The image that a person paints on now: what is painted belongs to it.
    """

    def __init__(
        self, viewer: ViewerModel, painted_on: Callable[[], Layer | None] = lambda: None
    ) -> None:
        self._viewer, self._painted_on = viewer, painted_on
        self._image: Layer | None = None
        self._older: set[Layer] = set()
        self._shown: WeakSet[Layer] = WeakSet()
        """Images that were shown here, and not opened by the person."""
        self._opened_for: WeakKeyDictionary[Layer, str] = WeakKeyDictionary()
        """Folder of the project that was open, for layers that stayed when it was left."""
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

    def leave(self, folder: str) -> list[Layer]:
        """Take what was shown of a project out; returns masks kept because of their painting."""
        images = [layer for layer in self._viewer.layers if layer in self._shown]
        kept = [draft for image in images for draft in self._drafts(image)]
        free = [image for image in images if not self._drafts(image)]
        masks = [layer for layer in self._viewer.layers if isinstance(layer, Labels)]
        self._take_out([mask for mask in masks if any(belongs(mask, one) for one in free)])
        self._take_out(free)
        self._image = None
        for layer in self._viewer.layers:
            self._opened_for.setdefault(layer, folder)
        return kept

    def other_project(self, layers: Sequence[Layer], folder: str) -> str | None:
        """The folder of another project that was open when these layers were; None if none was."""
        folders = [self._opened_for.get(layer, folder) for layer in layers]
        return next((one for one in folders if one != folder), None)

    def agree(self, layers: Sequence[Layer]) -> None:
        """These layers are meant for the project that is open now, too."""
        for layer in layers:
            self._opened_for.pop(layer, None)

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
        self.bring(image, labels)
        return image, labels

    def show_file(self, opened: OpenedFile) -> Layer:
        """Show an image of the queue instead of the previous one, unless that was painted on."""
        before = self._begin()
        kept: dict[str, Any] = {SOURCE: str(opened.path)}
        # A person chose these axes: the picker offers to choose others.
        if opened.is_named:
            kept[NAMED] = True
        image = self._kept_image(kept[SOURCE], before)
        if image is None:
            image = self._put_image(
                _Shown(opened.image, opened.axes, opened.limits, opened.path.name, kept), before
            )
        self._image = image
        self._take_out([layer for layer in before if layer is not image])
        self.bring(image, self.own_mask(image))
        self._viewer.layers.selection.active = self.own_mask(image) or image
        return image

    def _kept_image(self, source: str, before: list[Layer]) -> Layer | None:
        """The layer of a file that stayed because its mask is not accepted yet, or None."""
        shown = [layer for layer in self._viewer.layers if layer.metadata.get(SOURCE) == source]
        return next((layer for layer in shown if layer not in before and self._drafts(layer)), None)

    def _drafts(self, image: Layer) -> list[Layer]:
        """Masks that were made on an image and are not accepted."""
        masks = [layer for layer in self._viewer.layers if isinstance(layer, Labels)]
        return [mask for mask in masks if belongs(mask, image) and self.is_unsaved(mask)]

    def own_mask(self, image: Layer) -> Layer | None:
        """The newest mask that was made on an image; None if there is none."""
        masks = [layer for layer in reversed(self._viewer.layers) if isinstance(layer, Labels)]
        return next((mask for mask in masks if belongs(mask, image)), None)

    def bring(self, image: Layer, mask: Layer | None) -> None:
        """Make an image and its mask visible, and hide masks and images of others."""
        for layer in self._viewer.layers:
            if layer in (image, mask):
                layer.visible = True
            elif isinstance(layer, Labels):
                # Painting on the mask of another image would spoil it unnoticed.
                layer.visible = layer.visible and belongs(layer, image) is not False
            elif layer in self._shown:
                layer.visible = False

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
        self._shown.add(self._image)
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
        masks = [layer for layer in self._viewer.layers if isinstance(layer, Labels)]
        newer = [layer for layer in masks if layer not in self._older]
        fitting = [layer for layer in newer if _lies_on(layer, image, axes)]
        # One that was made on it stays with it, even if its shape is another.
        return fitting + [
            layer for layer in masks if layer not in fitting and belongs(layer, image)
        ]

    def _listen(self) -> None:
        for layer in self._viewer.layers:
            if isinstance(layer, Labels) and layer not in self._listening:
                self._listening[layer] = _Strokes(self._strokes, layer, self._claim).watch

    def _claim(self, mask: Layer) -> None:
        """A mask that napari or a script made belongs to the image on which it is painted first."""
        image = self._painted_on()
        if image is None or IMAGE in mask.metadata or PAIR in mask.metadata:
            return
        # Under another image, a person may have meant that one: accepting asks.
        if belongs(mask, image) is None and _hiding([image], self._viewer) is None:
            mask.metadata = {**mask.metadata, IMAGE: key_of(image)}


class _Strokes:
    """Counts strokes on a layer without keeping the layer alive."""

    def __init__(
        self,
        counts: WeakKeyDictionary[Layer, int],
        layer: Layer,
        claim: Callable[[Layer], None],
    ) -> None:
        self._counts = counts
        self._layer = ref(layer)
        self._claim = claim
        self.watch = Watch(self._count)
        self.watch.follow([layer.events.paint, layer.events.data])

    def _count(self) -> None:
        layer = self._layer()
        if layer is not None:
            self._counts[layer] = self._counts.get(layer, 0) + 1
            self._claim(layer)


def doubt_of(labels: Layer, images: Sequence[Layer], viewer: ViewerModel) -> str:
    """Why a mask may belong to another image than the selected one; empty if nothing says so."""
    if any(belongs(labels, image) for image in images):
        return ""
    if belongs(labels, images[0]) is False and "image_ids" not in labels.metadata:
        others = [layer for layer in viewer.layers if isinstance(layer, ImageLayer)]
        made_for = next((layer for layer in others if belongs(labels, layer)), None)
        name = "another image" if made_for is None else f"'{made_for.name}'"
        return f"This mask was drawn on {name}."
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
        return bool(labels.metadata.get(IMAGE) == key_of(image))
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
        # Masks of what it showed before are not masks of this image.
        layer.metadata = {**self.metadata, SHOWN: str(uuid4())}


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
