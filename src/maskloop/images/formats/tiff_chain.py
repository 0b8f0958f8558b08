"""The list of directories of a TIFF, walked before tifffile does: without end, it would not end."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from maskloop.errors import ImageError

__all__ = ["check_chain"]

MOST_KINDS = 300
"""tifffile compares each page with each kind of page; an image file has a few kinds."""

# What tells kinds apart: size, compression, color, samples, strips, planes and tiles. Not bits: of
# several samples they are stored elsewhere, in another place for each page.
_KIND_TAGS = (256, 257, 259, 262, 277, 278, 284, 322, 323)


class _Layout(NamedTuple):
    """How offsets, counts and entries are stored (TIFF 6.0, and BigTIFF)."""

    offset: struct.Struct
    length: struct.Struct
    entry: struct.Struct
    first: int


def check_chain(path: Path) -> None:
    """Refuse a TIFF whose directories go round in a circle, are empty, or are all different.

    Raises
    ------
    ImageError
        If so. What is no TIFF, or is cut short, is for the reader to say.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        layout = _layout(content)
        if layout is None:
            return
        try:
            places = list(_walk(path, content, layout))
            # Few pages cannot be of many kinds: the usual case costs no look at their tags.
            kinds = (
                {_kind(content, place, layout) for place in places}
                if len(places) > MOST_KINDS
                else set()
            )
        except struct.error:  # a directory beyond the end
            return
    if len(kinds) > MOST_KINDS:
        raise ImageError(
            f"'{path}' has {len(places):,} pages of {len(kinds):,} kinds, which is no image.",
            "Save its images as files of their own.",
        )


def _layout(content: mmap.mmap) -> _Layout | None:
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    version = content[2:4]
    if order is None or len(content) < 16:
        return None
    if version in (b"*\0", b"\0*"):
        return _layout_of(order, "I", "H", "HHII", 4)
    if version in (b"+\0", b"\0+"):
        return _layout_of(order, "Q", "Q", "HHQQ", 8)
    return None


def _layout_of(order: str, offset: str, count: str, entry: str, first: int) -> _Layout:
    offsets, counts, entries = (struct.Struct(order + kind) for kind in (offset, count, entry))
    return _Layout(offsets, counts, entries, first)


def _walk(path: Path, content: mmap.mmap, layout: _Layout) -> Iterator[int]:
    """Where each directory begins."""
    (place,) = layout.offset.unpack_from(content, layout.first)
    seen: set[int] = set()
    while place:
        if place in seen:
            raise ImageError(
                f"'{path}' is damaged: after {len(seen):,} pages its list of pages begins again.",
                "Copy or export it again.",
            )
        seen.add(place)
        (entries,) = layout.length.unpack_from(content, place)
        if entries == 0:
            raise ImageError(
                f"'{path}' is damaged: page {len(seen):,} of it says nothing of its pixels.",
                "Copy or export it again.",
            )
        yield place
        after = place + layout.length.size + entries * layout.entry.size
        (place,) = layout.offset.unpack_from(content, after)


def _kind(content: mmap.mmap, place: int, layout: _Layout) -> tuple[tuple[int, int], ...]:
    (entries,) = layout.length.unpack_from(content, place)
    start = place + layout.length.size
    raw = content[start : start + entries * layout.entry.size]
    return tuple(
        (tag, value) for tag, _, _, value in layout.entry.iter_unpack(raw) if tag in _KIND_TAGS
    )
