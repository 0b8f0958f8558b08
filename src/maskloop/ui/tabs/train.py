"""Train: what to train on, the plan with its reasons, and the training as it learns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QHideEvent, QImage, QShowEvent
from qtpy.QtWidgets import QLabel, QWidget

from maskloop.images.normalize import Normalization
from maskloop.models.base import DEFAULT_BACKEND, Augmentation, kinds
from maskloop.ui.actions import Action, ActionButton, ActionGrid
from maskloop.ui.arrange import Paragraph, column, debounced, form
from maskloop.ui.choice import Choice
from maskloop.ui.chosen import Chosen
from maskloop.ui.curves import Curves
from maskloop.ui.forms import RecordForm
from maskloop.ui.picture import Picture
from maskloop.ui.plan_table import PlanTable
from maskloop.ui.session import Session
from maskloop.ui.tabs.base import Tab
from maskloop.ui.widgets import Line, Notice, ProgressLine, Section

__all__ = ["TrainTab"]

PLAN_AFTER_MS = 300
"""Pause after typing before it is planned again."""
DRAW_AFTER_MS = 100
"""Small images make hundreds of epochs a second; they are drawn together."""
BETWEEN_DRAWINGS_MS = 20
"""Two plots and a picture drawn at once would block the window for a tenth of a second."""
MACHINE = ("device", "devices", "seed", "save_every_s", "tensorboard")
"""Fields of a recipe that nobody plans."""
LOSS_TIP = (
    "How far predictions are from the masks: falls during training. "
    "If only the training loss falls, the network overfits."
)
SCORE_TIP = (
    "On validation images, which are never trained on; 1 is perfect. "
    "Dice: how well areas agree. AP50: how many objects are found."
)
LEVELS = {"good": "info", "stopped": "info", "bad": "warning", "": "info"}
CAPTION = "Epoch {}, a validation image: yellow found, blue missed"


class TrainTab(Tab):
    """Chooses, plans, trains and watches."""

    title = "Train"

    def __init__(self, session: Session, chosen: Chosen) -> None:
        super().__init__(session, chosen)
        self.plan, self.training = session.plan, session.training
        self._make_widgets()
        self._plan_soon = debounced(self, PLAN_AFTER_MS, self.plan.catch_up)
        self._draw_timer = QTimer(self, singleShot=True, interval=DRAW_AFTER_MS)
        self._next_timer = QTimer(self, singleShot=True, interval=BETWEEN_DRAWINGS_MS)
        self._to_draw: list[Callable[[], None]] = []
        self._drawn: tuple[str, int, int] | None = None
        self._pictured: tuple[int, Path] | None = None
        self.run = Section("Training", column(self._run_widgets()))
        self.plan_section = Section("Plan", column(self._plan_widgets()))
        what = form(
            [
                self.start,
                self.compatibility,
                ("Train on", self.pairs),
                ("", self.foreseen),
                ("Time limit", self.time),
            ]
        )
        always = (
            self.problem,
            self.resume_notice,
            self.progress,
            self.train_button.reason_line(),
            self.buttons,
        )
        self.fill((what, self.plan_section, self.run), always)
        self._connect()
        self._show_settings()
        self._show_plan()
        self._show_run()

    def _make_widgets(self) -> None:
        training = self.training
        self.start = Choice("Start")
        self.compatibility, self.foreseen = Line(), Line()
        self.plan_words = Line()
        self.pairs = Choice("Train on")
        self.time = Choice("Time limit")
        self.problem, self.resume_notice = Notice(), Notice()
        self.outcome, self.no_score = Notice(), Notice()
        self.table = PlanTable()
        # Below the table: its column of reasons is elided in a narrow dock.
        self.reason = QLabel(wordWrap=True)
        self.train_button = ActionButton(
            Action("Train", self.train, lambda: training.why_not_train)
        )
        self.resume_button = ActionButton(Action("Resume", self._resume))
        self.cancel_button = ActionButton(
            Action("Cancel", training.cancel, lambda: training.run.why_not_cancel)
        )
        buttons = (self.train_button, self.resume_button, self.cancel_button)
        self.buttons = ActionGrid(buttons, columns=3)
        self.progress = ProgressLine(has_cancel=False)
        self.messages = Paragraph()
        self.loss, self.score = Curves("Loss"), Curves("Score")
        self.loss.setToolTip(LOSS_TIP)
        self.score.setToolTip(SCORE_TIP)
        _, kind = kinds(DEFAULT_BACKEND)
        self.machine = RecordForm(
            kind, fields=[name for name in MACHINE if name in kind.model_fields]
        )
        self.normalization = RecordForm(Normalization, fields=("mode", "scope", "low", "high"))
        self.augmentation = RecordForm(Augmentation)
        self.picture, self.caption = Picture(), Line()

    def _plan_widgets(self) -> Sequence[QWidget]:
        inside: list[QWidget] = []
        for title, one in (
            ("Computer", self.machine),
            ("Normalization", self.normalization),
            ("Augmentation", self.augmentation),
        ):
            heading = QLabel(title)
            font = heading.font()
            font.setBold(True)
            heading.setFont(font)
            inside += [heading, one]
        self.settings = Section("All settings...", column(inside), expanded=False)
        return self.plan_words, self.table, self.reason, self.settings

    def _run_widgets(self) -> Sequence[QWidget]:
        words = (self.outcome, self.no_score, self.messages)
        return (*words, self.loss, self.score, self.picture, self.caption)

    def _connect(self) -> None:
        plan = self.plan
        self.start.chosen.connect(plan.set_start)
        self.pairs.chosen.connect(plan.choose_pairs)
        self.time.chosen.connect(lambda limit: plan.set_choice("time_s", limit))
        # Queued: while a cell is being edited, the table leaves its row alone.
        self.table.typed.connect(plan.type_choice, Qt.ConnectionType.QueuedConnection)
        self.table.explained.connect(self.reason.setText)
        self.table.given_back.connect(plan.give_back)
        self.machine.changed.connect(plan.edit)
        self.normalization.changed.connect(lambda values: plan.edit_record("normalization", values))
        self.augmentation.changed.connect(lambda values: plan.edit_record("augmentation", values))
        self._draw_timer.timeout.connect(self._show_run)
        self._next_timer.timeout.connect(self._draw_next)
        plan.stale.connect(self._plan_soon.throttle)
        plan.changed.connect(self._show_settings)
        plan.planned.connect(self._show_plan)
        self.training.changed.connect(self._draw_soon)

    def train(self) -> None:
        """Start the training as planned, and make room to watch it."""
        self.training.train()
        self._watch_run()

    def _resume(self) -> None:
        self.training.resume()
        self._watch_run()

    def _watch_run(self) -> None:
        if self.training.is_active:
            # The plan no longer matters, and the curves would lie below the edge.
            self.plan_section.button.setChecked(False)

    def _draw_soon(self) -> None:
        # A throttle, not a debounce: a training never pauses.
        if not self._draw_timer.isActive():
            self._draw_timer.start()

    def _show_settings(self) -> None:
        plan = self.plan
        self.start.show_options(plan.start_options, plan.start)
        self.pairs.show_options(plan.pairs_options, plan.pairs)
        self.time.show_options(plan.time_options, plan.time_s)

    def _show_plan(self) -> None:
        if not self.isVisible():
            return  # drawn when the tab is opened: a large project changes often
        plan = self.plan
        self.time.show_options(plan.time_options, plan.time_s)  # how long "Automatic" may take
        self.table.show_rows(plan.rows)
        self.compatibility.setText(plan.compatibility)
        self.foreseen.setText(plan.foreseen)
        self.plan_words.setText(plan.words)
        self.machine.set_values(
            {
                name: getattr(plan.recipe, name)
                for name in self.machine.editors
                if hasattr(plan.recipe, name)
            }
        )
        for name, one in (
            ("normalization", self.normalization),
            ("augmentation", self.augmentation),
        ):
            values = plan.record_of(name)
            # The form shows some of the fields; the others keep what the plan gave them.
            one.set_values({key: values[key] for key in one.editors if key in values})
        self.problem.show_message(plan.problem, level="warning")
        self._draw_soon()

    def _show_run(self) -> None:
        training, progress = self.training, self.training.progress
        question, outcome = training.resume_question, f"{progress.outcome} {progress.way_out}"
        self.buttons.refresh()
        # The progress bar or the notice above the button says it already.
        is_said = training.is_active or self.train_button.reason in (None, self.plan.problem)
        self.train_button.reason_line().setVisible(not is_said)
        # Hidden and not disabled: most of the time there is nothing to resume.
        self.resume_button.setVisible(bool(question))
        self.resume_notice.show_message(question)
        self.outcome.show_message(outcome.strip(), level=LEVELS[progress.tone])
        self.no_score.show_message(progress.why_no_score)
        self.messages.setText("\n".join(progress.messages))
        self.progress.setVisible(training.is_active)
        self.progress.show_progress(progress.done, progress.total, training.words)
        self.run.setVisible(training.has_run)
        # One at a time, with pauses in between: see `BETWEEN_DRAWINGS_MS`.
        self._to_draw = [*self._new_curves(), self._show_picture]
        self._draw_next()

    def _draw_next(self) -> None:
        if self._to_draw:
            self._to_draw.pop(0)()
            self._next_timer.start()

    def _new_curves(self) -> list[Callable[[], None]]:
        progress = self.training.progress
        newest = (progress.run_id, len(progress.history), progress.epoch)
        if newest == self._drawn:
            return []

        def draw_score() -> None:
            _plot(self.score, progress.curves("score"))
            # Not before: news between the two drawings would leave the second out.
            self._drawn = newest

        return [lambda: _plot(self.loss, progress.curves("loss")), draw_score]

    def _show_picture(self) -> None:
        """Read the newest preview in a thread; the previous one stays until it is read."""
        newest = self.training.preview
        if newest == self._pictured:
            return
        # Before it is read: the same preview would otherwise be read once more at each drawing.
        self._pictured = newest
        if newest is None:
            self._draw_picture((0, None))
            return
        epoch, path = newest
        # A QImage may be read in any thread; only drawing belongs to the main thread.
        self._workspace.background.run(
            lambda: (epoch, QImage(str(path))), self._draw_picture, key="training preview"
        )

    def _draw_picture(self, found: tuple[int, QImage | None]) -> None:
        epoch, image = found
        self.picture.show_image(image)
        self.caption.setText(CAPTION.format(epoch) if image is not None else "")

    def showEvent(self, event: QShowEvent) -> None:
        """Plan while the tab is visible."""
        super().showEvent(event)
        self._show_plan()
        self.plan.watch(True)

    def hideEvent(self, event: QHideEvent) -> None:
        """Plan nothing that nobody sees."""
        super().hideEvent(event)
        self.plan.watch(False)


def _plot(widget: Curves, curves: dict[str, tuple[list[float], list[float]]]) -> None:
    # An empty plot would take the room of the first real one.
    widget.setVisible(bool(curves))
    widget.show_curves(curves)
