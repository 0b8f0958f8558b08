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
from maskloop.compute.proposals import propose
from maskloop.errors import UsageError
from maskloop.events import (
    Started,
)
from maskloop.jobs.training import TrainJob, fix_inputs
from maskloop.models.unet.records import UNetNetwork, UNetRecipe
from maskloop.samples import simulate_pairs
from maskloop.task import Task
from maskloop.ui.controllers.plan import PlanController
from maskloop.ui.controllers.plan_rows import parse_choice, rows_of, value_in_words
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


def open_project(
    session: Session, pump: Pump, folder: Path
) -> tuple[TrainingController, PlanController]:
    session.workspace.open(folder)
    pump.until(lambda: session.workspace.snapshot.condition == "valid")
    pump.settle(session)
    return session.training, session.plan


@dataclass
class Planned:
    """A project with its trainings planned; one for several tests, as the child loads torch."""

    session: Session
    pump: Pump
    failures: list[tuple[str, str]]

    @property
    def plan(self) -> PlanController:
        return self.session.plan

    def plan_again(self) -> PlanController:
        self.plan.catch_up()
        self.pump.settle(self.session)
        return self.plan


@pytest.fixture(scope="module")
def shared_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planned]:
    folder = tmp_path_factory.mktemp("planned")
    with open_session(folder) as (session, pump, failures):
        open_project(session, pump, make_project(folder / "cells"))[1].watch(True)
        yield Planned(session, pump, failures)


@pytest.fixture
def planned(shared_session: Planned) -> Planned:
    for name in list(shared_session.plan.choices):
        shared_session.plan.give_back(name)
    shared_session.failures.clear()
    shared_session.plan_again()
    return shared_session


def row(plan: PlanController, name: str) -> tuple[str, str, str]:
    found = next(row for row in plan.rows if row.name == name)
    return found.words, found.source, found.reason


def test_a_project_without_pairs_says_why_it_cannot_train(tmp_path: Path) -> None:
    Project.create(tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, failures):
        assert "select or create" in str(session.training.why_not_train)
        training, _plan = open_project(session, pump, tmp_path / "cells")
        assert training.why_not_train == "There are no pairs yet: add one in Dataset."
        training.train()
        assert failures == [
            ("No training was started.", "There are no pairs yet: add one in Dataset.")
        ]


def test_nothing_is_planned_until_somebody_looks(tmp_path: Path) -> None:
    with open_session(tmp_path) as (session, pump, _):
        _training, plan = open_project(session, pump, make_project(tmp_path / "cells"))
        asked: list[bool] = []
        plan.stale.connect(lambda: asked.append(True))
        plan.catch_up()
        assert not plan.is_planning
        assert not asked
        plan.watch(True)
        assert asked


def test_the_plan_is_shown_with_its_reasons(planned: Planned) -> None:
    plan = planned.plan
    assert plan.start_options == [("scratch", "From scratch")]
    assert plan.compatibility == "A new network, adapted to your images."
    assert plan.foreseen == "2 pairs for training, 1 for validation"
    assert plan.time_options[0][1].startswith("Automatic (up to ")
    assert row(plan, "patch_size")[:2] == ("64 x 64", "planned")
    assert "median image" in row(plan, "patch_size")[2]
    assert not planned.failures


def test_a_value_is_set_and_given_back(planned: Planned) -> None:
    plan = planned.plan
    before = row(plan, "batch_size")
    plan.type_choice("batch_size", before[0])
    assert plan.choices == {}
    plan.type_choice("batch_size", "3")
    assert row(plan, "batch_size") == ("3", "yours", f"Set by you. Planned was {before[0]}.")
    planned.plan_again()
    assert plan.proposal is not None
    assert plan.proposal.plan is not None
    assert plan.proposal.plan.batch_size == 3
    plan.give_back("batch_size")
    planned.plan_again()
    # Its reason names the memory that is free now, which differs from a moment ago.
    assert row(plan, "batch_size")[:2] == before[:2]
    plan.type_choice("batch_size", "many")
    assert planned.failures[0][0] == "Batch size must be a whole number, not 'many'."
    assert plan.choices == {}
    with pytest.raises(UsageError, match="Epochs must be at least 1, not 0"):
        plan.set_choice("epochs", 0)


def test_settings_of_the_computer_are_no_rows_of_the_plan() -> None:
    choices = {"epochs": 3, "tensorboard": True, "save_every_s": 5.0}
    assert [one.label for one in rows_of("basic_unet", None, choices, {})] == ["Epochs"]


def test_a_value_that_does_not_fit_says_why_and_can_be_given_back(planned: Planned) -> None:
    plan = planned.plan
    names = [one.name for one in plan.rows]
    plan.type_choice("patch_size", "33")
    planned.plan_again()
    assert "Patch size (33, 33) does not fit a 2d network" in plan.problem
    assert planned.session.training.why_not_train == plan.problem
    assert [one.name for one in plan.rows] == names
    assert row(plan, "patch_size")[1] == "yours"
    plan.give_back("patch_size")
    planned.plan_again()
    assert planned.session.training.why_not_train is None
    assert not planned.failures


def test_a_time_budget_is_offered_and_planned_for(planned: Planned) -> None:
    plan = planned.plan
    first, second = plan.time_options[:2]
    assert first[0] is None
    assert first[1].startswith("Automatic (up to ")
    assert second == (60.0, "1 min")
    plan.set_choice("time_s", 120.0)
    assert (120.0, "2 min") in plan.time_options
    planned.plan_again()
    assert "the time limit ends training" in row(plan, "epochs")[2]
    assert plan.time_options[0] == (None, "Automatic")


def test_normalization_and_augmentation_are_edited_as_forms(planned: Planned) -> None:
    plan = planned.plan
    before = plan.record_of("augmentation")
    plan.edit_record("augmentation", {"blur": before["blur"]})
    assert plan.choices == {}
    plan.edit_record("augmentation", {"blur": 2.5})
    assert row(plan, "augmentation")[1] == "yours"
    assert plan.record_of("augmentation") == {**before, "blur": 2.5}
    plan.edit_record("normalization", {"low": 70.0})
    assert "must be at most 50" in planned.failures[0][0]
    plan.edit({"device": "cpu", "seed": 0})
    assert set(plan.choices) == {"augmentation", "device"}
    plan.edit({"device": "auto"})
    assert row(plan, "validation_share") == (
        "20%",
        "planned",
        "Validation uses 1 of 3 pairs (1 of 3 groups); no group is on both sides.",
    )
    plan.type_choice("validation_share", "50 %")
    planned.plan_again()
    assert plan.foreseen == "1 pair for training, 2 for validation"


def test_a_setting_of_the_project_is_named_as_such_and_given_back(planned: Planned) -> None:
    planned.session.workspace.do(lambda project: project.update_config(epochs=7))
    planned.pump.settle(planned.session)
    plan = planned.plan_again()
    assert row(plan, "epochs") == ("7", "settings", "From the project's settings.")
    plan.give_back("epochs")
    planned.pump.settle(planned.session)
    planned.plan_again()
    assert row(plan, "epochs")[1] == "planned"


def test_what_was_chosen_is_there_when_the_project_is_opened_again(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, _):
        _training, plan = open_project(session, pump, folder)
        plan.set_choices({"time_s": 600.0, "patch_size": (32, 32), "seed": 0})
        plan.set_pairs("new")
        plan.set_start("scratch")
        plan.catch_up()
        plan.type_choice("epochs", "12")  # a moment before the window is closed
    assert Project.open(folder).config.training_choices == {
        "time_s": 600.0,
        "patch_size": [32, 32],
        "epochs": 12,
    }
    with open_session(tmp_path) as (session, pump, _):
        _training, plan = open_project(session, pump, folder)
        assert plan.choices == {"time_s": 600.0, "patch_size": (32, 32), "epochs": 12}
        assert (plan.pairs, plan.start) == ("new", "scratch")
        assert plan.time_s == 600


def test_choices_are_kept_through_what_others_write_and_theirs_are_taken_up(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, _):
        _training, plan = open_project(session, pump, folder)
        plan.set_choice("epochs", 5)
        Project.open(folder).update_config(
            default_dataset_source="new_accepted_pairs", training_choices={"epochs": 9, "future": 1}
        )
        pump.until(lambda: plan.pairs == "new")
        assert plan.choices == {"epochs": 5}
        plan.set_choice("epochs", 9)
        Project.open(folder).update_config(training_choices={"seed": 3})
        pump.until(lambda: plan.choices == {"seed": 3})


def test_a_value_given_back_while_it_is_being_kept_stays_given_back(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, _):
        _training, plan = open_project(session, pump, folder)
        plan.set_choice("epochs", 12)
        plan.catch_up()
        plan.give_back("epochs")
        session.workspace.refresh()
        plan.catch_up()
        pump.settle(session)
        assert plan.choices == {}
    assert Project.open(folder).config.training_choices == {}


def test_pairs_selected_in_the_table_count_until_others_are_chosen(tmp_path: Path) -> None:
    with open_session(tmp_path) as (session, pump, _):
        _training, plan = open_project(session, pump, make_project(tmp_path / "cells"))
        first = session.workspace.snapshot.pairs[0].pair_id
        assert plan.pairs_options == [
            ("all", "All pairs (3)"),
            ("new", "New since last checkpoint (3)"),
        ]
        plan.set_pairs((first,))
        assert plan.pairs == "selected"
        assert plan.pairs_options[-1] == ("selected", "Selected in the table (1)")
        assert plan.job.pairs == (first,)
        session.workspace.do(lambda project: project.dataset.remove(first))
        pump.until(lambda: plan.pairs == "all")


def test_a_training_is_watched_kept_and_continued(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, failures):
        said: list[str] = []
        session.workspace.events.said.connect(said.append)
        training, plan = open_project(session, pump, folder)
        plan.set_choices({**TINY, "epochs": 3})
        training.train()
        assert training.why_not_train == "A training is running."
        pump.until(lambda: training.progress.has_ended)
        pump.until(lambda: session.workspace.snapshot.checkpoints)
        assert sorted(training.progress.history) == [1, 2, 3]
        assert set(training.progress.curves("loss")) == {"training", "validation"}
        assert training.preview is not None
        assert training.preview[1].is_file()
        assert training.progress.outcome.startswith("Finished: unet_run_001, Dice ")
        assert "3 epochs in" in training.progress.outcome
        assert said[-1] == training.progress.outcome
        pump.settle(session)
        assert plan.start_options[0] == ("latest", "Continue from latest (unet_run_001)")
        assert plan.start == "latest"
        plan.set_pairs("new")
        assert (
            training.why_not_train
            == "No new pairs since the last checkpoint: add some, or train on all pairs."
        )
        plan.set_pairs("all")
        assert propose(str(folder), plan.job).compatibility.startswith("Compatible")
        plan.set_choice("depth", 2)
        assert (
            "Depth 2 was requested, but the weights need 1"
            in propose(str(folder), plan.job).problem
        )
        assert not failures
    with open_session(tmp_path) as (session, pump, failures):
        training, plan = open_project(session, pump, folder)
        pump.until(lambda: training.progress.has_ended)
        assert sorted(training.progress.history) == [1, 2, 3]
        assert training.words == ""
        assert not training.resume_question
        assert not failures


def test_a_cancelled_training_keeps_its_best(tmp_path: Path) -> None:
    with open_session(tmp_path) as (session, pump, failures):
        training, plan = open_project(session, pump, make_project(tmp_path / "cells"))
        assert training.run.why_not_cancel == "Nothing is running."
        plan.set_choices({**TINY, "epochs": 5000, "patience": 5000})
        training.train()
        pump.until(lambda: training.progress.epoch)
        training.cancel()
        pump.until(lambda: training.progress.has_ended)
        assert training.progress.tone == "stopped"
        assert training.progress.outcome.startswith("Cancelled at epoch ")
        assert "are kept as unet_run_001" in training.progress.outcome
        assert not failures


def test_a_killed_training_says_so_and_goes_on(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, failures):
        training, plan = open_project(session, pump, folder)
        started: list[int] = []
        training.run.told.connect(
            lambda told: started.extend(one.process_id for one in told if isinstance(one, Started))
        )
        plan.set_choices({**TINY, "epochs": 60, "patience": 60})
        training.train()
        pump.until(lambda: training.progress.epoch > 1)
        os.kill(started[0], signal.SIGKILL)
        pump.until(lambda: training.resume_question)
        assert training.progress.outcome.startswith(
            "The training stopped unexpectedly after epoch "
        )
        assert failures[0][0] == training.progress.outcome
        assert training.resume_question.startswith(
            "Training train_001 was interrupted after epoch "
        )
    with open_session(tmp_path) as (session, pump, failures):
        training, plan = open_project(session, pump, folder)
        pump.until(lambda: training.resume_question and training.progress.has_ended)
        assert not failures
        training.resume()
        pump.until(lambda: training.progress.has_ended and training.progress.tone == "good")
        assert training.progress.epoch == 60
        assert any(text.startswith("Resuming after epoch") for text in training.progress.messages)
        assert not failures


def test_a_training_goes_on_without_the_window_and_is_followed_when_it_is_opened_again(
    tmp_path: Path,
) -> None:
    folder = make_project(tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, _):
        training, plan = open_project(session, pump, folder)
        plan.set_choices({**TINY, "epochs": 5000, "patience": 5000})
        training.train()
        pump.until(lambda: training.progress.epoch)
        before = training.progress.epoch
    with open_session(tmp_path) as (session, pump, failures):
        training, plan = open_project(session, pump, folder)
        pump.until(lambda: training.progress.epoch > before)
        assert training.is_active
        assert "running for" in training.words
        assert 1 in training.progress.history
        training.cancel()
        pump.until(lambda: training.progress.has_ended)
        pump.until(lambda: session.workspace.snapshot.checkpoints)
        assert not failures


def test_without_an_honest_validation_the_story_says_why_there_is_no_score(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells", 1)
    with open_session(tmp_path) as (session, pump, _):
        training, plan = open_project(session, pump, folder)
        assert "no independent validation set" in propose(str(folder), plan.job).split_reason
        plan.set_choices({**TINY, "epochs": 2})
        training.train()
        pump.until(lambda: training.progress.has_ended)
        assert training.progress.why_no_score.startswith(
            "No validation score: All pairs belong to one group"
        )
        assert training.progress.curves("score") == {}


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
        "Compatible. The training keeps its network: U-Net 2D, depth 4, 32 base channels.",
        "Compatible. The training keeps its network: U-Net 2D, depth 2, 32 base channels.",
        "Not compatible: unet_run_003 does not match the architecture: "
        "output mode is instances instead of binary; output channels is 3 instead of 1.",
        "Not compatible: unet_run_004 does not state the network it was made for.",
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
    assert parse_choice(UNetRecipe, name, text) == value
    assert parse_choice(UNetRecipe, name, value_in_words(name, value)) == value
