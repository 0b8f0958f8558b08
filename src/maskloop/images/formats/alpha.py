"""Whether the last sample of each pixel is alpha, or a channel that a library called alpha."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ALPHA_MASK_NOTE", "ALPHA_NOTE", "is_opacity"]

ALPHA_NOTE = (
    "Alpha was left out: it says how to draw a picture, not what was seen. "
    "To keep it as a channel, name the axes (--axes YXC)."
)

ALPHA_MASK_NOTE = "The mask was read from alpha: the color is the same everywhere."

LEAST_OPAQUE = 0.9
"""Share of the pixels that are drawn at all that a picture draws fully: only soft edges are not."""


def is_opacity(samples: NDArray[Any]) -> bool:
    """Whether values are those of a picture's alpha: fully drawn, or not at all.

    tifffile, scikit-image, imageio and napari write any array of four planes or four channels as
    "RGB and alpha" by default, so that the word in the file proves nothing: the values do.

    Parameters
    ----------
    samples
        Some or all values of the sample in question, of any shape.
    """
    # Floats have no largest value that would mean opaque; libraries write them for measurements.
    if samples.dtype.kind != "u":
        return False
    drawn = samples[samples > 0]
    # Transparent everywhere is no picture but a channel without signal.
    return bool(drawn.size) and np.mean(drawn == np.iinfo(samples.dtype).max) >= LEAST_OPAQUE
