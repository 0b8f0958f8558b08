"""Add an image and its mask to the training set, exactly as they were at the click."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from psygnal import Signal

from maskloop.compute.project import Project
from maskloop.errors import EmptyMask, KnownPixels, MaskloopError
from maskloop.images.image import Image
from maskloop.images.masks import MaskRule
from maskloop.project.layout import Pair
from maskloop.ui.controllers.acceptance import Acceptance, is_quick_to_copy
from maskloop.ui.controllers.base import Controller
from maskloop.ui.controllers.label_semantics import Classes
from maskloop.ui.controllers.pair_rows import objects_in_words, short_id
from maskloop.ui.controllers.pairs import PairsController
from maskloop.ui.layer_metadata import PAIR, PROJECT
from maskloop.ui.snapshot import Snapshot
from maskloop.ui.workspace import Workspace

__all__ = ["AcceptController"]

Then = Callable[[Pair], None] | None


class AcceptController(Controller):
    """Saves masks as pairs, asks where it must, and replaces masks of pairs that are shown.

    `changed` means: `is_accepting` or `is_copying` changed.

    Parameters
    ----------
    workspace
        Its project takes the pairs.
    pairs
        The pairs that are there.
    """

    accepted = Signal(object)
    """A `Pair` is safe on the disk."""
    empty_asked = Signal(object)
    """The mask is empty: is it a negative example? To be called if so."""
    known_asked = Signal(str, object)
    """This pair has the same pixels: replace its mask? The second is to be called if so."""
    restored = Signal(object, object)
    """A project was opened: names of the image and mask layers used last, or None."""

    def __init__(self, workspace: Workspace, pairs: PairsController) -> None:
        super().__init__(workspace)
        self.is_accepting = False
        self.is_copying = False
        """Whether the labels are being copied; call `disturb` if they are painted on meanwhile."""
        self._pairs = pairs
        self._is_torn = False
        self._is_fresh = True

    @property
    def why_not(self) -> str | None:
        """Why nothing can be accepted now, or None."""
        if self.is_accepting:
            return "The previous mask is still being saved."
        return self._workspace.snapshot.why_not_write

    def title(self, replaced: str | None) -> str:
        """What the button says, for a new pair or one whose mask is replaced."""
        if self.is_accepting:
            return "Saving..."
        if replaced is None:
            return "Add to training set"
        return f"Replace the mask of {short_id(replaced)}"

    def shown_pair(self, image: Mapping[str, Any], labels: Mapping[str, Any]) -> str | None:
        """The pair whose mask is replaced, as both layers' metadata show it; None: a new pair."""
        project, pair_id = self._workspace.project, image.get(PAIR)
        # Ids are unique within a project only: a layer may show a pair of another one.
        if project is None or not image.get(PROJECT) == labels.get(PROJECT) == str(project.folder):
            return None
        row = self._pairs.row(pair_id) if isinstance(pair_id, str) else None
        # A removed pair is not corrected: accepting asks whether it shall come back.
        is_known = row is not None and row.pair.state != "removed"
        return str(pair_id) if is_known and pair_id == labels.get(PAIR) else None

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
        then: Then = None,
    ) -> None:
        """Save an image and its mask in the project, as the mask is at this moment.

        Parameters
        ----------
        image, labels
            As `layers.take` gives them. Labels of up to 64 MB in memory are copied at once; larger
            ones in a thread, while `is_copying`. If they are painted on meanwhile, nothing is
            saved.
        rule
            How the labels are read; by default as fits the project.
        source
            manual_label, corrected_prediction, ...
        metadata
            Facts to keep with the pair, such as `layers.crop_metadata` gives them; its layer names
            are remembered.
        allow_empty
            Whether an empty mask is accepted, as a negative example.
        replace
            Id of the pair whose mask is replaced.
        then
            Called with the pair when it is safe on the disk.
        """
        if not self._workspace.may(self.why_not, "Nothing was accepted."):
            return
        wanted = Acceptance(image, labels, rule, source, dict(metadata or {}), allow_empty, replace)
        project = self._workspace.project
        self.is_accepting = True
        # At once, in this thread: the next stroke must not be saved with it.
        if is_quick_to_copy(labels):
            self._save(wanted.frozen(), then, project)
            return
        self.is_copying, self._is_torn = True, False
        self.changed.emit()

        def copied(frozen: Acceptance) -> None:
            # Half of the copy may be from before the stroke.
            if self._is_torn:
                problem = "The mask changed while it was being copied, so nothing was accepted."
                self._end(MaskloopError(problem, "Accept it again."))
            else:
                self._save(frozen, then, project)

        self._workspace.background.run(wanted.frozen, copied, otherwise=self._end)

    def disturb(self) -> None:
        """The labels being copied were painted on: the copy is neither old nor new."""
        self._is_torn = True

    def _save(self, wanted: Acceptance, then: Then, project: Project | None) -> None:
        if self._workspace.project is not project:
            return  # it was meant for a project that is no longer open
        self.is_accepting, self.is_copying = True, False
        self.changed.emit()

        def saved(pair: Pair) -> None:
            self._end()
            self.accepted.emit(pair)
            if then is not None:
                then(pair)

        def say(pair: Pair) -> str:
            classes = Classes.of(self._workspace.snapshot.task)
            verb = "Replaced the mask of" if wanted.replace else "Accepted"
            notes = [str(note) for note in pair.mask_preparation.get("notes", ())]
            words = f"{verb} {short_id(pair.pair_id)}: {objects_in_words(pair, classes)}"
            return ". ".join([words, *(note[:1].upper() + note[1:] for note in notes)])

        self._workspace.do(
            wanted.save,
            saved,
            said=say,
            otherwise=lambda error: self._ask(error, wanted, then, project),
        )

    def _ask(
        self, error: Exception, wanted: Acceptance, then: Then, project: Project | None
    ) -> None:
        """Some refusals are questions; what is saved after the answer is what was seen before."""
        self._end()
        if isinstance(error, EmptyMask):
            anyway = replace(wanted, allow_empty=True)
            self.empty_asked.emit(lambda: self._save(anyway, then, project))
        elif isinstance(error, KnownPixels) and not wanted.is_agreed:
            instead = replace(wanted, replace=error.pair_id, is_agreed=True)
            self.known_asked.emit(error.pair_id, lambda: self._save(instead, then, project))
        else:
            self._workspace.fail(error)

    def _end(self, error: Exception | None = None) -> None:
        self.is_accepting, self.is_copying = False, False
        self.changed.emit()
        if error is not None:
            self._workspace.fail(error)

    def take(self, snapshot: Snapshot) -> None:
        """Say which layers were used when the project was open last."""
        config = snapshot.config
        # Once for each opening: later snapshots must not change what a person selected.
        if self._is_fresh and config is not None:
            self._is_fresh = False
            self.restored.emit(config.last_selected_image_layer, config.last_selected_mask_layer)

    def reset(self, project: Project | None) -> None:
        """What was being saved belongs to the previous project."""
        self._is_fresh = True
        self._end()
