"""Compare maps and seeds: which bring objects back best when a network draws the maps imperfectly.

Run ``python benchmarks/instance_representations.py DATA``, where DATA holds folders with
``masks/*.tif`` of instances (about six minutes). Each mask is encoded in several ways, spoilt as a
network would (blurred, dimmed unevenly, with correlated noise), decoded in several ways and
compared with the mask: average precision TP / (TP + FP + FN) at an overlap of 0.5 and 0.75, mean
over images, then over data sets. "clean" is without spoiling.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

FOLDERS = {
    "dsb2018": 6,
    "bbbc039": 2,
    "ctc_dic_c2dh_hela": 2,
    "usiigaci_t98g": 2,
    "stardist_samples": 2,
    "kumar_he_nuclei": 2,
    "plantseg_nuclei_3d": 1,
    "plantseg_ovule_3d": 1,
}
Maps = NDArray[np.float32]
Labels = NDArray[np.int32]


def encode(labels: Labels, centre: str, reach: str) -> Maps:
    """Foreground, nearness to the centre, distance to the boundary.

    `centre` is the centre of mass (nearest pixel of the object) or the deepest point; `reach`,
    where nearness becomes 0: at the farthest pixel of the object, or at the object's inscribed
    radius.
    """
    maps = np.zeros((3, *labels.shape), np.float32)
    maps[0] = labels > 0
    for label, tight in enumerate(ndimage.find_objects(labels), 1):
        if tight is None:
            continue
        box = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in tight)
        mask = labels[box] == label
        depth = np.ones(mask.shape) if mask.all() else ndimage.distance_transform_edt(mask)
        points = np.argwhere(mask)
        wanted = points if centre == "mass" else points[depth[mask] >= 0.9 * depth.max()]
        middle = wanted[((wanted - points.mean(axis=0)) ** 2).sum(axis=1).argmin()]
        distance = np.sqrt(((points - middle) ** 2).sum(axis=1))
        radius = max(distance.max(), 1e-6) if reach == "farthest" else depth[tuple(middle)]
        maps[1][box][mask] = np.clip(1 - distance / radius, 0, 1)
        maps[2][box][mask] = depth[mask] / depth.max()
    return maps


def spoil(maps: Maps, blur: float, noise: float, seed: int) -> Maps:
    """Blur, dim the inner maps unevenly and add noise that neighbours share."""
    random = np.random.default_rng(seed)
    result = np.stack([ndimage.gaussian_filter(one, blur) for one in maps])
    for channel in range(3):
        grain = ndimage.gaussian_filter(random.standard_normal(maps.shape[1:]), 2)
        result[channel] += noise * grain / grain.std()
        if channel:
            shade = ndimage.gaussian_filter(
                random.standard_normal(maps.shape[1:]), 20 if maps.ndim == 3 else 8
            )
            result[channel] *= 0.85 + 0.1 * np.clip(shade / shade.std(), -1.5, 1.5)
    return np.clip(result, 0, 1)


SEEDS: dict[str, Callable[[Maps], Any]] = {
    "centre": lambda maps: maps[1],
    "mean": lambda maps: (maps[1] + maps[2]) / 2,
    "product": lambda maps: np.sqrt(maps[1] * maps[2]),
}


def decode(
    maps: Maps, seeds: str, threshold: float, peak: float, smooth: float, rest: str, typical: float
) -> Labels:
    """Seeds above the threshold that reach the peak, grown in the foreground by distance.

    `smooth` blurs the seed map by this share of the typical diameter; `rest` says whether
    foreground without any seed is kept as objects.
    """
    foreground = maps[0] > 0.5
    faces = 4 if foreground.ndim == 2 else 6
    diameter = (
        2 * (typical / np.pi) ** 0.5 if foreground.ndim == 2 else (6 * typical / np.pi) ** (1 / 3)
    )
    chosen = (
        ndimage.gaussian_filter(SEEDS[seeds](maps), smooth * diameter)
        if smooth
        else SEEDS[seeds](maps)
    )
    markers = cc3d.connected_components(
        foreground & (chosen > threshold), connectivity=faces
    ).astype(np.int32)
    tallest = np.zeros(int(markers.max()) + 1)
    np.maximum.at(tallest, markers[markers > 0], chosen[markers > 0])
    markers *= tallest[markers] >= peak
    labels = watershed(-maps[2], markers, mask=foreground).astype(np.int32)
    if rest == "kept":
        left = cc3d.connected_components(foreground & (labels == 0), connectivity=faces).astype(
            np.int32
        )
        labels[left > 0] = left[left > 0] + labels.max()
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    kept = sizes >= max(1, 0.1 * typical)
    return np.where(kept, np.cumsum(kept) * kept, 0).astype(np.int32)[labels]


def average_precision(truth: Labels, found: Labels, overlap: float) -> float:
    """TP / (TP + FP + FN) at an IoU above `overlap`."""
    rows, columns = int(truth.max()) + 1, int(found.max()) + 1
    shared = np.bincount(
        truth.ravel().astype(np.int64) * columns + found.ravel(), minlength=rows * columns
    ).reshape(rows, columns)
    union = shared.sum(axis=1, keepdims=True) + shared.sum(axis=0, keepdims=True) - shared
    hits = int(((shared / np.maximum(union, 1))[1:, 1:] > overlap).sum())
    return hits / max(1, rows + columns - 2 - hits)


def main(folder: Path) -> None:
    encodings = {
        "mass, farthest": ("mass", "farthest"),
        "deepest, farthest": ("deepest", "farthest"),
        "deepest, inscribed": ("deepest", "inscribed"),
    }
    masks = {
        name: sorted((folder / name / "masks").glob("*.tif"))[:count]
        for name, count in FOLDERS.items()
    }
    conditions = {
        "clean": (0.0, 0.0),
        "blur 1, noise .1": (1.0, 0.1),
        "blur 1.5, noise .15": (1.5, 0.15),
    }
    decoders = list(product(SEEDS, (0.3, 0.4, 0.5), (0.0, 0.6), (0.0, 0.05), ("kept", "dropped")))
    results: dict[tuple[Any, ...], dict[tuple[str, str], list[float]]] = {}
    for name, paths in masks.items():
        for path in paths:
            raw = tifffile.imread(path)
            truth = np.unique(raw, return_inverse=True)[1].reshape(raw.shape).astype(np.int32)
            typical = float(np.median(np.bincount(truth.ravel())[1:])) if truth.max() else 0.0
            for encoding, choice in encodings.items():
                clean = encode(truth, *choice)
                for condition, (blur, noise) in conditions.items():
                    maps = spoil(clean, blur, noise, seed=0) if noise else clean
                    for decoder in decoders:
                        found = decode(maps, *decoder, typical)
                        score = float(
                            np.mean(
                                [
                                    average_precision(truth, found, overlap)
                                    for overlap in (0.5, 0.75)
                                ]
                            )
                        )
                        results.setdefault((encoding, *decoder), {}).setdefault(
                            (name, condition), []
                        ).append(score)
        print(f"{name} done", file=sys.stderr)
    table = {
        key: [
            float(np.mean([np.mean(values[name, condition]) for name in masks]))
            for condition in conditions
        ]
        for key, values in results.items()
    }
    print(f"{'maps':20} {'seeds':9} above peak smooth rest     " + "  ".join(conditions))
    ranked = sorted(table, key=lambda key: -sum(table[key]))
    for key in ranked:
        print(
            f"{key[0]:20} {key[1]:9} {key[2]:5} {key[3]:4} {key[4]:6} {key[5]:8} "
            + "  ".join(f"{value:.3f}" for value in table[key])
        )
    for key in [next(key for key in ranked if key[0] == encoding) for encoding in encodings]:
        print(
            key,
            {
                name: [
                    round(float(np.mean(results[key][name, condition])), 3)
                    for condition in conditions
                ]
                for name in masks
            },
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
