"""Kept predictions: list them, read them to look at or correct, accept corrected labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from maskloop.compute.predicted import (
    OpenedPrediction,
    Part,
    PredictedImage,
    is_edited,
    open_prediction,
    read_labels,
    read_scores,
)
from maskloop.compute.project import Project
from maskloop.images.image import Image
from maskloop.ui.controllers.acceptance import freeze, is_quick_to_copy
from maskloop.ui.controllers.accepting import AcceptController
from maskloop.ui.controllers.base import Controller
from maskloop.ui.controllers.prediction import PredictionController
from maskloop.ui.controllers.prediction_rows import PredictionRow, rows_of
from maskloop.ui.snapshot import Snapshot
from maskloop.ui.workspace import Workspace

__all__ = ["PredictionsController"]


class PredictionsController(Controller):
    """The predictions of the project, and what becomes of them.

    `changed` means: `rows` changed.

    Parameters
    ----------
    workspace
        Whose project keeps them.
    prediction
        Knows what a checkpoint predicts.
    accepting
        Saves corrected labels as pairs.
    """

    def __init__(
        self, workspace: Workspace, prediction: PredictionController, accepting: AcceptController
    ) -> None:
        super().__init__(workspace)
        self.rows: list[PredictionRow] = []
        """The newest first."""
        self._prediction, self._accepting = prediction, accepting

    def read_labels(
        self, predicted: PredictedImage, then: Callable[[Image], None], *, part: Part | None = None
    ) -> None:
        """Read predicted labels, at their place in the whole image if only a part was predicted."""
        is_instances = self._prediction.is_instances(predicted.checkpoint_id)
        self._workspace.background.run(
            lambda: read_labels(predicted, is_instances=is_instances, part=part), then
        )

    def read_scores(self, predicted: PredictedImage, then: Callable[[Image], None]) -> None:
        """Read the probability maps of a prediction."""
        self._workspace.background.run(lambda: read_scores(predicted), then)

    def open(self, row: PredictionRow, then: Callable[[OpenedPrediction], None]) -> None:
        """Read a prediction, and its image if that is still found."""
        # Asked in the main thread: the snapshot belongs to it.
        is_instances = self._prediction.is_instances(row.checkpoint)
        self._workspace.do(
            lambda project: open_prediction(
                project, row.record, row.scores, is_instances=is_instances
            ),
            then,
            key="open a prediction",
        )

    def accept(
        self, image: Image, labels: Image, *, origin: Mapping[str, Any], where: Mapping[str, Any]
    ) -> None:
        """Add corrected labels to the training set, with the prediction they were made from.

        Parameters
        ----------
        image, labels
            As `layers.take` gives them.
        origin
            Metadata of the labels' layer: which prediction it shows.
        where
            As `layers.crop_metadata` gives it.
        """
        # Small labels are copied at the click: what is painted while they are compared with the
        # prediction must not be accepted.
        taken = freeze(labels) if is_quick_to_copy(labels) else labels

        def look(project: Project) -> tuple[Image, bool]:
            frozen = taken if taken is not labels else freeze(labels)
            return frozen, is_edited(project, origin, frozen, where)

        def accept(found: tuple[Image, bool]) -> None:
            facts = {name: origin.get(name) for name in ("prediction_id", "checkpoint_id")}
            metadata = {**where, **facts, "was_edited": found[1]}
            self._accepting.accept(
                image, found[0], source="corrected_prediction", metadata=metadata
            )

        # A prediction whose file is gone is no reason to refuse what was made of it.
        self._workspace.do(look, accept, otherwise=lambda _error: accept((taken, True)))

    def take(self, snapshot: Snapshot) -> None:
        """Show the predictions of the project."""
        known = {row.prediction_id: row for row in self.rows}
        rows = rows_of(snapshot.predictions, known)
        is_same = len(rows) == len(self.rows) and all(
            one is other for one, other in zip(rows, self.rows, strict=True)
        )
        self.rows = rows
        if not is_same:
            self.changed.emit()

    def reset(self, project: Project | None) -> None:
        """Forget the rows."""
        self.rows = []
        self.changed.emit()
