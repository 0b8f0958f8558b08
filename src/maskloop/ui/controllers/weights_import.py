"""Import pretrained weights: in a helper process, because reading them loads torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from maskloop.compute.project import Project
from maskloop.errors import MaskloopError
from maskloop.models.base import Mismatch, Start, backend
from maskloop.project.layout import ImportedModel
from maskloop.ui.controllers.base import Controller
from maskloop.ui.snapshot import Snapshot
from maskloop.ui.workspace import Workspace

__all__ = ["SUFFIXES", "Brought", "ModelRow", "WeightsController", "bring_in"]

SUFFIXES = (".pt", ".pth", ".safetensors")


@dataclass(frozen=True)
class Brought:
    """Weights that were imported, and how they match."""

    model_id: str
    title: str
    """The network that they fill."""
    mismatches: tuple[Mismatch, ...]
    """How their network differs from the project's."""

    @property
    def words(self) -> str:
        """How they match, in a sentence or two."""
        matched = f"All tensors match ({self.title})."
        if not self.mismatches:
            return f"{matched} The network is the project's."
        return f"{matched} {differs(self.mismatches)}"


@dataclass(frozen=True)
class ModelRow:
    """Imported weights as the table shows them."""

    model: ImportedModel
    fit: str
    """How their network compares with the project's."""
    is_start: bool
    """Whether the next training starts from them."""


class WeightsController(Controller):
    """The imported weights of the project.

    `changed` means: `rows`, `is_busy` or `words` changed.

    Parameters
    ----------
    workspace
        Whose project they belong to.
    """

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self.rows: list[ModelRow] = []
        self.is_busy = False
        self.words = ""
        """How the last import went, or why it was refused."""

    @property
    def why_not_bring_in(self) -> str | None:
        """Why no weights can be imported now, or None."""
        return self._workspace.snapshot.why_not_write or (
            "Wait until the previous file is read." if self.is_busy else None
        )

    def bring_in(self, file: Path, architecture: Mapping[str, Any] | None = None) -> None:
        """Import a file of weights if it fills a network completely.

        Parameters
        ----------
        file
            A .pt, .pth or .safetensors file; it is never unpickled.
        architecture
            Fields of their network that a person names; the others are read from the file.
        """
        project = self._workspace.project
        if project is None or self.is_busy:
            return
        self.is_busy, self.words = True, f"Reading '{file.name}'..."
        self.changed.emit()

        def ended(words: str) -> None:
            self.is_busy = False
            # Another project may have been opened while the file was read.
            if self._workspace.project is project:
                self.words = words
            self.changed.emit()

        def done(brought: Brought) -> None:
            ended(f"{brought.model_id}: {brought.words}")
            # The helper process wrote it: this one knows nothing of it yet.
            self._workspace.refresh()

        def failed(error: Exception) -> None:
            ended(getattr(error, "problem", "The file could not be read."))
            self._workspace.fail(error)

        self._workspace.background.apart(
            bring_in,
            str(project.folder),
            str(file),
            dict(architecture or {}),
            # Behind a plan at worst: a process of its own would load torch a second time.
            helper="plan",
            then=done,
            otherwise=failed,
        )

    def start_from(self, model_id: str) -> None:
        """Start the next training from imported weights."""
        self._workspace.do(
            lambda project: project.weights.set_start(
                mode="imported_pretrained_unet", imported_model_id=model_id, checkpoint_id=None
            ),
            said=lambda _: f"The next training starts from {model_id}.",
        )

    def network_of(self, model_id: str) -> dict[str, Any]:
        """The network of imported weights; empty if there are none with this id."""
        return next(
            (dict(row.model.network) for row in self.rows if row.model.model_id == model_id),
            {},
        )

    def reset(self, project: Project | None) -> None:
        """Forget the weights of the previous project."""
        self.rows, self.is_busy = [], False
        self.words = ""
        self.changed.emit()

    def take(self, snapshot: Snapshot) -> None:
        """Show the weights of the project."""
        # The id is kept when another start is chosen: only the mode tells.
        is_start = snapshot.start.mode == "imported_pretrained_unet"
        start = snapshot.start.imported_model_id if is_start else None
        rows = [
            ModelRow(model, _fit(snapshot, model), model.model_id == start)
            for model in snapshot.models
        ]
        # Snapshots come often, and most of them change no weights.
        if rows != self.rows:
            self.rows = rows
            self.changed.emit()


def differs(mismatches: tuple[Mismatch, ...]) -> str:
    """How the network of weights differs from the project's, in words."""
    named = "; ".join(
        f"{mismatch.name} {mismatch.found}, here {mismatch.wanted}" for mismatch in mismatches
    )
    return f"The network differs from the project's: {named}."


def _fit(snapshot: Snapshot, model: ImportedModel) -> str:
    if snapshot.task is None:
        return ""
    start = Start(model.model_id, Path(model.model_path), model.backend, model.network, model.task)
    try:
        family = backend(snapshot.backend)
        choices = family.Architecture.model_validate(snapshot.choices)
        mismatches = family.compare(snapshot.task, choices, start)
    except (MaskloopError, ValidationError):
        return "The file does not say for which network it was made."
    return differs(tuple(mismatches)) if mismatches else "Compatible with this project"


def bring_in(folder: str, file: str, architecture: Mapping[str, Any]) -> Brought:
    """Import weights and compare them with the project; for a helper process, as it reads them.

    Parameters
    ----------
    folder
        Of the project.
    file
        Of the weights.
    architecture
        What the person says of their network.

    Raises
    ------
    NotFound, UnsafeFile, IncompatibleWeights, UsageError
        If the weights cannot be used, with the way out.
    """
    from maskloop.jobs.choices import backend_of, choices_of, start_from
    from maskloop.jobs.imports import import_weights

    project = Project.open(folder)
    # The weights fill this network completely, or `import_weights` refuses them.
    model = import_weights(project, Path(file), architecture=architecture)
    family = backend_of(project)
    mismatches = family.compare(project.task, choices_of(project), start_from(project, model))
    return Brought(model.model_id, family.outline(model.network).title, tuple(mismatches))
