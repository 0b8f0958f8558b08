"""PNG and JPEG: pictures of 8 or 16 bits, read at once because neither allows reading a part."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop.errors import ImageError, MaskError
from maskloop.images.formats.alpha import ALPHA_MASK_NOTE, ALPHA_NOTE, is_opacity
from maskloop.images.formats.base import LabelSink, SinkSpec
from maskloop.images.formats.damage import reading
from maskloop.images.formats.files import (
    hash_file,
    refuse_empty_file,
    refuse_overstated,
    refuse_part,
)
from maskloop.images.formats.orient import ORIENTATION_TAG, orient
from maskloop.images.formats.pixels import Pixels, settle_axes
from maskloop.images.formats.staged import StagedSink
from maskloop.images.image import Image
from maskloop.images.refs import ImageRef
from maskloop.records import write_bytes

__all__ = ["PICTURES", "PictureFormat"]

MOST_EXPANSION = 1100
"""Deflate ends at 1032, JPEG at about 500."""
SURELY_BYTES = 16_000_000

_JPEG_ENDINGS = (".jpeg", ".jpg")
_JPEG_HEAD = b"\xff\xd8\xff"

_PLAIN_MODES = {"La": "LA", "RGBa": "RGBA", "RGBX": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}
"""What each rarer kind of picture that Pillow knows is read as."""


class PictureFormat:
    """PNG and JPEG; alpha of a picture is left out, and cameras' pictures are turned upright."""

    name = "picture"
    endings = (".png", *_JPEG_ENDINGS)
    written_endings = (".png",)

    def sniff(self, path: Path, head: bytes) -> bool:
        """Whether the first bytes are those of a PNG or JPEG."""
        return head.startswith((b"\x89PNG\r\n\x1a\n", _JPEG_HEAD))

    def items(self, uri: str) -> tuple[ImageRef, ...]:
        """The picture itself."""
        return (ImageRef(uri=uri),)

    def levels(self, ref: ImageRef) -> int:
        """One: full resolution."""
        return 1

    def open(self, ref: ImageRef) -> Image:
        """Read a picture; a palette becomes RGB."""
        return settle_axes(ref, _read(ref, colors=True))

    def open_labels(self, ref: ImageRef) -> Image:
        """Read a mask; the indices of a palette are the labels."""
        # Whatever its name: what is called .png may be a JPEG.
        if ref.path.name.lower().endswith(_JPEG_ENDINGS) or _is_jpeg(ref.path):
            raise MaskError(
                f"Mask '{ref.uri}' is a JPEG, which blurs the borders of labels and invents "
                "values.",
                "Export the mask as TIFF or PNG from where it was drawn.",
            )
        return settle_axes(ref, _read(ref, colors=False))

    def identity(self, ref: ImageRef) -> str:
        """SHA-256 of the file."""
        return hash_file(ref.path)

    def create(self, path: Path, spec: SinkSpec) -> LabelSink:
        """A PNG of 8 or 16 bits, of one plane."""
        if not path.name.lower().endswith(self.written_endings):
            raise ImageError(
                f"'{path}' would be a JPEG, which changes pixels.", "Select .png or .tif."
            )
        _check_png(path, spec)
        return StagedSink(path, spec, _write_png)


PICTURES = PictureFormat()


def _is_jpeg(path: Path) -> bool:
    with reading(path), path.open("rb") as file:
        return file.read(3) == _JPEG_HEAD


def _read(ref: ImageRef, *, colors: bool) -> Pixels:
    refuse_part(ref)
    path = ref.path
    refuse_empty_file(path)
    with reading(path):
        pixels, has_alpha = _decode(path, colors=colors)
    notes: tuple[str, ...] = ()
    # Axes that a person named say that the last sample is a channel like the others.
    if has_alpha and ref.axes is None:
        pixels, notes = _without_alpha(pixels, is_mask=not colors)
    return Pixels(pixels, "YX" if pixels.ndim == 2 else "YXC", notes=notes)


def _without_alpha(pixels: NDArray[Any], *, is_mask: bool) -> tuple[NDArray[Any], tuple[str, ...]]:
    """What was seen or drawn, out of (rows, columns, samples) whose last is called alpha."""
    color, alpha = pixels[..., :-1], pixels[..., -1]
    if is_mask and (color == color[0, 0]).all() and (alpha != alpha[0, 0]).any():
        return alpha, (ALPHA_MASK_NOTE,)
    # A mask has no channels, whatever its alpha looks like.
    if not (is_mask or is_opacity(alpha)):
        return pixels, ()
    return color[..., 0] if color.shape[-1] == 1 else color, (ALPHA_NOTE,)


def _decode(path: Path, *, colors: bool) -> tuple[NDArray[Any], bool]:
    """The pixels, and whether their last sample is called alpha."""
    if _is_deep_color(path):
        pixels = _decode_deep(path)
        return pixels, pixels.shape[-1] in (2, 4)
    return _decode_picture(path, colors=colors)


def _decode_picture(path: Path, *, colors: bool) -> tuple[NDArray[Any], bool]:
    from PIL import Image as Pillow

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # large pictures and odd tags are no news in microscopy
        try:
            # The content decides no more than the ending: Pillow must not try its other, rarer
            # readers on a stranger's file.
            with Pillow.open(path, formats=("PNG", "JPEG")) as picture:
                frames = getattr(picture, "n_frames", 1)
                # In a camera's MPO the first picture is the image; the others are previews of it.
                if frames > 1 and picture.format != "MPO":
                    raise ImageError(
                        f"'{path}' is an animation of {frames} pictures.",
                        "Save the pictures as a TIFF stack.",
                    )
                claimed = picture.width * picture.height * len(picture.getbands())
                _refuse_lies(path, claimed, path.stat().st_size)
                # Before `convert`, which forgets it.
                orientation = picture.getexif().get(ORIENTATION_TAG, 1)
                mode = _plain_mode(picture.mode, colors=colors)
                pixels = np.asarray(picture.convert(mode))
        except Pillow.DecompressionBombError as error:
            raise ImageError(
                f"'{path}' has more pixels than are read from a PNG or JPEG ({error}).",
                "Save it as TIFF.",
            ) from error
    has_alpha = mode in ("LA", "RGBA")
    if orientation not in range(2, 9):
        return pixels, has_alpha
    # In the order of memory: what is read next is faster than the turn.
    upright = np.ascontiguousarray(orient(pixels, "YXC"[: pixels.ndim], orientation))
    return upright, has_alpha


def _refuse_lies(path: Path, claimed_bytes: int, stored_bytes: int) -> None:
    # Pictures are read at once, in several copies: less is free than of a TIFF.
    refuse_overstated(path, claimed_bytes, stored_bytes, most=MOST_EXPANSION, surely=SURELY_BYTES)


def _plain_mode(mode: str, *, colors: bool) -> str:
    # A mask keeps the numbers; the palette says how to show them.
    if mode in ("P", "PA"):
        return "RGB" if colors else "P"
    return _PLAIN_MODES.get(mode, mode)


def _is_deep_color(path: Path) -> bool:
    """Whether this is a PNG of 16 bits with several samples, which Pillow would cut to 8 bits."""
    with path.open("rb") as file:
        head = file.read(26)
    # The header chunk comes first, always: bit depth and color type at fixed places.
    is_png = head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) == 26
    return is_png and head[24] == 16 and head[25] in (2, 4, 6)


def _decode_deep(path: Path) -> NDArray[Any]:
    import imagecodecs

    content = path.read_bytes()
    width, height = struct.unpack(">II", content[16:24])
    _refuse_lies(path, width * height * 8, len(content))
    decode: Callable[[bytes], NDArray[Any]] = imagecodecs.png_decode
    return decode(content)


def _check_png(path: Path, spec: SinkSpec) -> None:
    sizes = dict(zip(spec.axes, spec.shape, strict=True))
    if spec.dtype is not None:
        _check_type(path, spec.dtype)
    # Axes of length one can be dropped; a longer one would need several files.
    target = _png_axes(spec.axes, sizes.get("C", 1))
    if any(size > 1 for letter, size in sizes.items() if letter not in target):
        raise ImageError(
            f"A PNG holds one plane, not axes {spec.axes} {spec.shape} ('{path}').",
            "Select .tif, which holds stacks.",
        )


def _check_type(path: Path, dtype: np.dtype[Any]) -> None:
    if dtype.name not in ("uint8", "uint16"):
        raise ImageError(
            f"A PNG holds whole numbers of 8 or 16 bits, not {dtype} ('{path}').",
            "Select .tif, which holds all types.",
        )


def _png_axes(axes: str, channels: int) -> str:
    return "YXC" if axes.endswith("YXC") and channels == 3 else "YX"


def _write_png(path: Path, image: Image, dtype: np.dtype[Any], spec: SinkSpec) -> None:
    import imagecodecs

    _check_type(path, dtype)
    pixels = image.read(_png_axes(image.axes, image.channels))
    write_bytes(path, bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels, dtype))))
