"""How the labels of a mask are read when it is accepted, and what would be saved."""

from __future__ import annotations

from psygnal import Signal

from maskloop.compute.project import Project
from maskloop.errors import MaskloopError
from maskloop.images.image import Image
from maskloop.images.masks import MaskMode, MaskRule
from maskloop.ui.controllers.base import Controller
from maskloop.ui.controllers.label_semantics import (
    Classes,
    Description,
    RuleOption,
    describe,
    rule_options,
)
from maskloop.ui.snapshot import Snapshot
from maskloop.ui.workspace import Workspace

__all__ = ["LabelRuleController"]

NOT_SAID = -1
"""In place of a class id, while a label has no class yet."""


class LabelRuleController(Controller):
    """The rule by which labels become objects or classes, and the description of its result.

    `changed` means: `rule`, `rule_options` or `label_rows` changed.

    Parameters
    ----------
    workspace
        Its project says which rules there are.
    """

    described = Signal()
    """`description` changed."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self.description = Description("", is_fine=False)
        self._mode: MaskMode = "merge_nonzero_to_foreground"
        self._label_map: dict[int, int] = {}
        self._labels: tuple[int, ...] = ()
        self._classes = Classes()
        self._is_describing = False
        self._to_describe: Image | None = None
        self._is_fresh = True

    @property
    def rule(self) -> MaskRule:
        """How the labels are read."""
        label_map = {label: target for label, target in self._label_map.items() if target >= 0}
        return MaskRule(
            mask_mode=self._mode,
            target_class_name=self._classes.name(1),
            label_map=label_map if self._mode == "manual_label_map" else {},
        )

    @property
    def rule_options(self) -> list[RuleOption]:
        """The rules that fit the project."""
        return rule_options(self._classes)

    @property
    def class_names(self) -> tuple[str, ...]:
        """By class id; what a label can become."""
        return self._classes.names

    @property
    def label_rows(self) -> list[tuple[int, int]]:
        """Labels of the mask with the class of each (-1: not chosen yet), for a rule that maps."""
        if self._mode != "manual_label_map":
            return []
        # Only labels that occur: the map may remember others from earlier masks.
        return [(label, self._label_map.get(label, NOT_SAID)) for label in self._labels]

    def choose_rule(self, mode: MaskMode) -> None:
        """Read the labels in another way."""
        self._mode = mode
        self._map_new_labels()
        self.changed.emit()

    def map_label(self, label: int, class_id: int) -> None:
        """Choose the class of a label; 0 is background."""
        self._label_map[label] = class_id
        self.changed.emit()

    def _map_new_labels(self) -> None:
        """Labels that equal a class id are taken for that class; for others a person chooses."""
        for label in self._labels:
            # Shown in the table, so that it is a proposal and no silent guess.
            is_class = label < len(self._classes.names)
            self._label_map.setdefault(label, label if is_class else NOT_SAID)

    def describe(self, labels: Image | None) -> None:
        """Describe soon what would be saved of these labels; None where there are none."""
        self._to_describe = labels
        if labels is None:
            self._show(Description("", is_fine=False))
        elif not self._is_describing:
            self._describe_next()

    def _describe_next(self) -> None:
        # One count at a time: while a large stack is counted, only the newest request is kept.
        labels, self._to_describe = self._to_describe, None
        if labels is None:
            return
        self._is_describing = True
        rule, classes = self.rule, self._classes

        def show(description: Description) -> None:
            self._is_describing = False
            # An older mask is not described when a newer one waits: it is gone already.
            if self._to_describe is None:
                self._show(description)
            self._describe_next()

        def failed(error: Exception) -> None:
            words = f"The labels cannot be read: {error}"
            if isinstance(error, MaskloopError):
                words = f"{error.problem} {error.way_out}"
            show(Description(words, is_fine=False))

        self._workspace.background.run(
            lambda: describe(labels, rule, classes), show, otherwise=failed
        )

    def _show(self, description: Description) -> None:
        self.description = description
        # Redrawing the table would close a list that a person has open.
        if description.labels != self._labels:
            self._labels = description.labels
            self._map_new_labels()
            if self._mode == "manual_label_map":
                self.changed.emit()
        self.described.emit()

    def take(self, snapshot: Snapshot) -> None:
        """Offer the rules that fit the project, and restore the one that was used last."""
        classes = Classes.of(snapshot.task)
        if classes != self._classes:
            self._classes = classes
            # A rule that another task needs cannot be kept.
            modes = [option.mode for option in self.rule_options]
            self._mode = self._mode if self._mode in modes else modes[0]
            self.changed.emit()
        if self._is_fresh and snapshot.config is not None:
            self._is_fresh = False
            kept = snapshot.config.mask_preparation
            if kept.get("mask_mode") in [option.mode for option in self.rule_options]:
                self._mode = kept["mask_mode"]
                targets = dict(kept.get("label_map") or {})
                self._label_map = {int(label): int(target) for label, target in targets.items()}
                self.changed.emit()

    def reset(self, project: Project | None) -> None:
        """Forget the classes that labels were given."""
        self._label_map, self._is_fresh = {}, True
