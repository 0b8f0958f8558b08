"""What a TIFF file says about its pixels: axes, pixel size and channel names.

Read from maskloop's own facts, OME-XML, ImageJ's description and the resolution tags, in this
order.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from math import isfinite, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from maskloop.errors import ImageError
from maskloop.images.formats.pixels import Pixels

if TYPE_CHECKING:
    from tifffile import TiffFile

__all__ = ["FACTS_KEY", "describe_pixels", "refuse_endless_ome", "scale_pixel_size"]

MOST_PLANES = 1_000_000
"""More planes than this are believed only of a file that has at least a thousandth of them."""

FACTS_KEY = "maskloop"
"""Under this name our own files carry axes and pixel size exactly (formats for others drop axes
of length one and round sizes).
"""

COARSEST_PIXEL_UM = 25.4
"""Resolutions below 1000 pixels per inch are print settings (72 dpi, 300 dpi, 1 per cm), not the
calibration of a microscope.
"""

UM_PER_UNIT = {
    "um": 1.0,
    "µm": 1.0,
    "μm": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "nm": 1e-3,
    "pm": 1e-6,
    "å": 1e-4,
    "mm": 1e3,
    "cm": 1e4,
    "dm": 1e5,
    "m": 1e6,
    "in": 25400.0,
    "inch": 25400.0,
}


def describe_pixels(pixels: Pixels, file: TiffFile, number: int) -> Pixels:
    """Settle the letters and add what the metadata says about size and channels.

    Parameters
    ----------
    pixels
        Of one series of the file.
    file
        The open file.
    number
        Which series it is.
    """
    series = file.series[number]
    page = series.keyframe
    facts, ome = _own_facts(file), _ome_pixels(file, number)
    found = _by_own_facts(pixels, facts) or _by_series(pixels, declared=series.kind == "shaped")
    # Later ones win: OME over ImageJ over resolution tags, which are often print settings.
    sizes = _numbers(facts.get("pixel_size_um")) or {
        **_resolution(page, _imagej_unit(file)),
        **_imagej_depth(file),
        **_ome_sizes(ome),
    }
    names = facts.get("channel_names") or _ome_channels(ome) or _imagej_channels(file)
    # Names that do not match the channels belong to something else.
    channels = dict(zip(found.letters, found.data.shape, strict=True)).get("C", 1)
    return replace(
        found,
        pixel_size_um={axis: size for axis, size in sizes.items() if axis in found.letters},
        channel_names=tuple(names) if len(names) == channels else (),
    )


def _numbers(sizes: Any) -> dict[str, float]:
    """Sizes by axis, from what stands in a description that anybody may have changed."""
    entries = sizes.items() if isinstance(sizes, dict) else ()
    return {axis: float(size) for axis, size in entries if isinstance(size, int | float)}


def refuse_endless_ome(path: Path, file: TiffFile) -> None:
    """Refuse OME metadata that claims planes without end: tifffile makes a list of them.

    Raises
    ------
    ImageError
        If so.
    """
    if not file.is_ome or not file.ome_metadata:
        return
    for element in ElementTree.fromstring(file.ome_metadata).iter():
        if not element.tag.endswith("}Pixels"):
            continue
        planes = prod(int(element.get(f"Size{axis}", 1)) for axis in "ZCT")
        # Each entry may name a count of its own.
        for data in element:
            planes = max(planes, *(int(data.get(name, 0)) for name in ("PlaneCount", "NumPlanes")))
        if planes > max(MOST_PLANES, 1000 * len(file.pages)):
            raise ImageError(
                f"'{path}' is damaged: its OME metadata claims {planes} planes, the file has "
                f"{len(file.pages)}.",
                "Copy or export it again.",
            )


def scale_pixel_size(
    sizes: Mapping[str, float], full: Mapping[str, int], level: Mapping[str, int]
) -> dict[str, float]:
    """The pixel size of a resolution level, from that of the full resolution.

    Parameters
    ----------
    sizes
        Micrometers per pixel at full resolution, by axis.
    full, level
        Length of each axis at full resolution and at the level.
    """
    return {axis: size * full[axis] / level[axis] for axis, size in sizes.items()}


def _own_facts(file: TiffFile) -> dict[str, Any]:
    """What maskloop wrote itself, from whichever place the format has for it."""
    text: Any = ""
    if len(file.series) > 1:
        return {}  # our own files hold one image: somebody has put others beside it
    if file.shaped_metadata:
        text = file.shaped_metadata[0].get(FACTS_KEY, "")
    elif file.is_ome and file.ome_metadata:
        root = ElementTree.fromstring(file.ome_metadata)
        texts = (
            each.text or ""
            for each in root.iter()
            if each.tag.endswith("}M") and each.get("K") == FACTS_KEY
        )
        text = next(texts, "")
    elif match := re.search(
        rf"^{FACTS_KEY}=(.*)$", file.pages.first.description or "", re.MULTILINE
    ):
        text = match[1]
    try:
        # Anybody may write into a description: what is no record of ours is ignored.
        facts = json.loads(text) if isinstance(text, str) and text else {}
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) and isinstance(facts.get("axes"), str) else {}


def _by_own_facts(pixels: Pixels, facts: Mapping[str, Any]) -> Pixels | None:
    """The pixels with the axes we wrote, unless somebody has changed the shape since."""
    if not facts:
        return None
    sizes = dict(zip(pixels.letters, pixels.data.shape, strict=True))
    if sizes.get("S", 1) > 1:
        sizes["C"] = sizes["S"]
    shape = tuple(sizes.get(letter, 1) for letter in facts["axes"])
    long = [
        letter.replace("S", "C")
        for letter, size in zip(pixels.letters, pixels.data.shape, strict=True)
        if size > 1
    ]
    # Fiji keeps our description when it crops or reslices: then it lies.
    if long != [letter for letter, size in zip(facts["axes"], shape, strict=True) if size > 1]:
        return None
    return replace(pixels, data=pixels.data.reshape(shape), letters=facts["axes"])


def _by_series(pixels: Pixels, *, declared: bool) -> Pixels:
    """Drop the axes of length one that the format adds by itself; call unknown axes by ``?``."""
    # An axis of length one that a person declared is kept; formats that always have five axes
    # declare nothing.
    known = "TCZYX" if declared else "YX"
    kept = [
        (letter, size)
        for letter, size in zip(pixels.letters, pixels.data.shape, strict=True)
        if size > 1 or letter in known
    ]
    letters = "".join(letter if letter in "TCZYXS" else "?" for letter, _ in kept)
    if "C" not in letters:
        letters = letters.replace("S", "C")
    return replace(
        pixels,
        data=pixels.data.reshape(tuple(size for _, size in kept)),
        letters=letters.replace("S", "?"),
        full_shape=tuple(pixels.data.shape),
    )


def _resolution(page: Any, unit: float | None) -> dict[str, float]:
    """Pixel size from the resolution tags: pixels per `unit` micrometers, inch or centimeter."""
    # Units 2 and 3 of the tag are inch and centimeter; 1 is none.
    per_unit = unit or {2: 25400.0, 3: 10000.0}.get(int(page.resolutionunit))
    if per_unit is None:
        return {}
    found = {
        axis: per_unit / value
        for axis, value in zip("XY", page.resolution, strict=True)
        if value > 0 and isfinite(value)
    }
    return found if unit or all(size < COARSEST_PIXEL_UM for size in found.values()) else {}


def _imagej_unit(file: TiffFile) -> float | None:
    # ImageJ writes the micro sign in several ways.
    unit = str((file.imagej_metadata or {}).get("unit", "")).strip().lower().replace("\\u00b5", "µ")
    return UM_PER_UNIT.get(unit)


def _imagej_depth(file: TiffFile) -> dict[str, float]:
    unit, spacing = _imagej_unit(file), (file.imagej_metadata or {}).get("spacing")
    return {"Z": float(spacing) * unit} if unit and isinstance(spacing, int | float) else {}


def _imagej_channels(file: TiffFile) -> tuple[str, ...]:
    metadata = file.imagej_metadata or {}
    labels = metadata.get("Labels") or ()
    # ImageJ labels planes, not channels; they are the same only where there is nothing but
    # channels.
    return (
        tuple(labels)
        if isinstance(labels, list) and len(labels) == metadata.get("channels")
        else ()
    )


def _ome_pixels(file: TiffFile, number: int) -> ElementTree.Element | None:
    if not file.is_ome or not file.ome_metadata:
        return None
    root = ElementTree.fromstring(file.ome_metadata)
    images = [element for element in root.iter() if element.tag.endswith("}Pixels")]
    return images[number] if number < len(images) else None


def _ome_sizes(ome: ElementTree.Element | None) -> dict[str, float]:
    sizes = {}
    for axis in "XYZ" if ome is not None else "":
        assert ome is not None
        unit = UM_PER_UNIT.get(ome.get(f"PhysicalSize{axis}Unit", "µm").strip().lower())
        said = ome.get(f"PhysicalSize{axis}")
        # Some writers put text where a number belongs.
        with contextlib.suppress(ValueError):
            if unit is not None and said is not None:
                sizes[axis] = float(said) * unit
    return sizes


def _ome_channels(ome: ElementTree.Element | None) -> tuple[str, ...]:
    channels = (
        [] if ome is None else [element for element in ome if element.tag.endswith("}Channel")]
    )
    names = tuple(channel.get("Name", "") for channel in channels)
    return names if names and all(names) else ()
