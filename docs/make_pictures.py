"""Make the pictures of the README: run the demo and keep what it draws.

python docs/make_pictures.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from maskloop.demo import run_demo
from maskloop.images.image import Image
from maskloop.images.readers import open_image
from maskloop.images.writers import write_image

PICTURES = Path(__file__).parent / "pictures"


def make_demo_picture(folder: Path) -> None:
    """An image that the model has not seen, beside what it found there."""
    result = run_demo(folder / "demo")
    drawn = open_image(result.files["picture"]).read()
    plain = (
        open_image(sorted((folder / "demo" / "unseen" / "images").iterdir())[0])
        .read()
        .astype(float)
    )
    low, high = np.percentile(plain, (1, 99.8))
    grey = np.clip((plain - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    zoom = drawn.shape[0] // grey.shape[0]
    left = np.repeat(grey.repeat(zoom, 0).repeat(zoom, 1)[..., None], 3, axis=2)
    PICTURES.mkdir(exist_ok=True)
    write_image(
        PICTURES / "demo.png",
        Image(np.hstack([left, np.full((left.shape[0], 8, 3), 255, np.uint8), drawn]), "YXC"),
    )
    print(f"{PICTURES / 'demo.png'}: {result.scores}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        make_demo_picture(Path(place))
