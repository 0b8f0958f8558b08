"""A second format, as a newcomer writes it: one file, and one line that registers it.

``.bricks`` is a folder that holds several images (items) at several resolutions (levels), each cut
into raw chunks. Nothing in maskloop knows of it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskloop import plugins
from maskloop.errors import ImageError, MaskError
from maskloop.images.formats.base import Format, LabelSink, SinkSpec
from maskloop.images.image import Image
from maskloop.images.readers import open_image, open_labels
from maskloop.images.refs import ImageRef
from maskloop.images.regions import Region, whole_region
from maskloop.images.sources import find_images, match_pairs, stem_of
from maskloop.images.writers import write_labels
from maskloop.predict.batch import predict_files
from maskloop.predict.outputs import Foreground
from maskloop.testing import FormatContract

CHUNK = 8
HEAD = "bricks.json"


@dataclass(frozen=True)
class Chunks:
    """The pixels of one level, read chunk by chunk."""

    folder: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def path(self, place: tuple[int, ...]) -> Path:
        return self.folder / ".".join(map(str, place))

    def region(self, place: tuple[int, ...]) -> Region:
        return tuple(
            slice(at * CHUNK, min((at + 1) * CHUNK, length))
            for at, length in zip(place, self.shape, strict=True)
        )

    def touching(self, region: Region) -> Iterator[tuple[int, ...]]:
        sides = (range(side.start // CHUNK, -(-side.stop // CHUNK)) for side in region)
        yield from product(*sides)

    def read(self, place: tuple[int, ...]) -> np.ndarray:
        shape = [side.stop - side.start for side in self.region(place)]
        path = self.path(place)
        if not path.exists():
            return np.zeros(shape, self.dtype)
        return np.fromfile(path, self.dtype).reshape(shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        keys = key if isinstance(key, tuple) else (key,)
        if Ellipsis in keys:
            at = keys.index(Ellipsis)
            missing = len(self.shape) - len(keys) + 1
            keys = (*keys[:at], *(slice(None),) * missing, *keys[at + 1 :])
        keys += (slice(None),) * (len(self.shape) - len(keys))
        spans = [range(length)[each] for each, length in zip(keys, self.shape, strict=True)]
        box = tuple(
            slice(span, span + 1) if isinstance(span, int) else slice(span.start, span.stop)
            for span in spans
        )
        pixels = np.zeros(self.shape, self.dtype)  # small images: a real format would not
        for place in self.touching(box):
            pixels[self.region(place)] = self.read(place)
        return pixels[keys]


class Bricks:
    """Folders of raw chunks beside a JSON head."""

    name = "bricks"
    endings = (".bricks",)
    written_endings = endings

    def sniff(self, path: Path, head: bytes) -> bool:
        return (path / HEAD).is_file()

    def items(self, uri: str) -> tuple[ImageRef, ...]:
        names = list(self._head(ImageRef(uri=uri)))
        if len(names) == 1:
            return (ImageRef(uri=uri),)
        return tuple(ImageRef(uri=uri, item=name) for name in names)

    def levels(self, ref: ImageRef) -> int:
        return len(self._item(ref)["levels"])

    def open(self, ref: ImageRef) -> Image:
        item = self._item(ref)
        if ref.level >= len(item["levels"]):
            raise ImageError(f"'{ref}' has no such level.", "Levels count from 0.")
        level = item["levels"][ref.level]
        data = Chunks(ref.path / level["folder"], tuple(level["shape"]), np.dtype(item["dtype"]))
        return Image(data, ref.axes or item["axes"], item["pixel_size_um"], name=ref.name)

    def open_labels(self, ref: ImageRef) -> Image:
        return self.open(ref)

    def identity(self, ref: ImageRef) -> str:
        digest = hashlib.sha256(json.dumps(self._item(ref)).encode())
        for path in sorted(ref.path.rglob("*")):
            if path.is_file():
                digest.update(path.relative_to(ref.path).as_posix().encode() + path.read_bytes())
        return digest.hexdigest()

    def create(self, path: Path, spec: SinkSpec) -> LabelSink:
        return BricksSink(path, spec)

    def _head(self, ref: ImageRef) -> dict[str, Any]:
        try:
            head: dict[str, Any] = json.loads((ref.path / HEAD).read_text())
        except (OSError, ValueError) as error:
            raise ImageError(f"'{ref.uri}' cannot be read: {error}.", "Export it again.") from error
        return head

    def _item(self, ref: ImageRef) -> dict[str, Any]:
        head = self._head(ref)
        name = ref.item or (next(iter(head)) if len(head) == 1 else "")
        if name not in head:
            names = ", ".join(head)
            raise ImageError(f"'{ref.uri}' holds {names}.", f"Name one: '{ref.uri}::{names[0]}'.")
        item: dict[str, Any] = head[name]
        return item


@dataclass
class BricksSink:
    """Writes chunks into a folder that gets its name at the end; a chunk is its own journal."""

    path: Path
    spec: SinkSpec
    done: set[Region] = field(default_factory=set)

    def __post_init__(self) -> None:
        if 0 in self.spec.shape:
            raise ImageError(f"Nothing to write to '{self.path}'.", "Write an image with pixels.")
        self.folder = self.path.with_name(f".{self.path.name}.part")
        self.chunks = Chunks(
            self.folder / "0", self.spec.shape, self.spec.dtype or np.dtype(np.uint32)
        )
        work = self.folder / "work"
        if not self.spec.work or not work.exists() or work.read_text() != self.spec.work:
            self.discard()
        (self.folder / "0").mkdir(parents=True, exist_ok=True)
        (self.folder / "journal").mkdir(exist_ok=True)
        work.write_text(self.spec.work)

    def _mark(self, region: Region) -> Path:
        text = "_".join(f"{side.start}-{side.stop}" for side in region)
        return self.folder / "journal" / text

    def is_written(self, region: Region) -> bool:
        return self._mark(region).exists()

    def highest(self, region: Region) -> int:
        return int(self.chunks[region].max(initial=0))

    def write(self, region: Region, pixels: Any) -> None:
        pixels = np.asarray(pixels)
        if self.is_written(region):
            return
        if self.spec.dtype is None and (pixels.dtype.kind not in "bui" or pixels.min() < 0):
            raise MaskError("These are no labels.", "Write whole numbers from 0.")
        for place in self.chunks.touching(region):
            chunk, values = self.chunks.region(place), self.chunks.read(place)
            both = [
                (max(a.start, b.start), min(a.stop, b.stop))
                for a, b in zip(chunk, region, strict=True)
            ]
            inner = tuple(
                slice(start - side.start, stop - side.start)
                for (start, stop), side in zip(both, chunk, strict=True)
            )
            outer = tuple(
                slice(start - side.start, stop - side.start)
                for (start, stop), side in zip(both, region, strict=True)
            )
            values[inner] = pixels[outer]
            whole = self.folder / "chunk"
            values.tofile(whole)
            whole.replace(self.chunks.path(place))
        self._mark(region).touch()

    def write_all(self, image: Image) -> None:
        self.write(whole_region(self.spec.shape), image.read(self.spec.axes))
        self.finish()

    def workspace(self) -> Path | None:
        return self.folder if self.spec.work else None

    def commit(self) -> None:
        """Each region is in its files already."""

    def finish(self) -> ImageRef:
        spec = self.spec
        item = {
            "axes": spec.axes,
            "dtype": self.chunks.dtype.str,
            "pixel_size_um": dict(spec.pixel_size_um),
            "levels": [{"folder": "0", "shape": spec.shape}],
        }
        shutil.rmtree(self.folder / "journal")
        (self.folder / "work").unlink()
        (self.folder / HEAD).write_text(json.dumps({"": item}))
        shutil.rmtree(self.path, ignore_errors=True)
        self.folder.replace(self.path)
        return ImageRef.of(self.path)

    def close(self) -> None:
        """No file is open."""

    def discard(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


BRICKS = Bricks()


class TestBricks(FormatContract):
    ending = ".bricks"

    def make_format(self) -> Format:
        return BRICKS


@pytest.fixture
def bricks() -> Iterator[None]:
    with plugins.register("formats", "bricks", f"{__name__}:BRICKS"):
        yield


def plate(path: Path) -> np.ndarray:
    """A plate of two wells at two resolutions."""
    pixels = np.random.default_rng(0).integers(0, 255, (2, 20, 30), np.uint8)
    head = {}
    for well, plane in zip(("A/01", "A/02"), pixels, strict=True):
        levels = []
        for level, part in enumerate((plane, plane[::2, ::2])):
            chunks = Chunks(path / well / str(level), part.shape, part.dtype)
            chunks.folder.mkdir(parents=True)
            for place in chunks.touching(whole_region(part.shape)):
                part[chunks.region(place)].tofile(chunks.path(place))
            levels.append({"folder": f"{well}/{level}", "shape": part.shape})
        size = {"Y": 0.5, "X": 0.5}
        head[well] = {"axes": "YX", "dtype": "|u1", "pixel_size_um": size, "levels": levels}
    (path / HEAD).write_text(json.dumps(head))
    return pixels


@pytest.mark.usefixtures("bricks")
def test_a_container_is_found_listed_and_opened_by_item_and_level(tmp_path: Path) -> None:
    pixels = plate(tmp_path / "plate.bricks")
    wells = [f"{tmp_path / 'plate.bricks'}::A/0{number}" for number in (1, 2)]
    for source in (tmp_path, tmp_path / "plate.bricks", str(tmp_path / "*.bricks")):
        assert [str(ref) for ref in find_images([source])] == wells
    assert (open_image(wells[1]).read() == pixels[1]).all()
    assert (open_image(f"{wells[1]}@1").read() == pixels[1, ::2, ::2]).all()
    with pytest.raises(ImageError, match="holds A/01, A/02"):
        open_image(tmp_path / "plate.bricks")


@pytest.mark.usefixtures("bricks")
def test_each_well_is_predicted_into_the_same_format_and_not_again(tmp_path: Path) -> None:
    from test_batch import Bright

    pixels = plate(tmp_path / "plate.bricks")

    def name(ref: ImageRef) -> Path:
        return tmp_path / f"{ref.item.replace('/', '')}.seg.bricks"

    for status in ("done", "already there"):
        done = predict_files([tmp_path / "plate.bricks"], Bright(), out=name, model_id="m")
        assert [file.status for file in done.files] == [status] * 2
    assert (open_labels(tmp_path / "A02.seg.bricks").read() == (pixels[1] > 127)).all()
    assert Foreground().label_dtype == np.uint8


@pytest.mark.usefixtures("bricks")
def test_pairs_of_images_and_masks_are_matched_in_the_new_format(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for number in (1, 2):
            labels = np.full((20, 30), number)
            write_labels(tmp_path / folder / f"cell_{number}.bricks", labels, axes="YX")
    found = match_pairs(tmp_path / "images", tmp_path / "masks")
    assert [pair.stem for pair in found.matched] == ["cell_1", "cell_2"]
    assert stem_of(found.matched[0].image) == "cell_1"
