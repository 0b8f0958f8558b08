"""Augmentation of a batch: one spatial resampling for all transforms, then intensity and noise.

All random numbers come from the generator that is passed in, so a step can be repeated bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional

from maskloop.models.base import Augmentation

__all__ = ["change_intensities", "draw_grid", "resample", "source_shape"]

ELASTIC_NODES = 5
"""The random deformation is drawn on a grid of this many nodes a side and interpolated."""


def source_shape(patch: Sequence[int], settings: Augmentation) -> tuple[int, ...]:
    """Lengths of the region to cut so that a rotated, zoomed patch never looks over its edge.

    Parameters
    ----------
    patch
        Patch lengths along ZYX or YX.
    settings
        What will be done to the patch.
    """
    is_oblique = settings.free_rotation or any(one % 90 for one in settings.rotation_degrees)
    # Half a turn keeps the lengths of a patch that is not a square; a quarter swaps them.
    is_turned = settings.free_rotation or any(one % 180 for one in settings.rotation_degrees)
    # A square turned by 45 degrees is wider by the square root of 2. What a strong deformation
    # takes from still farther out is mirrored (`resample`).
    reach = (math.sqrt(2) if is_oblique else 1.0) * (1 + settings.scale) + 0.1 * settings.elastic
    side = max(patch[-2:])
    height, width = (side, side) if is_turned else patch[-2:]
    # In depth there is neither rotation nor zoom: the spacing along Z is another one.
    return (*patch[:-2], math.ceil(height * reach), math.ceil(width * reach))


def draw_grid(
    batch: int,
    patch: Sequence[int],
    source: Sequence[int],
    settings: Augmentation,
    generator: Generator,
) -> Tensor:
    """Draw where each pixel of the patches comes from.

    Returns
    -------
    grid
        (N, *patch, dimensions), in the units of `torch.nn.functional.grid_sample` over a region of
        shape `source`.
    """
    angles = _angles(batch, settings, generator)
    # Uniform in the logarithm: half the size is as likely as twice the size.
    zoom = torch.exp((torch.rand(batch, generator=generator) * 2 - 1) * math.log1p(settings.scale))
    # Half of the patches keep their scale: the objects' own size is information too.
    zoom = torch.where(torch.rand(batch, generator=generator) < 0.5, zoom, torch.ones(()))
    flips = torch.where(torch.rand(batch, 3, generator=generator) < 0.5, -1.0, 1.0)
    flip_x = flips[:, 0] if settings.horizontal_flip else torch.ones(batch)
    flip_y = flips[:, 1] if settings.vertical_flip else torch.ones(batch)
    flip_z = flips[:, 2] if settings.vertical_flip else torch.ones(batch)
    # From the middle of the patch, in pixels: rotations turn about it.
    ys, xs = (torch.arange(length) - (length - 1) / 2 for length in patch[-2:])
    y, x = torch.meshgrid(ys, xs, indexing="ij")
    cos, sin = torch.cos(angles) * zoom, torch.sin(angles) * zoom
    at = (batch, 1, 1)
    # From target to source, as `grid_sample` asks: flipped first, then turned and zoomed at once.
    from_x = (cos * flip_x).view(at) * x - (sin * flip_y).view(at) * y
    from_y = (sin * flip_x).view(at) * x + (cos * flip_y).view(at) * y
    if settings.elastic:
        shift = _smooth_shift(batch, patch[-2:], settings.elastic, generator)
        from_x, from_y = from_x + shift[:, 0], from_y + shift[:, 1]
    # align_corners=False: the region's edges are at -1 and 1, so a pixel is 2 / length wide.
    plane = torch.stack([from_x * (2 / source[-1]), from_y * (2 / source[-2])], dim=-1)
    if len(patch) == 2:
        return plane
    depth = (torch.arange(patch[0]) - (patch[0] - 1) / 2) * (2 / source[0])
    # (N, Z) to (N, Z, 1, 1, 1), expanded to (N, Z, Y, X, 1). Z is only flipped: no planes are
    # mixed.
    zs = (
        (flip_z.view(batch, 1) * depth).view(batch, patch[0], 1, 1, 1).expand(-1, -1, *patch[1:], 1)
    )
    return torch.cat([plane.unsqueeze(1).expand(-1, patch[0], -1, -1, -1), zs], dim=-1)


def _angles(batch: int, settings: Augmentation, generator: Generator) -> Tensor:
    right = torch.tensor(settings.rotation_degrees or (0.0,), dtype=torch.float32) * (math.pi / 180)
    angles = right[torch.randint(len(right), (batch,), generator=generator)]
    # A quarter turn at most: the right angles that are drawn beside it make the rest of the circle.
    free = torch.rand(batch, generator=generator) * (math.pi / 2)
    use_free = torch.rand(batch, generator=generator) < 0.5
    return torch.where(use_free, angles + free, angles) if settings.free_rotation else angles


def _smooth_shift(
    batch: int, shape: Sequence[int], strength: float, generator: Generator
) -> Tensor:
    # Drawn coarse and interpolated: independent shifts of the pixels would be noise, not a
    # deformation.
    coarse = torch.randn(batch, 2, ELASTIC_NODES, ELASTIC_NODES, generator=generator)
    fine = functional.interpolate(coarse, size=tuple(shape), mode="bicubic", align_corners=True)
    return fine * (0.04 * strength * min(shape))


def resample(source: Tensor, grid: Tensor, *, nearest: bool) -> Tensor:
    """Read (N, C, *source) at `grid`: (N, C, *patch)."""
    return functional.grid_sample(
        source,
        grid,
        # Ids of classes have no values in between, which interpolation would make up.
        mode="nearest" if nearest else "bilinear",
        # Zeros beyond the border would teach an edge that no image has.
        padding_mode="reflection",
        align_corners=False,
    )


def change_intensities(images: Tensor, settings: Augmentation, generator: Generator) -> Tensor:
    """Change brightness, contrast and gamma per channel, blur, add noise: images (N, C, ...)."""
    batch, channels = images.shape[:2]
    per_channel = (batch, channels, *[1] * (images.ndim - 2))
    jitter = settings.intensity_jitter
    if jitter:
        # Each channel by itself, because channels are exposed independently.
        gain = 1 + (torch.rand(per_channel, generator=generator) * 2 - 1) * jitter
        shift = (torch.rand(per_channel, generator=generator) * 2 - 1) * jitter * 0.5
        power = torch.exp((torch.rand(per_channel, generator=generator) * 2 - 1) * jitter)
        # The sign is kept, so that the curve also holds for z-scored images.
        images = images.sign() * images.abs().pow(power) * gain + shift
    if settings.blur:
        images = _blur(images, settings.blur, generator)
    if settings.noise:
        level = torch.rand((batch, *[1] * (images.ndim - 1)), generator=generator) * settings.noise
        images = images + torch.randn(images.shape, generator=generator) * level
    return images


def _blur(images: Tensor, largest: float, generator: Generator) -> Tensor:
    """Blur about a third of the batch, each image in the plane with its own Gaussian."""
    batch = images.shape[0]
    sigmas = torch.rand(batch, generator=generator) * largest
    chosen = torch.rand(batch, generator=generator) < 1 / 3
    # One size of kernel for all: beyond 2.5 standard deviations little of a Gaussian is left.
    radius = max(1, math.ceil(2.5 * largest))
    at = torch.arange(-radius, radius + 1, dtype=torch.float32)
    result = images.clone()
    for n in range(batch):
        if not chosen[n] or sigmas[n] < 0.2:
            continue
        kernel = torch.exp(-0.5 * (at / sigmas[n]) ** 2)
        kernel /= kernel.sum()
        # (C, Y, X) or (C, Z, Y, X) to (planes, 1, Y, X): each is blurred for itself.
        planes = images[n].reshape(-1, 1, *images.shape[-2:])
        planes = functional.pad(planes, (radius,) * 4, mode="replicate")
        # A Gaussian separates: two passes along one axis each instead of one with a square kernel.
        planes = functional.conv2d(
            functional.conv2d(planes, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1)
        )
        result[n] = planes.reshape(images.shape[1:])
    return result
