"""Dataset: draw, accept, next image; the pairs and their classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Labels, Layer
from qtpy.QtGui import QHideEvent, QShowEvent
from qtpy.QtWidgets import QPushButton, QWidget

from maskloop.compute.project import Project
from maskloop.errors import MaskError, MaskloopError
from maskloop.images.image import Image
from maskloop.images.plausibility import listed
from maskloop.project.layout import Pair
from maskloop.ui.actions import Action, ActionButton
from maskloop.ui.arrange import debounced, form, row
from maskloop.ui.belonging import key_of
from maskloop.ui.choice import Choice
from maskloop.ui.chosen import Chosen
from maskloop.ui.controllers.acceptance import is_quick_to_copy
from maskloop.ui.controllers.pair_rows import short_id
from maskloop.ui.controllers.pairs import OpenedPair
from maskloop.ui.controllers.queue import OpenedFile
from maskloop.ui.layer_metadata import IMAGE, PAIR, PROJECT, SOURCE
from maskloop.ui.layers import Extent, LayerChoice, LayerCombo, crop_metadata, new_mask, take
from maskloop.ui.picker import ImagePicker
from maskloop.ui.pieces import divided, separate
from maskloop.ui.session import Session
from maskloop.ui.shelf import Shelf, doubt_of
from maskloop.ui.steady_drawing import steady
from maskloop.ui.tabs.base import Tab
from maskloop.ui.tabs.dataset_classes import ClassesSection
from maskloop.ui.tabs.dataset_import import ImportSection
from maskloop.ui.tabs.dataset_label_rule import LabelRuleChoice
from maskloop.ui.tabs.dataset_queue import QueueSection
from maskloop.ui.tabs.dataset_table import PairsSection
from maskloop.ui.watch import Watch
from maskloop.ui.widgets import Notice, Section, ask, ask_which
from maskloop.wording import counted

__all__ = ["DatasetTab"]

DESCRIBE_AFTER_MS = 300
"""Pause after painting before the mask is counted again."""
EXTENTS: tuple[tuple[Extent, str, str], ...] = (
    ("whole", "Whole image", "Everything in the layer"),
    ("slice", "Visible slice", "The plane that the sliders show"),
    ("rectangle", "Rectangle", "The part of the visible slice inside a rectangle"),
)
SEPARATE, KEEP = "Separate them", "Accept as drawn"
RECTANGLE = "Region to add"


class DatasetTab(Tab):
    """Adds masks to the training set and shows what was added."""

    title = "Dataset"

    def __init__(self, session: Session, chosen: Chosen) -> None:
        super().__init__(session, chosen)
        self._accepting, self._pairs = session.accepting, session.pairs
        self._label_rule, self._classes = session.label_rule, session.classes
        self.shelf = Shelf(chosen.viewer, lambda: chosen.image.layer)
        self._steady = steady(chosen.viewer)
        self.shapes = LayerChoice(chosen.viewer, kind="shapes")
        self._sent: tuple[Layer, int] | None = None
        self._had_colors = False
        self._folder: str | None = None
        self._seen_place: tuple[Any, ...] = ()
        self._make_widgets(session)
        self.classes_box = Section("Classes", self.classes, expanded=False)
        self.fill(
            (
                self._choices(),
                self.classes_box,
                Section("Annotation queue", self.queue),
                Section("Annotated images", self.pairs),
                Section("Import pairs from folders", self.importing, expanded=False),
            ),
            always=(self.description, self.accept_button.reason_line(), self.accept_button),
        )
        self._describe_later = debounced(self, DESCRIBE_AFTER_MS, self._describe)
        self._painted = Watch(self._describe_soon)
        self._moved = Watch(self._notice_refresh)
        self._disturbed = Watch(self._accepting.disturb)
        self._connect(session)
        self._follow()

    @property
    def shortcuts(self) -> Sequence[Action]:
        """Accept, and go through the queue."""
        buttons = (self.accept_button, self.queue.next_button, self.queue.previous_button)
        return [button.action for button in buttons]

    def _make_widgets(self, session: Session) -> None:
        chosen = self._chosen
        self.picker = ImagePicker(chosen)
        self.mask = LayerCombo(chosen.labels)
        self.mask.setAccessibleName("Mask")
        self.new_mask_button = ActionButton(
            Action("New mask", self.make_mask, self._why_no_mask, "Add an empty mask and paint")
        )
        self.extent = Choice("Region to add", EXTENTS)
        self.draw_button = QPushButton("Draw", toolTip="Draw a rectangle on the image")
        self.meaning = LabelRuleChoice(session.label_rule)
        self.description = Notice()
        self.accept_button = ActionButton(
            Action(
                lambda: self._accepting.title(self._replaced()),
                self.accept,
                self._why_not,
                "Add this image and its mask to the training set",
                "Ctrl+Return",
                "add mask",
            )
        )
        self.queue = QueueSection(session.queue, chosen)
        self.pairs = PairsSection(session)
        self.importing = ImportSection(session)
        self.classes = ClassesSection(session, chosen)

    def _choices(self) -> QWidget:
        return form(
            [
                ("Image", self.picker),
                ("Mask", row(self.mask, self.new_mask_button)),
                ("Region to add", row(self.extent, self.draw_button)),
                ("Labels", self.meaning),
            ]
        )

    def _connect(self, session: Session) -> None:
        self.draw_button.clicked.connect(self._draw_rectangle)
        self.extent.activated.connect(self._follow)
        self.meaning.changed.connect(self._describe_soon)
        self.pairs.wanted.connect(self.show_pair)
        self.picker.changed.connect(self._follow)
        self._chosen.labels.changed.connect(self._follow)
        self.shapes.changed.connect(self._follow)
        watches = (self._painted, self._moved, self._disturbed, self._steady)
        for stop in (*(watch.stop for watch in watches), self.shelf.close, _Closer(self.shapes)):
            self.destroyed.connect(stop)
        accepting = self._accepting
        accepting.changed.connect(self._show_accepting)
        accepting.accepted.connect(self._take_accepted)
        accepting.empty_asked.connect(self._ask_empty)
        accepting.known_asked.connect(self._ask_known)
        accepting.restored.connect(self._restore)
        session.label_rule.described.connect(self._show_description)
        session.pairs.changed.connect(self._enable)
        session.queue.opened.connect(self._show_file)
        session.classes.changed.connect(self._show_classes)
        session.workspace.events.snapshot_changed.connect(self._enable)
        session.workspace.events.project_changed.connect(self._change_project)

    # What is selected.

    def _follow(self, _layer: object = None) -> None:
        """Listen to what changes the mask that would be accepted."""
        labels, shapes = self._chosen.labels.layer, self.shapes.layer
        painted = []
        if labels is not None:
            painted += [labels.events.paint, labels.events.data, labels.events.metadata]
        if shapes is not None and self.extent.value == "rectangle":
            painted += [shapes.events.data, shapes.events.set_data, shapes.events.highlight]
        self._painted.follow(painted)
        self._moved.follow([] if labels is None else [labels.events.set_data])
        self._seen_place = self._place()
        self.draw_button.setVisible(self.extent.value == "rectangle")
        if self.description.text():
            # What is said there is about another mask.
            self.description.show_message("Counting...")
        self._describe_soon()

    def _notice_refresh(self) -> None:
        # Undo refreshes a layer, and so do the sliders, which matter only if a slice is taken.
        before, self._seen_place = self._seen_place, self._place()
        if before == self._seen_place or self.extent.value != "whole":
            self._describe_soon()

    def _place(self) -> tuple[Any, ...]:
        dims = self._chosen.viewer.dims
        return dims.current_step, dims.ndisplay, dims.order

    def _describe_soon(self) -> None:
        self._enable()
        if self.isVisible():
            self._describe_later.throttle()

    def _why_not(self) -> str | None:
        missing = None
        if self._chosen.labels.layer is None:
            missing = 'There is no mask layer. Press "New mask" and paint.'
        return self._accepting.why_not or self.picker.problem() or missing

    def _why_no_mask(self) -> str | None:
        is_known = self._chosen.image.layer is not None and self.picker.axes() is not None
        return None if is_known else self.picker.problem()

    def _taken(self) -> dict[str, Any]:
        """The selected layers as `take` wants them."""
        return {
            "image_layers": self.picker.layers(),
            "labels_layer": self._chosen.labels.layer,
            "axes": self.picker.axes(),
            "extent": self.extent.value,
            "viewer": self._chosen.viewer,
            "shapes_layer": self.shapes.layer,
        }

    def _describe(self) -> None:
        if self.picker.problem() is not None or self._chosen.labels.layer is None:
            self._label_rule.describe(None)
            return
        try:
            _, labels = take(**self._taken())
        except MaskloopError as error:
            self._label_rule.describe(None)
            self.description.show_message(f"{error.problem} {error.way_out}", level="warning")
            return
        self._label_rule.describe(labels)

    def _show_description(self) -> None:
        found = self._label_rule.description
        self.description.show_message(found.words, level="info" if found.is_fine else "warning")

    def _replaced(self) -> str | None:
        """The pair whose mask is shown and corrected."""
        image, labels = self._chosen.image.layer, self._chosen.labels.layer
        if image is None or labels is None or self.extent.value != "whole":
            return None
        return self._accepting.shown_pair(image.metadata, labels.metadata)

    def _enable(self, _news: object = None) -> None:
        self.accept_button.refresh()
        self.new_mask_button.refresh()

    # Accepting.

    def accept(self) -> None:
        """Accept the selected mask as it is now; if something is missing, say what."""
        if not self._workspace.may(self._why_not(), "Nothing was accepted."):
            return
        layer, first = self._chosen.labels.layer, self._chosen.image.layer
        assert layer is not None
        assert first is not None
        doubt = doubt_of(layer, self.picker.layers(), self._chosen.viewer)
        question = f"{doubt} Use this mask for '{first.name}' anyway?"
        if doubt and not ask(self, question, "The image is selected above, at Image."):
            return
        if not self._is_for_this_project([layer, *self.picker.layers()]):
            return
        try:
            image, labels = take(**self._taken())
            metadata = crop_metadata(**self._taken())
        except MaskloopError as error:
            self._workspace.fail(error)
            return
        if not self._are_whole(layer, labels):
            return
        metadata["source_path"] = first.metadata.get(SOURCE) or metadata["source_path"]
        self._sent = (layer, self.shelf.strokes(layer))
        is_whole, project = self.extent.value == "whole", self._workspace.project
        folder = "" if project is None else str(project.folder)

        def mark(pair: Pair) -> None:
            if is_whole:
                # What is painted from now on corrects this pair.
                for other in (layer, first):
                    other.metadata = {**other.metadata, PAIR: pair.pair_id, PROJECT: folder}

        self._accepting.accept(
            image,
            labels,
            rule=self._label_rule.rule,
            metadata=metadata,
            replace=self._replaced(),
            then=mark,
        )

    def _are_whole(self, layer: Labels, labels: Image) -> bool:
        """Whether the labels can be accepted as objects: asks if one lies in several pieces.

        Separated pieces are shown, and accepted with the next press.
        """
        # Larger masks are counted in a thread, and what was found is said when they are accepted.
        if self._label_rule.rule.mask_mode != "keep_instances" or not is_quick_to_copy(labels):
            return True
        found = divided(labels)
        if not found:
            return True
        pieces, names = sum(found.values()), listed(list(found), most=4)
        verb = "lies" if len(found) == 1 else "lie"
        can_separate = layer.data.ndim == len(labels.axes) <= 3 and "T" not in labels.axes
        answer = ask_which(
            self,
            f"{names[:1].upper()}{names[1:]} {verb} in {pieces} separate pieces.",
            "In this project each label is one object.",
            [SEPARATE, KEEP] if can_separate else [KEEP],
        )
        if answer == SEPARATE:
            self._separate(layer)
        return answer == KEEP

    def _separate(self, layer: Labels) -> None:
        try:
            apart = separate(layer.data)
        except MaskError as error:
            self._workspace.fail(error)
            return
        places = np.nonzero(apart != layer.data)
        # One step of napari's undo.
        layer.data_setitem(places, apart[places])
        count = np.unique(apart[places]).size
        self._workspace.say(
            f"{counted(count, 'piece')} became a new object. Check the mask and accept it."
            if count == 1
            else f"{count} pieces became new objects. Check the mask and accept it."
        )

    def _is_for_this_project(self, layers: Sequence[Layer]) -> bool:
        """Whether layers that stayed from another project are meant for this one: asks."""
        project = self._workspace.project
        folder = "" if project is None else str(project.folder)
        other = self.shelf.other_project(layers, folder)
        if other is None:
            return True
        here, there = Path(folder).name, Path(other).name
        detail = f"It was open in the window while the project was '{there}'."
        if not ask(self, f"Add '{layers[1].name}' to the project '{here}'?", detail, yes="Add"):
            return False
        self.shelf.agree(layers)
        return True

    def _change_project(self, project: Project | None) -> None:
        """What was shown of one project must not be accepted into the next."""
        if project is None:
            return
        before, self._folder = self._folder, str(project.folder)
        # Opened again, it is the same project.
        if before is not None and before != self._folder:
            names = ", ".join(f"'{layer.name}'" for layer in self.shelf.leave(before))
            if names:
                self._workspace.say(
                    f"Kept {names} of the project '{Path(before).name}': "
                    "the painting is not accepted yet."
                )

    def _take_accepted(self, _pair: Pair) -> None:
        if self._sent is not None:
            self.shelf.accept(*self._sent)
            self._sent = None

    def _show_accepting(self) -> None:
        """While labels are being copied, notice if they are painted on."""
        layer = self._chosen.labels.layer
        if self._accepting.is_copying and layer is not None:
            events = layer.events
            self._disturbed.follow([events.paint, events.labels_update, events.data])
        else:
            self._disturbed.stop()
        self._enable()

    def _ask_empty(self, retry: Callable[[], None]) -> None:
        question = "This mask is empty. Add it as a negative example?"
        detail = "Images without objects teach the model what to leave out."
        if ask(self, question, detail, yes="Add"):
            retry()

    def _ask_known(self, pair_id: str, retry: Callable[[], None]) -> None:
        short, row = short_id(pair_id), self._pairs.row(pair_id)
        if row is not None and row.pair.state == "removed":
            detail = "This image was removed from the training set, and would be used again."
            if ask(self, f"Restore {short} with this mask?", detail, yes="Restore"):
                retry()
            return
        detail = f"This image is in the project already, as {short}."
        if ask(self, f"Replace the mask of {short}?", detail, yes="Replace"):
            retry()

    def make_mask(self) -> None:
        """Put an empty mask on the selected image and select it."""
        # A person who selects an image in napari's list and asks for a mask means that image.
        if self._chosen.viewer.layers.selection.active not in self._chosen.channels.layers:
            self._chosen.image.choose_active()
        image = self._chosen.image.layer
        if image is None or self.picker.axes() is None:
            return
        try:
            layer = new_mask(self._chosen.viewer, image, axes=self.picker.axes())
        except MaskloopError as error:
            self._workspace.fail(error)
            return
        layer.metadata = {**layer.metadata, IMAGE: key_of(image)}
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
        has_colors = self._classes.has_colors
        if has_colors and not self._had_colors:
            self.classes_box.expand()
        self._had_colors = has_colors

    # Pairs and files.

    def show_pair(self, pair_id: str) -> None:
        """Show a pair in the viewer, to look at it or correct it."""
        project = self._workspace.project
        if project is None:
            return
        shown = self.shelf.find(pair_id, str(project.folder))
        if shown is not None:
            self.shelf.bring(*shown)
            self._select(*shown)
        else:
            self._pairs.read(pair_id, self._show_opened)

    def _show_opened(self, opened: OpenedPair) -> None:
        project = self._workspace.project
        if project is not None:
            self._say_kept()
            seen = self._extent_seen()
            self._select(*self.shelf.show_pair(opened, str(project.folder)))
            self._fit_view(seen)

    def _show_file(self, opened: OpenedFile) -> None:
        self._say_kept()
        seen = self._extent_seen()
        image = self.shelf.show_file(opened)
        self._chosen.image.choose(image)
        # Its own mask or none: the mask of the image before would be saved for this one.
        self._chosen.labels.choose(self.shelf.own_mask(image))
        self._fit_view(seen)

    def _extent_seen(self) -> list[list[float]]:
        corners: list[list[float]] = self._chosen.viewer.layers.extent.world.tolist()
        return corners

    def _fit_view(self, before: list[list[float]]) -> None:
        # Images of one size are compared at one place; another size is shown whole.
        if self._extent_seen() != before:
            self._chosen.viewer.reset_view()

    def _select(self, image: Layer, labels: Labels) -> None:
        self._chosen.image.choose(image)
        self._chosen.labels.choose(labels)
        self._chosen.viewer.layers.selection.active = labels

    def _say_kept(self) -> None:
        names = ", ".join(f"'{layer.name}'" for layer in self.shelf.unsaved)
        if names:
            self._workspace.say(f"Kept {names} and its image: the painting is not accepted yet.")

    def _restore(self, image: str | None, mask: str | None) -> None:
        for choice, name in ((self._chosen.image, image), (self._chosen.labels, mask)):
            if name is not None:
                choice.choose_by_name(name)

    def showEvent(self, event: QShowEvent) -> None:
        """Describe what would be accepted while somebody looks."""
        super().showEvent(event)
        self._describe_soon()

    def hideEvent(self, event: QHideEvent) -> None:
        """Count nothing that nobody sees."""
        super().hideEvent(event)
        self._describe_later.cancel()


class _Closer:
    """Closes the choice of the rectangle when the tab is gone; a method would keep the tab."""

    def __init__(self, choice: LayerChoice) -> None:
        self._choice = choice

    def __call__(self, *_gone: object) -> None:
        self._choice.close()
