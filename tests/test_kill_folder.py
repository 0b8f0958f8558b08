"""What a project folder survives: kills, a full disk, no right to write, two writers at once.

The tests run this file as a program: it loads everything once, then forks one writer after the
other, so that hundreds of kills take minutes and not hours.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import numpy as np
import pytest

import maskloop.images.readers
import maskloop.images.writers
from maskloop.errors import MaskloopError, ProjectError
from maskloop.project import layout
from maskloop.project.check import check
from maskloop.project.intake import hash_pixels
from maskloop.project.predictions import Predicted
from maskloop.project.project import ProjectFolder
from maskloop.project.repair import repair
from maskloop.project.upgrade import upgrade

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="needs fork, to kill writers by the hundred"
)
PAIRS_PER_FOLDER = 40
TRACED = ("maskloop/project/", "maskloop/records.py")


def run(job: str, *arguments: object) -> str:
    command = [sys.executable, "-W", "error", __file__, job, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_kills_at_random_moments_lose_nothing(tmp_path, rng):
    assert "10 kills" in run("random-moments", tmp_path, 10, rng.integers(2**32))


def test_kills_at_random_lines_lose_nothing(tmp_path, rng):
    assert "15 kills" in run("random-lines", tmp_path, 15, rng.integers(2**32))


@pytest.mark.slow
@pytest.mark.parametrize("job", ["random-moments", "random-lines"])
def test_hundreds_of_kills_lose_nothing(tmp_path, job, rng):
    assert "250 kills" in run(job, tmp_path, 250, rng.integers(2**32))


@pytest.mark.parametrize("job", ["killed-repair", "killed-create", "killed-upgrade"])
def test_a_killed_repair_creation_or_upgrade_can_be_started_again(tmp_path, job):
    assert "20 kills" in run(job, tmp_path, 20, 4)


@pytest.mark.slow
@pytest.mark.parametrize("job", ["killed-repair", "killed-create", "killed-upgrade"])
def test_hundreds_of_killed_repairs_creations_and_upgrades_lose_nothing(tmp_path, job):
    assert "400 kills" in run(job, tmp_path, 400, 5)


def test_a_repair_on_a_full_disk_loses_nothing(tmp_path):
    assert "could not be written" in run("repair-on-a-full-disk", tmp_path)


def test_a_full_disk_leaves_the_project_as_it_was(tmp_path):
    words = run("full-disk", tmp_path)
    assert "could not be written: File too large." in words
    assert "What was saved is unchanged" in words


def test_a_folder_that_cannot_be_written_can_be_read():
    # Not under pytest's folders: those only root can enter, and root can write anywhere.
    with tempfile.TemporaryDirectory() as scratch:
        words = run("read-only", scratch)
    assert "could not be written: Permission denied." in words


def test_two_writers_at_once_lose_nothing(tmp_path):
    run("two-writers", tmp_path)
    project = ProjectFolder.open(tmp_path / "p")
    assert len({pair.pair_id for pair in project.dataset.pairs}) == 20
    assert sorted(int(pair.pair_id.split("_")[1]) for pair in project.dataset.pairs) == list(
        range(1, 21)
    )
    assert check(project).problems == ()


# ---- the program ----


def accept(project: ProjectFolder, seed: int) -> dict[str, str]:
    image = np.random.default_rng(seed).integers(0, 255, (24, 24), np.uint8)
    mask = image > 128
    if project.task.mode == "instances":
        mask = np.kron([[1, 2], [3, 4]], np.pad(np.ones((10, 10), np.uint8), 1))
    pair = project.dataset.accept(image, mask, name=f"image {seed}")
    return {"pair": pair.pair_id, "pixels": pair.pixels_sha256}


def register(project: ProjectFolder, seed: int) -> dict[str, str]:
    run_id = project.history.new_run("train")
    weights = project.history.run_folder(run_id) / "weights.pt"
    weights.write_bytes(np.random.default_rng(seed).bytes(5000))
    pairs = [pair.pair_id for pair in project.dataset.pairs]
    record = project.checkpoints.register(
        weights, run_id=run_id, pair_ids=pairs, metrics={"dice": 0.5}
    )
    return {"checkpoint": record.checkpoint_id, "sha256": record.sha256}


def replace(project: ProjectFolder, seed: int) -> dict[str, str]:
    pairs = project.dataset.pairs
    if not pairs:
        return accept(project, seed)
    chosen = pairs[seed % len(pairs)]
    pair = project.dataset.replace(
        chosen.pair_id, mask=np.random.default_rng(seed).random((24, 24)) > 0.5
    )
    return {"pair": pair.pair_id, "pixels": pair.pixels_sha256, "mask": pair.mask_sha256}


def keep(project: ProjectFolder, seed: int) -> dict[str, str]:
    """Keep the labels of a run, as a run does that is started again after a kill."""
    folder = project.folder / "cache/labels"
    folder.mkdir(exist_ok=True)
    # The same run until it is done: what a killed one kept must not be kept twice.
    run_id = f"predict_{len(project.predictions.list()) // 12}"

    def labels() -> Iterator[Predicted]:
        for number in range(12):
            file = folder / f"{run_id}_{number}.tif"
            file.write_bytes(f"{run_id} {number}".encode())
            yield Predicted(file, None, f"{number}.tif", settings={"run_id": run_id})

    kept = project.predictions.register_many(labels())
    return {"prediction": kept[-1].prediction_id, "sha256": kept[-1].sha256}


def write_for_ever(folder: Path, seed: int, tell: int) -> NoReturn:
    """Accept, replace and register, and tell of each only when the call has returned."""
    project = ProjectFolder.open(folder)
    dice = random.Random(seed)
    while True:
        seed += 1
        action = dice.choice([accept, accept, replace, register, keep])
        os.write(tell, json.dumps(action(project, seed)).encode() + b"\n")


@contextlib.contextmanager
def writer(
    folder: Path, seed: int, before: Callable[[], None] = lambda: None
) -> Iterator[tuple[int, int]]:
    """A forked process that writes for ever; gives its id and the pipe it tells on.

    Killed when the block ends.
    """
    listen, tell = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(listen)
        before()
        write_for_ever(folder, seed, tell)
    os.close(tell)
    try:
        yield process, listen
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        os.close(listen)
        assert os.WIFSIGNALED(status), f"the writer ended by itself with {status}"


def hear(process: int, listen: int, *, alive_s: float) -> bytes:
    """What the writer tells until it is dead, which it is at the latest after some seconds."""
    killer = threading.Timer(alive_s, os.kill, (process, signal.SIGKILL))
    killer.start()
    heard = b""
    # The pipe ends with the writer.
    while piece := os.read(listen, 65536):
        heard += piece
    # The writer is not waited for yet, so its id is still its own.
    killer.cancel()
    killer.join()
    return heard


def facts_of(heard: bytes) -> list[dict[str, str]]:
    return [json.loads(line) for line in heard.split(b"\n")[:-1]]


def kill_after_lines(count: int) -> None:
    """Kill this process after so many lines of the code that writes projects."""
    left = count

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal left
        if not any(part in frame.f_code.co_filename for part in TRACED):
            return None
        left -= event == "line"
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def verify(folder: Path, told: list[dict[str, str]]) -> None:
    """Everything acknowledged is there with the right bytes, before and after the next write."""
    project = ProjectFolder.open(folder)
    left = [
        problem
        for problem in check(project).problems
        if not problem.is_harmless and problem.kind != "out of step"
    ]
    assert not left, left
    masks = {}
    for fact in told:
        if "checkpoint" in fact:
            assert project.checkpoints.get(fact["checkpoint"]).sha256 == fact["sha256"]
        elif "prediction" in fact:
            assert project.predictions.get(fact["prediction"]).sha256 == fact["sha256"]
        else:
            assert project.dataset.get(fact["pair"]).pixels_sha256 == fact["pixels"]
            masks[fact["pair"]] = fact.get("mask", masks.get(fact["pair"]))
    origins = [(one.settings["run_id"], one.input_path) for one in project.predictions.list()]
    assert len(set(origins)) == len(origins)
    for pair_id, mask in masks.items():
        pair = project.dataset.get(pair_id)
        assert mask in (None, pair.mask_sha256, *(version.mask_sha256 for version in pair.history))
        assert hash_pixels(project.dataset.read_image(pair)) == pair.pixels_sha256
    with project.writing("look after a crash"):
        pass
    report = check(project)
    assert report.is_sound, report.problems
    if (latest := project.checkpoints.latest) is not None:
        assert [row["checkpoint_id"] for row in project.history.benchmarks()] == [
            one.checkpoint_id for one in project.checkpoints.list()
        ]
        assert project.config.latest_checkpoint_id == latest.checkpoint_id


def kill_again_and_again(scratch: Path, kills: int, seed: int, *, by_lines: bool) -> None:
    dice = random.Random(seed)
    folder, told, made = scratch / "p0", [], 0
    ProjectFolder.create(folder)
    for kill in range(kills):
        if len(told) > PAIRS_PER_FOLDER:
            made += 1
            folder, told = scratch / f"p{made}", []
            ProjectFolder.create(folder)
        lines = dice.randrange(1, 6000)
        with writer(
            folder,
            1000 * (kill + 1),
            (lambda lines=lines: kill_after_lines(lines)) if by_lines else (lambda: None),
        ) as (
            process,
            listen,
        ):
            alive_s = 30 if by_lines else dice.uniform(0.01, 0.4)
            heard = hear(process, listen, alive_s=alive_s)
        told += facts_of(heard)
        verify(folder, told)
    print(f"{kills} kills, {made + 1} folders")


def in_child(act: Callable[[], None]) -> None:
    """Run in a fork, which dies of an error."""
    process = os.fork()
    if process == 0:
        try:
            act()
            sys.stdout.flush()
            os._exit(0)
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
    _, status = os.waitpid(process, 0)
    assert status == 0


def full_disk(scratch: Path) -> None:
    project = ProjectFolder.create(scratch / "p")
    for seed in range(8):
        accept(project, seed)
    register(project, 1)
    folder = project.folder
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    manifest = (folder / layout.MANIFEST).stat().st_size
    for limit in (100, 2000, manifest - 10):
        in_child(lambda limit=limit: write_beyond(folder, limit))
        after = {
            path: path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and not path.name.endswith(".last-good")
        }
        assert after == {
            path: content
            for path, content in before.items()
            if not path.name.endswith(".last-good")
        }, sorted(set(after) ^ set(before))
    assert check(ProjectFolder.open(folder)).problems == ()
    accept(ProjectFolder.open(folder), 99)


def write_beyond(folder: Path, limit: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    # Standard output is a pipe, which the limit does not touch.
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        accept(ProjectFolder.open(folder), 50)
    except ProjectError as error:
        print(error)
    else:
        raise AssertionError(f"accepted within {limit} bytes")


def read_only(scratch: Path) -> None:
    project = ProjectFolder.create(scratch / "p")
    accept(project, 1)
    scratch.chmod(0o755)
    for path in project.folder.rglob("*"):
        path.chmod(
            path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
            | (stat.S_IXOTH | stat.S_IROTH if path.is_dir() else stat.S_IROTH)
        )
    project.folder.chmod(0o555)

    def look_and_try() -> None:
        if os.getuid() == 0:
            os.setuid(65534)
        found = ProjectFolder.open(project.folder)
        assert found.status().pair_count == 1
        assert found.dataset.read_image(found.dataset.pairs[0]).read().shape == (24, 24)
        assert check(found).problems == ()
        try:
            accept(found, 2)
        except MaskloopError as error:
            print(error)
        else:
            raise AssertionError("written to a folder that cannot be written")

    in_child(look_and_try)
    for path in (project.folder, *project.folder.rglob("*")):
        path.chmod(0o755)


CREATE_LINES = 2200
REPAIR_LINES = 7500
UPGRADE_LINES = 4600
"""About so many lines of ours run in each, so that kills fall everywhere."""


def repair_at(folder: Path) -> None:
    repair(ProjectFolder.open(folder))


def killed_after(act: Callable[[], None], lines: int) -> bool:
    """Do something in a fork that is killed after so many lines of ours; whether it was."""
    process = os.fork()
    if process == 0:
        try:
            kill_after_lines(lines)
            act()
            os._exit(0)
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
    _, status = os.waitpid(process, 0)
    assert status in (0, signal.SIGKILL), f"it ended by itself with {status}"
    return status != 0


def damage(folder: Path, dice: random.Random) -> None:
    """Empty, delete or cut some records, as a bad disk or a careless hand would."""
    for path in dice.sample([layout.MANIFEST, layout.CHECKPOINTS, layout.CONFIG], 2):
        place = folder / path
        content = place.read_bytes()
        action = dice.choice(["empty", "delete", "cut"])
        if action == "delete":
            place.unlink()
        else:
            place.write_bytes(b"" if action == "empty" else content[: dice.randrange(len(content))])


def pristine(folder: Path) -> ProjectFolder:
    project = ProjectFolder.create(folder, mode="instances")
    for seed in range(4):
        accept(project, seed)
    register(project, 1)
    accept(project, 5)
    project.dataset.remove(project.dataset.pairs[0].pair_id)
    return project


def kept(folder: Path) -> tuple[Any, ...]:
    project = ProjectFolder.open(folder)
    return project.dataset.all_pairs, project.checkpoints.list(), project.task


def killed_repair(scratch: Path, kills: int, seed: int) -> None:
    dice = random.Random(seed)
    pristine(scratch / "pristine")
    whole = kept(scratch / "pristine")
    for kill in range(kills):
        folder = scratch / f"p{kill}"
        shutil.copytree(scratch / "pristine", folder)
        damage(folder, dice)
        # Several in a row: what one kill leaves is what the next repair begins with.
        for _ in range(3):
            killed_after(partial(repair_at, folder), dice.randrange(REPAIR_LINES))
        done = repair(ProjectFolder.open(folder))
        assert done.left.is_sound, (kill, done.left.problems)
        assert kept(folder) == whole, kill
        shutil.rmtree(folder)
    print(f"{kills} kills")


def repair_on_a_full_disk(scratch: Path) -> None:
    pristine(scratch / "pristine")
    whole = kept(scratch / "pristine")
    for limit in (0, 100, 1500, 4000):
        folder = scratch / f"p{limit}"
        shutil.copytree(scratch / "pristine", folder)
        (folder / layout.MANIFEST).write_bytes(b"")
        (folder / layout.CHECKPOINTS).unlink()

        def repair_beyond(folder: Path = folder, limit: int = limit) -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            try:
                repair(ProjectFolder.open(folder))
            except ProjectError as error:
                print(error)

        in_child(repair_beyond)
        assert repair(ProjectFolder.open(folder)).left.is_sound
        assert kept(folder) == whole, limit


def killed_create(scratch: Path, kills: int, seed: int) -> None:
    dice = random.Random(seed)

    def create(folder: Path) -> ProjectFolder:
        return ProjectFolder.create(folder, mode="multiclass", classes=["axon", "myelin"])

    for kill in range(kills):
        folder = scratch / f"p{kill}"
        killed_after(partial(create, folder), dice.randrange(CREATE_LINES))
        if dice.random() < 0.5 and layout.is_project(folder):
            repair(ProjectFolder.open(folder))
        elif not (folder / layout.CONFIG).exists():
            create(folder)
        project = ProjectFolder.open(folder)
        assert project.warnings == (), (kill, project.warnings)
        assert project.status().mode == "multiclass", kill
        assert tuple(project.status().classes)[-2:] == ("axon", "myelin"), kill
        labels = np.arange(576, dtype=np.uint8).reshape(24, 24) % 3
        project.dataset.accept(labels * 50, labels)
        assert check(project).is_sound
    print(f"{kills} kills")


def killed_upgrade(scratch: Path, kills: int, seed: int) -> None:
    dice = random.Random(seed)
    older = make_older(scratch / "older")
    upgrade(shutil.copytree(older, scratch / "whole"))
    whole = kept_of_upgrade(scratch / "whole")
    for kill in range(kills):
        folder = scratch / f"p{kill}"
        shutil.copytree(older, folder)
        for _ in range(3):
            killed_after(partial(upgrade, folder), dice.randrange(UPGRADE_LINES))
        upgrade(folder)
        assert kept_of_upgrade(folder) == whole, kill
        assert check(ProjectFolder.open(folder)).is_sound, kill
        shutil.rmtree(folder)
    print(f"{kills} kills")


def kept_of_upgrade(folder: Path) -> tuple[Any, ...]:
    project = ProjectFolder.open(folder)
    pairs = [(pair.pair_id, pair.pixels_sha256, pair.state) for pair in project.dataset.all_pairs]
    checkpoints = [(one.checkpoint_id, one.sha256) for one in project.checkpoints.list()]
    return pairs, checkpoints, project.status().mode, project.notes


def make_older(folder: Path) -> Path:
    """A small folder of napari-training-assistant."""
    import tifffile

    for path in ("dataset/images", "dataset/masks", "checkpoints", "architecture", "history"):
        (folder / path).mkdir(parents=True)
    pairs = []
    for number in range(3):
        image = np.random.default_rng(number).integers(0, 255, (24, 24), np.uint8)
        name = f"pair_{number}"
        tifffile.imwrite(folder / f"dataset/images/{name}.tif", image)
        tifffile.imwrite(folder / f"dataset/masks/{name}.tif", (image > 128).astype(np.uint8))
        pairs.append(
            {
                "pair_id": name,
                "image_path": f"dataset/images/{name}.tif",
                "mask_path": f"dataset/masks/{name}.tif",
                "shape": [24, 24],
                "mask_shape": [24, 24],
                "created_at": "2026-01-01",
            }
        )
    (folder / "checkpoints/unet_run_001.pt").write_bytes(b"weights")
    records = {
        layout.CONFIG: {"project_name": "old", "notes": "keep me", "version": 1},
        layout.ARCHITECTURE: {"output_mode": "binary", "depth": 3, "version": 1},
        layout.MANIFEST: {"pairs": pairs, "version": 1},
        layout.CHECKPOINTS: {
            "checkpoints": [
                {
                    "checkpoint_id": "unet_run_001",
                    "checkpoint_path": "checkpoints/unet_run_001.pt",
                    "timestamp": "2026-01-01",
                }
            ]
        },
    }
    for path, record in records.items():
        (folder / path).write_text(json.dumps(record))
    return folder


def two_writers(scratch: Path) -> None:
    ProjectFolder.create(scratch / "p")
    processes = []
    for first in (0, 100):
        process = os.fork()
        if process == 0:
            try:
                project = ProjectFolder.open(scratch / "p")
                for seed in range(first, first + 10):
                    accept(project, seed)
                os._exit(0)
            finally:
                os._exit(1)
        processes.append(process)
    assert [os.waitpid(process, 0)[1] for process in processes] == [0, 0]


def main(job: str, scratch: str, *arguments: str) -> None:
    assert maskloop.images.readers
    assert maskloop.images.writers
    # Load what the first accept would load in each fork anew.
    with tempfile.TemporaryDirectory() as warm:
        accept(ProjectFolder.create(Path(warm) / "p"), 0)
    numbers = [int(argument) for argument in arguments]
    jobs: dict[str, Callable[..., None]] = {
        "random-moments": lambda folder, kills, seed: kill_again_and_again(
            folder, kills, seed, by_lines=False
        ),
        "random-lines": lambda folder, kills, seed: kill_again_and_again(
            folder, kills, seed, by_lines=True
        ),
        "full-disk": full_disk,
        "read-only": read_only,
        "two-writers": two_writers,
        "killed-repair": killed_repair,
        "killed-create": killed_create,
        "killed-upgrade": killed_upgrade,
        "repair-on-a-full-disk": repair_on_a_full_disk,
    }
    jobs[job](Path(scratch), *numbers)


if __name__ == "__main__":
    main(*sys.argv[1:])
