"""Weights from elsewhere: brought in by a child process, since reading them loads torch; what matched is told in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal, SignalGroup
from pydantic import ValidationError

from maskloop.errors import MaskloopError
from maskloop.models.base import Mismatch, Start, backend
from maskloop.project.layout import ImportedModel

if TYPE_CHECKING:
    from maskloop.compute.project import Project
    from maskloop.ui.session import Session
    from maskloop.ui.snapshot import Snapshot

__all__ = ["Brought", "WeightsController", "ModelRow", "SUFFIXES", "bring_in"]

SUFFIXES = (".pt", ".pth", ".safetensors")


@dataclass(frozen=True)
class Brought:
    """Weights that were registered, and what of them matched."""

    model_id: str
    title: str
    """The model that they fill."""
    mismatches: tuple[Mismatch, ...]
    """In what their network differs from the project's."""

    @property
    def words(self) -> str:
        """What matched, in a sentence or two."""
        matched = f"All weights matched ({self.title}): none missing, none left over."
        if not self.mismatches:
            return f"{matched} Their network is the project's."
        return f"{matched} {differs(self.mismatches)}"


@dataclass(frozen=True)
class ModelRow:
    """Imported weights as the table shows them."""

    model: ImportedModel
    fit: str
    """How their network compares with the project's."""
    is_start: bool
    """Whether the next training begins from them."""


class ImportedEvents(SignalGroup):
    """Told in the thread of the window."""

    changed = Signal()
    """`rows`, `is_busy` or `words` changed."""


class WeightsController:
    """The imported weights of the project.

    Parameters
    ----------
    session
        Whose project they belong to.
    """

    def __init__(self, session: Session) -> None:
        self.events = ImportedEvents()
        self.rows: list[ModelRow] = []
        self.is_busy = False
        self.words = ""
        """How the last import went; why it was refused."""
        self._session = session
        session.events.project_changed.connect(self._change_project)
        session.events.snapshot_changed.connect(self._take)

    @property
    def why_not_bring_in(self) -> str | None:
        """Why no weights can be brought in now, or None."""
        return self._session.snapshot.why_not_write or (
            "Wait until the last file is read." if self.is_busy else None
        )

    def bring_in(self, file: Path, architecture: Mapping[str, Any] | None = None) -> None:
        """Register a file of weights, once it is known to fill a network to the last weight.

        Parameters
        ----------
        file
            A .pt, .pth or .safetensors file; it is never unpickled.
        architecture
            Fields that the person says of their network; the others are read from the file.
        """
        project = self._session.project
        if project is None or self.is_busy:
            return
        self.is_busy, self.words = True, f"Reading '{file.name}'..."
        self.events.changed.emit()

        def ended(words: str) -> None:
            self.is_busy = False
            if self._session.project is project:
                self.words = words
            self.events.changed.emit()

        def done(brought: Brought) -> None:
            ended(f"{brought.model_id}: {brought.words}")
            self._session.refresh()

        def failed(error: Exception) -> None:
            ended(getattr(error, "problem", "It could not be read."))
            self._session.fail(error)

        self._session.background.apart(
            bring_in,
            str(project.folder),
            str(file),
            dict(architecture or {}),
            helper="plan",
            then=done,
            otherwise=failed,
        )

    def start_from(self, model_id: str) -> None:
        """Let the next training begin from imported weights."""
        self._session.do(
            lambda project: project.weights.set_start(
                mode="imported_pretrained_unet", imported_model_id=model_id, checkpoint_id=None
            ),
            said=lambda _: f"The next training begins from {model_id}.",
        )

    def network_of(self, model_id: str) -> dict[str, Any]:
        """The description of the network that imported weights need; empty where there are none of this id."""
        return next(
            (dict(row.model.network) for row in self.rows if row.model.model_id == model_id),
            {},
        )

    def _change_project(self, _project: Project | None) -> None:
        self.rows, self.words, self.is_busy = [], "", False
        self.events.changed.emit()

    def _take(self, snapshot: Snapshot) -> None:
        start = (
            snapshot.start.imported_model_id
            if snapshot.start.mode == "imported_pretrained_unet"
            else None
        )
        rows = [
            ModelRow(model, _fit(snapshot, model), model.model_id == start)
            for model in snapshot.models
        ]
        if rows != self.rows:
            self.rows = rows
            self.events.changed.emit()

    def close(self) -> None:
        """End; what is being read is finished or left out as a whole."""


def differs(mismatches: tuple[Mismatch, ...]) -> str:
    """In what the network of weights differs from the project's, in words."""
    named = "; ".join(
        f"{mismatch.name} {mismatch.found}, here {mismatch.wanted}" for mismatch in mismatches
    )
    return f"Their network differs from the project's: {named}."


def _fit(snapshot: Snapshot, model: ImportedModel) -> str:
    if snapshot.task is None:
        return ""
    start = Start(model.model_id, Path(model.model_path), model.backend, model.network, model.task)
    try:
        family = backend(snapshot.backend)
        choices = family.Architecture.model_validate(snapshot.choices)
        mismatches = family.compare(snapshot.task, choices, start)
    except (MaskloopError, ValidationError):
        return "It does not say for which network it was made."
    return differs(tuple(mismatches)) if mismatches else "Fits the project's network."


def bring_in(folder: str, file: str, architecture: Mapping[str, Any]) -> Brought:
    """Register weights and compare them with the project; for a child process, as it reads them.

    Parameters
    ----------
    folder
        Of the project.
    file
        Of the weights.
    architecture
        What the person says of their model.

    Raises
    ------
    NotFound, UnsafeFile, IncompatibleWeights, UsageError
        If the weights cannot be used, with the way out.
    """
    from maskloop.compute.project import Project
    from maskloop.jobs.choices import backend_of, choices_of, start_from
    from maskloop.jobs.imports import import_weights

    project = Project.open(folder)
    # The weights fill this model to the last one, or `import_weights` refuses them.
    model = import_weights(project, Path(file), architecture=architecture)
    family = backend_of(project)
    mismatches = family.compare(project.task, choices_of(project), start_from(project, model))
    return Brought(model.model_id, family.outline(model.network).title, tuple(mismatches))
