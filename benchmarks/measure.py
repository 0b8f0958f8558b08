"""Measuring 100,000 objects: `measure_objects` against scikit-image's `regionprops_table`.

Both fill the same columns of one plane with one channel; that they hold the same numbers is checked
in the same run. What maskloop measures besides (local background, border, neighbors) is timed by
itself.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import side_by_side
from numpy.typing import NDArray
from skimage.measure import regionprops_table

from maskloop import Image, measure_objects

CELL = 18
"""Objects lie in a grid of cells of so many pixels, so that they can be drawn quickly."""
SAME = {
    "object": "label",
    "area_px": "area",
    "centroid_y_px": "centroid-0",
    "centroid_x_px": "centroid-1",
    "box_y_first_px": "bbox-0",
    "box_x_first_px": "bbox-1",
    "box_y_end_px": "bbox-2",
    "box_x_end_px": "bbox-3",
    "equivalent_diameter_px": "equivalent_diameter_area",
    "extent": "extent",
    "perimeter_px": "perimeter",
    "major_axis_px": "axis_major_length",
    "minor_axis_px": "axis_minor_length",
    "eccentricity": "eccentricity",
    "solidity": "solidity",
    "euler_number": "euler_number",
    "mean_channel_1": "intensity_mean",
    "min_channel_1": "intensity_min",
    "max_channel_1": "intensity_max",
    "std_channel_1": "intensity_std",
    "p50_channel_1": "intensity_median",
}
"""Our column and theirs."""
MEASUREMENTS = ["position", "size", "shape", "intensity"]
BESIDES = ["background", "border", "neighbors"]


def draw(count: int) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
    """Ellipses of all sizes, orientations and places in their cells, some of them touching."""
    random = np.random.default_rng(0)
    side = int(np.ceil(np.sqrt(count)))
    labels = np.zeros((side * CELL, side * CELL), np.int32)
    y, x = np.mgrid[:CELL, :CELL] - (CELL - 1) / 2
    for number in range(count):
        turn, long, short = random.uniform((0, 5, 3), (np.pi, 9.5, 7))
        dy, dx = random.uniform(-1, 1, 2)
        along = (y + dy) * np.cos(turn) + (x + dx) * np.sin(turn)
        across = (x + dx) * np.cos(turn) - (y + dy) * np.sin(turn)
        row, column = divmod(number, side)
        cell = labels[row * CELL :, column * CELL :][:CELL, :CELL]
        cell[(along / long) ** 2 + (across / short) ** 2 < 1] = number + 1
    image = random.integers(100, 4096, labels.shape).astype(np.uint16)
    return labels, image


def theirs(labels: NDArray[Any], image: NDArray[Any]) -> pd.DataFrame:
    names = {name.partition("-")[0] for name in SAME.values()}
    return pd.DataFrame(regionprops_table(labels, image, properties=sorted(names)))


def ours(labels: NDArray[Any], image: NDArray[Any], names: list[str]) -> pd.DataFrame:
    return measure_objects(Image(labels, "YX"), Image(image, "YX"), measurements=names)


def largest_difference(labels: NDArray[Any], image: NDArray[Any]) -> float:
    """Relative to the value where that is above 1."""
    left, right = ours(labels, image, MEASUREMENTS), theirs(labels, image)
    found = 0.0
    for name, other in SAME.items():
        values, wanted = left[name].to_numpy(float), right[other].to_numpy(float)
        found = max(found, float((np.abs(values - wanted) / np.maximum(np.abs(wanted), 1)).max()))
    return found


def main() -> None:
    arguments = side_by_side.options("measure", __doc__).parse_args()
    on = side_by_side.machine()
    count = 400 if arguments.quick else 100_000
    labels, image = draw(count)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hulls of tiny objects
        small = draw(min(count, 2_000))
        difference = largest_difference(*small)
        values = side_by_side.in_turn(
            {
                "scikit-image": lambda: side_by_side.seconds(lambda: theirs(labels, image)),
                "maskloop": lambda: side_by_side.seconds(lambda: ours(labels, image, MEASUREMENTS)),
                "maskloop, background, border, neighbors": lambda: side_by_side.seconds(
                    lambda: ours(labels, image, BESIDES)
                ),
            },
            rounds=arguments.rounds,
        )
    found = side_by_side.sides(values, "s")
    ratio = found["scikit-image"]["median"] / found["maskloop"]["median"]
    result = {
        "settings": {
            "objects": int(len(np.unique(labels)) - 1),
            "shape": labels.shape,
            "columns": len(SAME),
        },
        "sides": found,
        "claims": [
            side_by_side.claim("the same columns, maskloop over scikit-image", ratio, 5.0),
            side_by_side.claim(
                "largest relative difference of a value", difference, 1e-6, at_most=True, unit=""
            ),
        ],
    }
    side_by_side.write("measure", arguments, result, started_on=on)


if __name__ == "__main__":
    main()
