"""What of the viewer the person works on: one choice for all tabs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from maskloop.ui.layers import LayerChoice

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["Chosen"]


@dataclass(frozen=True)
class Chosen:
    """The chosen layers of a viewer. The axes that a person names are kept with the layer, as ``layer.metadata["axes"]``."""

    viewer: ViewerModel
    image: LayerChoice
    labels: LayerChoice

    @classmethod
    def of(cls, viewer: ViewerModel) -> Chosen:
        """Follow the layers of a viewer."""
        return cls(viewer, LayerChoice(viewer, kind="image"), LayerChoice(viewer, kind="labels"))

    def close(self) -> None:
        """Stop following."""
        self.image.close()
        self.labels.close()
