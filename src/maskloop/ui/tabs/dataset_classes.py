"""The classes: colors, names, adding one, and a button to paint each."""

from __future__ import annotations

from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QColorDialog,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from maskloop.ui.actions import Action, ActionButton
from maskloop.ui.chosen import Chosen
from maskloop.ui.controllers.classes import ClassRow
from maskloop.ui.session import Session
from maskloop.ui.widgets import ask

__all__ = ["ClassesSection", "class_colormap"]

OTHERS = "#ff00ff"
"""Color of labels without a class: to be noticed at once."""


class ClassesSection(QWidget):
    """Names, colors and paints classes.

    Parameters
    ----------
    session
        Whose project's classes they are.
    chosen
        The mask layer that is painted on.
    """

    def __init__(self, session: Session, chosen: Chosen) -> None:
        super().__init__()
        self._workspace, self._chosen = session.workspace, chosen
        self._classes = session.classes
        self._shown: tuple[object, ...] = ()
        self.rows: list[tuple[QToolButton, QLineEdit, QPushButton]] = []
        self.grid = QGridLayout()
        self.grid.setColumnStretch(1, 1)
        self.new_name = QLineEdit(
            placeholderText="Name of a new class", accessibleName="Name of a new class"
        )
        self.add_button = ActionButton(Action("Add", self._add, lambda: self._classes.why_not_add))
        adding = QHBoxLayout()
        adding.addWidget(self.new_name, 1)
        adding.addWidget(self.add_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(self.grid)
        column.addLayout(adding)
        self.new_name.returnPressed.connect(self._add)
        self._classes.changed.connect(self._show)
        chosen.labels.changed.connect(self._paint_classes)
        self._show()

    def _show(self) -> None:
        classes = self._classes
        self.add_button.refresh()
        self.new_name.setEnabled(classes.why_not_add is None)
        seen = (classes.rows, classes.why_not_change)
        # A name that is being typed must survive news about something else.
        names = [line.text() for _, line, _ in self.rows if not line.hasFocus()]
        # Making the rows again would drop the keyboard focus.
        if seen != self._shown or not set(names) <= {row.name for row in classes.rows}:
            self._shown = seen
            self._fill()
            self._paint_classes()

    def _fill(self) -> None:
        for widgets in self.rows:
            for widget in widgets:
                self.grid.removeWidget(widget)
                widget.deleteLater()
        self.rows = [self._make(row) for row in self._classes.rows]
        for place, widgets in enumerate(self.rows):
            for column, widget in enumerate(widgets):
                self.grid.addWidget(widget, place, column)

    def _make(self, row: ClassRow) -> tuple[QToolButton, QLineEdit, QPushButton]:
        swatch = QToolButton(
            icon=_swatch(row.color),
            toolTip=f"Choose the color of {row.name}",
            accessibleName=f"Color of {row.name}",
        )
        name = QLineEdit(row.name, accessibleName=f"Name of class {row.class_id}")
        paint = QPushButton(
            f"Paint {row.class_id}", toolTip=f"Paint {row.name} on the selected mask"
        )
        is_free = self._classes.why_not_change is None
        swatch.setEnabled(is_free)
        name.setReadOnly(not is_free)
        swatch.clicked.connect(lambda: self._choose_color(row))
        name.editingFinished.connect(lambda: self._classes.rename(row.class_id, name.text()))
        paint.clicked.connect(lambda: self._paint(row.class_id))
        return swatch, name, paint

    def _choose_color(self, row: ClassRow) -> None:
        color = QColorDialog.getColor(QColor(row.color), self, f"Color of {row.name}")
        if color.isValid():
            self._classes.set_color(row.class_id, color.name())

    def _paint(self, class_id: int) -> None:
        layer = self._chosen.labels.layer
        if layer is None:
            self._workspace.say('There is no mask to paint on yet: press "New mask".')
        else:
            self._chosen.viewer.layers.selection.active = layer
            layer.selected_label = class_id
            layer.mode = "paint"

    def _add(self) -> None:
        name = self.new_name.text().strip()
        care = self._classes.why_care
        if not care or ask(self, f"Add the class {name}?", care, yes="Add"):
            self._classes.add(name)
            self.new_name.clear()

    def _paint_classes(self, _layer: object = None) -> None:
        """Show the selected mask in the colors of the classes, if its labels are classes."""
        layer = self._chosen.labels.layer
        if (
            isinstance(layer, Labels)
            and self._classes.has_colors
            and self._workspace.project is not None
        ):
            wanted = class_colormap(self._classes.rows)
            # Setting a color map redraws the layer.
            if layer.colormap != wanted:
                layer.colormap = wanted


def class_colormap(rows: tuple[ClassRow, ...]) -> DirectLabelColormap:
    """The colors of the classes, for a mask whose labels are classes."""
    colors: dict[int | None, str] = {None: OTHERS, 0: "transparent"}
    return DirectLabelColormap(color_dict=colors | {row.class_id: row.color for row in rows})


def _swatch(color: str) -> QIcon:
    picture = QPixmap(16, 16)
    picture.fill(QColor(color) if QColor(color).isValid() else Qt.GlobalColor.gray)
    return QIcon(picture)
