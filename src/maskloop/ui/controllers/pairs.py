"""The pairs of the project: the table, and what is done with selected pairs."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop.compute.project import Project
from maskloop.images.display import display_limits, read_small
from maskloop.images.image import Image
from maskloop.project.layout import Pair
from maskloop.project.near_duplicates import NearDuplicates
from maskloop.project.store import changed
from maskloop.project.thumbnails import thumbnail
from maskloop.ui.controllers.base import Controller
from maskloop.ui.controllers.label_semantics import Classes
from maskloop.ui.controllers.pair_rows import PairRow, make_rows, short_id
from maskloop.ui.controllers.plan import PlanController
from maskloop.ui.snapshot import Snapshot
from maskloop.ui.workspace import Workspace
from maskloop.wording import counted

__all__ = ["OpenedPair", "PairsController"]


@dataclass(frozen=True)
class OpenedPair:
    """A pair to be shown."""

    pair: Pair
    image: Image
    labels: NDArray[Any]
    limits: tuple[float, float] | None
    """Intensities between which it is displayed."""


class PairsController(Controller):
    """Shows the pairs, reads, removes and restores them, and reserves them for validation.

    `changed` means: `rows` changed.

    Parameters
    ----------
    workspace
        Whose pairs they are.
    plan
        Can be told to train on selected pairs.
    """

    def __init__(self, workspace: Workspace, plan: PlanController) -> None:
        super().__init__(workspace)
        self.rows: tuple[PairRow, ...] = ()
        self._plan = plan
        self._by_id: dict[str, PairRow] = {}
        self._pairs: Sequence[Pair] = ()
        self._classes = Classes()
        self._near = NearDuplicates()

    def row(self, pair_id: str) -> PairRow | None:
        """The row of a pair, or None."""
        return self._by_id.get(pair_id)

    @property
    def words(self) -> str:
        """How many pairs there are, in words."""
        active = [row for row in self.rows if row.is_active]
        kept, gone = sum(row.split == "validation" for row in active), len(self.rows) - len(active)
        words = counted(len(active), "pair")
        words += f", {kept} for validation" if kept else ""
        return words + (f" (plus {gone} removed or missing)" if gone else "")

    # What is done with pairs.

    def read(self, pair_id: str, then: Callable[[OpenedPair], None]) -> None:
        """Read a pair to show it; of several requests only the newest is answered."""
        project = self._workspace.project
        if project is not None:
            self._workspace.background.run(
                lambda: _read(project, pair_id), then, key="pair to show"
            )

    def remove(self, pair_ids: Sequence[str]) -> None:
        """Leave pairs out from now on; their files stay."""
        gone = set(pair_ids)

        def edit(pair: Pair) -> Pair:
            is_removed = pair.pair_id in gone and pair.state == "active"
            return changed(pair, state="removed") if is_removed else pair

        self._workspace.do(
            lambda project: project.dataset.change("remove pairs", edit),
            said=lambda _: f"Removed {_pairs(pair_ids)}",
        )

    def restore(self, pair_ids: Sequence[str]) -> None:
        """Use removed pairs again."""
        self._each(lambda project, one: project.dataset.restore(one), pair_ids, "Restored")

    def mark_validation(self, pair_ids: Sequence[str]) -> None:
        """Reserve pairs, and what belongs to them, for validation."""
        self._each(
            lambda project, one: project.dataset.mark_validation(one),
            pair_ids,
            "Reserved for validation:",
        )

    def _each(
        self, verb: Callable[[Project, str], object], pair_ids: Sequence[str], said: str
    ) -> None:
        def work(project: Project) -> None:
            for pair_id in pair_ids:
                verb(project, pair_id)

        self._workspace.do(work, said=lambda _: f"{said} {_pairs(pair_ids)}")

    def train_on(self, pair_ids: Sequence[str]) -> None:
        """Train on these pairs only; those reserved for validation still measure the score."""
        rows = [row for row in map(self.row, pair_ids) if row is not None]
        wanted = [row for row in rows if row.is_active and row.split != "validation"]
        chosen = tuple(row.pair_id for row in wanted)
        self._plan.set_pairs(chosen)
        self._workspace.say(f"The next training uses {_pairs(chosen)} only: see Train.")

    def thumbnail(self, row: PairRow, then: Callable[[NDArray[np.uint8]], None]) -> None:
        """A small picture of a pair, soon; none if its files are missing."""
        project = self._workspace.project
        if project is not None:
            self._workspace.background.run(
                lambda: thumbnail(project, row.pair), then, otherwise=lambda _: None
            )

    # Why not.

    def why_not_show(self, rows: Sequence[PairRow]) -> str | None:
        """Why these pairs cannot be shown, or None."""
        return None if len(rows) == 1 else "Select one pair."

    def why_not_remove(self, rows: Sequence[PairRow]) -> str | None:
        """Why these pairs cannot be removed, or None."""
        return self._why_not(rows, "These are removed already.", is_active=True)

    def why_not_restore(self, rows: Sequence[PairRow]) -> str | None:
        """Why these pairs cannot be restored, or None."""
        return self._why_not(rows, "None of these was removed.", is_active=False)

    def why_not_validate(self, rows: Sequence[PairRow]) -> str | None:
        """Why these pairs cannot be reserved for validation, or None."""
        if rows and all(row.split == "validation" for row in rows):
            return "These are reserved for validation already."
        return self._why_not(rows, "Restore these pairs first.", is_active=True)

    def why_not_train_on(self, rows: Sequence[PairRow]) -> str | None:
        """Why these pairs cannot be trained on, or None."""
        if rows and all(row.split == "validation" for row in rows):
            return "These are reserved for validation and never trained on."
        return self._why_not(rows, "Restore these pairs first.", is_active=True)

    def _why_not(self, rows: Sequence[PairRow], none: str, *, is_active: bool) -> str | None:
        if not rows:
            return "Select pairs in the table first."
        if not any(row.is_active == is_active for row in rows):
            return none
        return self._workspace.snapshot.why_not_write

    # What the project says.

    def take(self, snapshot: Snapshot) -> None:
        """Make the rows again, in a thread, if pairs or classes changed."""
        classes = Classes.of(snapshot.task)
        if classes == self._classes and snapshot.pairs is self._pairs:
            return
        self._classes, self._pairs = classes, snapshot.pairs
        self._make_rows({}, then_compare=True)

    def _make_rows(self, near: Mapping[str, tuple[str, ...]], *, then_compare: bool) -> None:
        # First with the near-duplicates known so far: comparing ten thousand pairs takes seconds.
        pairs, classes = self._pairs, self._classes
        before = self._by_id
        near = near or self._near.known

        def show(rows: dict[str, PairRow]) -> None:
            if self._pairs is not pairs:
                return
            if len(rows) != len(self.rows) or not all(map(operator.is_, rows.values(), self.rows)):
                self._by_id, self.rows = rows, tuple(rows.values())
                self.changed.emit()
            if then_compare:
                self._workspace.background.run(
                    lambda: self._near.update(pairs),
                    lambda found: self._make_rows(found, then_compare=False),
                    key="near-duplicates",
                )

        self._workspace.background.run(
            lambda: make_rows(pairs, near, classes, before), show, key="pair rows"
        )

    def reset(self, project: Project | None) -> None:
        """Forget the rows."""
        self._pairs, self._near = (), NearDuplicates()
        self._by_id, self.rows = {}, ()
        self.changed.emit()


def _read(project: Project, pair_id: str) -> OpenedPair:
    pair = project.dataset.get(pair_id)
    image, labels = project.dataset.read_image(pair), project.dataset.read_mask(pair)
    # Masks are copied: a correction must not be painted into the project's own file.
    return OpenedPair(pair, read_small(image), np.array(labels.read()), display_limits(image))


def _pairs(pair_ids: Sequence[str]) -> str:
    return short_id(pair_ids[0]) if len(pair_ids) == 1 else f"{len(pair_ids)} pairs"
