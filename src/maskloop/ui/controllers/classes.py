"""The classes of a project: their names and colors, and adding one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from maskloop.compute.project import Project
from maskloop.errors import UsageError
from maskloop.project.store import changed
from maskloop.ui.controllers.base import Controller
from maskloop.ui.controllers.label_semantics import Classes
from maskloop.ui.snapshot import Snapshot
from maskloop.ui.workspace import Workspace

__all__ = ["ClassRow", "ClassesController"]

COLORS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2", "#999999")
"""Can be told apart with any color vision (Okabe and Ito, "Color Universal Design", 2008)."""
KEY = "class_colors"
MOST = 255
"""Masks of classes are saved with one byte per pixel."""


@dataclass(frozen=True)
class ClassRow:
    """A class as it is shown."""

    class_id: int
    name: str
    color: str
    """Such as ``#e69f00``."""


class ClassesController(Controller):
    """Names and colors the classes of the project, and adds classes.

    Parameters
    ----------
    workspace
        Whose project's classes they are.
    """

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self.classes = Classes()
        self.rows: tuple[ClassRow, ...] = ()

    @property
    def has_colors(self) -> bool:
        """Whether labels are classes, so that each has its own color."""
        return self.classes.mode == "multiclass"

    @property
    def why_not_change(self) -> str | None:
        """Why no name and no color can be changed, or None."""
        return self._workspace.snapshot.why_not_write

    @property
    def why_not_add(self) -> str | None:
        """Why no class can be added, or None."""
        # With one class there is nothing to tell apart: another class would change the task.
        if self.classes.mode != "multiclass":
            return (
                f"A project for {self.classes.mode} masks has one class. "
                "Create a project for several classes instead."
            )
        if len(self.classes.names) > MOST:
            return f"A project can have at most {MOST} classes."
        return self.why_not_change

    @property
    def why_care(self) -> str:
        """What adding a class means for the checkpoints; empty if there are none."""
        count = len(self._workspace.snapshot.checkpoints)
        if not count:
            return ""
        checkpoints = "The checkpoint" if count == 1 else f"The {count} checkpoints"
        return (
            f"{checkpoints} can still predict the previous classes, "
            "but the next training starts from scratch."
        )

    def rename(self, class_id: int, name: str) -> None:
        """Rename a class; masks and checkpoints stay as they are."""
        name = name.strip()
        if name == self.classes.name(class_id):
            return

        def write(project: Project) -> None:
            # Read and written under one lock: another window may rename, too.
            with project.writing("rename a class"):
                task = project.task
                _refuse(
                    name,
                    {
                        number: other
                        for number, other in task.class_labels.items()
                        if number != str(class_id)
                    },
                )
                names = {**task.class_names, class_id: name}
                project.set_task(changed(task, classes=tuple(names.values())[1:]))

        self._do(write, f"Renamed class {class_id} to {name}")

    def add(self, name: str) -> None:
        """Add a class at the end, so that no mask changes."""
        name = name.strip()

        def write(project: Project) -> None:
            with project.writing("add a class"):
                task = project.task
                _refuse(name, task.class_labels)
                # At the end: a class in between would give every later label another meaning.
                project.set_task(changed(task, classes=(*task.classes, name)))

        if self._workspace.may(self.why_not_add, "No class was added."):
            self._do(write, f"Added class {name}")

    def set_color(self, class_id: int, color: str) -> None:
        """Show a class in another color."""

        def write(project: Project) -> None:
            # One lock for reading and writing: another window may color a class, too.
            with project.writing("color a class"):
                metadata = project.config.metadata
                project.update_config(
                    metadata={**metadata, KEY: {**metadata.get(KEY, {}), str(class_id): color}}
                )

        self._do(write, "")

    def _do(self, write: Any, said: str) -> None:
        def failed(error: Exception) -> None:
            # The line shows what was typed; show the name that is kept.
            self.changed.emit()
            self._workspace.fail(error)

        self._workspace.do(write, said=(lambda _: said) if said else None, otherwise=failed)

    def take(self, snapshot: Snapshot) -> None:
        """Show the classes of the project in the colors that were chosen for them."""
        classes = Classes.of(snapshot.task)
        # Colors lie in the metadata: they are the window's, and no other program needs them.
        chosen = {} if snapshot.config is None else snapshot.config.metadata.get(KEY, {})
        rows = tuple(
            ClassRow(number, name, str(chosen.get(str(number), COLORS[(number - 1) % len(COLORS)])))
            for number, name in enumerate(classes.names)
            if number
        )
        self.classes, self.rows = classes, rows
        self.changed.emit()


def _refuse(name: str, others: dict[str, str]) -> None:
    if not name:
        raise UsageError("A class needs a name.", "Type a name, such as nucleus.")
    # Case is ignored: two names that differ only in case would be mixed up.
    if name.casefold() in (other.casefold() for other in others.values()):
        raise UsageError(f"There is a class '{name}' already.", "Choose another name.")
