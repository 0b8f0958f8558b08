"""The dock: the bar, the tabs, the shortcuts and the messages, in one napari viewer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QApplication, QTabWidget, QVBoxLayout, QWidget

from maskloop.ui.actions import Action
from maskloop.ui.arrange import scrolled
from maskloop.ui.bar import ProjectBar
from maskloop.ui.chosen import Chosen
from maskloop.ui.main_thread import MainThread
from maskloop.ui.session import Session
from maskloop.ui.snapshot import Snapshot
from maskloop.ui.tabs.advanced import AdvancedTab
from maskloop.ui.tabs.base import Tab
from maskloop.ui.tabs.checkpoints import CheckpointsTab
from maskloop.ui.tabs.dataset import DatasetTab
from maskloop.ui.tabs.predict import PredictTab
from maskloop.ui.tabs.train import TrainTab
from maskloop.ui.widgets import Line

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["TABS", "MaskloopDock"]

TABS: tuple[type[Tab], ...] = (DatasetTab, TrainTab, CheckpointsTab, PredictTab, AdvancedTab)
"""In the order shown; titles and shortcuts come from the tabs."""
MINIMUM_PX = 330
AnyTab = TypeVar("AnyTab", bound=Tab)


class MaskloopDock(QWidget):
    """The whole loop in one dock: annotate, train, predict, correct, again.

    Parameters
    ----------
    napari_viewer
        The viewer whose layers are worked on. Each viewer has a dock and a session of its own.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.setObjectName("maskloop")
        # napari may pass a proxy, whose layers are new objects each time they are asked for: none
        # would ever be the selected one.
        self.viewer: Viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.session = Session(MainThread())
        self.chosen = Chosen.of(self.viewer)
        self.bar = ProjectBar(self.session.workspace)
        self.tabs = QTabWidget(accessibleName="maskloop")
        self.tabs.setUsesScrollButtons(True)
        for kind in TABS:
            self.tabs.addTab(kind(self.session, self.chosen), kind.title)
        self.shortcuts = self._make_shortcuts()
        self.help = Line(f"Shortcuts: {', '.join(action.hint for action in self.shortcuts)}")
        self._lay_out()
        self._listen()

    def tab(self, kind: type[AnyTab]) -> AnyTab:
        """One of the tabs, by its class."""
        tabs = map(self.tabs.widget, range(self.tabs.count()))
        return next(tab for tab in tabs if isinstance(tab, kind))

    def _make_shortcuts(self) -> list[Action]:
        labels = Action("Show or hide labels", self._toggle_labels, shortcut="Ctrl+Shift+L")
        tabs = [self.tab(kind) for kind in TABS]
        actions = [*(action for tab in tabs for action in tab.shortcuts), labels]
        for action in actions:
            shortcut = QShortcut(QKeySequence(action.shortcut), self)
            # In the whole window: the canvas has the focus while a person paints.
            shortcut.setContext(Qt.ShortcutContext.WindowShortcut)
            shortcut.activated.connect(action.run)
        return actions

    def _lay_out(self) -> None:
        inside = QWidget()
        layout = QVBoxLayout(inside)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(self.bar)
        layout.addWidget(self.tabs, 1)
        layout.addWidget(self.help)
        # A scroll area, so that whatever changes in here is laid out in here: otherwise each new
        # word in a label would lay out napari's whole window, which takes a tenth of a second.
        area = scrolled(inside)
        area.setMinimumWidth(MINIMUM_PX)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(area)

    def _listen(self) -> None:
        events = self.session.workspace.events
        events.failed.connect(lambda problem, way_out: show_warning(f"{problem}\n{way_out}"))
        events.said.connect(show_info)
        events.snapshot_changed.connect(self._enable)
        self._enable(self.session.workspace.snapshot)
        # A dock ends in three ways: with its close button (see `event`), its window, or the
        # application. Not a method of the widget: when `destroyed` is emitted, the widget is gone.
        self._end = _Ending(self.session, self.chosen)
        self.destroyed.connect(self._end)

    def _enable(self, snapshot: Snapshot) -> None:
        reason, was_open = snapshot.why_not_read, self.tabs.isTabEnabled(0)
        for index in range(self.tabs.count()):
            self.tabs.setTabEnabled(index, reason is None)
            self.tabs.setTabToolTip(index, reason or "")
            self.tabs.widget(index).setEnabled(reason is None)
        if reason is not None or not was_open:
            # Qt moves from a disabled tab to its neighbor, and so ends at the last one.
            self.tabs.setCurrentIndex(0)

    def _toggle_labels(self) -> None:
        layer = self.chosen.labels.layer
        if layer is not None:
            layer.visible = not layer.visible

    def open_project(self, folder: str | Path) -> None:
        """Open a project in this dock."""
        self.session.workspace.open(folder)

    def event(self, event: QEvent) -> bool:
        """End the session when napari takes the dock out of its window."""
        is_out = event.type() == QEvent.Type.ParentChange and self.parent() is None
        done = super().event(event)
        if is_out:
            self._end()
            self.deleteLater()
        return bool(done)


class _Ending:
    """Closes the session of a dock, once."""

    def __init__(self, session: Session, chosen: Chosen) -> None:
        self._session, self._chosen = session, chosen
        self._application = QApplication.instance()
        if self._application is not None:
            self._application.aboutToQuit.connect(self)

    def __call__(self) -> None:
        if self._application is not None:
            self._application.aboutToQuit.disconnect(self)
            self._application = None
            self._chosen.close()
            self._session.close()
