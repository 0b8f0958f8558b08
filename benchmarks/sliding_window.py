"""2048 x 2048 to labels, half overlap: `segment` against MONAI's sliding window.

The same briefly trained standard U-Net (base 32) on all sides, from pixels to labels. MONAI once as
it comes (fp32) and once under bf16 autocast with channels last, each with the quicker of two window
batch sizes, which is found first. Needs the environment of requirements.txt.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from functools import partial

import numpy as np
import side_by_side
import torch
from monai.inferers import sliding_window_inference
from nuclei import mosaic, plan_for, read_nuclei, samples_for, train_briefly
from numpy.typing import NDArray

from maskloop.images.image import Image
from maskloop.images.normalize import Normalization, normalize
from maskloop.images.tiles import Tiling
from maskloop.models.unet.segmenter import UNetSegmenter
from maskloop.predict.segment import segment

TILE = 256
WINDOWS = (1, 4)


@torch.inference_mode()
def monai_labels(
    model: torch.nn.Module, image: NDArray[np.uint8], *, windows: int, is_bf16: bool
) -> NDArray[np.bool_]:
    """Labels by MONAI's sliding window."""
    pixels = torch.from_numpy(normalize(image[None], Normalization().fit(image[None])))[None]
    if is_bf16:
        pixels = pixels.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
        logits = sliding_window_inference(
            pixels, (TILE, TILE), windows, model, overlap=0.5, mode="gaussian"
        )
    assert isinstance(logits, torch.Tensor)
    return (torch.sigmoid(logits.float()) > 0.5)[0, 0].numpy()


def quicker(model: torch.nn.Module, image: NDArray[np.uint8], *, is_bf16: bool) -> int:
    """The window batch size that MONAI is quicker with, measured on a part of the image."""
    part = image[: 3 * TILE, : 3 * TILE]

    def seconds(windows: int) -> float:
        once = partial(monai_labels, model, part, windows=windows, is_bf16=is_bf16)
        return min(side_by_side.seconds(once) for _ in range(2))

    times = {windows: seconds(windows) for windows in WINDOWS}
    return min(times, key=lambda windows: times[windows])


def main() -> None:
    arguments = side_by_side.options("sliding_window", __doc__).parse_args()
    on = side_by_side.machine()
    pairs, source = read_nuclei(arguments.data)
    plan = plan_for(pairs, quick=arguments.quick)
    module = train_briefly(plan, samples_for(pairs, plan), steps=4 if arguments.quick else 30)
    side = 640 if arguments.quick else 2048
    pixels = mosaic(pairs, side)
    image, half = Image(pixels, "YX"), Tiling(tile_shape=(TILE, TILE), overlap=0.5)
    plain, last = copy.deepcopy(module), copy.deepcopy(module).to(memory_format=torch.channels_last)
    ours = UNetSegmenter(module, plan, device="cpu", owns=True)
    windows = {
        "fp32": quicker(plain, pixels, is_bf16=False),
        "bf16": quicker(last, pixels, is_bf16=True),
    }
    labels: dict[str, Callable[[], NDArray[np.generic]]] = {
        "MONAI, default": functools.partial(
            monai_labels, plain, pixels, windows=windows["fp32"], is_bf16=False
        ),
        "MONAI, bf16 and channels last": functools.partial(
            monai_labels, last, pixels, windows=windows["bf16"], is_bf16=True
        ),
        "maskloop": lambda: segment(image, ours, tiling=half).labels.read(),
        "maskloop, own tiling": lambda: segment(image, ours).labels.read(),
    }
    reference = labels["MONAI, default"]()
    agreement = {
        name: float((find() == reference).mean())
        for name, find in labels.items()
        if name != "MONAI, default"
    }
    values = side_by_side.in_turn(
        {name: functools.partial(side_by_side.seconds, find) for name, find in labels.items()},
        rounds=arguments.rounds,
    )
    found = side_by_side.sides(values, "s/image")
    ours_s = found["maskloop"]["median"]
    claims = [
        side_by_side.claim(
            "half overlap, maskloop over MONAI's default",
            found["MONAI, default"]["median"] / ours_s,
            5.0,
        ),
        side_by_side.claim(
            "half overlap, maskloop over MONAI in bf16",
            found["MONAI, bf16 and channels last"]["median"] / ours_s,
            1.0,
        ),
    ]
    settings = {
        "images": source,
        "side": side,
        "base_channels": plan.network.base_channels,
        "threads": torch.get_num_threads(),
        "monai_window_batch": windows,
        "pixels_with_the_label_of_monai_default": agreement,
    }
    side_by_side.write(
        "sliding_window",
        arguments,
        {"settings": settings, "sides": found, "claims": claims},
        started_on=on,
    )


if __name__ == "__main__":
    main()
