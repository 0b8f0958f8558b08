"""Pixels that nobody annotated: out of loss, sampling, scores and facts, in every mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from typer.testing import CliRunner

from maskloop import Project
from maskloop.cli import app
from maskloop.errors import MaskError, UsageError
from maskloop.images.annotated import cut_objects, split_off
from maskloop.images.fingerprint import combine_fingerprints, fingerprint_pair
from maskloop.images.image import Image
from maskloop.images.masks import MaskRule, default_rule, prepare_mask
from maskloop.jobs.evaluate import evaluate_folders
from maskloop.models.base import Example
from maskloop.models.samples import samples_of
from maskloop.models.unet.data import PatchSampler
from maskloop.models.unet.loop import train
from maskloop.models.unet.losses import build_loss
from maskloop.models.unet.plan import make_plan
from maskloop.models.unet.records import UNetArchitecture, UNetPlan, UNetRecipe
from maskloop.models.unet.segmenter import load_segmenter
from maskloop.predict.outputs import Classes, DistanceMaps, Foreground
from maskloop.predict.segment import segment
from maskloop.samples import simulate_nuclei, simulate_pairs
from maskloop.task import OutputMode, Task

MODES: tuple[OutputMode, ...] = ("binary", "multiclass", "instances")
OUTPUTS = {
    "binary": Foreground(),
    "multiclass": Classes(class_labels={0: "background", 1: "a", 2: "b"}),
    "instances": DistanceMaps(),
}
IMAGE, NUCLEI = simulate_nuclei(shape=(96, 96), count=9, seed=3)


def left_out(rule: MaskRule, value: int = -1) -> MaskRule:
    return rule.model_copy(update={"ignore": value})


def half_known(labels: NDArray[Any], value: int = -1) -> NDArray[np.int32]:
    partial = labels.astype(np.int32)
    partial[..., labels.shape[-1] // 2 :] = value
    return partial


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(48, 48), (4, 48, 48)])
def test_what_is_not_annotated_is_neither_background_nor_a_label(
    mode: OutputMode, shape: tuple[int, ...]
) -> None:
    labels = np.zeros(shape, np.uint8)
    labels[..., 4:20, 4:40] = 1
    prepared = prepare_mask(half_known(labels), left_out(default_rule(mode)))
    ignored = prepared.preparation.ignored_label
    assert ignored == 65535
    assert ignored not in prepared.preparation.saved_labels
    clean, known = split_off(prepared.labels, ignored)
    assert known is not None
    assert not known[..., 24:].any()
    assert known[..., :24].all()
    assert np.array_equal(clean, labels * known)
    assert "50% of the pixels are left out" in prepared.preparation.notes[-1]


def test_a_region_of_planes_and_pixels_is_what_is_annotated() -> None:
    labels = np.ones((5, 32, 32), np.uint8)
    labels[:, :2] = 0
    rule = MaskRule(annotated={"Z": (2, 3), "Y": (0, 8)})
    prepared = prepare_mask(labels, rule, axes="ZYX")
    _, known = split_off(prepared.labels, prepared.preparation.ignored_label)
    assert known is not None
    assert known[2, :8].all()
    assert np.count_nonzero(known) == 8 * 32
    with pytest.raises(UsageError, match="region Z 2 to 9 is not in a mask"):
        prepare_mask(labels, MaskRule(annotated={"Z": (2, 9)}), axes="ZYX")


def test_without_the_rule_nothing_changes_and_a_mask_of_nothing_is_refused() -> None:
    assert prepare_mask(NUCLEI, default_rule("instances")).preparation.ignored_label is None
    with pytest.raises(MaskError, match="has no annotated pixel"):
        prepare_mask(np.full((4, 4), -1), left_out(MaskRule()))


def test_facts_of_a_pair_are_those_of_its_annotated_part() -> None:
    prepared = prepare_mask(half_known(NUCLEI), left_out(default_rule("instances")))
    ignored = prepared.preparation.ignored_label
    facts = fingerprint_pair(Image(IMAGE, "YX"), prepared.labels, instances=True, ignored=ignored)
    known = NUCLEI[:, :48]
    assert facts.object_count == len(np.unique(known)) - 1
    assert sum(facts.class_pixels.values()) == known.size
    assert facts.class_pixels[1] == np.count_nonzero(known)
    assert facts.object_extent_px < 48


def test_objects_that_the_region_cuts_off_are_told_from_whole_ones() -> None:
    labels = np.zeros((16, 32), np.uint8)
    labels[4:8, 4:8], labels[4:8, 12:20], labels[4:8, 26:30] = 1, 2, 3
    known = np.zeros(labels.shape, bool)
    known[:, :16] = True
    known[labels == 3] = True  # outlined by itself
    assert np.unique(labels[cut_objects(labels * known, known)]).tolist() == [2]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("is_weighted", [False, True])
def test_the_gradient_is_exactly_zero_where_nothing_is_annotated(
    mode: OutputMode, is_weighted: bool
) -> None:
    output = OUTPUTS[mode]
    weights = [1.0, 3.0, 2.0][: len(output.class_labels)] if is_weighted else None
    loss = build_loss(output, class_weights=weights)
    labels = NUCLEI % 3 if mode == "multiclass" else NUCLEI
    target = torch.from_numpy(output.encode(labels).astype(np.float32))[None]
    logits = torch.randn(1, output.channels, 96, 96, requires_grad=True)
    known = torch.ones(1, 1, 96, 96)
    known[..., 48:] = 0
    torch.autograd.backward(loss(logits, target, known))
    assert logits.grad is not None
    assert not logits.grad[..., 48:].any()
    assert logits.grad[..., :48].any()
    # What lies there does not matter at all.
    other = target.clone()
    other[..., 48:] = 1 - other[..., 48:].clamp(0, 1)
    assert loss(logits, other, known).item() == loss(logits, target, known).item()
    torch.testing.assert_close(loss(logits, target, torch.ones_like(known)), loss(logits, target))


def plan_of(
    mode: OutputMode, masks: list[NDArray[Any]], images: list[NDArray[Any]], **choices: Any
) -> UNetPlan:
    prints = [
        fingerprint_pair(Image(image, "YX"), mask, instances=mode == "instances")
        for image, mask in zip(images, masks, strict=True)
    ]
    return make_plan(
        Task.named(mode, ["a", "b"] if mode == "multiclass" else None),
        UNetArchitecture(spatial_dims="2d", base_channels=8, depth=2),
        UNetRecipe(device="cpu", patch_size=(32, 32), batch_size=4, precision="fp32", **choices),
        combine_fingerprints(prints),
    )


@pytest.mark.parametrize("mode", MODES)
def test_patches_are_cut_where_something_is_annotated(mode: OutputMode) -> None:
    labels = NUCLEI % 3 if mode == "multiclass" else NUCLEI
    plan = plan_of(mode, [labels], [IMAGE])
    known = np.zeros(labels.shape, bool)
    known[30:60, 20:40] = True
    example = Example("pair", Image(IMAGE, "YX"), Image(labels * known, "YX"), known)
    sampler = PatchSampler(samples_of(example, 2, plan.normalization), plan)
    for step in range(5):
        batch = sampler.batch(step, 4)
        assert batch.known is not None
        assert batch.known.flatten(1).any(1).all()
        assert set(batch.known.unique().tolist()) <= {0.0, 1.0}
        assert batch.known.shape[1] == (2 if mode == "instances" else 1)


def test_planes_that_nobody_annotated_are_no_samples() -> None:
    known = np.zeros((4, 32, 32), bool)
    known[2, :8] = True
    labels = np.zeros((4, 32, 32), np.uint8)
    plan = plan_of("binary", [NUCLEI], [IMAGE])
    example = Example("pair", Image(labels, "ZYX"), Image(labels, "ZYX"), known)
    samples = samples_of(example, 2, plan.normalization)
    assert len(samples) == 1
    assert samples[0].known is not None
    assert np.count_nonzero(samples[0].known) == 8 * 32


@pytest.mark.parametrize("mode", MODES)
def test_scores_count_annotated_pixels_only(mode: OutputMode) -> None:
    output = OUTPUTS[mode]
    truth = NUCLEI % 3 if mode == "multiclass" else NUCLEI
    found = truth.copy()
    found[:, 60:] = 99 if mode == "instances" else 1  # wrong where nothing is known
    known = np.ones(truth.shape, bool)
    known[:, 60:] = False
    perfect = output.score(found, np.where(known, truth, 0), known=known)
    assert perfect.classes.mean_dice == 1
    assert output.score(found, truth).classes.mean_dice < 1
    if perfect.instances is not None:
        assert perfect.instances.average_precision(0.9) == 1


def test_a_pair_keeps_what_is_annotated_when_it_is_reopened_corrected_and_trained_on(
    tmp_path: Path,
) -> None:
    project = Project.create(tmp_path / "p", mode="instances")
    rule = left_out(default_rule("instances"))
    accepted = project.dataset.accept(IMAGE, half_known(NUCLEI), rule=rule)
    pair = Project.open(tmp_path / "p").dataset.get(accepted.pair_id)
    assert pair.ignored_label == 65535
    labels = project.dataset.read_mask(pair).read()
    assert np.array_equal(labels == 65535, half_known(NUCLEI) == -1)
    corrected = labels.copy()
    corrected[corrected == 1] = 0
    again = project.dataset.replace(pair.pair_id, mask=corrected)
    assert again.ignored_label == 65535
    assert again.fingerprint is not None
    assert again.fingerprint.object_count == accepted.fingerprint.object_count - 1  # type: ignore[union-attr]
    whole = project.dataset.replace(pair.pair_id, mask=NUCLEI)
    assert whole.ignored_label is None
    assert project.dataset.as_seen(pair.pair_id, pair.content).ignored_label == 65535


def test_add_and_evaluate_leave_out_the_value_that_they_are_told(tmp_path: Path) -> None:
    for part, pixels in (
        ("images", IMAGE),
        ("masks", half_known(NUCLEI)),
        ("found", np.where(np.arange(96) < 48, NUCLEI, 1).astype(np.uint16)),
    ):
        (tmp_path / part).mkdir()
        tifffile.imwrite(tmp_path / part / "a.tif", pixels)
    Project.create(tmp_path / "p", mode="instances")
    folders = ["--images", str(tmp_path / "images"), "--masks", str(tmp_path / "masks")]
    refused = CliRunner().invoke(app, ["add", str(tmp_path / "p"), *folders])
    assert "leave them out (--ignore -1)" in " ".join(refused.output.split())
    added = CliRunner().invoke(app, ["add", str(tmp_path / "p"), *folders, "--ignore", "-1"])
    assert added.exit_code == 0, added.output
    assert "50% of the pixels are left out" in " ".join(added.output.split())
    scores = evaluate_folders(tmp_path / "found", tmp_path / "masks", mode="binary", ignore=-1)
    assert scores.total.counts.classes.mean_dice == 1


@pytest.mark.parametrize("mode", ["binary", "instances"])
def test_thirty_percent_annotated_teach_as_much_as_all_only_if_the_rest_is_left_out(
    tmp_path: Path, mode: OutputMode
) -> None:
    pairs = simulate_pairs(5, shape=(96, 96), seed=5)
    *training, (image, truth) = pairs
    if mode == "binary":
        training = [(one, (mask > 0).astype(np.uint16)) for one, mask in training]
    plan = plan_of(
        mode, [mask for _, mask in training], [one for one, _ in training], epochs=20, seed=1
    )
    known = np.zeros((96, 96), bool)
    # In strips: a patch always sees objects that nobody annotated.
    for start in (10, 43, 76):
        known[:, start : start + 10] = True

    def dice(name: str, cut: NDArray[np.bool_] | None, *, is_told: bool) -> float:
        samples = [
            sample
            for number, (one, mask) in enumerate(training)
            for sample in samples_of(
                Example(
                    f"pair_{number}",
                    Image(one, "YX"),
                    Image(mask if cut is None else mask * cut, "YX"),
                    cut if is_told else None,
                ),
                2,
                plan.normalization,
            )
        ]
        (tmp_path / name).mkdir()
        trained = train(plan, samples, folder=tmp_path / name)
        assert trained is not None
        segmenter = load_segmenter(trained.weights, device="cpu")
        found = segment(Image(image, "YX"), segmenter).labels.read()
        return Foreground().score(found, truth).classes.mean_dice

    full = dice("full", None, is_told=False)
    told = dice("told", known, is_told=True)
    untold = dice("untold", known, is_told=False)
    assert full > 0.9
    assert told > full - 0.03
    assert untold < full - 0.07
