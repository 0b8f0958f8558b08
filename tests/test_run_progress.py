"""The progress of a run is told once, from its events alone."""

from __future__ import annotations

import pytest

from maskloop.compute.run_progress import RunProgress
from maskloop.events import (
    Failed,
    Finished,
    Message,
    Metric,
    Preview,
    Progress,
    Started,
)
from maskloop.jobs.outcomes import short_outcome, state_after

METRICS = {"stopped": "not finite", "epochs": 3, "best_epoch": 2, "seconds": 60.0}


def epochs(done: float, *, total: float = 30) -> Progress:
    """A training so far."""
    return Progress(
        stage="training", done=done, total=total, unit="epochs", rate=12.345, seconds_left=300
    )


def test_a_training_is_told_from_its_events() -> None:
    run = RunProgress(kind="train")
    assert (run.state, run.words) == ("submitted", "")
    began = Started(process_id=1, host="here", time=1000.0)
    run.take([began, Message(text="1 of 5 pairs is held out for validation.")])
    assert (run.state, run.words) == ("running", "Preparing")
    assert (run.done, run.total, run.fraction) == (0, 0, 0)
    run.take([epochs(1.5)])
    assert run.words == "Epoch 2 of 30, 12.3 images/s, 5 min left"
    assert (run.done, run.total, run.fraction) == (1.5, 30, 0.05)
    assert (run.rate, run.seconds_left) == (12.345, 300)
    values = {"loss": 0.5, "val_loss": float("nan"), "dice": 0.4}
    run.take([Metric(epoch=1, values=values), Preview(epoch=1, path="previews/a.png")])
    assert run.curves("loss") == {"training": ([1.0], [0.5])}
    assert run.curves("score") == {"Dice": ([1.0], [0.4])}
    assert run.last_score == ("Dice", 0.4)
    assert run.preview == (1, "previews/a.png")
    run.take([Message(level="warning", text="The batch did not fit.")] * 2)
    assert run.messages == ["The batch did not fit."]
    assert run.age(now=1600.0) == "10 min"


def test_a_nan_loss_ends_badly_and_says_what_is_kept() -> None:
    run = RunProgress(kind="train")
    result = {"checkpoint_id": "unet_run_001", "summary": "dice 0.4", "metrics": METRICS}
    run.take([epochs(2.5), Finished(result=result)])
    assert (run.tone, run.outcome, run.way_out) == (
        "bad",
        "Stopped at epoch 3 because of a NaN loss: the best weights so far (epoch 2) are kept as "
        "unet_run_001: dice 0.4.",
        "Check the images for invalid values, or lower the learning rate.",
    )
    assert (run.words, run.rate, run.seconds_left) == ("", None, None)


@pytest.mark.parametrize(
    ("stopped", "tone", "words"),
    [
        ("epochs", "good", "Finished: unet_run_001, dice 0.4; 3 epochs in 1 min."),
        (
            "time",
            "good",
            "Finished: unet_run_001, dice 0.4; 3 epochs in 1 min; time limit reached.",
        ),
        (
            "patience",
            "good",
            "Finished: unet_run_001, dice 0.4; 3 epochs in 1 min; stopped early: "
            "the validation score no longer improved.",
        ),
        (
            "cancelled",
            "stopped",
            "Cancelled at epoch 3: the best weights so far (epoch 2) are kept as unet_run_001: "
            "dice 0.4.",
        ),
    ],
)
def test_a_training_says_why_it_ended(stopped: str, tone: str, words: str) -> None:
    run = RunProgress(kind="train")
    metrics = {**METRICS, "stopped": stopped}
    result = {"checkpoint_id": "unet_run_001", "summary": "dice 0.4", "metrics": metrics}
    run.take([Finished(result=result)])
    assert (run.tone, run.outcome) == (tone, words)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("train", "The training stopped unexpectedly before the first epoch was validated."),
        ("predict", "The prediction stopped unexpectedly."),
        ("measure", "The measurement stopped unexpectedly."),
        ("of a plug-in that is gone", "The run stopped unexpectedly."),
    ],
)
def test_the_words_of_a_log_are_not_shown(kind: str, words: str) -> None:
    run = RunProgress(kind=kind)
    problem = "The run stopped unexpectedly: Traceback (most recent call last)"
    run.take([Failed(error="Interrupted", problem=problem, way_out="")])
    assert (run.state, run.tone, run.outcome) == ("interrupted", "bad", words)
    assert "Traceback" not in run.outcome + run.way_out


def test_a_resumed_run_has_not_ended() -> None:
    run = RunProgress(kind="train")
    run.take([Metric(epoch=1, values={"loss": 1.0}), Failed(error="X", problem="p.", way_out="w.")])
    assert (run.state, run.outcome, run.way_out) == ("failed", "p.", "w.")
    run.take([Started(process_id=2, host="here", resumed=True)])
    assert (run.state, run.words, run.outcome) == ("running", "Resuming", "")
    run.take([Metric(epoch=1, values={"loss": 0.5}), Metric(epoch=2, values={"loss": 0.25})])
    assert run.curves("loss") == {"training": ([1.0, 2.0], [0.5, 0.25])}


def test_progress_over_several_files_is_one_fraction() -> None:
    run = RunProgress(kind="predict")
    run.take([Started(process_id=1, host="here")])
    assert run.words == "Loading the model"
    run.take([Progress(stage="a.tif", done=2, total=4, unit="tiles", rate=2, seconds_left=3.0)])
    assert (run.done, run.total, run.words) == (2, 4, "a.tif: 2 of 4 tiles, 3 s left")
    assert run.rate_words == "2 tiles/s"
    run.take([Progress(stage="images", done=1, total=5, unit="images")])
    assert run.words == "1 of 5 images"
    run.take([Progress(stage="b.tif", done=1, total=2, unit="tiles")])
    assert (run.done, run.total, run.fraction) == (1.5, 5, 0.3)
    assert run.words == "b.tif: 1 of 2 tiles, file 2 of 5"


def test_a_prediction_says_how_many_failed_and_the_only_failure_in_full() -> None:
    run = RunProgress(kind="predict")
    bad = {"source": "/x/a.tif", "problem": "No.", "way_out": "Do."}
    run.take([Finished(result={"checkpoint_id": "c", "written": ["b"], "failed": [bad]})])
    assert (run.tone, run.outcome) == ("bad", "1 image predicted with c, 1 failed.")
    assert [one.name for one in run.failures] == ["a.tif"]
    run.take([Finished(result={"checkpoint_id": "c", "written": [], "failed": [bad]})])
    assert (run.outcome, run.way_out) == ("No.", "Do.")
    run.take([Finished(result={"checkpoint_id": "c", "written": ["a", "b"], "failed": []})])
    assert (run.tone, run.outcome) == ("good", "2 images predicted with c.")


def test_scores_of_a_model_with_other_figures_are_drawn_too() -> None:
    run = RunProgress(kind="train")
    run.take([Metric(epoch=1, values={"accuracy": 0.5, "loss": 1.0})])
    assert run.figures == ["loss", "accuracy"]
    assert run.curves("score") == {"accuracy": ([1.0], [0.5])}
    assert run.last_score == ("accuracy", 0.5)


def test_a_job_of_a_new_kind_says_its_own_words() -> None:
    run = RunProgress(kind="measure")
    run.take([Progress(stage="measure", done=3, total=10, unit="objects", rate=1.5)])
    assert run.words == "measure: 3 of 10 objects"
    run.take([Finished(result={"summary": "10 objects measured."})])
    assert (run.tone, run.outcome) == ("good", "10 objects measured.")


def test_the_state_of_a_run_follows_from_its_last_event() -> None:
    started = Started(process_id=1, host="here")
    full_disk = Failed(error="ProjectError", problem="Disk full.", way_out="")
    assert [state_after(last) for last in (None, started, full_disk, Finished(result={}))] == [
        "submitted",
        "interrupted",
        "interrupted",
        "finished",
    ]
    assert short_outcome(full_disk) == "Disk full."
    assert short_outcome(started) == ""
    result = {"checkpoint_id": "unet_run_001", "summary": "dice 0.4"}
    assert short_outcome(Finished(result=result)) == "unet_run_001 dice 0.4"
    assert short_outcome(Finished(result={"written": ["a"], "failed": []})) == (
        "1 predicted, 0 failed"
    )
