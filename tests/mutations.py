"""Good files of each format, and files made of them by changing bytes, tags and words."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import tifffile
from numpy.random import Generator
from PIL import Image as Pillow

__all__ = ["good_files", "mutate"]

EXTREMES = (0, 1, 2, 3, 7, 16, 255, 65535, 65536, 100_000, 2**31 - 1, 2**31, 2**32 - 1)
NUMBERS = ("0", "-1", "1e-320", "nan", "inf", "1e309", "1000000000", "99999999999999999999", "x")


def _pixels(*shape: int, dtype: type = np.uint16) -> np.ndarray:
    return (np.arange(np.prod(shape)) % 251).astype(dtype).reshape(shape)


def _write_tiff(pixels: np.ndarray, options: dict[str, Any], file: io.BytesIO) -> None:
    tifffile.imwrite(file, pixels, **options)


def _encoded(write: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def good_files() -> dict[str, bytes]:
    """One of each kind, by a name whose ending is its format."""
    imagej = {"axes": "ZYX", "spacing": 2.0, "unit": "um"}
    ome = {"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    color, stack, plane = _pixels(20, 30, 3, dtype=np.uint8), _pixels(3, 20, 30), _pixels(20, 30)
    tiffs: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
        "plain.tif": (plane, {}),
        "strips.tif": (plane, {"compression": "zlib", "rowsperstrip": 3}),
        "tiles.tif": (plane, {"compression": "lzw", "tile": (16, 16)}),
        "big.tif": (plane, {"bigtiff": True, "compression": "zstd"}),
        "color.tif": (color, {"photometric": "rgb", "byteorder": ">"}),
        "jpeg.tif": (color, {"photometric": "rgb", "compression": "jpeg"}),
        "shaped.tif": (stack, {"metadata": {"axes": "ZYX"}, "photometric": "minisblack"}),
        "imagej.tif": (stack, {"imagej": True, "metadata": imagej, "resolution": (2.0, 2.0)}),
        "a.ome.tif": (stack, {"metadata": ome, "photometric": "minisblack"}),
    }
    files = {
        name: _encoded(partial(_write_tiff, pixels, options))
        for name, (pixels, options) in tiffs.items()
    }
    exif = Pillow.Exif()
    exif[274] = 6
    small = Pillow.fromarray(color)
    files["a.png"] = _encoded(lambda file: small.save(file, "PNG", exif=exif))
    files["palette.png"] = _encoded(lambda file: small.quantize(9).save(file, "PNG"))
    files["deep.png"] = _encoded(lambda file: Pillow.fromarray(plane).save(file, "PNG"))
    files["a.jpg"] = _encoded(lambda file: small.save(file, "JPEG", exif=exif))
    files["a.npy"] = _encoded(lambda file: np.save(file, plane))
    return files


def mutate(content: bytes, random: Generator) -> bytes:
    """Another content: one to four changes, each of a random kind."""
    changed = bytearray(content)
    for _ in range(random.integers(1, 5)):
        kinds = [_flip, _cut, _put_number, _repeat]
        if content[:2] in (b"II", b"MM"):
            kinds += [_change_tag] * 6
        if re.search(rb"[=\":] ?\d", content):
            kinds += [_change_word] * 3
        changed = kinds[random.integers(len(kinds))](changed, random)
    return bytes(changed)


def _flip(content: bytearray, random: Generator) -> bytearray:
    for at in random.integers(0, max(1, len(content)), 3):
        content[at : at + 1] = bytes([random.integers(256)])
    return content


def _cut(content: bytearray, random: Generator) -> bytearray:
    return content[: random.integers(len(content) // 2, len(content) + 1)]


def _repeat(content: bytearray, random: Generator) -> bytearray:
    start = int(random.integers(0, max(1, len(content))))
    return content[: start + 40] + content[start:]


def _put_number(content: bytearray, random: Generator) -> bytearray:
    order = "<" if random.integers(2) else ">"
    at = int(random.integers(0, max(1, len(content) - 4)))
    content[at : at + 4] = struct.pack(order + "I", EXTREMES[random.integers(len(EXTREMES))])
    return content


def _change_word(content: bytearray, random: Generator) -> bytearray:
    """Another number in a description; the length of the file stays as it was."""
    found = list(re.finditer(rb"(?<=[=\":, ])[\d.]+", bytes(content)))
    if found:
        match = found[random.integers(len(found))]
        number = NUMBERS[random.integers(len(NUMBERS))].encode()
        start, stop = match.span()
        content[start : max(stop, start + len(number))] = number.ljust(stop - start)
    return content


def _change_tag(content: bytearray, random: Generator) -> bytearray:
    """Another value, count, type or offset in an entry of the first directory."""
    order = "<" if content[:2] == b"II" else ">"
    try:
        (at,) = struct.unpack_from(order + "I", content, 4)
        (count,) = struct.unpack_from(order + "H", content, at)
        if not 0 < count < 100:
            return content
        entry = at + 2 + 12 * int(random.integers(count + 1))
        if entry == at + 2 + 12 * count:
            # Where the next directory is: back to this one, or anywhere.
            target = (at, 8, int(random.integers(len(content))))[random.integers(3)]
            struct.pack_into(order + "I", content, entry, target)
        elif random.integers(4):
            value = EXTREMES[random.integers(len(EXTREMES))]
            struct.pack_into(order + "I", content, entry + (4, 8)[random.integers(2)], value)
        else:
            struct.pack_into(order + "H", content, entry + 2, int(random.integers(1, 19)))
    except struct.error:
        pass
    return content
