from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from maskloop.errors import ImageError, UsageError
from maskloop.images.refs import ImageRef
from maskloop.images.sources import (
    find_files,
    find_images,
    match_pairs,
    natural_order,
    read_pair_table,
    stem_of,
)


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def reasons(table: object) -> dict[str, str]:
    return {problem.path.name: problem.reason for problem in table.problems}  # type: ignore[attr-defined]


def test_a_folder_gives_its_images_in_natural_order(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "c10.tif",
        "c2.TIFF",
        "c1.png",
        "d.npy",
        "e.ome.tif",
        "f.jpg",
        "notes.txt",
        ".hidden.tif",
        "~lock.tif",
        "._c1.tif",
        "sub/g.tif",
    )
    assert [path.name for path in find_images([tmp_path])] == [
        "c1.png",
        "c2.TIFF",
        "c10.tif",
        "d.npy",
        "e.ome.tif",
        "f.jpg",
    ]


def test_inputs_keep_their_order_and_each_file_comes_once(tmp_path: Path) -> None:
    touch(tmp_path, "a1.tif", "a2.tif", "b.tif")
    found = find_images([tmp_path / "b.tif", str(tmp_path / "a*.tif"), tmp_path])
    assert [path.name for path in found] == ["b.tif", "a1.tif", "a2.tif"]


def test_patterns_reach_into_subfolders(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.tif", "b/2.tif", "b/2.txt")
    assert {path.name for path in find_images([str(tmp_path / "**" / "*")])} == {"1.tif", "2.tif"}


def test_a_file_with_brackets_in_its_name_is_no_pattern(tmp_path: Path) -> None:
    touch(tmp_path, "cell[1].tif")
    assert find_images([str(tmp_path / "cell[1].tif")]) == [ImageRef.of(tmp_path / "cell[1].tif")]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing", "There is no file or folder '.*missing'"),
        ("empty", "Folder '.*empty' holds no image"),
        ("*.tif", r"The pattern '.*\*\.tif' matches no image"),
    ],
)
def test_what_leads_to_nothing_is_named_with_the_endings_that_are_read(
    tmp_path: Path, name: str, words: str
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match=words) as caught:
        find_images([tmp_path / name])
    assert all(
        ending in caught.value.way_out for ending in (".tif", ".ome.tif", ".png", ".jpg", ".npy")
    )


def test_each_image_in_a_file_is_found_and_the_file_once(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(np.zeros((5, 6), np.uint8))
        writer.write(np.zeros((7, 8), np.uint8))
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((5, 6), np.uint8))
    (tmp_path / "broken.tif").write_bytes(b"II*\0")
    found = [str(ref) for ref in find_images([tmp_path])]
    assert found == [
        f"{tmp_path / name}" for name in ("a.tif::0", "a.tif::1", "b.tif", "broken.tif")
    ]
    names = ["a.tif", "b.tif", "broken.tif"]
    assert [path.name for path in find_files([tmp_path])] == names
    assert [str(ref) for ref in find_images(found[1:2])] == found[1:2]
    assert [str(ref) for ref in find_images([f"{tmp_path / 'b.tif'}::[YX]"])] == [
        f"{tmp_path / 'b.tif'}::[YX]"
    ]


def test_no_input_is_refused() -> None:
    with pytest.raises(ImageError, match="No images selected"):
        find_images([])


@given(st.integers(0, 10**20), st.integers(0, 10**20), st.text("aB_-é", max_size=5))
def test_numbers_in_names_are_sorted_as_numbers(one: int, other: int, rest: str) -> None:
    first, second = (natural_order(Path(f"{rest}_{number}{rest}.tif")) for number in (one, other))
    assert (first < second) == (one < other)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.ome.tif", "a"),
        ("a.OME.TIFF", "a"),
        ("a.b.png", "a.b"),
        ("a.czi", "a"),
        ("ome.tif", "ome"),
    ],
)
def test_the_stem_lacks_the_whole_ending(name: str, stem: str) -> None:
    assert stem_of(Path(name)) == stem


def test_pairs_match_by_stem_whatever_their_ending(tmp_path: Path) -> None:
    images = touch(tmp_path / "images", "c2.ome.tif", "c10.jpg", "c1.tif")
    masks = touch(tmp_path / "masks", "c1.tif", "c10.png", "c2.npy")
    table = match_pairs(images, str(masks))
    assert [(pair.stem, pair.image.name, pair.mask.name) for pair in table.matched] == [
        ("c1", "c1.tif", "c1.tif"),
        ("c2", "c2.ome.tif", "c2.npy"),
        ("c10", "c10.jpg", "c10.png"),
    ]
    assert table.problems == ()


def test_one_folder_is_split_by_the_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif", "a_mask.png", "b.tif", "c_mask.tif")
    table = match_pairs(tmp_path, tmp_path, mask_suffix="_mask")
    assert [(pair.stem, pair.image.name, pair.mask.name) for pair in table.matched] == [
        ("a", "a.tif", "a_mask.png")
    ]
    assert reasons(table) == {
        "b.tif": f"no mask named 'b_mask' in '{tmp_path}'",
        "c_mask.tif": f"no image named 'c' in '{tmp_path}'",
    }


def test_one_folder_without_a_suffix_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif")
    with pytest.raises(UsageError, match="nothing tells them apart") as caught:
        match_pairs(tmp_path, tmp_path / "." / ".")
    assert "--mask-suffix" in caught.value.way_out


def test_every_file_without_a_partner_is_reported(tmp_path: Path) -> None:
    images = touch(tmp_path / "{images}", "a.tif", "b.tif", "d.czi")
    masks = touch(tmp_path / "{masks}", "a_seg.tif", "c_seg.tif", "b.tif")
    table = match_pairs(images, masks, mask_suffix="_seg")
    assert [pair.stem for pair in table.matched] == ["a"]
    found = {
        (problem.path.parent.name, problem.path.name): problem.reason for problem in table.problems
    }
    assert found["{masks}", "b.tif"] == "its name does not end in '_seg'"
    assert found["{images}", "b.tif"] == f"no mask named 'b_seg' in '{masks}'"
    assert found["{masks}", "c_seg.tif"] == f"no image named 'c' in '{images}'"
    assert "format is not read" in found["{images}", "d.czi"]


def test_of_two_files_of_one_name_none_is_chosen(tmp_path: Path) -> None:
    images = touch(tmp_path / "images", "a.tif", "a.png", "b.tif")
    masks = touch(tmp_path / "masks", "a.tif", "b.tif", "b.ome.tif")
    table = match_pairs(images, masks)
    assert table.matched == ()
    found = {
        (problem.path.parent.name, problem.path.name): problem.reason for problem in table.problems
    }
    assert found == {
        ("images", "a.tif"): "has the same name as a.png: keep one of them",
        ("images", "a.png"): "has the same name as a.tif: keep one of them",
        ("masks", "b.tif"): "has the same name as b.ome.tif: keep one of them",
        ("masks", "b.ome.tif"): "has the same name as b.tif: keep one of them",
        ("images", "b.tif"): "there are several masks of this name",
        ("masks", "a.tif"): "there are several images of this name",
    }


def test_a_folder_that_is_missing_or_a_file_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif")
    with pytest.raises(ImageError, match=r"'.*nowhere' is missing, not a folder"):
        match_pairs(tmp_path, tmp_path / "nowhere")
    with pytest.raises(ImageError, match=r"'.*a.tif' is a file, not a folder"):
        match_pairs(tmp_path / "a.tif", tmp_path)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_gives_pairs_with_groups_and_axes(tmp_path: Path, separator: str) -> None:
    touch(tmp_path, "i/a.tif", "m/a.tif", "i/b.tif", "m/b.tif")
    rows = [
        ["Image", "mask", "group", "axes", "remark"],
        ["i/a.tif", "m\\a.tif", "fish 1", "zyx", "ok"],
        ["i/b.tif", "m/b.tif", "", "", ""],
        [""] * 5,
    ]
    (tmp_path / "pairs.csv").write_text(
        "\ufeff" + "\n".join(separator.join(row) for row in rows), "utf-8"
    )
    table = read_pair_table(tmp_path / "pairs.csv")
    first, second = table.matched
    assert (first.stem, first.mask, first.group, first.axes) == (
        "a",
        tmp_path / "m/a.tif",
        "fish 1",
        "ZYX",
    )
    assert (second.group, second.axes) == (None, None)
    assert table.problems == ()


def test_each_bad_row_is_reported_and_the_rest_is_used(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif", "b.tif", "m.tif", "c.tif")
    rows = [
        "image,mask,axes",
        "a.tif,m.tif,",
        "gone.tif,m.tif,",
        "b.tif,,",
        "a.tif,m.tif,",
        "b.tif,m.tif,YQ",
        "c.tif,c.tif,",
    ]
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    table = read_pair_table(tmp_path / "pairs.csv")
    assert [pair.stem for pair in table.matched] == ["a"]
    assert [problem.reason for problem in table.problems] == [
        "line 3: there is no such file",
        "line 4 names no mask",
        "line 5 names this image again",
        "line 6: Axes 'YQ' must be letters of T, C, Z, Y, X, each at most once, with Y and X "
        "among them.",
        "line 7 names the same file as image and as mask",
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no column image and no column mask; its columns are: none"),
        (b"image,label\na,b", "no column mask; its columns are: image, label"),
        (b"image,mask,groups\n", "has a column 'groups'"),
        (b"image,mask\n\xff\xfe,a", "it is not UTF-8 text"),
    ],
)
def test_a_table_that_cannot_be_understood_is_refused(
    tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "pairs.csv").write_bytes(content)
    with pytest.raises(UsageError, match=words):
        read_pair_table(tmp_path / "pairs.csv")


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_pair_table(tmp_path / "pairs.csv")


def test_all_real_pairs_of_dsb2018_are_found(shared_data: Path) -> None:
    table = match_pairs(shared_data / "dsb2018" / "images", shared_data / "dsb2018" / "masks")
    assert len(table.matched) == 70
    assert table.problems == ()


def test_records_that_cellpose_keeps_beside_images_are_no_images(tmp_path: Path) -> None:
    for name in ("a.tif", "a_seg.npy", "A_SEG.NPY"):
        (tmp_path / name).touch()
    assert [path.name for path in find_files([tmp_path])] == ["a.tif"]
