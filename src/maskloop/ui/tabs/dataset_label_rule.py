"""What the labels of a mask mean: the rule, and where it needs one a class for each label; wiring only."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from maskloop.ui.controllers.dataset import DatasetController
from maskloop.ui.widgets import narrow_combo

__all__ = ["LabelRuleChoice"]


class LabelRuleChoice(QWidget):
    """Chooses the rule by which masks are saved.

    Parameters
    ----------
    part
        Knows the rules and the labels that are there.
    """

    changed = Signal()
    """The same mask would be saved differently now."""

    def __init__(self, part: DatasetController) -> None:
        super().__init__()
        self.part = part
        self.rule = narrow_combo("Labels mean")
        self.label_map = QTableWidget(0, 2, accessibleName="What each label becomes")
        self.label_map.setHorizontalHeaderLabels(["Label", "becomes"])
        self.label_map.verticalHeader().hide()
        self.label_map.horizontalHeader().setStretchLastSection(True)
        self.label_map.setMaximumHeight(8 * self.fontMetrics().lineSpacing())
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.rule)
        column.addWidget(self.label_map)
        self.rule.activated.connect(lambda place: part.choose_rule(self.rule.itemData(place)))
        part.events.rule_changed.connect(self._show)
        self._show()

    def _show(self) -> None:
        options, present = self.part.rule_options, self.part.rule.mask_mode
        self.rule.clear()
        for option in options:
            self.rule.addItem(option.title, option.mode)
            self.rule.setItemData(
                self.rule.count() - 1, option.tooltip, Qt.ItemDataRole.ToolTipRole
            )
        self.rule.setCurrentIndex([option.mode for option in options].index(present))
        self._show_label_map()
        self.changed.emit()

    def _show_label_map(self) -> None:
        rows, names = self.part.label_rows, self.part.classes.classes.names
        self.label_map.setVisible(bool(rows))
        self.label_map.setRowCount(len(rows))
        for place, (label, target) in enumerate(rows):
            item = QTableWidgetItem(str(label))
            item.setFlags(Qt.ItemFlag.ItemIsEnabled)
            self.label_map.setItem(place, 0, item)
            combo = narrow_combo(f"Label {label} becomes")
            for number, name in ((-1, "choose..."), *enumerate(names)):
                combo.addItem(name, number)
            combo.setCurrentIndex(combo.findData(target))
            combo.activated.connect(
                lambda _, label=label, combo=combo: self.part.map_label(label, combo.currentData())
            )
            self.label_map.setCellWidget(place, 1, combo)
