"""The network of the project as a person edits it: what it means, and whether it is valid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from psygnal import Signal
from pydantic import ValidationError

from maskloop.compute.project import Project
from maskloop.compute.proposals import NetworkSummary, summarize_network
from maskloop.errors import MaskloopError
from maskloop.models.base import DEFAULT_BACKEND, Architecture, Start, backend, kinds
from maskloop.project.layout import CheckpointRecord
from maskloop.task import Task
from maskloop.ui.controllers.base import Controller
from maskloop.ui.snapshot import Snapshot
from maskloop.ui.workspace import Workspace
from maskloop.wording import counted, fault_in_words

__all__ = ["NetworkController"]

NAMED = 3
"""Up to this many checkpoints are named; the others are counted."""
UNCHANGED = "Nothing was changed."


class NetworkController(Controller):
    """The architecture of the project: as it is saved, as it is edited, and what that means.

    `changed` means: `problem`, `is_dirty`, `misfits` or `summary` changed.

    Parameters
    ----------
    workspace
        Whose project it belongs to.
    """

    loaded = Signal()
    """`values` differ from those the form shows."""
    stale = Signal()
    """`count` has something to do: call it when typing has stopped."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self.values: dict[str, Any] = {}
        """As edited: fields of `kind`; None where it is planned from the data."""
        self.backend = DEFAULT_BACKEND
        self.problem = ""
        """Why the values are not a valid network; empty if they are."""
        self.summary: NetworkSummary | None = None
        """Counted from the values; None until it is."""
        self.misfits = ""
        """Which checkpoints a training of this network could not continue."""
        self._kept: dict[str, Any] = {}
        self._task: Task | None = None
        self._checkpoints: Sequence[CheckpointRecord] = ()
        self._pair_count = 0
        self._is_watched = self._is_counted = False

    @property
    def kind(self) -> type[Architecture]:
        """The choices that the project's backend takes; task and classes are not among them."""
        return kinds(self.backend)[0]

    @property
    def is_dirty(self) -> bool:
        """Whether something was edited and not saved."""
        return self.values != self._kept

    @property
    def why_not_save(self) -> str | None:
        """Why it cannot be saved now, or None."""
        if self._workspace.snapshot.why_not_write is not None:
            return self._workspace.snapshot.why_not_write
        return self.problem or (None if self.is_dirty else UNCHANGED)

    @property
    def why_not_revert(self) -> str | None:
        """Why there is nothing to discard, or None."""
        return None if self.is_dirty else UNCHANGED

    @property
    def decided(self) -> str:
        """What is decided elsewhere, in words."""
        if self._task is None:
            return ""
        names = ", ".join(self._task.classes)
        return (
            f"Task: {self._task.mode} ({names}). It was chosen with the project; "
            "rename classes in Dataset."
        )

    @property
    def edited(self) -> dict[str, Any]:
        """The choices that were made here."""
        return {name: value for name, value in self.values.items() if value is not None}

    @property
    def words(self) -> str:
        """The summary in a sentence, or that it is being counted."""
        # A summary of the last valid values would look like that of these.
        if self.problem or not self.values:
            return ""
        return f"{self.summary.words}." if self.summary is not None else "Counting..."

    @property
    def complaint(self) -> str:
        """Why it is not valid, or cannot be trained on the project's images; else empty."""
        return self.problem or (self.summary.problem if self.summary is not None else "")

    @property
    def adapted(self) -> str:
        """What a training would adapt to the images, in words."""
        found = self.summary.adapted if self.summary is not None else ()
        return "\n".join(["Adapted to your images:", *found]) if found else ""

    def edit(self, values: Mapping[str, Any]) -> None:
        """Take what the form says; other fields stay as they are."""
        edited = {name: value for name, value in values.items() if name in self.kind.model_fields}
        # The form emits all its values whenever one changes.
        if all(self.values.get(name) == value for name, value in edited.items()):
            return
        self.values = self.values | edited
        self._judge()

    def show(self, values: Mapping[str, Any]) -> None:
        """Show the network of some weights in the form; nothing is saved."""
        self.edit(values)
        self.loaded.emit()

    def revert(self) -> None:
        """Discard the changes."""
        self.values = dict(self._kept)
        self.loaded.emit()
        self._judge()

    def save(self) -> None:
        """Save the network; refused with a reason if it does not fit the accepted masks."""
        # As they are now: a person types on while they are written.
        values = dict(self.values)
        chosen = {"backend": self.backend, **self.edited}

        def kept(_: None) -> None:
            self._kept = values
            self.changed.emit()

        def say(_: None) -> str:
            return f"Network saved. {self.misfits}".strip()

        self._workspace.do(lambda project: project.set_architecture(chosen), kept, said=say)

    def watch(self, is_watched: bool) -> None:
        """Count only while somebody looks: it takes a process that loads torch."""
        self._is_watched = is_watched
        self._tell_stale()

    def _tell_stale(self) -> None:
        if self._is_watched and not self._is_counted and self.values and not self.problem:
            self.stale.emit()

    def count(self) -> None:
        """Count the network, in a helper process, while somebody looks."""
        project = self._workspace.project
        is_wanted = self._is_watched and not self._is_counted and bool(self.values)
        if project is None or not is_wanted or self.problem:
            return
        # Before the answer: each key would otherwise ask again while one is on its way.
        self._is_counted = True
        self._workspace.background.apart(
            summarize_network,
            str(project.folder),
            self.edited,
            helper="plan",
            then=self._show_summary,
            key="network summary",
        )

    def reset(self, project: Project | None) -> None:
        """Forget the network of the previous project."""
        self._kept, self.values = {}, {}
        self._checkpoints, self._pair_count = (), 0
        self._task = None
        self.summary, self._is_counted = None, False
        self.problem, self.misfits = "", ""
        self.changed.emit()

    def take(self, snapshot: Snapshot) -> None:
        """Show what another window or a training saved, unless something is being edited."""
        self.backend = snapshot.backend
        # Judged before `_kept` is exchanged, which it is compared with.
        kept, was_dirty = _complete(snapshot, self.kind), self.is_dirty
        pair_count = 0 if snapshot.status is None else snapshot.status.pair_count
        before = self._kept, self._task, self._checkpoints, self._pair_count
        self._kept, self._task = kept, snapshot.task
        self._checkpoints, self._pair_count = snapshot.checkpoints, pair_count
        # What is being typed wins: a training that ends elsewhere must not empty the form.
        if not was_dirty and self.values != kept:
            self.values = dict(kept)
            self.loaded.emit()
        # Comparing with all checkpoints takes a thread; most snapshots change neither.
        if before != (self._kept, self._task, self._checkpoints, self._pair_count):
            self._judge()
        else:
            self.changed.emit()

    def _judge(self) -> None:
        self._is_counted = False
        if not self.values:
            self.changed.emit()
            return
        try:
            wanted = self.kind.model_validate(self.values)
        except ValidationError as error:
            self.problem, self.misfits = fault_in_words(error, kind=self.kind), ""
            self.summary = None
            self.changed.emit()
            return
        # In the form's terms: numbers that were typed as text become numbers.
        self.values = wanted.model_dump(mode="json")
        self.problem = ""
        self.changed.emit()
        # Taken here: the thread must not see the choices of a later moment.
        checkpoints, task = self._checkpoints, self._task
        family = self.backend
        if task is not None:
            self._workspace.background.run(
                lambda: _misfits(family, task, wanted, checkpoints),
                self._show_misfits,
                key="network misfits",
            )
        self._tell_stale()

    def _show_misfits(self, words: str) -> None:
        self.misfits = words
        self.changed.emit()

    def _show_summary(self, summary: NetworkSummary) -> None:
        self.summary = summary
        self.changed.emit()


def _complete(snapshot: Snapshot, kind: type[Architecture]) -> dict[str, Any]:
    """All fields, including those nobody chose; values that are not valid stay as they are."""
    if not snapshot.architecture:
        return {}
    try:
        return kind.model_validate(snapshot.choices).model_dump(mode="json")
    except ValidationError:
        return snapshot.choices


def _misfits(
    name: str, task: Task, wanted: Architecture, checkpoints: Sequence[CheckpointRecord]
) -> str:
    """Which checkpoints were trained with another network, in words; empty if none."""
    found: list[tuple[str, str]] = []
    for record in checkpoints:
        path = Path(record.checkpoint_path)
        start = Start(record.checkpoint_id, path, record.backend, record.network, record.task)
        try:
            mismatches = backend(name).compare(task, wanted, start)
        # Records of older programs may not say what was built.
        except MaskloopError:
            found.append((record.checkpoint_id, "unknown network"))
            continue
        if mismatches:
            found.append((record.checkpoint_id, f"{mismatches[0].name} {mismatches[0].found}"))
    if not found:
        return ""
    # The latest ones: those a person is most likely to continue from.
    shown = ", ".join(f"{name} ({why})" for name, why in found[-NAMED:])
    others = len(found) - NAMED
    more = f" and {counted(others, 'other')}" if others > 0 else ""
    it = "it" if len(found) == 1 else "them"
    return (
        f"Other network: {shown}{more}. You can still predict with {it}, "
        f"but a training of this network starts from scratch instead of continuing {it}."
    )
