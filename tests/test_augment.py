"""Augmentation: masks move with their images, labels stay labels, each switch works.

Coordinates of the pixels are augmented like an image, which tells of each pixel of a patch where
it comes from.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor

from maskloop.models.base import Augmentation
from maskloop.models.unet.augment import change_intensities, draw_grid, resample, source_shape

SIDE = 32
PATCH = (SIDE, SIDE)
VOLUME = (8, SIDE, SIDE)
COUNT = 64
"""Patches per draw: enough for each side of a coin of one half."""
NOTHING: dict[str, Any] = {
    "horizontal_flip": False,
    "vertical_flip": False,
    "rotation_degrees": (0,),
    "free_rotation": False,
    "scale": 0.0,
    "elastic": 0.0,
    "intensity_jitter": 0.0,
    "noise": 0.0,
    "blur": 0.0,
}


def only(**switches: Any) -> Augmentation:
    """Everything is off but what is named."""
    return Augmentation(**(NOTHING | switches))


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def grid(
    augmentation: Augmentation, patch: tuple[int, ...] = PATCH, *, count: int = COUNT, seed: int = 0
) -> tuple[Tensor, tuple[int, ...]]:
    """The grid of some patches, and the shape that they are cut from."""
    source = source_shape(patch, augmentation)
    return draw_grid(count, patch, source, augmentation, seeded(seed)), source


def origins(augmentation: Augmentation, patch: tuple[int, ...] = PATCH, *, seed: int = 0) -> Tensor:
    """Where pixels come from, in pixels from the center: (N, *patch, dimensions), (Z)YX."""
    drawn, source = grid(augmentation, patch, seed=seed)
    # grid_sample counts from -1 to 1 and names X first.
    return drawn.flip(-1) * torch.tensor(source) / 2


def centered(patch: tuple[int, ...] = PATCH) -> Tensor:
    """The coordinates of a patch that nothing is done to, (*patch, dimensions)."""
    axes = [torch.arange(length) - (length - 1) / 2 for length in patch]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def kinds(found: Tensor, expected: list[Tensor]) -> set[int]:
    """Which of the expected coordinates the patches have; fails for a patch that has none."""
    seen = set()
    for patch in found:
        matches = [n for n, one in enumerate(expected) if torch.allclose(patch, one, atol=1e-3)]
        assert matches, "a patch is none of those expected"
        seen.add(matches[0])
    return seen


def test_with_all_switches_off_nothing_changes() -> None:
    images = torch.rand(COUNT, 2, *PATCH, generator=seeded())
    drawn, source = grid(only())
    assert source == PATCH
    assert torch.allclose(resample(images, drawn, nearest=False), images, atol=1e-5)
    assert torch.equal(change_intensities(images, only(), seeded()), images)


@pytest.mark.parametrize(("switch", "axis"), [("vertical_flip", 0), ("horizontal_flip", 1)])
def test_a_flip_mirrors_half_of_the_patches_along_its_axis_alone(switch: str, axis: int) -> None:
    mirrored = centered() * torch.tensor([-1 if at == axis else 1 for at in range(2)])
    assert kinds(origins(only(**{switch: True})), [centered(), mirrored]) == {0, 1}


def test_in_a_volume_the_vertical_flip_mirrors_depth_too() -> None:
    here = centered(VOLUME)
    ways = [here * torch.tensor([z, y, 1]) for z in (1, -1) for y in (1, -1)]
    assert kinds(origins(only(vertical_flip=True), VOLUME), ways) == {0, 1, 2, 3}
    across = [here, here * torch.tensor([1, 1, -1])]
    assert kinds(origins(only(horizontal_flip=True), VOLUME), across) == {0, 1}


def test_right_angles_are_the_four_that_are_listed() -> None:
    here = centered()
    turned = [torch.rot90(here, turns, dims=(0, 1)) for turns in range(4)]
    assert kinds(origins(only(rotation_degrees=(0, 90, 180, 270))), turned) == {0, 1, 2, 3}
    assert kinds(origins(only(rotation_degrees=(180,))), [turned[2]]) == {0}


def test_a_free_rotation_turns_half_of_the_patches_by_any_angle_and_changes_no_length() -> None:
    found = origins(only(free_rotation=True))
    assert torch.allclose(
        found.norm(dim=-1), centered().norm(dim=-1).expand(COUNT, -1, -1), atol=1e-3
    )
    angles = torch.atan2(*(found[:, 0, -1] - found[:, 0, 0]).unbind(-1))
    unturned = angles.abs() < 1e-4
    assert 0.25 < unturned.float().mean() < 0.75
    assert angles[~unturned].unique().numel() == int((~unturned).sum()), "each another angle"


def test_without_free_rotation_no_patch_is_oblique() -> None:
    found = origins(only(rotation_degrees=(0, 90, 180, 270), scale=0.2))
    along = (found[:, 0, -1] - found[:, 0, 0]).abs()
    assert torch.allclose(along.amin(-1), torch.zeros(COUNT), atol=1e-3)


def test_scale_zooms_half_of_the_patches_by_up_to_its_share_and_the_plane_alone() -> None:
    found = origins(only(scale=0.5), VOLUME)
    here = centered(VOLUME)
    assert torch.allclose(found[..., 0], here[..., 0].expand(COUNT, -1, -1, -1), atol=1e-3)
    zoom = (found[:, 0, 0, -1, 2] - found[:, 0, 0, 0, 2]) / (SIDE - 1)
    assert torch.allclose(found[..., 1:], here[..., 1:] * zoom.view(-1, 1, 1, 1, 1), atol=1e-3)
    kept = (zoom - 1).abs() < 1e-4
    assert 0.25 < kept.float().mean() < 0.75
    assert zoom.min() >= 1 / 1.5 - 1e-4
    assert zoom.max() <= 1.5 + 1e-4
    assert zoom.min() < 1 < zoom.max(), "in and out"


def test_elastic_bends_smoothly_and_more_when_it_is_stronger() -> None:
    weak, strong = (origins(only(elastic=strength)) - centered() for strength in (0.2, 0.8))
    assert torch.allclose(weak * 4, strong, atol=1e-3), "the strength is a factor"
    assert strong.abs().max() > 1
    # Between two neighbours there is far less than between the ends: it bends, it does not tear.
    step = strong.diff(dim=2).abs().amax()
    assert step < strong.abs().amax() / 3
    assert strong.std(dim=(1, 2)).min() > 0, "no patch is only shifted"


def test_intensity_jitter_changes_each_channel_of_each_image_by_itself() -> None:
    images = torch.rand(COUNT, 2, *PATCH, generator=seeded()) + 0.5
    changed = change_intensities(images, only(intensity_jitter=0.4), seeded())
    means = (changed - images).mean(dim=(2, 3)).flatten()
    assert means.unique().numel() == means.numel()
    assert means.min() < 0 < means.max()
    flat = images.flatten(2).argsort(dim=-1)
    assert torch.equal(changed.flatten(2).argsort(dim=-1), flat), "what was brighter is brighter"


def test_intensity_jitter_keeps_the_sign_of_normalized_intensities() -> None:
    images = torch.linspace(-3, 3, SIDE * SIDE).view(1, 1, *PATCH).repeat(COUNT, 1, 1, 1)
    changed = change_intensities(images, only(intensity_jitter=0.5), seeded())
    assert torch.isfinite(changed).all()
    assert (changed.flatten(1).diff(dim=1) > 0).all()


def test_noise_is_centered_and_at_most_as_strong_as_it_says() -> None:
    images = torch.zeros(COUNT, 2, *PATCH)
    noise = change_intensities(images, only(noise=0.1), seeded())
    spread = noise.std(dim=(1, 2, 3))
    assert spread.max() < 0.1 * 1.1
    assert spread.max() > 0.05
    assert spread.min() < 0.05, "each image has its own level"
    assert noise.mean().abs() < 0.01
    assert noise[:, 0].ne(noise[:, 1]).all(), "each pixel of each channel has its own"


def test_blur_smooths_some_of_the_images_and_moves_nothing() -> None:
    images = torch.zeros(COUNT, 1, *PATCH)
    images[..., SIDE // 2, SIDE // 2] = 1
    blurred = change_intensities(images, only(blur=2.0), seeded())
    changed = blurred.ne(images).flatten(1).any(dim=1)
    assert 0.1 < changed.float().mean() < 0.6, "about a third"
    assert torch.allclose(blurred.sum(dim=(1, 2, 3)), torch.ones(COUNT), atol=1e-4)
    assert (blurred.flatten(1).argmax(dim=1) == images.flatten(1).argmax(dim=1)).all()
    assert torch.allclose(blurred, blurred.flip(2, 3).roll((1, 1), (2, 3)), atol=1e-5)


def test_blur_in_a_volume_stays_in_its_plane() -> None:
    images = torch.zeros(COUNT, 1, *VOLUME)
    images[:, :, 4] = torch.rand(COUNT, 1, *PATCH, generator=seeded())
    blurred = change_intensities(images, only(blur=2.0), seeded())
    others = [plane for plane in range(VOLUME[0]) if plane != 4]
    assert blurred.ne(images).any()
    assert not blurred[:, :, others].any()


any_augmentation = st.builds(
    Augmentation,
    horizontal_flip=st.booleans(),
    vertical_flip=st.booleans(),
    rotation_degrees=st.sampled_from([(0,), (90,), (270,), (45,), (0, 90, 180, 270), ()]),
    free_rotation=st.booleans(),
    scale=st.floats(0, 0.9),
    elastic=st.floats(0, 1),
    intensity_jitter=st.floats(0, 1),
    noise=st.sampled_from([0.0, 0.01, 0.5]),
    blur=st.sampled_from([0.0, 0.5, 3.0]),
)
any_patch = st.sampled_from([(16, 16), (16, 24), (24, 8), (4, 16, 16), (1, 16, 24)])
any_seed = st.integers(0, 2**32)


@settings(max_examples=40, deadline=None)
@given(any_augmentation, any_patch, any_seed)
def test_a_mask_moves_with_its_image_and_its_labels_stay_labels(
    augmentation: Augmentation, patch: tuple[int, ...], seed: int
) -> None:
    drawn, source = grid(augmentation, patch, count=2, seed=seed)
    labels = torch.randint(0, 5, (2, 1, *source), generator=seeded(seed)) * 7.0
    found = resample(labels, drawn, nearest=True)
    assert found.shape == (2, 1, *patch)
    assert set(found.unique().tolist()) <= {0.0, 7.0, 14.0, 21.0, 28.0}
    # Read as an image, each pixel is a mean in which its nearest neighbor, whose label the mask
    # shows, has half of the weight or more along each axis.
    image = resample(labels.eq(7).float(), drawn, nearest=False)
    assert (image[found.eq(7)] >= 0.5 ** len(patch) - 1e-3).all()
    assert (image[found.ne(7)] <= 1 - 0.5 ** len(patch) + 1e-3).all()


@settings(max_examples=40, deadline=None)
@given(any_augmentation, any_patch, any_seed)
def test_the_same_seed_gives_the_same_patches_and_another_one_others(
    augmentation: Augmentation, patch: tuple[int, ...], seed: int
) -> None:
    one, source = grid(augmentation, patch, count=2, seed=seed)
    again, _ = grid(augmentation, patch, count=2, seed=seed)
    assert torch.equal(one, again)
    images = torch.rand(2, 2, *source, generator=seeded(seed))
    first, second = (change_intensities(images, augmentation, seeded(seed)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.isfinite(first).all()
    if augmentation.noise:
        assert not torch.equal(first, change_intensities(images, augmentation, seeded(seed + 1)))


@example(only(rotation_degrees=(270,)), (24, 8), 0)
@example(only(rotation_degrees=(45,), scale=0.2), (24, 8), 0)
@settings(max_examples=40, deadline=None)
@given(any_augmentation, any_patch, any_seed)
def test_without_elastic_no_patch_looks_over_the_edge_of_its_source(
    augmentation: Augmentation, patch: tuple[int, ...], seed: int
) -> None:
    rigid = augmentation.model_copy(update={"elastic": 0.0})
    drawn, source = grid(rigid, patch, count=8, seed=seed)
    assert all(inner <= outer for inner, outer in zip(patch, source, strict=True))
    assert drawn.abs().max() <= 1 + 1e-4
