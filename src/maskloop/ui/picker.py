"""Which image is meant: its layer, what its dimensions are, and the layers that are its further channels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from napari.layers import Layer
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QMenu,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from maskloop.errors import MaskloopError
from maskloop.ui.chosen import Chosen
from maskloop.ui.layer_images import finest
from maskloop.ui.layers import LayerCombo, guess_axes, to_image

__all__ = ["ImagePicker", "Watch"]

NAMED = "axes_named_by_person"
"""In ``layer.metadata``: the axes there were chosen here, so they can be chosen anew."""
NO_IMAGE = "There is no image layer. Drag an image file onto the window."
_LETTERS = {"T": "time", "C": "channel", "Z": "height", "Y": "row", "X": "column"}


class Watch:
    """Hears some events of napari, others each time it is told to, none when stopped.

    Parameters
    ----------
    heard
        Called without arguments whenever one of the events is told.
    """

    def __init__(self, heard: Callable[[], object]) -> None:
        self._heard = heard
        self._emitters: list[Any] = []

    def follow(self, emitters: Iterable[Any]) -> None:
        """Listen to these events and to no others."""
        self.stop()
        self._emitters = list(emitters)
        for emitter in self._emitters:
            emitter.connect(self._hear)

    def stop(self, *_gone: object) -> None:
        """Listen no more."""
        for emitter in self._emitters:
            emitter.disconnect(self._hear)
        self._emitters = []

    def _hear(self, _event: Any = None) -> None:
        self._heard()


class ImagePicker(QWidget):
    """Chooses an image among the layers, for all tabs, and asks for its axes where nothing tells them.

    Parameters
    ----------
    chosen
        Where the choice is kept; axes that are named are kept in ``layer.metadata["axes"]``.
    parent
        As for any widget.
    """

    changed = Signal()
    """The layer, its axes or its further channels changed."""

    def __init__(self, chosen: Chosen, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._chosen = chosen
        self.combo = LayerCombo(chosen.image)
        self.combo.setAccessibleName("Image")
        self.channels = QToolButton(
            text="+ channels", popupMode=QToolButton.ToolButtonPopupMode.InstantPopup
        )
        self.channels.setMenu(QMenu(self.channels))
        self.axes_combo = QComboBox(
            accessibleName="Axes",
            toolTip="What the dimensions of this image are; the image does not tell.",
        )
        self.axes_combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        row = QHBoxLayout()
        row.addWidget(self.combo, 1)
        row.addWidget(self.channels)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row)
        column.addWidget(self.axes_combo)
        self._watch = Watch(self._show)
        self.destroyed.connect(self._watch.stop)
        self.axes_combo.activated.connect(self._name_axes)
        chosen.image.changed.connect(self._take)
        chosen.image.choices_changed.connect(self._show_lost)
        chosen.channels.changed.connect(self._show)
        self._take()

    def layers(self) -> list[Layer]:
        """The layers of the image, one per channel where there are several; empty when there is none."""
        first = self._chosen.image.layer
        return [] if first is None else [first, *self._chosen.channels.layers]

    def axes(self) -> str | None:
        """The axes of the first layer, None while nobody knows them."""
        layer = self._chosen.image.layer
        return None if layer is None else guess_axes(layer, self._chosen.viewer).axes

    def problem(self) -> str | None:
        """Why the image cannot be used yet, with the way out; None when it can."""
        layers, axes = self.layers(), self.axes()
        if not layers:
            return NO_IMAGE
        if axes is None:
            return f"Choose below '{layers[0].name}' what its {layers[0].ndim} dimensions are."
        try:
            to_image(layers, axes=axes)
        except MaskloopError as error:
            return f"{error.problem} {error.way_out}"
        return None

    def _take(self, _layer: Layer | None = None) -> None:
        """Another image is chosen: its axes are its own."""
        layer = self._chosen.image.layer
        dims = [self._chosen.viewer.dims.events.axis_labels]
        self._watch.follow(
            dims if layer is None else [*dims, layer.events.metadata, layer.events.axis_labels]
        )
        self._show()

    def _show_lost(self, _layers: list[Layer]) -> None:
        self._show()

    def _name_axes(self, place: int) -> None:
        layer, axes = self._chosen.image.layer, self.axes_combo.itemData(place)
        if layer is not None and axes:
            layer.metadata = {**layer.metadata, "axes": axes, NAMED: True}

    def _show(self) -> None:
        self._show_axes()
        self._show_channels()
        self.changed.emit()

    def _show_axes(self) -> None:
        layer = self._chosen.image.layer
        known = None if layer is None else guess_axes(layer, self._chosen.viewer)
        asked = (
            layer is not None
            and known is not None
            and (known.axes is None or bool(layer.metadata.get(NAMED)))
        )
        self.axes_combo.setVisible(asked)
        if layer is None or known is None or not asked:
            return
        self.axes_combo.clear()
        self.axes_combo.addItem("Axes: choose...", None)
        for axes in known.choices:
            self.axes_combo.addItem(f"Axes: {axes}", axes)
            words = ", ".join(_LETTERS[letter] for letter in axes)
            self.axes_combo.setItemData(
                self.axes_combo.count() - 1, words, Qt.ItemDataRole.ToolTipRole
            )
        self.axes_combo.setCurrentIndex(
            max(0, self.axes_combo.findData(known.axes)) if known.axes else 0
        )

    def _show_channels(self) -> None:
        menu, further = self.channels.menu(), self._chosen.channels.layers
        menu.clear()
        for layer in self._possible_channels():
            action = menu.addAction(layer.name)
            action.setCheckable(True)
            action.setChecked(any(layer is other for other in further))
            action.toggled.connect(
                lambda is_wanted, layer=layer: self._chosen.channels.choose(layer, is_wanted)
            )
        self.channels.setVisible(not menu.isEmpty())
        self.channels.setText(f"+{len(further)} channels" if further else "+ channels")
        names = ", ".join(layer.name for layer in further)
        self.channels.setToolTip(
            f"Further channels: {names}"
            if names
            else "Take other layers as further channels of this image"
        )

    def _possible_channels(self) -> list[Layer]:
        """Other layers of the same shape; an image that has channels already takes none."""
        first, axes = self._chosen.image.layer, self.axes()
        if first is None or axes is None or "C" in axes:
            return []
        shape = tuple(finest(first).shape)
        return [
            layer
            for layer in reversed(self._chosen.image.choices)
            if layer is not first and not layer.rgb and tuple(finest(layer).shape) == shape
        ]
