"""Small pictures of pairs with the outline of their mask, kept in the project's cache."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop.errors import MaskloopError
from maskloop.images.axes import reorder
from maskloop.images.display import middle_plane
from maskloop.images.image import Image
from maskloop.project.layout import Pair
from maskloop.project.project import ProjectFolder
from maskloop.records import write_bytes

__all__ = ["SIZE_PX", "thumbnail"]

SIZE_PX = 112
"""Twice the size on an ordinary screen, all of it on a high-resolution one."""
FOLDER = "cache/thumbnails"
TINT = (255, 196, 0)
STRENGTH = 0.6
PERCENTILES = (1.0, 99.8)
COLOURS = 3


def thumbnail(project: ProjectFolder, pair: Pair) -> NDArray[np.uint8]:
    """A picture of a pair, read from the cache or made.

    Returns
    -------
    picture
        uint8, YXC (red, green, blue), the longest side `SIZE_PX`.

    Raises
    ------
    MaskloopError
        If the files of the pair cannot be read.
    """
    # Named by what it shows: a replaced mask has another name, so no picture is ever stale.
    file = (
        project.folder
        / FOLDER
        / f"{pair.pair_id}_{pair.image_sha256[:8]}{pair.mask_sha256[:8]}_{SIZE_PX}.png"
    )
    with contextlib.suppress(OSError, ValueError):
        return _decode(file.read_bytes())
    picture = _draw(project.dataset.read_image(pair), project.dataset.read_mask(pair))
    with contextlib.suppress(OSError, MaskloopError):
        # The cache may be deleted at any time, and a read-only project has none.
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, _encode(picture))
    return picture


def _draw(image: Image, labels: Image) -> NDArray[np.uint8]:
    # Every step-th pixel: averages would need all pixels of a plane that is opened lazily.
    step = max(1, -(-max(image.sizes["Y"], image.sizes["X"]) // SIZE_PX))
    pixels = _plane(image, step, "CYX")
    colours = pixels[:COLOURS] if len(pixels) >= COLOURS else np.repeat(pixels[:1], COLOURS, axis=0)
    # Camera colours are shown as they are; each stain is stretched between its own limits.
    is_photograph = len(pixels) == COLOURS and pixels.dtype == np.uint8
    picture = np.stack(
        [channel if is_photograph else _stretch(channel.astype(np.float32)) for channel in colours],
        axis=-1,
    )
    edge = _outline(_plane(labels, step, "YX"))
    picture[edge] = (picture[edge] * (1 - STRENGTH) + np.array(TINT) * STRENGTH).astype(np.uint8)
    return picture


def _plane(image: Image, step: int, axes: str) -> NDArray[Any]:
    """The middle plane in this order of axes, every `step`-th row and column."""
    return reorder(
        np.asarray(image.data[middle_plane(image, step)]),
        "".join(letter for letter in image.axes if letter in "CYX"),
        axes,
    )


def _stretch(channel: NDArray[np.float32]) -> NDArray[np.uint8]:
    finite = channel[np.isfinite(channel)]
    if finite.size == 0:
        return np.zeros(channel.shape, np.uint8)
    low, high = (float(value) for value in np.percentile(finite, PERCENTILES))
    scaled = (np.nan_to_num(channel, nan=low, posinf=high, neginf=low) - low) / max(
        high - low, 1e-12
    )
    grey: NDArray[np.uint8] = (np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    return grey


def _outline(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels of an object whose right or lower neighbour is of another one."""
    edge: NDArray[np.bool_] = np.zeros(labels.shape, bool)
    edge[:-1] |= labels[:-1] != labels[1:]
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    return edge & (labels > 0)


def _encode(picture: NDArray[np.uint8]) -> bytes:
    from PIL import Image as Pillow

    file = io.BytesIO()
    Pillow.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def _decode(content: bytes) -> NDArray[np.uint8]:
    from PIL import Image as Pillow

    # PNG alone: a file put into the cache by a stranger must not reach Pillow's other decoders.
    with Pillow.open(io.BytesIO(content), formats=("PNG",)) as picture:
        pixels: NDArray[np.uint8] = np.asarray(picture.convert("RGB"))
    return pixels
