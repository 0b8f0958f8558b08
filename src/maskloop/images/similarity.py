"""Near-duplicates of an image, however it was flipped, rotated, resized, brightened or cropped.

Copies of one image must not lie on both sides of a split: the validation score would praise memory.
The hash has two parts.

- The whole: signs of the 255 lowest cosine coefficients of the image, stretched to a square [1]_.
  Brightness and contrast leave these signs alone; a flip changes the signs of the odd ones and a
  quarter turn exchanges rows and columns, so all eight orientations follow from one hash, without
  the pixels.
- The landmarks: the 32 strongest spots, each as 32 signs of the cosine coefficients around it,
  oriented so that its gradient points one way. A crop keeps those of its part, and tiles that
  overlap share those of the overlap. They survive flips, quarter turns, brightness and slight
  noise, not resizing.

.. [1] Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010 (the DCT
   hash).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop.images.axes import reorder
from maskloop.images.image import Image

__all__ = [
    "MAX_DISTANCE",
    "MIN_SHARED",
    "count_shared_landmarks",
    "find_near_duplicates",
    "find_near_duplicates_among",
    "hash_distances",
    "perceptual_hash",
]

SIDE = 16
HASH_DIGITS = SIDE * SIDE // 4
MAX_DISTANCE = 56
"""Hashes that differ in at most so many of 255 bits are of one image.

Chosen on bbbc039, isbi2012_em, ctc_dic_c2dh_hela and usiigaci_t98g, where altered copies differ in
at most 51 and only neighboring slices and frames in fewer than 70; on the images of dsb2018 the
copies differ in at most 37 and the images in at least 86. See benchmarks/near_duplicates.py.
"""
MAX_PLANES = 8
LANDMARKS = 32
LANDMARK_DIGITS = 8
MIN_SHARED = 3
"""Images with so many landmarks in common overlap. One in a hundred pairs of dsb2018 shares one
by chance, none shares two.
"""
BLOCK = 256
"""So many hashes are compared with all others at a time: a matter of memory."""
MAX_SHARERS = 64
REACH = 20
"""Pixels around a landmark that describe it."""
APART = 10
"""Pixels between two landmarks, at least."""
MAX_SIDE = 2048
"""Landmarks are sought in the middle of larger images, or hashing would take longer than
everything else.
"""


def perceptual_hash(image: Image) -> str:
    """What an image looks like, in hexadecimal digits that near-duplicates largely share.

    Parameters
    ----------
    image
        Channels are averaged; of a film the central frame counts, of a stack the mean of up to
        eight planes, so that a long lazy stack is not read whole. Pixels that are not finite count
        as the mean.

    Returns
    -------
    str
        64 digits for the whole: the signs of the 16 x 16 lowest cosine coefficients, row by row,
        the first (the mean) always 0; zeros for a constant image. Then 8 digits for each landmark,
        at most 32 of them.
    """
    plane = _plane(image)
    rows, columns = (_cosines(length, SIDE) for length in plane.shape)
    coefficients = rows @ plane @ columns.T
    # Rounding must not decide the signs of a constant image.
    bits = coefficients > 1e-6 * float(np.abs(plane).max())
    # The mean brightness is no feature of what is seen.
    bits[0, 0] = False
    return np.packbits(bits).tobytes().hex() + _landmarks(plane)


def find_near_duplicates(
    new: str,
    known: Sequence[str],
    *,
    max_distance: int = MAX_DISTANCE,
    min_shared: int = MIN_SHARED,
) -> list[int]:
    """Where in `known` the hashes of the same image are, or of crops of it; nearest first.

    Parameters
    ----------
    new
        Hash of the image in question.
    known
        Hashes to compare with; an empty one (an image that was never hashed) matches nothing.
    max_distance
        Largest number of differing bits, of 255, for the whole.
    min_shared
        Smallest number of landmarks in common.
    """
    distances = hash_distances(new, known)
    near = np.flatnonzero(
        (distances <= max_distance) | (count_shared_landmarks(new, known) >= min_shared)
    )
    return [int(at) for at in near[np.argsort(distances[near], kind="stable")]]


def find_near_duplicates_among(hashes: Sequence[str], *, since: int = 0) -> dict[int, list[int]]:
    """For many hashes at once, what `find_near_duplicates` finds for each among the others.

    Parameters
    ----------
    hashes
        Hashes; an empty one matches nothing.
    since
        Only pairs of hashes of which one stands here or later: the others were compared before.

    Returns
    -------
    near
        Places of the near-duplicates of each place that has any, ascending, both ways.
    """
    # Images that were never hashed have an empty text, and match nothing.
    usable = np.array(
        [at for at, text in enumerate(hashes) if len(text) >= HASH_DIGITS], dtype=np.int64
    )
    found: set[tuple[int, int]] = set()
    if len(usable):
        signs = _signs([hashes[at] for at in usable])
        flat = np.ascontiguousarray(signs.reshape(len(usable), -1).T)
        first = int(np.searchsorted(usable, since))
        for start in range(first, len(usable), BLOCK):
            for ours, theirs in _alike(signs[start : start + BLOCK], flat[:, : start + BLOCK]):
                found.add((int(usable[start + ours]), int(usable[theirs])))
    found |= _overlapping(hashes, since)
    near: dict[int, list[int]] = {}
    both_ways = {*found, *((other, one) for one, other in found)}
    for one, other in sorted(both_ways):
        if one != other:
            near.setdefault(one, []).append(other)
    return near


def _alike(signs: NDArray[np.float32], known: NDArray[np.float32]) -> Iterator[tuple[int, int]]:
    """Rows of `signs` and columns of `known` that are near each other in any orientation."""
    is_near = np.zeros((len(signs), known.shape[1]), bool)
    for view in _orientations(signs):
        is_near |= (
            np.abs(view.reshape(len(signs), -1) @ known) >= SIDE * SIDE - 1 - 2 * MAX_DISTANCE
        )
    for ours, theirs in np.argwhere(is_near):
        yield int(ours), int(theirs)


def _overlapping(hashes: Sequence[str], since: int) -> set[tuple[int, int]]:
    """Places of hashes that share enough landmarks."""
    # Of a landmark that very many share only owners next to each other are compared: all pairs
    # would take quadratic time, and such a landmark tells nothing.
    landmarks, owners = _landmarks_of(hashes), _owners(hashes)
    order = np.lexsort((owners, landmarks))
    landmarks, owners = landmarks[order], owners[order]
    shared = []
    for step in range(1, MAX_SHARERS):
        is_same = landmarks[step:] == landmarks[:-step]
        if not is_same.any():
            break
        one, other = owners[:-step][is_same], owners[step:][is_same]
        is_new = (other >= since) & (one != other)
        shared.append(one[is_new] * len(hashes) + other[is_new])
    pairs, counts = np.unique(np.concatenate([*shared, np.empty(0, np.int64)]), return_counts=True)
    return {divmod(int(pair), len(hashes)) for pair in pairs[counts >= MIN_SHARED]}


def _owners(hashes: Sequence[str]) -> NDArray[np.int64]:
    """Which hash each landmark is of."""
    return np.repeat(
        np.arange(len(hashes)),
        [max(0, len(text) - HASH_DIGITS) // LANDMARK_DIGITS for text in hashes],
    )


def count_shared_landmarks(new: str, known: Sequence[str]) -> NDArray[np.int64]:
    """Number of landmarks in common with each known hash, int64 of shape ``(len(known),)``."""
    ours = _landmarks_of([new])
    theirs = _landmarks_of(known)
    return np.bincount(_owners(known)[np.isin(theirs, ours)], minlength=len(known)).astype(np.int64)


def _landmarks_of(hashes: Sequence[str]) -> NDArray[np.uint32]:
    digits = "".join(text[HASH_DIGITS : len(text) - len(text) % LANDMARK_DIGITS] for text in hashes)
    return np.frombuffer(bytes.fromhex(digits), ">u4").astype(np.uint32)


def hash_distances(new: str, known: Sequence[str]) -> NDArray[np.int64]:
    """Number of bits in which each known hash differs, in the orientation that fits best.

    Returns
    -------
    ndarray
        Shape ``(len(known),)``, int64, 0 to 128; 256 where either hash is empty or cut short.
    """
    distances = np.full(len(known), 4 * HASH_DIGITS, np.int64)
    usable = [at for at, text in enumerate(known) if len(text) >= HASH_DIGITS]
    if not usable or len(new) < HASH_DIGITS:
        return distances
    ours = np.stack([turned.reshape(-1) for turned in _orientations(_signs([new])[0])])
    agreement = ours @ _signs([known[at] for at in usable]).reshape(len(usable), -1).T
    # An inverted picture (bright on dark, dark on bright) has every sign changed: the strength of
    # the agreement counts.
    distances[usable] = np.rint((SIDE * SIDE - 1 - np.abs(agreement).max(axis=0)) / 2).astype(
        np.int64
    )
    return distances


def _signs(hashes: Sequence[str]) -> NDArray[np.float32]:
    packed = np.frombuffer(bytes.fromhex("".join(text[:HASH_DIGITS] for text in hashes)), np.uint8)
    signs = np.unpackbits(packed).astype(np.float32).reshape(-1, SIDE, SIDE) * 2 - 1
    # The constant bit takes no part in the comparison.
    signs[:, 0, 0] = 0
    return signs


def _orientations(signs: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    straight = np.ones(SIDE, np.float32)
    mirrored = np.where(np.arange(SIDE) % 2, -1, 1).astype(np.float32)
    for view in (signs, np.swapaxes(signs, -1, -2)):
        for rows in (straight, mirrored):
            for columns in (straight, mirrored):
                yield view * rows[:, None] * columns


def _cosines(length: int, count: int) -> NDArray[np.float32]:
    """Integrals of the cosines over each pixel, shape (count, length)."""
    # Integrals, unlike samples, are exact at any size: resizing hardly matters.
    edges = np.linspace(0, np.pi, length + 1)
    order = np.arange(count)[:, None]
    waves = np.diff(np.sin(order * edges), axis=1) / np.maximum(order, 1)
    waves[0] = np.pi / length
    return waves.astype(np.float32)


def _landmarks(plane: NDArray[np.float32]) -> str:
    if min(plane.shape) <= 2 * REACH:
        return ""
    from scipy.ndimage import uniform_filter

    # A window in the center, at full resolution: resizing would move the landmarks.
    middle = plane[
        tuple(
            slice(max(0, (length - MAX_SIDE) // 2), (length + MAX_SIDE) // 2)
            for length in plane.shape
        )
    ]
    smooth = uniform_filter(uniform_filter(middle, 5), 5)
    strength = np.abs(smooth - uniform_filter(uniform_filter(middle, 13), 13))
    found = {
        _describe(smooth[row - REACH : row + REACH + 1, column - REACH : column + REACH + 1])
        for row, column in _peaks(strength)
    }
    return "".join(sorted(found))


def _peaks(strength: NDArray[np.float32]) -> list[tuple[int, int]]:
    from scipy.ndimage import maximum_filter

    inner = (slice(REACH, -REACH),) * 2
    # A landmark is the strongest pixel of its neighborhood.
    is_peak = strength == maximum_filter(strength, 2 * APART + 1)
    rows, columns = np.nonzero(is_peak[inner] & (strength[inner] > 1e-6 * float(strength.max())))
    strongest = np.argsort(-strength[inner][rows, columns], kind="stable")[:LANDMARKS]
    return [
        (int(row) + REACH, int(column) + REACH)
        for row, column in zip(rows[strongest], columns[strongest], strict=True)
    ]


def _describe(window: NDArray[np.float32]) -> str:
    """Signs of 32 coefficients, in the orientation in which the gradient points one way."""
    waves = _cosines(2 * REACH + 1, 8)
    coefficients = waves @ (window - window.mean()) @ waves.T
    # Exchanging and mirroring the axes of the coefficients does so with the pixels.
    if abs(coefficients[0, 1]) < abs(coefficients[1, 0]):
        coefficients = coefficients.T
    mirrored = np.where(np.arange(len(waves)) % 2, -1, 1)
    if coefficients[0, 1] < 0:
        coefficients = coefficients * mirrored
    if coefficients[1, 0] < 0:
        coefficients = coefficients * mirrored[:, None]
    # The lowest coefficients are alike for all blobs.
    return np.packbits(coefficients[2:, 2:].reshape(-1)[: 4 * LANDMARK_DIGITS] > 0).tobytes().hex()


def _plane(image: Image) -> NDArray[np.float32]:
    # Copies of one film share its central frame, whatever is cut off at the ends.
    fixed = {"T": image.sizes["T"] // 2} if "T" in image.axes else {}
    depth = image.sizes.get("Z", 1)
    places = [fixed]
    if "Z" in image.axes:
        heights = np.unique(np.linspace(0, depth - 1, min(depth, MAX_PLANES)).round().astype(int))
        places = [{**fixed, "Z": int(height)} for height in heights]
    planes = [_luminance(image, place) for place in places]
    plane: NDArray[np.float32] = np.mean(planes, axis=0, dtype=np.float32)
    plane -= plane.mean(dtype=np.float64)
    return plane


def _luminance(image: Image, index: dict[str, int]) -> NDArray[np.float32]:
    piece = np.asarray(image.data[tuple(index.get(letter, slice(None)) for letter in image.axes)])
    left = "".join(letter for letter in image.axes if letter not in index)
    pixels: NDArray[Any] = reorder(piece, left, "CYX")
    plane: NDArray[np.float32] = pixels.mean(axis=0, dtype=np.float32)
    finite = np.isfinite(plane)
    if not finite.all():
        plane[~finite] = plane[finite].mean() if finite.any() else 0
    return plane
