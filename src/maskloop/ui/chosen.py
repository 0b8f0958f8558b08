"""What of the viewer the person works on: one choice for all tabs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari.layers import Layer
from psygnal import Signal

from maskloop.ui.layers import LayerChoice

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["Chosen", "FurtherChannels"]


class FurtherChannels:
    """Layers that are further channels of the chosen image.

    Parameters
    ----------
    image
        The choice of the first channel. With another image there are none: channels are never
        carried over in silence.
    """

    changed = Signal()
    """Others were chosen, or one that was is gone."""

    def __init__(self, image: LayerChoice) -> None:
        self.layers: list[Layer] = []
        image.changed.connect(lambda _layer: self._set([]))
        image.choices_changed.connect(
            lambda left: self._set(
                [layer for layer in self.layers if any(layer is other for other in left)]
            )
        )

    def choose(self, layer: Layer, is_wanted: bool) -> None:
        """Take a layer as the last channel, or leave it out."""
        self._set([other for other in self.layers if other is not layer] + [layer] * is_wanted)

    def _set(self, layers: list[Layer]) -> None:
        if layers != self.layers:
            self.layers = layers
            self.changed.emit()


@dataclass(frozen=True)
class Chosen:
    """The chosen layers of a viewer.

    The axes that a person names are kept with the layer, as ``layer.metadata["axes"]``.
    """

    viewer: ViewerModel
    image: LayerChoice
    channels: FurtherChannels
    labels: LayerChoice

    @classmethod
    def of(cls, viewer: ViewerModel) -> Chosen:
        """Follow the layers of a viewer."""
        image = LayerChoice(viewer, kind="image")
        return cls(viewer, image, FurtherChannels(image), LayerChoice(viewer, kind="labels"))

    def close(self) -> None:
        """Stop following."""
        self.image.close()
        self.labels.close()
