"""The task: what to segment. A project keeps it, and every model serves it.

The task knows no network, no file and no folder; it is the one place for output modes and class
names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator

from maskloop.errors import UsageError
from maskloop.records import Record

__all__ = ["BACKGROUND", "MODES", "OutputMode", "Task", "require_mode"]

OutputMode = Literal["binary", "multiclass", "instances"]
MODES: tuple[OutputMode, ...] = get_args(OutputMode)
BACKGROUND = "background"
MOST_CLASSES = 1023
"""Classes besides the background."""


def require_mode(mode: str) -> OutputMode:
    """A word as an output mode.

    Raises
    ------
    UsageError
        If there is no such mode.
    """
    for known in MODES:
        if mode == known:
            return known
    raise UsageError(f"Output mode '{mode}' does not exist.", f"Select one of {', '.join(MODES)}.")


class Task(Record):
    """What to segment: foreground and background, several classes, or individual objects."""

    mode: OutputMode = Field(
        "binary",
        description="binary (foreground and background), multiclass (several classes) or instances "
        "(individual objects).",
    )
    classes: tuple[str, ...] = Field(
        (), validate_default=True, description="Names of the classes 1, 2, ...; background is 0."
    )
    channels: int | None = Field(
        None, ge=1, le=1024, description="Channels of the images; left open, those of the data."
    )

    @field_validator("classes")
    @classmethod
    def _complete(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        """With one class there is nothing to tell apart: a name may be left out."""
        if not names and info.data.get("mode") != "multiclass":
            return ("foreground",)
        return tuple(name.strip() for name in names)

    @model_validator(mode="after")
    def _agree(self) -> Task:
        fault = _fault(self.mode, self.classes)
        if fault is not None:
            raise ValueError(fault[0])
        return self

    @classmethod
    def named(
        cls, mode: str, classes: Sequence[str] | None = None, *, channels: int | None = None
    ) -> Task:
        """A task as a person describes it, refused in words where it cannot be.

        Parameters
        ----------
        mode
            binary, multiclass or instances.
        classes
            Names of the classes without the background; may be left out where there is one class.
        channels
            Channels of the images; None: those of the data.

        Raises
        ------
        UsageError
            If mode and classes do not fit each other.
        """
        known = require_mode(mode)
        names = tuple(name.strip() for name in classes or ())
        # Before the record is made, whose error would be pydantic's and without a way out.
        fault = _fault(known, names or (("foreground",) if known != "multiclass" else ()))
        if fault is not None:
            raise UsageError(*fault)
        return cls(mode=known, classes=names, channels=channels)

    @classmethod
    def of_description(cls, description: Mapping[str, Any]) -> Task:
        """The task in the description of a network as folders up to version 2 keep it.

        There the task stood beside the network: ``output_mode``, ``num_classes`` and
        ``class_labels``. The channels stood there too, but no record tells whether a person or the
        data chose them.
        """
        mode = next((one for one in MODES if one == description.get("output_mode")), "binary")
        labels = description.get("class_labels")
        labels = labels if isinstance(labels, Mapping) else {}
        count = 2
        if mode == "multiclass":
            stated = description.get("num_classes")
            count = max(2, len(labels), stated if isinstance(stated, int) else 0)
        names: list[str] = []
        for number in range(1, count):
            usual = "foreground" if count == 2 else f"class_{number}"
            name = str(labels.get(str(number)) or "").strip() or usual
            # Two classes of one name could be drawn in those programs.
            names.append(f"{name}_{number}" if name in names else name)
        return cls(mode=mode, classes=tuple(names))

    @property
    def num_classes(self) -> int:
        """How many classes there are, background included."""
        return len(self.classes) + 1

    @property
    def class_names(self) -> dict[int, str]:
        """Class id to name, background 0 included."""
        return dict(enumerate((BACKGROUND, *self.classes)))

    @property
    def class_labels(self) -> dict[str, str]:
        """The same with the ids as text, as JSON keeps it."""
        return {str(number): name for number, name in self.class_names.items()}


def _fault(mode: OutputMode, classes: Sequence[str]) -> tuple[str, str] | None:
    """Why there is no such task, and what to do; None where there is."""
    if mode == "multiclass" and not classes:
        return (
            "A multiclass project needs the names of its classes.",
            "Name them without the background (--classes axon,myelin).",
        )
    if mode != "multiclass" and len(classes) > 1:
        return (
            f"A project of mode {mode} has one class besides the background, not {len(classes)}.",
            "Use mode multiclass, or name one class.",
        )
    if len(classes) > MOST_CLASSES:
        return (
            f"{len(classes)} classes were named; at most {MOST_CLASSES} are possible.",
            "Use mode instances if each object has its own number.",
        )
    if len(set(classes)) != len(classes) or not all(classes):
        return (
            f"The class names {list(classes)} must all be different and not empty.",
            "Give each class its own name.",
        )
    return None
