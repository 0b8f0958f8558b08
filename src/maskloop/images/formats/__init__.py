"""File formats by name and ending: which one opens an image, and which one writes a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from maskloop import plugins
from maskloop.errors import ImageError
from maskloop.images.formats.base import Format, LabelSink, SinkSpec
from maskloop.images.formats.damage import reading
from maskloop.images.refs import ImageRef

__all__ = ["create_file", "ending_of", "endings", "find_format", "is_container", "refer"]

HEAD_BYTES = 512
"""How much of a file a format sees to say whether it knows it."""


def _formats() -> Iterator[Format]:
    for _, each in plugins.loadable("formats"):
        yield each


def endings() -> tuple[str, ...]:
    """Endings of the files and folders that can be opened, the longest first."""
    # The longest first: .ome.tif must not be taken for .tif with a dot in its stem.
    known = {ending for each in _formats() for ending in each.endings}
    return tuple(sorted(known, key=lambda ending: (-len(ending), ending)))


def ending_of(path: Path) -> str:
    """The ending by which an image is recognized, in small letters; empty where there is none.

    ``.ome.tif`` is one ending.
    """
    name = path.name.lower()
    return next((ending for ending in endings() if name.endswith(ending)), "")


def refer(image: str | Path | ImageRef, *, axes: str | None = None) -> ImageRef:
    """The reference that a path, a short form such as ``scan.tif::2``, or a reference means.

    Raises
    ------
    AxesError
        If the axes are not possible.
    """
    # What exists under its full name is meant, whatever separators are in the name.
    if isinstance(image, ImageRef) or Path(image).expanduser().exists():
        return ImageRef.of(image, axes=axes)
    return ImageRef.of(ImageRef.parse(str(image)), axes=axes)


def find_format(ref: ImageRef) -> Format:
    """The format that opens an image: by its ending, else by its content.

    Raises
    ------
    ImageError
        If it is missing, or no format knows it.
    """
    path = ref.path
    found = _by_ending(path) or _by_content(path)
    if found is None:
        raise ImageError(
            f"'{ref.uri}' is not a kind of image that can be read.",
            f"Save it as one of {', '.join(sorted(endings()))}.",
        )
    return found


def is_container(folder: Path) -> bool:
    """Whether a folder is itself an image (or a plate of images) that a format opens."""
    # Each format looks for one file of its own; listing the folder would take long.
    return any(each.sniff(folder, b"") for each in _formats())


def create_file(path: str | Path, spec: SinkSpec) -> LabelSink:
    """Begin or continue a file in the format that its ending names.

    Raises
    ------
    ImageError
        If no format writes such files, or it cannot hold the pixels.
    ProjectError
        If the folder is not writable, or another process is writing the same file.
    """
    path = Path(path)
    name = path.name.lower()
    # By name alone: the file does not exist yet.
    writing = [each for each in _formats() if name.endswith(each.written_endings)]
    if not writing:
        known = sorted({ending for each in _formats() for ending in each.written_endings})
        raise ImageError(
            f"'{path}' does not end in a format that can be written.",
            f"Select one of {', '.join(known)}.",
        )
    return writing[0].create(path, spec)


def _by_ending(path: Path) -> Format | None:
    ending = ending_of(path)
    known = [each for each in _formats() if ending and ending in each.endings]
    if len(known) <= 1:
        return known[0] if known else None
    # Two formats claim the ending: the content decides, and where it does not, the first.
    head = _head(path)
    return next((each for each in known if each.sniff(path, head)), known[0])


def _by_content(path: Path) -> Format | None:
    head = _head(path)
    return next((each for each in _formats() if each.sniff(path, head)), None)


def _head(path: Path) -> bytes:
    if path.is_dir():
        return b""
    with reading(path), path.open("rb") as file:
        return file.read(HEAD_BYTES)
