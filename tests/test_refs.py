from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from maskloop.errors import AxesError, UsageError
from maskloop.images.refs import ImageRef

words = st.text(st.sampled_from("aé0 /\\.:@[]ZYX#?*-_"), max_size=12)


@given(
    uri=words.filter(bool),
    item=words.filter(lambda item: "::" not in item and not item.startswith(":")),
    level=st.integers(0, 20),
    axes=st.sampled_from([None, "YX", "ZYX", "TCZYX"]),
)
def test_the_short_form_and_the_record_come_back(
    uri: str, item: str, level: int, axes: str | None
) -> None:
    ref = ImageRef(uri=uri, item=item, level=level, axes=axes)
    assert ImageRef.parse(str(ref)) == ref
    assert ImageRef.model_validate_json(ref.model_dump_json()) == ref
    assert len({ref, ImageRef.parse(str(ref))}) == 1


@pytest.mark.parametrize(
    ("ref", "short"),
    [
        (ImageRef(uri="cells.tif"), "cells.tif"),
        (ImageRef(uri="scan.tif", item="2"), "scan.tif::2"),
        (ImageRef(uri="plate.zarr", item="B/03/0", level=1), "plate.zarr::B/03/0@1"),
        (ImageRef(uri="stack.tif", axes="ZYX"), "stack.tif::[ZYX]"),
        (ImageRef(uri="s3://bucket/plate.zarr", item="B/03"), "s3://bucket/plate.zarr::B/03"),
    ],
)
def test_the_short_form_is_short(ref: ImageRef, short: str) -> None:
    assert str(ref) == short
    assert ImageRef.parse(short) == ref


def test_its_name_is_that_of_the_file_and_the_item() -> None:
    assert ImageRef.parse("a/scan.tif").name == "scan.tif"
    assert ImageRef.parse("a/scan.tif::2@1").name == "scan.tif::2"
    assert ImageRef.parse("a/scan.tif::2").path == Path("a/scan.tif")


def test_axes_are_checked_and_an_item_must_not_look_like_another_image() -> None:
    assert ImageRef.of("a.tif", axes="zyx").axes == "ZYX"
    with pytest.raises(AxesError):
        ImageRef.of("a.tif", axes="QQ")
    with pytest.raises(AxesError):
        ImageRef.parse("a.tif::[QQ]")
    with pytest.raises(ValidationError, match="must not contain"):
        ImageRef(uri="a.tif", item="b::c")
    with pytest.raises(UsageError, match="without a name"):
        ImageRef.parse("")
