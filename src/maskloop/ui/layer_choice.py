"""The selected layer, which stays selected while layers are added, removed, moved and renamed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Shapes
from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtGui import QPaintEvent, QWheelEvent
from qtpy.QtWidgets import QComboBox, QStyle, QStyleOptionComboBox, QStylePainter, QWidget

__all__ = ["LayerChoice", "LayerCombo", "LayerKind"]

LayerKind = Literal["image", "labels", "shapes"]
_TYPES: dict[LayerKind, type[Any]] = {"image": Image, "labels": Labels, "shapes": Shapes}
_WAYS_OUT: dict[LayerKind, str] = {
    "image": "Open an image first: drag a file onto the window.",
    "labels": 'Open a mask, or create one with "New mask".',
    "shapes": "Add a Shapes layer and draw a rectangle on the image.",
}
_LIST_EVENTS = ("inserted", "removed", "changed", "renamed", "reordered")


class LayerChoice:
    """The selected layer of one viewer; has no widget and changes nothing in the viewer.

    Parameters
    ----------
    viewer
        Whose layers are followed.
    kind
        Which layers can be selected.
    allow
        Whether a layer of this kind can be selected; all can by default.
    prefer
        Whether a layer may be selected without a person's choice; all may by default.
    """

    changed = Signal(object)
    """Another layer is selected; None if there is none."""
    choices_changed = Signal(list)
    """Layers were added, removed, moved or renamed: those to select from, topmost first."""

    def __init__(
        self,
        viewer: ViewerModel,
        *,
        kind: LayerKind = "image",
        allow: Callable[[Layer], bool] | None = None,
        prefer: Callable[[Layer], bool] | None = None,
    ) -> None:
        self.viewer, self.kind = viewer, kind
        self._allow = allow
        self._prefer = prefer or (lambda _layer: True)
        self._awaited: str | None = None
        self._choices = self._find()
        self._names = [layer.name for layer in self._choices]
        self._layer: Layer | None = None
        self._layer = self._fall_back([])
        # Not `reordering` or `inserting`: the list is still as it was then.
        for name in _LIST_EVENTS:
            getattr(viewer.layers.events, name).connect(self._follow)

    @property
    def layer(self) -> Layer | None:
        """The selected layer."""
        return self._layer

    @property
    def choices(self) -> list[Layer]:
        """The layers to select from, in the order of the layer list: topmost first."""
        return list(self._choices)

    def choose(self, layer: Layer | None) -> None:
        """Select a layer; one that is not among the choices is ignored."""
        if layer is None or layer in self._choices:
            self._awaited = None
            self._take(layer)

    def choose_active(self) -> None:
        """Select the active layer of the viewer, if it is among the choices."""
        active = self.viewer.layers.selection.active
        if active is not None:
            self.choose(active)

    def choose_by_name(self, name: str) -> bool:
        """Select the layer of this name, now or when it is added.

        Selecting another layer meanwhile cancels the wait.

        Returns
        -------
        found
            Whether there is such a layer already.
        """
        for layer in self._choices:
            if layer.name == name:
                self.choose(layer)
                return True
        self._awaited = name
        return False

    def close(self) -> None:
        """Stop following the viewer, and emit no more signals."""
        for name in _LIST_EVENTS:
            getattr(self.viewer.layers.events, name).disconnect(self._follow)
        self.changed.disconnect()
        self.choices_changed.disconnect()

    def _find(self) -> list[Layer]:
        kind, allow = _TYPES[self.kind], self._allow or (lambda _layer: True)
        layers = reversed(self.viewer.layers)
        return [layer for layer in layers if isinstance(layer, kind) and allow(layer)]

    def _follow(self, event: Any = None) -> None:
        before, self._choices = self._choices, self._find()
        names, self._names = self._names, [layer.name for layer in self._choices]
        chosen = self._layer
        awaited = next((layer for layer in self._choices if layer.name == self._awaited), None)
        if awaited is not None:
            self._awaited, chosen = None, awaited
        elif chosen is None and before:
            # None of those that were there was wanted: only one that was added now may be.
            added = [layer for layer in self._choices if layer not in before]
            chosen = next(filter(self._prefer, added), None)
        elif chosen not in self._choices:
            chosen = self._fall_back(before)
        previous, self._layer = self._layer, chosen
        # Listeners to either signal look at both: both are final before the first is emitted.
        if names != self._names or before != self._choices:
            self.choices_changed.emit(self.choices)
        # A listener may have selected another layer by now, and said so.
        if previous is not chosen and self._layer is chosen:
            self.changed.emit(chosen)

    def _fall_back(self, before: list[Layer]) -> Layer | None:
        """The active layer if it fits, else the neighbor of the lost one in the list."""
        active = self.viewer.layers.selection.active
        if active in self._choices and self._prefer(active):
            return active
        at = before.index(self._layer) if self._layer in before else 0
        # The one that took its place first, then those before it, from near to far.
        near = [
            *self._choices[at : at + 1],
            *reversed(self._choices[:at]),
            *self._choices[at + 1 :],
        ]
        return next(filter(self._prefer, near), None)

    def _take(self, layer: Layer | None) -> None:
        if layer is not self._layer:
            self._layer = layer
            self.changed.emit(layer)


class LayerCombo(QComboBox):
    """Selects among the layers of a `LayerChoice`, which must be closed first.

    Parameters
    ----------
    choice
        What is shown.
    parent
        The widget that owns this one.
    """

    def __init__(self, choice: LayerChoice, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._choice = choice
        # The name of a file may be wider than the dock.
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(4)
        self.view().setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.activated.connect(self._choose)
        choice.choices_changed.connect(self._fill)
        choice.changed.connect(self._show)
        self._fill(choice.choices)

    def _fill(self, layers: list[Layer]) -> None:
        self.blockSignals(True)
        self.clear()
        for place, layer in enumerate(layers):
            self.addItem(layer.name)
            self.setItemData(place, layer.name, Qt.ItemDataRole.ToolTipRole)
        if not layers:
            # Qt shows nothing at all in an empty combo box.
            self.addItem(f"No {self._choice.kind} layer")
        self.blockSignals(False)
        self.setEnabled(bool(layers))
        self._show(self._choice.layer)

    def _show(self, chosen: Layer | None) -> None:
        choices = self._choice.choices
        # Disabled, it has one entry, which says that there is no layer.
        if self.isEnabled():
            self.setCurrentIndex(choices.index(chosen) if chosen in choices else -1)
        self.setToolTip(chosen.name if chosen is not None else _WAYS_OUT[self._choice.kind])

    def _choose(self, place: int) -> None:
        self._choice.choose(self._choice.choices[place])

    def paintEvent(self, event: QPaintEvent) -> None:
        """Elide the middle of a long name: Qt would cut off its end, which tells files apart."""
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        field = self.style().subControlRect(
            QStyle.ComplexControl.CC_ComboBox, option, QStyle.SubControl.SC_ComboBoxEditField, self
        )
        option.currentText = self.fontMetrics().elidedText(
            self.currentText(), Qt.TextElideMode.ElideMiddle, field.width() - 4
        )
        painter = QStylePainter(self)
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Leave the wheel to the dock."""
        # Who scrolls past must not select another layer by accident.
        event.ignore()
