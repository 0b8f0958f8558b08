"""The layers of the viewer that a person works on, the same for all tabs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari.layers import Layer
from psygnal import Signal

from maskloop.ui.belonging import belongs
from maskloop.ui.layers import LayerChoice

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["Chosen", "FurtherChannels"]


class FurtherChannels:
    """Layers that are further channels of the selected image.

    Parameters
    ----------
    image
        Selects the first channel. Selecting another image clears the further ones: they would be
        those of the image before.
    """

    changed = Signal()
    """Others were selected, or one of them was removed."""

    def __init__(self, image: LayerChoice) -> None:
        self.layers: list[Layer] = []
        image.changed.connect(lambda _layer: self._set([]))
        image.choices_changed.connect(self._drop)

    def choose(self, layer: Layer, is_wanted: bool) -> None:
        """Add a layer as the last channel, or leave it out."""
        others = [other for other in self.layers if other is not layer]
        self._set([*others, layer] if is_wanted else others)

    def _drop(self, left: list[Layer]) -> None:
        self._set([layer for layer in self.layers if layer in left])

    def _set(self, layers: list[Layer]) -> None:
        if layers != self.layers:
            self.layers = layers
            self.changed.emit()


@dataclass(frozen=True)
class Chosen:
    """The selected layers of a viewer.

    The axes that a person selects are kept in ``layer.metadata["axes"]``.
    """

    viewer: ViewerModel
    image: LayerChoice
    channels: FurtherChannels
    labels: LayerChoice

    @classmethod
    def of(cls, viewer: ViewerModel) -> Chosen:
        """Follow the layers of a viewer."""
        image = LayerChoice(viewer, kind="image")
        labels = LayerChoice(viewer, kind="labels", prefer=lambda mask: _may_be_on(image, mask))
        image.changed.connect(lambda shown: _bring_mask(labels, shown))
        return cls(viewer, image, FurtherChannels(image), labels)

    def close(self) -> None:
        """Stop following."""
        self.image.close()
        self.labels.close()


def _may_be_on(image: LayerChoice, mask: Layer) -> bool:
    return image.layer is None or belongs(mask, image.layer) is not False


def _bring_mask(labels: LayerChoice, image: Layer | None) -> None:
    """Select the mask of an image that was selected, if there is one."""
    if image is None or (labels.layer is not None and belongs(labels.layer, image) is not False):
        return
    own = next((mask for mask in labels.choices if belongs(mask, image)), None)
    # Without one the selection stays: accepting it asks, and names the image it was drawn on.
    if own is not None:
        labels.choose(own)
