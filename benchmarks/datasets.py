"""The real data sets with their fixed splits: whole groups are held out, never tuned on."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

__all__ = ["DATASETS", "DataSet", "Picture", "Split", "find_split", "near_duplicates"]


@dataclass(frozen=True)
class Picture:
    """One image with its mask."""

    image: Path
    mask: Path
    group: str | None
    """What it belongs to, where the data's own README tells it; else maskloop finds groups
    itself.
    """

    @property
    def name(self) -> str:
        """Of the file, without its ending."""
        return self.image.stem


@dataclass(frozen=True)
class DataSet:
    """What a data set is, and which of its images are held out."""

    mode: Literal["binary", "multiclass", "instances"]
    rule: str
    """The split in words."""
    is_test: Callable[[list[str]], set[str]]
    """Which of the sorted names are held out."""
    prefix: str = ""
    classes: tuple[str, ...] | None = None
    group: Callable[[str], str | None] = lambda _name: None
    pixel_size_um: dict[str, float] = field(default_factory=dict)
    """Where the data's README tells it and the files do not."""
    published: str = "none"
    """Figures that the data's README cites, and what differs."""


@dataclass(frozen=True)
class Split:
    """Images to train on, and images that are only measured on."""

    training: list[Picture]
    test: list[Picture]


def last_quarter(names: list[str]) -> set[str]:
    """A contiguous block at the end: slices and frames next to each other look alike."""
    return set(names[-math.ceil(len(names) / 4) :])


def every_fourth(names: list[str]) -> set[str]:
    return set(names[::4])


def every_fourth_of_each_source(names: list[str]) -> set[str]:
    sources = defaultdict(list)
    for name in names:
        sources[name.split("_")[0]].append(name)
    return {name for source in sources.values() for name in every_fourth(source)}


def animal(name: str) -> str:
    return name.split("_")[0]


def every_second_animal(names: list[str]) -> set[str]:
    held_out = sorted({animal(name) for name in names})[1::2]
    return {name for name in names if animal(name) in held_out}


DATASETS = {
    "dsb2018": DataSet(
        "instances",
        "fluorescence images (fluo_*), sorted by name: every 4th, beginning with the first, is "
        "held out",
        every_fourth,
        prefix="fluo_",
        published="AP at .5 of EmbedSeg 0.887, StarDist 0.864, U-Net of 3 classes about 0.81: "
        "trained on 447 other images, tested on 50.",
    ),
    "bbbc039": DataSet(
        "instances",
        "sorted by name (well and field): every 4th, beginning with the first, is held out",
        every_fourth,
        published="F1 at .5 of Cellpose-SAM 0.956, of Otsu with a watershed 0.858: on the "
        "official 50 test fields.",
    ),
    "ctc_dic_c2dh_hela": DataSet(
        "instances",
        "by time: the last quarter of the frames is held out",
        last_quarter,
        published="SEG (mean IoU, another measure) of U-Net 0.776, of the best later ones about "
        "0.85: hidden test films.",
    ),
    "usiigaci_t98g": DataSet(
        "instances",
        "by number of the set: the last quarter is held out",
        last_quarter,
        published="AP at .5 of EmbedSeg 0.720: trained on 45 images of 16 bits with test-time "
        "augmentation, tested on 5.",
    ),
    "isbi2012_em": DataSet(
        "binary",
        "by depth: the last quarter of the slices, one block, is held out",
        last_quarter,
        classes=("membrane",),
        published="pixel error of U-Net 0.061 (another measure): the hidden test volume, trained "
        "on all 30 slices.",
    ),
    "drosophila_vnc": DataSet(
        "multiclass",
        "by depth: the last quarter of the slices (2 of 5), one block, is held out",
        last_quarter,
        classes=("membrane", "glia or extracellular", "mitochondria", "synapse"),
    ),
    "axondeepseg_sem": DataSet(
        "multiclass",
        "by animal: every second one (rat2, rat6) is held out",
        every_second_animal,
        classes=("myelin", "axon"),
        group=animal,
        published="pixel-wise accuracy 85 % (another measure) on rat SEM, with more images and "
        "another split.",
    ),
    "wbc_zheng2018": DataSet(
        "multiclass",
        "of each source (d1, d2), sorted by name: every 4th, beginning with the first, is held out",
        every_fourth_of_each_source,
        classes=("cytoplasm", "nucleus"),
    ),
    "plantseg_nuclei_3d": DataSet(
        "instances",
        "volume 1135 is trained on, volume 1136 is held out",
        lambda names: set(names[1:]),
        group=lambda name: name,
        pixel_size_um={"Z": 0.2837, "Y": 0.1268, "X": 0.1268},
    ),
}


def find_split(data: Path, name: str) -> Split:
    """The fixed split of a data set."""
    kind = DATASETS[name]
    paths = sorted((data / name / "images").glob(f"{kind.prefix}*.tif"))
    held_out = kind.is_test([path.stem for path in paths])
    pictures = [
        Picture(path, data / name / "masks" / path.name, kind.group(path.stem)) for path in paths
    ]
    return Split(
        [picture for picture in pictures if picture.name not in held_out],
        [picture for picture in pictures if picture.name in held_out],
    )


def near_duplicates(split: Split) -> list[tuple[str, str]]:
    """Held-out near-duplicates of training images, by maskloop's finder: kept, and reported."""
    from maskloop.images.readers import open_image
    from maskloop.images.similarity import find_near_duplicates, perceptual_hash

    known = [perceptual_hash(open_image(picture.image)) for picture in split.training]
    return [
        (picture.name, split.training[index].name)
        for picture in split.test
        for index in find_near_duplicates(perceptual_hash(open_image(picture.image)), known)
    ]
