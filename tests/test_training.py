"""The training loop: it learns, goes on after a kill bit for bit, and stops in good order."""

from __future__ import annotations

import contextlib
import itertools
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from maskloop.errors import Cancelled, TrainingFailed
from maskloop.events import Event, Message, Metric, Preview, Progress
from maskloop.images.fingerprint import combine_fingerprints, fingerprint_pair
from maskloop.images.image import Image
from maskloop.models.base import Example, Trained
from maskloop.models.samples import Sample, samples_of
from maskloop.models.unet import loop, validation
from maskloop.models.unet.data import PatchSampler
from maskloop.models.unet.loop import train
from maskloop.models.unet.network import build_unet
from maskloop.models.unet.plan import make_plan
from maskloop.models.unet.records import UNetArchitecture, UNetPlan, UNetRecipe
from maskloop.models.unet.segmenter import UNetSegmenter, load_segmenter
from maskloop.models.unet.validation import Scores, Validation
from maskloop.models.weights_file import load_checkpoint
from maskloop.predict.base import Segmenter
from maskloop.predict.outputs import DistanceMaps
from maskloop.predict.segment import segment
from maskloop.task import Task
from maskloop.testing import SegmenterContract


def discs(
    count: int, *, classes: int = 1, seed: int = 0, shape: tuple[int, ...] = (64, 64)
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Bright discs (balls) on a dim field; the brightness tells the class."""
    random = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint16)
    grid = np.stack(np.meshgrid(*(np.arange(length) for length in shape), indexing="ij"))
    for number in range(count):
        centre = np.array(
            [random.integers(min(8, length // 3), length - min(8, length // 3)) for length in shape]
        ).reshape(-1, *[1] * len(shape))
        labels[((grid - centre) ** 2).sum(0) < random.integers(16, 49)] = (
            number % classes + 1 if classes > 1 else number + 1
        )
    level = labels * 60 / classes if classes > 1 else (labels > 0) * 60
    return (level + random.normal(30, 5, shape)).clip(0, 255).astype(np.uint8), labels


def small_plan(
    mode: str, *, classes: int = 2, dims: str = "2d", images: int = 4, **choices: Any
) -> tuple[UNetPlan, list[Sample]]:
    shape = (16, 32, 32) if dims == "3d" else (64, 64)
    pairs = [discs(4, classes=classes - 1, seed=seed, shape=shape) for seed in range(images)]
    axes = "ZYX" if dims == "3d" else "YX"
    if mode == "binary":
        pairs = [(image, (labels > 0).astype(np.uint8)) for image, labels in pairs]
    prints = [
        fingerprint_pair(Image(image, axes), labels, instances=mode == "instances")
        for image, labels in pairs
    ]
    own = UNetArchitecture(spatial_dims=dims, base_channels=8, depth=2)
    names = [f"class_{number}" for number in range(1, classes)] if mode == "multiclass" else None
    recipe = UNetRecipe(
        **{
            "device": "cpu",
            "patch_size": (16, 32, 32) if dims == "3d" else (32, 32),
            "batch_size": 4,
            "precision": "fp32",
        }
        | choices
    )
    plan = make_plan(Task.named(mode, names), own, recipe, combine_fingerprints(prints))
    samples = [
        sample
        for number, (image, labels) in enumerate(pairs)
        for sample in samples_of(
            Example(f"pair_{number}", Image(image, axes), Image(labels, axes)),
            plan.network.dimensions,
            plan.normalization,
        )
    ]
    return plan, samples


class TestUNetSegmenter(SegmenterContract):
    def make_segmenter(self) -> Segmenter:
        plan, _ = small_plan("instances")
        return UNetSegmenter(build_unet(plan.network), plan, device="cpu", owns=True)


class TestUNetSegmenterInVolumes(SegmenterContract):
    def make_segmenter(self) -> Segmenter:
        plan, _ = small_plan("multiclass", classes=3, dims="3d")
        return UNetSegmenter(build_unet(plan.network), plan, device="cpu", owns=True)


class Listener:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def trained(plan: UNetPlan, samples: list[Sample], folder: Path, **options: Any) -> Trained:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning_fabric")
        result = train(plan, samples[1:], validation=samples[:1], folder=folder, **options)
    assert result is not None
    return result


@pytest.mark.parametrize(
    ("mode", "classes", "dims", "figure", "least"),
    [
        ("binary", 2, "2d", "dice", 0.85),
        ("multiclass", 3, "2d", "dice", 0.7),
        ("instances", 2, "2d", "ap50", 0.5),
        ("binary", 2, "3d", "dice", 0.6),
    ],
)
def test_it_learns_and_the_file_predicts_what_was_scored(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    classes: int,
    dims: str,
    figure: str,
    least: float,
) -> None:
    # However slow the machine: none is due after the first.
    monkeypatch.setattr(loop, "PREVIEW_S", math.inf)
    torch.manual_seed(0)
    plan, samples = small_plan(
        mode, classes=classes, dims=dims, epochs=30 if dims == "2d" else 12, learning_rate=5e-3
    )
    listener = Listener()
    result = trained(plan, samples, tmp_path, report=listener)
    assert len(listener.of(Preview)) == 1
    assert result.metrics[figure] > least
    assert result.stopped == "epochs"
    assert listener.of(Metric)
    assert listener.of(Progress)[-1].rate > 0
    assert all((tmp_path / event.path).is_file() for event in listener.of(Preview))
    segmenter = load_segmenter(result.weights)
    labels = segment(
        Image(samples[0].image, "CZYX" if dims == "3d" else "CYX"), segmenter
    ).labels.read()
    assert labels.shape == samples[0].labels.shape
    both = (
        np.logical_and(labels > 0, samples[0].labels > 0).sum()
        * 2
        / ((labels > 0).sum() + (samples[0].labels > 0).sum())
    )
    assert both > least


def test_a_preview_is_drawn_of_each_validation_when_there_is_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "PREVIEW_S", 0.0)
    plan, samples = small_plan("binary", epochs=3)
    listener = Listener()
    trained(plan, samples, tmp_path, report=listener)
    assert [one.epoch for one in listener.of(Preview)] == [one.epoch for one in listener.of(Metric)]
    assert len(listener.of(Preview)) >= 2


def test_a_training_that_was_stopped_goes_on_bit_for_bit(tmp_path: Path) -> None:
    plan, samples = small_plan("instances", epochs=6)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    trained(plan, samples, whole, save_every_s=0)
    for stop_after in (3, 2, 4):
        asked = itertools.count()
        # Whether anything was validated before the stop: then the best so far is kept and the call
        # ends well.
        with contextlib.suppress(Cancelled):
            trained(
                plan,
                samples,
                parts,
                save_every_s=0,
                is_cancelled=lambda asked=asked, stop_after=stop_after: next(asked) >= stop_after,
            )
    trained(plan, samples, parts, save_every_s=0)
    ours, theirs = (load_checkpoint(folder / "best.pt") for folder in (parts, whole))
    assert ours.header["epoch"] == theirs.header["epoch"]
    for name, tensor in theirs.state_dict.items():
        assert torch.equal(ours.state_dict[name], tensor), name


def test_a_batch_follows_from_seed_and_step_alone() -> None:
    plan, samples = small_plan("instances")
    first = PatchSampler(samples, plan).batch(7, 3)
    again = PatchSampler(samples, plan)
    again.batch(1, 2)
    assert torch.equal(again.batch(7, 3).images, first.images)
    assert not torch.equal(again.batch(8, 3).images, first.images)
    assert not torch.equal(PatchSampler(samples, plan, rank=1).batch(7, 3).images, first.images)


def test_a_loss_that_is_not_finite_stops_with_the_place_and_the_images(tmp_path: Path) -> None:
    plan, samples = small_plan("binary", epochs=3, learning_rate=1e-3)
    start = {
        name: tensor * float("nan") if tensor.is_floating_point() else tensor
        for name, tensor in build_unet(plan.network).state_dict().items()
    }
    with pytest.raises(
        TrainingFailed, match=r"loss is nan in epoch 1, step 1, with pair_"
    ) as caught:
        trained(plan, samples, tmp_path, start=start)
    assert "learning rate (now 0.001)" in caught.value.way_out


def test_a_gradient_that_is_not_finite_never_reaches_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One such step would make all weights NaN."""
    plan, samples = small_plan("binary", epochs=2)
    clip = loop.Fabric.clip_gradients

    def spoil(self: Any, module: Any, optimizer: Any, **settings: Any) -> Any:
        next(module.parameters()).grad.fill_(math.nan)
        return clip(self, module, optimizer, **settings)

    monkeypatch.setattr(loop.Fabric, "clip_gradients", spoil)
    with pytest.raises(TrainingFailed, match=r"gradient is nan in epoch 1, step 1, with pair_"):
        train(plan, samples[1:], validation=samples[:1], folder=tmp_path)
    assert not (tmp_path / "best.pt").exists()


def test_weights_that_are_not_finite_are_never_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best finite ones count; without any the training fails."""
    plan, samples = small_plan("binary", epochs=2)

    def overflow(averaged: Any, current: Any, count: Any) -> None:
        if averaged[0].is_floating_point():
            averaged[0].fill_(math.inf)

    monkeypatch.setattr(loop, "update_average", overflow)
    with pytest.raises(TrainingFailed, match=r"After epoch 1 the network has 1 weight with values"):
        train(plan, samples[1:], validation=samples[:1], folder=tmp_path)
    assert not (tmp_path / "best.pt").exists()


def test_a_batch_that_does_not_fit_is_halved_aloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from maskloop.models.unet.data import Batch
    from maskloop.models.unet.loop import _Training

    plan, samples = small_plan("binary", epochs=1)
    learn = _Training._learn

    def out_of_memory_above_two(self: _Training, batch: Batch) -> float:
        if len(batch.images) > 2:
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"
            )
        return learn(self, batch)

    monkeypatch.setattr(_Training, "_learn", out_of_memory_above_two)
    listener = Listener()
    trained(plan, samples, tmp_path, report=listener)
    assert [event.text for event in listener.of(Message)] == [
        "Not enough memory for the batch: continuing with 2 patches per step."
    ]


def test_a_cancelled_training_keeps_the_best_so_far(tmp_path: Path) -> None:
    plan, samples = small_plan("binary", epochs=50)
    listener = Listener()
    result = trained(
        plan, samples, tmp_path, report=listener, is_cancelled=lambda: len(listener.of(Metric)) >= 2
    )
    assert result.stopped == "cancelled"
    assert result.weights.is_file()
    assert result.epochs < 50


class Clock:
    """Stands for the module `time`: each look at it takes as long, however slow the machine."""

    def __init__(self, tick_s: float) -> None:
        self.tick_s = tick_s
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += self.tick_s
        return self.now


def test_a_time_budget_ends_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(0.005)
    for module in (loop, validation):
        monkeypatch.setattr(module, "time", clock)
    plan, samples = small_plan("binary", time_s=1.5)
    listener = Listener()
    result = trained(plan, samples, tmp_path, report=listener)
    assert result.stopped == "time"
    assert clock.now < 2 * 1.5
    last = listener.of(Progress)[-1]
    assert last.total < plan.epochs
    assert last.done / last.total > 0.5, (
        "the bar tells of the time, not of epochs that there is no time for"
    )
    assert result.metrics["dice"] >= 0


def test_where_objects_start_is_found_after_the_training_and_told_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, samples = small_plan("instances", epochs=2)
    usual = trained(plan, samples, tmp_path / "usual")
    assert usual.plan == plan
    starting_at_02 = DistanceMaps(
        instances=plan.output.instances.model_copy(update={"seed_threshold": 0.2})
    )
    monkeypatch.setattr(loop, "tune_output", lambda segmenter, samples: starting_at_02)
    listener = Listener()
    found = trained(plan, samples, tmp_path / "found", report=listener)
    header = load_checkpoint(found.weights).header
    assert header["plan"]["output"]["instances"]["seed_threshold"] == 0.2
    assert found.plan.output == plan.output.model_copy(
        update={"instances": starting_at_02.instances}
    )
    told = listener.of(Metric)[-1].values
    assert all(
        header["metrics"][name] == found.metrics[name] == told[name]
        for name in ("loss", "val_loss", "dice")
    )
    assert found.plan.decisions[-1].name == "seed_threshold"
    assert "seed_threshold is 0.2 instead of 0.4" in listener.of(Message)[-1].text
    assert load_segmenter(found.weights, device="cpu").output.instances.seed_threshold == 0.2
    weights = [load_checkpoint(one.weights).state_dict for one in (usual, found)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_training_is_not_lost_when_the_memory_ends_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> float:
        raise MemoryError

    monkeypatch.setattr(loop, "tune_output", fail)
    plan, samples = small_plan("instances", epochs=1)
    listener = Listener()
    result = trained(plan, samples, tmp_path, report=listener)
    assert result.weights.exists()
    assert result.plan == plan
    assert "Not enough memory to calibrate" in listener.of(Message)[-1].text


def test_while_nothing_is_found_the_lower_loss_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter((3.0, 1.0, 2.0))
    nothing = np.zeros((8, 8), np.float32)
    monkeypatch.setattr(
        Validation,
        "score",
        lambda *_: Scores(
            0.0,
            {"val_loss": next(losses), "ap50": 0.0},
            nothing,
            nothing.astype(int),
            nothing.astype(int),
        ),
    )
    monkeypatch.setattr(loop, "tune_output", lambda segmenter, _samples: segmenter.output)
    plan, samples = small_plan("instances", epochs=3)
    result = trained(plan, samples, tmp_path)
    assert (result.best_epoch, result.metrics["val_loss"]) == (2, 1.0)


def test_without_a_validation_set_no_score_is_invented(tmp_path: Path) -> None:
    plan, samples = small_plan("binary", epochs=2)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning_fabric")
        result = train(plan, samples, folder=tmp_path)
    assert result is not None
    assert set(result.metrics) == {"loss"}
    assert result.best_epoch == 2


def test_training_goes_on_from_given_weights(tmp_path: Path) -> None:
    plan, samples = small_plan("binary", epochs=25, learning_rate=5e-3)
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    first = trained(plan, samples, tmp_path / "first")
    short = plan.model_copy(update={"epochs": 1, "learning_rate": 1e-4})
    second = trained(
        short, samples, tmp_path / "second", start=dict(load_checkpoint(first.weights).state_dict)
    )
    assert second.metrics["dice"] > first.metrics["dice"] - 0.1
