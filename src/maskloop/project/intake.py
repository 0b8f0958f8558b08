"""From arrays, images or files to a pair that is checked, prepared and measured.

Nothing is written here.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskloop.errors import AxesError, ImageError, UsageError
from maskloop.images.axes import CANONICAL, parse_axes
from maskloop.images.fingerprint import PairFingerprint
from maskloop.images.image import Image
from maskloop.images.masks import MaskRule, PreparedMask, check_pair, default_rule, prepare_mask
from maskloop.task import Task
from maskloop.wording import counted

__all__ = ["Candidate", "Pixels", "examine", "hash_pixels", "take_image", "take_labels"]

Pixels = NDArray[Any] | Image | str | Path


@dataclass(frozen=True)
class Candidate:
    """A pair that may be accepted: everything that can be known of it before it has a number."""

    image: Image
    labels: Image
    prepared: PreparedMask
    name: str
    folder: str
    pixels_sha256: str
    perceptual_hash: str
    fingerprint: PairFingerprint


def examine(
    image: Pixels,
    mask: Pixels,
    task: Task,
    *,
    axes: str | None,
    rule: MaskRule | None,
    name: str | None,
    pixel_size_um: Mapping[str, float] | None = None,
) -> Candidate:
    """Check that image and mask belong together, prepare the mask and measure both.

    Parameters
    ----------
    image, mask
        Arrays, images with axes, or files.
    task
        The project's: its output mode and number of classes decide what a mask may hold.
    axes
        Of the image when it is an array or a file that does not tell; a mask has the same without
        C.
    rule
        What the labels mean; by default what fits the output mode.
    name
        What to call the pair; by default the name of the image.
    pixel_size_um
        Micrometres along Z, Y, X; wins over what the image says.

    Raises
    ------
    AxesError, ImageError, MaskError
        If they cannot be read, do not fit each other, or the mask cannot be prepared.
    UsageError
        If a pixel size is not above zero.
    """
    taken = take_image(image, axes=axes, name=name or "image")
    # Everything below needs the pixels: read them once.
    whole = Image(
        taken.read(),
        taken.axes,
        _pixel_size(taken, pixel_size_um or {}),
        taken.channel_names,
        taken.name,
        taken.notes,
    )
    _refuse_without_values(whole)
    # After the image: a mask that does not tell its axes takes those of the image.
    drawn = take_labels(mask, whole, named=axes is not None)
    check_pair(whole, drawn.shape, drawn.axes, mask_name=drawn.name)
    prepared = prepare_mask(
        drawn.read(),
        rule or default_rule(task.mode),
        num_classes=task.num_classes,
        name=drawn.name,
        axes=drawn.axes,
    )
    # How the files were read is kept where a person looks for what may be wrong with the pair.
    notes = (*prepared.preparation.notes, *dict.fromkeys(whole.notes + drawn.notes))
    prepared = replace(
        prepared, preparation=prepared.preparation.model_copy(update={"notes": notes})
    )
    # The mask has the pixel size of the image, whatever its own file says.
    labels = Image(prepared.labels, drawn.axes, whole.pixel_size_um, (), drawn.name)
    whole, labels = _in_file_order(whole), _in_file_order(labels)
    digest, look, facts = measure(
        whole,
        labels.read(),
        instances=task.mode == "instances",
        ignored=prepared.preparation.ignored_label,
    )
    # Names such as t013.tif tell of a film only together with their folder.
    folder = Path(image).parent.name if isinstance(image, str | Path) else ""
    return Candidate(
        whole, labels, prepared, name or _without_ending(whole.name), folder, digest, look, facts
    )


def _refuse_without_values(image: Image) -> None:
    pixels = image.read()
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).any():
        raise ImageError(
            f"Image '{image.name}' has no value: all {counted(pixels.size, 'pixel')} are NaN or "
            "infinite.",
            "Export it again from the program that made it, or leave it out.",
        )


def _pixel_size(image: Image, given: Mapping[str, float]) -> dict[str, float]:
    """What the image says of its pixel size, and what the person says of its axes."""
    if wrong := [
        f"{axis} {size:g}"
        for axis, size in given.items()
        if axis not in "ZYX" or not 0 < size < math.inf
    ]:
        raise UsageError(
            f"'{', '.join(wrong)}' is not a pixel size.",
            "Give micrometers greater than zero along Z, Y and X.",
        )
    return {
        **image.pixel_size_um,
        **{axis: float(size) for axis, size in given.items() if axis in image.axes},
    }


def _without_ending(name: str) -> str:
    from maskloop.images.readers import ending_of

    return name[: len(name) - len(ending_of(Path(name)))] or name


def _in_file_order(image: Image) -> Image:
    """The image with its axes in an order that a TIFF file keeps: ending in YX or YXC."""
    if image.axes.endswith("YX") or (image.axes.endswith("YXC") and image.channels <= 16):
        return image
    axes = "".join(letter for letter in CANONICAL if letter in image.axes)
    return Image(
        np.ascontiguousarray(image.read(axes)),
        axes,
        image.pixel_size_um,
        image.channel_names,
        image.name,
    )


def measure(
    image: Image, labels: NDArray[Any], *, instances: bool, ignored: int | None = None
) -> tuple[str, str, PairFingerprint]:
    """The hash of the pixels, the perceptual hash and the fingerprint of a pair."""
    from maskloop.images.fingerprint import fingerprint_pair
    from maskloop.images.similarity import perceptual_hash

    return (
        hash_pixels(image),
        perceptual_hash(image),
        fingerprint_pair(image, labels, instances=instances, ignored=ignored),
    )


def take_image(image: Pixels, *, axes: str | None, name: str) -> Image:
    """An image out of whatever was offered.

    Raises
    ------
    AxesError
        If an array of more than two dimensions comes without axes.
    """
    if isinstance(image, Image):
        return image
    if isinstance(image, str | Path):
        from maskloop.images.readers import open_image

        return open_image(Path(image), axes=axes)
    pixels = np.asarray(image)
    if axes is None and pixels.ndim != 2:
        raise AxesError(
            f"The image has {pixels.ndim} dimensions {pixels.shape} and its axes are not named.",
            "Name one letter per dimension, such as ZYX or YXC (--axes ZYX).",
        )
    return Image(pixels, axes or "YX", name=name)


def take_labels(mask: Pixels, image: Image, *, named: bool = False) -> Image:
    """Labels from an array, an image or a file, with the axes of the image they were drawn on.

    Labels that do not name their axes have those of the image, without C. Axes of length one are
    added or dropped: a plane is a stack of one plane.

    Parameters
    ----------
    mask
        The labels.
    image
        The image they were drawn on.
    named
        Whether a person named the axes, which then hold for a mask file too, whatever it says
        itself.

    Raises
    ------
    AxesError
        If the labels do not have as many dimensions as the image has without channels.
    """
    expected = image.axes.replace("C", "")
    if isinstance(mask, Image):
        return _with_singletons(mask, image)
    if isinstance(mask, str | Path):
        return _with_singletons(_open_mask(Path(mask), expected, named=named), image)
    pixels = np.asarray(mask)
    # Only the lengths are known: where they agree but for ones, the mask is the image's.
    if pixels.ndim != len(expected) and _long(pixels.shape) == _long(_lengths(image)):
        pixels = pixels.reshape(_lengths(image))
    if pixels.ndim != len(expected):
        raise AxesError(
            f"The mask has {pixels.ndim} dimensions {pixels.shape}, but image '{image.name}' is "
            f"{image.axes} {image.shape}.",
            f"A mask has the axes {parse_axes(expected)}: one label per pixel, no channels.",
        )
    return Image(pixels, expected, name="mask")


def _open_mask(path: Path, expected: str, *, named: bool) -> Image:
    """A mask file with the axes that a person named, those it names itself, or the image's."""
    from maskloop.images.readers import open_labels

    # A plain stack does not name its axes, and one with fewer dimensions than the image cannot
    # have those that were named. Which of them fits is for `check_pair` to say.
    attempts: tuple[str | None, ...] = (expected, None) if named else (None, expected)
    fault: AxesError | None = None
    for axes in attempts:
        try:
            return open_labels(path, axes=axes)
        except AxesError as error:
            fault = fault or error
    assert fault is not None
    raise fault


def _with_singletons(labels: Image, image: Image) -> Image:
    """Labels with the image's axes, if they differ from them only by axes of length one."""
    expected = image.axes.replace("C", "")
    long_axes = [letter for letter in labels.axes if labels.sizes[letter] > 1]
    same_axes = long_axes == [letter for letter in expected if image.sizes[letter] > 1]
    if labels.axes == expected or not same_axes or "C" in labels.axes:
        return labels
    if _long(labels.shape) != _long(_lengths(image)):
        return labels
    pixels = labels.read().reshape(_lengths(image))
    return Image(pixels, expected, name=labels.name, notes=labels.notes)


def _lengths(image: Image) -> tuple[int, ...]:
    return tuple(image.sizes[letter] for letter in image.axes if letter != "C")


def _long(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(length for length in shape if length > 1)


def hash_pixels(image: Image) -> str:
    """SHA-256 of the type, shape, axes and bytes of an image; the same in any file format."""
    pixels = image.read()
    # The same pixels read from a big-endian TIFF must hash alike.
    little = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False)
    digest = hashlib.sha256(f"{little.dtype.str}{image.shape}{image.axes}".encode())
    # As a buffer and not as bytes, which would copy a large stack.
    digest.update(np.ascontiguousarray(little).data)
    return digest.hexdigest()
