"""The dataset of the window: accepting, what a mask will be saved as, the pair table, and what is done with pairs."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal, SignalGroup

from maskloop.errors import EmptyMask, KnownPixels, MaskloopError
from maskloop.images.image import Image
from maskloop.images.masks import MaskMode, MaskRule
from maskloop.project.layout import Pair
from maskloop.project.store import changed
from maskloop.ui.controllers.accepting import Offer, is_quick_to_copy
from maskloop.ui.controllers.classes import ClassesController
from maskloop.ui.controllers.display import PAIR, PROJECT, display_limits, read_small
from maskloop.ui.controllers.label_semantics import (
    Classes,
    Description,
    RuleOption,
    describe,
    rule_options,
)
from maskloop.ui.controllers.pair_import import PairImportController
from maskloop.ui.controllers.pair_rows import (
    NearDuplicates,
    PairRow,
    make_rows,
    short_id,
    tell_objects,
)
from maskloop.ui.controllers.queue import QueueController
from maskloop.ui.controllers.thumbnails import thumbnail

if TYPE_CHECKING:
    from maskloop.compute.project import Project
    from maskloop.ui.session import Session
    from maskloop.ui.snapshot import Snapshot

__all__ = ["DatasetController", "DatasetEvents", "OpenedPair"]


class DatasetEvents(SignalGroup):
    """Told in the thread of the window."""

    accepting_changed = Signal()
    """`is_accepting` or `is_copying` changed."""
    accepted = Signal(object)
    """A `Pair` is safe on the disk."""
    empty_asked = Signal(object)
    """Nothing is drawn: is that meant? To be called when it is."""
    known_asked = Signal(str, object)
    """This pair has these pixels: replace its mask? The second is to be called when so."""
    rule_changed = Signal()
    """`rule`, `rule_options` or `label_rows` changed."""
    described = Signal()
    """`description` changed."""
    rows_changed = Signal()
    """`rows` changed."""
    restored = Signal(object, object)
    """A project was opened: the names of the image and the mask layer that were accepted from
    last, None where there is none.
    """


@dataclass(frozen=True)
class OpenedPair:
    """A pair to be shown."""

    pair: Pair
    image: Image
    labels: NDArray[Any]
    limits: tuple[float, float] | None
    """Between which intensities it is shown."""


class DatasetController:
    """Accepts masks and shows and changes the pairs of a project.

    Parameters
    ----------
    session
        Whose project it is.
    """

    def __init__(self, session: Session) -> None:
        self.events = DatasetEvents()
        self.is_accepting = False
        self.is_copying = False
        """Whether the labels are still being copied; who knows that they are painted on says so
        with `disturb`.
        """
        self._is_torn = False
        self.rows: tuple[PairRow, ...] = ()
        self.description = Description("", is_fine=False)
        self._session = session
        self._mode: MaskMode = "merge_nonzero_to_foreground"
        self._label_map: dict[int, int] = {}
        self._labels: tuple[int, ...] = ()
        self._by_id: dict[str, PairRow] = {}
        self._pairs: Sequence[Pair] = ()
        self._classes = Classes()
        self._near = NearDuplicates()
        self._is_describing = False
        self._to_describe: Image | None = None
        self._is_fresh = True
        session.events.project_changed.connect(self._change_project)
        session.events.snapshot_changed.connect(self._take)
        self.classes = ClassesController(session)
        self.queue = QueueController(session)
        self.importing = PairImportController(session)

    # What the labels mean.

    @property
    def rule(self) -> MaskRule:
        """What the labels mean."""
        label_map = {label: target for label, target in self._label_map.items() if target >= 0}
        return MaskRule(
            mask_mode=self._mode,
            target_class_name=self._classes.name(1),
            label_map=label_map if self._mode == "manual_label_map" else {},
        )

    @property
    def rule_options(self) -> list[RuleOption]:
        """The ways of reading labels that fit the project."""
        return rule_options(self._classes)

    @property
    def label_rows(self) -> list[tuple[int, int]]:
        """Labels that occur and the class each becomes (-1 where that is still to be said); for a rule that maps them."""
        return (
            [(label, self._label_map.get(label, -1)) for label in self._labels]
            if self._mode == "manual_label_map"
            else []
        )

    def choose_rule(self, mode: MaskMode) -> None:
        """Read the labels in another way."""
        self._mode = mode
        self._map_new_labels()
        self.events.rule_changed.emit()

    def map_label(self, label: int, class_id: int) -> None:
        """Say which class a label becomes; 0 is background."""
        self._label_map[label] = class_id
        self.events.rule_changed.emit()

    def _map_new_labels(self) -> None:
        """Labels that are also class ids are taken for them, and shown to be; of the others it must be said."""
        for label in self._labels:
            self._label_map.setdefault(label, label if label < len(self._classes.names) else -1)

    def describe(self, labels: Image | None) -> None:
        """Say soon what accepting these labels would save; None where there are none to accept."""
        self._to_describe = labels
        if labels is None:
            self._show_description(Description("", is_fine=False))
        elif not self._is_describing:
            self._describe_next()

    def _describe_next(self) -> None:
        """One count at a time: while a large stack is counted, only the newest wish is kept."""
        labels, self._to_describe = self._to_describe, None
        if labels is None:
            return
        self._is_describing = True
        rule, classes = self.rule, self._classes

        def show(description: Description) -> None:
            self._is_describing = False
            if self._to_describe is None:
                self._show_description(description)
            self._describe_next()

        def failed(error: Exception) -> None:
            words = (
                f"{error.problem} {error.way_out}"
                if isinstance(error, MaskloopError)
                else f"The labels cannot be read: {error}"
            )
            show(Description(words, is_fine=False))

        self._session.background.run(
            lambda: describe(labels, rule, classes), show, otherwise=failed
        )

    def _show_description(self, description: Description) -> None:
        self.description = description
        if description.labels != self._labels:
            self._labels = description.labels
            self._map_new_labels()
            if self._mode == "manual_label_map":
                self.events.rule_changed.emit()
        self.events.described.emit()

    # Accepting.

    @property
    def why_not_accept(self) -> str | None:
        """Why nothing can be accepted now, or None."""
        return (
            "The mask before is being saved."
            if self.is_accepting
            else self._session.snapshot.why_not_write
        )

    def accept(
        self,
        image: Image,
        labels: Image,
        *,
        rule: MaskRule | None = None,
        source: str = "manual_label",
        metadata: Mapping[str, Any] | None = None,
        allow_empty: bool = False,
        replace: str | None = None,
        then: Callable[[Pair], None] | None = None,
    ) -> None:
        """Take an image and its mask into the project, as the mask is at this moment.

        Parameters
        ----------
        image, labels
            As `layers.take` gives them. Labels of up to 64 MB in memory are copied at once; larger
            ones in a thread, while `is_copying`; when they are painted on meanwhile, nothing is
            accepted.
        rule
            What the labels mean; by default what fits the project.
        source
            manual_label, corrected_prediction, ...
        metadata
            Facts to keep with the pair, such as `layers.crop_metadata` gives them; its layer names
            are remembered.
        allow_empty
            There is nothing to segment on this image, and that is meant.
        replace
            The id of the pair whose mask this one replaces.
        then
            Called with the pair when it is safe on the disk.
        """
        if self.why_not_accept is not None:
            self._session.fail(MaskloopError("Nothing was accepted.", self.why_not_accept))
            return
        offer = Offer(image, labels, rule, source, dict(metadata or {}), allow_empty, replace)
        project = self._session.project
        self.is_accepting = True
        if is_quick_to_copy(labels):
            self._save(offer.frozen(), then, project)
            return
        self.is_copying, self._is_torn = True, False
        self.events.accepting_changed.emit()

        def copied(frozen: Offer) -> None:
            if self._is_torn:
                self._end(
                    MaskloopError(
                        "The mask was changed while it was being copied, so nothing was accepted.",
                        "Accept it once more.",
                    )
                )
            else:
                self._save(frozen, then, project)

        self._session.background.run(offer.frozen, copied, otherwise=self._end)

    def disturb(self) -> None:
        """The labels that are being copied were painted on: the copy is neither what was seen nor what is there."""
        self._is_torn = True

    def _save(
        self, offer: Offer, then: Callable[[Pair], None] | None, project: Project | None
    ) -> None:
        if self._session.project is not project:
            return  # it was meant for a project that is no longer open
        self.is_accepting, self.is_copying = True, False
        self.events.accepting_changed.emit()

        def saved(pair: Pair) -> None:
            self._end()
            self.events.accepted.emit(pair)
            if then is not None:
                then(pair)

        def say(pair: Pair) -> str:
            short, objects = short_id(pair.pair_id), tell_objects(pair, self._classes)
            return (
                f"Replaced the mask of {short}: {objects}"
                if offer.replace
                else f"Accepted {short}: {objects}"
            )

        self._session.do(
            offer.save,
            saved,
            said=say,
            otherwise=lambda error: self._ask(error, offer, then, project),
        )

    def _ask(
        self,
        error: Exception,
        offer: Offer,
        then: Callable[[Pair], None] | None,
        project: Project | None,
    ) -> None:
        """Some refusals are questions; what is saved after the answer is what was seen at the click."""
        self._end()
        if isinstance(error, EmptyMask):
            self.events.empty_asked.emit(
                lambda: self._save(replace(offer, allow_empty=True), then, project)
            )
        elif isinstance(error, KnownPixels) and offer.replace is None:
            self.events.known_asked.emit(
                error.pair_id,
                lambda: self._save(replace(offer, replace=error.pair_id), then, project),
            )
        else:
            self._session.fail(error)

    def _end(self, error: Exception | None = None) -> None:
        self.is_accepting = self.is_copying = False
        self.events.accepting_changed.emit()
        if error is not None:
            self._session.fail(error)

    # What is done with pairs.

    def read(self, pair_id: str, then: Callable[[OpenedPair], None]) -> None:
        """Read a pair to show it; of several asked for shortly only the last is handed over."""
        project = self._session.project
        if project is not None:
            self._session.background.run(lambda: _read(project, pair_id), then, key="pair to show")

    def remove(self, pair_ids: Sequence[str]) -> None:
        """Leave pairs out from now on; their files stay."""
        gone = set(pair_ids)

        def edit(pair: Pair) -> Pair:
            return (
                changed(pair, state="removed")
                if pair.pair_id in gone and pair.state == "active"
                else pair
            )

        self._session.do(
            lambda project: project.dataset.change("remove pairs", edit),
            said=lambda _: f"Removed {_pairs(pair_ids)}",
        )

    def restore(self, pair_ids: Sequence[str]) -> None:
        """Bring pairs back."""

        def work(project: Project) -> None:
            for pair_id in pair_ids:
                project.dataset.restore(pair_id)

        self._session.do(work, said=lambda _: f"Brought back {_pairs(pair_ids)}")

    def mark_validation(self, pair_ids: Sequence[str]) -> None:
        """Keep pairs, and what belongs to them, for validation."""

        def work(project: Project) -> None:
            for pair_id in pair_ids:
                project.dataset.mark_validation(pair_id)

        self._session.do(work, said=lambda _: f"Kept for validation: {_pairs(pair_ids)}")

    def train_on(self, pair_ids: Sequence[str]) -> None:
        """Let the next training learn from these pairs only; those kept for validation measure as ever."""
        chosen = tuple(
            row.pair_id
            for row in map(self.row, pair_ids)
            if row is not None and row.is_active and row.split != "validation"
        )
        self._session.training.set_pairs(chosen)
        self._session.say(f"The next training learns from {_pairs(chosen)}: see Train.")

    def thumbnail(self, row: PairRow, then: Callable[[NDArray[np.uint8]], None]) -> None:
        """A small picture of a pair, soon; none where its files are missing."""
        project = self._session.project
        if project is not None:
            self._session.background.run(
                lambda: thumbnail(project, row.pair), then, otherwise=lambda _: None
            )

    def shown_pair(self, image: Mapping[str, Any], labels: Mapping[str, Any]) -> str | None:
        """The pair that both layers with these metadata show, so that the mask replaces its mask; None for a new pair."""
        project, pair_id = self._session.project, image.get(PAIR)
        is_here = project is not None and image.get(PROJECT) == labels.get(PROJECT) == str(
            project.folder
        )
        return (
            str(pair_id)
            if is_here and pair_id in self._by_id and pair_id == labels.get(PAIR)
            else None
        )

    def title(self, replaced: str | None) -> str:
        """What the button that accepts says."""
        if self.is_accepting:
            return "Saving..."
        return "Accept" if replaced is None else f"Replace the mask of {short_id(replaced)}"

    @property
    def words(self) -> str:
        """How many pairs there are, in words."""
        active = [row for row in self.rows if row.is_active]
        kept, gone = sum(row.split == "validation" for row in active), len(self.rows) - len(active)
        words = [f"{len(active)} pair{'' if len(active) == 1 else 's'}"]
        words += [f"{kept} for validation"] * bool(kept) + [f"{gone} removed or missing"] * bool(
            gone
        )
        return ", ".join(words)

    def why_not_show(self, rows: Sequence[PairRow]) -> str | None:
        """Why these pairs cannot be shown, or None."""
        return None if len(rows) == 1 else "Mark one pair."

    def why_not_remove(self, rows: Sequence[PairRow]) -> str | None:
        """Why these pairs cannot be removed, or None."""
        return self._why_not(rows, "None of these is in use.", is_active=True)

    def why_not_restore(self, rows: Sequence[PairRow]) -> str | None:
        """Why these pairs cannot be brought back, or None."""
        return self._why_not(rows, "None of these was removed.", is_active=False)

    def why_not_validate(self, rows: Sequence[PairRow]) -> str | None:
        """Why these pairs cannot be kept for validation, or None."""
        if rows and all(row.split == "validation" for row in rows):
            return "They are kept for validation already."
        return self._why_not(rows, "Bring these pairs back first.", is_active=True)

    def why_not_train_on(self, rows: Sequence[PairRow]) -> str | None:
        """Why a training cannot learn from these pairs, or None."""
        if rows and all(row.split == "validation" for row in rows):
            return "They are kept for validation, and a pair that measures is never learned from."
        return self._why_not(rows, "Bring these pairs back first.", is_active=True)

    def _why_not(self, rows: Sequence[PairRow], none: str, *, is_active: bool) -> str | None:
        if not rows:
            return "Mark pairs in the table first."
        if not any(row.is_active == is_active for row in rows):
            return none
        return self._session.snapshot.why_not_write

    def row(self, pair_id: str) -> PairRow | None:
        """The row of a pair."""
        return self._by_id.get(pair_id)

    # What the project says.

    def _take(self, snapshot: Snapshot) -> None:
        classes = Classes.of(snapshot.task)
        if classes != self._classes:
            self._classes = classes
            self._fit_rule()
        elif snapshot.pairs is self._pairs:
            self._restore(snapshot)
            return
        self._restore(snapshot)
        self._pairs = snapshot.pairs
        self._make_rows({}, then_compare=True)

    def _make_rows(self, near: Mapping[str, tuple[str, ...]], *, then_compare: bool) -> None:
        """First the rows with the near-duplicates known so far; to compare ten thousand pairs takes some seconds."""
        pairs, classes, before = self._pairs, self._classes, self._by_id
        near = near or self._near.known

        def show(rows: dict[str, PairRow]) -> None:
            if self._pairs is not pairs:
                return
            if len(rows) != len(self.rows) or not all(map(operator.is_, rows.values(), self.rows)):
                self._by_id, self.rows = rows, tuple(rows.values())
                self.events.rows_changed.emit()
            if then_compare:
                self._session.background.run(
                    lambda: self._near.update(pairs),
                    lambda found: self._make_rows(found, then_compare=False),
                    key="near-duplicates",
                )

        self._session.background.run(
            lambda: make_rows(pairs, near, classes, before), show, key="pair rows"
        )

    def _fit_rule(self) -> None:
        modes = [option.mode for option in self.rule_options]
        if self._mode not in modes:
            self._mode = modes[0]
        self.events.rule_changed.emit()

    def _restore(self, snapshot: Snapshot) -> None:
        """What was chosen when the project was used last."""
        if not self._is_fresh or snapshot.config is None:
            return
        self._is_fresh = False
        kept = snapshot.config.mask_preparation
        if kept.get("mask_mode") in [option.mode for option in self.rule_options]:
            self._mode = kept["mask_mode"]
            self._label_map = {
                int(label): int(target)
                for label, target in dict(kept.get("label_map") or {}).items()
            }
            self.events.rule_changed.emit()
        self.events.restored.emit(
            snapshot.config.last_selected_image_layer, snapshot.config.last_selected_mask_layer
        )

    def _change_project(self, _project: Project | None) -> None:
        self._pairs, self._by_id, self.rows, self._near = (), {}, (), NearDuplicates()
        self._label_map, self._is_fresh = {}, True
        self.events.rows_changed.emit()
        self._end()

    def close(self) -> None:
        """End; what is being saved is finished by the session."""
        self.importing.close()
        self.queue.close()
        self.classes.close()


def _read(project: Project, pair_id: str) -> OpenedPair:
    pair = project.dataset.get(pair_id)
    image, labels = project.dataset.read_image(pair), project.dataset.read_mask(pair)
    # Masks are copied: a correction must not be painted into the project's own file.
    return OpenedPair(pair, read_small(image), np.array(labels.read()), display_limits(image))


def _pairs(pair_ids: Sequence[str]) -> str:
    return short_id(pair_ids[0]) if len(pair_ids) == 1 else f"{len(pair_ids)} pairs"
