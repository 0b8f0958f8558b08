"""The classes of a project: names, colours, and one more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psygnal import Signal, SignalGroup

from maskloop.errors import MaskloopError, UsageError
from maskloop.project.store import changed
from maskloop.ui.controllers.label_semantics import Classes

if TYPE_CHECKING:
    from maskloop.compute.project import Project
    from maskloop.ui.session import Session
    from maskloop.ui.snapshot import Snapshot

__all__ = ["ClassRow", "ClassesController"]

COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2", "#999999")
"""Apart for people who do not tell red from green (Okabe and Ito, "Color universal design",
2008).
"""
KEY = "class_colors"
MOST = 255
"""Masks of classes are saved with one byte a pixel."""


class ClassesEvents(SignalGroup):
    """Told in the thread of the window."""

    changed = Signal()
    """Names, colours or what may be done with them."""


@dataclass(frozen=True)
class ClassRow:
    """A class as it is shown."""

    class_id: int
    name: str
    colour: str
    """Such as ``#e69f00``."""


class ClassesController:
    """What is segmented, by name and colour.

    Parameters
    ----------
    session
        Whose project's classes they are.
    """

    def __init__(self, session: Session) -> None:
        self.events = ClassesEvents()
        self.classes = Classes()
        self.rows: tuple[ClassRow, ...] = ()
        self._session = session
        session.events.snapshot_changed.connect(self._take)

    @property
    def has_colours(self) -> bool:
        """Whether labels are classes, so that each has a colour of its own."""
        return self.classes.mode == "multiclass"

    @property
    def why_not_change(self) -> str | None:
        """Why no name and no colour can be changed, or None."""
        return self._session.snapshot.why_not_write

    @property
    def why_not_add(self) -> str | None:
        """Why no class can be added, or None."""
        if self.classes.mode != "multiclass":
            return f"A project for {self.classes.mode} masks has one class. Make a project for several classes to have more."
        if len(self.classes.names) > MOST:
            return f"There are {len(self.classes.names) - 1} classes: no more fit."
        return self.why_not_change

    @property
    def why_care(self) -> str:
        """What adding a class means for the checkpoints, as a question's detail; empty where it means nothing."""
        count = len(self._session.snapshot.checkpoints)
        if not count:
            return ""
        them = "The checkpoint goes" if count == 1 else f"The {count} checkpoints go"
        return f"{them} on predicting the classes of before, but the next training cannot continue from there: it starts from scratch."

    def rename(self, class_id: int, name: str) -> None:
        """Call a class something else; masks and checkpoints stay as they are."""
        name = name.strip()
        if name == self.classes.name(class_id):
            return

        def write(project: Project) -> None:
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

        self._do(write, f"Class {class_id} is called {name} now")

    def add(self, name: str) -> None:
        """Add a class at the end, so that all masks stay as they are."""
        name = name.strip()

        def write(project: Project) -> None:
            with project.writing("add a class"):
                task = project.task
                _refuse(name, task.class_labels)
                project.set_task(changed(task, classes=(*task.classes, name)))

        why_not = self.why_not_add
        if why_not is not None:
            self._session.fail(MaskloopError("No class was added.", why_not))
            return
        self._do(write, f"Added the class {name}")

    def set_colour(self, class_id: int, colour: str) -> None:
        """Show a class in another colour."""

        def write(project: Project) -> None:
            with project.writing("colour a class"):
                metadata = project.config.metadata
                project.update_config(
                    metadata={**metadata, KEY: {**metadata.get(KEY, {}), str(class_id): colour}}
                )

        self._do(write, "")

    def _do(self, write: Any, said: str) -> None:
        def failed(error: Exception) -> None:
            # What was typed is not what is: show what is.
            self.events.changed.emit()
            self._session.fail(error)

        self._session.do(write, said=(lambda _: said) if said else None, otherwise=failed)

    def _take(self, snapshot: Snapshot) -> None:
        classes = Classes.of(snapshot.task)
        chosen = {} if snapshot.config is None else snapshot.config.metadata.get(KEY, {})
        rows = tuple(
            ClassRow(
                number, name, str(chosen.get(str(number), COLOURS[(number - 1) % len(COLOURS)]))
            )
            for number, name in enumerate(classes.names)
            if number
        )
        self.classes, self.rows = classes, rows
        self.events.changed.emit()

    def close(self) -> None:
        """Nothing is left open."""


def _refuse(name: str, others: dict[str, str]) -> None:
    if not name:
        raise UsageError("The class has no name.", "Type a name, such as nucleus.")
    if name.casefold() in (other.casefold() for other in others.values()):
        raise UsageError(f"There is a class '{name}' already.", "Choose another name.")
