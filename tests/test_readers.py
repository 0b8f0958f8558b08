from __future__ import annotations

import contextlib
import logging
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image as Pillow

from maskloop.errors import AxesError, ImageError, MaskError
from maskloop.images.formats import find_format
from maskloop.images.formats.alpha import ALPHA_MASK_NOTE, ALPHA_NOTE
from maskloop.images.formats.files import hash_file
from maskloop.images.formats.tiff_pages import PagedArray
from maskloop.images.image import Image
from maskloop.images.readers import open_image, open_labels
from maskloop.images.refs import ImageRef
from maskloop.images.sources import find_images
from maskloop.images.writers import write_image

law = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def ramp(*shape: int, dtype: Any = np.uint16) -> np.ndarray[Any, Any]:
    return (np.arange(np.prod(shape)) % 251).astype(dtype).reshape(shape)


# Axes


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib"},
        {"byteorder": ">"},
        {"byteorder": ">", "compression": "zlib"},
        {"bigtiff": True},
    ],
)
@pytest.mark.parametrize("axes", ["ZYX", "CYX", "TZYX", "TZCYX"])
def test_axes_that_the_file_names_are_used(
    tmp_path: Path, axes: str, options: dict[str, Any]
) -> None:
    pixels = ramp(2, 3, 4, 5, 6)[(0,) * (5 - len(axes))]
    opening = {key: options[key] for key in ("byteorder", "bigtiff") if key in options}
    writing = {key: options[key] for key in ("compression",) if key in options}
    for name, kind in (
        ("shaped.tif", {}),
        ("hyper.tif", {"imagej": True}),
        ("some.ome.tif", {"ome": True}),
    ):
        if kind.get("imagej") and "bigtiff" in options:
            continue
        with tifffile.TiffWriter(tmp_path / name, **kind, **opening) as writer:
            writer.write(pixels, metadata={"axes": axes}, photometric="minisblack", **writing)
        image = open_image(tmp_path / name)
        assert (image.axes, image.name) == (axes, name)
        assert image.data.dtype == np.dtype("uint16")
        assert image.data.dtype.isnative
        np.testing.assert_array_equal(image.read(), pixels)
        np.testing.assert_array_equal(np.asarray(image.data), pixels)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib"},
        {"tile": (16, 16)},
        {"planarconfig": "separate", "compression": "zlib"},
    ],
)
def test_colors_are_channels(tmp_path: Path, options: dict[str, Any]) -> None:
    separate = options.get("planarconfig") == "separate"
    pixels = ramp(*((3, 20, 30) if separate else (20, 30, 3)), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "rgb.tif", pixels, photometric="rgb", **options)
    image = open_image(tmp_path / "rgb.tif")
    assert image.axes == ("CYX" if separate else "YXC")
    np.testing.assert_array_equal(image.read(), pixels)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_is_left_out_of_a_picture_and_said(
    tmp_path: Path, dtype: Any, options: dict[str, Any]
) -> None:
    pixels = cut_out(ramp(20, 30, 4, dtype=dtype))
    path = tmp_path / "rgba.tif"
    tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=["unassalpha"], **options)
    image = open_image(path)
    assert image.notes == (ALPHA_NOTE,)
    np.testing.assert_array_equal(image.read(), pixels[..., :3])
    np.testing.assert_array_equal(image.data[3:5, 2:4, 2], pixels[3:5, 2:4, 2])
    # The way out that the note names.
    named = open_image(path, axes="YXC")
    assert named.notes == ()
    np.testing.assert_array_equal(named.read(), pixels)


def cut_out(pixels: np.ndarray) -> np.ndarray:
    """Pixels whose last sample is that of a picture: opaque but for a corner."""
    pixels[..., -1] = np.iinfo(pixels.dtype).max
    pixels[:5, :5, -1] = 0
    return pixels


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
@pytest.mark.parametrize(
    ("shape", "dtype", "kind"),
    [
        ((20, 30, 4), np.uint8, {"extrasamples": ["unspecified"]}),
        ((20, 30, 4), np.uint16, {"extrasamples": ["unassalpha"]}),
        ((20, 30, 4), np.uint8, {"extrasamples": ["unassalpha"]}),
        ((20, 30, 4), np.float32, {"extrasamples": ["unassalpha"]}),
        ((3, 20, 30, 4), np.uint8, {"extrasamples": ["unassalpha"]}),
        ((4, 20, 30), np.uint8, {"extrasamples": ["unassalpha"], "planarconfig": "separate"}),
    ],
)
def test_four_channels_that_a_library_wrote_as_color_and_alpha_stay_four(
    tmp_path: Path, shape: Any, dtype: Any, kind: dict[str, Any], options: dict[str, Any]
) -> None:
    pixels = ramp(*shape, dtype=dtype)
    tifffile.imwrite(tmp_path / "four.tif", pixels, photometric="rgb", **kind, **options)
    # Two frames or more: the person names what they are.
    axes = "TYXC" if len(shape) == 4 else None
    image = open_image(tmp_path / "four.tif", axes=axes)
    assert image.channels == 4
    np.testing.assert_array_equal(image.read(), pixels)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # that tifffile calls this color is so
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [((4, 20, 30), "ZYX"), ((4, 20, 30), "TYX"), ((20, 30, 4), "YXC"), ((2, 4, 20, 30), "TZYX")],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_named_axis_keeps_all_its_planes(
    tmp_path: Path, shape: Any, axes: str, dtype: Any, options: dict[str, Any]
) -> None:
    pixels = ramp(*shape, dtype=dtype)
    tifffile.imwrite(tmp_path / "four.tif", pixels, **options)
    np.testing.assert_array_equal(open_image(tmp_path / "four.tif", axes=axes).read(), pixels)
    if "C" not in axes:
        labels = open_labels(tmp_path / "four.tif", axes=axes)
        np.testing.assert_array_equal(labels.read(), pixels)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("count", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_what_libraries_write_of_planes_is_read_whole_when_the_axes_are_named(
    tmp_path: Path, count: int, dtype: Any
) -> None:
    planes = ramp(count, 20, 30, dtype=dtype)
    tifffile.imwrite(tmp_path / "tifffile.tif", planes)
    tifffile.imwrite(tmp_path / "ome.ome.tif", planes)
    tifffile.imwrite(tmp_path / "last.tif", np.moveaxis(planes, 0, -1))
    tifffile.imwrite(tmp_path / "imagej.tif", planes, imagej=True, metadata={"axes": "CYX"})
    for name in ("tifffile.tif", "ome.ome.tif", "imagej.tif"):
        for axes in ("ZYX", "CYX"):
            found = open_image(tmp_path / name, axes=axes).read()
            np.testing.assert_array_equal(found, planes)
        np.testing.assert_array_equal(open_labels(tmp_path / name, axes="ZYX").read(), planes)
    found = open_image(tmp_path / "last.tif", axes="YXC").read("CYX")
    np.testing.assert_array_equal(found, planes)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_png_of_four_channels_keeps_them_and_a_picture_loses_its_alpha(
    tmp_path: Path, dtype: Any
) -> None:
    four = ramp(20, 30, 4, dtype=dtype)
    picture = cut_out(four.copy())
    for name, pixels in (("four.png", four), ("picture.png", picture)):
        (tmp_path / name).write_bytes(bytes(imagecodecs.png_encode(pixels)))
        named = open_image(tmp_path / name, axes="YXC")
        np.testing.assert_array_equal(named.read(), pixels)
    np.testing.assert_array_equal(open_image(tmp_path / "four.png").read(), four)
    image = open_image(tmp_path / "picture.png")
    np.testing.assert_array_equal(image.read(), picture[..., :3])
    assert image.notes == (ALPHA_NOTE,)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_mask_of_four_planes_is_refused_until_its_axes_are_named(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "mask.tif", ramp(4, 20, 30))
    with pytest.raises(
        MaskError, match=r"has 4 channels \(axes CYX, shape \(4, 20, 30\)\)"
    ) as caught:
        open_labels(tmp_path / "mask.tif")
    assert "--axes ZYX" in caught.value.way_out


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
def test_alpha_is_left_out_of_grey_but_a_second_channel_is_not(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    pixels = cut_out(ramp(20, 30, 2, dtype=np.uint8))
    common = {"photometric": "minisblack", "planarconfig": "contig", **options}
    tifffile.imwrite(tmp_path / "alpha.tif", pixels, extrasamples=["unassalpha"], **common)
    tifffile.imwrite(tmp_path / "two.tif", pixels, extrasamples=["unspecified"], **common)
    alpha, two = open_image(tmp_path / "alpha.tif"), open_image(tmp_path / "two.tif")
    assert (alpha.channels, two.channels) == (1, 2)
    np.testing.assert_array_equal(alpha.read("YX"), pixels[..., 0])


def test_a_stack_without_names_is_refused_with_its_shape_and_the_way_out(tmp_path: Path) -> None:
    np.save(tmp_path / "stack.npy", ramp(4, 5, 6))
    tifffile.imwrite(tmp_path / "shaped.tif", ramp(4, 5, 6), photometric="minisblack")
    tifffile.imwrite(tmp_path / "plain.tif", ramp(4, 5, 6), photometric="minisblack", metadata=None)
    for name in ("stack.npy", "shaped.tif", "plain.tif"):
        with pytest.raises(AxesError) as caught:
            open_image(tmp_path / name)
        assert "(4, 5, 6), and nothing in the file says what its 3 dimensions are" in str(
            caught.value
        )
        assert "--axes ZYX" in caught.value.way_out
        assert open_image(tmp_path / name, axes="tyx").axes == "TYX"


@pytest.mark.parametrize(
    ("shape", "example"),
    [((3, 4, 5), "ZYX"), ((64, 64, 1), "YXC"), ((2, 3, 4, 5), "TZYX"), ((2, 3, 4, 5, 6), "TCZYX")],
)
def test_the_way_out_names_as_many_axes_as_there_are(
    tmp_path: Path, shape: tuple[int, ...], example: str
) -> None:
    np.save(tmp_path / "stack.npy", ramp(*shape))
    with pytest.raises(AxesError) as caught:
        open_image(tmp_path / "stack.npy")
    assert f"--axes {example})" in caught.value.way_out
    assert open_image(tmp_path / "stack.npy", axes=example).axes == example


@pytest.mark.parametrize("shape", [(), (5,), (2,) * 6])
def test_what_no_axes_could_name_is_no_image(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "row.npy", np.ones(shape, np.uint8))
    with pytest.raises(ImageError, match="is not an image: its shape is"):
        open_image(tmp_path / "row.npy")


def test_a_film_in_colour_without_names_keeps_what_is_known(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "film.tif", ramp(4, 16, 16, 3, dtype=np.uint8), photometric="rgb")
    with pytest.raises(AxesError, match="ZYXC"):
        open_image(tmp_path / "film.tif")
    assert open_image(tmp_path / "film.tif", axes="TYXS").axes == "TYXC"


def test_given_axes_win_where_they_fit(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "stack.tif", ramp(4, 5, 6), metadata={"axes": "ZYX"}, photometric="minisblack"
    )
    assert open_image(tmp_path / "stack.tif", axes="TYX").axes == "TYX"
    with pytest.raises(
        AxesError, match=r"Axes 'YX' name 2 dimensions, but the image has 3: \(4, 5, 6\)"
    ):
        open_image(tmp_path / "stack.tif", axes="YX")


@pytest.mark.parametrize("axes", ["TCZYX", "CYX", "ZYX"])
def test_named_axes_may_count_those_of_length_one_or_not(tmp_path: Path, axes: str) -> None:
    five = ramp(1, 2, 1, 20, 30)
    tifffile.imwrite(tmp_path / "a.tif", five)
    tifffile.imwrite(tmp_path / "b.tif", five, compression="zlib")
    tifffile.imwrite(
        tmp_path / "c.tif", five.swapaxes(1, 2), imagej=True, metadata={"axes": "TZCYX"}
    )
    for name in ("a.tif", "b.tif", "c.tif"):
        named = "TZCYX" if (name, axes) == ("c.tif", "TCZYX") else axes
        image = open_image(tmp_path / name, axes=named)
        assert image.axes == named
        np.testing.assert_array_equal(image.read().reshape(2, 20, 30), five[0, :, 0])


def test_a_plane_is_a_stack_of_one_plane_where_that_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ramp(20, 30))
    tifffile.imwrite(tmp_path / "a.tif", ramp(20, 30))
    tifffile.imwrite(tmp_path / "b.tif", ramp(20, 30), compression="zlib")
    for name in ("a.npy", "a.tif", "b.tif"):
        image = open_image(tmp_path / name, axes="ZYX")
        assert image.shape == (1, 20, 30)
        assert len(list(image.frames(3))) == 1
        np.testing.assert_array_equal(image.read("YX"), ramp(20, 30))
    # Where nobody knows which axis is missing, none is invented.
    np.save(tmp_path / "b.npy", ramp(4, 20, 30))
    with pytest.raises(AxesError, match="name 4 dimensions, but the image has 3"):
        open_image(tmp_path / "b.npy", axes="TZYX")


def test_an_axis_of_length_one_is_kept_where_it_is_declared(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "one.tif", ramp(1, 5, 6), metadata={"axes": "ZYX"}, photometric="minisblack"
    )
    tifffile.imwrite(tmp_path / "unnamed.tif", ramp(1, 5, 6), photometric="minisblack")
    assert open_image(tmp_path / "one.tif").shape == (1, 5, 6)
    assert open_image(tmp_path / "one.tif", axes="YX").shape == (5, 6)
    assert open_image(tmp_path / "unnamed.tif").axes == "YX"


# Laziness


@law
@given(
    shape=npst.array_shapes(min_dims=3, max_dims=4, max_side=4),
    choice=st.data(),
    compressed=st.booleans(),
    big_endian=st.booleans(),
)
def test_a_slice_of_a_lazy_image_is_the_slice_of_its_pixels(
    tmp_path: Path,
    shape: tuple[int, ...],
    choice: st.DataObject,
    compressed: bool,
    big_endian: bool,
) -> None:
    pixels, axes = ramp(*shape[:-1], shape[-1] + 1), "TZYX"[-len(shape) :]
    with tifffile.TiffWriter(
        tmp_path / "stack.tif", byteorder=">" if big_endian else "<"
    ) as writer:
        writer.write(
            pixels,
            metadata={"axes": axes},
            photometric="minisblack",
            compression="zlib" if compressed else None,
        )
    image = open_image(tmp_path / "stack.tif")
    for _ in range(3):
        key = choice.draw(npst.basic_indices(pixels.shape, allow_newaxis=False))
        np.testing.assert_array_equal(image.data[key], pixels[key])


@law
@given(
    shape=st.sampled_from([(40, 50), (3, 40, 50), (40, 50, 3), (2, 40, 50, 4), (3, 3, 40, 50)]),
    options=st.sampled_from(
        [
            {"compression": "zlib", "rowsperstrip": 7},
            {"compression": "lzw", "rowsperstrip": 1, "predictor": True},
            {"tile": (16, 32)},
            {"tile": (16, 16), "compression": "zlib"},
            {"tile": (64, 64), "compression": "zlib"},
        ]
    ),
    separate=st.booleans(),
    choice=st.data(),
)
def test_a_slice_of_strips_and_tiles_is_the_slice_of_their_pixels(
    tmp_path: Path,
    shape: tuple[int, ...],
    options: dict[str, Any],
    separate: bool,
    choice: st.DataObject,
) -> None:
    pixels = ramp(*shape)
    last = shape[-1] in (3, 4)
    axes = ("TYXC" if last else "TZYX")[-len(shape) :]
    kind: dict[str, Any] = {"photometric": "minisblack"}
    if last:
        kind["planarconfig"] = "separate" if separate else "contig"
        if separate:
            pixels = np.moveaxis(pixels, -1, -3)
            axes = axes.replace("YXC", "CYX")
    path = tmp_path / "parts.tif"
    tifffile.imwrite(path, pixels, metadata={"axes": axes.replace("C", "S")}, **kind, **options)
    image = open_image(path, axes=axes)
    np.testing.assert_array_equal(image.read(), pixels)
    for _ in range(4):
        key = choice.draw(npst.basic_indices(pixels.shape, allow_newaxis=False))
        np.testing.assert_array_equal(image.data[key], pixels[key])


def test_only_the_tiles_of_a_slice_are_read(tmp_path: Path) -> None:
    path, pixels = tmp_path / "tiles.tif", ramp(64, 96)
    tifffile.imwrite(path, pixels, tile=(16, 16), compression="zlib")
    with tifffile.TiffFile(path) as file:
        where = file.pages.first.dataoffsets[6 + 1]
    content = bytearray(path.read_bytes())
    content[where : where + 10] = b"\xff" * 10
    path.write_bytes(content)
    image = open_image(path)
    np.testing.assert_array_equal(image.data[:16], pixels[:16])
    np.testing.assert_array_equal(image.data[:, 32:], pixels[:, 32:])
    with pytest.raises(ImageError, match="cannot be read"):
        image.data[16, 16]


def test_only_the_pages_of_a_slice_are_read(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, ramp(6, 40, 50), metadata={"axes": "ZYX"}, compression="zlib")
    with tifffile.TiffFile(path) as file:
        where = [page.dataoffsets[0] for page in file.pages]
    content = bytearray(path.read_bytes())
    content[where[4] : where[4] + 10] = b"\xff" * 10
    path.write_bytes(content)
    image = open_image(path)
    np.testing.assert_array_equal(image.data[:4, 3:7, 8], ramp(6, 40, 50)[:4, 3:7, 8])
    with pytest.raises(ImageError, match="cannot be read"):
        image.data[4]


def test_uncompressed_files_are_mapped(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", ramp(5, 6))
    np.save(tmp_path / "a.npy", ramp(5, 6))
    assert all(
        isinstance(open_image(tmp_path / name).data, np.memmap) for name in ("a.tif", "a.npy")
    )


def test_a_lazy_image_can_be_sent_to_another_process(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif",
        ramp(3, 5, 6),
        metadata={"axes": "ZYX"},
        compression="zlib",
        photometric="minisblack",
    )
    data = pickle.loads(pickle.dumps(open_image(tmp_path / "a.tif").data))
    assert isinstance(data, PagedArray)
    np.testing.assert_array_equal(data[1:], ramp(3, 5, 6)[1:])
    with pytest.raises(IndexError):
        data[0, 0, 0, 0]


# Pixel size and channel names


@pytest.mark.parametrize(
    ("unit", "factor"), [("um", 1), ("micron", 1), ("\\u00B5m", 1), ("nm", 1e-3), ("mm", 1e3)]
)
def test_imagej_says_the_pixel_size(tmp_path: Path, unit: str, factor: float) -> None:
    metadata = {"axes": "ZYX", "spacing": 3.0, "unit": unit}
    tifffile.imwrite(
        tmp_path / "a.tif", ramp(2, 5, 6), imagej=True, resolution=(4, 2), metadata=metadata
    )
    assert open_image(tmp_path / "a.tif").pixel_size_um == pytest.approx(
        {"X": 0.25 * factor, "Y": 0.5 * factor, "Z": 3.0 * factor}
    )


@pytest.mark.parametrize(("unit", "factor"), [("µm", 1), ("nm", 1e-3), ("Å", 1e-4), ("mm", 1e3)])
def test_ome_says_the_pixel_size(tmp_path: Path, unit: str, factor: float) -> None:
    metadata: dict[str, Any] = {"axes": "ZYX"}
    for axis, size in (("X", 0.25), ("Y", 0.5), ("Z", 3.0)):
        metadata |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": unit}
    tifffile.imwrite(tmp_path / "a.ome.tif", ramp(2, 5, 6), metadata=metadata)
    assert open_image(tmp_path / "a.ome.tif").pixel_size_um == pytest.approx(
        {"X": 0.25 * factor, "Y": 0.5 * factor, "Z": 3.0 * factor}
    )


@pytest.mark.parametrize(
    ("resolution", "unit", "expected"),
    [
        ((20000, 10000), "CENTIMETER", {"X": 0.5, "Y": 1.0}),
        ((25400, 25400), "INCH", {"X": 1.0, "Y": 1.0}),
        ((72, 72), "INCH", {}),
        ((1, 1), "CENTIMETER", {}),
        ((3, 3), "NONE", {}),
    ],
)
def test_resolution_tags_say_the_pixel_size_but_print_settings_do_not(
    tmp_path: Path, resolution: Any, unit: str, expected: dict[str, float]
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", ramp(5, 6), resolution=resolution, resolutionunit=unit)
    assert open_image(tmp_path / "a.tif").pixel_size_um == expected


@pytest.mark.parametrize("size", ["0", "-1", "nan", "inf", "1e-320", "1e300"])
def test_an_impossible_pixel_size_is_ignored_and_said(tmp_path: Path, size: str) -> None:
    stack = ramp(3, 5, 6)
    sizes = {"X": 0.5, "Y": 0.5}
    # Of the width that the longest number needs, so that nothing in the files moves.
    place = "SIZESIZE"
    ome = {"axes": "ZYX", "PhysicalSizeZ": place, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, metadata=ome, photometric="minisblack")
    imagej = {"axes": "ZYX", "spacing": place, "unit": "um"}
    tifffile.imwrite(tmp_path / "b.tif", stack, imagej=True, metadata=imagej, resolution=(2.0, 2.0))
    write_image(tmp_path / "c.tif", Image(stack, "ZYX", {"Z": 123.2512, **sizes}))
    for name, old in (("a.ome.tif", place), ("b.tif", place), ("c.tif", "123.2512")):
        # JSON has words of its own for what is no number.
        word = {"nan": "NaN", "inf": "Infinity"}.get(size, size) if name == "c.tif" else size
        path = tmp_path / name
        content = path.read_bytes()
        assert old.encode() in content
        path.write_bytes(content.replace(old.encode(), word.ljust(8).encode()))
        image = open_image(path)
        assert image.pixel_size_um == sizes
        assert image.notes == (
            f"The file's pixel size (Z {float(size):g} µm) is impossible: ignored.",
        )
        np.testing.assert_array_equal(image.read(), stack)


def test_channels_are_named_by_ome_and_imagej(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        ramp(2, 5, 6),
        photometric="minisblack",
        metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "µ"]}},
    )
    tifffile.imwrite(
        tmp_path / "a.tif",
        ramp(2, 5, 6),
        imagej=True,
        metadata={"axes": "CYX", "Labels": ["DAPI", "GFP"]},
    )
    assert open_image(tmp_path / "a.ome.tif").channel_names == ("DAPI", "µ")
    assert open_image(tmp_path / "a.tif").channel_names == ("DAPI", "GFP")


# PNG, JPEG, NPY


@pytest.mark.parametrize(
    ("mode", "axes", "dtype"),
    [
        ("1", "YX", "bool"),
        ("L", "YX", "uint8"),
        ("LA", "YX", "uint8"),
        ("I;16", "YX", "uint16"),
        ("RGB", "YXC", "uint8"),
        ("RGBA", "YXC", "uint8"),
    ],
)
def test_png_of_every_mode_opens(tmp_path: Path, mode: str, axes: str, dtype: str) -> None:
    Pillow.new("RGBA", (6, 5), (9, 9, 9, 255)).convert(mode).save(tmp_path / "a.png")
    image = open_image(tmp_path / "a.png")
    assert (image.axes, str(image.data.dtype), image.shape[:2]) == (axes, dtype, (5, 6))
    assert image.channels == (3 if axes == "YXC" else 1)


def test_a_palette_is_colours_in_an_image_and_labels_in_a_mask(tmp_path: Path) -> None:
    indices = ramp(5, 6, dtype=np.uint8) % 3
    picture = Pillow.fromarray(indices).convert("P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.putdata(indices.ravel().tolist())
    picture.save(tmp_path / "a.png")
    colormap = np.zeros((3, 256), np.uint16)
    colormap[0, 1], colormap[1, 2] = 65535, 65535
    tifffile.imwrite(tmp_path / "a.tif", indices, photometric="palette", colormap=colormap)
    for name in ("a.png", "a.tif"):
        np.testing.assert_array_equal(open_labels(tmp_path / name).read(), indices)
        image = open_image(tmp_path / name)
        assert image.axes == "YXC"
        np.testing.assert_array_equal(image.read()[..., 0], np.where(indices == 1, 255, 0))


def test_the_lookup_table_of_imagej_is_for_display_only(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif",
        ramp(5, 6, dtype=np.uint8),
        imagej=True,
        colormap=np.zeros((3, 256), np.uint16),
    )
    np.testing.assert_array_equal(open_image(tmp_path / "a.tif").read(), ramp(5, 6))


def test_jpeg_is_an_image_but_no_mask(tmp_path: Path) -> None:
    Pillow.new("RGB", (6, 5)).save(tmp_path / "a.jpg")
    assert open_image(tmp_path / "a.jpg").axes == "YXC"
    with pytest.raises(MaskError, match="is a JPEG, which blurs"):
        open_labels(tmp_path / "a.jpg")


def test_a_mask_that_went_through_jpeg_is_refused_whatever_its_file(tmp_path: Path) -> None:
    mask = ((ramp(16, 24) > 99) * 255).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", mask, compression="jpeg", compressionargs={"level": 80})
    assert open_image(tmp_path / "a.tif").read().shape == (16, 24)
    Pillow.fromarray(mask).save(tmp_path / "b.png", "JPEG")
    for name in ("a.tif", "b.png"):
        with pytest.raises(MaskError, match="JPEG, which blurs") as caught:
            open_labels(tmp_path / name)
        assert "from where it was drawn" in caught.value.way_out
    # The way out.
    tifffile.imwrite(tmp_path / "a.tif", mask, compression="lzw")
    np.testing.assert_array_equal(open_labels(tmp_path / "a.tif").read(), mask)


def test_of_a_camera_picture_with_previews_the_picture_is_read(tmp_path: Path) -> None:
    picture = Pillow.fromarray(ramp(32, 48, dtype=np.uint8))
    preview = picture.resize((12, 8))
    picture.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[preview])
    assert open_image(tmp_path / "a.jpg").shape == (32, 48)


def test_npy_of_foreign_byte_order_and_layout_opens(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.asfortranarray(ramp(5, 6).astype(">u2")))
    image = open_image(tmp_path / "a.npy")
    assert image.data.dtype == np.uint16
    np.testing.assert_array_equal(image.read(), ramp(5, 6))


class Trap:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('code of a stranger ran')",)


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.array([[Trap()]], object), "Python objects, not intensities"),
        (np.zeros((3, 3), complex), "complex numbers, not intensities"),
        (np.zeros((3, 3), "U4"), "values of type <U4"),
        (np.zeros((3, 3), "datetime64[s]"), "values of type datetime64"),
        (np.zeros((3, 3), [("a", int)]), "values of type"),
        (np.zeros((0, 3), np.uint8), r"is empty: its shape is \(0,"),
    ],
)
def test_npy_that_holds_no_pixels_is_refused_unread(
    tmp_path: Path, pixels: Any, words: str
) -> None:
    np.save(tmp_path / "a.npy", pixels, allow_pickle=True)
    with pytest.raises(ImageError, match=words):
        open_image(tmp_path / "a.npy")


def test_a_complex_tiff_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 3), np.complex64))
    with pytest.raises(ImageError, match="holds complex numbers"):
        open_image(tmp_path / "a.tif")


# What stored numbers mean


def fiji_signed(path: Path, values: np.ndarray, **more: Any) -> None:
    """As Fiji saves signed 16-bit pixels: with an offset that only its description tells."""
    tifffile.imwrite(
        path,
        (values.astype(np.int32) + 32768).astype(np.uint16),
        byteorder=">",
        metadata=None,
        description="ImageJ=1.54f\nunit=pixel\ncf=0\nc0=-32768\nc1=1\nvunit=Gray Value\n",
        photometric="minisblack",
        **more,
    )


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
def test_the_signed_numbers_of_imagej_are_read_as_signed(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    values = ramp(5, 6).astype(np.int16) - 7
    fiji_signed(tmp_path / "a.tif", values, **options)
    image = open_image(tmp_path / "a.tif")
    assert image.data.dtype == np.int16
    np.testing.assert_array_equal(image.read(), values)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(image.data))[2, 1:4], values[2, 1:4])
    assert "c0 = -32768" in image.notes[0]
    fiji_signed(tmp_path / "b.tif", ramp(5, 6), **options)
    labels = open_labels(tmp_path / "b.tif")
    np.testing.assert_array_equal(labels.read(), ramp(5, 6))
    assert "c0 = -32768" in labels.notes[0]


def test_another_calibration_of_imagej_leaves_the_numbers(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif",
        ramp(5, 6),
        metadata=None,
        description="ImageJ=1.54f\ncf=0\nc0=3\nc1=0.5\nvunit=OD\n",
    )
    image = open_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.read(), ramp(5, 6))
    assert image.notes == ()


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.uint16])
def test_what_has_white_as_zero_is_read_as_it_is_shown(
    tmp_path: Path, dtype: Any, options: dict[str, Any]
) -> None:
    values = (ramp(16, 24) > 99) if dtype is np.bool_ else ramp(16, 24, dtype=dtype)
    tifffile.imwrite(tmp_path / "a.tif", ~values, photometric="miniswhite", **options)
    image = open_image(tmp_path / "a.tif")
    assert image.data.dtype == dtype
    np.testing.assert_array_equal(image.read(), values)
    assert "WhiteIsZero" in image.notes[0]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_mask_with_white_as_zero_has_its_background_at_zero(tmp_path: Path, dtype: Any) -> None:
    labels = (ramp(16, 24) // 50).astype(dtype)
    binary = ((labels > 3) * np.iinfo(dtype).max).astype(dtype)
    # As the file says: shown black on white, so the objects are those that are white.
    for name, mask in (("labels.tif", labels), ("binary.tif", binary)):
        tifffile.imwrite(tmp_path / name, ~mask, photometric="miniswhite")
        np.testing.assert_array_equal(open_labels(tmp_path / name).read(), mask)
        assert "WhiteIsZero" in open_labels(tmp_path / name).notes[0]
    # Numbers that are labels as they are stored stay so.
    tifffile.imwrite(tmp_path / "plain.tif", labels, photometric="miniswhite")
    found = open_labels(tmp_path / "plain.tif")
    np.testing.assert_array_equal(found.read(), labels)
    assert found.notes == ()


def test_the_inverting_table_of_imagej_is_for_display_only(tmp_path: Path) -> None:
    mask = ((ramp(16, 24) > 99) * 255).astype(np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif",
        mask,
        photometric="miniswhite",
        metadata=None,
        description="ImageJ=1.54f\nunit=pixel\n",
    )
    for opened in (open_image(tmp_path / "a.tif"), open_labels(tmp_path / "a.tif")):
        np.testing.assert_array_equal(opened.read(), mask)


# Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_camera_picture_is_turned_upright(tmp_path: Path, orientation: int) -> None:
    from PIL import ImageOps

    exif = Pillow.Exif()
    exif[274] = orientation
    for name, pixels in (("a.jpg", ramp(16, 24)), ("a.png", ramp(16, 24))):
        picture = Pillow.fromarray(pixels.astype(np.uint8))
        picture.save(tmp_path / name, exif=exif)
        with Pillow.open(tmp_path / name) as stored:
            upright = np.asarray(ImageOps.exif_transpose(stored))
        np.testing.assert_array_equal(open_image(tmp_path / name).read(), upright)
    np.testing.assert_array_equal(open_labels(tmp_path / "a.png").read(), upright)


@law
@given(
    orientation=st.integers(1, 8),
    options=st.sampled_from(
        [{}, {"compression": "zlib"}, {"compression": "zlib", "rowsperstrip": 3}]
    ),
    shape=st.sampled_from([(5, 7), (5, 7, 3)]),
    choice=st.data(),
)
def test_a_tiff_that_lies_on_its_side_is_turned_upright_lazily(
    tmp_path: Path,
    orientation: int,
    options: dict[str, Any],
    shape: tuple[int, ...],
    choice: st.DataObject,
) -> None:
    from PIL import ImageOps

    pixels = ramp(*shape, dtype=np.uint8)
    path = tmp_path / "a.tif"
    tag = [(274, 3, 1, orientation, True)]
    kind = "rgb" if len(shape) == 3 else "minisblack"
    tifffile.imwrite(
        path,
        pixels,
        photometric=kind,
        extratags=tag,
        metadata=None,
        resolution=(20000, 10000),
        resolutionunit="CENTIMETER",
        **options,
    )
    exif = Pillow.Exif()
    exif[274] = orientation
    picture = Pillow.fromarray(pixels)
    picture.getexif()[274] = orientation
    upright = np.asarray(ImageOps.exif_transpose(picture))
    image = open_image(path)
    assert image.shape == upright.shape
    sizes = {"X": 0.5, "Y": 1.0} if orientation < 5 else {"X": 1.0, "Y": 0.5}
    assert image.pixel_size_um == pytest.approx(sizes)
    np.testing.assert_array_equal(image.read(), upright)
    for _ in range(3):
        key = choice.draw(npst.basic_indices(upright.shape, allow_newaxis=False))
        np.testing.assert_array_equal(image.data[key], upright[key])


# Masks


def test_a_mask_loses_its_only_channel(tmp_path: Path) -> None:
    for name, options in (("a.tif", {"compression": "zlib"}), ("b.tif", {})):
        tifffile.imwrite(
            tmp_path / name,
            ramp(1, 5, 6),
            metadata={"axes": "CYX"},
            photometric="minisblack",
            **options,
        )
        labels = open_labels(tmp_path / name)
        assert (labels.axes, labels.shape) == ("YX", (5, 6))
        np.testing.assert_array_equal(labels.read(), ramp(5, 6))


def test_a_mask_in_alpha_is_read_from_there_and_said(tmp_path: Path) -> None:
    mask = (ramp(5, 6) > 12).astype(np.uint8) * 255
    color = np.full((5, 6), 200, np.uint8)
    drawn = np.stack([color, color, color, mask], -1)
    Pillow.fromarray(drawn).save(tmp_path / "color.png")
    Pillow.fromarray(np.stack([color, mask], -1), "LA").save(tmp_path / "grey.png")
    for name in ("color.png", "grey.png"):
        labels = open_labels(tmp_path / name)
        np.testing.assert_array_equal(labels.read(), mask)
        assert labels.notes == (ALPHA_MASK_NOTE,)
    # A mask that fills its color is no mask in alpha.
    Pillow.fromarray(np.stack([mask, color], -1), "LA").save(tmp_path / "plain.png")
    np.testing.assert_array_equal(open_labels(tmp_path / "plain.png").read(), mask)


def test_a_grey_mask_that_was_saved_in_color_is_read_and_said(tmp_path: Path) -> None:
    mask = (ramp(5, 6) > 12).astype(np.uint8) * 255
    tifffile.imwrite(tmp_path / "a.tif", np.stack([mask] * 3, -1), photometric="rgb")
    Pillow.fromarray(mask).convert("RGB").save(tmp_path / "a.png")
    for name in ("a.tif", "a.png"):
        labels = open_labels(tmp_path / name)
        assert labels.axes == "YX"
        np.testing.assert_array_equal(labels.read(), mask)
        assert "without color" in labels.notes[0]
    # Three equal planes are a stack, not a picture.
    tifffile.imwrite(tmp_path / "b.tif", np.stack([mask] * 3), photometric="rgb")
    with pytest.raises(MaskError, match="has 3 channels"):
        open_labels(tmp_path / "b.tif")


def test_a_coloured_mask_is_refused(tmp_path: Path) -> None:
    colors = np.zeros((5, 6, 3), np.uint8)
    colors[2, 2] = 255, 0, 0
    Pillow.fromarray(colors).save(tmp_path / "a.png")
    with pytest.raises(
        MaskError,
        match=r"has 3 channels \(axes YXC, shape \(5, 6, 3\)\); a mask has one number per pixel",
    ) as caught:
        open_labels(tmp_path / "a.png")
    assert "one channel" in caught.value.way_out


# Files that are not what they should be


def test_several_images_in_one_file_are_refused_until_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(ramp(5, 6))
        writer.write(ramp(7, 8))
    with pytest.raises(
        ImageError,
        match=r"holds 2 images \(\(5, 6\), \(7, 8\)\), and none of them was selected",
    ) as caught:
        open_image(path)
    assert f"'{path}::0'" in caught.value.way_out
    image = open_image(f"{path}::1")
    assert (image.shape, image.name) == ((7, 8), "a.tif::1")
    with pytest.raises(ImageError, match="and none of them is '2'"):
        open_image(f"{path}::2")


def test_a_pyramid_is_one_image_whose_levels_have_larger_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    size = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    with tifffile.TiffWriter(path) as writer:
        writer.write(ramp(64, 96), subifds=2, tile=(16, 16), metadata={"axes": "YX", **size})
        writer.write(ramp(64, 96)[::2, ::2], subfiletype=1, tile=(16, 16))
        writer.write(ramp(64, 96)[::4, ::4], subfiletype=1, tile=(16, 16))
    assert open_image(path).shape == (64, 96)
    level = open_image(f"{path}::@2")
    np.testing.assert_array_equal(level.read(), ramp(64, 96)[::4, ::4])
    assert level.pixel_size_um == {"X": 2.0, "Y": 2.0}
    with pytest.raises(ImageError, match="has 3 resolution levels, not one numbered 3"):
        open_image(f"{path}::@3")


def test_previews_and_labels_of_slides_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        options = {"metadata": None, "photometric": "minisblack"}
        writer.write(ramp(8, 12)[::2, ::2], subfiletype=1, **options)
        writer.write(ramp(16, 24), description="Aperio Image Library v1\n16x24", **options)
        writer.write(ramp(5, 7), description="Aperio Image Library v1\nlabel 5x7", **options)
        writer.write(ramp(9, 4), description="macro", **options)
    image = open_image(path)
    assert image.shape == (16, 24)
    assert image.name == "a.tif"
    np.testing.assert_array_equal(image.read(), ramp(16, 24))
    assert find_images([tmp_path]) == [ImageRef.of(path)]
    assert find_format(ImageRef.of(path)).identity(ImageRef.of(path)) == hash_file(path)
    # Each can be named all the same.
    assert open_image(f"{path}::2").shape == (5, 7)


def test_a_file_of_nothing_but_previews_has_them_as_images(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for side in (8, 4):
            writer.write(ramp(side, 12), subfiletype=1, metadata=None, photometric="minisblack")
    assert len(find_images([path])) == 2
    with pytest.raises(ImageError, match="holds 2 images") as caught:
        open_image(path)
    assert f"'{path}::0'" in caught.value.way_out


def test_a_part_of_a_file_that_holds_one_image_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ramp(5, 6))
    Pillow.fromarray(ramp(5, 6, dtype=np.uint8)).save(tmp_path / "a.png")
    for name in ("a.npy", "a.png"):
        with pytest.raises(ImageError, match="holds a single image"):
            open_image(f"{tmp_path / name}::1")


def test_an_animation_is_refused(tmp_path: Path) -> None:
    frames = [Pillow.new("L", (6, 5), value) for value in (1, 2)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="an animation of 2 pictures"):
        open_image(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif", "a.png", "a.jpg", "a.npy"])
def test_empty_missing_and_foreign_files_are_refused_in_words(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / name
    with pytest.raises(ImageError, match="There is no file"):
        open_image(path)
    path.write_bytes(b"")
    with pytest.raises(ImageError, match=r"is empty \(0 bytes\)"):
        open_image(path)
    path.write_bytes(b"this is a letter to my aunt\n" * 9)
    with pytest.raises(
        ImageError, match="cannot be read: it is damaged, cut short or not the kind"
    ):
        open_image(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(ImageError, match="is a folder, not an image"):
        open_image(path)
    assert not caplog.records


def test_a_picture_that_claims_too_many_pixels_is_refused(tmp_path: Path) -> None:
    size = struct.pack(">4sIIBBBBB", b"IHDR", 60000, 60000, 8, 0, 0, 0, 0)
    header = (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + size + struct.pack(">I", zlib.crc32(size))
    )
    (tmp_path / "a.png").write_bytes(header + struct.pack(">I4s", 100, b"IDAT") + bytes(104))
    with pytest.raises(
        ImageError, match="has more pixels than are read from a PNG or JPEG"
    ) as caught:
        open_image(tmp_path / "a.png")
    assert caught.value.way_out == "Save it as TIFF."


def test_an_unknown_ending_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    (tmp_path / "a.czi").write_bytes(b"x")
    with pytest.raises(ImageError, match="not a kind of image that can be read") as caught:
        open_image(tmp_path / "a.czi")
    assert ".ome.tif" in caught.value.way_out


def samples(folder: Path) -> list[Path]:
    pixels = ramp(3, 40, 50)
    tifffile.imwrite(
        folder / "packed.tif",
        pixels,
        metadata={"axes": "ZYX"},
        photometric="minisblack",
        compression="zlib",
        predictor=True,
    )
    tifffile.imwrite(
        folder / "plain.tif",
        pixels,
        imagej=True,
        metadata={"axes": "ZYX", "unit": "um", "spacing": 2.0},
    )
    tifffile.imwrite(
        folder / "pages.tif", pixels, metadata=None, photometric="minisblack", compression="zlib"
    )
    tifffile.imwrite(folder / "some.ome.tif", pixels, metadata={"axes": "ZYX"}, compression="lzw")
    np.save(folder / "a.npy", pixels[0])
    Pillow.fromarray(pixels[0].astype(np.uint8)).save(folder / "a.png")
    Pillow.fromarray(pixels[0].astype(np.uint8)).save(folder / "a.jpg")
    return sorted(folder.iterdir())


def test_a_file_cut_short_is_refused_or_lacks_no_pixel(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for path in samples(tmp_path):
        content, axes = path.read_bytes(), "ZYX" if path.name == "pages.tif" else None
        whole = open_image(path, axes=axes).read()
        for end in range(0, len(content) - 1, max(1, len(content) // 40)):
            path.write_bytes(content[:end])
            with contextlib.suppress(ImageError, AxesError):
                np.testing.assert_array_equal(open_image(path, axes=axes).read(), whole)
    assert not caplog.records


def test_planes_that_are_missing_are_missed(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", ramp(3, 40, 50), imagej=True, metadata={"axes": "ZYX"})
    (tmp_path / "a.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:6000])
    with pytest.raises(
        ImageError, match="is damaged or cut short: not all of its planes can be found"
    ):
        open_image(tmp_path / "a.tif")


@law
@given(
    which=st.integers(0, 6),
    flips=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8
    ),
)
def test_a_damaged_file_opens_or_is_refused_in_words(
    tmp_path: Path, which: int, flips: list[tuple[float, int]]
) -> None:
    originals = tmp_path / "originals"
    if not originals.exists():
        originals.mkdir()
        samples(originals)
    original = sorted(originals.iterdir())[which]
    content = bytearray(original.read_bytes())
    for place, value in flips:
        # Headers and directories are where damage hurts: most flips go to the front.
        content[int(place**3 * len(content))] = value
    (tmp_path / original.name).write_bytes(content)
    with contextlib.suppress(ImageError, AxesError):
        image = open_image(tmp_path / original.name)
        if np.prod(image.shape, dtype=float) < 1e7:
            image.read()


def test_our_quiet_does_not_silence_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    samples(tmp_path)
    open_image(tmp_path / "packed.tif").read()
    logging.getLogger("tifffile").warning("still heard")
    assert [record.message for record in caplog.records] == ["still heard"]


def test_a_set_of_files_that_lacks_one_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.ome.tif", ramp(2, 5, 6), photometric="minisblack", metadata={"axes": "ZYX"}
    )
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        whole = file.ome_metadata
    plane = (
        '<TiffData IFD="0" FirstZ="{}" PlaneCount="1"><UUID FileName="{}">'
        "urn:uuid:00000000-0000-0000-0000-00000000000{}</UUID></TiffData>"
    )
    first = whole.index("<TiffData")
    last = whole.index("</Pixels>")
    own = plane.format(0, "a.ome.tif", 1) + plane.format(1, "gone.ome.tif", 2)
    head = whole[:first].replace(
        whole[whole.index("urn:uuid") : whole.index("urn:uuid") + 45],
        "urn:uuid:00000000-0000-0000-0000-000000000001",
    )
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        ramp(5, 6),
        description=(head + own + whole[last:]).encode(),
        metadata=None,
        ome=False,
    )
    with pytest.raises(ImageError, match="one of 2 files that make up an image, and 'gone"):
        open_image(tmp_path / "a.ome.tif")


# Real files


def test_all_of_dsb2018_opens(shared_data: Path) -> None:
    images, masks = (
        sorted((shared_data / "dsb2018" / part).glob("*.tif")) for part in ("images", "masks")
    )
    assert len(images) == len(masks) == 70
    for image_path, mask_path in zip(images, masks, strict=True):
        image, labels = open_image(image_path), open_labels(mask_path)
        assert image.axes in ("YX", "YXC")
        assert {axis: image.sizes[axis] for axis in "YX"} == labels.sizes
    assert labels.read().any()


@pytest.mark.parametrize(
    ("name", "axes", "pixel_size"),
    [
        ("plantseg_nuclei_3d/images/train_1135.tif", "ZYX", {}),
        ("plantseg_ovule_3d/masks/sample_ovule.tif", "ZYX", {}),
        ("qcanet_mouse_embryo_3d/images/08_cell_stage.tif", "ZYX", {"Y": 0.8, "X": 0.8}),
        ("axondeepseg_sem/images/sub-rat1_sample-data1.tif", "YX", {"Y": 0.18, "X": 0.18}),
        ("ctc_dic_c2dh_hela/images/s01_t002.tif", "YX", {"Y": 0.19, "X": 0.19}),
        ("kumar_he_nuclei/images/training01_crop512.tif", "YXC", {"Y": 0.25, "X": 0.25}),
        ("reader_samples/FOV7_HV110_P0500510000.ome.tiff", "YX", {}),
    ],
)
def test_real_files_say_their_axes_and_pixel_size(
    shared_data: Path, name: str, axes: str, pixel_size: dict[str, float]
) -> None:
    image = open_image(shared_data / name)
    assert image.axes == axes
    assert image.pixel_size_um == pytest.approx(pixel_size)
    assert image.read().any()


def test_every_real_tiff_opens_without_a_word(
    shared_data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = [path for path in sorted(shared_data.rglob("*")) if path.suffix in (".tif", ".tiff")]
    for path in paths:
        open_image(path)
    assert len(paths) > 300
    assert not caplog.records
