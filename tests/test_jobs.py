"""The loop from Python, and runs that are killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from waiting import wait_until

from maskloop import Project
from maskloop.compute.base import follow
from maskloop.compute.overview import run_state
from maskloop.compute.run_folder import FolderHandle
from maskloop.compute.runs import find_interrupted, start, submit
from maskloop.errors import Cancelled, IncompatibleWeights, MaskloopError, NotFound, UsageError
from maskloop.events import Event, Failed, Finished, Message, Started, read_events
from maskloop.images.image import Image
from maskloop.images.readers import open_labels
from maskloop.images.writers import write_labels
from maskloop.jobs.execute import EVENTS
from maskloop.jobs.prediction import PredictJob
from maskloop.jobs.training import TrainJob, fix_inputs, plan_training
from maskloop.models.unet.records import UNetRecipe
from maskloop.models.weights_file import load_checkpoint
from maskloop.priority import NICE
from maskloop.samples import simulate_nuclei

SMALL: dict[str, Any] = {
    "base_channels": 4,
    "depth": 2,
    "patch_size": (32, 32),
    "batch_size": 4,
    "device": "cpu",
    "precision": "fp32",
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with four pairs of simulated nuclei."""
    made = Project.create(tmp_path / "nuclei", mode="instances")
    for seed in range(4):
        image, labels = simulate_nuclei(shape=(64, 64), count=4, seed=seed)
        made.dataset.accept(image, labels, name=f"field {seed}")
    return made


def test_the_loop_accepts_trains_predicts_and_remembers(project: Project, tmp_path: Path) -> None:
    events: list[Event] = []
    first = project.train(epochs=3, report=events.append, **SMALL)
    assert first.checkpoint_id == "unet_run_001"
    assert first.training_mode == "train_from_scratch"
    assert isinstance(events[-1], Finished)
    assert {"ap50", "loss", "val_loss"} <= set(first.metrics)
    assert first.architecture_summary["parameters"] > 0
    assert first.network["base_channels"] == 4
    hashes = load_checkpoint(project.checkpoints.path("unet_run_001")).header[
        "dataset_pixel_hashes"
    ]
    assert len(hashes) == 4
    assert first.dataset_pixel_hashes.items() <= hashes.items()
    image, _ = simulate_nuclei(shape=(50, 70), count=3, seed=9)
    labels = project.segmenter().segment(image)
    assert labels.shape == (50, 70)
    assert labels.dtype.kind in "iu"
    second = project.train(epochs=1, **SMALL)
    assert second.parent_checkpoint_id == "unet_run_001"
    assert second.training_mode == "continue_from_latest"
    write_labels(tmp_path / "new.tif", image, axes="YX")
    result = project.predict(tmp_path / "new.tif")
    assert result["failed"] == []
    (kept,) = project.predictions.list()
    assert kept.checkpoint_id == "unet_run_002"
    assert Path(result["written"][0]) == project.predictions.path(kept.prediction_id)
    reopened = Project.open(project.folder).checkpoints.latest
    assert reopened is not None
    assert reopened.json_line == second.json_line


def test_new_pairs_alone_can_be_trained_on(project: Project) -> None:
    project.train(epochs=1, **SMALL)
    with pytest.raises(UsageError, match="no new pairs since the last checkpoint"):
        project.train(epochs=1, pairs="new", **SMALL)
    image, labels = simulate_nuclei(shape=(64, 64), count=5, seed=11)
    added = project.dataset.accept(image, labels, name="field 11")
    record = project.train(epochs=1, pairs="new", **SMALL)
    assert record.dataset_pair_ids_used == (added.pair_id,)


def test_a_checkpoint_of_another_network_is_refused_with_both_values(project: Project) -> None:
    project.train(epochs=1, **SMALL)
    project.set_architecture({**project.architecture, "normalization": "group"})
    with pytest.raises(IncompatibleWeights, match=r"normalization is batch instead of group"):
        project.train(epochs=1, **SMALL)


def test_a_training_without_pairs_says_how_to_add_some(tmp_path: Path) -> None:
    empty = Project.create(tmp_path / "empty", mode="binary")
    with pytest.raises(UsageError, match="maskloop add"):
        empty.train(epochs=1)
    with pytest.raises(NotFound, match="no checkpoint yet"):
        empty.segmenter()


def test_a_failed_run_says_why_in_its_journal(project: Project) -> None:
    handle = submit(project, PredictJob(inputs=("nowhere/*.tif",)))
    with pytest.raises(MaskloopError):
        start(handle)
    events, _ = read_events(handle.folder / "events.jsonl")
    assert isinstance(events[-1], Failed)
    assert run_state(project, handle.run_id) == "failed"


def test_a_run_that_was_cancelled_early_is_taken_up_again(project: Project) -> None:
    job = TrainJob(recipe=UNetRecipe(epochs=3, **SMALL))
    handle = submit(project, job)
    with pytest.raises(Cancelled, match="before its first validation"):
        start(handle, report=lambda event: handle.cancel() if isinstance(event, Message) else None)
    found = find_interrupted(project, job)
    assert found is not None
    assert project.train(epochs=3, **SMALL).run_id == handle.run_id


def test_the_projects_settings_are_followed_where_a_training_leaves_them_open(
    project: Project,
) -> None:
    switches = {"horizontal_flip": False, "intensity_jitter": False}
    project.update_config(
        patch_size=48, batch_size=3, normalization_mode="z_score", augmentation_settings=switches
    )
    plan = project.plan(epochs=1, depth=2)
    assert (plan.patch_size, plan.batch_size, plan.normalization.mode) == ((48, 48), 3, "z_score")
    assert (
        plan.augmentation.horizontal_flip,
        plan.augmentation.intensity_jitter,
        plan.augmentation.vertical_flip,
    ) == (False, 0, True)
    assert project.plan(epochs=1, depth=2, batch_size=5).batch_size == 5
    project.update_config(normalization_mode="by eye")
    with pytest.raises(UsageError, match="Normalization mode must be 'percentile'"):
        project.plan(epochs=1)


def test_one_group_means_no_validation_score(tmp_path: Path) -> None:
    single = Project.create(tmp_path / "one", mode="instances")
    image, labels = simulate_nuclei(shape=(64, 64), count=4, seed=1)
    single.dataset.accept(image, labels)
    events: list[Event] = []
    record = single.train(epochs=2, report=events.append, **SMALL)
    assert set(record.metrics) & {"ap50", "dice", "val_loss"} == set()
    assert "no validation score" in record.benchmark_summary
    assert any(isinstance(event, Message) and "validation" in event.text for event in events)


def test_a_child_process_trains_and_is_followed(project: Project) -> None:
    record = project.train(epochs=2, target="process", **SMALL)
    assert record.checkpoint_id == "unet_run_001"


def autogroup(process_id: int) -> str:
    """The scheduling group of a process on Linux; empty where there are no such groups."""
    path = Path(f"/proc/{process_id}/autogroup")
    return path.read_text() if path.exists() else ""


@pytest.mark.skipif(
    not hasattr(os, "getpriority"), reason="Windows sets the priority where a process is started"
)
def test_what_a_window_starts_gives_way_to_the_person_before_it(project: Project) -> None:
    before = autogroup(os.getpid())
    handle = start(submit(project, TrainJob(recipe=UNetRecipe(epochs=10_000, **SMALL))), "process")
    first = next(event for event in follow(handle) if event.kind == "started")
    try:
        assert os.getpriority(os.PRIO_PROCESS, first.process_id) == min(
            19, os.getpriority(os.PRIO_PROCESS, 0) + NICE
        )
        group = autogroup(first.process_id)
        assert group == "" or group.endswith(f"nice {NICE}\n")
        assert autogroup(os.getpid()) == before
    finally:
        handle.cancel()
        assert isinstance(list(follow(handle))[-1], Finished | Failed)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_files_are_written_when_asked_for(project: Project) -> None:
    record = project.train(epochs=1, tensorboard=True, **SMALL)
    # The window and the command line show this summary: scores are called as people write them.
    assert record.benchmark_summary.startswith(("Dice ", "AP50 "))
    assert list(
        (project.history.run_folder(record.run_id) / "tensorboard").glob("events.out.tfevents.*")
    )


def test_a_mask_corrected_while_a_training_is_interrupted_is_for_the_next_one(
    project: Project,
) -> None:
    job = TrainJob(recipe=UNetRecipe(epochs=1, **SMALL), pairs="all")
    handle = submit(project, job)
    before = {pair.pair_id: pair for pair in project.dataset.pairs}
    inputs = fix_inputs(project, job, project.history.run_folder(handle.run_id))
    corrected = inputs.training_ids[0]
    mask = project.dataset.read_mask(corrected).read()
    project.dataset.replace(corrected, mask=np.roll(mask, 5, axis=0))
    start(handle, "inline")
    record = project.checkpoints.latest
    assert record is not None
    header = load_checkpoint(project.checkpoints.path(record.checkpoint_id)).header
    assert header["dataset_mask_hashes"][corrected] == before[corrected].mask_sha256
    assert record.dataset_mask_hashes[corrected] == before[corrected].mask_sha256
    pair = project.dataset.get(corrected)
    assert pair.is_new
    assert pair.history[0].used_in_checkpoints == (record.checkpoint_id,)


def test_two_processes_train_one_network_and_a_killed_one_is_resumed(project: Project) -> None:
    words = "--epochs 40 --base-channels 4 --depth 2 --patch 32,32 --batch 4 --device cpu"
    command = [sys.executable, "-m", "maskloop", "train", str(project.folder), *words.split()]
    command += ["--devices", "2", "--precision", "fp32", "--json"]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    saved = project.history.run_folder("train_001") / "resume.pt"
    wait_until(lambda: saved.exists() or first.poll() is not None)
    first.kill()
    first.wait()
    # The second process began no run of its own, which would be taken for the newest.
    assert project.history.runs() == ["train_001"]
    assert run_state(project, "train_001") == "interrupted"
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    record = project.checkpoints.latest
    assert record is not None
    # Said once, by the process that leads.
    assert json.loads(ended.stdout)["checkpoint_id"] == record.checkpoint_id
    assert project.history.runs() == ["train_001"]
    assert (
        record.number_of_patches
        == 2 * record.plan["steps_per_epoch"] * 40 * record.plan["batch_size"]
    )


@pytest.mark.parametrize("blocks", [2, 40, 120, 400])
def test_a_full_disk_ends_a_training_in_words_and_it_can_be_taken_up(
    project: Project, blocks: int
) -> None:
    words = "--epochs 2 --base-channels 8 --depth 2 --patch 32,32 --device cpu"
    # A limit on the size of a file stands in for a full disk; SIGXFSZ is ignored, so that writes
    # fail.
    train = f"'{sys.executable}' -m maskloop train '{project.folder}' {words}"
    command = f"trap '' XFSZ; ulimit -f {blocks}; exec {train}"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    if ended.returncode:
        assert "could not be written: File too large" in ended.stderr
        assert "Traceback" not in ended.stderr
    assert blocks > 2 or ended.returncode == 1
    record = project.train(epochs=2, base_channels=8, depth=2, patch_size=(32, 32), device="cpu")
    assert record.checkpoint_id in {found.checkpoint_id for found in project.checkpoints.list()}
    assert len(project.dataset.pairs) == 4


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_project_that_may_only_be_read_predicts_into_another_folder(tmp_path: Path) -> None:
    # Not under pytest's folders: those only root can enter, and root can write anywhere.
    with tempfile.TemporaryDirectory() as place:
        project = Project.create(Path(place) / "p", mode="instances")
        image, labels = simulate_nuclei(shape=(64, 64), count=4, seed=1)
        project.dataset.accept(image, labels)
        project.train(epochs=1, **SMALL)
        write_labels(Path(place) / "new.tif", image, axes="YX")
        subprocess.run(["chmod", "-R", "a+rX,a-w", place], check=True)
        out = Path(place) / "out"
        Path(place).chmod(0o755)
        out.mkdir(mode=0o777)
        out.chmod(0o777)
        before = sorted(path for path in project.folder.rglob("*"))
        child = os.fork()
        if child == 0:
            code = 1
            try:
                if os.getuid() == 0:
                    os.setuid(65534)
                result = Project.open(project.folder).predict(
                    Path(place) / "new.tif", out=str(out), device="cpu"
                )
                code = 0 if result["failed"] == [] and not os.access(project.folder, os.W_OK) else 2
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        assert open_labels(out / "new_labels.tif").shape == (64, 64)
        assert sorted(path for path in project.folder.rglob("*")) == before
        subprocess.run(["chmod", "-R", "u+w", place], check=True)


def _killed_after(handle: FolderHandle, seconds: float) -> None:
    """Execute a run and kill it so long after its first event.

    Starting Python takes long, and nothing is written meanwhile.
    """

    def starts() -> int:
        return sum(isinstance(event, Started) for event in read_events(handle.folder / EVENTS)[0])

    before = starts()
    command = [
        sys.executable,
        "-m",
        "maskloop",
        "execute",
        str(handle.project.folder),
        handle.run_id,
    ]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: starts() > before or child.poll() is not None, "the start of the run")
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGKILL)
        child.wait()


def _predict_through_kills(
    project: Project, folder: Path, kills: int, rng: np.random.Generator
) -> None:
    """Predictions killed at random: files are whole at any moment, the last run completes them."""
    images = folder / "images"
    images.mkdir(parents=True)
    for number in range(5):
        write_labels(
            images / f"field_{number}.tif",
            simulate_nuclei(shape=(96, 80), count=4, seed=50 + number)[0],
            axes="YX",
        )
    undisturbed = folder / "undisturbed"
    project.predict(images, out=str(undisturbed), device="cpu")
    out = folder / "out"
    command = [
        sys.executable,
        "-m",
        "maskloop",
        "predict",
        str(project.folder),
        str(images),
        "--out",
        str(out),
        "--device",
        "cpu",
    ]
    for _ in range(kills):
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(float(rng.uniform(1.0, 5.0)))
        child.kill()
        child.wait()
        for path in out.glob("*_labels.tif"):
            assert np.array_equal(
                open_labels(path).read(), open_labels(undisturbed / path.name).read()
            )
    result = project.predict(images, out=str(out), device="cpu")
    assert result["failed"] == []
    names = sorted(path.name for path in undisturbed.glob("*.tif"))
    assert sorted(path.name for path in out.glob("*.tif")) == names
    assert all(
        np.array_equal(open_labels(out / name).read(), open_labels(undisturbed / name).read())
        for name in names
    )


def test_a_prediction_killed_at_random_is_taken_up(
    project: Project, tmp_path: Path, rng: np.random.Generator
) -> None:
    project.train(epochs=1, **SMALL)
    _predict_through_kills(project, tmp_path, 3, rng)


@pytest.mark.slow
def test_a_prediction_killed_many_times_is_taken_up(
    project: Project, tmp_path: Path, rng: np.random.Generator
) -> None:
    project.train(epochs=1, **SMALL)
    for number in range(10):
        _predict_through_kills(project, tmp_path / str(number), 10, rng)


def _kill_until_done(
    project: Project, rounds: int, rng: np.random.Generator, *, epochs: int = 12
) -> int:
    """Kill a training again and again; its weights must be those of an undisturbed run."""
    recipe = UNetRecipe(epochs=epochs, save_every_s=0, **SMALL)
    job = TrainJob(recipe=recipe, start="scratch")
    undisturbed = project.train(start="scratch", epochs=epochs, **SMALL)
    handle = submit(project, job)
    kills = 0
    for _ in range(rounds):
        _killed_after(handle, float(rng.uniform(0.0, 5.0)))
        if run_state(project, handle.run_id) == "finished":
            break
        kills += 1
        # Killed before its first word, the run is still as it was submitted.
        assert (
            run_state(project, handle.run_id) == "submitted"
            or find_interrupted(project, job) is not None
        )
    if run_state(project, handle.run_id) != "finished":
        start(handle)
    (record,) = [found for found in project.checkpoints.list() if found.run_id == handle.run_id]
    ours, theirs = (
        load_checkpoint(project.checkpoints.path(name)).state_dict
        for name in (record.checkpoint_id, undisturbed.checkpoint_id)
    )
    assert all(np.array_equal(ours[name].numpy(), theirs[name].numpy()) for name in theirs)
    return kills


def test_a_training_killed_at_random_ends_with_the_very_same_weights(
    project: Project, rng: np.random.Generator
) -> None:
    _kill_until_done(project, 3, rng)


@pytest.mark.slow
def test_a_training_killed_many_times_ends_with_the_very_same_weights(
    project: Project, rng: np.random.Generator
) -> None:
    assert sum(_kill_until_done(project, 40, rng, epochs=400) for _ in range(4)) > 50


def test_a_cancel_right_after_the_start_is_not_lost(project: Project) -> None:
    handle = start(submit(project, TrainJob(recipe=UNetRecipe(epochs=100_000, **SMALL))), "process")
    handle.cancel()
    last = list(follow(handle))[-1]
    # Nothing was trained yet, so there is nothing to keep.
    assert isinstance(last, Failed)
    assert last.error == "Cancelled"
    assert project.checkpoints.latest is None


def test_what_a_minute_had_time_for_does_not_bind_a_later_training(project: Project) -> None:
    trial = plan_training(project, TrainJob(recipe=UNetRecipe(time_s=60.0, device="cpu")))
    assert trial.network.base_channels < 32
    project.set_auto_configuration_decisions(
        [decision.model_dump(mode="json") for decision in trial.decisions]
    )
    later = plan_training(project, TrainJob(start="scratch", recipe=UNetRecipe(device="cpu")))
    assert later.network.base_channels == 32
    assert later.task.mode == "instances"
    project.set_architecture(project.architecture | {"base_channels": 24})
    assert (
        plan_training(
            project, TrainJob(start="scratch", recipe=UNetRecipe(device="cpu"))
        ).network.base_channels
        == 24
    )


def test_an_epoch_is_planned_for_the_pairs_that_are_learnt_from(project: Project) -> None:
    ids = [pair.pair_id for pair in project.dataset.pairs]
    whole, one = (
        plan_training(project, TrainJob(recipe=UNetRecipe(**SMALL), pairs=pairs))
        for pairs in ("all", (ids[0],))
    )
    assert one.steps_per_epoch < whole.steps_per_epoch


def test_what_a_person_set_is_kept_although_it_is_the_usual_value(tmp_path: Path) -> None:
    project = Project.create(
        tmp_path / "stack", architecture={"spatial_dims": "2d", "base_channels": 32}
    )
    stack = np.zeros((16, 64, 64), np.uint8)
    stack[4:12, 16:48, 16:48] = 1
    project.dataset.accept(Image(stack * np.uint8(90), "ZYX"), Image(stack, "ZYX"), name="stack")
    # A minute is too short for 32 channels, and so many planes would make it a volume.
    plan = project.plan(time_s=20.0, device="cpu")
    assert (plan.network.spatial_dims, plan.network.base_channels) == ("2d", 32)
    theirs = {one.name for one in plan.decisions if one.source == "person"}
    assert {"spatial_dims", "base_channels"} <= theirs
    project.set_architecture({"backend": "basic_unet"})
    plan = project.plan(time_s=20.0, device="cpu")
    assert plan.network.spatial_dims == "3d"
    assert plan.network.base_channels < 32


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"patch_size": 0}, "Patch size must be a list"),
        ({"patch_size": (0, 0)}, "must be at least 1"),
        ({"epochs": 0}, "Epochs must be at least 1"),
        ({"learning_rate": float("inf")}, "finite"),
        ({"time_s": float("nan")}, "Time limit"),
        ({"class_weights": (1.0, -1.0)}, "must be zero or greater"),
        ({"epoch": 3}, "There is no setting 'epoch'"),
    ],
)
def test_a_plan_and_a_training_refuse_alike_and_in_words(
    project: Project, choices: dict[str, Any], words: str
) -> None:
    for verb in (project.plan, project.train):
        with pytest.raises(UsageError, match=words):
            verb(**choices)
    assert project.history.runs() == []
