"""The bar that is always seen: which project, how it stands, what it holds."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QFileDialog, QGridLayout, QPushButton, QSizePolicy, QWidget

from maskloop.compute.project import Project
from maskloop.ui.new_project import NewProjectDialog
from maskloop.ui.snapshot import Snapshot
from maskloop.ui.widgets import Line, Notice
from maskloop.ui.workspace import Workspace

__all__ = ["ProjectBar"]

CHOOSE = "Choose a project..."
SCORES = ("ap50", "dice", "iou")


class ProjectBar(QWidget):
    """Chooses, creates and opens projects; shows path, state, pairs, latest checkpoint and its score."""

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self.selector = QComboBox(accessibleName="Project")
        self.selector.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.new = QPushButton("New...", toolTip="Make a new training project")
        self.open = QPushButton("Open...", toolTip="Open the folder of a project")
        self.path, self.facts = Line(), Line()
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
        self.selector.activated.connect(self._choose)
        self.new.clicked.connect(self.ask_new)
        self.open.clicked.connect(self._ask_open)
        workspace.events.project_changed.connect(self._list_recent)
        workspace.events.snapshot_changed.connect(self._show)
        self._list_recent(workspace.project)
        self._show(workspace.snapshot)

    def _list_recent(self, project: Project | None) -> None:
        present = None if project is None else project.folder
        self._workspace.background.run(
            self._workspace.recent.list, lambda found: self._fill(found, present), key="recent"
        )

    def _fill(self, found: list[Path], present: Path | None) -> None:
        folders = (
            found
            if present is None
            else [present, *(folder for folder in found if folder != present)]
        )
        self.selector.clear()
        if present is None:
            self.selector.addItem(CHOOSE, None)
        for folder in folders:
            self.selector.addItem(folder.name, folder)
            self.selector.setItemData(
                self.selector.count() - 1, str(folder), Qt.ItemDataRole.ToolTipRole
            )
        self.selector.setCurrentIndex(0)

    def _choose(self, index: int) -> None:
        folder = self.selector.itemData(index)
        if folder is not None:
            self._workspace.open(folder)

    def ask_new(self) -> None:
        """Ask for a new project and create it."""
        dialog = NewProjectDialog(self)
        dialog.accepted.connect(
            lambda: self._workspace.create(
                dialog.path, mode=dialog.mode, classes=dialog.class_names or None
            )
        )
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()

    def _ask_open(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of the project")
        if folder:
            self._workspace.open(folder)

    def _show(self, snapshot: Snapshot) -> None:
        project = self._workspace.project
        self.path.setText("" if project is None else _short(project.folder))
        self.path.setToolTip("" if project is None else str(project.folder))
        self.facts.setText(_facts(snapshot))
        if snapshot.condition == "valid":
            self.notice.hide()
        else:
            level = {"none": "info", "missing": "error", "incomplete": "error"}.get(
                snapshot.condition, "warning"
            )
            words = (
                snapshot.way_out
                if snapshot.condition == "none"
                else f"{snapshot.words}. {snapshot.way_out}"
            )
            self.notice.show_message(words, level=level)


def _short(folder: Path) -> str:
    home = Path.home()
    return (
        f"~/{folder.relative_to(home).as_posix()}" if folder.is_relative_to(home) else str(folder)
    )


def _facts(snapshot: Snapshot) -> str:
    status = snapshot.status
    if status is None:
        return ""
    pairs = f"{status.pair_count} pair{'s' * (status.pair_count != 1)}"
    if status.new_pair_count and status.checkpoint_count:
        pairs += f" ({status.new_pair_count} new)"
    score = next(
        (
            f"{name} {status.latest_benchmark[name]:.3f}"
            for name in SCORES
            if status.latest_benchmark.get(name) is not None
        ),
        "",
    )
    words = {
        "valid": "Valid",
        "locked": "Locked",
        "read-only": "Read only",
        "incomplete": "Incomplete",
    }.get(snapshot.condition, "")
    return "  ·  ".join(
        part
        for part in (words, pairs, status.latest_checkpoint or "no checkpoint yet", score)
        if part
    )
