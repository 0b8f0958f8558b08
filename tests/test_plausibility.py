"""Masks that cannot be what they are taken for are refused or noted; real ones pass."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image as Picture
from scipy.ndimage import label as label_pieces
from typer.testing import CliRunner

from maskloop import Project
from maskloop.cli import app
from maskloop.errors import MaskError
from maskloop.images.masks import default_rule, prepare_mask
from maskloop.images.readers import open_image, open_labels
from maskloop.project.imports import Imported, ImportReport
from maskloop.samples import simulate_nuclei
from maskloop.task import OutputMode

CLASSES = {"axondeepseg_sem": 3, "drosophila_vnc": 5, "wbc_zheng2018": 3}
"""Data sets of class masks, with their number of classes; the others number objects."""
IMAGE, NUCLEI = simulate_nuclei(shape=(96, 96), count=9, seed=3)
PIECES = int(label_pieces(NUCLEI > 0, np.ones((3, 3)))[1])
"""Nuclei that touch are one piece."""
YES_OR_NO = ((NUCLEI > 0) * 255).astype(np.uint8)


def as_jpeg(mask: NDArray[Any]) -> NDArray[Any]:
    file = io.BytesIO()
    Picture.fromarray(mask).save(file, "JPEG", quality=75)
    return np.asarray(Picture.open(file))


def resized(mask: NDArray[Any]) -> NDArray[Any]:
    """Twice as large, with interpolation."""
    larger = Picture.fromarray(mask.astype(np.uint8)).resize((192, 192), Picture.Resampling.BICUBIC)
    return np.asarray(larger)


def notes(mask: NDArray[Any], mode: OutputMode, *, num_classes: int = 2) -> str:
    rule = default_rule(mode)
    return " ".join(prepare_mask(mask, rule, num_classes=num_classes).preparation.notes)


def real(folder: Path, part: str) -> Iterator[tuple[Path, NDArray[Any]]]:
    for path in sorted(folder.glob(f"*/{part}/*.tif")):
        read = open_labels if part == "masks" else open_image
        axes = "ZYX" if "_3d" in str(path) else None
        yield path, read(path, axes=axes).read()


def test_no_real_mask_is_refused(shared_data: Path) -> None:
    found = list(real(shared_data, "masks"))
    assert len(found) > 150
    for path, mask in found:
        classes = CLASSES.get(path.parts[-3])
        # Of ISBI's membranes there is one class, and of the others objects.
        mode: OutputMode = "binary" if path.parts[-3] == "isbi2012_em" else "instances"
        prepare_mask(
            mask,
            default_rule("multiclass" if classes else mode),
            num_classes=classes or 2,
            name=path.name,
        )
        said = prepare_mask(mask, default_rule("binary"), name=path.name).preparation.notes
        assert said == (), path


def test_every_real_image_is_refused_as_a_mask(shared_data: Path) -> None:
    images = [
        (path, image) for path, image in real(shared_data, "images") if image.dtype.kind == "u"
    ]
    for path, image in images[::4]:
        plane = image[..., 0] if image.shape[-1] == 3 else image
        for mode in ("binary", "instances", "multiclass"):
            with pytest.raises(MaskError, match="values of an image"):
                prepare_mask(plane, default_rule(mode), num_classes=2**17, name=path.name)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["binary", "instances"])
def test_labels_that_were_resized_with_interpolation_are_refused(mode: OutputMode) -> None:
    spread = NUCLEI * (240 // NUCLEI.max())
    with pytest.raises(MaskError, match="resized with interpolation"):
        prepare_mask(resized(spread), default_rule(mode))


@pytest.mark.parametrize("mode", ["binary", "instances", "multiclass"])
def test_a_mask_of_0_and_255_after_jpeg_or_resizing_asks_for_a_threshold(mode: OutputMode) -> None:
    for mask in (as_jpeg(YES_OR_NO), resized(YES_OR_NO)):
        with pytest.raises(MaskError, match="near 0 or 255") as refused:
            prepare_mask(mask, default_rule(mode))
        assert "--threshold 128" in refused.value.way_out


def test_a_mask_of_0_and_255_is_no_mask_of_objects() -> None:
    for mask in (YES_OR_NO, YES_OR_NO > 0):
        with pytest.raises(MaskError, match="only tells foreground") as refused:
            prepare_mask(mask, default_rule("instances"))
        assert f"{PIECES} separate pieces" in refused.value.problem
    assert notes(YES_OR_NO, "binary") == ""


def test_one_label_in_many_pieces_is_kept_as_one_object_and_said() -> None:
    said = notes((NUCLEI > 0).astype(np.uint8), "instances")
    assert f"label 1 is the only one and lies in {PIECES} separate pieces" in said
    assert "--mask-mode connected_components" in said


def test_classes_that_count_from_one_are_no_objects_and_no_foreground() -> None:
    mask = np.where(NUCLEI > 0, 2, 1).astype(np.uint8)
    with pytest.raises(MaskError, match="These are classes, not objects"):
        prepare_mask(mask, default_rule("instances"))
    with pytest.raises(MaskError, match="has no background"):
        prepare_mask(mask, default_rule("binary"))
    assert "no pixel is 0 (background): labels 1, 2" in notes(mask, "multiclass", num_classes=3)


def test_a_mask_that_is_foreground_everywhere_is_said() -> None:
    full = np.full((32, 32), 255, np.uint8)
    for mode in ("binary", "instances"):
        assert "label 255 covers the whole image" in notes(full, mode)


def test_objects_that_fill_the_image_are_kept_and_said() -> None:
    tiles = np.arange(1, 65).reshape(8, 8).repeat(8, 0).repeat(8, 1)
    assert "no pixel is 0" in notes(tiles, "instances")


def test_pieces_in_a_movie_are_counted_and_numbered_in_each_frame() -> None:
    movie = np.zeros((2, 32, 32), np.uint8)
    movie[0, :4, :4] = movie[1, 20:24, :4] = 255
    rule = default_rule("instances")
    assert prepare_mask(movie, rule, axes="TYX").preparation.notes == ()
    pieces = rule.model_copy(update={"mask_mode": "connected_components"})
    labels = prepare_mask(movie, pieces, axes="TYX").labels
    assert (labels[0].max(), labels[1].max()) == (1, 2)
    # A stack is one body: the same two pieces, apart from each other.
    assert prepare_mask(movie, pieces, axes="ZYX").labels.max() == 2


OPTIONS = re.compile(r"--(?:threshold|mask-mode|map) [\w=,]+(?:\.\d+)?")


@pytest.mark.parametrize(
    ("mode", "mask", "foreground", "objects"),
    [
        ("binary", as_jpeg(YES_OR_NO), NUCLEI > 0, 0),
        ("instances", as_jpeg(YES_OR_NO), NUCLEI > 0, PIECES),
        ("instances", YES_OR_NO, NUCLEI > 0, PIECES),
        ("instances", np.where(NUCLEI > 0, 2, 1).astype(np.uint8), NUCLEI > 0, PIECES),
        ("binary", np.where(NUCLEI > 0, 2, 1).astype(np.uint8), NUCLEI > 0, 0),
        ("multiclass", YES_OR_NO, NUCLEI > 0, 0),
        ("binary", (NUCLEI > 0) * np.float32(0.7) + np.float32(0.1), NUCLEI > 0, 0),
        ("instances", (NUCLEI > 0) * np.float32(0.7) + np.float32(0.1), NUCLEI > 0, PIECES),
    ],
)
def test_what_a_refusal_says_can_be_typed_and_works(
    tmp_path: Path, mode: OutputMode, mask: NDArray[Any], foreground: NDArray[Any], objects: int
) -> None:
    for part, pixels in (("images", IMAGE), ("masks", mask)):
        (tmp_path / part).mkdir()
        tifffile.imwrite(tmp_path / part / "a.tif", pixels)
    classes = ["nucleus"] if mode == "multiclass" else None
    project = Project.create(tmp_path / "p", mode=mode, classes=classes)
    folders = ["--images", str(tmp_path / "images"), "--masks", str(tmp_path / "masks")]

    def add(*options: str) -> str:
        result = CliRunner().invoke(app, ["add", str(tmp_path / "p"), *folders, *options])
        return " ".join(result.output.split())

    said = add()
    assert "1 file refused" in said
    typed = [word for option in OPTIONS.findall(said) for word in option.split()]
    assert typed, said
    assert "1 pair accepted" in add(*typed), typed
    labels = project.dataset.read_mask(Project.open(tmp_path / "p").dataset.pairs[0]).read()
    assert np.mean((labels > 0) == foreground) > 0.99
    assert labels.max() == (objects or 1)


def test_what_is_doubtful_is_said_by_add_and_by_its_dry_run(tmp_path: Path) -> None:
    for part, pixels in (("images", IMAGE), ("masks", (NUCLEI > 0).astype(np.uint8))):
        (tmp_path / part).mkdir()
        tifffile.imwrite(tmp_path / part / "a.tif", pixels)
    Project.create(tmp_path / "p", mode="instances")
    folders = ["--images", str(tmp_path / "images"), "--masks", str(tmp_path / "masks")]
    for options in (["--dry-run"], []):
        result = CliRunner().invoke(app, ["add", str(tmp_path / "p"), *folders, *options])
        assert result.exit_code == 0, result.output
        assert "label 1 is the only one" in " ".join(result.output.split())


def test_what_is_doubtful_is_said_in_the_window_beside_its_pair(tmp_path: Path) -> None:
    pair_import = pytest.importorskip("maskloop.ui.controllers.pair_import")
    row = Imported(image="a.tif", mask="b.tif", notes=("label 1 is the only one.",))
    shown = pair_import._rows(ImportReport(dry_run=True, accepted=(row,), refused=()))
    assert [(one.state, one.reason) for one in shown] == [("OK", "label 1 is the only one.")]
