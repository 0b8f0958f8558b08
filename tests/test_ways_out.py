"""Each way out that `maskloop add` prints is followed here as it is printed, and works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from typer.testing import CliRunner

from maskloop import Project
from maskloop.cli import app
from maskloop.samples import simulate_nuclei


def add(folder: Path, *options: object, code: int = 0) -> str:
    """Add the pair in `folder` to its project, and return what is said of it."""
    arguments = ["add", folder / "p", "--images", folder / "images", "--masks", folder / "masks"]
    result = CliRunner().invoke(app, [str(one) for one in (*arguments, *options)])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    Project.create(tmp_path / "p", mode="instances")
    return tmp_path


def nuclei(*shape: int) -> tuple[NDArray[Any], NDArray[Any]]:
    return simulate_nuclei(shape=shape, count=4, seed=1)


def imagej(path: Path, pixels: NDArray[Any], axes: str) -> None:
    tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": axes})


@pytest.mark.parametrize(("image_axes", "mask_axes"), [("ZYX", "TYX"), ("TYX", "ZYX")])
def test_planes_that_two_programs_call_differently_are_named_by_axes(
    folder: Path, image_axes: str, mask_axes: str
) -> None:
    image, mask = nuclei(5, 32, 48)
    imagej(folder / "images" / "a.tif", image, image_axes)
    imagej(folder / "masks" / "a.tif", mask, mask_axes)
    advice = re.search(r"set the axes to (\w+)", add(folder, code=1))
    assert advice is not None
    add(folder, "--axes", advice[1])
    pair = Project.open(folder / "p").dataset.pairs[0]
    assert (pair.axes, pair.mask_axes) == (advice[1], advice[1])


def test_an_empty_mask_is_accepted_once_it_is_allowed(folder: Path) -> None:
    image, mask = nuclei(32, 48)
    tifffile.imwrite(folder / "images" / "a.tif", image)
    tifffile.imwrite(folder / "masks" / "a.tif", np.zeros_like(mask))
    said = add(folder, code=1)
    assert "allow empty masks" in said
    assert "allow_empty" not in said
    add(folder, "--allow-empty")


def test_a_mask_that_is_rotated_is_accepted_in_the_orientation_of_the_image(folder: Path) -> None:
    image, mask = nuclei(32, 48)
    tifffile.imwrite(folder / "images" / "a.tif", np.rot90(image).copy())
    tifffile.imwrite(folder / "masks" / "a.tif", mask)
    said = add(folder, code=1)
    assert "Save both in the same orientation" in said
    assert "transpose" not in said  # that would be mirrored, not rotated back
    tifffile.imwrite(folder / "masks" / "a.tif", np.rot90(mask).copy())
    add(folder)


def test_unannotated_pixels_are_left_out_not_trained_on_as_background(folder: Path) -> None:
    image, mask = nuclei(32, 48)
    labels = mask.astype(np.int32)
    labels[:, 24:] = -1
    tifffile.imwrite(folder / "images" / "a.tif", image)
    tifffile.imwrite(folder / "masks" / "a.tif", labels)
    advice = re.search(r"\((--ignore) (-1)\)", " ".join(add(folder, code=1).split()))
    assert advice is not None
    add(folder, *advice.groups())
    pair = Project.open(folder / "p").dataset.pairs[0]
    assert pair.ignored_label is not None


def test_a_mask_of_one_plane_of_a_stack_is_refused_until_it_covers_the_stack(folder: Path) -> None:
    image, mask = nuclei(5, 32, 48)
    imagej(folder / "images" / "a.tif", image, "ZYX")
    tifffile.imwrite(folder / "masks" / "a.tif", mask[0])
    assert "must cover all its planes: ZYX (5, 32, 48)" in add(folder, code=1)
    tifffile.imwrite(folder / "masks" / "a.tif", mask)
    add(folder)


def test_labels_without_a_class_are_mapped_to_one(tmp_path: Path) -> None:
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    Project.create(tmp_path / "p", mode="multiclass", classes=["a", "b"])
    image, mask = nuclei(32, 48)
    tifffile.imwrite(tmp_path / "images" / "a.tif", image)
    tifffile.imwrite(tmp_path / "masks" / "a.tif", np.where(mask > 0, 7, 0).astype(np.uint8))
    assert "Map the labels to classes" in add(tmp_path, code=1)
    add(tmp_path, "--map", "7=1")


@pytest.mark.parametrize(
    ("image_axes", "mask_axes"),
    [
        ("TCZYX", "YX"),
        ("YX", "TZYX"),
        ("ZYX", "YX"),
        ("YX", "ZYX"),
    ],
)
def test_axes_of_length_one_part_no_mask_from_its_image(
    folder: Path, image_axes: str, mask_axes: str
) -> None:
    image, mask = nuclei(32, 48)
    for part, pixels, axes in (("images", image, image_axes), ("masks", mask, mask_axes)):
        shape = (*(1 for letter in axes if letter not in "YX"), *pixels.shape)
        tifffile.imwrite(
            folder / part / "a.ome.tif", pixels.reshape(shape), metadata={"axes": axes}
        )
    add(folder)
    pair = Project.open(folder / "p").dataset.pairs[0]
    assert pair.mask_axes == pair.axes.replace("C", "")
    assert np.array_equal(
        Project.open(folder / "p").dataset.read_mask(pair).read().squeeze() > 0, mask > 0
    )


def test_an_array_of_one_plane_fits_a_stack_of_one_plane(folder: Path) -> None:
    image, mask = nuclei(32, 48)
    pair = Project.open(folder / "p").dataset.accept(image[None], mask, axes="ZYX")
    assert pair.mask_axes == "ZYX"


def test_axes_that_are_named_for_a_stack_of_one_plane_fit_a_flat_mask(folder: Path) -> None:
    image, mask = nuclei(32, 48)
    np.save(folder / "images" / "a.npy", image[None])
    tifffile.imwrite(folder / "masks" / "a.tif", mask)
    assert "--axes ZYX" in add(folder, code=1)
    add(folder, "--axes", "ZYX")


def test_only_empty_masks_are_said_and_are_nothing_to_train_on(folder: Path) -> None:
    image, mask = nuclei(32, 48)
    tifffile.imwrite(folder / "images" / "a.tif", image)
    tifffile.imwrite(folder / "masks" / "a.tif", np.zeros_like(mask))
    assert "All of these masks are empty" in add(folder, "--allow-empty")
    refused = CliRunner().invoke(app, ["plan", str(folder / "p")])
    assert "The masks of all 1 pair are empty" in " ".join(refused.output.split())
    for part, pixels in (("images", image[::-1].copy()), ("masks", mask[::-1].copy())):
        tifffile.imwrite(folder / part / "b.tif", pixels)
        (folder / part / "a.tif").unlink()
    assert "All of these masks are empty" not in add(folder)
    assert CliRunner().invoke(app, ["plan", str(folder / "p")]).exit_code == 0


def test_an_image_without_any_value_is_refused(folder: Path) -> None:
    _, mask = nuclei(32, 48)
    tifffile.imwrite(folder / "images" / "a.tif", np.full(mask.shape, np.nan, np.float32))
    tifffile.imwrite(folder / "masks" / "a.tif", mask)
    said = " ".join(add(folder, code=1).split())
    assert "Image 'a.tif' has no value: all 1,536 pixels are NaN or infinite" in said


def test_what_to_do_is_said_once_for_all_files_that_need_it(folder: Path) -> None:
    image, mask = nuclei(32, 48)
    for number in range(4):
        tifffile.imwrite(folder / "images" / f"{number}.tif", image + number)
        tifffile.imwrite(folder / "masks" / f"{number}.tif", np.zeros_like(mask))
    said = add(folder, code=1)
    assert said.count("allow empty masks") == 1
    for number in range(4):
        assert f"Mask '{number}.tif' is empty" in said


def test_a_true_mask_of_0_and_255_is_compared_as_foreground(tmp_path: Path) -> None:
    _, labels = nuclei(64, 64)
    for part, pixels in (("found", labels), ("masks", ((labels > 0) * 255).astype(np.uint8))):
        (tmp_path / part).mkdir()
        tifffile.imwrite(tmp_path / part / "a.tif", pixels)
    folders = ["--predictions", str(tmp_path / "found"), "--masks", str(tmp_path / "masks")]

    def evaluate(*options: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["evaluate", *folders, *options])
        return result.exit_code, " ".join(result.output.split())

    code, said = evaluate("--mode", "instances")
    assert code == 1
    assert "only tells foreground (255) from background" in said
    advice = re.search(r"(--mode) (binary)", said)
    assert advice is not None
    assert evaluate(*advice.groups())[0] == 0


def test_no_name_of_python_is_printed(folder: Path) -> None:
    image, mask = nuclei(32, 48)
    for number, pixels in enumerate(
        (np.zeros_like(mask), (mask > 0) * 255, mask.astype(float) / 9)
    ):
        tifffile.imwrite(folder / "images" / f"{number}.tif", image + number)
        tifffile.imwrite(folder / "masks" / f"{number}.tif", pixels.astype(pixels.dtype))
    said = add(folder, code=1)
    for option in re.findall(r"--[a-z-]+(?: [a-z_]+)?", said):
        said = said.replace(option, "")
    paths = re.sub(r"\S*/\S*", "", said)
    assert not re.findall(r"\b[a-z]+_[a-z_]+\b", paths), paths
