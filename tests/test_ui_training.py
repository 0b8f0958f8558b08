"""Train without a window: what is chosen, planned, done and told."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("psygnal")

from ui_session import Pump, open_session

from maskloop import Project
from maskloop.errors import UsageError
from maskloop.events import (
    Failed,
    Finished,
    Message,
    Metric,
    Preview,
    Progress,
    Started,
)
from maskloop.jobs.training import TrainJob, fix_inputs
from maskloop.models.unet.records import UNetNetwork, UNetRecipe
from maskloop.samples import simulate_pairs
from maskloop.task import Task
from maskloop.ui.controllers.train_plan import parse_choice, propose, value_in_words
from maskloop.ui.controllers.train_story import TrainStory
from maskloop.ui.controllers.training import TrainingController
from maskloop.ui.session import Session

TINY = {
    "base_channels": 2,
    "depth": 1,
    "patch_size": (32, 32),
    "batch_size": 2,
    "save_every_s": 0.0,
}


def make_project(folder: Path, count: int = 3) -> Path:
    project = Project.create(folder, mode="binary")
    for image, labels in simulate_pairs(count, shape=(64, 64), seed=1):
        project.dataset.accept(image, labels)
    return folder


def open_project(session: Session, pump: Pump, folder: Path) -> TrainingController:
    session.open(folder)
    pump.until(lambda: session.snapshot.condition == "valid")
    pump.settle(session)
    return session.training


@dataclass
class Planned:
    """A project that is looked at, so that its trainings are planned; one for several tests, as the child loads torch."""

    session: Session
    pump: Pump
    failures: list[tuple[str, str]]

    @property
    def part(self) -> TrainingController:
        return self.session.training

    def plan(self) -> TrainingController:
        self.part.catch_up()
        self.pump.settle(self.session)
        return self.part


@pytest.fixture(scope="module")
def shared_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planned]:
    folder = tmp_path_factory.mktemp("planned")
    with open_session(folder) as (session, pump, failures):
        open_project(session, pump, make_project(folder / "cells")).watch(True)
        yield Planned(session, pump, failures)


@pytest.fixture
def planned(shared_session: Planned) -> Planned:
    for name in list(shared_session.part.choices):
        shared_session.part.give_back(name)
    shared_session.failures.clear()
    shared_session.plan()
    return shared_session


def row(part: TrainingController, name: str) -> tuple[str, str, str]:
    found = next(row for row in part.rows if row.name == name)
    return found.words, found.source, found.reason


def test_a_project_without_pairs_says_why_it_cannot_train(tmp_path: Path) -> None:
    Project.create(tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, failures):
        assert "choose or create" in str(session.training.why_not_train)
        part = open_project(session, pump, tmp_path / "cells")
        assert part.why_not_train == "There is no pair to learn from: accept one in Dataset."
        part.train()
        assert failures == [
            ("No training was started.", "There is no pair to learn from: accept one in Dataset.")
        ]


def test_nothing_is_planned_until_somebody_looks(tmp_path: Path) -> None:
    with open_session(tmp_path) as (session, pump, _):
        part = open_project(session, pump, make_project(tmp_path / "cells"))
        asked: list[bool] = []
        part.events.stale.connect(lambda: asked.append(True))
        part.catch_up()
        assert not part.is_planning
        assert not asked
        part.watch(True)
        assert asked


def test_the_plan_is_shown_with_its_reasons(planned: Planned) -> None:
    part = planned.part
    assert part.start_options == [("scratch", "From scratch")]
    assert part.compatibility == "A new network, fitted to your images."
    assert part.foreseen == "Learns from 2, scored on 1 other"
    assert part.time_options[0][1].startswith("As long as planned, at most about ")
    assert row(part, "patch_size")[:2] == ("64 x 64", "planned")
    assert "median image" in row(part, "patch_size")[2]
    assert not planned.failures


def test_a_value_is_set_and_given_back(planned: Planned) -> None:
    part = planned.part
    before = row(part, "batch_size")
    part.type_choice("batch_size", before[0])
    assert part.choices == {}
    part.type_choice("batch_size", "3")
    assert row(part, "batch_size") == ("3", "yours", f"Set by you. Planned was {before[0]}.")
    planned.plan()
    assert part.proposal is not None
    assert part.proposal.plan is not None
    assert part.proposal.plan.batch_size == 3
    part.give_back("batch_size")
    planned.plan()
    assert row(part, "batch_size") == before
    part.type_choice("batch_size", "many")
    assert (
        planned.failures[0][0]
        == "'many' cannot be the batch size: it must be a valid integer, unable to parse string as an integer."
    )
    assert part.choices == {}
    with pytest.raises(UsageError, match="Epochs does not fit"):
        part.set_choice("epochs", 0)


def test_a_value_that_does_not_fit_says_why_and_can_be_given_back(planned: Planned) -> None:
    part = planned.part
    names = [one.name for one in part.rows]
    part.type_choice("patch_size", "33")
    planned.plan()
    assert "Patch size (33, 33) does not fit a 2d network" in part.problem
    assert part.why_not_train == part.problem
    assert [one.name for one in part.rows] == names
    assert row(part, "patch_size")[1] == "yours"
    part.give_back("patch_size")
    planned.plan()
    assert part.why_not_train is None
    assert not planned.failures


def test_a_time_budget_is_offered_and_planned_for(planned: Planned) -> None:
    part = planned.part
    first, second = part.time_options[:2]
    assert first[0] is None
    assert first[1].startswith("As long as planned, at most about ")
    assert second == (60.0, "After 1 min")
    part.set_choice("time_s", 120.0)
    assert (120.0, "After 2 min") in part.time_options
    planned.plan()
    assert "the clock ends the training" in row(part, "epochs")[2]
    assert part.time_options[0] == (None, "As long as planned")


def test_normalization_and_augmentation_are_edited_as_forms(planned: Planned) -> None:
    part = planned.part
    before = part.record_of("augmentation")
    part.edit_record("augmentation", {"blur": before["blur"]})
    assert part.choices == {}
    part.edit_record("augmentation", {"blur": 2.5})
    assert row(part, "augmentation")[1] == "yours"
    assert part.record_of("augmentation") == {**before, "blur": 2.5}
    part.edit_record("normalization", {"low": 70.0})
    assert "less than or equal to 50" in planned.failures[0][0]
    part.edit({"device": "cpu", "seed": 0})
    assert set(part.choices) == {"augmentation", "device"}
    part.edit({"device": "auto"})
    assert row(part, "validation_share") == (
        "20%",
        "planned",
        "1 of 3 pairs (1 of 3 groups) are kept for validation; no group lies on both sides.",
    )
    part.type_choice("validation_share", "50 %")
    planned.plan()
    assert part.foreseen == "Learns from 1, scored on 2 others"


def test_a_setting_of_the_project_is_named_as_such_and_given_back(planned: Planned) -> None:
    planned.session.do(lambda project: project.update_config(epochs=7))
    planned.pump.settle(planned.session)
    part = planned.plan()
    assert row(part, "epochs") == ("7", "settings", "From the settings of the project.")
    part.give_back("epochs")
    planned.pump.settle(planned.session)
    planned.plan()
    assert row(part, "epochs")[1] == "planned"


def test_what_was_chosen_is_there_when_the_project_is_opened_again(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, _):
        part = open_project(session, pump, folder)
        part.set_choices({"time_s": 600.0, "patch_size": (32, 32), "seed": 0})
        part.set_pairs("new")
        part.set_start("scratch")
        part.catch_up()
        part.type_choice("epochs", "12")  # a moment before the window is closed
    assert Project.open(folder).config.training_choices == {
        "time_s": 600.0,
        "patch_size": [32, 32],
        "epochs": 12,
    }
    with open_session(tmp_path) as (session, pump, _):
        part = open_project(session, pump, folder)
        assert part.choices == {"time_s": 600.0, "patch_size": (32, 32), "epochs": 12}
        assert (part.pairs, part.start) == ("new", "scratch")
        assert part.time_s == 600


def test_choices_are_kept_through_what_others_write_and_theirs_are_taken_up(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, _):
        part = open_project(session, pump, folder)
        part.set_choice("epochs", 5)
        Project.open(folder).update_config(
            default_dataset_source="new_accepted_pairs", training_choices={"epochs": 9, "future": 1}
        )
        pump.until(lambda: part.pairs == "new")
        assert part.choices == {"epochs": 5}
        part.set_choice("epochs", 9)
        Project.open(folder).update_config(training_choices={"seed": 3})
        pump.until(lambda: part.choices == {"seed": 3})


def test_a_value_given_back_while_it_is_being_kept_stays_given_back(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, _):
        part = open_project(session, pump, folder)
        part.set_choice("epochs", 12)
        part.catch_up()
        part.give_back("epochs")
        session.refresh()
        part.catch_up()
        pump.settle(session)
        assert part.choices == {}
    assert Project.open(folder).config.training_choices == {}


def test_pairs_selected_in_the_table_count_until_others_are_chosen(tmp_path: Path) -> None:
    with open_session(tmp_path) as (session, pump, _):
        part = open_project(session, pump, make_project(tmp_path / "cells"))
        first = session.snapshot.pairs[0].pair_id
        assert part.pairs_options == [
            ("all", "All pairs (3)"),
            ("new", "New since the last checkpoint (3)"),
        ]
        part.set_pairs((first,))
        assert part.pairs == "selected"
        assert part.pairs_options[-1] == ("selected", "Selected in the table (1)")
        assert part.job.pairs == (first,)
        session.do(lambda project: project.dataset.remove(first))
        pump.until(lambda: part.pairs == "all")


def test_a_training_is_watched_kept_and_continued(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, failures):
        said: list[str] = []
        session.events.said.connect(said.append)
        part = open_project(session, pump, folder)
        part.set_choices({**TINY, "epochs": 3})
        part.train()
        assert part.why_not_train == "A training is going on."
        pump.until(lambda: part.story.has_ended)
        pump.until(lambda: session.snapshot.checkpoints)
        assert sorted(part.story.history) == [1, 2, 3]
        assert set(part.story.curves("loss")) == {"training", "validation"}
        assert part.preview is not None
        assert part.preview[1].is_file()
        assert part.story.outcome.startswith("Finished: unet_run_001, dice ")
        assert "3 epochs in" in part.story.outcome
        assert said[-1] == part.story.outcome
        pump.settle(session)
        assert part.start_options[0] == ("latest", "Continue from the latest (unet_run_001)")
        assert part.start == "latest"
        part.set_pairs("new")
        assert (
            part.why_not_train
            == "No pair is new since the last checkpoint: accept new ones, or train on all."
        )
        part.set_pairs("all")
        assert propose(str(folder), part.job).compatibility.startswith("Fits")
        part.set_choice("depth", 2)
        assert (
            "Depth 2 was asked for, but the weights need 1"
            in propose(str(folder), part.job).problem
        )
        assert not failures
    with open_session(tmp_path) as (session, pump, failures):
        part = open_project(session, pump, folder)
        pump.until(lambda: part.story.has_ended)
        assert sorted(part.story.history) == [1, 2, 3]
        assert part.words == ""
        assert not part.offer
        assert not failures


def test_a_cancelled_training_keeps_its_best(tmp_path: Path) -> None:
    with open_session(tmp_path) as (session, pump, failures):
        part = open_project(session, pump, make_project(tmp_path / "cells"))
        assert part.why_not_cancel == "No training is going on."
        part.set_choices({**TINY, "epochs": 5000, "patience": 5000})
        part.train()
        pump.until(lambda: part.story.epoch)
        part.cancel()
        pump.until(lambda: part.story.has_ended)
        assert part.story.tone == "stopped"
        assert part.story.outcome.startswith("Cancelled at epoch ")
        assert "is kept as unet_run_001" in part.story.outcome
        assert not failures


def test_a_killed_training_says_so_and_goes_on(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, failures):
        part = open_project(session, pump, folder)
        started: list[int] = []
        part.running.events.told.connect(
            lambda told: started.extend(one.process_id for one in told if isinstance(one, Started))
        )
        part.set_choices({**TINY, "epochs": 60, "patience": 60})
        part.train()
        pump.until(lambda: part.story.epoch > 1)
        os.kill(started[0], signal.SIGKILL)
        pump.until(lambda: part.offer)
        assert part.story.outcome.startswith("The training was ended from outside after epoch ")
        assert failures[0][0] == part.story.outcome
        assert part.offer.startswith("Training train_001 was interrupted after epoch ")
    with open_session(tmp_path) as (session, pump, failures):
        part = open_project(session, pump, folder)
        pump.until(lambda: part.offer and part.story.has_ended)
        assert not failures
        part.go_on()
        pump.until(lambda: part.story.has_ended and part.story.tone == "good")
        assert part.story.epoch == 60
        assert any(text.startswith("Going on after epoch") for text in part.story.messages)
        assert not failures


def test_a_training_goes_on_without_the_window_and_is_followed_when_it_is_opened_again(
    tmp_path: Path,
) -> None:
    folder = make_project(tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, _):
        part = open_project(session, pump, folder)
        part.set_choices({**TINY, "epochs": 5000, "patience": 5000})
        part.train()
        pump.until(lambda: part.story.epoch)
        before = part.story.epoch
    with open_session(tmp_path) as (session, pump, failures):
        part = open_project(session, pump, folder)
        pump.until(lambda: part.story.epoch > before)
        assert part.is_active
        assert "going on since" in part.words
        assert 1 in part.story.history
        part.cancel()
        pump.until(lambda: part.story.has_ended)
        pump.until(lambda: session.snapshot.checkpoints)
        assert not failures


def test_without_an_honest_validation_the_story_says_why_there_is_no_score(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells", 1)
    with open_session(tmp_path) as (session, pump, _):
        part = open_project(session, pump, folder)
        assert "no honest validation set exists" in propose(str(folder), part.job).split_reason
        part.set_choices({**TINY, "epochs": 2})
        part.train()
        pump.until(lambda: part.story.has_ended)
        assert part.story.why_no_score.startswith("No score: All pairs belong to one group")
        assert part.story.curves("score") == {}


def test_starting_weights_say_whether_they_fit(tmp_path: Path) -> None:
    project = Project.open(make_project(tmp_path / "cells"))
    weights = tmp_path / "weights.pt"
    said = []
    for task, network in (
        (Task(), UNetNetwork().model_dump()),
        (Task(), UNetNetwork(depth=2).model_dump()),
        (Task(mode="instances"), UNetNetwork(output_channels=3).model_dump()),
        (None, {"depth": "many"}),
    ):
        weights.write_bytes(b"weights")
        record = project.checkpoints.register(weights, run_id="", task=task, network=network)
        said.append(
            propose(str(project.folder), TrainJob(start=record.checkpoint_id)).compatibility
        )
    assert said == [
        "Fits. The training keeps its network: U-Net 2D, depth 4, 32 base channels.",
        "Fits. The training keeps its network: U-Net 2D, depth 2, 32 base channels.",
        "Does not fit: unet_run_003 does not fit the architecture: "
        "output mode is instances, needed is binary; output channels is 3, needed is 1.",
        "Does not fit: unet_run_004 does not say which network it was made for.",
    ]
    assert propose(str(project.folder), TrainJob(start="unet_run_009")).problem.startswith(
        "There is no checkpoint 'unet_run_009'"
    )


def test_a_job_that_is_refused_puts_no_pair_on_a_side(tmp_path: Path) -> None:
    project = Project.open(make_project(tmp_path / "cells"))
    made = propose(
        str(project.folder), TrainJob(recipe=UNetRecipe(patch_size=(33,)), start="scratch")
    )
    assert "Patch size (33, 33)" in made.problem
    with pytest.raises(UsageError, match="Patch size"):
        fix_inputs(project, TrainJob(recipe=UNetRecipe(patch_size=(33,))), tmp_path)
    assert {pair.split for pair in project.dataset.pairs} == {None}


def test_a_story_is_told_from_events() -> None:
    story = TrainStory()
    story.take(
        [
            Started(process_id=1, host="here", time=1000.0),
            Message(text="1 of 5 pairs is kept for validation."),
        ]
    )
    assert story.progress == "Getting ready"
    story.take(
        [
            Progress(
                stage="training", done=1.5, total=30, unit="epochs", rate=12.345, seconds_left=300
            )
        ]
    )
    assert story.progress == "Epoch 2 of 30, 12.3 images/s, 5 min left"
    story.take(
        [
            Metric(epoch=1, values={"loss": 0.5, "val_loss": float("nan"), "dice": 0.4}),
            Preview(epoch=1, path="previews/a.png"),
        ]
    )
    assert story.curves("loss") == {"training": ([1.0], [0.5])}
    story.take([Message(level="warning", text="The batch did not fit.")] * 2)
    assert story.messages == ["The batch did not fit."]
    assert story.age(now=1600.0) == "10 min"
    metrics = {"stopped": "not finite", "epochs": 3, "best_epoch": 2, "seconds": 60.0}
    story.take(
        [
            Finished(
                result={"checkpoint_id": "unet_run_001", "summary": "dice 0.4", "metrics": metrics}
            )
        ]
    )
    assert (story.tone, story.outcome) == (
        "bad",
        "Stopped at epoch 3, the loss was no number any more: the best so far (epoch 2) is kept as unet_run_001: dice 0.4.",
    )


def test_the_words_of_a_log_are_not_shown() -> None:
    story = TrainStory()
    story.take(
        [
            Failed(
                error="Interrupted",
                problem="ended without a last word: Traceback (most recent call last)",
                way_out="",
            )
        ]
    )
    assert story.outcome == "The training was ended from outside before the first epoch was scored."
    assert "Traceback" not in story.outcome + story.way_out


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("patch_size", "64 x 128", (64, 128)),
        ("patch_size", "64", (64,)),
        ("foreground_share", "33 %", 0.33),
        ("foreground_share", "0.5", 0.5),
        ("learning_rate", "2e-3", 0.002),
        ("class_weights", "1, 2.5", (1.0, 2.5)),
        ("precision", "fp32", "fp32"),
        ("epochs", "12", 12),
    ],
)
def test_what_is_typed_is_read_and_shown_again(name: str, text: str, value: object) -> None:
    assert parse_choice(name, text) == value
    assert parse_choice(name, value_in_words(name, value)) == value
