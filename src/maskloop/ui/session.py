"""One window: its workspace and its controllers, each with the other controllers it needs."""

from __future__ import annotations

from maskloop.ui.background import Deliver
from maskloop.ui.controllers.about import AboutController
from maskloop.ui.controllers.accepting import AcceptController
from maskloop.ui.controllers.base import Controller
from maskloop.ui.controllers.checkpoints import CheckpointsController
from maskloop.ui.controllers.checkup import CheckupController
from maskloop.ui.controllers.classes import ClassesController
from maskloop.ui.controllers.label_rule import LabelRuleController
from maskloop.ui.controllers.network import NetworkController
from maskloop.ui.controllers.notes import NotesController
from maskloop.ui.controllers.pair_import import PairImportController
from maskloop.ui.controllers.pairs import PairsController
from maskloop.ui.controllers.plan import PlanController
from maskloop.ui.controllers.prediction import PredictionController
from maskloop.ui.controllers.predictions import PredictionsController
from maskloop.ui.controllers.queue import QueueController
from maskloop.ui.controllers.training import TrainingController
from maskloop.ui.controllers.weight_files import WeightFiles
from maskloop.ui.controllers.weights_import import WeightsController
from maskloop.ui.recent import RecentProjects
from maskloop.ui.workspace import Workspace

__all__ = ["Session"]


class Session:
    """Makes the controllers of a window, and closes them; tabs take from it what they show.

    Parameters
    ----------
    deliver
        Calls a function in the main thread, soon.
    recent
        Where recently opened projects are remembered.
    """

    def __init__(self, deliver: Deliver, *, recent: RecentProjects | None = None) -> None:
        self.workspace = workspace = Workspace(deliver, recent=recent)
        self.classes = ClassesController(workspace)
        self.label_rule = LabelRuleController(workspace)
        self.queue = QueueController(workspace)
        # Before those that are given it: they hear news in this order.
        self.plan = PlanController(workspace)
        self.pairs = PairsController(workspace, self.plan)
        self.accepting = AcceptController(workspace, self.pairs)
        self.pair_import = PairImportController(workspace, self.label_rule)
        self.training = TrainingController(workspace, self.plan)
        self.weight_files = WeightFiles(workspace)
        self.prediction = PredictionController(workspace, self.weight_files)
        self.predictions = PredictionsController(workspace, self.prediction, self.accepting)
        self.checkpoints = CheckpointsController(
            workspace, self.weight_files, self.plan, self.prediction
        )
        self.network = NetworkController(workspace)
        self.weights = WeightsController(workspace)
        self.notes = NotesController(workspace)
        self.checkup = CheckupController(workspace)
        self.about = AboutController(workspace)

    @property
    def controllers(self) -> list[Controller]:
        """All controllers, in the order in which they were made."""
        # From the attributes, so that a new controller cannot be forgotten when closing.
        return [one for one in vars(self).values() if isinstance(one, Controller)]

    def close(self) -> None:
        """Close the window's side of the project: runs continue, what was typed is kept."""
        # The controllers write what was typed while the project is still open.
        self.workspace.close(self._finish)

    def _finish(self) -> None:
        for controller in self.controllers:
            controller.close()
