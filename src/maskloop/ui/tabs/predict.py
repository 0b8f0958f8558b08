"""Predict: the layer in view, or files and folders; then correct, accept, and look at what was predicted before. Wiring only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from maskloop.errors import MaskloopError
from maskloop.images.readers import endings
from maskloop.ui.chosen import Chosen
from maskloop.ui.controllers.predict_story import Failure
from maskloop.ui.controllers.predicted import PredictionRow
from maskloop.ui.controllers.prediction import DEVICES, PredictionController
from maskloop.ui.layers import Extent, LayerChoice, LayerCombo, crop_metadata, guess_axes, take
from maskloop.ui.picker import ImagePicker, Watch
from maskloop.ui.predicted_layers import (
    Subject,
    images_of,
    is_prediction,
    show_opened,
    show_predicted,
)
from maskloop.ui.tables import Column, RowModel, Table
from maskloop.ui.widgets import Line, Notice, ProgressLine, ReasonButton, Section, narrow_combo

if TYPE_CHECKING:
    from maskloop.ui.session import Session

__all__ = ["PredictTab"]

EXTENTS = (("whole", "Whole image"), ("slice", "Visible slice"))
AXES = ("YX", "CYX", "YXC", "ZYX", "TYX", "CZYX", "ZCYX", "TCYX", "TZYX", "TZCYX", "TCZYX")
LEVELS = {"good": "info", "stopped": "info", "bad": "warning", "": "info"}
NOT_PREDICTED = "Choose predicted labels; a mask drawn by hand is accepted in Dataset."


class PredictTab(QWidget):
    """Predicts, shows how far it is, and takes corrections back.

    Parameters
    ----------
    session
        Whose project is used.
    chosen
        The layers of the viewer.
    parent
        As for any widget.
    """

    def __init__(self, session: Session, chosen: Chosen, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session, self._chosen = session, chosen
        self.part = session.prediction
        self.layer = LayerSection(session, chosen)
        self.options = OptionsSection(self.part)
        self.files = FilesSection(self.part)
        self.correction = CorrectionSection(session, chosen)
        self.kept = KeptSection(session, chosen)
        self.progress = ProgressLine()
        self.outcome = Notice()
        self._lay_out()
        self.progress.cancelled.connect(self.part.cancel)
        self.part.events.run_changed.connect(self._show_run)
        self._show_run()

    def _lay_out(self) -> None:
        inside = QWidget()
        column = _column(inside)
        column.setContentsMargins(0, 0, 4, 0)
        column.addWidget(self.layer)
        for title, section, is_open in (
            ("Options", self.options, False),
            ("Files and folders", self.files, False),
            ("Correct and accept", self.correction, True),
            ("Predictions", self.kept, True),
        ):
            column.addWidget(Section(title, section, expanded=is_open))
        column.addStretch(1)
        self.area = QScrollArea(widgetResizable=True)
        self.area.setFrameShape(QScrollArea.Shape.NoFrame)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.area.setWidget(inside)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(4, 4, 4, 4)
        whole.addWidget(self.area, 1)
        # Always seen, however far the rest is scrolled.
        for widget in (self.outcome, self.progress):
            whole.addWidget(widget)

    def predict(self) -> None:
        """Predict the layer in view."""
        self.layer.predict()

    def accept(self) -> None:
        """Take the corrected labels into the dataset."""
        self.correction.accept()

    def _show_run(self) -> None:
        part, story = self.part, self.part.story
        self.progress.setVisible(part.is_active)
        self.progress.show_progress(*story.share, story.words)
        self.progress.cancel.setEnabled(part.why_not_cancel is None)
        self.outcome.show_message(
            "" if part.is_active else f"{story.outcome} {story.way_out}".strip(),
            level=LEVELS[story.tone],
        )


class LayerSection(QWidget):
    """The image in view, with what it is predicted, and the button."""

    def __init__(self, session: Session, chosen: Chosen) -> None:
        super().__init__()
        self._session, self._chosen, self._part = session, chosen, session.prediction
        self.checkpoint = narrow_combo("Checkpoint")
        self.picker = ImagePicker(chosen)
        self.extent = narrow_combo("What of the image", EXTENTS)
        self.button = ReasonButton("Predict")
        self.button.setToolTip(
            "Predict this image in the background; its labels become a layer and are kept in the project."
        )
        form = _form(self)
        form.addRow("Checkpoint", self.checkpoint)
        form.addRow("Image", self.picker)
        form.addRow("", self.extent)
        form.addRow(self.button)
        self.checkpoint.activated.connect(
            lambda place: self._part.set_checkpoint(self.checkpoint.itemData(place))
        )
        self.extent.activated.connect(self._show)
        self.button.clicked.connect(self.predict)
        self.picker.changed.connect(self._show)
        self._part.events.changed.connect(self._show)
        # Which slice is in view decides whether there is one to predict.
        self._watch = Watch(self._show)
        self._watch.follow([chosen.viewer.dims.events.order, chosen.viewer.dims.events.ndisplay])
        self.destroyed.connect(self._watch.stop)
        self._show()

    def subject(self) -> Subject:
        """The image as it is chosen now."""
        extent: Extent = self.extent.currentData() if self._has_slices() else "whole"
        return Subject(
            self._chosen.viewer,
            self.picker.layers(),
            self.picker.axes(),
            extent,
            self.picker.problem(),
        )

    def _has_slices(self) -> bool:
        return bool(set(self.picker.axes() or "") & set("TZ"))

    def predict(self) -> None:
        """Predict it."""
        session, subject = self._session, self.subject()
        reason = self._part.why_not_image(subject.image, subject.problem)
        if reason is not None or subject.image is None:
            session.fail(MaskloopError("Nothing was predicted.", reason or ""))
            return
        self._part.predict_image(
            subject.image,
            name=subject.name,
            origin=subject.origin,
            # What was predicted last is what is corrected and accepted next.
            then=lambda found: show_predicted(session, subject, found, self._chosen.labels.choose),
        )

    def _show(self) -> None:
        _fill(self.checkpoint, self._part.checkpoint_options, self._part.checkpoint)
        self.extent.setVisible(self._has_slices())
        subject = self.subject()
        self.button.set_reason(self._part.why_not_image(subject.image, subject.problem))


class OptionsSection(QWidget):
    """How to predict, for layers and files alike."""

    def __init__(self, part: PredictionController) -> None:
        super().__init__()
        self.mirror = QCheckBox("Average over mirrored copies")
        self.mirror.setToolTip("Four times slower, and often a little better.")
        self.probabilities = QCheckBox("Keep the scores, too")
        self.probabilities.setToolTip(
            "How sure the model is at each pixel: kept as a file, and shown as hidden layers."
        )
        self.device = narrow_combo("Device", DEVICES)
        form = _form(self)
        form.addRow(self.mirror)
        form.addRow(self.probabilities)
        form.addRow("Compute on", self.device)
        self.mirror.toggled.connect(part.set_mirror)
        self.probabilities.toggled.connect(part.set_probabilities)
        self.device.activated.connect(lambda place: part.set_device(self.device.itemData(place)))


class FilesSection(QWidget):
    """Files and folders, where their labels go, and which of them failed."""

    def __init__(self, part: PredictionController) -> None:
        super().__init__()
        self._part = part
        self.paths: list[str] = []
        self.out: Path | None = None
        self.words = Line()
        self.add_files, self.add_folder, self.clear = (
            QPushButton("Files..."),
            QPushButton("Folder..."),
            QPushButton("Clear"),
        )
        self.target = narrow_combo(
            "Labels go to", (("project", "This project"), ("folder", "A folder..."))
        )
        self.axes = narrow_combo(
            "Axes", ((None, "As the files say"), *((axes, axes) for axes in AXES))
        )
        self.axes.setToolTip("What the dimensions are, where the files do not tell")
        self.button = ReasonButton("Predict files")
        self.model: RowModel[Failure] = RowModel(
            [
                Column("Failed", lambda one: one.name, lambda one: one.file),
                Column("Why", lambda one: one.problem, _why),
            ]
        )
        self.table = Table(self.model)
        self.table.filter.hide()
        self.table.set_widths(16, 60)
        buttons = QHBoxLayout()
        for button in (self.add_files, self.add_folder, self.clear):
            buttons.addWidget(button)
        form = _form(self)
        form.addRow(buttons)
        form.addRow(self.words)
        form.addRow("Labels go to", self.target)
        form.addRow("Axes", self.axes)
        form.addRow(self.button)
        form.addRow(self.table)
        self._connect()
        self._show()
        self._show_failures()

    def _connect(self) -> None:
        self.add_files.clicked.connect(self._ask_files)
        self.add_folder.clicked.connect(
            lambda: self._ask_folder("Folder of images", lambda folder: self.add([folder]))
        )
        self.clear.clicked.connect(lambda: self.set_paths([]))
        self.target.activated.connect(self._choose_target)
        self.button.clicked.connect(
            lambda: self._part.predict_files(self.paths, out=self.out, axes=self.axes.currentData())
        )
        self._part.events.changed.connect(self._show)
        self._part.events.run_changed.connect(self._show_failures)

    def add(self, paths: Sequence[str]) -> None:
        """Add files and folders to predict."""
        self.set_paths(list(dict.fromkeys([*self.paths, *paths])))

    def set_paths(self, paths: Sequence[str]) -> None:
        """Choose files and folders anew."""
        self.paths = list(paths)
        self._show()

    def set_out(self, folder: str | Path | None) -> None:
        """Choose where the labels go; None is the project."""
        self.out = None if folder is None else Path(folder)
        self.target.setItemText(1, "A folder..." if self.out is None else str(self.out))
        self.target.setCurrentIndex(int(self.out is not None))
        self._show()

    def _ask_files(self) -> None:
        patterns = " ".join(f"*{ending}" for ending in endings())
        dialog = QFileDialog(self, "Images to predict", "", f"Images ({patterns});;All files (*)")
        dialog.setFileMode(QFileDialog.FileMode.ExistingFiles)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.filesSelected.connect(self.add)
        dialog.open()

    def _ask_folder(self, title: str, then: Any) -> None:
        dialog = QFileDialog(self, title)
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(then)
        dialog.open()

    def _choose_target(self, place: int) -> None:
        self.target.setCurrentIndex(int(self.out is not None))
        if place == 0:
            self.set_out(None)
        else:
            self._ask_folder("Folder for the labels", self.set_out)

    def _show(self) -> None:
        names = ", ".join(Path(path).name for path in self.paths)
        self.words.setText(
            f"{len(self.paths)} chosen: {names}" if self.paths else "Nothing chosen yet"
        )
        self.words.setToolTip("\n".join(self.paths))
        self.clear.setEnabled(bool(self.paths))
        self.button.set_reason(self._part.why_not_files(self.paths, self.out))

    def _show_failures(self) -> None:
        failures = self._part.story.failures
        self.model.set_rows(failures)
        self.table.setVisible(bool(failures))


def _why(failure: Failure) -> str:
    return f"{failure.problem}\n{failure.way_out}"


class CorrectionSection(QWidget):
    """Predicted labels, corrected by hand, become a pair."""

    def __init__(self, session: Session, chosen: Chosen) -> None:
        super().__init__()
        self._session, self._chosen, self._part = session, chosen, session.prediction
        self._shapes = LayerChoice(chosen.viewer, kind="shapes")
        self.labels = LayerCombo(chosen.labels)
        self.labels.setAccessibleName("Predicted labels")
        self.extent = narrow_combo("What to accept", (*EXTENTS, ("rectangle", "Rectangle")))
        self.source = Line()
        self.button = ReasonButton("Correct and accept")
        self.button.setToolTip(
            "Take the image with these labels into the dataset. Correct them first: paint, fill and erase as you like."
        )
        form = _form(self)
        form.addRow("Labels", self.labels)
        form.addRow("", self.source)
        form.addRow("Accept", self.extent)
        form.addRow(self.button)
        self.button.clicked.connect(self.accept)
        chosen.labels.changed.connect(self._show)
        chosen.image.choices_changed.connect(self._show)
        session.dataset.events.accepting_changed.connect(self._show)
        self._part.events.changed.connect(self._show)
        self.destroyed.connect(self._shapes.close)
        self._show()

    def accept(self) -> None:
        """Take them into the dataset."""
        labels, reason = self._chosen.labels.layer, self.why_not
        if labels is None or reason is not None:
            self._session.fail(MaskloopError("Nothing was accepted.", reason or NOT_PREDICTED))
            return
        layers = images_of(labels, self._chosen.viewer)
        try:
            axes = guess_axes(layers[0], self._chosen.viewer).axes or ""
            place: dict[str, Any] = {
                "axes": axes,
                "extent": self.extent.currentData(),
                "viewer": self._chosen.viewer,
                "shapes_layer": self._shapes.layer,
            }
            image, mask = take(layers, labels, **place)
            where = crop_metadata(layers, labels, **place)
        except MaskloopError as error:
            self._session.fail(error)
            return
        self._part.accept(image, mask, origin=labels.metadata, where=where)

    @property
    def why_not(self) -> str | None:
        """Why nothing can be accepted, or None."""
        labels = self._chosen.labels.layer
        if labels is None or not is_prediction(labels):
            return NOT_PREDICTED
        if not images_of(labels, self._chosen.viewer):
            return "The image that these labels were predicted from is gone: double-click the prediction below to open both."
        return self._session.dataset.why_not_accept

    def _show(self, *_changed: object) -> None:
        labels = self._chosen.labels.layer
        self.button.set_reason(self.why_not)
        if labels is None or not is_prediction(labels):
            self.source.setText("Not predicted here")
            return
        names = ", ".join(layer.name for layer in images_of(labels, self._chosen.viewer))
        self.source.setText(
            f"By {labels.metadata['checkpoint_id']}" + (f" from {names}" if names else "")
        )


class KeptSection(QWidget):
    """The predictions that the project keeps."""

    def __init__(self, session: Session, chosen: Chosen) -> None:
        super().__init__()
        self._session, self._chosen, self._part = session, chosen, session.prediction
        columns: list[Column[PredictionRow]] = [
            Column("Image", lambda row: row.image, lambda row: row.tooltip),
            Column("Checkpoint", lambda row: row.checkpoint, lambda row: row.tooltip),
            Column("When (UTC)", lambda row: row.when, lambda row: row.tooltip),
            Column("Name", lambda row: row.prediction_id, lambda row: row.tooltip),
        ]
        self.model = RowModel(columns, key=lambda row: row.prediction_id)
        self.table = Table(self.model, empty="What you predict is listed here.")
        self.table.set_widths(19, 17, 22, 18)
        self.table.setToolTip("Double-click a line to see the labels on their image.")
        self.table.setMinimumHeight(10 * self.fontMetrics().lineSpacing())
        _column(self).addWidget(self.table)
        self.table.activated.connect(self.open)
        self._part.events.rows_changed.connect(self._show)
        self._show()

    def open(self, row: PredictionRow) -> None:
        """Show a prediction on its image."""
        choose = self._chosen.labels.choose
        self._part.open(
            row, lambda opened: choose(show_opened(self._session, self._chosen.viewer, opened))
        )

    def _show(self) -> None:
        self.model.set_rows(self._part.rows)


def _column(widget: QWidget) -> QVBoxLayout:
    column = QVBoxLayout(widget)
    column.setContentsMargins(0, 0, 0, 0)
    return column


def _form(widget: QWidget) -> QFormLayout:
    form = QFormLayout(widget)
    form.setContentsMargins(0, 0, 0, 0)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    return form


def _fill(combo: QComboBox, options: Sequence[tuple[Any, str]], chosen: Any) -> None:
    """Show options; a list that is open is left alone when nothing changed."""
    if [(combo.itemData(place), combo.itemText(place)) for place in range(combo.count())] != list(
        options
    ):
        combo.clear()
        for value, words in options:
            combo.addItem(words, value)
    combo.setCurrentIndex([value for value, _ in options].index(chosen))
    combo.setToolTip(combo.currentText())
