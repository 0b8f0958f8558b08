"""What the labels of a mask mean, and in words what will be saved, before it is accepted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from maskloop.errors import MaskError
from maskloop.images.image import Image
from maskloop.images.masks import MaskMode, MaskRule, foresee_mask
from maskloop.task import Task
from maskloop.wording import counted, without_commands

__all__ = ["Classes", "Description", "RuleOption", "describe", "rule_options"]

MOST = 4
"""Up to this many labels or classes are named one by one."""


@dataclass(frozen=True)
class Classes:
    """What a project segments."""

    mode: str = "binary"
    names: tuple[str, ...] = ("background", "foreground")
    """By class id."""

    @classmethod
    def of(cls, task: Task | None) -> Classes:
        """The classes of a project's task."""
        return cls() if task is None else cls(task.mode, tuple(task.class_names.values()))

    def name(self, class_id: int) -> str:
        """What a class is called."""
        return self.names[class_id] if 0 <= class_id < len(self.names) else f"class {class_id}"


@dataclass(frozen=True)
class RuleOption:
    """A way of reading what was drawn."""

    mode: MaskMode
    title: str
    tooltip: str


@dataclass(frozen=True)
class Description:
    """What would be saved."""

    words: str
    is_fine: bool = True
    """Whether it would be accepted without a question."""
    labels: tuple[int, ...] = ()
    """Labels that were drawn, without the background."""


def rule_options(classes: Classes) -> list[RuleOption]:
    """The rules that fit the task of a project, the usual one first."""
    mapped = RuleOption(
        "manual_label_map", "Choose for each label", "Choose below which class each label becomes"
    )
    if classes.mode == "instances":
        return [
            RuleOption(
                "keep_instances",
                "Each label is one object",
                "Labels are renumbered: 1, 2, 3 ...",
            ),
            RuleOption(
                "connected_components",
                "Each separate piece is one object",
                "For masks that only tell foreground from background; pieces are numbered",
            ),
        ]
    if classes.mode == "multiclass":
        return [
            RuleOption(
                "keep_labels_as_multiclass",
                "Labels are the classes",
                "Label 1 is class 1, label 2 is class 2 ...",
            ),
            mapped,
        ]
    title = f"All labels are {classes.name(1)}"
    return [
        RuleOption("merge_nonzero_to_foreground", title, "Every label except 0 becomes this class"),
        mapped,
    ]


def describe(labels: Image, rule: MaskRule, classes: Classes) -> Description:
    """Describe what accepting a mask would save.

    Parameters
    ----------
    labels
        As drawn; read plane by plane, so that a stack on disk is never whole in memory.
    rule
        What the labels mean.
    classes
        Of the project.
    """
    drawn: tuple[int, ...] = ()
    try:
        found = _find_labels(labels, rule.ignore)
        drawn = tuple(label for label in found if label)
        if not drawn:
            return Description("The mask is empty.", is_fine=False)
        # Each label once stands for the whole mask: the rule looks at no pixel's neighbors.
        saved = foresee_mask(
            np.array([found]), rule, num_classes=len(classes.names), name=labels.name
        )
    except MaskError as error:
        return Description(
            without_commands(f"{error.problem} {error.way_out}"), is_fine=False, labels=drawn
        )
    return Description(_sentence(saved, rule, classes), any(saved.values()), drawn)


def _find_labels(labels: Image, ignore: int | None) -> list[int]:
    # The rule that keeps all labels also checks that they are whole numbers.
    every = MaskRule(mask_mode="keep_instances", ignore=ignore)
    if len(labels.shape) < 3:
        return list(foresee_mask(labels.read(), every, name=labels.name))
    found: set[int] = set()
    for place in range(labels.shape[0]):
        found.update(foresee_mask(np.asarray(labels.data[place]), every, name=labels.name))
    return sorted(found)


def _sentence(saved: Mapping[int, int], rule: MaskRule, classes: Classes) -> str:
    drawn = [label for label in saved if label]
    # Objects are renumbered on saving, so that only their count says something.
    if rule.mask_mode == "keep_instances":
        return f"{counted(len(drawn), 'object')} will be saved."
    if rule.mask_mode == "connected_components":
        return "Each separate piece will be saved as one object."
    if rule.mask_mode == "keep_labels_as_multiclass":
        names = [f"{classes.name(label)} ({label})" for label in drawn]
        return f"{_upper(_listed(names))} will be saved."
    if rule.mask_mode == "merge_nonzero_to_foreground":
        return f"{_upper(_name_labels(drawn))} will be saved as {classes.name(1)}."
    parts = []
    for target in sorted({saved[label] for label in drawn}):
        sources = [label for label in drawn if saved[label] == target]
        parts.append(f"{_name_labels(sources)} as {classes.name(target)}")
    return f"Will be saved: {'; '.join(parts)}."


def _name_labels(labels: Sequence[int]) -> str:
    """Such as ``labels 1..37``."""
    if len(labels) == 1:
        return f"label {labels[0]}"
    if labels[-1] - labels[0] + 1 == len(labels):
        return f"labels {labels[0]}..{labels[-1]}"
    if len(labels) <= MOST:
        return f"labels {_listed([str(label) for label in labels])}"
    return f"{len(labels)} labels ({labels[0]}..{labels[-1]})"


def _listed(words: Sequence[str]) -> str:
    if len(words) > MOST:
        return f"{', '.join(words[:MOST])} and {len(words) - MOST} more"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
