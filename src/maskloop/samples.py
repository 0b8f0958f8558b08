"""Simulated microscopy with exact ground truth, for the demo and the tests.

A field of nuclei is rendered as a camera would see it: outlines first (the ground truth), then the
stain and its texture, out-of-focus haze, uneven illumination, the blur of the optics, photon
(Poisson) noise, read noise and the offset of the camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from maskloop.errors import UsageError

__all__ = ["simulate_nuclei", "simulate_pairs", "simulate_tissue"]

MEAN_RADIUS_PX = 10.0
CAMERA_OFFSET = 100.0
READ_NOISE = 4.0
MIN_PIXELS = 9
Z_STEP = 2.0
"""Length of a Z step in pixels of the plane, as is usual in confocal stacks."""


@dataclass(frozen=True)
class _Cell:
    center: NDArray[np.float64]
    radii: NDArray[np.float64]
    turn: NDArray[np.float64]
    brightness: float


def simulate_nuclei(
    *, shape: Sequence[int] = (256, 256), count: int | None = None, seed: int = 0
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Fluorescent nuclei, some of them touching, with their instance labels.

    Parameters
    ----------
    shape
        Lengths along YX or ZYX, in pixels; a Z step is twice as long as a pixel is wide.
    count
        How many nuclei to place if there is room; by default a density that varies with the
        seed.
    seed
        The same seed gives the same field on every machine with the same NumPy.

    Returns
    -------
    image, labels
        Both uint16 of the given shape: camera counts, and instances 1..N.

    Raises
    ------
    UsageError
        If the shape does not have two or three lengths, each at least 1.
    """
    extent = _checked(shape)
    random = np.random.default_rng([seed, 1])
    cells = _place(random, extent, count, MEAN_RADIUS_PX)
    labels, brightness, depth = _draw(random, extent, cells)
    stain = brightness * _dome(depth) * _chromatin(random, extent)
    return _photograph(random, stain, haze=0.12), labels


def simulate_tissue(
    *, shape: Sequence[int] = (256, 256), seed: int = 0
) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Cells with a dim cytoplasm and a bright nucleus, and the class of each pixel.

    Parameters
    ----------
    shape
        Lengths along YX or ZYX, in pixels.
    seed
        The same seed gives the same field on every machine with the same NumPy.

    Returns
    -------
    image, classes
        uint16 camera counts, and uint8 class ids: 0 background, 1 cytoplasm, 2 nucleus.

    Raises
    ------
    UsageError
        If the shape does not have two or three lengths, each at least 1.
    """
    extent = _checked(shape)
    random = np.random.default_rng([seed, 2])
    cells = _place(random, extent, None, 2.2 * MEAN_RADIUS_PX, crowding=2)
    bodies, brightness, depth = _draw(random, extent, cells)
    nuclei = (bodies > 0) & (depth < 0.5)
    classes = (bodies > 0).astype(np.uint8) + nuclei
    cytoplasm = 0.35 * _dome(depth) * (1 + 0.25 * _smooth_noise(random, extent, 1.5))
    stain = brightness * np.where(
        nuclei, 0.45 + 0.55 * _dome(2 * depth) * _chromatin(random, extent), cytoplasm
    )
    return _photograph(random, stain, haze=0.08), classes


def simulate_pairs(
    count: int,
    *,
    kind: Literal["nuclei", "tissue"] = "nuclei",
    shape: Sequence[int] = (256, 256),
    seed: int = 0,
) -> list[tuple[NDArray[np.uint16], NDArray[Any]]]:
    """Several different fields with their ground truth; the same seed gives the same list."""
    # A seed for each place: a longer list begins with the fields of a shorter one.
    seeds = [int(np.random.default_rng([seed, at]).integers(2**31)) for at in range(count)]
    if kind == "tissue":
        return [simulate_tissue(shape=shape, seed=field) for field in seeds]
    return [simulate_nuclei(shape=shape, seed=field) for field in seeds]


def _checked(shape: Sequence[int]) -> tuple[int, ...]:
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise UsageError(
            f"A field of shape {tuple(shape)} cannot be simulated.",
            "Give lengths along YX or ZYX, each at least 1.",
        )
    return tuple(int(length) for length in shape)


def _steps(extent: tuple[int, ...]) -> NDArray[np.float64]:
    return np.array((Z_STEP, 1.0, 1.0)[-len(extent) :])


def _place(
    random: np.random.Generator,
    extent: tuple[int, ...],
    count: int | None,
    radius: float,
    *,
    crowding: float = 1,
) -> list[_Cell]:
    """Centers and sizes in pixels of the plane; about a third touch a neighbor, as in culture."""
    size = np.array(extent) * _steps(extent)
    if count is None:
        # In cells: a square, or a cube, around each.
        room = float(np.prod(size + radius)) / (2 * radius) ** len(extent)
        count = max(1, round(crowding * room * random.uniform(0.12, 0.42)))
    cells: list[_Cell] = []
    centers, radii = np.empty((count, size.size)), np.empty(count)
    # A full field has no room for all that were asked for: the tries are limited.
    for _ in range(12 * count):
        placed = len(cells)
        if placed == count:
            break
        cell = _cell(random, size, cells, radius)
        # Circles may overlap by a fifth: the outlines are then drawn against each other.
        distances = np.linalg.norm(centers[:placed] - cell.center, axis=1)
        gaps = distances - 0.8 * (radii[:placed] + cell.radii.mean())
        if placed == 0 or gaps.min() > 0:
            centers[placed], radii[placed] = cell.center, cell.radii.mean()
            cells.append(cell)
    return cells


def _cell(
    random: np.random.Generator, size: NDArray[np.float64], cells: Sequence[_Cell], radius: float
) -> _Cell:
    dims = size.size
    # Log-normal, as sizes of nuclei are: never negative, and a few large ones.
    mean = radius * float(np.exp(random.normal(0, 0.22)))
    stretch = np.exp(random.normal(0, 0.16, dims))
    # Stretched without changing the volume.
    radii = mean * stretch / np.prod(stretch) ** (1 / dims)
    radii[: dims - 2] *= 0.7  # cells lie flat on the glass
    # Some centers lie outside: real fields cut objects at their border.
    center = random.uniform(-0.3 * mean, size + 0.3 * mean)
    if cells and random.random() < 0.3:
        neighbor = cells[int(random.integers(len(cells)))]
        way = random.normal(size=dims)
        distance = (float(neighbor.radii.mean()) + mean) * random.uniform(0.85, 1.0)
        center = neighbor.center + way / np.linalg.norm(way) * distance
    angle = random.uniform(0, np.pi)
    turn = np.eye(dims)
    # Turned in the plane only: cells lie flat on the glass.
    turn[-2:, -2:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return _Cell(center, radii, turn, brightness=float(np.exp(random.normal(0, 0.3))))


def _draw(
    random: np.random.Generator, extent: tuple[int, ...], cells: Sequence[_Cell]
) -> tuple[NDArray[np.uint16], NDArray[np.float32], NDArray[np.float32]]:
    """Instances 1..N of one piece each, the brightness of each pixel's cell, and its depth.

    The depth says how far out in its cell a pixel lies: 0 at the center, 1 on the outline.
    """
    if not cells:
        return (
            np.zeros(extent, np.uint16),
            np.zeros(extent, np.float32),
            np.ones(extent, np.float32),
        )
    # The outline wobbles in proportion to the cells, or small ones would be torn apart.
    typical = float(np.mean([cell.radii.mean() for cell in cells]))
    wobble = 1 + 0.07 * _smooth_noise(random, extent, 0.6 * typical)
    windows = [_window(cell, extent) for cell in cells]
    depth, owner = np.ones(extent, np.float32), np.zeros(extent, np.int32)
    for number, (cell, window) in enumerate(zip(cells, windows, strict=True), 1):
        out = _distance(window, cell, wobble)
        # Where two cells press against each other, the border lies where both are equally far out.
        closer = out < depth[window]
        depth[window][closer] = out[closer]
        owner[window][closer] = number
    for number, window in enumerate(windows, 1):
        _keep_largest_part(owner[window], number)
    depth[owner == 0] = 1
    # Cells that lie outside the field left no pixel: their numbers are closed up.
    present = np.bincount(owner.reshape(-1), minlength=len(cells) + 1) > 0
    present[0] = False
    brightness = np.array([0.0, *(cell.brightness for cell in cells)], np.float32)
    return (np.cumsum(present) * present).astype(np.uint16)[owner], brightness[owner], depth


def _window(cell: _Cell, extent: tuple[int, ...]) -> tuple[slice, ...]:
    reach = 1.4 * cell.radii.max()  # the wobble of the outline included
    bounds = (
        ((middle - reach) / step, (middle + reach) / step + 2)
        for middle, step in zip(cell.center, _steps(extent), strict=True)
    )
    return tuple(slice(max(0, int(low)), max(0, int(high))) for low, high in bounds)


def _keep_largest_part(owner: NDArray[np.int32], number: int) -> None:
    """Make an object one piece, without crumbs behind a neighbor or slivers at the border."""
    from scipy.ndimage import label

    parts, count = label(owner == number)
    sizes = np.bincount(parts.reshape(-1), minlength=1)
    sizes[0] = 0
    largest = int(sizes.argmax()) if sizes.max() >= MIN_PIXELS else -1
    if count > 1 or largest < 0:
        owner[(parts > 0) & (parts != largest)] = 0


def _distance(
    window: tuple[slice, ...], cell: _Cell, wobble: NDArray[np.float32]
) -> NDArray[np.float32]:
    local, steps = wobble[window], _steps(wobble.shape)
    grids = np.meshgrid(
        *(np.arange(n) + part.start for n, part in zip(local.shape, window, strict=True)),
        indexing="ij",
        sparse=True,
    )
    offsets = [
        grid * step - middle for grid, step, middle in zip(grids, steps, cell.center, strict=True)
    ]
    squared = np.zeros(local.shape, np.float32)
    for row, radius in zip(cell.turn, cell.radii, strict=True):
        along = sum(
            (offset * (weight / radius) for offset, weight in zip(offsets, row, strict=True)),
            np.zeros(()),
        )
        squared = squared + along.astype(np.float32) ** 2
    return np.asarray(np.sqrt(squared) * local, np.float32)


def _dome(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Thickness of a flattened cell: nearly constant inside, thin at the rim."""
    return np.asarray(np.sqrt(np.clip(1 - depth**3, 0, 1)), np.float32)


def _chromatin(random: np.random.Generator, extent: tuple[int, ...]) -> NDArray[np.float32]:
    fine = 0.16 * _smooth_noise(random, extent, 1.2)
    coarse = 0.14 * _smooth_noise(random, extent, 3.0)
    nucleoli = 0.35 * np.clip(_smooth_noise(random, extent, 2.2) - 1.6, 0, 1)
    return np.asarray(np.clip(1 + fine + coarse - nucleoli, 0.2, 2), np.float32)


def _smooth_noise(
    random: np.random.Generator, extent: tuple[int, ...], sigma: float
) -> NDArray[np.float32]:
    """Gaussian noise of mean 0 and deviation 1, smooth over `sigma` pixels of the plane."""
    from scipy.ndimage import gaussian_filter

    noise = random.standard_normal(extent, dtype=np.float32)
    smooth: NDArray[np.float32] = gaussian_filter(
        noise, sigma / _steps(extent), mode="wrap", truncate=3
    )
    return np.asarray((smooth - smooth.mean()) / max(float(smooth.std()), 1e-6), np.float32)


def _photograph(
    random: np.random.Generator, stain: NDArray[Any], *, haze: float
) -> NDArray[np.uint16]:
    """What a camera records of a stain of about 1: optics, light, photons, read noise, offset."""
    from scipy.ndimage import gaussian_filter

    steps = _steps(stain.shape)
    spread = np.where(steps > 1, 2.5, 1.0)  # the optics blur along Z more than in the plane
    blur = random.uniform(0.8, 1.5) * spread / steps
    sharp = gaussian_filter(stain.astype(np.float32), blur, truncate=3)
    unsharp = gaussian_filter(sharp, 12 * spread / steps, truncate=2)
    # From dim to bright, uniform in the logarithm: the noise of each image differs.
    photons = float(np.exp(random.uniform(np.log(80), np.log(1200))))
    background = random.uniform(0.02, 0.1)
    expected = photons * _light(random, stain.shape) * (sharp + haze * unsharp + background)
    # Two counts per photon: the gain of the camera.
    counts = random.poisson(expected) * 2.0 + random.normal(CAMERA_OFFSET, READ_NOISE, stain.shape)
    return np.clip(np.rint(counts), 0, 65535).astype(np.uint16)


def _light(random: np.random.Generator, extent: tuple[int, ...]) -> NDArray[np.float32]:
    """Illumination: brightest near the middle, down to about half in the corners."""
    rows, columns = (
        np.linspace(-1, 1, length, dtype=np.float32) - random.uniform(-0.4, 0.4)
        for length in extent[-2:]
    )
    fall = random.uniform(0.1, 0.35)
    return np.asarray(np.exp(-fall * (rows[:, None] ** 2 + columns[None, :] ** 2)), np.float32)
