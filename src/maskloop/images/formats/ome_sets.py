"""OME-TIFF in several files: which files make up one image, and when one of them is read alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from maskloop.errors import ImageError, MaskloopError
from maskloop.images.formats.damage import reading

if TYPE_CHECKING:
    from tifffile import TiffFile

__all__ = ["OmeSet", "drop_members", "find_set", "keep_to_itself", "set_of"]

ENDINGS = (".ome.tif", ".ome.tiff")
"""Sets have these endings; looking into every TIFF of a folder would take long."""

MOST_NAMED = 3


@dataclass(frozen=True)
class OmeSet:
    """The files that the metadata of one of them names as one image.

    Parameters
    ----------
    path
        The file whose metadata it is.
    names
        Of all its files, relative to the folder, in the order of the metadata.
    counts
        Length of T, C and Z in the whole image.
    pages
        How many pages this one file has.
    """

    path: Path
    names: tuple[str, ...]
    counts: tuple[int, int, int]
    pages: int

    @property
    def note(self) -> str:
        """What a person may want to know when the whole set was read."""
        return (
            f"One image in {len(self.names)} files ({self.names[0]} to {self.names[-1]}). "
            f"{self.alone_in_words}"
        )

    @property
    def alone_in_words(self) -> str:
        """How one file is read without the others."""
        axes = "YX" if self.pages == 1 else "ZYX"
        return f"To read a file of the set alone, name its axes (--axes {axes})."

    def is_read_alone(self, axes: str | None) -> bool:
        """Whether axes that a person named are those of one file: too few for the whole set."""
        return axes is not None and len(axes.strip()) - 2 < sum(count > 1 for count in self.counts)

    def check_complete(self) -> None:
        """Refuse a set of which a file is missing, or named outside of the folder.

        Raises
        ------
        ImageError
            If so; no such file was opened.
        """
        folder = os.path.abspath(self.path.parent)
        # By name and not by where links lead: data sets of many are kept as folders of links.
        inside = [
            name
            for name in self.names
            if os.path.abspath(os.path.join(folder, _slashed(name))).startswith(folder + os.sep)
        ]
        if outside := [name for name in self.names if name not in inside]:
            raise ImageError(
                f"'{self.path}' names files outside of its folder as parts of its image "
                f"({_listed(outside)}); they are not read.",
                f"Put all files of the set into one folder. {self.alone_in_words}",
            )
        # A pipe or a device is no part of an image: opening it would wait for ever.
        missing = [name for name in inside if not (self.path.parent / _slashed(name)).is_file()]
        if missing:
            raise ImageError(
                f"'{self.path}' is one of {len(self.names)} files that make up an image, and "
                f"{_listed(missing)} {'is' if len(missing) == 1 else 'are'} missing.",
                "Put the files of the set back into one folder, under the names they had. "
                f"{self.alone_in_words}",
            )


def _slashed(name: str) -> str:
    # Sets made on Windows; a backslash in a name is no folder on other systems, and none needed.
    return name.replace("\\", "/")


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(f"'{name}'" for name in names[:MOST_NAMED]) + (
        f" and {more:,} more" if more > 0 else ""
    )


def find_set(path: Path, file: TiffFile) -> OmeSet | None:
    """The set that an open file belongs to; None where it is an image by itself.

    Nothing but the file's own metadata is read.
    """
    root = _metadata(file)
    images = [] if root is None else _own_images(root, path)
    names = dict.fromkeys(str(each.get("FileName")) for each in _named_files(images))
    # A single file under another name is this one, renamed.
    if root is None or not images or len(names) < 2:
        return None
    pixels = next(each for each in images[0].iter() if each.tag.endswith("}Pixels"))
    times, channels, planes = (int(pixels.get(f"Size{axis}", 1)) for axis in "TCZ")
    return OmeSet(path, tuple(names), (times, channels, planes), len(file.pages))


def keep_to_itself(path: Path, file: TiffFile, axes: str | None) -> None:
    """Let a file name no file but those of its set, before any of them is opened.

    Parameters
    ----------
    path, file
        The file, open; its series were not asked for yet.
    axes
        As a person named them.

    Raises
    ------
    ImageError
        If a file of the set is missing, or outside of the folder.
    """
    root = _metadata(file)
    if root is None:
        return
    found = find_set(path, file)
    # No public way of tifffile leaves the pixel size, which the same metadata tell, in place.
    if found is not None and found.is_read_alone(axes):
        file._multifile = False
        return
    if found is not None:
        found.check_complete()
    if _restrict(root, path, is_set=found is not None):
        file._omexml = ElementTree.tostring(root, encoding="unicode")


def _restrict(root: Element, path: Path, *, is_set: bool) -> bool:
    """Leave out images that lie in other files; call a renamed file by its name."""
    images, own = _all_images(root), _own_images(root, path)
    for image in images:
        if image not in own:
            root.remove(image)
    renamed = [] if is_set else [each for each in _named_files(own) if not _is_own(each, "", path)]
    for element in renamed:
        element.set("FileName", path.name)
    return len(own) < len(images) or bool(renamed)


def _metadata(file: TiffFile) -> Element | None:
    return ElementTree.fromstring(file.ome_metadata) if file.is_ome and file.ome_metadata else None


def _all_images(root: Element) -> list[Element]:
    """The images with pixels, wherever these lie."""
    return [
        image
        for image in root
        if image.tag.endswith("}Image") and any(each.tag.endswith("}Pixels") for each in image)
    ]


def _own_images(root: Element, path: Path) -> list[Element]:
    """The images with planes in this file; all where it names none of them as its own."""
    identifier, images = str(root.get("UUID", "")), _all_images(root)
    own = []
    for image in images:
        files = _named_files([image])
        if not files or any(_is_own(each, identifier, path) for each in files):
            own.append(image)
    return own or images


def _is_own(element: Element, identifier: str, path: Path) -> bool:
    # A file that was renamed still knows itself by its identifier.
    name = str(element.get("FileName"))
    return name.lower() == path.name.lower() or (identifier != "" and element.text == identifier)


def _named_files(images: Iterable[Element]) -> list[Element]:
    return [
        element
        for image in images
        for element in image.iter()
        if element.tag.endswith("}UUID") and element.get("FileName")
    ]


def set_of(path: Path) -> OmeSet | None:
    """As `find_set`, of a file that is not open; None also where it cannot be read."""
    from tifffile import TiffFile

    if not path.name.lower().endswith(ENDINGS):
        return None
    try:
        with reading(path), TiffFile(path) as file:
            return find_set(path, file)
    except MaskloopError:  # opening it says what is wrong
        return None


def drop_members(paths: Iterable[Path], *, axes: str | None = None) -> list[Path]:
    """Files of a folder in which each set occurs once, as the first of its files.

    Parameters
    ----------
    paths
        The files, in order.
    axes
        As a person named them: too few for a set mean that each file is read alone.
    """
    kept, claimed = [], set[Path]()
    for path in paths:
        if path in claimed:
            continue
        kept.append(path)
        found = set_of(path)
        # A copy under another name claims nothing: its set may be complete without it.
        if found is not None and path.name in found.names and not found.is_read_alone(axes):
            claimed |= {path.parent / name for name in found.names}
    return kept
