"""Train: what to learn from, the plan with its reasons, and the training as it learns; wiring only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QHideEvent, QImage, QShowEvent
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from maskloop.images.normalize import Normalization
from maskloop.models.base import DEFAULT_BACKEND, Augmentation, kinds
from maskloop.ui.chosen import Chosen
from maskloop.ui.forms import RecordForm
from maskloop.ui.train_widgets import Picture, PlanTable
from maskloop.ui.widgets import (
    Curves,
    Line,
    Notice,
    ProgressLine,
    ReasonButton,
    Section,
    narrow_combo,
)

if TYPE_CHECKING:
    from maskloop.ui.session import Session

__all__ = ["TrainTab"]

PLAN_AFTER_MS = 300
"""So long nothing is typed or chosen before it is planned anew."""
DRAW_AFTER_MS = 100
"""A training on small images tells of hundreds of epochs a second; they are drawn together."""
BETWEEN_DRAWINGS_MS = 20
"""Two plots and a picture drawn in one go would hold the window for a tenth of a second."""
MACHINE = ("device", "devices", "seed", "save_every_s", "tensorboard")
"""Fields of a recipe that nobody plans."""
LOSS_TIP = "How far the network is from the masks: falls as it learns. When only the one of the training falls, it learns by heart."
SCORE_TIP = "Of images it never learned from; 1 is perfect. Dice: how well the areas agree. AP50: how many of the objects are found."
LEVELS = {"good": "info", "stopped": "info", "bad": "warning", "": "info"}
CAPTION = "Epoch {}: a validation image. Yellow is what it finds, blue is what it misses."


class TrainTab(QWidget):
    """Chooses, plans, trains and watches.

    Parameters
    ----------
    session
        Whose project is trained.
    chosen
        The layers of the viewer; training needs none of them.
    """

    def __init__(self, session: Session, chosen: Chosen, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session, self.part = session, session.training
        self._make_widgets()
        self._lay_out()
        self._plan_timer = QTimer(self, singleShot=True, interval=PLAN_AFTER_MS)
        self._draw_timer = QTimer(self, singleShot=True, interval=DRAW_AFTER_MS)
        self._next_timer = QTimer(self, singleShot=True, interval=BETWEEN_DRAWINGS_MS)
        self._to_draw: list[Callable[[], None]] = []
        self._drawn: tuple[str, int, int] | None = None
        self._pictured: tuple[int, Path] | None = None
        self._connect()
        self._show_settings()
        self._show_plan()
        self._show_run()

    def _make_widgets(self) -> None:
        self.start = narrow_combo("Start")
        self.compatibility = Line()
        self.pairs = narrow_combo("Learn from")
        self.foreseen = Line()
        self.time = narrow_combo("Stop")
        self.plan_words = Line()
        self.problem = Notice()
        self.table = PlanTable()
        self.reason = QLabel(wordWrap=True)
        self.train_button = ReasonButton("Train")
        self.cancel_button = ReasonButton("Cancel")
        self.go_on_button = ReasonButton("Go on")
        self.offer = Notice()
        self.progress = ProgressLine(has_cancel=False)
        self.outcome = Notice()
        self.no_score = Notice()
        self.messages = QLabel(wordWrap=True)
        self.loss = Curves("Loss")
        self.score = Curves("Score")
        self.loss.setToolTip(LOSS_TIP)
        self.score.setToolTip(SCORE_TIP)
        _, kind = kinds(DEFAULT_BACKEND)
        self.machine = RecordForm(
            kind, fields=[name for name in MACHINE if name in kind.model_fields]
        )
        self.normalization = RecordForm(Normalization, fields=("mode", "scope", "low", "high"))
        self.augmentation = RecordForm(Augmentation)
        self.picture = Picture()
        self.caption = Line()

    def _lay_out(self) -> None:
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, 0, 0)
        for part in (self._what(), self._plan(), self._run()):
            column.addWidget(part)
        column.addStretch(1)
        self.area = QScrollArea(widgetResizable=True)
        self.area.setFrameShape(QScrollArea.Shape.NoFrame)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.area.setWidget(inside)
        buttons = QHBoxLayout()
        for button in (self.train_button, self.go_on_button, self.cancel_button):
            buttons.addWidget(button)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(4, 4, 4, 4)
        whole.addWidget(self.area, 1)
        # Always seen, however far the rest is scrolled.
        for widget in (self.problem, self.offer, self.progress):
            whole.addWidget(widget)
        whole.addLayout(buttons)

    def _what(self) -> QWidget:
        form = QFormLayout(what := QWidget())
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow(self.start)
        form.addRow(self.compatibility)
        form.addRow("Learn from", self.pairs)
        form.addRow("", self.foreseen)
        form.addRow("Stop", self.time)
        return what

    def _plan(self) -> QWidget:
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.plan_words)
        column.addWidget(self.table)
        column.addWidget(self.reason)
        column.addWidget(self._all_settings())
        self.plan = Section("Plan", content)
        return self.plan

    def _all_settings(self) -> QWidget:
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(0, 0, 0, 0)
        for title, form in (
            ("Computer", self.machine),
            ("Intensities", self.normalization),
            ("Augmentation", self.augmentation),
        ):
            heading = QLabel(title)
            font = heading.font()
            font.setBold(True)
            heading.setFont(font)
            column.addWidget(heading)
            column.addWidget(form)
        self.settings = Section("All settings...", content, expanded=False)
        return self.settings

    def _run(self) -> QWidget:
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(0, 0, 0, 0)
        for widget in (
            self.outcome,
            self.no_score,
            self.messages,
            self.loss,
            self.score,
            self.picture,
            self.caption,
        ):
            column.addWidget(widget)
        self.run = Section("Training", content)
        return self.run

    def _connect(self) -> None:
        part = self.part
        self.start.activated.connect(lambda index: part.set_start(self.start.itemData(index)))
        self.pairs.activated.connect(lambda index: part.choose_pairs(self.pairs.itemData(index)))
        self.time.activated.connect(
            lambda index: part.set_choice("time_s", self.time.itemData(index))
        )
        # Later: a table that is being edited leaves the edited row alone.
        self.table.typed.connect(part.type_choice, Qt.ConnectionType.QueuedConnection)
        self.table.explained.connect(self.reason.setText)
        self.table.given_back.connect(part.give_back)
        self.machine.changed.connect(part.edit)
        self.normalization.changed.connect(self._edit_normalization)
        self.augmentation.changed.connect(self._edit_augmentation)
        self.train_button.clicked.connect(self.train)
        self.cancel_button.clicked.connect(part.cancel)
        self.go_on_button.clicked.connect(self._go_on)
        self._plan_timer.timeout.connect(part.catch_up)
        self._draw_timer.timeout.connect(self._show_run)
        self._next_timer.timeout.connect(self._draw_next)
        part.events.stale.connect(self._plan_soon)
        part.events.settings_changed.connect(self._show_settings)
        part.events.plan_changed.connect(self._show_plan)
        part.events.run_changed.connect(self._draw_soon)

    def train(self) -> None:
        """Start the training as it is planned, and make room to watch it."""
        self.part.train()
        self._watch_run()

    def _go_on(self) -> None:
        self.part.go_on()
        self._watch_run()

    def _watch_run(self) -> None:
        if self.part.is_active:
            self.plan.button.setChecked(False)

    def _edit_normalization(self, values: dict[str, Any]) -> None:
        self.part.edit_record("normalization", values)

    def _edit_augmentation(self, values: dict[str, Any]) -> None:
        self.part.edit_record("augmentation", values)

    def _plan_soon(self) -> None:
        self._plan_timer.start()

    def _draw_soon(self) -> None:
        if not self._draw_timer.isActive():
            self._draw_timer.start()

    def _show_settings(self) -> None:
        part = self.part
        _fill(self.start, part.start_options, part.start)
        _fill(self.pairs, part.pairs_options, part.pairs)
        _fill(self.time, part.time_options, part.time_s)

    def _show_plan(self) -> None:
        if not self.isVisible():
            return  # drawn when the tab is opened: a large project tells often
        part = self.part
        _fill(self.time, part.time_options, part.time_s)  # it says how long the plan takes
        self.table.show_rows(part.rows)
        self.compatibility.setText(part.compatibility)
        self.foreseen.setText(part.foreseen)
        self.plan_words.setText(part.plan_words)
        self.machine.set_values(
            {
                name: getattr(part.recipe, name)
                for name in self.machine.editors
                if hasattr(part.recipe, name)
            }
        )
        for name, form in (
            ("normalization", self.normalization),
            ("augmentation", self.augmentation),
        ):
            values = part.record_of(name)
            form.set_values({key: values[key] for key in form.editors if key in values})
        _tell(self.problem, part.problem, "warning")
        self._draw_soon()

    def _show_run(self) -> None:
        part, story = self.part, self.part.story
        self.train_button.set_reason(part.why_not_train)
        self.cancel_button.set_reason(part.why_not_cancel)
        self.go_on_button.setVisible(bool(part.offer))
        _tell(self.offer, part.offer, "info")
        _tell(self.outcome, f"{story.outcome} {story.way_out}".strip(), LEVELS[story.tone])
        _tell(self.no_score, story.why_no_score, "info")
        self.messages.setText("\n".join(story.messages))
        self.messages.setVisible(bool(story.messages))
        self.progress.setVisible(part.is_active)
        self.progress.show_progress(story.done, story.total, part.words)
        self.run.setVisible(part.has_run)
        self._to_draw = [*self._new_curves(), self._show_picture]
        self._draw_next()

    def _draw_next(self) -> None:
        if self._to_draw:
            self._to_draw.pop(0)()
            self._next_timer.start()

    def _new_curves(self) -> list[Callable[[], None]]:
        story = self.part.story
        newest = (story.run_id, len(story.history), story.epoch)
        if newest == self._drawn:
            return []

        def draw_score() -> None:
            _plot(self.score, story.curves("score"))
            # Not before: news that come between the two would leave the second out.
            self._drawn = newest

        return [lambda: _plot(self.loss, story.curves("loss")), draw_score]

    def _show_picture(self) -> None:
        """Read the newest picture in a thread; the one before stays until it is read."""
        newest = self.part.preview
        if newest == self._pictured:
            return
        self._pictured = newest
        if newest is None:
            self._draw_picture((0, None))
            return
        epoch, path = newest
        # A picture may be read in any thread; only what is drawn on the screen belongs to the
        # window's.
        self._session.background.run(
            lambda: (epoch, QImage(str(path))), self._draw_picture, key="training preview"
        )

    def _draw_picture(self, found: tuple[int, QImage | None]) -> None:
        epoch, image = found
        self.picture.show_image(image)
        self.caption.setText(CAPTION.format(epoch) if image is not None else "")

    def showEvent(self, event: QShowEvent) -> None:
        """Plan while the tab is seen."""
        super().showEvent(event)
        self._show_plan()
        self.part.watch(True)

    def hideEvent(self, event: QHideEvent) -> None:
        """Nothing is planned that nobody sees."""
        super().hideEvent(event)
        self.part.watch(False)


def _fill(combo: QComboBox, options: Sequence[tuple[Any, str]], chosen: Any) -> None:
    """Show options; a list that is open is left alone when the same can be chosen, called otherwise or not."""
    if [combo.itemData(index) for index in range(combo.count())] != [value for value, _ in options]:
        combo.clear()
        for value, words in options:
            combo.addItem(words, value)
    for index, (_, words) in enumerate(options):
        if combo.itemText(index) != words:
            combo.setItemText(index, words)
    combo.setCurrentIndex([value for value, _ in options].index(chosen))
    combo.setToolTip(combo.currentText())


def _tell(notice: Notice, words: str, level: str) -> None:
    # A style sheet takes long to apply.
    if words != notice.text():
        notice.show_message(words, level=level)


def _plot(widget: Curves, curves: dict[str, tuple[list[float], list[float]]]) -> None:
    widget.setVisible(bool(curves))
    widget.show_curves(curves)
