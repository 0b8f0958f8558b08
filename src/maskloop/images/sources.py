"""Which images a person means: by name, folder or pattern, and pairs of image and mask."""

from __future__ import annotations

import csv
import difflib
import glob
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from maskloop.errors import AxesError, ImageError, UsageError
from maskloop.images.axes import parse_axes
from maskloop.images.formats import ending_of, endings, find_format, is_container
from maskloop.images.formats.ome_sets import drop_members, set_of
from maskloop.images.refs import ImageRef
from maskloop.records import Record

__all__ = [
    "PairFiles",
    "PairProblem",
    "PairTable",
    "find_files",
    "find_images",
    "match_pairs",
    "natural_order",
    "read_pair_table",
    "stem_of",
]

COLUMNS = ("image", "mask", "group", "axes")
FOREIGN_ENDINGS = (
    ".bmp",
    ".czi",
    ".gif",
    ".ims",
    ".jp2",
    ".lif",
    ".lsm",
    ".nd2",
    ".ndpi",
    ".oib",
    ".oir",
    ".oif",
    ".svs",
    ".vsi",
)
"""Images that people have and that are not read yet: named as a problem instead of being passed
over in silence.
"""


class PairFiles(Record):
    """An image file and the file of its mask."""

    stem: str
    image: Path
    mask: Path
    group: str | None = None
    axes: str | None = None


class PairProblem(Record):
    """A file that found no place in a pair, and why."""

    path: Path
    reason: str


class PairTable(Record):
    """The pairs that were found, and every file that is not among them with its reason."""

    matched: tuple[PairFiles, ...] = ()
    problems: tuple[PairProblem, ...] = ()


def natural_order(path: Path) -> tuple[tuple[int, int, str], ...]:
    """Sort key by which image_2 comes before image_10."""
    parts = re.split(r"(\d+)", path.name.lower())
    return tuple(
        (0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part
    )


def stem_of(path: Path) -> str:
    """The name of an image file without its ending; ``.ome.tif`` is one ending."""
    ending = ending_of(path)
    return path.name[: len(path.name) - len(ending)] if ending else path.stem


def find_images(
    inputs: Sequence[str | Path | ImageRef], *, axes: str | None = None
) -> list[ImageRef]:
    """Find the images that a person means, each series of a file and each image of a container.

    Parameters
    ----------
    inputs
        Files (taken as they are, whatever their ending), single images in them such as
        ``scan.tif::2``, folders (their images, not those of folders in them) and patterns such as
        ``plate1/*.tif`` or ``plate1/**/*.tif``. Hidden and temporary files of folders and patterns
        are left out.
    axes
        As a person named them for all images: axes of single files make each file of a multi-file
        OME-TIFF an image.

    Returns
    -------
    images
        Each image once, in the order of the inputs, in natural order within each. Of a multi-file
        OME-TIFF in a folder or pattern the first file stands for all. A damaged file
        is one image: opening it says what is wrong.

    Raises
    ------
    ImageError
        If an input leads to no image.
    """
    # A file that is named twice, also through a link, comes once and where it came first.
    found: dict[tuple[Path, str, int], ImageRef] = {}
    join = partial(drop_members, axes=axes)
    for source in inputs:
        for ref in _find(source, join):
            for each in _expand(ref):
                found.setdefault((each.path.resolve(), each.item, each.level), each)
    return list(found.values()) or _refuse("No images selected", "nothing was named")


def find_files(inputs: Sequence[str | Path], *, whole_sets: bool = False) -> list[Path]:
    """Find the files and containers that a person means, without looking into them.

    Parameters
    ----------
    inputs
        As for `find_images`.
    whole_sets
        Whether the first file of a multi-file OME-TIFF stands for all.

    Returns
    -------
    paths
        As for `find_images`, each file or container once.

    Raises
    ------
    ImageError
        If an input leads to no image.
    """
    found: dict[Path, Path] = {}
    for source in inputs:
        for ref in _find(source, drop_members if whole_sets else list):
            found.setdefault(ref.path.resolve(), ref.path)
    return list(found.values()) or _refuse("No images selected", "nothing was named")


def _find(
    source: str | Path | ImageRef, join: Callable[[list[Path]], list[Path]]
) -> list[ImageRef]:
    if isinstance(source, ImageRef):
        return [source]
    path = Path(source).expanduser()
    if path.is_file():
        return [ImageRef.of(path)]
    if path.is_dir():
        # A folder may be an image itself, as an OME-Zarr is.
        if is_container(path):
            return [ImageRef.of(path)]
        found = _list_images(path) or _refuse(
            f"Folder '{path}' holds no image", "its subfolders are not searched"
        )
        return [ImageRef.of(each) for each in join(found)]
    # Only what does not exist under its full name can be a short form or a pattern.
    named = ImageRef.parse(str(path))
    if named.path.exists():
        return [named]
    if not glob.has_magic(str(path)):
        return _refuse(f"There is no file or folder '{path}'", "check the spelling")
    hits = (Path(hit) for hit in glob.glob(str(path), recursive=True))
    kept = _keep_images(hits) or _refuse(
        f"The pattern '{path}' matches no image", "check the spelling"
    )
    return [ImageRef.of(each) for each in join(kept)]


def _expand(ref: ImageRef) -> Sequence[ImageRef]:
    """The images in what a person named as a whole, with the axes that were named for it."""
    if ref.item:
        return (ref,)
    # A damaged file is found like any other: opening it says what is wrong.
    try:
        items = find_format(ref).items(ref.uri)
    except ImageError:
        return (ref,)
    update = {"axes": ref.axes, "level": ref.level}
    return [each.model_copy(update=update) for each in items]


def _refuse(problem: str, hint: str) -> NoReturn:
    raise ImageError(f"{problem}.", f"Name files, folders or patterns of {_endings()} ({hint}).")


def _endings() -> str:
    return ", ".join(sorted(endings()))


def _list_images(folder: Path) -> list[Path]:
    return _keep_images(folder.iterdir())


def _keep_images(paths: Iterable[Path]) -> list[Path]:
    return sorted((path for path in paths if _is_image(path)), key=natural_order)


def _is_image(path: Path) -> bool:
    if not ending_of(path) or _is_passing(path):
        return False
    return path.is_file() or (path.is_dir() and is_container(path))


def _is_passing(path: Path) -> bool:
    """Whether a file is none of a person's images: hidden, a lock, temporary, or a record.

    Such as ``._a.tif`` from macOS, and ``a_seg.npy``, where Cellpose keeps its own results.
    """
    return path.name.startswith((".", "~")) or path.name.lower().endswith("_seg.npy")


def match_pairs(
    images: str | Path,
    masks: str | Path,
    *,
    mask_suffix: str = "",
    axes: str | None = None,
    nouns: tuple[str, str] = ("image", "mask"),
) -> PairTable:
    """Match the images of a folder with the masks of a folder by their names.

    Parameters
    ----------
    images, masks
        Two folders, or one and the same when the masks have a suffix.
    mask_suffix
        What the name of a mask has after that of its image, such as ``_mask`` for cell_01.tif and
        cell_01_mask.png.
    axes
        As a person named them for all images: axes of single files make each file of a multi-file
        OME-TIFF an image.
    nouns
        What the two are called in the problems.

    Returns
    -------
    pairs
        In natural order. The ending may differ within a pair. Of files with one and the same name
        none is chosen: they are reported.

    Raises
    ------
    UsageError
        If one folder is given for both and no suffix.
    ImageError
        If a folder is missing or holds no image.
    """
    image_folder, mask_folder = _folder(images), _folder(masks)
    shared = image_folder.resolve() == mask_folder.resolve()
    if shared and not mask_suffix:
        raise UsageError(
            f"Images and masks are both in '{image_folder}', and nothing tells them apart.",
            "Give two folders, or the suffix of the masks (--mask-suffix _mask).",
        )
    mask_files, strays = _split(_list_images(mask_folder), mask_suffix)
    # In a shared folder what has no suffix is an image.
    image_files = strays if shared else _list_images(image_folder)
    if not image_files:
        _refuse(
            f"Folder '{image_folder}' holds no image",
            f"all names end in '{mask_suffix}'" if shared else "its subfolders are not searched",
        )
    problems: list[PairProblem] = []
    if not shared:
        reason = f"its name does not end in '{mask_suffix}'"
        problems += [PairProblem(path=path, reason=reason) for path in strays]
    image_of, image_problems = _by_stem(image_files, "")
    mask_of, mask_problems = _by_stem(mask_files, mask_suffix)
    members = _members(image_of, mask_of, axes)
    image_of = {stem: path for stem, path in image_of.items() if stem not in members}
    problems += [each for each in members.values() if each is not None]
    problems += image_problems + mask_problems + _unread({image_folder, mask_folder})
    # Several files of one name are a problem of their own: their partner is not alone.
    several_images = {stem_of(problem.path) for problem in image_problems}
    several_masks = {stem_of(each.path).removesuffix(mask_suffix) for each in mask_problems}
    image, mask = nouns
    no_mask = f"no {mask} named '<stem>{mask_suffix}' in '{mask_folder}'"
    no_image = f"no {image} named '<stem>' in '{image_folder}'"
    problems += _alone(image_of, mask_of.keys() | several_masks, no_mask)
    problems += _alone(mask_of, image_of.keys() | several_images | members.keys(), no_image)
    problems += _alone(
        image_of, image_of.keys() - several_masks, f"there are several {mask}s of this name"
    )
    problems += _alone(
        mask_of, mask_of.keys() - several_images, f"there are several {image}s of this name"
    )
    matched = tuple(
        PairFiles(stem=stem, image=path, mask=mask_of[stem])
        for stem, path in image_of.items()
        if stem in mask_of
    )
    return PairTable(matched=matched, problems=tuple(problems))


def _folder(path: str | Path) -> Path:
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise ImageError(
            f"'{folder}' is {'a file' if folder.exists() else 'missing'}, not a folder.",
            "Name the folder that holds the files.",
        )
    return folder


def _split(paths: Sequence[Path], suffix: str) -> tuple[list[Path], list[Path]]:
    masks = [path for path in paths if stem_of(path).endswith(suffix)]
    return masks, [path for path in paths if not stem_of(path).endswith(suffix)]


def _by_stem(paths: Sequence[Path], suffix: str) -> tuple[dict[str, Path], list[PairProblem]]:
    # Of cell.tif and cell.png nobody can say which one was meant.
    groups: defaultdict[str, list[Path]] = defaultdict(list)
    for path in paths:
        groups[stem_of(path).removesuffix(suffix)].append(path)
    single = {stem: members[0] for stem, members in groups.items() if len(members) == 1}
    problems = []
    for members in (members for members in groups.values() if len(members) > 1):
        for path in members:
            others = ", ".join(other.name for other in members if other != path)
            problems.append(
                PairProblem(path=path, reason=f"has the same name as {others}: keep one of them")
            )
    return single, problems


def _members(
    image_of: Mapping[str, Path], mask_of: Mapping[str, Path], axes: str | None
) -> dict[str, PairProblem | None]:
    """Files that another one stands for, as parts of one image; a problem if they have a mask."""
    # Files with a mask first: the mask of the whole may be called like any of them.
    order = sorted(image_of, key=lambda stem: stem not in mask_of)
    kept = set(drop_members([image_of[stem] for stem in order], axes=axes))
    dropped: dict[str, PairProblem | None] = {}
    for stem, path in image_of.items():
        if path in kept:
            continue
        found = set_of(path)
        how = f" {found.alone_in_words}" if found else ""
        reason = f"it is part of an image of several files, which has another mask.{how}"
        dropped[stem] = PairProblem(path=path, reason=reason) if stem in mask_of else None
    return dropped


def _alone(files: Mapping[str, Path], partners: Iterable[str], reason: str) -> list[PairProblem]:
    known = set(partners)
    return [
        PairProblem(path=path, reason=reason.replace("<stem>", stem))
        for stem, path in files.items()
        if stem not in known
    ]


def _unread(folders: Iterable[Path]) -> list[PairProblem]:
    reason = f"this format is not read: save it as one of {_endings()}"
    paths = sorted(
        path
        for folder in folders
        for path in folder.iterdir()
        if path.suffix.lower() in FOREIGN_ENDINGS and not _is_passing(path)
    )
    return [PairProblem(path=path, reason=reason) for path in paths]


def read_pair_table(path: str | Path) -> PairTable:
    """Read a CSV file of pairs.

    Parameters
    ----------
    path
        A table with the columns image and mask, and optionally group and axes; separated by commas,
        semicolons or tabs. Paths are relative to the table.

    Returns
    -------
    pairs
        One per row; a row whose files are missing or repeated becomes a problem.

    Raises
    ------
    UsageError
        If the table cannot be read, lacks a column, or has one that is nearly called like one of
        ours.
    """
    path = Path(path).expanduser()
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(
            f"The table '{path}' cannot be read: {reason}.", "Save it as CSV (UTF-8)."
        ) from error
    lines = text.splitlines()
    header = lines[0] if lines else ""
    # Spreadsheets write semicolons or tabs where the comma is the decimal sign.
    rows = csv.DictReader(lines, delimiter=max(",;\t", key=header.count))
    _check_columns(path, rows)
    # By resolved path: the same image must not become two pairs.
    matched: dict[Path, PairFiles] = {}
    problems = []
    for row in rows:
        cells = {
            (name or "").strip().lower(): (cell or "").strip()
            for name, cell in row.items()
            if not isinstance(cell, list)
        }
        if not any(cells.values()):
            continue
        pair = _pair_of_row(path, rows.line_num, cells, matched)
        if isinstance(pair, PairProblem):
            problems.append(pair)
        else:
            matched[pair.image.resolve()] = pair
    return PairTable(matched=tuple(matched.values()), problems=tuple(problems))


def _check_columns(path: Path, rows: csv.DictReader[str]) -> None:
    names = [(name or "").strip().lower() for name in rows.fieldnames or ()]
    missing = [name for name in COLUMNS[:2] if name not in names]
    if missing:
        raise UsageError(
            f"The table '{path}' has no column {' and no column '.join(missing)}; its columns are: "
            f"{', '.join(names) or 'none'}.",
            "The first line must name the columns: image, mask, and optionally group, axes.",
        )
    for name in names:
        # 'groups' passed over in silence would let crops of one image land in training and in
        # validation.
        close = difflib.get_close_matches(name, COLUMNS, 1, 0.75)
        if close and name not in COLUMNS:
            raise UsageError(
                f"The table '{path}' has a column '{name}'.",
                f"Call it '{close[0]}' if it is that, or something else.",
            )


def _pair_of_row(
    table: Path, line: int, cells: Mapping[str, str], matched: Mapping[Path, PairFiles]
) -> PairFiles | PairProblem:
    for column in COLUMNS[:2]:
        if not cells[column]:
            return PairProblem(path=table, reason=f"line {line} names no {column}")
    image, mask = (_beside(table, cells[column]) for column in COLUMNS[:2])
    for file in (image, mask):
        if not (file.is_file() or is_container(file)):
            return PairProblem(path=file, reason=f"line {line}: there is no such file")
    if image.resolve() in matched:
        return PairProblem(path=image, reason=f"line {line} names this image again")
    if image.resolve() == mask.resolve():
        return PairProblem(
            path=image, reason=f"line {line} names the same file as image and as mask"
        )
    try:
        axes = parse_axes(cells["axes"]) if cells.get("axes") else None
    except AxesError as error:
        return PairProblem(path=image, reason=f"line {line}: {error.problem}")
    return PairFiles(
        stem=stem_of(image), image=image, mask=mask, group=cells.get("group") or None, axes=axes
    )


def _beside(table: Path, cell: str) -> Path:
    path = table.parent / Path(cell).expanduser()
    # Tables made on Windows have backslashes.
    return path if path.exists() or "\\" not in cell else table.parent / cell.replace("\\", "/")
