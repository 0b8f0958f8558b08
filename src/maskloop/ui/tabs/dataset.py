"""Dataset: draw, accept, go on to the next image; the pairs and their classes. Wiring only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.layers import Labels, Layer
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QHideEvent, QShowEvent
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from maskloop.errors import MaskloopError
from maskloop.project.layout import Pair
from maskloop.ui.chosen import Chosen
from maskloop.ui.controllers.dataset import DatasetController, OpenedPair
from maskloop.ui.controllers.display import IMAGE, PAIR, PROJECT, SOURCE
from maskloop.ui.controllers.pair_rows import short_id
from maskloop.ui.controllers.queue import OpenedFile
from maskloop.ui.layers import Extent, LayerChoice, LayerCombo, crop_metadata, new_mask, take
from maskloop.ui.picker import ImagePicker, Watch
from maskloop.ui.session import Session
from maskloop.ui.steady_drawing import steady
from maskloop.ui.tabs.dataset_classes import ClassesSection
from maskloop.ui.tabs.dataset_import import ImportSection
from maskloop.ui.tabs.dataset_label_rule import LabelRuleChoice
from maskloop.ui.tabs.dataset_layers import Shelf, doubt_of
from maskloop.ui.tabs.dataset_queue import QueueSection
from maskloop.ui.tabs.dataset_table import PairsSection
from maskloop.ui.widgets import Notice, ReasonButton, Section, ask, narrow_combo

__all__ = ["DatasetTab"]

DESCRIBE_AFTER_MS = 300
"""So long nothing is painted or chosen before the mask is counted anew."""
EXTENTS: tuple[tuple[str, Extent, str], ...] = (
    ("Whole image", "whole", "Everything the layer holds"),
    ("Visible slice", "slice", "The plane that the sliders show"),
    (
        "Rectangle",
        "rectangle",
        "The part of the visible slice inside a rectangle drawn in a Shapes layer",
    ),
)
RECTANGLE = "Area to accept"


class DatasetTab(QWidget):
    """Takes masks into the project and shows what was taken.

    Parameters
    ----------
    session
        Whose project it is.
    chosen
        The layers that the person works on.
    parent
        As for any widget.
    """

    def __init__(self, session: Session, chosen: Chosen, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session, self._chosen = session, chosen
        self.part: DatasetController = session.dataset
        self.shelf = Shelf(chosen.viewer)
        self._steady = steady(chosen.viewer)
        self.shapes = LayerChoice(chosen.viewer, kind="shapes")
        self._accepting: tuple[Layer, int] | None = None
        self._had_colours = False
        self._seen_place: tuple[Any, ...] = ()
        self._make_widgets()
        self._lay_out()
        self._timer = QTimer(self, singleShot=True, interval=DESCRIBE_AFTER_MS)
        self._painted = Watch(self._describe_soon)
        self._moved = Watch(self._notice_refresh)
        self._disturbed = Watch(self.part.disturb)
        self._connect()
        self._follow()

    def _make_widgets(self) -> None:
        self.picker = ImagePicker(self._chosen)
        self.mask = LayerCombo(self._chosen.labels)
        self.mask.setAccessibleName("Mask")
        self.new_mask_button = ReasonButton("New mask")
        self.new_mask_button.setToolTip("Put an empty mask on the image and paint")
        self.extent = narrow_combo("Take")
        self.draw_button = QPushButton("Draw", toolTip="Draw a rectangle on the image")
        self.meaning = LabelRuleChoice(self.part)
        self.description = Notice()
        self.accept_button = ReasonButton("Accept")
        self.accept_button.setToolTip("Take this image and its mask into the project")
        self.queue = QueueSection(self.part.queue, self._chosen)
        self.pairs = PairsSection(self._session)
        self.importing = ImportSection(self._session)
        self.classes = ClassesSection(self._session, self._chosen)

    def _lay_out(self) -> None:
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._choices())
        self.classes_box = Section("Classes", self.classes, expanded=False)
        for box in (
            self.classes_box,
            Section("Images to go through", self.queue),
            Section("Pairs", self.pairs),
            Section("Import pairs from folders", self.importing, expanded=False),
        ):
            column.addWidget(box)
        column.addStretch(1)
        self.area = QScrollArea(widgetResizable=True)
        self.area.setFrameShape(QScrollArea.Shape.NoFrame)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.area.setWidget(inside)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(4, 4, 4, 4)
        whole.addWidget(self.area, 1)
        # Always seen, however far the rest is scrolled.
        whole.addWidget(self.description)
        whole.addWidget(self.accept_button)

    def _choices(self) -> QWidget:
        form = QFormLayout(choices := QWidget())
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Image", self.picker)
        form.addRow("Mask", _row(self.mask, self.new_mask_button))
        form.addRow("Take", _row(self.extent, self.draw_button))
        form.addRow("Labels", self.meaning)
        return choices

    def _connect(self) -> None:
        for title, extent, tooltip in EXTENTS:
            self.extent.addItem(title, extent)
            self.extent.setItemData(self.extent.count() - 1, tooltip, Qt.ItemDataRole.ToolTipRole)
        clicks: tuple[tuple[QPushButton, Callable[[], object]], ...] = (
            (self.accept_button, self.accept),
            (self.new_mask_button, self.make_mask),
            (self.draw_button, self._draw_rectangle),
        )
        for button, verb in clicks:
            button.clicked.connect(verb)
        self.extent.activated.connect(self._follow)
        self.meaning.changed.connect(self._describe_soon)
        self.pairs.wanted.connect(self.show_pair)
        self.picker.changed.connect(self._follow)
        self._chosen.labels.changed.connect(self._follow)
        self.shapes.changed.connect(self._follow)
        self._timer.timeout.connect(self._describe)
        watches = (self._painted, self._moved, self._disturbed, self._steady)
        for stop in (*(watch.stop for watch in watches), self.shelf.close, _Closer(self.shapes)):
            self.destroyed.connect(stop)
        self._listen()

    def _listen(self) -> None:
        events = self.part.events
        events.accepting_changed.connect(self._show_accepting)
        events.accepted.connect(self._take_accepted)
        events.empty_asked.connect(self._ask_empty)
        events.known_asked.connect(self._ask_known)
        events.described.connect(self._show_description)
        events.restored.connect(self._restore)
        events.rows_changed.connect(self._enable)
        self.part.queue.events.opened.connect(self._show_file)
        self.part.classes.events.changed.connect(self._show_classes)
        self._session.events.snapshot_changed.connect(self._enable)

    # What is chosen.

    def _extent(self) -> Extent:
        extent: Extent = self.extent.currentData()
        return extent

    def _follow(self, _layer: object = None) -> None:
        """Listen to what changes the mask that would be accepted."""
        labels, shapes = self._chosen.labels.layer, self.shapes.layer
        painted = (
            []
            if labels is None
            else [labels.events.paint, labels.events.data, labels.events.metadata]
        )
        if shapes is not None and self._extent() == "rectangle":
            painted += [shapes.events.data, shapes.events.set_data, shapes.events.highlight]
        self._painted.follow(painted)
        self._moved.follow([] if labels is None else [labels.events.set_data])
        self._seen_place = self._place()
        self.draw_button.setVisible(self._extent() == "rectangle")
        if self.description.text():
            # What is said there is of another mask.
            self.description.show_message("Counting...")
        self._describe_soon()

    def _notice_refresh(self) -> None:
        """A layer is refreshed by undo and by the sliders; only where a slice is taken do the sliders matter."""
        before, self._seen_place = self._seen_place, self._place()
        if before == self._seen_place or self._extent() != "whole":
            self._describe_soon()

    def _place(self) -> tuple[Any, ...]:
        dims = self._chosen.viewer.dims
        return dims.current_step, dims.ndisplay, dims.order

    def _describe_soon(self) -> None:
        self._enable()
        if self.isVisible():
            self._timer.start()

    def _why_not(self) -> str | None:
        labels = self._chosen.labels.layer
        missing = (
            None if labels is not None else 'There is no mask layer. Press "New mask" and paint.'
        )
        return self.part.why_not_accept or self.picker.problem() or missing

    def _taken(self) -> dict[str, Any]:
        """The chosen layers as `take` wants them."""
        return {
            "image_layers": self.picker.layers(),
            "labels_layer": self._chosen.labels.layer,
            "axes": self.picker.axes(),
            "extent": self._extent(),
            "viewer": self._chosen.viewer,
            "shapes_layer": self.shapes.layer,
        }

    def _describe(self) -> None:
        if self.picker.problem() is not None or self._chosen.labels.layer is None:
            self.part.describe(None)
            return
        try:
            _, labels = take(**self._taken())
        except MaskloopError as error:
            self.part.describe(None)
            self.description.show_message(f"{error.problem} {error.way_out}", level="warning")
            return
        self.part.describe(labels)

    def _show_description(self) -> None:
        found = self.part.description
        self.description.show_message(found.words, level="info" if found.is_fine else "warning")

    def _replaced(self) -> str | None:
        """The pair whose mask is shown and corrected."""
        image, labels = self._chosen.image.layer, self._chosen.labels.layer
        if image is None or labels is None or self._extent() != "whole":
            return None
        return self.part.shown_pair(image.metadata, labels.metadata)

    def _enable(self, _news: object = None) -> None:
        self.accept_button.setText(self.part.title(self._replaced()))
        self.accept_button.set_reason(self._why_not())
        image = self._chosen.image.layer
        self.new_mask_button.set_reason(
            self.picker.problem() if image is None or self.picker.axes() is None else None
        )

    # Accepting.

    def accept(self) -> None:
        """Accept the chosen mask as it is now; what is missing is told."""
        why_not = self._why_not()
        if why_not is not None:
            self._session.fail(MaskloopError("Nothing was accepted.", why_not))
            return
        layer, first = self._chosen.labels.layer, self._chosen.image.layer
        assert layer is not None
        assert first is not None
        doubt = doubt_of(layer, self.picker.layers(), self._chosen.viewer)
        if doubt and not ask(
            self,
            f"Is this the mask of '{first.name}'?",
            f"{doubt} The image is chosen above, at Image.",
            yes="Yes",
        ):
            return
        try:
            image, labels = take(**self._taken())
            metadata = crop_metadata(**self._taken())
        except MaskloopError as error:
            self._session.fail(error)
            return
        metadata["source_path"] = first.metadata.get(SOURCE) or metadata["source_path"]
        self._accepting = (layer, self.shelf.strokes(layer))
        is_whole, folder = (
            self._extent() == "whole",
            str(self._session.project and self._session.project.folder),
        )

        def mark(pair: Pair) -> None:
            if is_whole:
                # What is painted from now on corrects this pair.
                for other in (layer, first):
                    other.metadata = {**other.metadata, PAIR: pair.pair_id, PROJECT: folder}

        self.part.accept(
            image,
            labels,
            rule=self.part.rule,
            metadata=metadata,
            replace=self._replaced(),
            then=mark,
        )

    def _take_accepted(self, _pair: Pair) -> None:
        if self._accepting is not None:
            self.shelf.accept(*self._accepting)
            self._accepting = None

    def _show_accepting(self) -> None:
        """While labels are being copied, whoever paints on them is told."""
        layer = self._chosen.labels.layer
        if self.part.is_copying and layer is not None:
            self._disturbed.follow(
                [layer.events.paint, layer.events.labels_update, layer.events.data]
            )
        else:
            self._disturbed.stop()
        self._enable()

    def _ask_empty(self, retry: Callable[[], None]) -> None:
        detail = "Nothing is drawn on this mask. An image without objects teaches too."
        if ask(self, "Is there truly nothing here?", detail, yes="Yes, nothing"):
            retry()

    def _ask_known(self, pair_id: str, retry: Callable[[], None]) -> None:
        short = short_id(pair_id)
        if ask(
            self,
            f"Replace the mask of {short}?",
            f"This image is in the project already, as {short}.",
            yes="Replace",
        ):
            retry()

    def make_mask(self) -> None:
        """Put an empty mask on the chosen image and choose it."""
        # A person who selected an image in napari's list and asks for a mask means that image.
        if self._chosen.viewer.layers.selection.active not in self._chosen.channels.layers:
            self._chosen.image.choose_active()
        image = self._chosen.image.layer
        if image is None or self.picker.axes() is None:
            return
        try:
            layer = new_mask(self._chosen.viewer, image, axes=self.picker.axes())
        except MaskloopError as error:
            self._session.fail(error)
            return
        layer.metadata = {**layer.metadata, IMAGE: image.unique_id}
        self._chosen.labels.choose(layer)

    def _draw_rectangle(self) -> None:
        viewer, shapes = self._chosen.viewer, self.shapes.layer
        if shapes is None:
            shapes = viewer.add_shapes(
                name=RECTANGLE, ndim=2, face_color="transparent", edge_color="yellow", edge_width=2
            )
            self.shapes.choose(shapes)
        viewer.layers.selection.active = shapes
        shapes.mode = "add_rectangle"

    def _show_classes(self) -> None:
        has_colours = self.part.classes.has_colours
        if has_colours and not self._had_colours:
            self.classes_box.expand()
        self._had_colours = has_colours

    # Pairs and files.

    def show_pair(self, pair_id: str) -> None:
        """Show a pair in the viewer, to be looked at or corrected."""
        project = self._session.project
        if project is None:
            return
        shown = self.shelf.find(pair_id, str(project.folder))
        if shown is not None:
            self._choose(*shown)
        else:
            self.part.read(pair_id, self._show_opened)

    def _show_opened(self, opened: OpenedPair) -> None:
        if self._session.project is not None:
            self._tell_kept()
            seen = self._extent_seen()
            self._choose(*self.shelf.show_pair(opened, str(self._session.project.folder)))
            self._fit_view(seen)

    def _show_file(self, opened: OpenedFile) -> None:
        self._tell_kept()
        seen = self._extent_seen()
        self._chosen.image.choose(self.shelf.show_file(opened))
        self._fit_view(seen)

    def _extent_seen(self) -> list[list[float]]:
        corners: list[list[float]] = self._chosen.viewer.layers.extent.world.tolist()
        return corners

    def _fit_view(self, before: list[list[float]]) -> None:
        """Images of one size are compared at one place; another size is shown whole."""
        if self._extent_seen() != before:
            self._chosen.viewer.reset_view()

    def _choose(self, image: Layer, labels: Labels) -> None:
        self._chosen.image.choose(image)
        self._chosen.labels.choose(labels)
        self._chosen.viewer.layers.selection.active = labels

    def _tell_kept(self) -> None:
        names = ", ".join(f"'{layer.name}'" for layer in self.shelf.unsaved)
        if names:
            self._session.say(f"Kept {names} and its image: what was painted is not accepted yet.")

    def _restore(self, image: str | None, mask: str | None) -> None:
        for choice, name in ((self._chosen.image, image), (self._chosen.labels, mask)):
            if name is not None:
                choice.choose_by_name(name)

    def showEvent(self, event: QShowEvent) -> None:
        """Count what would be accepted while somebody looks."""
        super().showEvent(event)
        self._describe_soon()

    def hideEvent(self, event: QHideEvent) -> None:
        """Let the counting be."""
        super().hideEvent(event)
        self._timer.stop()


class _Closer:
    """Closes the choice of the rectangle when the tab is gone."""

    def __init__(self, choice: LayerChoice) -> None:
        self._choice = choice

    def __call__(self, *_gone: object) -> None:
        self._choice.close()


def _row(*widgets: QWidget) -> QWidget:
    row = QHBoxLayout(whole := QWidget())
    row.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        row.addWidget(widget, 1 if isinstance(widget, QComboBox) else 0)
    return whole
