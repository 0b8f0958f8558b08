"""Which labels are measured in which images: of a folder, by names and by what the labels tell."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from maskloop.errors import AxesError, MaskloopError, UsageError
from maskloop.images.image import Image
from maskloop.images.meaning import tell_meaning
from maskloop.images.readers import open_image, open_labels
from maskloop.images.sources import find_files, stem_of
from maskloop.measure.base import ObjectKind
from maskloop.measure.note import TableSource
from maskloop.predict.batch import Provenance, read_provenance

__all__ = ["LABELS_SUFFIX", "describe_output", "find_sources", "open_by_own_axes"]

LABELS_SUFFIX = "_labels"
"""What `maskloop predict` appends to the name of an image."""


def find_sources(
    labels: Sequence[str | Path],
    images: str | Path | None = None,
    *,
    mode: str | None = None,
    axes: str | None = None,
) -> list[TableSource]:
    """Files of labels, each with its image and what it says of itself.

    Parameters
    ----------
    labels
        Files, folders and patterns. In a folder of `maskloop predict` only the labels count.
    images
        Folder of the images: named as a prediction says, or else like the labels, with or without
        ``_labels``. Without it only labels are measured.
    mode
        binary, multiclass or instances: what the labels are. By default what predictions say of
        themselves; other files are looked at.
    axes
        Axes of the files that do not name their own.

    Raises
    ------
    ImageError
        If there is no file of labels, or no image in the folder.
    UsageError
        If it is not certain what the labels are.
    """
    # What predictions say of themselves beats what a person or the pixels could tell, unless a
    # person insists.
    files = _label_files(labels)
    notes = [read_provenance(path) for path in files]
    known = _by_stem(find_files([images])) if images is not None else {}
    told = _told_by_pixels(files, notes, mode, axes)
    sources = []
    for path, note in zip(files, notes, strict=True):
        output = note.settings.output if note and mode is None else told
        objects, class_names = describe_output(output)
        sources.append(
            TableSource(
                labels=str(path),
                image=_image_for(path, note, known, images),
                predicted_sha256=note.source_sha256 if note else "",
                original_sha256=note.labels_sha256 if note else "",
                checkpoint_sha256=note.model_id if note else "",
                objects=objects,
                class_names=class_names,
            )
        )
    return sources


def describe_output(output: Mapping[str, Any]) -> tuple[ObjectKind, dict[int, str]]:
    """What labels stand for and how their classes are called, from a prediction's settings."""
    names = {int(label): str(name) for label, name in output.get("class_labels", {}).items()}
    names.pop(0, None)
    if output["mode"] == "instances":
        return "instances", names or {1: "object"}
    return "classes", names or ({1: "foreground"} if output["mode"] == "binary" else {})


def open_by_own_axes(open_file: Callable[..., Image], path: str | Path, axes: str | None) -> Image:
    """A file by its own axes; where it names none, by those given for images and labels alike."""
    try:
        return open_file(path)
    except AxesError:
        if axes is None:
            raise
        # Labels have no channels.
        return open_file(path, axes=axes if open_file is open_image else axes.replace("C", ""))


def _label_files(labels: Sequence[str | Path]) -> list[Path]:
    found = []
    for given in labels:
        files = find_files([given])
        predicted = [path for path in files if stem_of(path).endswith(LABELS_SUFFIX)]
        # A folder of predictions may hold probabilities, and even the images.
        found += predicted if predicted and not Path(given).is_file() else files
    return list(dict.fromkeys(found))


def _told_by_pixels(
    files: Sequence[Path], notes: Sequence[Provenance | None], mode: str | None, axes: str | None
) -> dict[str, Any]:
    """The mode of the labels that say nothing of themselves."""
    if mode is not None:
        return {"mode": mode}
    # Corrected labels keep the note of their prediction; only foreign ones are read for this.
    silent_ones = [path for path, note in zip(files, notes, strict=True) if note is None]
    if not silent_ones:
        return {"mode": "instances"}
    return {"mode": tell_meaning(_readable(silent_ones, axes)).mode}


def _readable(files: Sequence[Path], axes: str | None) -> Iterator[NDArray[Any]]:
    """Labels of the files that can be read; the others are told when they are measured."""
    for path in files:
        with contextlib.suppress(MaskloopError, OSError):
            yield open_by_own_axes(open_labels, path, axes).read()


def _by_stem(images: Sequence[Path]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in images:
        found.setdefault(stem_of(path), []).append(path)
    return found


def _image_for(
    labels: Path,
    note: Provenance | None,
    known: Mapping[str, Sequence[Path]],
    images: str | Path | None,
) -> str:
    """The image of a file of labels; a path that leads nowhere where there is none."""
    if images is None:
        return ""
    if note:
        # The note has the file's name and not its folder: results are moved together.
        return str(Path(images) / note.source)
    stem = stem_of(labels)
    matches = known.get(stem.removesuffix(LABELS_SUFFIX)) or known.get(stem) or ()
    if len(matches) > 1:
        names = ", ".join(path.name for path in matches)
        raise UsageError(
            f"'{labels.name}' matches several images: {names}.",
            "Keep one image of each name in the folder.",
        )
    return str(matches[0]) if matches else str(Path(images) / stem.removesuffix(LABELS_SUFFIX))
