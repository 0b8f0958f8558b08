"""The dock: the bar, the tabs, the shortcuts and the words of the session, wired to one napari viewer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QApplication, QScrollArea, QTabWidget, QVBoxLayout, QWidget

from maskloop.ui.bar import ProjectBar
from maskloop.ui.chosen import Chosen
from maskloop.ui.main_thread import MainThread
from maskloop.ui.session import Session
from maskloop.ui.snapshot import Snapshot
from maskloop.ui.tabs.advanced import AdvancedTab
from maskloop.ui.tabs.checkpoints import CheckpointsTab
from maskloop.ui.tabs.dataset import DatasetTab
from maskloop.ui.tabs.predict import PredictTab
from maskloop.ui.tabs.train import TrainTab
from maskloop.ui.widgets import Line

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["MaskloopDock"]

MINIMUM_PX = 330
SHORTCUTS = {
    "Ctrl+Return": "Accept",
    "Ctrl+Shift+Right": "Next image",
    "Ctrl+Shift+Left": "Previous image",
    "Ctrl+Shift+Return": "Predict",
    "Ctrl+Shift+L": "Show or hide the labels",
}


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
        # napari may hand a proxy over, whose layers are new objects each time they are asked for:
        # none is ever the chosen one.
        self.viewer: Viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.session = Session(MainThread())
        self.chosen = Chosen.of(self.viewer)
        self.bar = ProjectBar(self.session)
        self.dataset = DatasetTab(self.session, self.chosen)
        self.train = TrainTab(self.session, self.chosen)
        self.checkpoints = CheckpointsTab(self.session, self.chosen)
        self.predict = PredictTab(self.session, self.chosen)
        self.advanced = AdvancedTab(self.session, self.chosen)
        self.tabs = QTabWidget(accessibleName="maskloop")
        for title, tab in (
            ("Dataset", self.dataset),
            ("Train", self.train),
            ("Checkpoints", self.checkpoints),
            ("Predict", self.predict),
            ("Advanced", self.advanced),
        ):
            self.tabs.addTab(tab, title)
        self.tabs.setUsesScrollButtons(True)
        self.help = Line(
            "Shortcuts: "
            + ", ".join(f"{_native(keys)} {words.lower()}" for keys, words in SHORTCUTS.items())
        )
        self._lay_out()
        self._bind()
        self._listen()

    def _lay_out(self) -> None:
        inside = QWidget()
        layout = QVBoxLayout(inside)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(self.bar)
        layout.addWidget(self.tabs, 1)
        layout.addWidget(self.help)
        # Whatever changes in here is laid out in here: without the area between, each new word in a
        # label would lay out and draw napari's whole window, which takes a tenth of a second.
        area = QScrollArea(widgetResizable=True)
        area.setFrameShape(QScrollArea.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(inside)
        area.setMinimumWidth(MINIMUM_PX)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(area)

    def _bind(self) -> None:
        verbs: tuple[Callable[[], object], ...] = (
            self.dataset.accept,
            self.dataset.queue.next,
            self.dataset.queue.previous,
            self.predict.predict,
            self._toggle_labels,
        )
        for keys, verb in zip(SHORTCUTS, verbs, strict=True):
            shortcut = QShortcut(QKeySequence(keys), self)
            # The canvas has the focus while one paints.
            shortcut.setContext(Qt.ShortcutContext.WindowShortcut)
            shortcut.activated.connect(verb)

    def _listen(self) -> None:
        events = self.session.events
        events.failed.connect(lambda problem, way_out: show_warning(f"{problem}\n{way_out}"))
        events.said.connect(show_info)
        events.snapshot_changed.connect(self._enable)
        self._enable(self.session.snapshot)
        # A dock ends in three ways: by its cross (see `event`), with its window, with the
        # application. Not a method of the widget: when `destroyed` is told, the widget is gone.
        self._end = _Ending(self.session, self.chosen)
        self.destroyed.connect(self._end)

    def _enable(self, snapshot: Snapshot) -> None:
        reason, was_open = snapshot.why_not_read, self.tabs.isTabEnabled(0)
        for index in range(self.tabs.count()):
            self.tabs.setTabEnabled(index, reason is None)
            self.tabs.setTabToolTip(index, reason or "")
            self.tabs.widget(index).setEnabled(reason is None)
        if reason is not None or not was_open:
            # Qt leaves a disabled tab for its neighbour, and so ends at the last one.
            self.tabs.setCurrentIndex(0)

    def _toggle_labels(self) -> None:
        layer = self.chosen.labels.layer
        if layer is not None:
            layer.visible = not layer.visible

    def open_project(self, folder: str | Path) -> None:
        """Open a project in this dock."""
        self.session.open(folder)

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


def _native(keys: str) -> str:
    return str(QKeySequence(keys).toString(QKeySequence.SequenceFormat.NativeText))
