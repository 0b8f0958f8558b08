"""Small files whose headers claim gigabytes are refused before anything is allocated."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from maskloop.errors import ImageError
from maskloop.images.readers import open_image

CONTENT = zlib.compress(bytes(1000))


def tiff(tags: dict[int, Sequence[int]], *, offsets: int, count: int = 1) -> bytes:
    """A little-endian TIFF of one page, whose strips or tiles all have the same content."""
    common = {258: [8], 259: [8], 262: [1], 277: [1]}  # 8 bits, Deflate, dark is 0, one sample
    tags = {**common, **tags, offsets: [0] * count}

    def pack(content_at: int) -> bytes:
        tags[offsets] = [content_at] * count
        extra_at = 8 + 2 + 12 * len(tags) + 4
        entries = extra = b""
        for tag, values in sorted(tags.items()):
            raw = struct.pack(f"<{len(values)}I", *values)
            if len(raw) > 4:
                raw, extra = struct.pack("<I", extra_at + len(extra)), extra + raw
            entries += struct.pack("<HHI", tag, 4, len(values)) + raw
        head = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
        return head + entries + struct.pack("<I", 0) + extra

    return pack(len(pack(0))) + CONTENT


def png(width: int, height: int, bits: int, color: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", CONTENT) + chunk(b"IEND", b"")
    )


def jpeg(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Pillow.new("RGB", (64, 64)).save(file, "JPEG")
    content = bytearray(file.getvalue())
    at = content.index(b"\xff\xc0") + 5  # the frame's header holds height and width
    content[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def described(description: str) -> bytes:
    file = io.BytesIO()
    pixels = np.zeros((64, 64), np.uint8)
    tifffile.imwrite(file, pixels, description=description.encode(), metadata=None, ome=False)
    return file.getvalue()


OME = (
    '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/'
    '2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" '
    'SizeX="64" SizeY="64" SizeZ="1000000000" SizeC="1" SizeT="1"><Channel ID="Channel:0:0" '
    'SamplesPerPixel="1"/><TiffData IFD="0" PlaneCount="1"/></Pixels></Image></OME>'
)
PLANES = OME.replace('SizeZ="1000000000"', 'SizeZ="1"').replace(
    'PlaneCount="1"', 'PlaneCount="1000000000"'
)


def chain(count: int, *, back_to: int = 0, entries: int = 9, differ: bool = False) -> bytes:
    """A TIFF of pages of four by four pixels, the last of which leads to page `back_to` - 1."""
    content = struct.pack("<2sHI", b"II", 42, 24) + bytes(16)
    size = 2 + 12 * entries + 4
    tags = {256: 4, 257: 4, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 4, 279: 16}
    for number in range(1, count + 1):
        tags[256] = number if differ else 4
        content += struct.pack("<H", entries)
        for tag, value in [*tags.items()][:entries]:
            content += struct.pack("<HHII", tag, 4, 1, value)
        last = 24 + size * (back_to - 1) if back_to else 0
        content += struct.pack("<I", 24 + size * number if number < count else last)
    return content


SIDE = [100_000]
LENGTH = [len(CONTENT)]
FILES = {
    "one_strip.tif": (
        tiff({256: SIDE, 257: SIDE, 278: SIDE, 279: LENGTH}, offsets=273),
        "claims 10 GB of pixels, which",
    ),
    "few_strips.tif": (
        tiff({256: SIDE, 257: SIDE, 278: [1], 279: LENGTH * 100}, offsets=273, count=100),
        "it has 100 of 100000 strips or tiles",
    ),
    "huge_tile.tif": (
        tiff({256: [100], 257: [100], 322: SIDE, 323: SIDE, 325: LENGTH}, offsets=324),
        "claims 10 GB of pixels, which 17 bytes cannot hold",
    ),
    "tiny_tiles.tif": (
        tiff({256: SIDE, 257: SIDE, 322: [16], 323: [16], 325: LENGTH}, offsets=324),
        "it has 1 of 39062500 strips or tiles",
    ),
    "endless.ome.tif": (described(OME), "claims 1000000000 planes, the file has 1"),
    "planes.ome.tif": (described(PLANES), "claims 1000000000 planes, the file has 1"),
    "circle.tif": (chain(2000, back_to=4), "after 2,000 pages its list of pages begins again"),
    "nothing.tif": (chain(2000, entries=0), "page 1 of it says nothing of its pixels"),
    "small.jpg": (jpeg(8000, 2600), "claims 62 MB of pixels"),
    "endless.tif": (described('{"shape": [1000000000, 64, 64]}'), "is cut short"),
    "eight_bits.png": (png(13_000, 13_000, 8, 6), "claims 676 MB of pixels"),
    "sixteen_bits.png": (png(30_000, 30_000, 16, 2), "claims 7.2 GB of pixels"),
    "large.jpg": (jpeg(13_000, 13_000), "claims 507 MB of pixels"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_small_file_that_claims_gigabytes_is_refused_unread(tmp_path: Path, name: str) -> None:
    content, words = FILES[name]
    path = tmp_path / name
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match=words) as caught:
            open_image(path)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()
    assert caught.value.way_out == "Copy or export it again."


def test_thousands_of_pages_of_different_sizes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(chain(2000, differ=True))
    with pytest.raises(ImageError, match="has 2,000 pages of 2,000 kinds, which is no image"):
        open_image(path)
    # Many pages of one kind are a stack.
    path.write_bytes(chain(2000))
    assert open_image(path, axes="ZYX").shape == (2000, 4, 4)


@pytest.mark.parametrize("options", [{"rowsperstrip": 64}, {"tile": (512, 512)}])
def test_a_blank_image_is_no_lie_however_well_it_is_compressed(
    tmp_path: Path, options: dict[str, object]
) -> None:
    blank = np.zeros((9000, 9000), np.uint8)
    for compression in ("zlib", "zstd"):
        path = tmp_path / f"{compression}.tif"
        tifffile.imwrite(path, blank, compression=compression, **options)
        assert not open_image(path).data[4000:4010, 8990:].any()


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.npy"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(ImageError, match="is a pipe or a device"):
        open_image(tmp_path / name)
