"""Files to images: TIFF, OME-TIFF, ImageJ TIFF, PNG, JPEG and NPY; lazy where the format allows, axes never guessed.

Alpha channels are left out (they say how to draw a picture, not what was seen): the fourth sample
of a colour image always, the second of a grey one where the file calls it alpha.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop.errors import AxesError, ImageError, MaskError
from maskloop.images.axes import CANONICAL, parse_axes
from maskloop.images.image import Image
from maskloop.images.tiff import Pixels, native, read_tiff, reading

__all__ = ["ENDINGS", "ending_of", "open_image", "open_labels"]

ENDINGS = (".ome.tiff", ".ome.tif", ".tiff", ".tif", ".png", ".jpeg", ".jpg", ".npy")
"""Endings of the files that can be opened, the longest first."""


def open_image(path: str | Path, *, axes: str | None = None) -> Image:
    """Open an image; its pixels are read when they are asked for.

    Uncompressed TIFF and NPY are mapped, compressed TIFF is read page by page; PNG and JPEG, which
    allow neither, are read at once. Palette images become RGB.

    Parameters
    ----------
    path
        A .tif, .tiff (OME, ImageJ or plain), .png, .jpg, .jpeg or .npy file.
    axes
        One letter of TCZYX per dimension; wins over what the file says. Needed where the file does
        not say.

    Returns
    -------
    image
        Named after the file, with pixel size (micrometres) and channel names where the file has
        them.

    Raises
    ------
    ImageError
        If the file is missing, damaged, empty, holds several images or pixels that are not real
        numbers.
    AxesError
        If the file does not say what its dimensions are, or `axes` do not fit them.
    """
    path = Path(path)
    return _settle(path, _read(path, colours=True), axes)


def open_labels(path: str | Path, *, axes: str | None = None) -> Image:
    """Open a mask, as `open_image` but without channels; a palette's indices are the labels.

    Raises
    ------
    MaskError
        If the mask has several channels (a colour picture of labels), or the file is a JPEG, which
        changes labels.
    ImageError, AxesError
        As for `open_image`.
    """
    path = Path(path)
    if ending_of(path) in (".jpg", ".jpeg"):
        raise MaskError(
            f"Mask '{path}' is a JPEG, which blurs the borders of labels and invents values.",
            "Export the mask as TIFF or PNG from where it was drawn.",
        )
    image = _settle(path, _read(path, colours=False), axes)
    if image.channels > 1:
        raise MaskError(
            f"Mask '{path}' has {image.channels} channels (axes {image.axes}, shape {image.shape}); a mask has one number per pixel.",
            "Save it as a label image with one channel (in Fiji: Image > Type > 8-bit or 16-bit), or choose the right file.",
        )
    if "C" not in image.axes:
        return image
    kept = image.axes.replace("C", "")
    data = image.data.reshape(tuple(image.sizes[letter] for letter in kept))  # type: ignore[attr-defined]
    return replace(image, data=data, axes=kept, channel_names=())


def ending_of(path: Path) -> str:
    """The ending by which a file is read, in small letters (``.ome.tif`` is one), or an empty text when it cannot be."""
    name = path.name.lower()
    return next((ending for ending in ENDINGS if name.endswith(ending)), "")


def _read(path: Path, *, colours: bool) -> Pixels:
    ending = ending_of(path)
    if not ending:
        raise ImageError(
            f"'{path}' is not a kind of image that can be read.",
            f"Save it as one of {', '.join(sorted(ENDINGS))}.",
        )
    with reading(path):
        if path.stat().st_size == 0 and path.is_file():
            raise ImageError(f"'{path}' is empty (0 bytes).", "Copy or export it anew.")
    if ending == ".npy":
        pixels = _read_npy(path)
    elif ending in (".png", ".jpg", ".jpeg"):
        pixels = _read_picture(path, colours=colours)
    else:
        pixels = read_tiff(path, colours=colours)
    _refuse_type(path, pixels)
    return pixels


def _refuse_type(path: Path, pixels: Pixels) -> None:
    dtype = pixels.data.dtype
    if dtype.kind not in "buif" or dtype.itemsize > 8:
        what = {"c": "complex numbers", "O": "Python objects"}.get(
            dtype.kind, f"values of type {dtype}"
        )
        raise ImageError(
            f"'{path}' holds {what}, not intensities or labels.",
            "Save real numbers: integers, or floats of up to 64 bits.",
        )
    if 0 in pixels.data.shape:
        raise ImageError(f"'{path}' is empty: its shape is {pixels.data.shape}.", "Export it anew.")


def _settle(path: Path, pixels: Pixels, axes: str | None) -> Image:
    """Name the axes: those given where they fit, else those of the file, else refuse."""
    data, letters = pixels.data, pixels.letters
    if axes is not None:
        short = tuple(size for size in data.shape if size > 1)
        clean = parse_axes(axes)
        if len(clean) == len(short) != len(letters):
            data = data.reshape(short)
        letters = parse_axes(clean, data.shape)
    elif "?" in letters or set(letters) - set(CANONICAL) or len(set(letters)) < len(letters):
        raise AxesError(
            f"'{path}' has the shape {data.shape}, and nothing in the file says what its {len(letters)} dimensions are.",
            f"Name them, for instance --axes {_example(letters)} (in Python axes='{_example(letters)}').",
        )
    sizes = {axis: size for axis, size in pixels.pixel_size_um.items() if axis in letters}
    names = pixels.channel_names if letters == pixels.letters else ()
    return Image(data, letters, pixel_size_um=sizes, channel_names=names, name=path.name)


def _example(letters: str) -> str:
    """Axes that might fit, for a message; what is known keeps its place."""
    known = letters if "Y" in letters else "?" * max(0, len(letters) - 2) + "YX"[-len(letters) :]
    free = [
        letter
        for letter in (
            "ZTC" if known.count("?") == 1 else "TZC" if known.count("?") == 2 else "TCZ"
        )
        if letter not in known
    ]
    for letter in free:
        known = known.replace("?", letter, 1)
    return known


def _read_npy(path: Path) -> Pixels:
    with reading(path):
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            header = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = header(file)
        if dtype.hasobject or 0 in shape or dtype.kind not in "buif":
            # Named by _refuse_type; such a file is never mapped, let alone unpickled.
            return Pixels(
                np.empty((0,) if 0 in shape else (1,) * len(shape), dtype), "?" * len(shape)
            )
        data: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return Pixels(native(data), "YX" if data.ndim == 2 else "?" * data.ndim)


def _read_picture(path: Path, *, colours: bool) -> Pixels:
    with reading(path):
        pixels = (
            _decode_deep(path) if _is_deep_colour(path) else _decode_picture(path, colours=colours)
        )
    return Pixels(pixels, "YX" if pixels.ndim == 2 else "YXC")


def _decode_picture(path: Path, *, colours: bool) -> NDArray[Any]:
    from PIL import Image as Pillow

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # large pictures and odd tags are no news in microscopy
        try:
            # The content decides no more than the ending: Pillow must not try its other, rarer
            # readers on a stranger's file.
            with Pillow.open(path, formats=("PNG", "JPEG")) as picture:
                frames = getattr(picture, "n_frames", 1)
                if frames > 1:
                    raise ImageError(
                        f"'{path}' is an animation of {frames} pictures.",
                        "Save the pictures as a TIFF stack.",
                    )
                return np.asarray(picture.convert(_plain_mode(picture.mode, colours=colours)))
        except Pillow.DecompressionBombError as error:
            raise ImageError(
                f"'{path}' has more pixels than are read from a PNG or JPEG ({error}).",
                "Save it as TIFF.",
            ) from error


def _plain_mode(mode: str, *, colours: bool) -> str:
    if mode in ("P", "PA"):
        return "RGB" if colours else "P"
    return {
        "LA": "L",
        "La": "L",
        "RGBA": "RGB",
        "RGBa": "RGB",
        "RGBX": "RGB",
        "CMYK": "RGB",
        "YCbCr": "RGB",
    }.get(mode, mode)


def _is_deep_colour(path: Path) -> bool:
    """Whether this is a PNG of 16 bits with more than one sample, which Pillow would cut to 8 bits in silence."""
    with path.open("rb") as file:
        head = file.read(26)
    return (
        head[:8] == b"\x89PNG\r\n\x1a\n"
        and len(head) == 26
        and head[24] == 16
        and head[25] in (2, 4, 6)
    )


def _decode_deep(path: Path) -> NDArray[Any]:
    import imagecodecs

    decode: Callable[[bytes], NDArray[Any]] = imagecodecs.png_decode
    pixels = decode(path.read_bytes())
    return pixels[..., 0] if pixels.shape[-1] == 2 else pixels[..., :3]
