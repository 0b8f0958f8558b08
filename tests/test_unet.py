"""The network is what its description says, and it trains."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from maskloop.models.unet.convolutions import Conv3d, weight_gradient
from maskloop.models.unet.network import (
    AttentionGate,
    InstanceNorm,
    UpProjection,
    build_unet,
    reach,
    summarize,
    training_memory_bytes,
)
from maskloop.models.unet.records import UNetNetwork

PRESETS = ("standard_unet", "resunet", "attention_unet")
NORMALIZATIONS = ("batch", "instance", "group", "none")
UPSAMPLINGS = ("transpose", "bilinear")
EVERY_KIND = list(itertools.product(PRESETS, NORMALIZATIONS, UPSAMPLINGS, ("2d", "3d")))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small are quicker without waking other threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def small(**changes: Any) -> UNetNetwork:
    return UNetNetwork.model_validate({"depth": 2, "base_channels": 4, **changes})


def convolutions(network: nn.Module, size: int) -> int:
    kinds = nn.Conv2d | nn.Conv3d
    return sum(
        isinstance(module, kinds) and set(module.kernel_size) == {size}
        for module in network.modules()
    )


def test_the_default_is_the_documented_network_counted_module_by_module() -> None:
    network = build_unet(UNetNetwork())
    assert convolutions(network, 3) == 18
    assert convolutions(network, 1) == 1
    assert sum(isinstance(module, nn.ConvTranspose2d) for module in network.modules()) == 4
    widths = [
        module.out_channels
        for module in network.modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)
    ]
    assert widths == [c for c in (32, 64, 128, 256, 512, 256, 128, 64, 32) for _ in range(2)]
    assert len(network.encoder) == len(network.decoder) == 4


def test_the_summary_of_the_default_is_the_documented_one() -> None:
    architecture = UNetNetwork()
    summary = summarize(build_unet(architecture), architecture)
    assert summary["feature_channels"] == [32, 64, 128, 256, 512]
    assert summary["double_conv_blocks"] == 9
    assert summary["conv_layers_per_block"] == 2
    assert summary["double_conv_layers"] == 18
    assert summary["upsampling_layers"] == 4
    assert summary["final_projection_layers"] == 1
    assert summary["normalization_layers"] == {"BatchNorm2d": 18}
    assert summary["attention_gates"] == summary["shortcut_projections"] == 0
    assert summary["parameters"] == 7_762_465


@pytest.mark.parametrize(("preset", "normalization", "upsampling", "spatial_dims"), EVERY_KIND)
def test_every_kind_is_what_it_says_and_gives_logits_of_the_images_size(
    preset: str, normalization: str, upsampling: str, spatial_dims: str
) -> None:
    choices = {
        "preset": preset,
        "normalization": normalization,
        "upsampling": upsampling,
        "spatial_dims": spatial_dims,
    }
    architecture = small(**choices, input_channels=3, output_channels=4)
    network = build_unet(architecture)
    images = torch.randn(2, 3, *(8, 12, 16)[: architecture.dimensions])
    assert network(images).shape == (2, 4, *images.shape[2:])
    summary = summarize(network, architecture)
    assert summary["double_conv_layers"] == convolutions(network, 3) == 10
    assert (
        summary["attention_gates"]
        == sum(isinstance(m, AttentionGate) for m in network.modules())
        == 2 * (preset == "attention_unet")
    )
    assert summary["shortcut_projections"] == 5 * (preset == "resunet")
    assert sum(isinstance(m, UpProjection) for m in network.modules()) == 2 * (
        upsampling == "bilinear"
    )
    assert sum(summary["normalization_layers"].values()) == (
        0 if normalization == "none" else 10 + summary["shortcut_projections"]
    )
    assert summary["multiple"] == [4] * (3 if spatial_dims == "3d" else 2)


@pytest.mark.parametrize("depth", range(1, 8))
def test_every_depth_can_be_built(depth: int) -> None:
    architecture = small(depth=depth, base_channels=1, normalization="instance")
    network = build_unet(architecture)
    assert summarize(network, architecture)["feature_channels"] == [
        2**level for level in range(depth + 1)
    ]
    assert network(torch.randn(1, 1, 2**depth, 2**depth)).shape == (1, 1, 2**depth, 2**depth)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_a_convolution_has_a_bias_only_where_no_normalisation_follows(normalization: str) -> None:
    network = build_unet(small(normalization=normalization))
    biases = {
        module.bias is not None
        for module in network.modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)
    }
    assert biases == {normalization == "none"}


@pytest.mark.parametrize(
    ("preset", "normalization"), list(itertools.product(PRESETS, NORMALIZATIONS))
)
def test_every_kind_starts_with_logits_of_moderate_size_and_moves_every_weight(
    preset: str, normalization: str
) -> None:
    torch.manual_seed(0)
    network = build_unet(small(preset=preset, normalization=normalization))
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    images = torch.rand(2, 1, 16, 16)
    logits = network(images)
    assert 0.005 < float(logits.detach().std()) < 20
    for _ in range(
        2
    ):  # a residual branch that starts at zero moves its earlier layers in the second step
        optimiser.zero_grad()
        torch.autograd.backward(network(images).square().mean())
        optimiser.step()
    still = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum()
    ]
    assert still == []


def test_instance_normalisation_is_that_of_pytorch_and_takes_a_single_pixel() -> None:
    norm = InstanceNorm(4)
    features = torch.randn(2, 4, 9, 7)
    torch.testing.assert_close(norm(features), nn.InstanceNorm2d(4)(features))
    assert norm(torch.ones(1, 4, 1, 1)).eq(0).all()


def test_interpolating_after_the_projection_equals_interpolating_before_it() -> None:
    up = UpProjection(small(), 4, 2, (2, 2))
    features = torch.randn(1, 4, 6, 6)
    before = up.conv(
        nn.functional.interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=False)
    )
    torch.testing.assert_close(up(features), before)


@pytest.mark.parametrize(
    ("preset", "upsampling", "depth"), list(itertools.product(PRESETS, UPSAMPLINGS, (1, 2, 3)))
)
def test_the_reach_is_how_far_one_pixel_is_felt(preset: str, upsampling: str, depth: int) -> None:
    architecture = small(
        preset=preset, upsampling=upsampling, depth=depth, base_channels=1, normalization="none"
    )
    network = build_unet(architecture).double()
    step = 2**depth
    far, same = reach(architecture)
    assert far == same
    middle = (far // step + 2) * step
    images = torch.zeros(step, 1, 2 * middle, 2 * middle, dtype=torch.float64)
    for offset in range(step):
        images[offset, 0, middle, middle + offset] = (
            torch.nan
        )  # whatever depends on it is not a number either
    with torch.inference_mode():
        felt = [
            logits[0].isnan().any(0).nonzero().flatten() - (middle + offset)
            for offset, logits in enumerate(network(images))
        ]
    assert max(int(places.abs().max()) for places in felt) == far


def test_planes_far_apart_are_halved_later_and_looked_at_one_by_one_until_then() -> None:
    architecture = small(spatial_dims="3d", depth=3, z_strides=(1, 2, 1))
    assert architecture.multiple == (2, 8, 8)
    network = build_unet(architecture)
    sizes = [
        conv.conv.kernel_size
        for block in [*network.encoder, network.bottleneck, *network.decoder]
        for conv in block.convs
    ]
    assert sizes == [
        kernel for kernel in ((1, 3, 3), *[(3, 3, 3)] * 5, (1, 3, 3)) for _ in range(2)
    ]
    assert network.eval()(torch.randn(1, 1, 2, 8, 8)).shape == (1, 1, 2, 8, 8)
    assert summarize(network, architecture)["multiple"] == [2, 8, 8]


def test_there_is_one_way_to_write_which_halvings_take_z_along() -> None:
    assert small(spatial_dims="3d", z_strides=(1, 2)).z_strides == (1,)
    assert small(spatial_dims="3d", z_strides=(2, 2)).z_strides == ()
    assert small(spatial_dims="3d", depth=1, z_strides=(1, 1, 1)).z_strides == (1,)
    assert small(spatial_dims="2d", z_strides=(1,)).z_strides == ()
    with pytest.raises(ValidationError):
        small(spatial_dims="3d", z_strides=(3,))


@pytest.mark.parametrize("z_strides", [(), (1,), (2, 1), (1, 1)])
@pytest.mark.parametrize(("preset", "upsampling"), list(itertools.product(PRESETS, UPSAMPLINGS)))
def test_the_reach_along_z_is_as_far_as_it_is_felt(
    preset: str, upsampling: str, z_strides: tuple[int, ...]
) -> None:
    architecture = small(
        spatial_dims="3d",
        preset=preset,
        upsampling=upsampling,
        z_strides=z_strides,
        depth=2,
        base_channels=1,
        normalization="none",
    )
    network = build_unet(architecture).double()
    far, step = reach(architecture)[0], architecture.multiple[0]
    middle = (far // step + 2) * step
    images = torch.zeros(step, 1, 2 * middle, 4, 4, dtype=torch.float64)
    for offset in range(step):
        images[offset, 0, middle + offset] = torch.nan
    with torch.inference_mode():
        felt = [
            logits[0].isnan().any(-1).any(-1).nonzero().flatten() - (middle + n)
            for n, logits in enumerate(network(images))
        ]
    assert max(int(places.abs().max()) for places in felt) == far


@pytest.mark.parametrize(
    ("preset", "normalization", "spatial_dims"),
    list(itertools.product(PRESETS, NORMALIZATIONS, ("2d", "3d", "flat"))),
)
def test_the_memory_estimate_is_near_what_autograd_keeps(
    preset: str, normalization: str, spatial_dims: str
) -> None:
    kind = (
        {"spatial_dims": "3d", "z_strides": (1,)}
        if spatial_dims == "flat"
        else {"spatial_dims": spatial_dims}
    )
    architecture = small(preset=preset, normalization=normalization, base_channels=8, **kind)
    network = build_unet(architecture)
    patch = (32, 64) if spatial_dims == "2d" else (16, 16, 24)
    kept: dict[int, torch.Tensor] = {}

    def keep(saved: torch.Tensor) -> torch.Tensor:
        kept[saved.untyped_storage()._cdata] = saved
        return saved

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
        network(torch.randn(4, 1, *patch))
    weights = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    parameters = sum(parameter.numel() for parameter in network.parameters())
    measured = 16 * parameters + sum(
        saved.untyped_storage().nbytes() for key, saved in kept.items() if key not in weights
    )
    estimate = training_memory_bytes(architecture, patch, batch=4)
    assert (
        measured <= estimate <= 1.3 * measured
    )  # the rest are gradients in flight, which autograd does not keep


def test_half_the_precision_takes_about_half_the_memory() -> None:
    full, half = (
        training_memory_bytes(UNetNetwork(), (256, 256), batch=16, precision=p)
        for p in ("fp32", "bf16")
    )
    assert 0.5 < half / full < 0.65


@pytest.mark.parametrize(("planes", "z_strides"), [(5, (1, 1)), (4, (2, 2)), (1, (1, 1))])
@pytest.mark.parametrize("preset", PRESETS)
def test_gradients_of_volumes_in_bf16_are_those_of_fp32(
    planes: int, z_strides: tuple[int, ...], preset: str
) -> None:
    """With AMX, oneDNN's own were NaN for few, large planes, or wrote outside their buffers."""
    torch.manual_seed(0)
    network = build_unet(
        small(
            spatial_dims="3d",
            preset=preset,
            depth=2,
            z_strides=z_strides,
            base_channels=16,
            normalization="none",
        )
    ).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    images = torch.rand(2, 1, planes, 64, 64).to(memory_format=torch.channels_last_3d)
    found = []
    for is_bf16 in (False, True):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
            scores = network(images).float()
        scores.square().mean().backward()
        found.append({name: one.grad.clone() for name, one in network.named_parameters()})
    for name, gradient in found[0].items():
        difference = (found[1][name] - gradient).norm() / gradient.norm().clamp_min(1e-6)
        assert difference < 0.1, name


def test_weight_gradients_plane_by_plane_are_those_of_the_convolution() -> None:
    """In fp64 to the last digits, for each kernel, stride and padding that networks have."""
    generator = torch.Generator().manual_seed(0)
    cases = [
        ((3, 3, 3), 1, 1),
        ((1, 3, 3), 1, (0, 1, 1)),
        ((2, 2, 2), 2, 0),
        ((1, 2, 2), (1, 2, 2), 0),
    ]
    for planes, (kernel, stride, padding) in itertools.product((1, 2, 5), cases):
        layer = nn.Conv3d(3, 4, kernel, stride=stride, padding=padding).double()
        if planes < kernel[0] - 2 * layer.padding[0]:
            continue
        images = torch.rand(2, 3, planes, 8, 8, generator=generator, dtype=torch.float64)
        scores = layer(images)
        gradient = torch.rand(scores.shape, generator=generator, dtype=torch.float64)
        scores.backward(gradient)
        own = weight_gradient(
            gradient, images, layer.weight, layer.stride, layer.padding, is_transposed=False
        )
        torch.testing.assert_close(own, layer.weight.grad)
        if layer.padding != (0, 0, 0):
            continue
        back = nn.ConvTranspose3d(3, 4, kernel, stride=stride).double()
        scores = back(images)
        gradient = torch.rand(scores.shape, generator=generator, dtype=torch.float64)
        scores.backward(gradient)
        own = weight_gradient(
            gradient, images, back.weight, back.stride, (0, 0, 0), is_transposed=True
        )
        torch.testing.assert_close(own, back.weight.grad)


def test_a_single_plane_in_bf16_scores_as_in_fp32() -> None:
    """Of one channel and one plane oneDNN's bf16 convolution is wrong where it pads along Z."""
    torch.manual_seed(0)
    layer = Conv3d(1, 32, 3, padding=1)
    plane = torch.rand(1, 1, 1, 64, 64)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = layer(plane).float()
    torch.testing.assert_close(found, nn.Conv3d.forward(layer, plane), atol=0.02, rtol=0.02)
