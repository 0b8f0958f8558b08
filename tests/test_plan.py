"""The plan: decided from the data, each decision with its reason; a person's choice wins."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskloop.errors import UsageError
from maskloop.images.fingerprint import Fingerprint
from maskloop.images.normalize import ChannelRange, Normalization
from maskloop.models.base import Start
from maskloop.models.device import Machine
from maskloop.models.unet.network import training_memory_bytes
from maskloop.models.unet.plan import make_plan
from maskloop.models.unet.records import UNetArchitecture, UNetNetwork, UNetPlan, UNetRecipe
from maskloop.task import Task

LAPTOP = Machine(device="cpu", name="a laptop", memory_bytes=8 * 2**30, has_bf16=True, cores=2)


def data(shape: tuple[int, ...] = (256, 256), **changes: Any) -> Fingerprint:
    facts: dict[str, Any] = {
        "pair_count": 20,
        "spatial_dims": (len(shape),),
        "channels": 1,
        "smallest_shape": shape,
        "median_shape": shape,
        "largest_shape": shape,
        "total_pixels": 20 * 256 * 256,
        "ranges": (ChannelRange(offset=100, scale=900),),
        "brightness_spread": 0.1,
        "class_pixels": {0: 90, 1: 10},
        "object_count": 400,
        "object_diameters_px": (10, 20, 30, 40),
        "object_extent_px": 44,
    }
    return Fingerprint(**(facts | changes))


def plan_for(
    recipe: UNetRecipe,
    facts: Fingerprint,
    own: UNetArchitecture | None = None,
    *,
    task: Task | None = None,
    start: Start | None = None,
    machine: Machine,
) -> UNetPlan:
    return make_plan(
        task or Task(), own or UNetArchitecture(), recipe, facts, start=start, machine=machine
    )


def weights(**network: int) -> Start:
    described = UNetNetwork(**network).model_dump()
    return Start("unet_run_001", Path("unet_run_001.pt"), "basic_unet", described, Task())


def test_every_decision_has_a_value_and_a_reason() -> None:
    plan = plan_for(UNetRecipe(), data(), UNetArchitecture(), machine=LAPTOP)
    names = {decision.name for decision in plan.decisions}
    assert {
        "patch_size",
        "batch_size",
        "normalization",
        "epochs",
        "precision",
        "base_channels",
        "depth",
        "augmentation",
        "learning_rate",
    } <= names
    assert all(decision.reason and decision.source == "planned" for decision in plan.decisions)


def test_how_long_it_takes_is_estimated_on_a_processor_alone() -> None:
    short, long = (
        plan_for(UNetRecipe(epochs=epochs), data(), UNetArchitecture(), machine=LAPTOP).estimated_s
        for epochs in (10, 40)
    )
    assert short is not None
    assert long == pytest.approx(4 * short)
    assert (
        plan_for(UNetRecipe(time_s=90), data(), UNetArchitecture(), machine=LAPTOP).estimated_s
        == 90
    )
    gpu = dataclasses.replace(LAPTOP, device="cuda")
    assert plan_for(UNetRecipe(), data(), UNetArchitecture(), machine=gpu).estimated_s is None


def test_a_value_that_a_person_sets_wins_and_is_recorded_as_theirs() -> None:
    recipe = UNetRecipe(
        epochs=7,
        patch_size=(64, 96),
        batch_size=3,
        normalization=Normalization(mode="z_score"),
        precision="fp32",
        base_channels=12,
    )
    plan = plan_for(recipe, data(), UNetArchitecture(), machine=LAPTOP)
    assert (
        plan.epochs,
        plan.patch_size,
        plan.batch_size,
        plan.normalization.mode,
        plan.network.base_channels,
    ) == (
        7,
        (64, 96),
        3,
        "z_score",
        12,
    )
    theirs = {decision.name for decision in plan.decisions if decision.source == "person"}
    assert theirs == {
        "epochs",
        "patch_size",
        "batch_size",
        "normalization",
        "precision",
        "base_channels",
    }


def test_what_a_person_set_in_the_architecture_is_kept_even_under_a_time_budget() -> None:
    own = UNetArchitecture(depth=2, base_channels=24)
    plan = plan_for(UNetRecipe(time_s=60), data(), own, machine=LAPTOP)
    assert (plan.network.depth, plan.network.base_channels) == (2, 24)


def test_the_network_is_smaller_when_there_is_little_time() -> None:
    widths = [
        plan_for(
            UNetRecipe(time_s=time_s), data(), UNetArchitecture(), machine=LAPTOP
        ).network.base_channels
        for time_s in (20, 600, 36_000)
    ]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1] == 32


def test_volumes_get_a_three_dimensional_network_and_thin_stacks_planes() -> None:
    assert (
        plan_for(
            UNetRecipe(), data((40, 128, 128)), UNetArchitecture(), machine=LAPTOP
        ).network.spatial_dims
        == "3d"
    )
    assert (
        plan_for(
            UNetRecipe(), data((4, 128, 128)), UNetArchitecture(), machine=LAPTOP
        ).network.spatial_dims
        == "2d"
    )


def test_three_dimensions_for_planes_are_refused() -> None:
    with pytest.raises(UsageError, match="The network is 3D"):
        plan_for(
            UNetRecipe(),
            data(),
            UNetArchitecture(spatial_dims="3d"),
            machine=LAPTOP,
        )


def test_channels_other_than_those_of_the_weights_are_refused_with_both_numbers() -> None:
    with pytest.raises(UsageError, match="takes 1 channel, the images have 3"):
        plan_for(UNetRecipe(), data(channels=3), start=weights(), machine=LAPTOP)


def test_going_on_from_weights_keeps_their_network_and_says_so() -> None:
    plan = plan_for(
        UNetRecipe(time_s=60),
        data(),
        start=weights(depth=2, base_channels=12),
        machine=LAPTOP,
    )
    assert (plan.network.depth, plan.network.base_channels) == (2, 12)
    reasons = {decision.name: (decision.source, decision.reason) for decision in plan.decisions}
    assert (
        reasons["depth"]
        == reasons["base_channels"]
        == ("planned", "Fixed by the starting weights.")
    )


@pytest.mark.parametrize(
    ("shape", "pixel_um", "z_strides", "patch"),
    [
        ((100, 100, 100), {}, (), (64, 64, 64)),
        ((100, 100, 100), {"Z": 0.28, "Y": 0.126, "X": 0.126}, (1,), (32, 80, 80)),
        ((20, 512, 512), {}, (2, 2, 1, 1), (20, 112, 112)),
        ((20, 512, 512), {"Z": 1.0, "Y": 0.2, "X": 0.2}, (1, 1), (20, 112, 112)),
        ((9, 512, 512), {"Z": 3.0, "Y": 0.2, "X": 0.2}, (1, 1, 1, 2), (10, 160, 160)),
    ],
)
def test_a_volume_is_halved_along_z_as_its_planes_allow(
    shape: tuple[int, ...],
    pixel_um: dict[str, float],
    z_strides: tuple[int, ...],
    patch: tuple[int, ...],
) -> None:
    plan = plan_for(
        UNetRecipe(), data(shape, pixel_size_um=pixel_um), UNetArchitecture(), machine=LAPTOP
    )
    assert plan.network.depth == 4
    assert plan.network.z_strides == UNetNetwork(spatial_dims="3d", z_strides=z_strides).z_strides
    assert plan.patch_size == patch
    (told,) = (decision for decision in plan.decisions if decision.name == "z_strides")
    assert f"{shape[0]} planes" in told.reason
    assert told.reason.startswith("Planes are" if pixel_um else "The files do not state")


def test_a_patch_that_does_not_fit_the_depth_is_refused_with_one_that_does() -> None:
    with pytest.raises(UsageError, match=r"Patch size \(100, 100\)") as caught:
        plan_for(UNetRecipe(patch_size=(100, 100)), data(), UNetArchitecture(), machine=LAPTOP)
    assert "multiples of 16" in caught.value.way_out


def test_a_small_memory_gives_a_small_batch() -> None:
    tiny = Machine(device="cpu", name="a tiny one", memory_bytes=2**29, has_bf16=False, cores=2)
    plan = plan_for(UNetRecipe(), data(), UNetArchitecture(), machine=tiny)
    assert plan.batch_size == 1
    assert plan.precision == "fp32"


def test_rare_classes_weigh_more() -> None:
    three = Task(mode="multiclass", classes=("a", "b"))
    plan = plan_for(
        UNetRecipe(), data(class_pixels={0: 900, 1: 95, 2: 5}), task=three, machine=LAPTOP
    )
    assert plan.class_weights is not None
    assert plan.class_weights[0] < plan.class_weights[1] < plan.class_weights[2]
    with pytest.raises(UsageError, match="3 class weights are needed, not 2"):
        plan_for(UNetRecipe(class_weights=(1, 2)), data(), task=three, machine=LAPTOP)


def test_a_normalisation_fitted_to_the_dataset_carries_its_ranges() -> None:
    settings = Normalization(scope="dataset", mode="min_max")
    facts = data(intensity_percentiles=((50.0, 100.0, 300.0, 1000.0, 2050.0, 400.0, 100.0),))
    plan = plan_for(UNetRecipe(normalization=settings), facts, UNetArchitecture(), machine=LAPTOP)
    assert plan.normalization.dataset_ranges == (ChannelRange(offset=50, scale=2000),)


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    st.integers(1, 7),
    st.integers(28, 40),
)
def test_any_image_gets_a_plan_that_fits_its_network_and_the_memory(
    shape: tuple[int, int], depth: int, memory: int
) -> None:
    machine = Machine(device="cpu", name="any", memory_bytes=2**memory, has_bf16=False, cores=2)
    plan = plan_for(UNetRecipe(), data(shape), UNetArchitecture(depth=depth), machine=machine)
    assert all(length % 2**plan.network.depth == 0 for length in plan.patch_size)
    needed = training_memory_bytes(plan.network, plan.patch_size, batch=plan.batch_size)
    assert plan.batch_size == 1 or needed <= machine.memory_bytes
