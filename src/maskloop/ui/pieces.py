"""Labels that lie in several separate pieces, although each label is one object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop.errors import MaskError
from maskloop.images.image import Image
from maskloop.images.plausibility import count_pieces

__all__ = ["divided", "separate"]


def divided(labels: Image) -> dict[int, int]:
    """Labels that lie in more than one piece, with the number of their pieces.

    Pieces touch also across corners; in a movie they are counted frame by frame.
    """
    drawn = np.asarray(labels.data)
    if drawn.dtype.kind not in "ui":
        return {}  # what else can be a label is said when the mask is prepared
    values = np.unique(drawn).astype(np.int64)
    values = values[values > 0]
    if not values.size:
        return {}
    counts = count_pieces(drawn, values, labels.axes)
    return {
        int(value): int(count) for value, count in zip(values, counts, strict=True) if count > 1
    }


def separate(drawn: NDArray[Any]) -> NDArray[Any]:
    """A copy in which each piece of a label has a label of its own; the largest keeps the old one.

    Parameters
    ----------
    drawn
        Labels of an image (Y, X) or a volume (Z, Y, X). Pieces of different labels stay apart
        where they touch.

    Raises
    ------
    MaskError
        If there are more pieces than the type of the mask has labels.
    """
    import cc3d

    # cc3d takes no 64 bits, and nothing that is read-only.
    dtype = np.uint32 if drawn.dtype.itemsize == 8 or drawn.dtype.kind == "i" else drawn.dtype
    whole = np.require(drawn, dtype, ["C", "W"])
    connected: Callable[..., tuple[NDArray[Any], int]] = cc3d.connected_components
    parts, count = connected(whole, connectivity=8 if whole.ndim == 2 else 26, return_N=True)
    label_of = np.zeros(count + 1, np.int64)
    label_of[parts.reshape(-1)] = whole.reshape(-1)
    sizes = np.bincount(parts.reshape(-1), minlength=count + 1)
    # The largest part of each label comes first, and keeps it.
    by_size = np.argsort(-sizes[1:], kind="stable") + 1
    _, first = np.unique(label_of[by_size], return_index=True)
    others = np.delete(by_size, first)
    last = int(label_of.max()) + others.size
    if last > np.iinfo(drawn.dtype).max:
        raise MaskError(
            f"Separated, the mask would have labels up to {last}, but {drawn.dtype.name} holds "
            f"{np.iinfo(drawn.dtype).max} at most.",
            'Right-click the mask in napari\'s layer list, choose "Convert data type" and a larger '
            "one, and separate again.",
        )
    label_of[np.sort(others)] = np.arange(int(label_of.max()) + 1, last + 1)
    apart: NDArray[Any] = label_of[parts].astype(drawn.dtype)
    return apart
