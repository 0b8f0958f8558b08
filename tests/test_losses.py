"""The losses are finite, smallest at the truth, and weigh what they are told to weigh."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from maskloop.errors import UsageError
from maskloop.models.unet.losses import build_loss
from maskloop.predict.outputs import Classes, DistanceMaps, Foreground

MODES = {
    "binary": Foreground(),
    "multiclass": Classes(class_labels={0: "background", 1: "a", 2: "b", 3: "c"}),
    "instances": DistanceMaps(),
}


def truth_of(mode: str, shape: tuple[int, ...] = (2, 8, 8)) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    if mode == "instances":
        maps = torch.rand((shape[0], 3, *shape[1:]), generator=generator)
        maps[:, 0] = (maps[:, 0] > 0.5).float()
        return maps * maps[:, :1]
    return torch.randint(0, 4 if mode == "multiclass" else 2, shape, generator=generator)


def perfect(mode: str, target: Tensor) -> Tensor:
    if mode == "instances":
        return torch.logit(target.clamp(1e-6, 1 - 1e-6))
    if mode == "multiclass":
        return functional.one_hot(target, 4).movedim(-1, 1) * 40.0 - 20
    return target[:, None] * 40.0 - 20


@pytest.mark.parametrize("mode", MODES)
def test_the_truth_costs_nothing_and_anything_else_something(mode: str) -> None:
    loss, target = build_loss(MODES[mode]), truth_of(mode)
    assert float(loss(perfect(mode, target), target)) == pytest.approx(0, abs=1e-4)
    assert float(loss(torch.zeros_like(perfect(mode, target)), target)) > 0.5
    assert float(loss(-perfect(mode, target), target)) > 2


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_an_empty_target_gives_a_finite_loss_and_finite_gradients(mode: str, scale: float) -> None:
    target = torch.zeros_like(truth_of(mode))
    logits = (torch.randn(perfect(mode, target).shape) * scale).requires_grad_()
    value = build_loss(MODES[mode])(logits, target)
    torch.autograd.backward(value)
    assert torch.isfinite(value)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@settings(max_examples=25, deadline=None)
@given(
    mode=st.sampled_from(sorted(MODES)),
    seed=st.integers(0, 999),
    scale=st.floats(0.01, 1e3),
    three=st.booleans(),
)
def test_the_loss_is_finite_and_not_negative_in_two_and_three_dimensions(
    mode: str, seed: int, scale: float, three: bool
) -> None:
    target = truth_of(mode, (2, 4, 4, 4) if three else (2, 8, 8))
    generator = torch.Generator().manual_seed(seed)
    value = float(
        build_loss(MODES[mode])(
            torch.randn(perfect(mode, target).shape, generator=generator) * scale, target
        )
    )
    assert 0 <= value < float("inf")


@pytest.mark.parametrize("mode", MODES)
def test_gradient_descent_on_the_logits_finds_the_truth(mode: str) -> None:
    target = truth_of(mode)
    logits = torch.zeros_like(perfect(mode, target)).requires_grad_()
    optimiser = torch.optim.Adam([logits], lr=0.3)
    loss = build_loss(MODES[mode])
    for _ in range(60):
        optimiser.zero_grad()
        torch.autograd.backward(loss(logits, target))
        optimiser.step()
    assert float(loss(logits.detach(), target)) < 0.1


def test_binary_takes_targets_with_or_without_a_channel_of_any_type() -> None:
    loss, target = build_loss(MODES["binary"]), truth_of("binary")
    logits = torch.randn(2, 1, 8, 8)
    value = loss(logits, target)
    for same in (target[:, None].float(), target.bool(), target.to(torch.uint8) * 255):
        torch.testing.assert_close(loss(logits, same), value)


def test_the_binary_loss_is_bce_plus_one_minus_dice_over_the_batch() -> None:
    logits, target = torch.randn(2, 1, 8, 8), truth_of("binary").float()
    p = torch.sigmoid(logits[:, 0])
    dice = 2 * (p * target).sum() / (p.sum() + target.sum())
    expected = functional.binary_cross_entropy_with_logits(logits[:, 0], target) + 1 - dice
    torch.testing.assert_close(build_loss(MODES["binary"])(logits, target), expected)


def test_a_class_that_is_absent_from_the_batch_is_left_out_of_the_dice() -> None:
    target = truth_of("multiclass").clamp(max=2)
    logits = perfect("multiclass", target)
    assert float(build_loss(MODES["multiclass"])(logits, target)) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("mode", ["binary", "multiclass"])
def test_a_heavier_class_costs_more_when_it_is_missed(mode: str) -> None:
    target = truth_of(mode)
    logits = perfect(mode, torch.zeros_like(target)) / 10  # says background everywhere
    classes = len(MODES[mode].class_labels)
    even = build_loss(MODES[mode], class_weights=[1.0] * classes)(logits, target)
    torch.testing.assert_close(even, build_loss(MODES[mode])(logits, target))
    assert float(
        build_loss(MODES[mode], class_weights=[1.0] + [5.0] * (classes - 1))(logits, target)
    ) > float(even)


@pytest.mark.parametrize("mode", ["binary", "multiclass"])
def test_weights_of_zero_for_all_that_is_there_give_a_finite_loss(mode: str) -> None:
    weights = [0.0] + [1.0] * (len(MODES[mode].class_labels) - 1)
    target = torch.zeros_like(truth_of(mode))
    assert (
        float(
            build_loss(MODES[mode], class_weights=weights)(
                torch.randn(perfect(mode, target).shape), target
            )
        )
        == 0
    )


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ((1.0,), "2 class weights are needed, not 1."),
        ((1.0, -1.0), "not all finite and positive"),
        ((0.0, 0.0), "not all finite"),
    ],
)
def test_weights_that_fit_no_class_are_refused(weights: tuple[float, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build_loss(Foreground(), class_weights=weights)


@pytest.mark.parametrize("mode", MODES)
def test_the_loss_stays_in_full_precision_inside_autocast(mode: str) -> None:
    target = truth_of(mode)
    logits: Any = torch.randn(perfect(mode, target).shape).bfloat16()
    loss = build_loss(MODES[mode])
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss(logits, target)
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, loss(logits.float(), target))


def test_distances_outside_the_objects_are_not_looked_at() -> None:
    target = truth_of("instances")
    logits = perfect("instances", target)
    outside = torch.where(target[:, :1] > 0, logits, torch.randn_like(logits) * 5)
    outside[:, 0] = logits[:, 0]
    loss = build_loss(MODES["instances"])
    torch.testing.assert_close(loss(outside, target), loss(logits, target))
