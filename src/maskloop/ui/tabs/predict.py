"""Predict: the image in view, or files and folders; correct and accept; look at earlier ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtWidgets import QCheckBox, QWidget

from maskloop.errors import MaskloopError
from maskloop.ui.actions import Action, ActionButton
from maskloop.ui.arrange import column, form
from maskloop.ui.choice import Choice
from maskloop.ui.chosen import Chosen
from maskloop.ui.controllers.prediction import DEVICES, PredictionController
from maskloop.ui.controllers.prediction_rows import PredictionRow
from maskloop.ui.layers import Extent, LayerChoice, LayerCombo, crop_metadata, guess_axes, take
from maskloop.ui.picker import ImagePicker
from maskloop.ui.predicted_layers import (
    Subject,
    images_of,
    is_prediction,
    show_opened,
    show_predicted,
)
from maskloop.ui.session import Session
from maskloop.ui.tables import Column, RowModel, Table
from maskloop.ui.tabs.base import Tab
from maskloop.ui.tabs.predict_files import FilesSection
from maskloop.ui.watch import Watch
from maskloop.ui.widgets import Line, Notice, ProgressLine, Section

__all__ = ["PredictTab"]

EXTENTS: tuple[tuple[Extent, str], ...] = (("whole", "Whole image"), ("slice", "Visible slice"))
LEVELS = {"good": "info", "stopped": "info", "bad": "warning", "": "info"}
NOT_PREDICTED = "Select predicted labels; a mask drawn by hand is added in Dataset."


class PredictTab(Tab):
    """Predicts, shows the progress, and takes corrections back."""

    title = "Predict"

    def __init__(self, session: Session, chosen: Chosen) -> None:
        super().__init__(session, chosen)
        self._prediction = session.prediction
        self.layer = LayerSection(session, chosen)
        self.options = OptionsSection(session.prediction)
        self.files = FilesSection(session.prediction)
        self.correction = CorrectionSection(session, chosen)
        self.kept = KeptSection(session, chosen)
        self.progress = ProgressLine()
        self.outcome = Notice()
        self.fill(
            (
                self.layer,
                Section("Options", self.options, expanded=False),
                Section("Files and folders", self.files, expanded=False),
                Section("Correct and accept", self.correction),
                Section("Predictions", self.kept),
            ),
            # Always in sight, whichever section is scrolled to or collapsed.
            always=(self.outcome, self.progress),
        )
        self.progress.cancelled.connect(self._prediction.cancel)
        self._prediction.run_changed.connect(self._show_run)
        self._show_run()

    @property
    def shortcuts(self) -> Sequence[Action]:
        """Predict."""
        return (self.layer.button.action,)

    def predict(self) -> None:
        """Predict the image in view."""
        self.layer.predict()

    def accept(self) -> None:
        """Add the corrected labels to the training set."""
        self.correction.accept()

    def _show_run(self) -> None:
        prediction, progress = self._prediction, self._prediction.progress
        self.progress.setVisible(prediction.is_active)
        self.progress.show_progress(progress.done, progress.total, progress.words)
        # While it is starting there is no process yet to be cancelled.
        self.progress.cancel.setEnabled(prediction.run.why_not_cancel is None)
        outcome = "" if prediction.is_active else f"{progress.outcome} {progress.way_out}".strip()
        self.outcome.show_message(outcome, level=LEVELS[progress.tone])


class LayerSection(QWidget):
    """The image in view, the checkpoint, and the button."""

    def __init__(self, session: Session, chosen: Chosen) -> None:
        super().__init__()
        self._workspace, self._predictions = session.workspace, session.predictions
        self._prediction, self._chosen = session.prediction, chosen
        self.checkpoint = Choice("Checkpoint")
        self.picker = ImagePicker(chosen)
        self.extent = Choice("Region to predict", EXTENTS)
        self.button = ActionButton(
            Action(
                "Predict",
                self.predict,
                self._why_not,
                "Predict this image in the background; the labels become a layer and are saved",
                "Ctrl+Shift+Return",
            )
        )
        form(
            [
                ("Checkpoint", self.checkpoint),
                ("Image", self.picker),
                ("", self.extent),
                self.button,
                self.button.reason_line(),
            ],
            into=self,
        )
        self.checkpoint.chosen.connect(self._prediction.set_checkpoint)
        self.extent.activated.connect(self._show)
        self.picker.changed.connect(self._show)
        self._prediction.changed.connect(self._show)
        # Which slice is in view decides whether there is one to predict.
        self._watch = Watch(self._show)
        self._watch.follow([chosen.viewer.dims.events.order, chosen.viewer.dims.events.ndisplay])
        self.destroyed.connect(self._watch.stop)
        self._show()

    def subject(self) -> Subject:
        """The image as it is selected now."""
        picker = self.picker
        # The choice is hidden without slices, and may still stand at "slice" from another image.
        extent: Extent = self.extent.value if self._has_slices() else "whole"
        return Subject(
            self._chosen.viewer, picker.layers(), picker.axes(), extent, picker.problem()
        )

    def _has_slices(self) -> bool:
        return bool(set(self.picker.axes() or "") & set("TZ"))

    def _why_not(self) -> str | None:
        subject = self.subject()
        return self._prediction.why_not_image(subject.image, subject.problem)

    def predict(self) -> None:
        """Predict it."""
        subject = self.subject()
        # The shortcut comes here although the button is disabled.
        why_not = self._prediction.why_not_image(subject.image, subject.problem)
        if not self._workspace.may(why_not, "Nothing was predicted.") or subject.image is None:
            return
        predictions, say = self._predictions, self._workspace.say
        # The newest prediction is what is corrected and accepted next.
        choose = self._chosen.labels.choose
        self._prediction.predict_image(
            subject.image,
            name=subject.name,
            origin=subject.origin,
            # The subject is that of the click: another image may be selected by then.
            then=lambda found: show_predicted(predictions, subject, found, say, choose),
        )

    def _show(self) -> None:
        prediction = self._prediction
        self.checkpoint.show_options(prediction.checkpoint_options, prediction.checkpoint)
        # Where there is one plane both choices would be the same.
        self.extent.setVisible(self._has_slices())
        self.button.refresh()


class OptionsSection(QWidget):
    """How to predict, for images and files alike."""

    def __init__(self, prediction: PredictionController) -> None:
        super().__init__()
        self.mirror = QCheckBox("Test-time augmentation (4x slower)")
        self.mirror.setToolTip("Average over mirrored copies of the image: often a little better")
        self.probabilities = QCheckBox("Save probability maps")
        self.probabilities.setToolTip(
            "How certain the model is at each pixel: saved as a file, shown as hidden layers"
        )
        self.device = Choice("Device", DEVICES)
        # For images and files alike: set twice they would differ unnoticed.
        form([self.mirror, self.probabilities, ("Device", self.device)], into=self)
        self.mirror.toggled.connect(prediction.set_mirror)
        self.probabilities.toggled.connect(prediction.set_probabilities)
        self.device.chosen.connect(prediction.set_device)


class CorrectionSection(QWidget):
    """Predicted labels, corrected by hand, become a pair."""

    def __init__(self, session: Session, chosen: Chosen) -> None:
        super().__init__()
        self._workspace, self._predictions = session.workspace, session.predictions
        self._accepting, self._chosen = session.accepting, chosen
        # Its own: a rectangle for this tab is no choice of the others.
        self._shapes = LayerChoice(chosen.viewer, kind="shapes")
        self.labels = LayerCombo(chosen.labels)
        self.labels.setAccessibleName("Predicted labels")
        self.extent = Choice("Region to add", (*EXTENTS, ("rectangle", "Rectangle")))
        self.source = Line()
        self.button = ActionButton(
            Action(
                "Add corrected labels to training set",
                self.accept,
                lambda: self.why_not,
                "Correct the labels first: paint, fill and erase as you like",
            )
        )
        rows = (("Labels", self.labels), ("", self.source), ("Region to add", self.extent))
        form([*rows, self.button], into=self)
        chosen.labels.changed.connect(self._show)
        chosen.image.choices_changed.connect(self._show)
        session.accepting.changed.connect(self._show)
        session.prediction.changed.connect(self._show)
        self.destroyed.connect(self._shapes.close)
        self._show()

    def accept(self) -> None:
        """Add them to the training set."""
        labels = self._chosen.labels.layer
        if not self._workspace.may(self.why_not, "Nothing was accepted.") or labels is None:
            return
        # The image that it was predicted from, not the one that happens to be selected.
        layers = images_of(labels, self._chosen.viewer)
        try:
            place: dict[str, Any] = {
                "axes": guess_axes(layers[0], self._chosen.viewer).axes or "",
                "extent": self.extent.value,
                "viewer": self._chosen.viewer,
                "shapes_layer": self._shapes.layer,
            }
            image, mask = take(layers, labels, **place)
            where = crop_metadata(layers, labels, **place)
        except MaskloopError as error:
            self._workspace.fail(error)
            return
        self._predictions.accept(image, mask, origin=labels.metadata, where=where)

    @property
    def why_not(self) -> str | None:
        """Why nothing can be accepted, or None."""
        labels = self._chosen.labels.layer
        if labels is None or not is_prediction(labels):
            return NOT_PREDICTED
        # A pair needs its image, and another one of the same size would fit, too.
        if not images_of(labels, self._chosen.viewer):
            return "The image of these labels is gone: double-click the prediction below."
        return self._accepting.why_not

    def _show(self, *_changed: object) -> None:
        labels = self._chosen.labels.layer
        self.button.refresh()
        if labels is None or not is_prediction(labels):
            self.source.setText("Not a maskloop prediction")
            return
        names = ", ".join(layer.name for layer in images_of(labels, self._chosen.viewer))
        source = f"Predicted with {labels.metadata['checkpoint_id']}"
        self.source.setText(f"{source} from {names}" if names else source)


class KeptSection(QWidget):
    """The predictions that the project keeps."""

    def __init__(self, session: Session, chosen: Chosen) -> None:
        super().__init__()
        self._workspace, self._predictions = session.workspace, session.predictions
        self._chosen = chosen
        columns: list[Column[PredictionRow]] = [
            Column("Image", lambda row: row.image, lambda row: row.tooltip),
            Column("Checkpoint", lambda row: row.checkpoint, lambda row: row.tooltip),
            Column("Predicted", lambda row: row.when, lambda row: row.tooltip),
            Column("Name", lambda row: row.prediction_id, lambda row: row.tooltip),
        ]
        self.model = RowModel(columns, key=lambda row: row.prediction_id)
        self.table = Table(self.model, empty="Predictions are listed here.")
        self.table.set_widths(19, 17, 22, 18)
        self.table.setToolTip("Double-click a row to see the labels on their image")
        self.table.setMinimumHeight(10 * self.fontMetrics().lineSpacing())
        column([self.table], into=self)
        self.table.activated.connect(self.open)
        self._predictions.changed.connect(self._show)
        self._show()

    def open(self, row: PredictionRow) -> None:
        """Show a prediction on its image."""
        chosen, say = self._chosen, self._workspace.say
        self._predictions.open(
            row, lambda opened: chosen.labels.choose(show_opened(chosen.viewer, opened, say))
        )

    def _show(self) -> None:
        self.model.set_rows(self._predictions.rows)
