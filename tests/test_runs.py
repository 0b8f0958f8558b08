"""Runs between the processes: resumed or not, helped, summarized, and never read twice."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from maskloop import Project, plugins
from maskloop.compute import runs as runs_module
from maskloop.compute.base import follow, last_word
from maskloop.compute.overview import list_runs, run_state
from maskloop.compute.run_folder import STDERR, FolderHandle
from maskloop.compute.runs import (
    attach,
    find_interrupted,
    resume_or_submit,
    run_job,
    start,
    submit,
)
from maskloop.errors import (
    Cancelled,
    KnownPixels,
    MaskloopError,
    NotFound,
    ProjectError,
    RecordError,
    UsageError,
)
from maskloop.events import (
    Event,
    Failed,
    Finished,
    Message,
    Metric,
    Progress,
    Started,
    append_event,
    read_events,
)
from maskloop.jobs import summary as summary_module
from maskloop.jobs.base import read_job
from maskloop.jobs.execute import CANCEL, EVENTS, LOG, execute, is_helper
from maskloop.jobs.prediction import PredictJob
from maskloop.jobs.summary import SUMMARY, read_facts
from maskloop.jobs.training import TrainJob
from maskloop.models.unet.records import UNetRecipe
from maskloop.testing.count_job import CountJob, install_count_job


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project; its jobs may count."""
    return Project.create(tmp_path / "cells", mode="instances")


@pytest.fixture(autouse=True)
def _counting() -> Any:
    with plugins.register("jobs", "count", "maskloop.testing.count_job:CountJob"):
        yield


def killed(project: Project, job: TrainJob | PredictJob, *, epochs: int = 0) -> FolderHandle:
    """A run whose process was killed after so many epochs."""
    run = submit(project, job)
    append_event(run.folder / EVENTS, Started(process_id=1, host="here", time=0.0))
    for epoch in range(1, epochs + 1):
        append_event(run.folder / EVENTS, Metric(epoch=epoch, values={"loss": 1.0}))
    return run


def trains(**choices: Any) -> TrainJob:
    """A training with these choices."""
    return TrainJob(recipe=UNetRecipe(**choices))


# Resumed or not.


def test_the_same_job_is_resumed_in_silence(project: Project) -> None:
    run = killed(project, trains(epochs=50))
    told: list[Event] = []
    assert resume_or_submit(project, trains(epochs=50), report=told.append) == run
    assert told == []


def test_other_settings_start_anew_and_say_what_differs(project: Project) -> None:
    run = killed(project, trains(epochs=50), epochs=12)
    told: list[Event] = []
    fresh = resume_or_submit(project, trains(epochs=30, patch_size=(64, 64)), report=told.append)
    assert fresh.run_id != run.run_id
    (message,) = told
    assert isinstance(message, Message)
    assert message.level == "warning"
    assert message.text == (
        "The interrupted run train_001 (epoch 12) is not resumed, because its settings differ: "
        "epochs was 50, now 30, patch_size was automatic, now 64, 64. A new run starts. To resume "
        f"the interrupted one instead: maskloop execute {project.folder} train_001"
    )


def test_other_images_are_other_work_and_nothing_is_said(project: Project) -> None:
    killed(project, PredictJob(inputs=("a.tif",)))
    told: list[Event] = []
    resume_or_submit(project, PredictJob(inputs=("b.tif",)), report=told.append)
    assert told == []
    killed(project, PredictJob(inputs=("b.tif",)))
    resume_or_submit(project, PredictJob(inputs=("b.tif",), mirror=True), report=told.append)
    assert "mirror was False, now True" in str(told)


def test_the_status_names_an_interrupted_run_and_how_to_resume_it(project: Project) -> None:
    assert project.status().warnings == ()
    killed(project, trains(epochs=50), epochs=12)
    assert project.status().warnings == (
        "The run train_001 was interrupted after epoch 12.\n"
        f"  -> Resume it: maskloop execute {project.folder} train_001",
    )
    start(submit(project, CountJob(until=1)))
    assert len(project.status().warnings) == 1
    append_event(project.history.run_folder("train_001") / EVENTS, Finished(result={}))
    assert project.status().warnings == ()


# Helpers.


@pytest.mark.parametrize("name", ["SLURM_PROCID", "LOCAL_RANK", "NODE_RANK"])
def test_a_rank_alone_does_not_make_a_helper(
    project: Project, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "3")
    run = submit(project, CountJob(until=2))
    start(run)
    assert [event.kind for event in run.events()[0]][-1] == "finished"
    assert not is_helper(trains())
    assert is_helper(trains(devices=2))
    assert is_helper(trains(nodes=2))
    monkeypatch.setenv(name, "0")
    assert not is_helper(trains(devices=2))


def test_a_helper_without_a_leader_does_not_begin_a_run(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(runs_module, "LEADER_S", 0.0)
    with pytest.raises(UsageError, match="first process of this training"):
        run_job(project, trains(devices=2))
    assert project.history.runs() == []


# Waiting for a run elsewhere.


@pytest.fixture
def _known_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, _counting: Any) -> None:
    """The job of these tests is known to child processes."""
    install_count_job(tmp_path / "packages")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"), prepend=os.pathsep)


@pytest.mark.usefixtures("_known_elsewhere")
def test_every_event_of_a_run_elsewhere_is_reported_once(project: Project) -> None:
    for target in ("inline", "process"):
        told: list[Event] = []
        result = run_job(project, CountJob(until=3), target=target, report=told.append)
        assert result["summary"] == "Counted from 0 to 3."
        kinds = ["started", "progress", "progress", "progress", "finished"]
        assert [event.kind for event in told] == kinds


@pytest.mark.usefixtures("_known_elsewhere")
def test_ctrl_c_stops_a_run_elsewhere_in_good_order(project: Project) -> None:
    told: list[Event] = []

    def press(event: Event) -> None:
        told.append(event)
        if isinstance(event, Progress):
            raise KeyboardInterrupt

    job = CountJob(until=3, hold_at=1)
    with pytest.raises(Cancelled, match="Stopped at 1"):
        run_job(project, job, target="process", report=press)
    assert [event.kind for event in told] == ["started", "progress", "failed"]
    assert find_interrupted(project, job) is not None


# What is kept of a run.


def test_a_summary_is_kept_and_the_journal_is_not_read_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submit(project, CountJob(until=3))
    start(run)
    kept = json.loads((run.folder / SUMMARY).read_bytes())
    assert kept["state"] == "finished"
    assert kept["outcome"] == "Counted from 0 to 3."
    assert kept["journal_bytes"] == (run.folder / EVENTS).stat().st_size
    before = list_runs(project)
    monkeypatch.setattr(summary_module, "_known", {})
    monkeypatch.setattr(summary_module, "read_events", None)  # it would be called
    assert list_runs(project) == before


def test_a_summary_of_another_journal_is_not_trusted(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submit(project, CountJob(until=3))
    start(run)
    append_event(
        run.folder / EVENTS, Failed(error="ValueError", problem="Added later.", way_out="")
    )
    monkeypatch.setattr(summary_module, "_known", {})
    assert run_state(project, run.run_id) == "failed"
    (run.folder / SUMMARY).write_text("{torn", encoding="utf-8")
    monkeypatch.setattr(summary_module, "_known", {})
    assert list_runs(project)[-1].outcome == "Added later."


def test_of_a_growing_journal_only_what_is_new_is_read(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = killed(project, trains(), epochs=3)
    assert list_runs(project)[-1].epochs == 3
    position = (run.folder / EVENTS).stat().st_size
    starts: list[int] = []

    def watched(path: Path, start: int = 0, *, end: int | None = None) -> Any:
        starts.append(start)
        return read_events(path, start, end=end)

    monkeypatch.setattr(summary_module, "read_events", watched)
    append_event(run.folder / EVENTS, Metric(epoch=4, values={"loss": 1.0}))
    facts = read_facts(run.folder)
    assert (facts.epochs, facts.state, facts.began) == (4, "interrupted", 0.0)
    assert starts == [position]
    read_facts(run.folder)
    assert starts == [position]


def test_a_torn_line_is_read_when_it_is_whole(project: Project) -> None:
    run = killed(project, trains(), epochs=1)
    line = Metric(epoch=2, values={"loss": 1.0}).model_dump_json().encode() + b"\n"
    for piece in (line[:20], line[20:]):
        with (run.folder / EVENTS).open("ab") as file:
            file.write(piece)
        epochs = read_facts(run.folder).epochs
    assert epochs == 2


def test_runs_of_every_state_are_listed(project: Project) -> None:
    submit(project, CountJob(until=1))
    start(submit(project, CountJob(until=1)))
    with pytest.raises(UsageError):
        start(submit(project, CountJob(until=1, fails=True)))
    killed(project, trains(), epochs=2)
    (project.history.runs_folder / "train_099").mkdir()
    assert [(run.run_id, run.kind, run.state, run.epochs) for run in list_runs(project)] == [
        ("count_001", "count", "submitted", 0),
        ("count_002", "count", "finished", 0),
        ("count_003", "count", "failed", 0),
        ("train_004", "train", "interrupted", 2),
        ("train_099", "unknown", "submitted", 0),
    ]


# What is wrong with a run.


@pytest.mark.parametrize(
    ("name", "kind"),
    [("Cancelled", Cancelled), ("KnownPixels", KnownPixels), ("annotations", MaskloopError)],
)
def test_a_failure_elsewhere_is_the_same_error_here(
    project: Project, name: str, kind: type[MaskloopError]
) -> None:
    run = submit(project, CountJob(until=1))
    append_event(run.folder / EVENTS, Failed(error=name, problem="No.", way_out="Do."))
    with pytest.raises(MaskloopError, match=r"^No\.") as caught:
        last_word(run)
    assert type(caught.value) is kind


def test_the_end_of_its_log_says_why_a_run_stopped(project: Project) -> None:
    run = killed(project, trains())
    assert [event.problem for event in follow(run) if isinstance(event, Failed)] == [
        "The run train_001 stopped unexpectedly."
    ]
    (run.folder / STDERR).write_text("x" * 600 + " Killed by the queue.\n", encoding="utf-8")
    (problem,) = [event.problem for event in follow(run) if isinstance(event, Failed)]
    assert problem.endswith("x Killed by the queue.")
    assert len(problem) < 600


def test_a_request_to_cancel_follows_no_link(project: Project, tmp_path: Path) -> None:
    run = submit(project, CountJob(until=1))
    (run.folder / CANCEL).symlink_to(tmp_path / "outside")
    with pytest.raises(ProjectError):
        run.cancel()
    assert not (tmp_path / "outside").exists()


def test_a_run_that_does_not_exist_is_named(project: Project) -> None:
    with pytest.raises(NotFound, match="There is no run nope in this project"):
        execute(project, "nope")
    assert not (project.history.runs_folder / "nope").exists()


def test_a_damaged_job_fails_in_the_journal_too(project: Project) -> None:
    run = submit(project, CountJob(until=1))
    for content, words in [
        ("{", "The job file of this run is damaged"),
        ("[1]", "The job file of this run is damaged"),
        ('{"kind": "\\ud800"}', "The job file of this run is damaged"),
        ('{"kind": "count", "until": 0}', "Until must be at least 1"),
        ('{"kind": "juggle"}', "'juggle' is not one of the jobs"),
    ]:
        (run.folder / "job.json").write_text(content, encoding="utf-8")
        with pytest.raises(MaskloopError, match=words):
            start(run)
        last = run.events()[0][-1]
        assert isinstance(last, Failed)
        assert words in last.problem
    with pytest.raises(RecordError):
        read_job(b"{")


def test_an_unexpected_error_is_reported_with_its_log(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def burn(_job: CountJob, _run: object) -> dict[str, Any]:
        raise ZeroDivisionError("nothing to divide by")

    monkeypatch.setattr(CountJob, "run", burn)
    run = submit(project, CountJob(until=1))
    with pytest.raises(MaskloopError, match="unexpected ZeroDivisionError: nothing to divide by"):
        start(run)
    assert "Traceback" in (run.folder / LOG).read_text(encoding="utf-8")
    assert run_state(project, run.run_id) == "failed"


def test_a_run_of_an_older_version_is_found_without_its_place(project: Project) -> None:
    run = killed(project, trains())
    assert attach(project, run.run_id) == run
    assert find_interrupted(project, trains()) == run
