from __future__ import annotations

import gc
import json
import os
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("napari", reason="the window needs napari: pip install 'maskloop[napari]'")
pytest.importorskip("qtpy", reason="the window needs Qt: pip install 'maskloop[napari]'")

from napari.components import ViewerModel
from napari.layers import Layer
from napari.layers._source import layer_source

from maskloop.errors import AxesError, ImageError, MaskError, UsageError
from maskloop.ui.layers import (
    LayerChoice,
    LayerCombo,
    add_labels,
    crop_metadata,
    guess_axes,
    new_mask,
    possible_axes,
    take,
    take_image,
    to_image,
    to_labels,
)
from maskloop.ui.lazy_views import Channels, View, crop

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot


class Watched:
    """Pixels that count how many of them are read, like a file would have them."""

    def __init__(self, pixels: np.ndarray[Any, Any]) -> None:
        self.pixels, self.shape, self.dtype, self.ndim, self.size = (
            pixels,
            pixels.shape,
            pixels.dtype,
            pixels.ndim,
            pixels.size,
        )
        self.read = 0

    def __getitem__(self, key: Any) -> np.ndarray[Any, Any]:
        piece = np.array(self.pixels[key])
        self.read += piece.size
        return piece


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


def ramp(*shape: int, dtype: str = "uint16") -> np.ndarray[Any, Any]:
    return np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape).astype(dtype)


def rectangle(viewer: ViewerModel, *bounds: int, **place: Any) -> Any:
    top, bottom, left, right = bounds
    return viewer.add_shapes(
        [[[top, left], [top, right], [bottom, right], [bottom, left]]],
        shape_type="rectangle",
        **place,
    )


# -- which layer is chosen


def test_the_choice_follows_the_layer_list(viewer: ViewerModel) -> None:
    choice = LayerChoice(viewer, kind="image")
    told: list[str | None] = []
    choice.changed.connect(lambda layer: told.append(layer.name if layer else None))
    assert choice.layer is None
    first = viewer.add_image(ramp(8, 8), name="first")
    assert choice.layer is first
    second = viewer.add_image(ramp(8, 8), name="second")
    viewer.add_labels(np.zeros((8, 8), int), name="mask")
    assert choice.layer is first
    assert choice.choices == [second, first]
    viewer.layers.remove("first")
    assert choice.layer is second
    viewer.layers.remove("second")
    assert choice.layer is None
    assert told == ["first", "second", None]
    choice.close()


def test_the_choice_stays_through_renaming_and_moving(viewer: ViewerModel) -> None:
    layers = [viewer.add_image(ramp(8, 8), name=name) for name in "abc"]
    choice = LayerChoice(viewer)
    choice.choose(layers[1])
    told: list[list[str]] = []
    choice.choices_changed.connect(lambda choices: told.append([layer.name for layer in choices]))
    changed: list[Layer] = []
    choice.changed.connect(changed.append)
    layers[1].name = "renamed"
    viewer.layers.move(0, 3)
    viewer.layers.reverse()
    assert choice.layer is layers[1]
    assert told[0] == ["c", "renamed", "a"]
    assert told[-1] == [layer.name for layer in reversed(viewer.layers)]
    assert changed == []
    choice.close()


def test_a_removed_layer_gives_way_to_the_active_one_or_its_neighbour(viewer: ViewerModel) -> None:
    layers = [viewer.add_image(ramp(8, 8), name=name) for name in "abcd"]
    mask = viewer.add_labels(np.zeros((8, 8), int))
    choice = LayerChoice(viewer)
    choice.choose(layers[2])
    viewer.layers.selection.active = mask
    viewer.layers.remove(layers[2])
    assert choice.layer is layers[1]
    viewer.layers.selection.active = layers[3]
    viewer.layers.remove(layers[1])
    assert choice.layer is layers[3]
    viewer.layers.clear()
    assert choice.layer is None
    choice.close()


def test_a_layer_is_chosen_by_its_name_even_when_it_comes_later(viewer: ViewerModel) -> None:
    viewer.add_image(ramp(8, 8), name="a")
    choice = LayerChoice(viewer)
    assert choice.choose_by_name("a")
    assert not choice.choose_by_name("later")
    later = viewer.add_image(ramp(8, 8), name="later")
    assert choice.layer is later
    assert not choice.choose_by_name("never wanted any more")
    choice.choose(viewer.layers["a"])
    viewer.add_image(ramp(8, 8), name="never wanted any more")
    assert choice.layer is viewer.layers["a"]
    choice.close()


def test_what_is_not_allowed_cannot_be_chosen(viewer: ViewerModel) -> None:
    stack, plane = viewer.add_image(ramp(3, 8, 8)), viewer.add_image(ramp(8, 8))
    choice = LayerChoice(viewer, allow=lambda layer: layer.ndim == 2)
    assert choice.choices == [plane]
    choice.choose(stack)
    assert choice.layer is plane
    choice.close()


def test_two_viewers_have_choices_of_their_own() -> None:
    one, two = ViewerModel(), ViewerModel()
    choices = LayerChoice(one), LayerChoice(two)
    layer = one.add_image(ramp(8, 8))
    assert choices[0].layer is layer
    assert choices[1].layer is None
    for choice in choices:
        choice.close()


def test_a_closed_choice_leaves_nothing_behind(viewer: ViewerModel) -> None:
    names = ("inserted", "removed", "changed", "renamed", "reordered")
    before = [len(getattr(viewer.layers.events, name).callbacks) for name in names]
    choice = LayerChoice(viewer)
    told: list[Any] = []
    choice.changed.connect(told.append)
    choice.close()
    viewer.add_image(
        ramp(8, 8), name="cells"
    )  # without a name napari keeps the variables of this function while it looks for one
    assert told == []
    assert [len(getattr(viewer.layers.events, name).callbacks) for name in names] == before
    gone = weakref.ref(choice)
    del choice
    gc.collect()
    assert gone() is None


# -- axes


@pytest.mark.parametrize(
    ("ndim", "rgb", "first", "count"),
    [
        (2, False, "YX", 1),
        (3, False, "ZYX", 3),
        (4, False, "TZYX", 6),
        (5, False, "TCZYX", 6),
        (6, False, None, 0),
        (2, True, "YXC", 1),
        (3, True, "ZYXC", 2),
    ],
)
def test_possible_axes_fit_the_dimensions(
    ndim: int, rgb: bool, first: str | None, count: int
) -> None:
    found = possible_axes(ndim, rgb)
    assert len(set(found)) == len(found) == count
    assert all(len(axes) == ndim + rgb for axes in found)
    assert (found[0] if found else None) == first


def test_axes_are_told_by_metadata_then_names_and_never_by_lengths(viewer: ViewerModel) -> None:
    assert guess_axes(viewer.add_image(ramp(8, 8)), viewer).axes == "YX"
    stack = viewer.add_image(ramp(3, 8, 8))
    known = guess_axes(stack, viewer)
    assert known.axes is None
    assert known.choices == ("ZYX", "TYX", "CYX")
    stack.axis_labels = ("Time", "row", "column")
    assert guess_axes(stack, viewer).axes == "TYX"
    stack.metadata = {"axes": "czyx"}  # of four dimensions: cannot be meant for this layer
    assert guess_axes(stack, viewer).axes == "TYX"
    stack.metadata = {"axes": "cyx"}
    assert guess_axes(stack, viewer).axes == "CYX"


def test_colours_are_channels_at_the_end(viewer: ViewerModel) -> None:
    assert (
        guess_axes(viewer.add_image(ramp(8, 9, 3, dtype="uint8"), rgb=True), viewer).axes == "YXC"
    )
    stack = viewer.add_image(ramp(2, 8, 9, 4, dtype="uint8"), rgb=True)
    assert guess_axes(stack, viewer).choices == ("ZYXC", "TYXC")
    stack.metadata = {"axes": "TYX"}
    assert guess_axes(stack, viewer).axes == "TYXC"


def test_a_slider_named_by_a_person_tells_the_axes(viewer: ViewerModel) -> None:
    stack = viewer.add_image(ramp(3, 8, 8))
    viewer.dims.axis_labels = ("t", "-2", "-1")
    assert guess_axes(stack, viewer).axes == "TYX"


def test_a_slider_named_after_another_layer_only_makes_a_first_choice(viewer: ViewerModel) -> None:
    unnamed = viewer.add_image(ramp(2, 8, 8))
    viewer.add_image(ramp(2, 8, 8), axis_labels=("c", "y", "x"))
    known = guess_axes(unnamed, viewer)
    assert known.axes is None
    assert known.choices == ("CYX", "ZYX", "TYX")


# -- images


def test_an_image_layer_becomes_an_image_with_its_pixel_size(viewer: ViewerModel) -> None:
    pixels = ramp(4, 8, 9)
    image = to_image(
        viewer.add_image(pixels, scale=(0.002, 65, 65), units=("mm", "nm", "nm"), name="cells"),
        axes="ZYX",
    )
    assert image.pixel_size_um == pytest.approx({"Z": 2.0, "Y": 0.065, "X": 0.065})
    assert (image.name, image.axes) == ("cells", "ZYX")
    np.testing.assert_array_equal(image.read(), pixels)


def test_a_scale_in_pixels_invents_no_pixel_size(viewer: ViewerModel) -> None:
    assert to_image(viewer.add_image(ramp(8, 8), scale=(0.5, 0.5)), axes="YX").pixel_size_um == {}
    time = viewer.add_image(ramp(3, 8, 8), scale=(5, 0.5, 0.5), units=("s", "um", "um"))
    assert to_image(time, axes="TYX").pixel_size_um == {"Y": 0.5, "X": 0.5}


@pytest.mark.parametrize("count", [3, 4])
def test_alpha_is_left_out(viewer: ViewerModel, count: int) -> None:
    pixels = ramp(8, 9, count, dtype="uint8")
    image = to_image(viewer.add_image(pixels, rgb=True), axes="YXC")
    np.testing.assert_array_equal(image.read(), pixels[..., :3])
    assert image.channel_names == ("red", "green", "blue")


def test_a_pyramid_is_read_at_its_finest_level(viewer: ViewerModel) -> None:
    pixels = ramp(64, 64)
    layer = viewer.add_image([pixels, pixels[::2, ::2], pixels[::4, ::4]], multiscale=True)
    np.testing.assert_array_equal(to_image(layer, axes="YX").read(), pixels)


def test_several_layers_become_channels_in_the_given_order(viewer: ViewerModel) -> None:
    one, two = ramp(8, 9, dtype="uint8"), ramp(8, 9, dtype="uint16") + 1000
    layers = [viewer.add_image(two, name="actin"), viewer.add_image(one, name="dapi")]
    image = to_image(layers, axes="YX")
    assert (image.axes, image.channel_names, image.name) == (
        "CYX",
        ("actin", "dapi"),
        "actin + dapi",
    )
    assert image.data.dtype == np.uint16
    np.testing.assert_array_equal(image.read(), np.stack([two, one]))
    assert to_image(layers, axes="YX", name="field 1").name == "field 1"


def test_layers_that_do_not_fit_cannot_be_channels(viewer: ViewerModel) -> None:
    a = viewer.add_image(ramp(8, 9), name="a")
    b = viewer.add_image(ramp(8, 8), name="b")
    moved = viewer.add_image(ramp(8, 9), name="moved", translate=(0, 3))
    mask = viewer.add_labels(np.zeros((8, 9), int), name="mask")
    with pytest.raises(ImageError, match=r"'a' has shape \(8, 9\), 'b' has \(8, 8\)"):
        to_image([a, b], axes="YX")
    with pytest.raises(
        ImageError,
        match=r"'moved' is shifted by up to 3 pixels against 'a': translate \(0, 3\) instead of "
        r"\(0, 0\)",
    ):
        to_image([a, moved], axes="YX")
    with pytest.raises(ImageError, match="Layer 'mask' is a Labels layer, not an Image layer"):
        to_image(mask, axes="YX")
    with pytest.raises(ImageError, match="No image layer selected"):
        to_image([], axes="YX")
    colours = viewer.add_image(ramp(8, 9, 3, dtype="uint8"), rgb=True, name="colours")
    with pytest.raises(AxesError, match="'colours' has axes YXC: it has channels already"):
        to_image([colours, a], axes="YXC")


def test_axes_that_do_not_fit_are_refused_with_those_that_do(viewer: ViewerModel) -> None:
    layer = viewer.add_image(ramp(3, 8, 8), name="stack")
    with pytest.raises(
        AxesError, match="Axes YX do not fit layer 'stack', which has 3 dimensions"
    ) as refused:
        to_image(layer, axes="YX")
    assert refused.value.way_out == "Select one of ZYX, TYX, CYX."


def test_nothing_is_read_until_somebody_looks(viewer: ViewerModel) -> None:
    pixels = ramp(2, 6, 64, 64)
    channels = [Watched(pixels), Watched(pixels + 1)]
    layers = [
        viewer.add_image(channel, contrast_limits=(0, 1), name=str(place))
        for place, channel in enumerate(channels)
    ]
    mask = Watched(pixels % 5)
    labels = viewer.add_labels(mask)
    viewer.dims.point = (1, 4, 0, 0)
    shapes = rectangle(viewer, 8, 24, 16, 48)
    for watched in (*channels, mask):
        watched.read = 0
    image, drawn = take(
        layers, labels, axes="TZYX", extent="rectangle", viewer=viewer, shapes_layer=shapes
    )
    assert [watched.read for watched in (*channels, mask)] == [0, 0, 0]
    np.testing.assert_array_equal(
        image.read(), np.stack([pixels, pixels + 1])[:, 1, 4, 8:24, 16:48]
    )
    np.testing.assert_array_equal(drawn.read(), (pixels % 5)[1, 4, 8:24, 16:48])
    assert [watched.read for watched in (*channels, mask)] == [16 * 32] * 3


def test_dask_arrays_are_computed_only_where_they_are_looked_at(viewer: ViewerModel) -> None:
    da = pytest.importorskip("dask.array", reason="dask comes with napari")
    pixels, computed = ramp(6, 32, 32), []

    def load(block: np.ndarray[Any, Any], block_info: Any = None) -> np.ndarray[Any, Any]:
        computed.append(block_info[0]["chunk-location"][0])
        return block

    layer = viewer.add_image(
        da.from_array(pixels, chunks=(1, 32, 32)).map_blocks(load, dtype=pixels.dtype),
        contrast_limits=(0, 1),
    )
    viewer.dims.point = (4, 0, 0)
    computed.clear()
    image = take_image(layer, axes="ZYX", extent="slice", viewer=viewer)
    assert computed == []
    np.testing.assert_array_equal(image.read(), pixels[4])
    assert set(computed) == {4}


def test_memory_maps_and_zarr_arrays_stay_on_disk(viewer: ViewerModel, tmp_path: Path) -> None:
    pixels = ramp(4, 16, 16)
    np.save(tmp_path / "stack.npy", pixels)
    mapped = to_image(viewer.add_image(np.load(tmp_path / "stack.npy", mmap_mode="r")), axes="ZYX")
    assert isinstance(mapped.data, np.memmap)
    cut = take_image(viewer.layers[0], axes="ZYX", extent="slice", viewer=viewer)
    assert np.shares_memory(np.asarray(cut.data[...]), mapped.data)
    zarr = pytest.importorskip("zarr", reason="zarr is an extra")
    stored = zarr.create_array(
        str(tmp_path / "stack.zarr"), shape=pixels.shape, chunks=(1, 16, 16), dtype=pixels.dtype
    )
    stored[...] = pixels
    layer = viewer.add_image(stored, contrast_limits=(0, 1))
    viewer.dims.point = (2, 0, 0)
    np.testing.assert_array_equal(
        take_image(layer, axes="ZYX", extent="slice", viewer=viewer).read(), pixels[2]
    )


# -- labels


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
)
def test_labels_of_any_type_keep_their_values(viewer: ViewerModel, dtype: str) -> None:
    image = viewer.add_image(ramp(8, 9), name="cells")
    drawn = (ramp(8, 9) % 3).astype(dtype)
    labels = to_labels(viewer.add_labels(drawn, name="mask"), image, axes="YX")
    assert (labels.axes, labels.name) == ("YX", "mask")
    np.testing.assert_array_equal(
        labels.read(), drawn.astype("uint8") if dtype == "bool" else drawn
    )


def test_labels_of_a_pyramid_are_taken_at_the_finest_level(viewer: ViewerModel) -> None:
    image, drawn = viewer.add_image(ramp(64, 64)), ramp(64, 64) % 7
    layer = viewer.add_labels([drawn, drawn[::2, ::2]], multiscale=True)
    np.testing.assert_array_equal(to_labels(layer, image, axes="YX").read(), drawn)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (
            {"translate": (0, 5)},
            r"is shifted by up to 5 pixels against image 'cells': translate \(0, 5\) instead of "
            r"\(0, 0\)\.",
        ),
        ({"scale": (2, 2)}, r"scale \(2, 2\) instead of \(1, 1\)\."),
        ({"rotate": 30}, "different rotation, shear or affine"),
        ({"shear": (0.5,)}, "different rotation, shear or affine"),
        ({"affine": [[1, 0, 4], [0, 1, 0], [0, 0, 1]]}, "is shifted by up to 4 pixels"),
    ],
)
def test_labels_that_lie_elsewhere_are_refused(
    viewer: ViewerModel, place: dict[str, Any], words: str
) -> None:
    image = viewer.add_image(ramp(16, 16), name="cells")
    layer = viewer.add_labels(np.zeros((16, 16), int), name="mask", **place)
    with pytest.raises(MaskError, match=words) as refused:
        to_labels(layer, image, axes="YX")
    assert refused.value.way_out.startswith('Make a mask for this image with the button "New mask"')


def test_the_same_place_in_other_units_is_the_same_place(viewer: ViewerModel) -> None:
    image = viewer.add_image(ramp(16, 16), scale=(0.1, 0.1), translate=(3, 0), units=("um", "um"))
    same = viewer.add_labels(
        np.ones((16, 16), int), scale=(100, 100), translate=(3000, 0), units=("nm", "nm")
    )
    assert to_labels(same, image, axes="YX").read().all()
    unitless = viewer.add_labels(np.ones((16, 16), int), scale=(0.1, 0.1), translate=(3, 0))
    assert to_labels(unitless, image, axes="YX").read().all()
    wrong = viewer.add_labels(
        np.ones((16, 16), int), scale=(0.1, 0.1), translate=(3, 0), units=("nm", "nm"), name="wrong"
    )
    with pytest.raises(
        MaskError, match="units nanometer, nanometer instead of micrometer, micrometer"
    ):
        to_labels(wrong, image, axes="YX")


def test_labels_of_another_shape_are_refused(viewer: ViewerModel) -> None:
    image = viewer.add_image(ramp(16, 16), name="cells")
    with pytest.raises(
        MaskError, match=r"Mask 'mask' is YX \(8, 16\), image 'cells' is YX \(16, 16\)"
    ):
        to_labels(viewer.add_labels(np.zeros((8, 16), int), name="mask"), image, axes="YX")
    with pytest.raises(
        MaskError, match="Mask 'deep' has 3 dimensions, image 'cells' \\(YX\\) has 2"
    ):
        to_labels(viewer.add_labels(np.zeros((2, 16, 16), int), name="deep"), image, axes="YX")


def test_labels_on_one_plane_are_for_the_slice_only(viewer: ViewerModel) -> None:
    stack = viewer.add_image(ramp(4, 16, 16), name="stack")
    layer = viewer.add_labels(ramp(16, 16) % 3, name="mask")
    with pytest.raises(
        MaskError,
        match=r"Mask 'mask' is one plane \(YX\), image 'stack' is a stack \(ZYX\)\.",
    ) as refused:
        to_labels(layer, stack, axes="ZYX")
    assert refused.value.way_out.startswith("Add the slice in view instead of the whole image.")
    viewer.dims.point = (3, 0, 0)
    image, labels = take(stack, layer, axes="ZYX", extent="slice", viewer=viewer)
    np.testing.assert_array_equal(image.read(), stack.data[3])
    np.testing.assert_array_equal(labels.read(), layer.data)
    viewer.dims.ndisplay = 3
    with pytest.raises(MaskError, match="the viewer shows a volume of 'stack'"):
        take(stack, layer, axes="ZYX", extent="slice", viewer=viewer)
    small = viewer.add_labels(np.zeros((8, 16), int), name="small")
    with pytest.raises(
        MaskError, match=r"Mask 'small' is YX \(8, 16\), image 'stack' is YX \(16, 16\)"
    ):
        take(stack, small, axes="ZYX", extent="slice", viewer=viewer)


def test_labels_with_channels_are_for_the_channel_in_view(viewer: ViewerModel) -> None:
    image_layer = viewer.add_image(ramp(2, 16, 16), name="cells")
    layer = viewer.add_labels(ramp(2, 16, 16) % 5, name="mask")  # what napari's own button makes
    with pytest.raises(
        MaskError, match="Mask 'mask' has 2 channels; a mask has one label per pixel"
    ):
        to_labels(layer, image_layer, axes="CYX")
    viewer.dims.point = (1, 0, 0)
    image, labels = take(image_layer, layer, axes="CYX", extent="slice", viewer=viewer)
    assert (image.axes, labels.axes) == ("CYX", "YX")
    np.testing.assert_array_equal(labels.read(), layer.data[1])


# -- extents


def test_the_visible_slice_respects_scale_and_translation(viewer: ViewerModel) -> None:
    pixels = ramp(3, 2, 7, 16, 17)
    layer = viewer.add_image(
        pixels,
        scale=(1, 1, 2.5, 0.5, 0.5),
        translate=(0, 0, -5, 10, 20),
        units=("s", "pixel", "um", "um", "um"),
        name="movie",
    )
    mask = new_mask(viewer, layer, axes="TCZYX")
    mask.data[2, 0, 3] = 9
    viewer.dims.point = (2, 1, 2.5, 10, 20)
    image, labels = take(layer, mask, axes="TCZYX", extent="slice", viewer=viewer)
    assert (image.axes, image.name, image.pixel_size_um) == (
        "CYX",
        "movie t02 z03",
        {"Y": 0.5, "X": 0.5},
    )
    np.testing.assert_array_equal(image.read(), pixels[2, :, 3])
    assert (labels.axes, labels.name) == ("YX", "movie mask t02 z03")
    assert (labels.read() == 9).all()


def test_a_volume_in_view_keeps_its_depth(viewer: ViewerModel) -> None:
    layer = viewer.add_image(ramp(3, 4, 16, 16), name="movie")
    viewer.dims.ndisplay = 3
    viewer.dims.point = (2, 0, 0, 0)
    image = take_image(layer, axes="TZYX", extent="slice", viewer=viewer)
    assert (image.axes, image.name) == ("ZYX", "movie t02")
    np.testing.assert_array_equal(image.read(), layer.data[2])


def test_a_slice_that_is_no_plane_of_rows_and_columns_is_refused(viewer: ViewerModel) -> None:
    layer = viewer.add_image(ramp(4, 16, 16), name="stack")
    viewer.dims.order = (1, 0, 2)
    with pytest.raises(UsageError, match="The viewer shows Z and X of 'stack'"):
        take_image(layer, axes="ZYX", extent="slice", viewer=viewer)


def test_a_slice_beside_the_layer_is_refused(viewer: ViewerModel) -> None:
    layer = viewer.add_image(ramp(4, 16, 16), name="stack", translate=(10, 0, 0))
    viewer.add_image(ramp(20, 16, 16))
    viewer.dims.point = (2, 0, 0)
    with pytest.raises(
        UsageError,
        match="'stack' is not in view: the Z slider is at -8, the layer has 0 to 3",
    ):
        take_image(layer, axes="ZYX", extent="slice", viewer=viewer)


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
def test_a_layer_turned_out_of_the_plane_is_refused(viewer: ViewerModel) -> None:
    layer = viewer.add_image(ramp(4, 16, 16), name="stack", rotate=(20, 0, 30))
    with pytest.raises(UsageError, match="'stack' is rotated out of the plane in view"):
        take_image(layer, axes="ZYX", extent="slice", viewer=viewer)


def test_other_units_of_the_viewer_are_converted(viewer: ViewerModel) -> None:
    layer = viewer.add_image(ramp(9, 16, 16), scale=(500, 100, 100), units=("nm", "nm", "nm"))
    viewer.add_image(ramp(5, 16, 16), scale=(1, 0.1, 0.1), units=("um", "um", "um"))
    viewer.layers.units = ("um", "um", "um")
    viewer.dims.point = (2.0, 0, 0)
    assert crop_metadata(layer, axes="ZYX", extent="slice", viewer=viewer)["index"] == {"Z": 4}
    viewer.layers.units = ("nm", "nm", "nm")
    viewer.dims.point = (2000.0, 0, 0)
    assert crop_metadata(layer, axes="ZYX", extent="slice", viewer=viewer)["index"] == {"Z": 4}


def test_the_rectangle_is_cut_out_of_the_slice(viewer: ViewerModel) -> None:
    layer = viewer.add_image(
        ramp(12, 32, 40), scale=(1, 0.5, 0.5), translate=(0, 3, 4), name="stack"
    )
    mask = viewer.add_labels(
        layer.data % 3, scale=layer.scale, translate=layer.translate, name="mask"
    )
    shapes = rectangle(viewer, 10, 26, 8, 60, scale=(0.5, 0.5), translate=(3, 4))
    viewer.dims.point = (5, 0, 0)
    image, labels = take(
        layer, mask, axes="ZYX", extent="rectangle", viewer=viewer, shapes_layer=shapes
    )
    assert image.name == "stack z05 y10-26 x8-40"
    np.testing.assert_array_equal(image.read(), layer.data[5, 10:26, 8:40])
    np.testing.assert_array_equal(labels.read(), mask.data[5, 10:26, 8:40])
    metadata = crop_metadata(
        layer, mask, axes="ZYX", extent="rectangle", viewer=viewer, shapes_layer=shapes
    )
    assert json.loads(json.dumps(metadata)) == {
        "image_layers": ["stack"],
        "labels_layer": "mask",
        "source_path": None,
        "axes": "ZYX",
        "extent": "rectangle",
        "index": {"Z": 5},
        "rectangle": {"Y": [10, 26], "X": [8, 40]},
    }


def test_a_rectangle_that_is_missing_small_or_ambiguous_is_refused(viewer: ViewerModel) -> None:
    layer = viewer.add_image(ramp(32, 32), name="cells")

    def cut(shapes: Any) -> None:
        take_image(layer, axes="YX", extent="rectangle", viewer=viewer, shapes_layer=shapes)

    for shapes in (None, viewer.add_shapes()):
        with pytest.raises(UsageError, match="No rectangle"):
            cut(shapes)
    with pytest.raises(
        UsageError, match="The rectangle covers 16 x 7 pixels of 'cells'"
    ) as refused:
        cut(rectangle(viewer, 0, 16, 25, 60))
    assert refused.value.way_out == "Draw a rectangle of at least 8 x 8 pixels on the image."
    two = rectangle(viewer, 0, 16, 0, 16, name="regions")
    two.add_rectangles([[8, 8], [24, 24]])
    two.selected_data = set()
    with pytest.raises(UsageError, match="'regions' has 2 shapes, none selected"):
        cut(two)
    two.selected_data = {0, 1}
    with pytest.raises(UsageError, match="'regions' has 2 shapes, 2 selected"):
        cut(two)
    two.selected_data = {1}
    assert take_image(
        layer, axes="YX", extent="rectangle", viewer=viewer, shapes_layer=two
    ).shape == (16, 16)


def test_the_source_file_is_remembered(viewer: ViewerModel) -> None:
    with layer_source(path="folder/cells.tif"):  # as napari does while it opens a file
        layer = viewer.add_image(ramp(16, 16))
    metadata = crop_metadata(layer, axes="YX", extent="whole", viewer=viewer)
    assert metadata["source_path"] == "folder/cells.tif"
    assert (metadata["index"], metadata["rectangle"]) == ({}, {})


STACKS = st.sampled_from(
    ["YX", "ZYX", "TYX", "CYX", "TZYX", "CZYX", "ZCYX", "TCYX", "TCZYX", "TZCYX"]
)


@settings(max_examples=30, deadline=None)
@given(
    axes=STACKS,
    seed=st.integers(0, 2**16),
    step=st.sampled_from([0.25, 1.0, 3.0]),
    extent=st.sampled_from(["slice", "rectangle"]),
)
def test_to_cut_then_read_is_to_read_then_cut(
    axes: str, seed: int, step: float, extent: Any
) -> None:
    rng = np.random.default_rng(seed)
    shape = [int(rng.integers(1, 4)) for _ in axes[:-2]] + [20, 24]
    pixels, place = rng.integers(0, 999, shape), rng.integers(-5, 5, len(axes))
    at = [int(rng.integers(0, length)) for length in shape[:-2]]
    top, left = int(rng.integers(-4, 12)), int(rng.integers(-4, 16))
    viewer = ViewerModel()
    layer = viewer.add_image(
        Watched(pixels), scale=[step] * len(axes), translate=place, contrast_limits=(0, 1)
    )
    shapes = rectangle(
        viewer, top, top + 12, left, left + 12, scale=[step] * 2, translate=place[-2:]
    )
    mask = new_mask(viewer, layer, axes=axes)
    mask.data[...] = rng.integers(0, 9, mask.data.shape)
    viewer.dims.point = tuple(np.array([*at, 0, 0]) * step + place)
    image, labels = take(layer, mask, axes=axes, extent=extent, viewer=viewer, shapes_layer=shapes)
    keys: list[Any] = [
        slice(None) if letter == "C" else index for letter, index in zip(axes, at, strict=False)
    ]
    window = (
        (slice(max(top, 0), top + 12), slice(max(left, 0), left + 12))
        if extent == "rectangle"
        else (slice(None), slice(None))
    )
    np.testing.assert_array_equal(image.read(), pixels[(*keys, *window)])
    whole = to_labels(mask, layer, axes=axes)
    wanted = [index for letter, index in zip(axes, at, strict=False) if letter != "C"]
    np.testing.assert_array_equal(labels.read(), whole.read()[(*wanted, *window)])
    assert labels.axes == image.axes.replace("C", "")
    assert [labels.sizes[letter] for letter in labels.axes] == [
        image.sizes[letter] for letter in labels.axes
    ]


BASIC = st.one_of(
    st.integers(-3, 2),
    st.builds(
        slice,
        *[st.one_of(st.none(), st.integers(-4, 4))] * 2,
        st.sampled_from([None, 1, 2, -1, -2]),
    ),
)


@settings(max_examples=200, deadline=None)
@given(
    cut=st.tuples(
        *[st.one_of(st.integers(0, 2), st.builds(slice, st.integers(0, 1), st.integers(4, 5)))] * 3
    ),
    key=st.lists(BASIC, max_size=3),
    ellipsis=st.integers(0, 3),
)
def test_a_view_of_channels_slices_as_numpy_does(
    cut: tuple[Any, ...], key: list[Any], ellipsis: int
) -> None:
    pixels = ramp(5, 5, 5)
    expected = pixels[cut]
    key = key[: expected.ndim]
    key.insert(min(ellipsis, len(key)), Ellipsis)
    view = crop(Channels(list(pixels)), cut)
    assert isinstance(view, View)
    assert view.shape == expected.shape
    np.testing.assert_array_equal(view[tuple(key)], expected[tuple(key)])
    np.testing.assert_array_equal(np.asarray(view), expected)


# -- masks


def test_a_new_mask_lies_on_its_image_and_is_ready_to_paint(viewer: ViewerModel) -> None:
    image = viewer.add_image(
        ramp(3, 240, 300),
        scale=(2, 0.5, 0.5),
        translate=(1, 2, 3),
        units=("um", "um", "um"),
        axis_labels=("z", "y", "x"),
        rotate=0,
        name="stack",
    )
    mask = new_mask(viewer, image)
    assert (mask.name, mask.data.shape, mask.data.dtype) == ("stack mask", (3, 240, 300), np.uint16)
    assert (mask.brush_size, mask.mode) == (4, "paint")
    assert viewer.layers.selection.active is mask
    assert (mask.units, mask.axis_labels) == (image.units, image.axis_labels)
    np.testing.assert_array_equal(mask.scale, image.scale)
    np.testing.assert_array_equal(mask.translate, image.translate)
    assert to_labels(mask, image, axes="ZYX").axes == "ZYX"
    assert new_mask(viewer, image).name == "stack mask [1]"


@pytest.mark.parametrize(
    "place",
    [{"rotate": 25.0}, {"shear": [0.3]}, {"affine": [[0.9, 0.1, 4], [-0.2, 1.1, 0], [0, 0, 1]]}],
)
def test_a_new_mask_lies_on_an_image_that_is_turned_or_sheared(
    viewer: ViewerModel, place: dict[str, Any]
) -> None:
    image = viewer.add_image(ramp(64, 80), scale=(0.5, 0.25), **place)
    mask = new_mask(viewer, image)
    np.testing.assert_allclose(mask.data_to_world((13, 7)), image.data_to_world((13, 7)))
    assert to_labels(mask, image, axes="YX").shape == (64, 80)
    shapes = viewer.add_shapes(
        [[[10, 20], [10, 60], [40, 60], [40, 20]]], shape_type="polygon", scale=(0.5, 0.25), **place
    )
    cut = take_image(image, axes="YX", extent="rectangle", viewer=viewer, shapes_layer=shapes)
    np.testing.assert_array_equal(cut.read(), image.data[10:40, 20:60])


@pytest.mark.parametrize(
    ("axes", "rgb", "shape"),
    [
        ("CYX", False, (16, 16)),
        ("CZYX", False, (3, 16, 16)),
        ("YXC", True, (16, 16)),
        ("ZCYX", False, (2, 1, 16, 16)),
        ("TZYXC", True, (2, 3, 16, 16)),
    ],
)
def test_a_new_mask_has_no_channels_and_is_seen_on_all_of_them(
    viewer: ViewerModel, axes: str, rgb: bool, shape: tuple[int, ...]
) -> None:
    lengths = (
        {"T": 2, "C": 3, "Z": 3, "Y": 16, "X": 16}
        if axes != "ZCYX"
        else {"Z": 2, "C": 3, "Y": 16, "X": 16}
    )
    image = viewer.add_image(
        ramp(*(lengths[letter] for letter in axes), dtype="uint8"), rgb=rgb, name="cells"
    )
    mask = new_mask(viewer, image, axes=axes)
    assert mask.data.shape == shape
    mask.data[...] = 7
    for channel in range(3 if not rgb else 1):
        viewer.dims.point = tuple(channel if letter == "C" else 0 for letter in axes[: image.ndim])
        mask.refresh()
        assert mask.get_value(viewer.dims.point, world=True) == 7
    labels = to_labels(mask, image, axes=axes)
    assert labels.axes == axes.replace("C", "")
    assert viewer.dims.nsteps[: image.ndim] == tuple(
        lengths[letter] for letter in axes[: image.ndim]
    )


def test_a_new_mask_asks_for_axes_that_nobody_told(viewer: ViewerModel) -> None:
    with pytest.raises(AxesError, match="The axes of 'stack' are not known"):
        new_mask(viewer, viewer.add_image(ramp(3, 16, 16), name="stack"))


def test_predicted_labels_are_put_on_their_image_beside_older_ones(viewer: ViewerModel) -> None:
    image = viewer.add_image(ramp(2, 3, 16, 16), scale=(1, 1, 0.5, 0.5), name="cells")
    found = (ramp(3, 16, 16) % 4).astype(np.int32)
    first = add_labels(
        viewer,
        found,
        image,
        name="cells found",
        metadata={"prediction": "prediction_001"},
        axes="CZYX",
    )
    second = add_labels(
        viewer,
        found + 1,
        image,
        name="cells found",
        metadata={"prediction": "prediction_002"},
        axes="CZYX",
    )
    assert (first.name, second.name) == ("cells found", "cells found [1]")
    assert first.metadata == {"prediction": "prediction_001", "axes": "ZYX"}
    np.testing.assert_array_equal(to_labels(second, image, axes="CZYX").read(), found + 1)
    with pytest.raises(
        MaskError, match=r"Labels 'no' have shape \(16, 16\), image 'cells' has ZYX \(3, 16, 16\)"
    ):
        add_labels(viewer, found[0], image, name="no", metadata={}, axes="CZYX")


# -- the window


@pytest.fixture
def window(qtbot: QtBot) -> Iterator[Any]:
    if sys.platform == "linux" and not (
        os.environ.get("DISPLAY")
        or os.environ.get("WAYLAND_DISPLAY")
        or os.environ.get("QT_QPA_PLATFORM")
    ):
        pytest.skip("there is no screen")
    import napari

    viewer = napari.Viewer(show=False)
    yield viewer
    viewer.close()


def test_the_combo_shows_what_can_be_chosen(window: Any, qtbot: QtBot) -> None:
    choice = LayerChoice(window, kind="image")
    combo = LayerCombo(choice)
    qtbot.addWidget(combo)

    def names() -> list[str]:
        return [combo.itemText(place) for place in range(combo.count())]

    assert (names(), combo.isEnabled()) == (["No image layer"], False)
    assert combo.toolTip() == "Open an image first: drag a file onto the window."
    first, second = (
        window.add_image(ramp(16, 16), name="cells"),
        window.add_image(ramp(16, 16), name="cells"),
    )
    assert (names(), combo.isEnabled()) == (["cells [1]", "cells"], True)
    assert combo.currentText() == "cells"
    qtbot.keyClick(combo, "c")  # as a person does: the next entry that begins with c
    assert choice.layer is second
    second.name = "a very long name of an image that no dock is wide enough for, channel 1"
    assert combo.currentText() == combo.toolTip() == second.name
    window.layers.move(0, 2)
    assert combo.currentText() == second.name
    assert names() == ["cells", second.name]
    combo.resize(120, combo.sizeHint().height())
    assert combo.sizeHint().width() < 300
    assert not combo.grab().isNull()
    window.layers.remove(second)
    assert combo.currentText() == "cells"
    assert choice.layer is first
    window.layers.clear()
    assert (names(), combo.isEnabled()) == (["No image layer"], False)
    choice.close()


def test_a_choice_made_elsewhere_is_shown_in_the_combo(window: Any, qtbot: QtBot) -> None:
    layers = [window.add_labels(np.zeros((16, 16), int), name=name) for name in ("one", "two")]
    choice = LayerChoice(window, kind="labels")
    combo = LayerCombo(choice)
    qtbot.addWidget(combo)
    for layer in layers:
        choice.choose(layer)
        assert combo.currentText() == layer.name
    choice.close()
