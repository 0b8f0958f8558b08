"""Near-duplicates of an image, found however it was flipped, turned, resized or brightened.

Copies of one image must not lie on both sides of a split: the validation score would praise memory. The hash holds the
signs of the 255 lowest cosine coefficients of the image, stretched to a square [1]_. Brightness and contrast leave these
signs alone; a flip changes the signs of the odd ones and a quarter turn exchanges rows and columns, so the eight ways to
lay a picture down come out of one hash, without the pixels.

.. [1] Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010 (the DCT hash).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop.images.axes import reorder
from maskloop.images.image import Image

__all__ = ["MAX_DISTANCE", "find_near_duplicates", "hash_distances", "perceptual_hash"]

SIDE = 16
HASH_DIGITS = SIDE * SIDE // 4
MAX_DISTANCE = 64
"""Hashes that differ in at most so many of 255 bits are of one image. Chosen on bbbc039, isbi2012_em, ctc_dic_c2dh_hela and
usiigaci_t98g: altered copies differ in fewer than 55, images of different places in more than 75; see benchmarks/near_duplicates.py."""
MAX_PLANES = 8


def perceptual_hash(image: Image) -> str:
    """What an image looks like, as 64 hexadecimal digits; alike for copies that were flipped, turned, resized or brightened.

    Parameters
    ----------
    image
        Channels are averaged; of a film the central frame counts, of a stack the mean of up to eight planes, so that a
        long lazy stack is not read whole. Pixels that are not finite count as the mean.

    Returns
    -------
    str
        Signs of the 16 x 16 lowest cosine coefficients, row by row, the first (the mean) always 0. A constant image gives zeros.
    """
    plane = _plane(image)
    rows, columns = (_cosines(length) for length in plane.shape)
    coefficients = rows @ plane @ columns.T
    # Rounding must not decide the signs of a constant image.
    bits = coefficients > 1e-6 * float(np.abs(plane).max())
    bits[0, 0] = False
    return np.packbits(bits).tobytes().hex()


def find_near_duplicates(new: str, known: Sequence[str], *, max_distance: int = MAX_DISTANCE) -> list[int]:
    """Where in `known` the hashes of the same image are, nearest first.

    Parameters
    ----------
    new
        Hash of the image in question.
    known
        Hashes to compare with; an empty one (an image that was never hashed) matches nothing.
    max_distance
        Largest number of differing bits, of 255.
    """
    distances = hash_distances(new, known)
    near = np.flatnonzero(distances <= max_distance)
    return [int(at) for at in near[np.argsort(distances[near], kind="stable")]]


def hash_distances(new: str, known: Sequence[str]) -> NDArray[np.int64]:
    """Number of differing bits to each known hash, over the way of laying the picture down (or inverting it) that fits best.

    Returns
    -------
    ndarray
        Shape ``(len(known),)``, int64, 0 to 128; 256 where either hash is empty or of another kind.
    """
    distances = np.full(len(known), 4 * HASH_DIGITS, np.int64)
    usable = [at for at, text in enumerate(known) if len(text) == HASH_DIGITS]
    if not usable or len(new) != HASH_DIGITS:
        return distances
    ours = np.stack([turned.reshape(-1) for turned in _orientations(_signs([new])[0])])
    agreement = ours @ _signs([known[at] for at in usable]).reshape(len(usable), -1).T
    # An inverted picture (bright on dark, dark on bright) has every sign changed: the strength of the agreement counts.
    distances[usable] = np.rint((SIDE * SIDE - 1 - np.abs(agreement).max(axis=0)) / 2).astype(np.int64)
    return distances


def _signs(hashes: Sequence[str]) -> NDArray[np.float32]:
    packed = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8)
    signs = np.unpackbits(packed).astype(np.float32).reshape(-1, SIDE, SIDE) * 2 - 1
    signs[:, 0, 0] = 0
    return signs


def _orientations(signs: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    straight = np.ones(SIDE, np.float32)
    mirrored = np.where(np.arange(SIDE) % 2, -1, 1).astype(np.float32)
    for view in (signs, signs.T):
        for rows in (straight, mirrored):
            for columns in (straight, mirrored):
                yield view * rows[:, None] * columns


def _cosines(length: int) -> NDArray[np.float32]:
    """Integrals of the cosines over each pixel, shape (16, length): exact at any size, so resizing hardly matters."""
    edges = np.linspace(0, np.pi, length + 1)
    order = np.arange(SIDE)[:, None]
    waves = np.diff(np.sin(order * edges), axis=1) / np.maximum(order, 1)
    waves[0] = np.pi / length
    return waves.astype(np.float32)


def _plane(image: Image) -> NDArray[np.float32]:
    fixed = {"T": image.sizes["T"] // 2} if "T" in image.axes else {}
    depth = image.sizes.get("Z", 1)
    heights = np.unique(np.linspace(0, depth - 1, min(depth, MAX_PLANES)).round().astype(int)) if "Z" in image.axes else [None]
    planes = [_luminance(image, fixed if height is None else {**fixed, "Z": int(height)}) for height in heights]
    plane: NDArray[np.float32] = np.mean(planes, axis=0, dtype=np.float32)
    plane -= plane.mean(dtype=np.float64)
    return plane


def _luminance(image: Image, index: dict[str, int]) -> NDArray[np.float32]:
    piece = np.asarray(image.data[tuple(index.get(letter, slice(None)) for letter in image.axes)])
    left = "".join(letter for letter in image.axes if letter not in index)
    pixels: NDArray[Any] = reorder(piece, left, "CYX")
    plane = pixels.mean(axis=0, dtype=np.float32)
    finite = np.isfinite(plane)
    return plane if finite.all() else np.where(finite, plane, plane[finite].mean() if finite.any() else 0).astype(np.float32)
