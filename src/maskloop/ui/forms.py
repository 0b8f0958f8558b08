"""A form drawn from the fields of a record: their limits, their choices, their descriptions as tooltips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo
from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QLabel,
    QLineEdit,
    QSizePolicy,
    QSpinBox,
    QWidget,
)

from maskloop.records import Record

__all__ = ["RecordForm", "title_of"]

SUFFIXES = {"_s": " s", "_px": " px", "_um": " µm"}
UNLIMITED = 2**31 - 1
STEP = 0.05
OPEN = "Planned"
"""What a field shows that is left to the plan."""


class RecordForm(QWidget):
    """One line per field of a record.

    Parameters
    ----------
    kind
        The record whose fields are drawn: choices (`Literal`), numbers with limits, switches,
        words, numbers in a row. A field that may be None can be left to the plan.
    fields
        Which ones, in which order; all by default.
    """

    changed = Signal(dict)
    """All values, whenever a person changed one."""

    def __init__(
        self,
        kind: type[Record],
        *,
        fields: Sequence[str] | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.editors: dict[str, QWidget] = {}
        self._readers: dict[str, Callable[[], Any]] = {}
        self._writers: dict[str, Callable[[Any], None]] = {}
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for name in fields or kind.model_fields:
            field = kind.model_fields[name]
            editor = self._editor(name, field)
            label = QLabel(title_of(name))
            for widget in (editor, label):
                widget.setToolTip(field.description or "")
            editor.setAccessibleName(title_of(name))
            self.editors[name] = editor
            layout.addRow(label, editor)

    def values(self) -> dict[str, Any]:
        """What the form says now."""
        return {name: read() for name, read in self._readers.items()}

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Show these values; nobody is told, since no person changed them."""
        before = self.blockSignals(True)
        for name, value in values.items():
            self._writers[name](value)
        self.blockSignals(before)

    def _tell(self, *_: object) -> None:
        self.changed.emit(self.values())

    def _editor(self, name: str, field: FieldInfo) -> QWidget:
        kind, may_be_open = _without_none(field.annotation)
        if get_origin(kind) is Literal:
            return self._choice(name, [*([None] if may_be_open else []), *get_args(kind)])
        if kind is bool:
            box = QCheckBox()
            box.toggled.connect(self._tell)
            return self._keep(name, box, box.isChecked, box.setChecked)
        if kind is int or kind is float:
            return self._number(name, kind, field, may_be_open=may_be_open)
        if get_origin(kind) is tuple:
            return self._numbers(name, may_be_open=may_be_open)
        if kind is not str:
            raise TypeError(f"no editor for {name}: {kind}")
        line = QLineEdit()
        line.editingFinished.connect(self._tell)
        return self._keep(name, line, line.text, line.setText)

    def _keep(
        self, name: str, editor: QWidget, read: Callable[[], Any], write: Callable[[Any], None]
    ) -> QWidget:
        self._readers[name], self._writers[name] = read, write
        return editor

    def _choice(self, name: str, options: Sequence[Any]) -> QWidget:
        combo = QComboBox()
        combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        for option in options:
            combo.addItem(OPEN if option is None else str(option), option)
        combo.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        combo.installEventFilter(_CalmWheel(combo))
        combo.currentIndexChanged.connect(self._tell)
        return self._keep(
            name,
            combo,
            combo.currentData,
            lambda value: combo.setCurrentIndex(list(options).index(value)),
        )

    def _number(self, name: str, kind: type, field: FieldInfo, *, may_be_open: bool) -> QWidget:
        low, high = _limits(field)
        box: Any
        # Left to the plan, it stands one step below the smallest number.
        if kind is int:
            box = QSpinBox(
                minimum=int(max(low, -UNLIMITED)) - may_be_open,
                maximum=int(min(high, UNLIMITED)),
                keyboardTracking=False,
            )
        else:
            box = QDoubleSpinBox(
                minimum=low - STEP * may_be_open,
                maximum=high,
                decimals=3,
                singleStep=STEP,
                keyboardTracking=False,
            )
        if may_be_open:
            box.setSpecialValueText(OPEN)
            box.setValue(box.minimum())
        box.setSuffix(
            next((unit for ending, unit in SUFFIXES.items() if name.endswith(ending)), "")
        )
        box.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        box.installEventFilter(_CalmWheel(box))
        box.valueChanged.connect(self._tell)
        if not may_be_open:
            return self._keep(name, box, box.value, box.setValue)

        def read() -> Any:
            return None if box.value() < low else box.value()

        def write(value: Any) -> None:
            box.setValue(box.minimum() if value is None else value)

        return self._keep(name, box, read, write)

    def _numbers(self, name: str, *, may_be_open: bool) -> QWidget:
        line = QLineEdit()
        line.setPlaceholderText(OPEN if may_be_open else "")
        kept: list[tuple[float, ...] | None] = [None if may_be_open else ()]

        def write(numbers: Sequence[float] | None) -> None:
            kept[0] = None if may_be_open and not numbers else tuple(numbers or ())
            line.setText(", ".join(f"{number:g}" for number in numbers or ()))

        def take() -> None:
            before = kept[0]
            try:
                write(
                    [
                        float(word)
                        for word in line.text().replace(",", " ").replace(";", " ").split()
                    ]
                )
            except ValueError:
                write(before)  # text that is no number changes nothing
            if kept[0] != before:
                self._tell()

        line.editingFinished.connect(take)
        return self._keep(name, line, lambda: kept[0], write)


class _CalmWheel(QObject):
    """The wheel scrolls the tab and changes a value only where a person has clicked into it."""

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if (
            event.type() == QEvent.Type.Wheel
            and isinstance(watched, QWidget)
            and not watched.hasFocus()
        ):
            event.ignore()
            return True
        return False


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """The type of a field, and whether it may also be None."""
    if get_origin(annotation) not in (Union, UnionType):
        return annotation, False
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
    if len(kinds) != 1:
        raise TypeError(f"no editor for {annotation}")
    return kinds[0], True


def _limits(field: FieldInfo) -> tuple[float, float]:
    low, high = -1e12, 1e12
    for limit in field.metadata:
        if isinstance(limit, Ge | Gt):
            low = float(limit.ge if isinstance(limit, Ge) else limit.gt)  # type: ignore[arg-type]
        if isinstance(limit, Le | Lt):
            high = float(limit.le if isinstance(limit, Le) else limit.lt)  # type: ignore[arg-type]
    return low, high


def title_of(name: str) -> str:
    """A field's name as people read it: ``base_channels`` becomes ``Base channels``."""
    for ending in SUFFIXES:
        name = name.removesuffix(ending)
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]
