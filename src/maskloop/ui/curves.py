"""Curves over epochs, in the colors of the theme."""

from __future__ import annotations

from collections.abc import Mapping

import pyqtgraph
from qtpy.QtCore import QEvent
from qtpy.QtGui import QPalette
from qtpy.QtWidgets import QWidget

__all__ = ["Curves"]

CURVES = ("#4aa3df", "#e8a33d", "#5cb85c", "#d9534f", "#9b7fd4", "#8c8c8c")
"""Readable on dark and light themes; different in brightness for people who see no red or green."""


class Curves(pyqtgraph.PlotWidget):
    """Curves over epochs, in the colors of the theme."""

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent, background=None, enableMenu=False)
        # pyqtgraph makes this menu even if menus are disabled, as a window that nobody closes.
        menu = self.getPlotItem().ctrlMenu
        menu.setParent(self, menu.windowFlags())
        self.setAccessibleName(title)
        self.setFixedHeight(150)
        # The wheel scrolls the tab, and not the axis of a plot that lies under the mouse.
        self.setMouseEnabled(x=False, y=False)
        self.hideButtons()
        self.setLabel("left", title)
        # A loss of 0.004 is not 4 m.
        self.getAxis("left").enableAutoSIPrefix(False)
        self.setLabel("bottom", "Epoch")
        self._legend = self.addLegend(offset=(-4, 4), labelTextSize="8pt")
        self._curves: dict[str, pyqtgraph.PlotDataItem] = {}
        self.follow_palette()

    def show_curves(self, curves: Mapping[str, tuple[list[float], list[float]]]) -> None:
        """Show curves by name, as epochs and values, and no others."""
        for name in set(self._curves) - set(curves):
            self.removeItem(self._curves.pop(name))
        for name, (epochs, values) in curves.items():
            if name not in self._curves:
                pen = pyqtgraph.mkPen(CURVES[len(self._curves) % len(CURVES)], width=2)
                self._curves[name] = self.plot(pen=pen, name=name)
            # A single point has no line.
            self._curves[name].setData(epochs, values, symbol="o" if len(epochs) == 1 else None)

    def follow_palette(self) -> None:
        """Draw axes and text in the text color of the theme."""
        color = self.palette().color(QPalette.ColorRole.WindowText)
        for side in ("left", "bottom"):
            axis = self.getAxis(side)
            axis.setPen(color)
            axis.setTextPen(color)
        self._legend.setLabelTextColor(color)
        for _, label in self._legend.items:
            label.setText(label.text, color=color)
        # The view would keep the background of the theme before.
        self.resetCachedContent()

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        is_theme = event.type() in (QEvent.Type.PaletteChange, QEvent.Type.StyleChange)
        # Qt sends the first of these from within `__init__`.
        if is_theme and hasattr(self, "_legend"):
            self.follow_palette()
