"""1024 x 1024 images to labels: `segment` against a tile loop in plain PyTorch.

The same briefly trained standard U-Net (base 32) and the same normalisation on both sides, from
pixels to labels. Theirs: fp32, `no_grad`, tiles of 256 x 256 that overlap by 64, one at a time,
averaged. Ours: once as it comes, and once with the same tiles.
"""

from __future__ import annotations

import copy

import numpy as np
import side_by_side
import torch
from nuclei import mosaic, plan_for, read_nuclei, samples_for, train_briefly
from numpy.typing import NDArray

from maskloop.images.image import Image
from maskloop.images.tiles import Tiling
from maskloop.models.unet.segmenter import UNetSegmenter
from maskloop.predict.segment import segment

TILE, OVERLAP = 256, 64


def tile_loop(model: torch.nn.Module, image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The loop that a user would write."""
    low, high = np.percentile(image, (1, 99.8))
    pixels = torch.from_numpy(((image - low) / (high - low)).astype(np.float32))[None, None]
    scores, count = torch.zeros(image.shape), torch.zeros(image.shape)
    tops, lefts = (
        [*range(0, length - TILE, TILE - OVERLAP), length - TILE] for length in image.shape
    )
    with torch.no_grad():
        for top in tops:
            for left in lefts:
                where = slice(top, top + TILE), slice(left, left + TILE)
                scores[where] += torch.sigmoid(model(pixels[:, :, *where]))[0, 0]
                count[where] += 1
    return (scores / count > 0.5).numpy()


def main() -> None:
    arguments = side_by_side.options("inference", __doc__).parse_args()
    on = side_by_side.machine()
    pairs, source = read_nuclei(arguments.data)
    plan = plan_for(pairs, quick=arguments.quick)
    module = train_briefly(plan, samples_for(pairs, plan), steps=4 if arguments.quick else 30)
    side = 384 if arguments.quick else 1024
    pixels = mosaic(pairs, side)
    image = Image(pixels, "YX")
    plain, ours = copy.deepcopy(module), UNetSegmenter(module, plan, device="cpu", owns=True)
    same_tiles = Tiling(tile_shape=(TILE, TILE), overlap=OVERLAP / TILE)
    theirs = tile_loop(plain, pixels)
    agreement = {
        "as it comes": float((segment(image, ours).labels.read() == theirs).mean()),
        "same tiles": float(
            (segment(image, ours, tiling=same_tiles).labels.read() == theirs).mean()
        ),
    }
    values = side_by_side.in_turn(
        {
            "plain PyTorch": lambda: side_by_side.seconds(lambda: tile_loop(plain, pixels)),
            "maskloop": lambda: side_by_side.seconds(lambda: segment(image, ours)),
            "maskloop, same tiles": lambda: side_by_side.seconds(
                lambda: segment(image, ours, tiling=same_tiles)
            ),
        },
        rounds=arguments.rounds,
    )
    found = side_by_side.sides(values, "s/image")
    medians = {name: side["median"] for name, side in found.items()}
    claims = [
        side_by_side.claim(
            "inference, maskloop over plain PyTorch",
            medians["plain PyTorch"] / medians["maskloop"],
            3.5,
        ),
        side_by_side.claim(
            "the same with the same tiles",
            medians["plain PyTorch"] / medians["maskloop, same tiles"],
            3.5,
        ),
    ]
    settings = {
        "images": source,
        "side": side,
        "base_channels": plan.network.base_channels,
        "precision": plan.precision,
        "threads": torch.get_num_threads(),
        "pixels_with_the_same_label": agreement,
    }
    side_by_side.write(
        "inference",
        arguments,
        {"settings": settings, "sides": found, "claims": claims},
        started_on=on,
    )


if __name__ == "__main__":
    main()
