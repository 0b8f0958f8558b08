"""How drawn labels become labels to train on, and the record of what was done."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from maskloop.records import Record
from maskloop.task import OutputMode, require_mode

__all__ = [
    "TRANSFORMS",
    "LabelSummary",
    "LabelTransform",
    "MaskMode",
    "MaskPreparation",
    "MaskRule",
    "default_rule",
]

MaskMode = Literal[
    "merge_nonzero_to_foreground",
    "keep_labels_as_multiclass",
    "manual_label_map",
    "keep_instances",
    "connected_components",
]
LabelTransform = Literal[
    "nonzero_to_foreground",
    "keep_labels",
    "manual_label_map",
    "keep_instances",
    "connected_components",
]

TRANSFORMS: dict[MaskMode, LabelTransform] = {
    "merge_nonzero_to_foreground": "nonzero_to_foreground",
    "keep_labels_as_multiclass": "keep_labels",
    "manual_label_map": "manual_label_map",
    "keep_instances": "keep_instances",
    "connected_components": "connected_components",
}


class MaskRule(Record):
    """How drawn labels become the labels that are trained on."""

    mask_mode: MaskMode = Field(
        "merge_nonzero_to_foreground",
        description="Meaning of the labels: merge_nonzero_to_foreground (everything drawn is one "
        "class), keep_labels_as_multiclass (class ids), manual_label_map (mapped to class ids), "
        "keep_instances (each label is one object) or connected_components (each connected piece "
        "of the foreground is one object).",
    )
    target_class_name: str = Field(
        "foreground", description="Name of the foreground class, such as nucleus."
    )
    label_map: dict[int, int] = Field(
        default_factory=dict,
        description="Class id of each drawn label; 0 stays background unless it is mapped. For "
        "objects, labels mapped to 0 are background.",
    )
    threshold: float | None = Field(
        None,
        gt=0,
        description="Values of at least this are foreground: for probability maps, and for masks "
        "compressed as JPEG.",
    )
    ignore: int | None = Field(
        None,
        description="Value of pixels that are not annotated, such as 255 or -1: they are left out "
        "of training and scores.",
    )
    annotated: dict[str, tuple[int, int]] = Field(
        default_factory=dict,
        description="The annotated region by axis, first pixel and the one after the last, such as "
        "Y 0 to 100; everything outside is left out. Empty: all of the image.",
    )
    allow_empty: bool = Field(
        False, description="Allow empty masks: images that show nothing to segment."
    )


class LabelSummary(Record):
    """The labels of a mask that has too many to list."""

    count: int = Field(description="Number of different labels, background 0 included.")
    minimum: int
    maximum: int


class MaskPreparation(Record):
    """What was done to a mask; kept with the pair, so that it can be audited."""

    mask_mode: MaskMode
    target_class_name: str = "foreground"
    label_transform: LabelTransform
    source_labels: tuple[int, ...] = Field(
        (), description="Drawn labels, background 0 included; empty where summarized."
    )
    saved_labels: tuple[int, ...] = Field(
        (), description="Saved labels, background 0 included; empty where summarized."
    )
    source_summary: LabelSummary | None = Field(
        None, description="Replaces source_labels if there are more than 64."
    )
    saved_summary: LabelSummary | None = Field(
        None, description="Replaces saved_labels if there are more than 64."
    )
    label_map: dict[int, int] = Field(default_factory=dict)
    ignored_label: int | None = Field(
        None,
        description="Saved label of the pixels that are not annotated; none of saved_labels.",
    )
    is_empty: bool = Field(False, description="Nothing is labeled, and the rule allowed it.")
    notes: tuple[str, ...] = Field(
        (), description="What a person may want to check, such as instances in several parts."
    )


def default_rule(mode: OutputMode) -> MaskRule:
    """The rule that fits an output mode when nobody chose one.

    Raises
    ------
    UsageError
        If there is no such output mode.
    """
    modes: dict[OutputMode, MaskMode] = {
        "binary": "merge_nonzero_to_foreground",
        "multiclass": "keep_labels_as_multiclass",
        "instances": "keep_instances",
    }
    return MaskRule(mask_mode=modes[require_mode(mode)])
