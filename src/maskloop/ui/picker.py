"""Which image a person works on: its layer, its axes, and the layers that are further channels."""

from __future__ import annotations

from napari.layers import Layer
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QMenu,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from maskloop.errors import MaskloopError
from maskloop.ui.choice import Choice, Option
from maskloop.ui.chosen import Chosen
from maskloop.ui.layer_images import finest
from maskloop.ui.layers import LayerCombo, guess_axes, to_image
from maskloop.ui.watch import Watch

__all__ = ["ImagePicker"]

NAMED = "axes_named_by_person"
"""In ``layer.metadata``: a person selected the axes there, and can select others."""
NO_IMAGE = "No image layer. Drag an image file onto the window."
_LETTERS = {"T": "time", "C": "channel", "Z": "plane", "Y": "row", "X": "column"}


class ImagePicker(QWidget):
    """Selects an image for all tabs, and asks for its axes if they are not known.

    Parameters
    ----------
    chosen
        Keeps what is selected; axes are kept in ``layer.metadata["axes"]``.
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
        self.axes_combo = Choice("Axes")
        row = QHBoxLayout()
        row.addWidget(self.combo, 1)
        row.addWidget(self.channels)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row)
        column.addWidget(self.axes_combo)
        self._watch = Watch(self._show)
        # The layers outlive the widget: an event after that would call into what Qt has deleted.
        self.destroyed.connect(self._watch.stop)
        self.axes_combo.chosen.connect(self._name_axes)
        chosen.image.changed.connect(self._take)
        chosen.image.choices_changed.connect(self._show_others)
        chosen.channels.changed.connect(self._show)
        self._take()

    def layers(self) -> list[Layer]:
        """The layers of the image, one per channel if there are several; empty if there is none."""
        first = self._chosen.image.layer
        return [] if first is None else [first, *self._chosen.channels.layers]

    def axes(self) -> str | None:
        """The axes of the first layer, or None if they are not known."""
        layer = self._chosen.image.layer
        return None if layer is None else guess_axes(layer, self._chosen.viewer).axes

    def problem(self) -> str | None:
        """Why the image cannot be used yet, with the way out, or None if it can."""
        layers, axes = self.layers(), self.axes()
        if not layers:
            return NO_IMAGE
        if axes is None:
            return f"Select the axes of '{layers[0].name}' ({layers[0].ndim} dimensions) below it."
        # Reads no pixels, so that it may be asked whenever something changes.
        try:
            to_image(layers, axes=axes)
        except MaskloopError as error:
            return f"{error.problem} {error.way_out}"
        return None

    def _take(self, _layer: Layer | None = None) -> None:
        """Follow the axes of another image."""
        layer = self._chosen.image.layer
        emitters = [self._chosen.viewer.dims.events.axis_labels]
        if layer is not None:
            emitters += [layer.events.metadata, layer.events.axis_labels]
        self._watch.follow(emitters)
        self._show()

    def _show_others(self, _layers: list[Layer]) -> None:
        self._show()

    def _name_axes(self, axes: str | None) -> None:
        layer = self._chosen.image.layer
        if layer is not None and axes:
            # A new dictionary: napari emits its event for an assignment only.
            layer.metadata = {**layer.metadata, "axes": axes, NAMED: True}

    def _show(self) -> None:
        self._show_axes()
        self._show_channels()
        self.changed.emit()

    def _show_axes(self) -> None:
        layer = self._chosen.image.layer
        self.axes_combo.hide()
        if layer is None:
            return
        known = guess_axes(layer, self._chosen.viewer)
        # What a file says is not asked, and cannot be changed here.
        if known.axes is not None and not layer.metadata.get(NAMED):
            return
        options: list[Option] = [(None, "Axes: select...")]
        for axes in known.choices:
            words = ", ".join(_LETTERS[letter] for letter in axes)
            options.append((axes, f"Axes: {axes}", words))
        # Always one of the choices, unless a script wrote the metadata.
        self.axes_combo.show_options(options, known.axes if known.axes in known.choices else None)
        self.axes_combo.setToolTip("The axes of this image, which its file does not name")
        self.axes_combo.show()

    def _show_channels(self) -> None:
        menu, further = self.channels.menu(), self._chosen.channels.layers
        menu.clear()
        for layer in self._possible_channels():
            # A menu and not a list: several can be selected, and it needs no room.
            action = menu.addAction(layer.name)
            action.setCheckable(True)
            action.setChecked(layer in further)
            action.toggled.connect(
                lambda is_wanted, layer=layer: self._chosen.channels.choose(layer, is_wanted)
            )
        self.channels.setVisible(not menu.isEmpty())
        count = "" if not further else f"{len(further)} "
        self.channels.setText(f"+ {count}channel{'' if len(further) == 1 else 's'}")
        words = "Use other layers as further channels of this image"
        if further:
            words = f"Further channels: {', '.join(layer.name for layer in further)}"
        self.channels.setToolTip(words)

    def _possible_channels(self) -> list[Layer]:
        """Other layers of the same shape; none if the image itself has channels."""
        first, axes = self._chosen.image.layer, self.axes()
        if first is None or axes is None or "C" in axes:
            return []
        # The topmost first, as in the layer list; RGB has channels of its own.
        shape = tuple(finest(first).shape)
        return [
            layer
            for layer in reversed(self._chosen.image.choices)
            if layer is not first and not layer.rgb and tuple(finest(layer).shape) == shape
        ]
