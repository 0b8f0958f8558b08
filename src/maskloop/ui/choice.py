"""A list of values to choose from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QSizePolicy

from maskloop.ui.calm import calm

__all__ = ["Choice", "Option"]

Option = tuple[Any, str] | tuple[Any, str, str]
"""A value, its words, and its tooltip."""


class Choice(QComboBox):
    """Chooses one of some values; no wider than there is room.

    Parameters
    ----------
    name
        What is chosen, for screen readers.
    options
        Values with their words, and tooltips if these are not enough.
    """

    chosen = Signal(object)
    """The value, when a person chose it."""

    def __init__(self, name: str, options: Iterable[Option] = ()) -> None:
        super().__init__(accessibleName=name)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        # Who scrolls past must not change the axes or the grouping unnoticed.
        calm(self)
        self._add(options)
        # `activated`, not `currentIndexChanged`: only a person's choice counts.
        self.activated.connect(lambda place: self.chosen.emit(self.itemData(place)))

    @property
    def value(self) -> Any:
        """What is chosen."""
        return self.currentData()

    def show_options(self, options: Iterable[Option], chosen: Any) -> None:
        """Show other options; a list that is open stays open if its values are the same."""
        options = list(options)
        if [self.itemData(place) for place in range(self.count())] != [one[0] for one in options]:
            self.clear()
            self._add(options)
        for place, one in enumerate(options):
            # Setting the same text would still redraw an open list.
            if self.itemText(place) != one[1]:
                self.setItemText(place, one[1])
        self.set_value(chosen)
        self.setToolTip(self.currentText())

    def set_value(self, value: Any) -> None:
        """Show that this value is chosen."""
        # Not `findData`: it compares None with nothing and tuples with lists.
        values = [self.itemData(place) for place in range(self.count())]
        self.setCurrentIndex(values.index(value))

    def _add(self, options: Iterable[Option]) -> None:
        for value, words, *tooltip in options:
            self.addItem(words, value)
            if tooltip:
                self.setItemData(self.count() - 1, tooltip[0], Qt.ItemDataRole.ToolTipRole)
