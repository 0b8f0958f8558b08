"""What is accepted: the labels as they were at the click, and how they are saved."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop.compute.project import Project
from maskloop.errors import KnownPixels, MaskloopError
from maskloop.images.image import Image
from maskloop.images.masks import MaskRule
from maskloop.project.layout import Pair

__all__ = ["Acceptance", "freeze", "is_quick_to_copy"]

QUICK_BYTES = 64 * 2**20
"""Copying this much takes a few hundredths of a second: done at once, in the main thread."""


@dataclass(frozen=True)
class Acceptance:
    """An image and its mask, and what the person said about them."""

    image: Image
    labels: Image
    rule: MaskRule | None = None
    source: str = "manual_label"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    allow_empty: bool = False
    replace: str | None = None
    is_agreed: bool = False
    """Whether a person agreed to bring back the pair, if it was removed."""

    def frozen(self) -> Acceptance:
        """The same with a copy of the labels, which nobody paints on."""
        return replace(self, labels=freeze(self.labels))

    def save(self, project: Project) -> Pair:
        """Accept it, or replace the mask of a pair; call it in a thread.

        Raises
        ------
        KnownPixels
            If the pair to replace was removed, and bringing it back was not agreed to.
        MaskloopError
            As `Dataset.accept` and `Dataset.replace`.
        """
        if self.replace is not None:
            self._refuse_removed(project, self.replace)
            # What is unknown this time (a pair shown again has no file) stays as it was.
            known = {name: value for name, value in self.metadata.items() if value is not None}
            pair = project.dataset.replace(
                self.replace,
                mask=self.labels,
                rule=self.rule,
                allow_empty=self.allow_empty,
                source=self.source,
                metadata=known,
            )
        else:
            pair = project.dataset.accept(
                self.image,
                self.labels,
                rule=self.rule,
                source=self.source,
                metadata=self.metadata,
                allow_empty=self.allow_empty,
            )
        with contextlib.suppress(MaskloopError):
            # The pair is safe; a choice that is not remembered is no failure.
            self._remember(project)
        return pair

    def _refuse_removed(self, project: Project, pair_id: str) -> None:
        # A replaced mask makes a pair active: only on purpose, even if it was removed just now.
        if not self.is_agreed and project.dataset.get(pair_id).state == "removed":
            raise KnownPixels(f"Pair '{pair_id}' was removed.", "Restore it first.", pair_id)

    def _remember(self, project: Project) -> None:
        config = project.config
        names = self.metadata.get("image_layers") or [None]
        wanted: dict[str, Any] = {
            "last_selected_image_layer": names[0] or config.last_selected_image_layer,
            "last_selected_mask_layer": self.metadata.get("labels_layer")
            or config.last_selected_mask_layer,
        }
        if self.rule is not None:
            wanted["mask_preparation"] = self.rule.model_dump(
                mode="json", include={"mask_mode", "label_map"}
            )
        # Writing only what changed keeps the record's time of change true.
        if any(getattr(config, name) != value for name, value in wanted.items()):
            project.update_config(**wanted)


def is_quick_to_copy(labels: Image) -> bool:
    """Whether labels may be copied in the main thread: small ones that are in memory."""
    data = labels.data
    return (
        isinstance(data, np.ndarray)
        and not isinstance(_owner(data), np.memmap)
        and data.nbytes < QUICK_BYTES
    )


def freeze(labels: Image) -> Image:
    """A copy of the labels: napari keeps painting into the original array."""
    return replace(labels, data=np.array(labels.data[...]))


def _owner(data: NDArray[Any]) -> Any:
    """The array that owns the memory; a view of a memory map is no memory map itself."""
    # Views refer to the array they were made from, and that to another.
    base: Any = data
    while (
        isinstance(base, np.ndarray) and not isinstance(base, np.memmap) and base.base is not None
    ):
        base = base.base
    return base
