"""OME-TIFF in several files: one image, unless a person names the axes of one file."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import numpy as np
import pytest
import tifffile

from maskloop.errors import ImageError
from maskloop.images.readers import open_image
from maskloop.images.sources import find_files, find_images, match_pairs
from maskloop.jobs.imports import add_pairs
from maskloop.project.project import ProjectFolder

HEAD = '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{schema}"{own}>{images}</OME>'
SCHEMA = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
IMAGE = (
    '<Image ID="Image:{number}"><Pixels ID="Pixels:{number}" DimensionOrder="XYZCT" Type="uint16" '
    'SizeX="24" SizeY="16" SizeZ="{Z}" SizeC="{C}" SizeT="{T}" PhysicalSizeX="0.5" '
    'PhysicalSizeY="0.5">{data}</Pixels></Image>'
)
DATA = (
    '<TiffData FirstC="{C}" FirstZ="{Z}" FirstT="{T}" IFD="0" PlaneCount="1">'
    '<UUID FileName="{name}">urn:uuid:{id}</UUID></TiffData>'
)


def plane(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 4000, (16, 24), np.uint16)


def write(path: Path, number: int, images: str, own: uuid.UUID | None = None) -> None:
    identifier = f' UUID="urn:uuid:{own}"' if own else ""
    xml = HEAD.format(schema=SCHEMA, own=identifier, images=images)
    tifffile.imwrite(path, plane(number), description=xml, metadata=None)


def write_set(folder: Path, axis: str, count: int, *, stem: str = "exp") -> list[Path]:
    """One file for each plane along an axis, each naming all of them."""
    folder.mkdir(exist_ok=True)
    names = [f"{stem}_{number}.ome.tif" for number in range(count)]
    ids = [uuid.uuid5(uuid.NAMESPACE_OID, name) for name in names]
    none = {"C": 0, "Z": 0, "T": 0}
    data = "".join(
        DATA.format(**none | {axis: number}, name=name, id=ids[number])
        for number, name in enumerate(names)
    )
    image = IMAGE.format(number=0, **{"C": 1, "Z": 1, "T": 1} | {axis: count}, data=data)
    for number, name in enumerate(names):
        write(folder / name, number, image, ids[number])
    return [folder / name for name in names]


@pytest.mark.parametrize("axis", ["C", "Z", "T"])
def test_a_set_is_one_image_whichever_of_its_files_is_named(tmp_path: Path, axis: str) -> None:
    whole = np.stack([plane(number) for number in range(3)])
    for path in write_set(tmp_path / "set", axis, 3):
        image = open_image(path)
        assert (image.axes, image.name) == (f"{axis}YX", path.name)
        np.testing.assert_array_equal(image.read(), whole)
        assert "One image in 3 files (exp_0.ome.tif to exp_2.ome.tif)." in image.notes[0]


def test_a_file_of_a_set_is_read_alone_when_its_axes_are_named(tmp_path: Path) -> None:
    for number, path in enumerate(write_set(tmp_path / "set", "C", 3)):
        image = open_image(path, axes="YX")
        assert (image.axes, image.notes) == ("YX", ())
        assert image.pixel_size_um == {"X": 0.5, "Y": 0.5}
        np.testing.assert_array_equal(image.read(), plane(number))
    # Axes of the whole set are those of the set.
    assert open_image(path, axes="CYX").shape == (3, 16, 24)


def test_missing_files_are_named_and_the_way_out_reads_what_is_there(tmp_path: Path) -> None:
    first, *rest = write_set(tmp_path / "set", "Z", 6)
    for path in rest[1:]:
        path.unlink()
    # A pipe would wait for somebody who writes into it.
    os.mkfifo(rest[2])
    with pytest.raises(
        ImageError,
        match=r"is one of 6 files that make up an image, and 'exp_2.ome.tif', 'exp_3.ome.tif', "
        r"'exp_4.ome.tif' and 1 more are missing",
    ) as caught:
        open_image(first)
    assert "(--axes YX)" in caught.value.way_out
    np.testing.assert_array_equal(open_image(first, axes="YX").read(), plane(0))
    renamed = first.rename(first.with_name("sample7.ome.tif"))
    with pytest.raises(ImageError, match="one of 6 files"):
        open_image(renamed)
    np.testing.assert_array_equal(open_image(renamed, axes="YX").read(), plane(0))


@pytest.mark.parametrize("name", ["../secret.ome.tif", "..\\secret.ome.tif", "{absolute}"])
def test_no_file_outside_of_the_folder_is_opened(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, own = uuid.uuid4(), uuid.uuid4()
    write(tmp_path / "secret.ome.tif", 9, "", secret)
    folder = tmp_path / "shared"
    folder.mkdir()
    name = name.format(absolute=tmp_path / "secret.ome.tif")
    data = DATA.format(C=0, Z=0, T=0, name="a.ome.tif", id=own) + DATA.format(
        C=1, Z=0, T=0, name=name, id=secret
    )
    write(folder / "a.ome.tif", 1, IMAGE.format(number=0, C=2, Z=1, T=1, data=data), own)
    opened: list[str] = []
    real = tifffile.TiffFile.__init__

    def listen(self: tifffile.TiffFile, file: object, *args: object, **options: object) -> None:
        opened.append(str(file))
        real(self, file, *args, **options)

    monkeypatch.setattr(tifffile.TiffFile, "__init__", listen)
    with pytest.raises(ImageError, match="names files outside of its folder") as caught:
        open_image(folder / "a.ome.tif")
    assert "(--axes YX)" in caught.value.way_out
    np.testing.assert_array_equal(open_image(folder / "a.ome.tif", axes="YX").read(), plane(1))
    assert find_images([folder])
    assert not [path for path in opened if "secret" in path]


def test_a_single_file_under_another_name_is_still_itself(tmp_path: Path) -> None:
    # As written by programs that give no identifier to the file itself.
    data = DATA.format(C=0, Z=0, T=0, name="orig.ome.tif", id=uuid.uuid4())
    image = IMAGE.format(number=0, C=1, Z=1, T=1, data=data)
    write(tmp_path / "renamed.ome.tif", 1, image)
    np.testing.assert_array_equal(open_image(tmp_path / "renamed.ome.tif").read(), plane(1))
    # Another file has taken the name meanwhile.
    write(tmp_path / "orig.ome.tif", 2, image)
    np.testing.assert_array_equal(open_image(tmp_path / "renamed.ome.tif").read(), plane(1))


def test_of_positions_in_files_of_their_own_each_file_has_its_own(tmp_path: Path) -> None:
    names = [f"pos_{number}.ome.tif" for number in range(3)]
    ids = [uuid.uuid4() for _ in names]
    images = "".join(
        IMAGE.format(
            number=number, C=1, Z=1, T=1, data=DATA.format(C=0, Z=0, T=0, name=name, id=ids[number])
        )
        for number, name in enumerate(names)
    )
    for number, name in enumerate(names):
        write(tmp_path / name, number, images, ids[number])
    found = find_images([tmp_path])
    assert [ref.name for ref in found] == names
    for number, ref in enumerate(found):
        np.testing.assert_array_equal(open_image(ref).read(), plane(number))


def test_a_set_comes_once_in_a_folder_and_in_a_pattern(tmp_path: Path) -> None:
    paths = write_set(tmp_path / "set", "T", 12)
    tifffile.imwrite(tmp_path / "set" / "plain.tif", plane(5))
    for source in (tmp_path / "set", tmp_path / "set" / "*.tif"):
        assert [ref.name for ref in find_images([source])] == ["exp_0.ome.tif", "plain.tif"]
        assert len(find_images([source], axes="YX")) == 13
        assert len(find_files([source], whole_sets=True)) == 2
    # Who names a file means it.
    assert [ref.name for ref in find_images([paths[7]])] == ["exp_7.ome.tif"]


def test_one_mask_belongs_to_the_whole_set(tmp_path: Path) -> None:
    write_set(tmp_path / "set", "C", 3)
    (tmp_path / "masks").mkdir()
    tifffile.imwrite(tmp_path / "masks" / "exp_1.tif", plane(0))
    table = match_pairs(tmp_path / "set", tmp_path / "masks")
    assert [pair.image.name for pair in table.matched] == ["exp_1.ome.tif"]
    assert table.problems == ()


def test_masks_of_several_files_are_used_by_the_way_out_that_is_named(tmp_path: Path) -> None:
    write_set(tmp_path / "set", "T", 3)
    (tmp_path / "masks").mkdir()
    for number in range(3):
        mask = plane(number) > 2000
        tifffile.imwrite(tmp_path / "masks" / f"exp_{number}.tif", mask.astype(np.uint8))
    table = match_pairs(tmp_path / "set", tmp_path / "masks")
    assert [pair.stem for pair in table.matched] == ["exp_0"]
    assert [problem.path.name for problem in table.problems] == ["exp_1.ome.tif", "exp_2.ome.tif"]
    assert "name its axes (--axes YX)" in table.problems[0].reason
    project = ProjectFolder.create(tmp_path / "cells")
    added = add_pairs(project, tmp_path / "set", tmp_path / "masks", axes="YX")
    assert (len(added.accepted), added.refused) == (3, ())
