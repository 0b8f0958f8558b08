from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from maskloop.errors import ImageError, MaskError, ProjectError
from maskloop.images.image import Image
from maskloop.images.readers import open_image, open_labels
from maskloop.images.writers import overlay_png, smallest_dtype, write_image, write_labels

LABEL_AXES = ("YX", "ZYX", "TYX", "TZYX", "ZTYX")
IMAGE_AXES = ("YX", "YXC", "CYX", "ZYX", "ZCYX", "CZYX", "TYXC", "TZCYX", "TCZYX")
ENDINGS = (".tif", ".ome.tif")
law = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def arrays(
    draw: st.DrawFn, choices: tuple[str, ...], dtypes: tuple[str, ...]
) -> tuple[str, np.ndarray[Any, Any]]:
    axes = draw(st.sampled_from(choices))
    shape = tuple(draw(st.integers(1, 5)) for _ in axes)
    return axes, draw(npst.arrays(draw(st.sampled_from(dtypes)), shape))


sizes = st.dictionaries(st.sampled_from("ZYX"), st.floats(1e-4, 1e4))


@law
@given(
    labels=arrays(LABEL_AXES, ("bool", "u1", "u2", "u4", "u8", ">u2")),
    pixel_size=sizes,
    ending=st.sampled_from(ENDINGS),
)
def test_labels_come_back_with_axes_and_pixel_size(
    tmp_path: Path, labels: tuple[str, Any], pixel_size: dict[str, float], ending: str
) -> None:
    axes, array = labels
    if array.dtype.itemsize == 8:
        array = array % 2**32
    path = tmp_path / f"labels{ending}"
    write_labels(path, array, axes=axes, pixel_size_um=pixel_size)
    back = open_labels(path)
    assert back.axes == axes
    assert back.pixel_size_um == {axis: size for axis, size in pixel_size.items() if axis in axes}
    assert back.data.dtype == smallest_dtype(int(array.max()))
    np.testing.assert_array_equal(back.read(), array)


@law
@given(
    image=arrays(IMAGE_AXES, ("bool", "u1", "u2", "i2", "i4", "f4", "f8", ">f4")),
    pixel_size=sizes,
    ending=st.sampled_from(ENDINGS),
    named=st.booleans(),
)
def test_images_come_back_with_everything(
    tmp_path: Path, image: tuple[str, Any], pixel_size: dict[str, float], ending: str, named: bool
) -> None:
    axes, array = image
    names = (
        tuple(f"channel \u00b5{n}" for n in range(array.shape[axes.index("C")]))
        if named and "C" in axes
        else ()
    )
    path = tmp_path / f"image{ending}"
    write_image(path, Image(array, axes, pixel_size_um=pixel_size, channel_names=names))
    back = open_image(path)
    assert (back.axes, back.channel_names) == (axes, names)
    assert back.pixel_size_um == {axis: size for axis, size in pixel_size.items() if axis in axes}
    np.testing.assert_array_equal(back.read(), array)


@law
@given(image=arrays(("XY", "XZY", "CXY", "YZX"), ("u1", "f8")), ending=st.sampled_from(ENDINGS))
def test_axes_in_odd_order_keep_their_meaning(
    tmp_path: Path, image: tuple[str, Any], ending: str
) -> None:
    axes, array = image
    write_image(tmp_path / f"odd{ending}", Image(array, axes))
    back = open_image(tmp_path / f"odd{ending}")
    assert back.axes.endswith("YX")
    np.testing.assert_array_equal(back.read(axes), array)


@law
@given(labels=arrays(("YX",), ("bool", "u1", "u2")))
def test_png_and_npy_keep_labels(tmp_path: Path, labels: tuple[str, Any]) -> None:
    for ending in (".png", ".npy"):
        write_labels(tmp_path / f"labels{ending}", labels[1], axes="YX")
        back = open_labels(tmp_path / f"labels{ending}")
        assert back.axes == "YX"
        np.testing.assert_array_equal(back.read(), labels[1])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_keeps_colours_of_8_and_16_bits(tmp_path: Path, dtype: Any) -> None:
    pixels = np.random.default_rng(0).integers(
        0, np.iinfo(dtype).max, (7, 5, 3), dtype, endpoint=True
    )
    write_image(tmp_path / "colours.png", Image(pixels, "YXC"))
    back = open_image(tmp_path / "colours.png")
    assert back.axes == "YXC"
    np.testing.assert_array_equal(back.read(), pixels)


@pytest.mark.parametrize(
    ("maximum", "expected"),
    [
        (0, "uint8"),
        (255, "uint8"),
        (256, "uint16"),
        (65535, "uint16"),
        (65536, "uint32"),
        (2**32, "uint64"),
    ],
)
def test_the_smallest_type_is_chosen(maximum: int, expected: str) -> None:
    assert smallest_dtype(maximum) == expected


def test_imagej_reads_size_and_depth_from_its_own_words(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    write_labels(
        path,
        np.zeros((2, 3, 8, 9), np.uint16),
        axes="TZYX",
        pixel_size_um={"Z": 2.0, "Y": 0.5, "X": 0.25},
    )
    with tifffile.TiffFile(path) as file:
        assert file.is_imagej
        assert not file.pages.first.is_tiled
        assert {
            key: file.imagej_metadata[key] for key in ("frames", "slices", "spacing", "unit")
        } == {
            "frames": 2,
            "slices": 3,
            "spacing": 2.0,
            "unit": "um",
        }
        assert file.pages.first.resolution == (4.0, 2.0)


def test_ome_says_sizes_and_channels_in_its_own_words(tmp_path: Path) -> None:
    path = tmp_path / "image.ome.tiff"
    write_image(
        path,
        Image(
            np.zeros((2, 8, 9), np.float32),
            "CYX",
            pixel_size_um={"Y": 0.5, "X": 0.25},
            channel_names=("a", "b"),
        ),
    )
    with tifffile.TiffFile(path) as file:
        assert all(
            word in file.ome_metadata
            for word in ('PhysicalSizeX="0.25"', 'PhysicalSizeY="0.5"', 'Name="b"', 'SizeC="2"')
        )


def test_a_description_is_kept_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.tif"
    write_labels(
        path,
        np.full((4, 4), 70_000),
        axes="YX",
        description={"checkpoint": "unet_run_001", "settings": {"tiles": [1, 2]}},
    )
    with tifffile.TiffFile(path) as file:
        facts = json.loads(file.shaped_metadata[0]["maskloop"])
    assert facts["description"] == {"checkpoint": "unet_run_001", "settings": {"tiles": [1, 2]}}


@pytest.mark.parametrize("ending", ENDINGS)
def test_large_planes_are_tiled_and_compressed(tmp_path: Path, ending: str) -> None:
    labels = np.zeros((2100, 2111), np.int64)
    labels[5:, 7:] = 300
    labels[-1, -1] = 301
    write_labels(tmp_path / f"large{ending}", labels, axes="YX")
    with tifffile.TiffFile(tmp_path / f"large{ending}") as file:
        assert file.pages.first.is_tiled
    assert (tmp_path / f"large{ending}").stat().st_size < labels.size / 50
    np.testing.assert_array_equal(open_labels(tmp_path / f"large{ending}").read(), labels)


def test_memory_does_not_grow_with_the_image(tmp_path: Path) -> None:
    labels = np.lib.format.open_memmap(tmp_path / "labels.npy", "w+", np.uint16, (8192, 8192))
    labels[4000:5000, 3000:6000] = 512
    tracemalloc.start()
    try:
        write_labels(tmp_path / "labels.tif", labels, axes="YX")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 30e6
    with tifffile.TiffFile(tmp_path / "labels.tif") as file:
        assert file.series[0].shape == (8192, 8192)


def test_a_failed_write_leaves_the_file_before_it(tmp_path: Path) -> None:
    class Broken:
        shape, dtype = (4, 64, 64), np.dtype(np.float32)

        def __getitem__(self, key: Any, /) -> Any:
            if key[0] == 2:
                raise OSError(28, "No space left on device")
            return np.zeros(self.shape, self.dtype)[key]

    path = tmp_path / "image.tif"
    path.write_bytes(b"before")
    with pytest.raises(ProjectError, match="No space left"):
        write_image(path, Image(Broken(), "ZYX"))
    assert path.read_bytes() == b"before"
    assert [each.name for each in tmp_path.iterdir()] == ["image.tif"]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.full((3, 3), 0.5), "of type float64"),
        (np.full((3, 3), -2), "go down to -2"),
    ],
)
def test_labels_that_are_none_are_refused(tmp_path: Path, labels: Any, words: str) -> None:
    with pytest.raises(MaskError, match=words):
        write_labels(tmp_path / "labels.tif", labels, axes="YX")


@pytest.mark.parametrize(
    ("name", "pixels", "axes", "words"),
    [
        ("a.jpg", np.zeros((3, 3), np.uint8), "YX", "does not end in a format"),
        ("a.png", np.zeros((3, 3), np.float32), "YX", "8 or 16 bits, not float32"),
        ("a.png", np.zeros((2, 3, 3), np.uint8), "ZYX", r"one plane, not axes ZYX \(2, 3, 3\)"),
        ("a.ome.tif", np.zeros((3, 3), np.int64), "YX", "cannot hold pixels of type int64"),
        ("a.tif", np.zeros((3, 3), np.complex64), "YX", "cannot hold pixels of type complex64"),
        ("a.tif", np.zeros((3, 0), np.uint8), "YX", r"the shape is \(3, 0\)"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(
    tmp_path: Path, name: str, pixels: Any, axes: str, words: str
) -> None:
    with pytest.raises(ImageError, match=words):
        write_image(tmp_path / name, Image(pixels, axes))
    assert not list(tmp_path.iterdir())


def test_an_overlay_shows_labels_over_truth(tmp_path: Path) -> None:
    image = np.tile(np.linspace(0, 4000, 40, dtype=np.uint16), (30, 1))
    labels, truth = np.zeros((2, 30, 40), np.int32)
    labels[5:15, 5:15], truth[18:28, 20:38] = 1, 1
    overlay_png(tmp_path / "overlay.png", image, labels, truth)
    picture = open_image(tmp_path / "overlay.png").read()
    assert picture.shape == (90, 120, 3)  # small images are drawn threefold
    assert tuple(picture[15, 15]) == (255, 220, 0)
    assert tuple(picture[54, 60]) == (70, 150, 255)
    assert tuple(picture[0, 0]) == (0, 0, 0)
    assert tuple(picture[0, -1]) == (255, 255, 255)


@pytest.mark.parametrize(
    "image", [np.full((9, 9), 7.0), np.full((9, 9), np.nan), np.zeros((9, 9, 3), np.uint8)]
)
def test_an_overlay_is_drawn_on_any_image(tmp_path: Path, image: Any) -> None:
    overlay_png(tmp_path / "overlay.png", image, np.eye(9, dtype=int))
    assert open_image(tmp_path / "overlay.png").shape == (27, 27, 3)


def test_an_overlay_of_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"The image is \(9, 9\), its labels are \(8, 9\)"):
        overlay_png(tmp_path / "overlay.png", np.zeros((9, 9)), np.zeros((8, 9), int))
