"""The bar above the tabs: which project is open, its state and its contents."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QGridLayout, QPushButton, QWidget

from maskloop.compute.project import Project
from maskloop.ui.choice import Choice, Option
from maskloop.ui.new_project import NewProjectDialog
from maskloop.ui.snapshot import Snapshot
from maskloop.ui.widgets import Line, Notice
from maskloop.ui.workspace import Workspace
from maskloop.wording import SCORE_TITLES, counted

__all__ = ["ProjectBar"]

SELECT = "Select a project..."
SCORES = ("ap50", "dice", "iou")
"""The first that a checkpoint has is shown."""
LEVELS = {"none": "info", "missing": "error", "incomplete": "error"}
"""How urgent a condition is; a warning where it is not listed."""
CONDITIONS = {
    "valid": "OK",
    "locked": "In use",
    "read-only": "Read-only",
    "incomplete": "Incomplete",
}


class ProjectBar(QWidget):
    """Selects, creates and opens projects; shows path, state, pairs and latest checkpoint."""

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self.selector = Choice("Project")
        self.new = QPushButton("New...", toolTip="Create a training project")
        self.open = QPushButton("Open...", toolTip="Open a project folder")
        self.path = Line()
        self.facts = Line()
        # The name of the folder, at the end, tells projects apart.
        self.path.setElideMode(Qt.TextElideMode.ElideMiddle)
        self.notice = Notice()
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setColumnStretch(0, 1)
        layout.addWidget(self.selector, 0, 0)
        layout.addWidget(self.new, 0, 1)
        layout.addWidget(self.open, 0, 2)
        layout.addWidget(self.path, 1, 0, 1, 3)
        layout.addWidget(self.facts, 2, 0, 1, 3)
        layout.addWidget(self.notice, 3, 0, 1, 3)
        self.selector.chosen.connect(self._choose)
        self.new.clicked.connect(self.ask_new)
        self.open.clicked.connect(self._ask_open)
        workspace.events.project_changed.connect(self._list_recent)
        workspace.events.snapshot_changed.connect(self._show)
        self._list_recent(workspace.project)
        self._show(workspace.snapshot)

    def _list_recent(self, project: Project | None) -> None:
        present = None if project is None else project.folder
        # In a thread: the home folder may lie on a slow server.
        self._workspace.background.run(
            self._workspace.recent.list, lambda found: self._fill(found, present), key="recent"
        )

    def _fill(self, found: list[Path], present: Path | None) -> None:
        options: list[Option] = [(one, one.name, str(one)) for one in found if one != present]
        if present is None:
            options.insert(0, (None, SELECT))
        else:
            # At once: it may not be among the recent ones yet, which are written later.
            options.insert(0, (present, present.name, str(present)))
        self.selector.show_options(options, present)

    def _choose(self, folder: Path | None) -> None:
        if folder is not None:
            self._workspace.open(folder)

    def ask_new(self) -> None:
        """Ask for the folder and the task of a new project, and create it."""
        dialog = NewProjectDialog(self)
        dialog.accepted.connect(
            lambda: self._workspace.create(
                dialog.path, mode=dialog.mode, classes=dialog.class_names or None
            )
        )
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        # Not `exec`, which returns only when the dialog is closed.
        dialog.open()

    def _ask_open(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Project folder")
        if folder:
            self._workspace.open(folder)

    def _show(self, snapshot: Snapshot) -> None:
        project = self._workspace.project
        self.path.setText("" if project is None else _short(project.folder))
        self.path.setToolTip("" if project is None else str(project.folder))
        self.facts.setText(_facts(snapshot))
        words = f"{snapshot.words}. {snapshot.way_out}"
        if snapshot.condition == "valid":
            words = ""
        if snapshot.condition == "none":
            words = snapshot.way_out
        self.notice.show_message(words, level=LEVELS.get(snapshot.condition, "warning"))


def _short(folder: Path) -> str:
    home = Path.home()
    # The home folder is the same in every path and would fill the line.
    if not folder.is_relative_to(home):
        return str(folder)
    return f"~/{folder.relative_to(home).as_posix()}"


def _facts(snapshot: Snapshot) -> str:
    status = snapshot.status
    if status is None:
        return ""
    pairs = counted(status.pair_count, "pair")
    # Without a checkpoint all of them are new.
    if status.new_pair_count and status.checkpoint_count:
        pairs += f" ({status.new_pair_count:,} new)"
    parts = [CONDITIONS.get(snapshot.condition), pairs]
    parts.append(status.latest_checkpoint or "no checkpoint yet")
    scores = status.latest_benchmark
    name = next((one for one in SCORES if scores.get(one) is not None), None)
    if name is not None:
        parts.append(f"{SCORE_TITLES[name]} {scores[name]:.3f}")
    return "  ·  ".join(part for part in parts if part)
