"""What maskloop relies on in a file format, as tests."""

from __future__ import annotations

import os
import shutil
import signal
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskloop.errors import ImageError, MaskError, MaskloopError
from maskloop.images.formats.base import Format, SinkSpec
from maskloop.images.refs import ImageRef
from maskloop.images.regions import Region, cut_regions, whole_region

__all__ = ["FormatContract"]


class FormatContract:
    """What is promised of reading and writing; the attributes say what the format can hold."""

    ending = ""
    """Of the files that the tests write."""
    axes: tuple[str, ...] = ("YX", "ZYX", "TZYX")
    """Axes of labels that it can hold, each at least YX."""
    keeps_axes = True
    """Whether a file says what its dimensions are."""
    keeps_pixel_size = True
    keeps_floats = True

    def make_format(self) -> Format:
        """The format to test."""
        raise NotImplementedError

    def test_its_ending_is_one_that_it_opens_and_writes(self) -> None:
        """Endings are in small letters, with their dot."""
        form = self.make_format()
        assert self.ending in form.endings
        assert self.ending in form.written_endings
        assert all(ending.startswith(".") for ending in form.endings)
        assert all(ending == ending.lower() for ending in form.endings)

    def test_labels_written_region_by_region_come_back(self, tmp_path: Path) -> None:
        """With axes and pixel size, where it keeps them, in a type that holds the labels."""
        form = self.make_format()
        for axes in self.axes:
            labels = self._labels(axes)
            size = {axis: 0.5 for axis in axes if axis in "ZYX"}
            path = tmp_path / f"{axes}{self.ending}"
            self._write(path, labels, axes, pixel_size_um=size)
            image = form.open_labels(self._ref(path, axes))
            assert image.axes == axes
            assert image.data.dtype.kind == "u"
            np.testing.assert_array_equal(image.read(), labels)
            if self.keeps_pixel_size:
                assert image.pixel_size_um == pytest.approx(size)

    def test_the_order_of_regions_does_not_matter(self, tmp_path: Path) -> None:
        """Regions come when they are ready."""
        axes = self.axes[-1]
        labels = self._labels(axes)
        path = tmp_path / f"a{self.ending}"
        sink = self.make_format().create(path, SinkSpec(labels.shape, axes))
        for region in reversed(list(self._regions(labels))):
            sink.write(region, labels[region])
        sink.finish()
        found = self.make_format().open_labels(self._ref(path, axes)).read()
        np.testing.assert_array_equal(found, labels)

    def test_a_whole_image_can_be_written_at_once(self, tmp_path: Path) -> None:
        """From any lazy array."""
        from maskloop.images.image import Image

        axes = self.axes[-1]
        labels = self._labels(axes)
        path = tmp_path / f"a{self.ending}"
        sink = self.make_format().create(path, SinkSpec(labels.shape, axes))
        sink.write_all(Image(labels, axes))
        sink.close()
        found = self.make_format().open_labels(self._ref(path, axes)).read()
        np.testing.assert_array_equal(found, labels)

    def test_scores_keep_their_type(self, tmp_path: Path) -> None:
        """Where the format holds floats."""
        if not self.keeps_floats:
            pytest.skip("this format holds no floats")
        axes = self.axes[-1]
        scores = np.random.default_rng(0).random(self._labels(axes).shape, np.float32)
        path = tmp_path / f"a{self.ending}"
        self._write(path, scores, axes, dtype=np.dtype(np.float32))
        image = self.make_format().open(self._ref(path, axes))
        assert image.data.dtype == np.float32
        np.testing.assert_array_equal(image.read(), scores)

    def test_a_part_is_the_part_of_the_whole(self, tmp_path: Path) -> None:
        """Slices, single entries and steps."""
        axes = self.axes[-1]
        labels = self._labels(axes)
        path = tmp_path / f"a{self.ending}"
        self._write(path, labels, axes)
        data = self.make_format().open_labels(self._ref(path, axes)).data
        for key in ((..., 3), (..., slice(2, 9), slice(None, None, 2)), (0,), (slice(0, 0),)):
            np.testing.assert_array_equal(data[key], labels[key])

    def test_what_it_wrote_is_listed_and_can_be_named(self, tmp_path: Path) -> None:
        """References come back from their short form and open."""
        form = self.make_format()
        path = tmp_path / f"a{self.ending}"
        axes = self.axes[0]
        self._write(path, self._labels(axes), axes)
        items = form.items(str(path))
        assert len(items) == 1
        assert ImageRef.parse(str(items[0])) == items[0]
        assert form.levels(items[0]) == 1
        assert (
            form.open(ImageRef.of(items[0], axes=axes)).sizes["X"] == self._labels(axes).shape[-1]
        )

    def test_it_knows_its_own_by_content_and_no_other(self, tmp_path: Path) -> None:
        """Whatever the name says."""
        form = self.make_format()
        path = tmp_path / f"a{self.ending}"
        self._write(path, self._labels(self.axes[0]), self.axes[0])
        assert form.sniff(path, _head(path))
        letter = tmp_path / "letter.txt"
        letter.write_text("Dear aunt, this is not an image.\n" * 9)
        assert not form.sniff(letter, _head(letter))
        (tmp_path / "folder").mkdir()
        assert not form.sniff(tmp_path / "folder", b"")

    def test_identity_follows_the_pixels(self, tmp_path: Path) -> None:
        """Equal for equal content anywhere, another after a change."""
        form = self.make_format()
        axes = self.axes[0]
        labels = self._labels(axes)
        paths = [tmp_path / f"{name}{self.ending}" for name in "abc"]
        self._write(paths[0], labels, axes)
        # A copy in another place: the identity is that of the content, not of the path.
        copy = shutil.copytree if paths[0].is_dir() else shutil.copyfile
        copy(paths[0], paths[1])
        # A single pixel by one: no hash of a preview will do.
        changed = labels.copy()
        changed[..., 3, 4] += 1
        self._write(paths[2], changed, axes)
        first, second, third = (form.identity(ImageRef.of(path)) for path in paths)
        assert first == second
        assert first != third

    def test_nothing_has_the_name_before_it_is_whole(self, tmp_path: Path) -> None:
        """And nothing is left beside it afterwards, or when it is discarded."""
        axes = self.axes[0]
        # With and without a name for the work: both must clean up.
        labels = self._labels(axes)
        path = tmp_path / f"a{self.ending}"
        for work in ("", "some work"):
            sink = self.make_format().create(path, SinkSpec(labels.shape, axes, work=work))
            sink.write(whole_region(labels.shape), labels)
            assert not path.exists()
            sink.discard()
            assert list(tmp_path.iterdir()) == []
        self._write(path, labels, axes, work="some work")
        assert [each.name for each in tmp_path.iterdir()] == [path.name]

    def test_a_sink_that_was_let_go_is_continued_for_the_same_work_only(
        self, tmp_path: Path
    ) -> None:
        """What is written is skipped; for other work it is started over."""
        axes = self.axes[0]
        labels = self._labels(axes)
        path = tmp_path / f"a{self.ending}"
        first, *rest = self._regions(labels)
        spec = SinkSpec(labels.shape, axes, work="model 1")
        sink = self.make_format().create(path, spec)
        assert not sink.is_written(first)
        sink.write(first, labels[first])
        sink.close()
        # As when a model was trained again between the two runs.
        other = self.make_format().create(path, SinkSpec(labels.shape, axes, work="model 2"))
        assert not other.is_written(first)
        other.discard()
        sink = self.make_format().create(path, spec)
        sink.write(first, labels[first])
        sink.close()
        sink = self.make_format().create(path, spec)
        assert sink.is_written(first)
        assert sink.highest(first) == labels[first].max()
        sink.write(first, np.zeros_like(labels[first]))
        for region in rest:
            assert not sink.is_written(region)
            sink.write(region, labels[region])
        sink.finish()
        found = self.make_format().open_labels(self._ref(path, axes)).read()
        np.testing.assert_array_equal(found, labels)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process")
    def test_what_a_killed_process_wrote_is_right_or_written_again(self, tmp_path: Path) -> None:
        """A kill at any region loses at most what had not reached the disk."""
        axes = self.axes[0]
        labels = self._labels(axes)
        regions = list(self._regions(labels))
        spec = SinkSpec(labels.shape, axes, work="model 1")
        # Before the first region, after each, and after the last but before the end.
        for killed_after in range(len(regions) + 1):
            path = tmp_path / f"{killed_after}{self.ending}"
            # Forked, so that a format that only this test module knows is there in the child.
            child = os.fork()
            if child == 0:
                try:
                    sink = self.make_format().create(path, spec)
                    for region in regions[:killed_after]:
                        sink.write(region, labels[region])
                finally:
                    os.kill(os.getpid(), signal.SIGKILL)
            os.waitpid(child, 0)
            sink = self.make_format().create(path, spec)
            for region in regions:
                if not sink.is_written(region):
                    sink.write(region, labels[region])
            sink.finish()
            found = self.make_format().open_labels(self._ref(path, axes)).read()
            np.testing.assert_array_equal(found, labels)

    def test_what_cannot_be_written_is_refused_in_words(self, tmp_path: Path) -> None:
        """No pixels; negative labels; numbers that are not whole."""
        axes = self.axes[0]
        path = tmp_path / f"a{self.ending}"
        form = self.make_format()
        with pytest.raises(ImageError):
            form.create(path, SinkSpec((0,) * len(axes), axes)).finish()
        shape = self._labels(axes).shape
        # Negative numbers would become huge ids, fractions would be cut.
        for wrong in (np.full(shape, -1), np.full(shape, 0.5)):
            sink = form.create(path, SinkSpec(shape, axes))
            with pytest.raises(MaskError):
                sink.write(whole_region(shape), wrong)
            sink.discard()

    def test_what_is_missing_or_damaged_is_refused_in_words(self, tmp_path: Path) -> None:
        """Never with an exception of a library."""
        form = self.make_format()
        path = tmp_path / f"a{self.ending}"
        with pytest.raises(ImageError):
            form.open(ImageRef.of(path))
        path.write_bytes(b"this is no image")
        with pytest.raises(MaskloopError):
            form.open(ImageRef.of(path))

    def _ref(self, path: Path, axes: str) -> ImageRef:
        return ImageRef.of(path, axes=None if self.keeps_axes else axes)

    def _labels(self, axes: str) -> NDArray[Any]:
        # Lengths that differ: an exchange of axes cannot go unnoticed.
        lengths = {"T": 2, "Z": 3, "Y": 12, "X": 17}
        shape = [lengths[axis] for axis in axes]
        # More than 255, so that a type of 8 bits is caught.
        return np.random.default_rng(0).integers(0, 400, shape).astype(np.uint16)

    def _regions(self, labels: NDArray[Any]) -> list[Region]:
        """Quarters of the planes."""
        *outer, height, width = labels.shape
        # Odd lengths leave parts of different sizes.
        halves = [slice(0, height // 2), slice(height // 2, height)]
        sides = [slice(0, width // 2), slice(width // 2, width)]
        places = cut_regions(outer, 1, limit_bytes=1) if outer else [()]
        return [(*place, *part) for place, part in product(places, product(halves, sides))]

    def _write(self, path: Path, pixels: NDArray[Any], axes: str, **options: Any) -> None:
        sink = self.make_format().create(path, SinkSpec(pixels.shape, axes, **options))
        for region in self._regions(pixels):
            sink.write(region, pixels[region])
        sink.finish()


def _head(path: Path) -> bytes:
    return b"" if path.is_dir() else path.read_bytes()[:512]
