"""The classes: colours, names, one more, and a button to paint in each."""

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

from maskloop.ui.chosen import Chosen
from maskloop.ui.controllers.classes import ClassesController, ClassRow
from maskloop.ui.session import Session
from maskloop.ui.widgets import ReasonButton, ask

__all__ = ["ClassesSection", "class_colormap"]

OTHERS = "#ff00ff"
"""Labels that no class has: to be seen at once."""


class ClassesSection(QWidget):
    """Names, colours and paints classes.

    Parameters
    ----------
    session
        Whose project's classes they are.
    chosen
        The mask layer that is painted on.
    """

    def __init__(self, session: Session, chosen: Chosen) -> None:
        super().__init__()
        self._session, self._chosen = session, chosen
        self.part: ClassesController = session.dataset.classes
        self._shown: tuple[object, ...] = ()
        self.rows: list[tuple[QToolButton, QLineEdit, QPushButton]] = []
        self.grid = QGridLayout()
        self.grid.setColumnStretch(1, 1)
        self.new_name = QLineEdit(
            placeholderText="Name of a new class", accessibleName="Name of a new class"
        )
        self.add_button = ReasonButton("Add")
        adding = QHBoxLayout()
        adding.addWidget(self.new_name, 1)
        adding.addWidget(self.add_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(self.grid)
        column.addLayout(adding)
        self.add_button.clicked.connect(self._add)
        self.new_name.returnPressed.connect(self._add)
        self.part.events.changed.connect(self._show)
        chosen.labels.changed.connect(self._colour)
        self._show()

    def _show(self) -> None:
        part = self.part
        self.add_button.set_reason(part.why_not_add)
        self.new_name.setEnabled(part.why_not_add is None)
        seen = (part.rows, part.why_not_change)
        # A name that is being typed is not taken away by news about something else.
        names = [line.text() for _, line, _ in self.rows if not line.hasFocus()]
        if seen != self._shown or not set(names) <= {row.name for row in part.rows}:
            self._shown = seen
            self._fill()
            self._colour()

    def _fill(self) -> None:
        for widgets in self.rows:
            for widget in widgets:
                self.grid.removeWidget(widget)
                widget.deleteLater()
        self.rows = [self._make(row) for row in self.part.rows]
        for place, widgets in enumerate(self.rows):
            for column, widget in enumerate(widgets):
                self.grid.addWidget(widget, place, column)

    def _make(self, row: ClassRow) -> tuple[QToolButton, QLineEdit, QPushButton]:
        swatch = QToolButton(
            icon=_swatch(row.colour),
            toolTip=f"Choose the colour of {row.name}",
            accessibleName=f"Colour of {row.name}",
        )
        name = QLineEdit(row.name, accessibleName=f"Name of class {row.class_id}")
        paint = QPushButton(f"Paint {row.class_id}", toolTip=f"Paint {row.name} on the chosen mask")
        is_free = self.part.why_not_change is None
        swatch.setEnabled(is_free)
        name.setReadOnly(not is_free)
        swatch.clicked.connect(lambda: self._choose_colour(row))
        name.editingFinished.connect(lambda: self.part.rename(row.class_id, name.text()))
        paint.clicked.connect(lambda: self._paint(row.class_id))
        return swatch, name, paint

    def _choose_colour(self, row: ClassRow) -> None:
        colour = QColorDialog.getColor(QColor(row.colour), self, f"Colour of {row.name}")
        if colour.isValid():
            self.part.set_colour(row.class_id, colour.name())

    def _paint(self, class_id: int) -> None:
        layer = self._chosen.labels.layer
        if layer is None:
            self._session.say('There is no mask to paint on yet: press "New mask".')
        else:
            self._chosen.viewer.layers.selection.active = layer
            layer.selected_label = class_id
            layer.mode = "paint"

    def _add(self) -> None:
        name = self.new_name.text().strip()
        care = self.part.why_care
        if not care or ask(self, f"Add the class {name}?", care, yes="Add"):
            self.part.add(name)
            self.new_name.clear()

    def _colour(self, _layer: object = None) -> None:
        """Show the chosen mask in the colours of the classes, where its labels are classes."""
        layer = self._chosen.labels.layer
        if (
            isinstance(layer, Labels)
            and self.part.has_colours
            and self._session.project is not None
        ):
            wanted = class_colormap(self.part.rows)
            if layer.colormap != wanted:
                layer.colormap = wanted


def class_colormap(rows: tuple[ClassRow, ...]) -> DirectLabelColormap:
    """The colours of the classes, for a mask whose labels are classes."""
    colours: dict[int | None, str] = {None: OTHERS, 0: "transparent"}
    return DirectLabelColormap(color_dict=colours | {row.class_id: row.colour for row in rows})


def _swatch(colour: str) -> QIcon:
    picture = QPixmap(16, 16)
    picture.fill(QColor(colour) if QColor(colour).isValid() else Qt.GlobalColor.gray)
    return QIcon(picture)
