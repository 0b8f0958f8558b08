from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from maskloop.errors import AxesError, Cancelled, ImageError
from maskloop.events import Progress
from maskloop.images import memory_sink
from maskloop.images.image import Image
from maskloop.images.instances import InstanceSettings, decode_instances, encode_instances
from maskloop.images.normalize import Normalization
from maskloop.images.scratch import Scratch
from maskloop.images.tiles import Tiling
from maskloop.predict import segment as segment_module
from maskloop.predict.blocks import decode_blocks, plan_blocks
from maskloop.predict.outputs import Classes, DistanceMaps, Foreground
from maskloop.predict.segment import segment
from maskloop.testing import SegmenterContract

RAW = Normalization(mode="none")


class Brightness:
    """Foreground is what is bright after a blur whose reach is the halo."""

    def __init__(
        self, spatial_dims: int = 2, normalization: Normalization | None = None, tile: int = 16
    ) -> None:
        self.spatial_dims = spatial_dims
        self.input_channels = 1
        self.tile_shape = (tile,) * spatial_dims
        self.multiple = (4,) * spatial_dims
        self.halo = (3,) * spatial_dims
        self.batch_size = 3
        self.normalization = normalization or Normalization()
        self.output = Foreground()

    def scores(self, tiles: np.ndarray) -> np.ndarray:
        blurred = ndimage.gaussian_filter(
            tiles, (0, 0, *(1.0,) * self.spatial_dims), radius=(0, 0, *self.halo), mode="mirror"
        )
        return np.clip(blurred, 0, 1)


class Shares:
    """Class scores are the channels' shares of the intensity."""

    spatial_dims = 2
    input_channels = 3
    tile_shape = (16, 32)
    multiple = (8, 8)
    halo = (0, 0)
    batch_size = 2
    normalization = RAW
    output = Classes(class_labels={0: "background", 1: "nucleus", 2: "cytoplasm"})

    def scores(self, tiles: np.ndarray) -> np.ndarray:
        positive = np.clip(tiles, 0, None) + np.float32(1e-3)
        return positive / positive.sum(axis=1, keepdims=True)


class Maps:
    """The channels of the image are the three maps of its instances."""

    input_channels = 3
    batch_size = 4
    normalization = RAW

    def __init__(
        self, spatial_dims: int = 2, extent: int = 0, diameter: float | None = None
    ) -> None:
        self.spatial_dims = spatial_dims
        self.tile_shape = ((64, 64) if spatial_dims == 2 else (16, 32, 32))[:spatial_dims]
        self.multiple = (4,) * spatial_dims
        self.halo = (2,) * spatial_dims
        choices = InstanceSettings(largest_extent_px=extent, typical_diameter_px=diameter)
        self.output = DistanceMaps(class_labels={0: "background", 1: "cell"}, instances=choices)

    def scores(self, tiles: np.ndarray) -> np.ndarray:
        return np.clip(tiles, 0, 1)


class TestBrightness(SegmenterContract):
    def make_segmenter(self) -> Brightness:
        return Brightness()


class TestBrightnessInVolumes(SegmenterContract):
    def make_segmenter(self) -> Brightness:
        return Brightness(3)


class TestShares(SegmenterContract):
    def make_segmenter(self) -> Shares:
        return Shares()


class TestMaps(SegmenterContract):
    def make_segmenter(self) -> Maps:
        return Maps()


def noise(*shape: int, kind: Any = np.float32) -> np.ndarray:
    random = np.random.default_rng(0).random(shape)
    return (random * 255).astype(kind) if np.issubdtype(kind, np.integer) else random.astype(kind)


def discs(shape: tuple[int, ...], radius: int = 5) -> np.ndarray:
    """Touching discs or balls on a grid, of one size."""
    labels = np.zeros(shape, np.int32)
    step = 2 * radius
    centres = np.stack(
        np.meshgrid(*(np.arange(radius, length, step) for length in shape), indexing="ij"), -1
    ).reshape(-1, len(shape))
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    for label, centre in enumerate(centres, 1):
        labels[((grid - centre) ** 2).sum(-1) <= radius**2] = label
    return labels


def are_same_objects(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two label images differ in nothing but numbers."""
    pairs = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1)
    one_to_one = all(len(np.unique(row)) == pairs.shape[1] for row in pairs)
    return one_to_one and bool(((first > 0) == (second > 0)).all())


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (5, 3), (16, 16), (17, 16), (61, 47)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_an_image_of_any_size_and_type_becomes_labels_of_its_size(
    shape: tuple[int, int], kind: Any
) -> None:
    labels = segment(Image(noise(*shape, kind=kind), "YX"), Brightness()).labels
    assert labels.shape == shape
    assert labels.axes == "YX"
    assert labels.data.dtype == np.uint8


@pytest.mark.parametrize("value", [0.0, 5.0, np.nan, np.inf])
def test_a_constant_image_has_no_foreground_and_no_warning(value: float) -> None:
    labels = segment(Image(np.full((40, 33), value), "YX"), Brightness())
    assert not labels.labels.read().any()


def test_pixels_that_are_not_finite_leave_the_others_alone() -> None:
    pixels = noise(40, 40)
    broken = pixels.copy()
    broken[5, 5] = np.nan
    broken[6, 6] = np.inf
    away = np.s_[12:, 12:]
    whole = segment(Image(pixels, "YX"), Brightness(normalization=RAW)).labels.read()
    assert (
        segment(Image(broken, "YX"), Brightness(normalization=RAW)).labels.read()[away]
        == whole[away]
    ).all()


@settings(deadline=None, max_examples=50)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    weighting=st.sampled_from(("gaussian", "core")),
    tile=st.integers(16, 40),
)
def test_tiled_equals_untiled(
    height: int, width: int, weighting: Literal["gaussian", "core"], tile: int
) -> None:
    class Pointwise(Brightness):
        def scores(self, tiles: np.ndarray) -> np.ndarray:
            return np.clip(tiles, 0, 1) ** 2

    image = Image(noise(height, width), "YX")
    whole = segment(image, Pointwise(tile=64), probabilities=True)
    tiled = segment(
        image,
        Pointwise(),
        tiling=Tiling(tile_shape=(tile, tile), weighting=weighting),
        probabilities=True,
    )
    assert whole.probabilities is not None
    assert tiled.probabilities is not None
    np.testing.assert_allclose(tiled.probabilities.read(), whole.probabilities.read(), atol=1e-5)


def test_with_core_tiles_and_a_true_halo_a_network_with_reach_gives_the_scores_of_the_whole() -> (
    None
):
    image = Image(noise(64, 96), "YX")
    whole = segment(image, Brightness(tile=96), probabilities=True).probabilities
    tiled = segment(
        image, Brightness(tile=16), tiling=Tiling(weighting="core"), probabilities=True
    ).probabilities
    assert whole is not None
    assert tiled is not None
    np.testing.assert_allclose(tiled.read(), whole.read(), atol=1e-5)


def test_volumes_are_tiled_like_planes() -> None:
    image = Image(noise(12, 40, 36), "ZYX")
    whole = segment(image, Brightness(3, tile=48), probabilities=True).probabilities
    tiled = segment(
        image, Brightness(3), tiling=Tiling(weighting="core"), probabilities=True
    ).probabilities
    assert whole is not None
    assert tiled is not None
    np.testing.assert_allclose(tiled.read(), whole.read(), atol=1e-5)


@pytest.mark.parametrize("axes", ["TZYX", "ZTYX", "YXTZ", "TZCYX"])
def test_each_plane_of_time_and_depth_is_segmented_alone_and_the_axes_stay(axes: str) -> None:
    sizes = {"T": 2, "Z": 3, "C": 1, "Y": 20, "X": 30}
    image = Image(noise(*(sizes[axis] for axis in axes)), axes)
    labels = segment(image, Brightness()).labels
    assert labels.axes == axes.replace("C", "")
    for t, z in np.ndindex(2, 3):
        plane = image.read("TZCYX")[t, z, 0]
        assert (
            labels.read("TZYX")[t, z] == segment(Image(plane, "YX"), Brightness()).labels.read()
        ).all()


def test_pixel_size_and_name_are_kept() -> None:
    image = Image(noise(8, 8), "YX", {"Y": 0.5, "X": 0.25}, name="well_B3")
    labels = segment(image, Brightness()).labels
    assert labels.pixel_size_um == {"Y": 0.5, "X": 0.25}
    assert labels.name == "well_B3"


def test_classes_are_those_of_the_highest_score_and_scores_carry_their_names() -> None:
    pixels = noise(3, 40, 50)
    result = segment(Image(pixels, "CYX"), Shares(), probabilities=True)
    assert (result.labels.read() == pixels.argmax(axis=0)).all()
    assert result.probabilities is not None
    assert result.probabilities.axes == "CYX"
    assert result.probabilities.channel_names == ("background", "nucleus", "cytoplasm")
    np.testing.assert_allclose(result.probabilities.read().sum(axis=0), 1, atol=1e-4)


def test_colour_planes_with_the_channel_last_are_taken() -> None:
    pixels = noise(40, 50, 3)
    assert (segment(Image(pixels, "YXC"), Shares()).labels.read() == pixels.argmax(axis=2)).all()


def test_objects_of_all_frames_have_numbers_of_their_own() -> None:
    maps = encode_instances(discs((60, 60)))
    labels = segment(Image(np.stack([maps, maps]), "TCYX"), Maps()).labels.read()
    first, second = (set(np.unique(frame)) - {0} for frame in labels)
    assert len(first) == len(second) == 36
    assert not first & second
    assert are_same_objects(labels[0], labels[1])


@pytest.mark.parametrize("shape", [(90, 130), (20, 40, 50)])
def test_instances_of_a_tiled_image_are_those_of_the_maps(shape: tuple[int, ...]) -> None:
    truth = discs(shape)
    found = segment(
        Image(encode_instances(truth), "CZYX" if len(shape) == 3 else "CYX"), Maps(len(shape))
    ).labels.read()
    assert found.dtype == np.int32
    assert are_same_objects(found, decode_instances(encode_instances(truth), InstanceSettings()))


def test_mirroring_takes_out_what_a_model_sees_on_one_side_only() -> None:
    class OneSided(Brightness):
        def scores(self, tiles: np.ndarray) -> np.ndarray:
            lengths = tiles.shape[-2:]
            slope = np.add.outer(np.linspace(0, 0.5, lengths[0]), np.linspace(0, 0.5, lengths[1]))
            return np.broadcast_to(slope, tiles.shape).astype(np.float32)

    result = segment(Image(noise(30, 40), "YX"), OneSided(), mirror=True, probabilities=True)
    assert result.probabilities is not None
    np.testing.assert_allclose(result.probabilities.read(), 0.5, atol=1e-5)


def test_progress_counts_tiles_of_all_frames_and_ends_with_all() -> None:
    events: list[Any] = []
    segment(Image(noise(3, 40, 40), "TYX", name="film"), Brightness(), report=events.append)
    assert all(
        isinstance(event, Progress) and event.stage == "film" and event.unit == "tiles"
        for event in events
    )
    assert events[-1].done == events[-1].total
    assert events[-1].total % 3 == 0
    assert events[-1].seconds_left == 0
    assert events[-1].rate > 0


def test_a_cancelled_prediction_stops_at_the_next_batch_and_says_how_far_it_was() -> None:
    answers = iter([False, True])
    with pytest.raises(Cancelled, match="'film' was cancelled after 3 of 16 tiles"):
        segment(
            Image(noise(40, 40), "YX", name="film"),
            Brightness(),
            is_cancelled=lambda: next(answers),
            tiling=Tiling(overlap=0.4),
        )


def test_another_number_of_channels_is_refused_with_both_numbers() -> None:
    with pytest.raises(
        ImageError, match=r"'cells' has 3 channels \(YXC \(9, 9, 3\)\), the model was made for 1"
    ) as caught:
        segment(Image(noise(9, 9, 3), "YXC", name="cells"), Brightness())
    assert "--axes CYX" in caught.value.way_out


def test_an_image_without_pixels_is_refused() -> None:
    with pytest.raises(ImageError, match="'image' has no pixels"):
        segment(Image(np.zeros((0, 9)), "YX"), Brightness())


def test_a_plane_is_refused_by_a_model_of_volumes() -> None:
    with pytest.raises(AxesError, match="the model is three-dimensional"):
        segment(Image(noise(9, 9), "YX"), Brightness(3))


def test_results_in_scratch_files_are_those_in_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    image = Image(encode_instances(discs((90, 130))), "CYX")
    usual = segment(image, Maps(), probabilities=True)
    monkeypatch.setattr(segment_module, "SPOOL_BYTES", 0)
    monkeypatch.setattr(memory_sink, "MEMORY_BYTES", 0)
    large = segment(image, Maps(), probabilities=True, scratch=tmp_path)
    assert isinstance(large.labels.data, np.memmap)
    assert (large.labels.read() == usual.labels.read()).all()
    assert usual.probabilities is not None
    assert large.probabilities is not None
    assert (large.probabilities.read() == usual.probabilities.read()).all()
    assert list(tmp_path.iterdir()) == []


def test_scratch_without_room_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(
        ImageError, match=r"9007199\.3 GB of intermediate results cannot be kept in "
    ):
        Scratch((2**53,), np.uint8, folder=tmp_path, limit_bytes=0)


@settings(deadline=None, max_examples=50)
@given(
    shape=st.lists(st.integers(1, 60), min_size=2, max_size=3),
    margin=st.integers(0, 10),
    pixels=st.integers(1, 10_000),
)
def test_blocks_cover_each_pixel_once(shape: list[int], margin: int, pixels: int) -> None:
    seen = np.zeros(shape, int)
    for block in plan_blocks(shape, margin, pixels=pixels):
        seen[block] += 1
    assert (seen == 1).all()


def decode_in_blocks(maps: np.ndarray, choices: InstanceSettings, pixels: int) -> np.ndarray:
    scores = Scratch(maps.shape, np.uint8, folder=None, limit_bytes=10**9)
    scores.open()[...] = np.rint(maps * 255)
    labels = np.zeros(maps.shape[1:], np.int32)

    def write(region: tuple[slice, ...], new: np.ndarray) -> None:
        np.copyto(labels[region], new, where=(labels[region] == 0) & (new > 0))

    decode_blocks(scores, DistanceMaps(instances=choices), write, pixels=pixels)
    return labels


def spoil(maps: np.ndarray) -> np.ndarray:
    grain = ndimage.gaussian_filter(
        np.random.default_rng(0).standard_normal(maps.shape), (0, *(2,) * (maps.ndim - 1))
    )
    return np.clip(
        ndimage.gaussian_filter(maps, (0, *(1,) * (maps.ndim - 1))) + 0.1 * grain / grain.std(),
        0,
        1,
    )


@pytest.mark.parametrize("shape", [(150, 170), (20, 80, 90)])
@pytest.mark.parametrize("change", [lambda maps: maps, spoil])
def test_block_by_block_finds_the_objects_of_the_whole(
    shape: tuple[int, ...], change: Callable[[np.ndarray], np.ndarray]
) -> None:
    maps = change(encode_instances(discs(shape, radius=4)))
    choices = InstanceSettings(
        largest_extent_px=12 if len(shape) == 2 else 9, typical_diameter_px=8
    )
    whole = decode_instances(np.rint(maps * 255).astype(np.uint8), choices)
    assert len(list(plan_blocks(shape, choices.margin_px, pixels=10_000))) > 1
    assert are_same_objects(decode_in_blocks(maps, choices, 10_000), whole)


def test_block_by_block_finds_the_objects_of_real_masks(shared_data: Path) -> None:
    import tifffile

    for path in sorted((shared_data / "bbbc039" / "masks").glob("*.tif"))[:3]:
        truth = tifffile.imread(path)
        maps = spoil(encode_instances(truth))
        choices = InstanceSettings(largest_extent_px=62, typical_diameter_px=28)
        assert len(list(plan_blocks(truth.shape, choices.margin_px, pixels=60_000))) > 1
        whole = decode_instances(np.rint(maps * 255).astype(np.uint8), choices)
        assert are_same_objects(decode_in_blocks(maps, choices, 60_000), whole)


MEMORY_SCRIPT = """
import resource
import numpy as np
from maskloop.images import memory_sink
from maskloop.images.image import Image
from test_segment import Maps, segment

class Grey(Maps):
    input_channels = 1
    def scores(self, tiles):
        return np.repeat(np.clip(tiles, 0, 1), 3, axis=1)

segmenter = Grey(extent=40, diameter=30)
segmenter.tile_shape = (256, 256)
import torch
line = (np.arange(8192) % 40 - 20).astype(np.float32) ** 2
image = np.empty((8192, 8192), np.uint8)
for row in range(0, 8192, 64):
    far = np.sqrt(line[row : row + 64, None] + line)
    image[row : row + 64] = np.clip(255 * (1 - far / 20), 0, 255)
labels = segment(Image(image, "YX"), segmenter).labels
assert labels.shape == (8192, 8192)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read as Linux reports it")
def test_8192_by_8192_pixels_become_instances_within_one_gigabyte() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY_SCRIPT],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1.0


def test_nothing_here_imports_torch() -> None:
    code = (
        "import sys, maskloop.predict.segment, maskloop.predict.batch; "
        "print('torch' in sys.modules, 'skimage' in sys.modules)"
    )
    assert subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split() == ["False", "False"]
