"""Recall and false alarms of the near-duplicate finder on real images and their altered copies.

The threshold was chosen on the first four data sets; dsb2018 and the last two were looked at
afterwards. Run: ``python benchmarks/near_duplicates.py [--data DIR]``.
"""

from __future__ import annotations

import argparse
import io
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image as Picture
from scipy.ndimage import gaussian_filter

from maskloop.images.image import Image
from maskloop.images.similarity import (
    MAX_DISTANCE,
    MIN_SHARED,
    count_shared_landmarks,
    find_near_duplicates,
    hash_distances,
    perceptual_hash,
)

CHOSEN_ON = ("bbbc039", "isbi2012_em", "ctc_dic_c2dh_hela", "usiigaci_t98g")
REPORTED_ON = ("dsb2018", "kumar_he_nuclei", "wbc_zheng2018")
Pixels = NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    data: Path = parser.parse_args().data
    for name in (*CHOSEN_ON, *REPORTED_ON):
        images = read_images(data / name)
        if images:
            report(name, images)
    report_time()


def read_images(folder: Path) -> dict[str, Pixels]:
    return {
        path.stem: to_8_bits(tifffile.imread(path))
        for path in sorted((folder / "images").glob("*.tif"))
    }


def to_8_bits(pixels: NDArray[Any]) -> Pixels:
    low, high = float(pixels.min()), float(pixels.max())
    return ((pixels.astype(np.float32) - low) * (255 / max(high - low, 1))).astype(np.uint8)


def hash_of(pixels: Pixels) -> str:
    return perceptual_hash(Image(pixels, "YX" if pixels.ndim == 2 else "YXC"))


def report(name: str, images: dict[str, Pixels]) -> None:
    names, hashes = list(images), [hash_of(pixels) for pixels in images.values()]
    print(
        f"\n## {name}: {len(names)} images, at most {MAX_DISTANCE} of 255 bits or at least "
        f"{MIN_SHARED} landmarks\n"
    )
    print(
        "| altered copy | found | false alarms | found by the whole | bits: median, worst | by "
        "landmarks |\n|---|---|---|---|---|---|"
    )
    random = np.random.default_rng(0)
    copies: dict[str, list[str]] = defaultdict(list)
    for pixels in images.values():
        for alteration, copy in altered(pixels, random):
            copies[alteration].append(hash_of(copy))
    for alteration, altered_hashes in copies.items():
        bits = np.array([hash_distances(one, hashes) for one in altered_hashes])
        whole = bits <= MAX_DISTANCE
        landmarks = (
            np.array([count_shared_landmarks(one, hashes) for one in altered_hashes]) >= MIN_SHARED
        )
        either, own = whole | landmarks, np.diag(bits)
        alarms = int(either.sum() - np.trace(either))
        shares = [f"{np.diag(found).mean():.1%}" for found in (either, whole, landmarks)]
        print(
            f"| {alteration} | {shares[0]} | {alarms} | {shares[1]} | {np.median(own):.0f}, "
            f"{own.max()} | {shares[2]} |"
        )
    report_distinct(names, hashes)


def report_distinct(names: list[str], hashes: list[str]) -> None:
    bits = np.array([hash_distances(one, hashes) for one in hashes])
    shared = np.array([count_shared_landmarks(one, hashes) for one in hashes])
    rows, columns = np.triu_indices(len(hashes), 1)
    bits, shared = bits[rows, columns], shared[rows, columns]
    near = int(((bits <= MAX_DISTANCE) | (shared >= MIN_SHARED)).sum())
    print(
        f"\nPairs of different files: {len(rows)}, taken for one image: {near}; pairs by shared "
        f"landmarks: {np.bincount(shared)}. Nearest:"
    )
    for at in np.lexsort((bits, shared < MIN_SHARED))[: max(3, near)]:
        print(
            f"- {names[rows[at]]} and {names[columns[at]]}: {bits[at]} bits, {shared[at]} landmarks"
        )


def altered(pixels: Pixels, random: np.random.Generator) -> Iterator[tuple[str, Pixels]]:
    bright = pixels.astype(np.float32)
    yield "flip", pixels[:, ::-1]
    yield "rotate by 90", np.rot90(pixels)
    yield "transpose", pixels.swapaxes(0, 1)
    for factor in (0.5, 0.7, 1.4, 2.0):
        yield f"resize x{factor}", resize(pixels, factor)
    yield "brightness +30", clip(bright + 30)
    yield "contrast x0.5", clip(bright * 0.5)
    yield "contrast x1.5", clip(bright * 1.5)
    for gamma in (0.5, 2.0):
        yield f"gamma {gamma}", clip(255 * (bright / 255) ** gamma)
    yield "inverted", 255 - pixels
    for amount in (0.2, 0.5):
        yield (
            f"noise of {amount} standard deviations",
            clip(bright + random.normal(0, amount * bright.std(), bright.shape)),
        )
    for quality in (50, 20):
        yield f"JPEG quality {quality}", jpeg(pixels, quality)
    yield "blur of 2 pixels", gaussian_filter(pixels, (2, 2) + (0,) * (pixels.ndim - 2))
    yield (
        "flip, turn, x0.7, brighter, JPEG 70",
        jpeg(resize(np.rot90(clip(bright * 1.3 + 10)[:, ::-1]), 0.7), 70),
    )
    for share in (0.98, 0.9, 0.75, 0.5):
        yield f"crop to {share:.0%} of each side", crop(pixels, share, random)


def clip(pixels: NDArray[np.float32] | NDArray[np.float64]) -> Pixels:
    return np.clip(pixels, 0, 255).astype(np.uint8)


def resize(pixels: Pixels, factor: float) -> Pixels:
    size = (round(pixels.shape[1] * factor), round(pixels.shape[0] * factor))
    return np.asarray(
        Picture.fromarray(np.ascontiguousarray(pixels)).resize(size, Picture.Resampling.BILINEAR)
    )


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    file = io.BytesIO()
    Picture.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=quality)
    return np.asarray(Picture.open(file))


def crop(pixels: Pixels, share: float, random: np.random.Generator) -> Pixels:
    height, width = (round(length * share) for length in pixels.shape[:2])
    top, left = (
        int(random.integers(whole - part + 1))
        for whole, part in zip(pixels.shape[:2], (height, width), strict=True)
    )
    return pixels[top : top + height, left : left + width]


def report_time() -> None:
    random = np.random.default_rng(0)
    known = [random.bytes(32 + 4 * 32).hex() for _ in range(10_000)]
    picture = random.integers(0, 255, (1024, 1024)).astype(np.uint8)
    print(f"\nHash of 1024 x 1024: {best_ms(lambda: hash_of(picture)):.1f} ms; ", end="")
    print(
        "comparison with 10,000 hashes: "
        f"{best_ms(lambda: find_near_duplicates(known[0], known)):.1f} ms"
    )


def best_ms(call: Any) -> float:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


if __name__ == "__main__":
    main()
