"""A form drawn from the fields of a record: limits, choices, and descriptions as tooltips.

Not magicgui's `build_widget`: it drops None, which is "plan it" in our records, and has no editor
for a tuple of any length (measured with magicgui 0.10: also a hundred times slower to build).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo
from qtpy.QtCore import Signal
from qtpy.QtGui import QValidator
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
from maskloop.ui.calm import calm
from maskloop.wording import title_of

__all__ = ["RecordForm"]

AUTOMATIC = "Automatic"
"""What None is called: the value is planned from the data."""
SUFFIXES = {"_s": " s", "_px": " px", "_um": " µm"}
UNLIMITED = 2**31 - 1
DECIMALS = 6


@dataclass(frozen=True)
class _Editor:
    """A widget for one value."""

    widget: QWidget
    read: Callable[[], Any]
    write: Callable[[Any], object]
    changed: Any
    """Qt's signal that a person changed the value."""


class RecordForm(QWidget):
    """One line per field of a record.

    Parameters
    ----------
    kind
        The record. Its fields are choices (`Literal`), numbers with limits, switches, text or
        tuples of numbers, each of them also or None. A field's ``title`` and ``description`` are
        its label and tooltip; ``json_schema_extra={"words": {...}}`` names the options of a choice.
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
        self._editors: dict[str, _Editor] = {}
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for name in fields or kind.model_fields:
            field = kind.model_fields[name]
            editor = self._editors[name] = _editor(name, field)
            # One signal with all values: a record is checked as a whole.
            editor.changed.connect(self._tell)
            label = QLabel(field.title or title_of(name))
            for widget in (editor.widget, label):
                widget.setToolTip(field.description or "")
            editor.widget.setAccessibleName(label.text())
            layout.addRow(label, editor.widget)

    @property
    def editors(self) -> Mapping[str, QWidget]:
        """The widget of each field."""
        return {name: editor.widget for name, editor in self._editors.items()}

    def values(self) -> dict[str, Any]:
        """The values shown."""
        return {name: editor.read() for name, editor in self._editors.items()}

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Show these values without emitting `changed`: no person changed them."""
        # The signals of the form, not those of the editors, which must still draw themselves.
        before = self.blockSignals(True)
        for name, value in values.items():
            self._editors[name].write(value)
        self.blockSignals(before)

    def _tell(self, *_: object) -> None:
        self.changed.emit(self.values())


def _editor(name: str, field: FieldInfo) -> _Editor:
    kind, is_optional = _without_none(field.annotation)
    suffix = next((unit for ending, unit in SUFFIXES.items() if name.endswith(ending)), "")
    if get_origin(kind) is Literal:
        extra = field.json_schema_extra
        words: Any = extra.get("words", {}) if isinstance(extra, dict) else {}
        options = {one: str(words.get(one, title_of(str(one)))) for one in get_args(kind)}
        return _choice({None: AUTOMATIC, **options} if is_optional else options)
    if kind is bool:
        return _choice({None: AUTOMATIC, True: "On", False: "Off"}) if is_optional else _switch()
    if kind is int or kind is float:
        box = _Count() if kind is int else _Number()
        return _number(box, *_limits(field), suffix, is_optional)
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        while get_origin(item) is Annotated:
            item = get_args(item)[0]
        return _numbers(item, is_optional)
    if kind is not str:
        raise TypeError(f"no editor for {name}: {field.annotation}")
    return _text(is_optional)


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """The type of a field, and whether it may also be None."""
    if get_origin(annotation) not in (Union, UnionType):
        return annotation, False
    kinds = [one for one in get_args(annotation) if one is not NoneType]
    kind = kinds[0]
    # Limits of an optional value may stand within the union.
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return kind, True


def _switch() -> _Editor:
    box = QCheckBox()
    return _Editor(box, box.isChecked, box.setChecked, box.toggled)


def _text(is_optional: bool) -> _Editor:
    line = QLineEdit(placeholderText=AUTOMATIC if is_optional else "")

    def read() -> str | None:
        return line.text() or (None if is_optional else "")

    return _Editor(line, read, lambda text: line.setText(text or ""), line.editingFinished)


def _choice(options: Mapping[Any, str]) -> _Editor:
    combo = QComboBox()
    combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    values = list(options)
    combo.addItems(list(options.values()))
    # By place and not by Qt's item data, which turns tuples into lists and knows no None.
    calm(combo)
    return _Editor(
        combo,
        lambda: values[combo.currentIndex()],
        lambda value: combo.setCurrentIndex(values.index(value)),
        combo.currentIndexChanged,
    )


class _Count(QSpinBox):
    """A whole number; nothing typed is the value of the special text."""

    def validate(self, text: str, place: int) -> Any:
        if self.specialValueText() and not text.removesuffix(self.suffix()).strip():
            return QValidator.State.Acceptable, text, place
        return super().validate(text, place)

    def valueFromText(self, text: str) -> int:
        is_empty = not text.removesuffix(self.suffix()).strip()
        return int(self.minimum() if is_empty else super().valueFromText(text))


class _Number(QDoubleSpinBox):
    """A number, shown without zeros at its end; nothing typed is the value of the special text."""

    def validate(self, text: str, place: int) -> Any:
        if self.specialValueText() and not text.removesuffix(self.suffix()).strip():
            return QValidator.State.Acceptable, text, place
        return super().validate(text, place)

    def valueFromText(self, text: str) -> float:
        is_empty = not text.removesuffix(self.suffix()).strip()
        return float(self.minimum() if is_empty else super().valueFromText(text))

    def textFromValue(self, value: float) -> str:
        return f"{value:g}"


def _number(
    box: _Count | _Number, low: float, high: float, suffix: str, is_optional: bool
) -> _Editor:
    step = 1 if isinstance(box, _Count) else 0.05
    kind = type(step)
    # A number counts when it is finished: "1" on the way to "16" would be a change.
    box.setKeyboardTracking(False)
    box.setSuffix(suffix)
    if isinstance(box, _Number):
        box.setDecimals(DECIMALS)
    box.setSingleStep(step)
    # One step below the limit stands for None: Qt shows its minimum as the special text.
    box.setRange(kind(low - step if is_optional else low), kind(high))
    box.setSpecialValueText(AUTOMATIC if is_optional else "")
    calm(box)

    def read() -> float | None:
        return None if is_optional and box.value() < low else box.value()

    def write(value: float | None) -> None:
        box.setValue(box.minimum() if value is None else value)

    if is_optional:
        write(None)
    return _Editor(box, read, write, box.valueChanged)


def _limits(field: FieldInfo) -> tuple[float, float]:
    smallest = 1.0 if _without_none(field.annotation)[0] is int else 10**-DECIMALS
    low, high = -float(UNLIMITED), float(UNLIMITED)
    for limit in field.metadata:
        match limit:
            case Ge(ge=bound):
                low = float(bound)  # type: ignore[arg-type]
            case Gt(gt=bound):
                low = float(bound) + smallest  # type: ignore[arg-type]
            case Le(le=bound):
                high = float(bound)  # type: ignore[arg-type]
            case Lt(lt=bound):
                high = float(bound) - smallest  # type: ignore[arg-type]
    return low, high


class _Numbers(QLineEdit):
    """Numbers in a row, separated by commas or spaces."""

    changed = Signal()

    def __init__(self, kind: type[float], is_optional: bool) -> None:
        super().__init__(placeholderText=AUTOMATIC if is_optional else "")
        self._kind = kind
        self._nothing = None if is_optional else ()
        self.value: tuple[float, ...] | None = self._nothing
        self.editingFinished.connect(self._take)

    def write(self, numbers: Sequence[float] | None) -> None:
        self.value = tuple(numbers or ()) or self._nothing
        self.setText(", ".join(f"{number:g}" for number in numbers or ()))

    def _take(self) -> None:
        before = self.value
        words = self.text().replace(",", " ").replace(";", " ").split()
        try:
            self.write([self._kind(word) for word in words])
        except ValueError:
            # A slip of the keyboard is undone at once: there is no room here to explain it.
            self.write(before)
        if self.value != before:
            self.changed.emit()


def _numbers(kind: type[float], is_optional: bool) -> _Editor:
    line = _Numbers(kind, is_optional)
    return _Editor(line, lambda: line.value, line.write, line.changed)
