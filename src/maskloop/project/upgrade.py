"""Bring folders of version 2 and of napari-training-assistant up to date; originals are kept."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from maskloop.errors import AxesError, MaskloopError, ProjectError
from maskloop.events import Progress, Report, silent
from maskloop.images.image import Image
from maskloop.project import layout, version2
from maskloop.project.checkpoints import CheckpointList
from maskloop.project.dataset import Dataset
from maskloop.project.folder import Folder
from maskloop.project.history import History
from maskloop.project.intake import measure
from maskloop.project.inventory import COLLECTIONS, PAIRS, Collection
from maskloop.project.layout import (
    Checkpoints,
    Manifest,
    Pair,
    ProjectConfig,
)
from maskloop.project.legacy import Converted, convert, is_legacy
from maskloop.project.lock import WriterLock
from maskloop.project.paths import require_inside
from maskloop.project.settings import Settings
from maskloop.project.splits import derive_group
from maskloop.project.store import changed, copy_file, file_sha256, place_file
from maskloop.records import Record, write_bytes, write_errors, write_record

__all__ = [
    "UpgradeReport",
    "convert",
    "is_legacy",
    "is_older",
    "stand_ins",
    "upgrade",
    "upgrade_in_place",
]


LAST = (layout.CONFIG, layout.ARCHITECTURE)
"""Records that tell the version of a folder, in the order in which an upgrade writes them."""


class UpgradeReport(Record):
    """What an upgrade did."""

    folder: str
    was_needed: bool
    originals: str = ""
    task: str | None = None
    pair_count: int = 0
    checkpoint_count: int = 0
    warnings: tuple[str, ...] = ()


def is_older(folder: Path) -> bool:
    """Whether a folder is of an older version, ours or that of napari-training-assistant."""
    return is_legacy(folder) or version2.is_version_2(folder)


def stand_ins(folder: Path) -> tuple[dict[str, Record], tuple[str, ...]]:
    """The records that an older folder would have after its upgrade, and what it lacks."""
    if is_legacy(folder):
        converted = convert(folder)
        return converted.records, converted.warnings
    return version2.convert(folder), version2.damaged(folder)


def upgrade(
    folder: str | Path,
    *,
    task: str | None = None,
    out: str | Path | None = None,
    report: Report = silent,
    timeout_s: float = 10.0,
) -> UpgradeReport:
    """Turn an older folder, or one of its tasks, into a project of ours.

    Parameters
    ----------
    folder
        The older folder.
    task
        The task to take (0.3); by default the active one.
    out
        A new folder to put it into, the older one staying untouched; by default it is upgraded
        where it is.
    report
        Told how far it is.

    Raises
    ------
    ProjectError
        If there is no project, `out` is occupied, or something cannot be written.
    NotFound
        If there is no such task.
    """
    path = Path(folder).expanduser().absolute()
    if not layout.is_project(path):
        raise ProjectError(
            f"'{path}' is not a project folder.", f"Choose the folder with {layout.CONFIG} in it."
        )
    if out is None:
        with WriterLock(path).hold("upgrade", timeout_s=timeout_s):
            done = (
                upgrade_in_place(path, task=task, report=report)
                if is_older(path)
                else UpgradeReport(folder=str(path), was_needed=False)
            )
    else:
        done = _upgrade_apart(path, Path(out).expanduser().absolute(), task, report)
    # Also where nothing was to be upgraded: an upgrade may have been killed just before this.
    _complete(Path(done.folder))
    return done


def _complete(path: Path) -> None:
    """Complete what repeats the checkpoints: latest.pt, the tables, the log, the settings."""
    folder = Folder(path)
    settings = Settings(folder)
    dataset = Dataset(folder, lambda: settings.read().task)
    checkpoints = CheckpointList(folder, settings, dataset, History(folder))
    # The upgrade is done; what repeats the checkpoints is completed by the next write at the
    # latest.
    with contextlib.suppress(ProjectError):
        if not checkpoints.is_followed():
            with folder.writing("upgrade"):
                checkpoints.follow()


def upgrade_in_place(
    folder: Path, *, task: str | None = None, report: Report = silent
) -> UpgradeReport:
    """Upgrade a folder whose lock is held.

    Records are written last, the architecture very last: until then it counts as not upgraded.
    """
    # A link could lead the writes below out of the folder.
    for part in (*layout.folders(), *layout.records()):
        require_inside(folder, folder / part)
    # To the microsecond: an upgrade that was killed and repeated keeps its originals apart.
    kept = f"history/upgrade_{datetime.now(UTC):%Y%m%d_%H%M%S_%f}"
    if not is_legacy(folder):
        return _upgrade_version_2(folder, kept)
    converted = convert(folder, task_id=task)
    with write_errors(folder):
        for part in (
            *layout.folders(),
            *{Path(f"{kept}/{path}").parent.as_posix() for path in converted.originals},
        ):
            (folder / part).mkdir(parents=True, exist_ok=True)
    for path in converted.originals:
        # Weights are large, and are replaced and never changed in place: a second name is enough.
        if path == layout.LATEST:
            place_file(folder / path, folder / kept / path)
        else:
            copy_file(folder / path, folder / kept / path)
    return _finish(folder, folder, converted, report, kept)


def _upgrade_version_2(folder: Path, kept: str) -> UpgradeReport:
    records = version2.convert(folder)
    for path in records:
        with write_errors(folder):
            (folder / kept / path).parent.mkdir(parents=True, exist_ok=True)
        copy_file(folder / path, folder / kept / path)
    _write(folder, records)
    return UpgradeReport(folder=str(folder), was_needed=True, originals=kept)


def _write(folder: Path, records: Mapping[str, Record]) -> None:
    """Write converted records, the settings and the architecture last and twice."""
    others = [path for path in records if path not in LAST]
    for path in others:
        write_record(folder / path, records[path])
    for path in (path for path in LAST if path in records):
        write_record(folder / path, records[path])
        # The copy beside it must be of this version too: repair could not read the older one.
        write_record(folder / path, records[path])


def _upgrade_apart(folder: Path, out: Path, task: str | None, report: Report) -> UpgradeReport:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ProjectError(f"'{out}' is not empty.", "Choose a folder that does not exist yet.")
    if task is None and not is_legacy(folder):
        return _copy_apart(folder, out)
    converted = convert(folder, task_id=task, apart=True)
    with write_errors(out):
        for part in (
            *layout.folders(),
            *{Path(target).parent.as_posix() for target in converted.files},
        ):
            (out / part).mkdir(parents=True, exist_ok=True)
    for target, source in converted.files.items():
        # Missing ones were named in the warnings when the records were read.
        if require_inside(folder, folder / source).is_file():
            copy_file(folder / source, out / target)
    return _finish(folder, out, converted, report, "")


def _copy_apart(folder: Path, out: Path) -> UpgradeReport:
    """A copy of a project of ours: read as an older one it would lose what those did not keep."""
    locks = shutil.ignore_patterns(layout.LOCK, layout.HOLDER)
    with write_errors(out):
        # Links stay links: what they point to is not the project's.
        shutil.copytree(folder, out, symlinks=True, ignore=locks, dirs_exist_ok=True)
    if is_older(out):
        return upgrade_in_place(out)
    return UpgradeReport(folder=str(out), was_needed=False, originals=str(folder))


def _finish(
    folder: Path, out: Path, converted: Converted, report: Report, kept: str
) -> UpgradeReport:
    records = _measured(out, converted.records, report)
    if converted.benchmarks is not None:
        write_bytes(out / layout.BENCHMARKS, converted.benchmarks.encode())
    _write(out, records)
    manifest, checkpoints = records[layout.MANIFEST], records[layout.CHECKPOINTS]
    assert isinstance(manifest, Manifest)
    assert isinstance(checkpoints, Checkpoints)
    lost = tuple(
        f"Pair '{pair.pair_id}' was set aside: {pair.metadata['upgrade_problem']}"
        for pair in manifest.pairs
        if "upgrade_problem" in pair.metadata
    )
    return UpgradeReport(
        folder=str(out),
        was_needed=True,
        originals=kept or str(folder),
        task=converted.task.task_id if converted.task else None,
        pair_count=len(manifest.pairs),
        checkpoint_count=len(checkpoints.checkpoints),
        warnings=(*converted.warnings, *lost),
    )


def _measured(folder: Path, records: Mapping[str, Record], report: Report) -> dict[str, Record]:
    """The records with the hashes and facts that the older program did not keep."""
    measured = dict(records)
    manifest = records[layout.MANIFEST]
    assert isinstance(manifest, Manifest)
    config = records[layout.CONFIG]
    assert isinstance(config, ProjectConfig)
    instances = config.task.mode == "instances"
    pairs = _measured_pairs(folder, manifest.pairs, report, instances=instances)
    measured[layout.MANIFEST] = changed(manifest, pairs=pairs)
    for row in COLLECTIONS.values():
        # Pairs are measured above: they need more than hashes.
        if row is not PAIRS and row.record in records:
            record = records[row.record]
            entries = tuple(_hashed(folder, row, entry) for entry in row.entries_of(record))
            measured[row.record] = changed(record, **{row.entries: entries})
    return measured


def _hashed(folder: Path, row: Collection[Any], entry: Record) -> Record:
    """An entry with the hashes of its files that the older program did not keep."""
    hashes = {
        sha256: file_sha256(folder / getattr(entry, path))
        for path, sha256 in row.files
        if not getattr(entry, sha256) and (folder / getattr(entry, path)).is_file()
    }
    return changed(entry, **hashes) if hashes else entry


def _measured_pairs(
    folder: Path, pairs: tuple[Pair, ...], report: Report, *, instances: bool
) -> tuple[Pair, ...]:
    done: list[Pair] = []
    for pair in pairs:
        report(Progress(stage="upgrade", done=len(done), total=len(pairs), unit="pairs"))
        done.append(_measured_pair(folder, pair, done, instances=instances))
    return tuple(done)


def _measured_pair(folder: Path, pair: Pair, before: list[Pair], *, instances: bool) -> Pair:
    from maskloop.images.masks import check_pair
    from maskloop.images.similarity import find_near_duplicates

    # An upgrade that was killed has measured some of them already.
    if pair.state != "active" or pair.pixels_sha256:
        return pair
    try:
        image, labels = _open_pair(folder, pair)
        check_pair(image, labels.shape, labels.axes, mask_name=pair.mask_path)
        pixels, look, facts = measure(image, labels.read(), instances=instances)
    except MaskloopError as error:
        # They accepted a mask of another shape; trained on it would be noise.
        return changed(
            pair, state="removed", metadata={**pair.metadata, "upgrade_problem": str(error)}
        )
    near = find_near_duplicates(look, [other.perceptual_hash for other in before])
    return changed(
        pair,
        axes=image.axes,
        shape=image.shape,
        mask_axes=labels.axes,
        mask_shape=labels.shape,
        group=before[near[0]].group if near else derive_group(pair.name) or pair.pair_id,
        image_sha256=file_sha256(folder / pair.image_path),
        mask_sha256=file_sha256(folder / pair.mask_path),
        pixels_sha256=pixels,
        perceptual_hash=look,
        fingerprint=facts,
    )


def _open_pair(folder: Path, pair: Pair) -> tuple[Image, Image]:
    from maskloop.images.readers import open_image, open_labels

    labels = open_labels(folder / pair.mask_path)
    try:
        image = open_image(folder / pair.image_path)
    except AxesError:
        # Their files do not tell axes; a flat mask tells which one of three is the channel.
        image = open_image(folder / pair.image_path, axes=_axes_by_mask(pair.shape, labels.shape))
    return Image(
        image.read(), image.axes, image.pixel_size_um, image.channel_names, pair.name
    ), labels


def _axes_by_mask(shape: tuple[int, ...], mask: tuple[int, ...]) -> str | None:
    fitting = [axes for axes, plane in (("CYX", shape[1:]), ("YXC", shape[:-1])) if plane == mask]
    return fitting[0] if len(shape) == 3 and len(fitting) == 1 else None
