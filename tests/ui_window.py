"""One tab in a real napari window, and what the session told, for the tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("napari")

from qtpy.QtCore import QCoreApplication, QEvent, Qt

from maskloop import Project
from maskloop.ui.chosen import Chosen
from maskloop.ui.main_thread import MainThread
from maskloop.ui.recent import RecentProjects
from maskloop.ui.session import Session

DEADLINE_MS = 120_000


class TabWindow:
    """A viewer with a tab in a dock.

    Parameters
    ----------
    viewer, qtbot
        Fixtures.
    tab
        The type of the tab, such as `TrainTab`.
    settings
        Folder for what is remembered of the person.
    """

    def __init__(
        self, viewer: Any, qtbot: Any, tab: Callable[[Session, Chosen], Any], settings: Path
    ) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        self.session = Session(MainThread(), recent=RecentProjects(settings / "recent.json"))
        self.chosen = Chosen.of(viewer)
        self.tab = tab(self.session, self.chosen)
        self.told: list[str] = []
        self.session.workspace.events.failed.connect(
            lambda problem, way_out: self.told.append(f"{problem} {way_out}")
        )
        self.session.workspace.events.said.connect(self.told.append)
        viewer.window.add_dock_widget(self.tab, name=type(self.tab).__name__)

    def until(self, is_true: Callable[[], object]) -> None:
        """Let the window live until something is true."""
        self.qtbot.waitUntil(lambda: bool(is_true()), timeout=DEADLINE_MS)

    def open(self, folder: Path) -> Project:
        """Open a project and wait until it is shown."""
        self.session.workspace.open(folder)
        self.until(
            lambda: (
                self.session.workspace.snapshot.condition == "valid"
                and not self.session.workspace.background.is_busy
            )
        )
        assert self.session.workspace.project is not None
        return self.session.workspace.project

    def click(self, widget: Any) -> None:
        """Click with the mouse as soon as it can be clicked."""
        self.until(widget.isEnabled)
        self.tab.area.ensureWidgetVisible(widget)
        self.qtbot.mouseClick(widget, Qt.MouseButton.LeftButton)

    def close(self) -> None:
        """Leave nothing behind."""
        self.viewer.window.remove_dock_widget(self.tab)
        self.session.close()
        self.chosen.close()
        self.tab.deleteLater()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
