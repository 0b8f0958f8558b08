"""Choose how labels are read: the rule, and if it needs one, a class for each label."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QTableWidget, QTableWidgetItem, QWidget

from maskloop.ui.arrange import column
from maskloop.ui.choice import Choice
from maskloop.ui.controllers.label_rule import NOT_SAID, LabelRuleController

__all__ = ["LabelRuleChoice"]


class LabelRuleChoice(QWidget):
    """Chooses the rule by which masks are saved.

    Parameters
    ----------
    label_rule
        Knows the rules and the labels of the mask.
    """

    changed = Signal()
    """The same mask would be saved differently now."""

    def __init__(self, label_rule: LabelRuleController) -> None:
        super().__init__()
        self._label_rule = label_rule
        self.rule = Choice("Labels mean")
        self.label_map = QTableWidget(0, 2, accessibleName="Class of each label")
        self.label_map.setHorizontalHeaderLabels(["Label", "Class"])
        self.label_map.verticalHeader().hide()
        self.label_map.horizontalHeader().setStretchLastSection(True)
        self.label_map.setMaximumHeight(8 * self.fontMetrics().lineSpacing())
        column((self.rule, self.label_map), into=self)
        self.rule.chosen.connect(label_rule.choose_rule)
        label_rule.changed.connect(self._show)
        self._show()

    def _show(self) -> None:
        options = [(one.mode, one.title, one.tooltip) for one in self._label_rule.rule_options]
        self.rule.show_options(options, self._label_rule.rule.mask_mode)
        self._show_label_map()
        self.changed.emit()

    def _show_label_map(self) -> None:
        rows, names = self._label_rule.label_rows, self._label_rule.class_names
        self.label_map.setVisible(bool(rows))
        self.label_map.setRowCount(len(rows))
        for place, (label, target) in enumerate(rows):
            item = QTableWidgetItem(str(label))
            # Shown, not edited: labels come from the mask.
            item.setFlags(Qt.ItemFlag.ItemIsEnabled)
            self.label_map.setItem(place, 0, item)
            choice = Choice(f"Class of label {label}", [(NOT_SAID, "choose..."), *enumerate(names)])
            choice.set_value(target)
            choice.chosen.connect(
                lambda class_id, label=label: self._label_rule.map_label(label, class_id)
            )
            self.label_map.setCellWidget(place, 1, choice)
