"""Where a number comes from: from a row of a table to the pixels that the model was trained on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from maskloop.errors import MaskloopError, NotFound, UsageError
from maskloop.extras import require
from maskloop.measure.files import file_sha256, identity_of
from maskloop.measure.note import TableNote, TableSource, read_note
from maskloop.project.layout import CheckpointRecord, is_project
from maskloop.project.project import ProjectFolder
from maskloop.records import Record

__all__ = ["Link", "trace_row"]

State = Literal["unchanged", "changed", "missing", "unknown"]
SHOWN = ("object", "class", "timepoint", "plane")


class Link(Record):
    """One link of the chain from a row to the training pixels."""

    what: Literal["row", "labels", "image", "prediction", "checkpoint", "pair"]
    name: str
    state: State = Field(
        description="unchanged: its hash is the one recorded; unknown: none was recorded."
    )
    sha256: str = Field("", description="As recorded.")
    facts: dict[str, Any] = Field(default_factory=dict)


def trace_row(table: Path, row: int, *, project: Path | None = None) -> tuple[Link, ...]:
    """The chain from a row of a table to the pixels that its model was trained on.

    Each link is compared with what is there now: a file, by the hash that was recorded.

    Parameters
    ----------
    table
        A table that `maskloop measure` wrote, with its note beside it.
    row
        Number of the row; the first one below the names of the columns is 1.
    project
        The project, where it is no longer where it was.

    Raises
    ------
    UsageError
        If there is no such row, or nothing says where the table comes from.
    MissingExtra
        If it is a Parquet table, and pyarrow is not installed.
    """
    # The note is what was recorded; the row itself says only which of its sources it is of.
    note = read_note(table)
    cells = _read_row(table, row, note)
    source = _source_of(cells, note)
    links = [
        Link(
            what="row",
            name=f"{table.name}, row {row}",
            state=_compare(note.table_sha256, file_sha256(table)),
            sha256=note.table_sha256,
            facts={name: cells[name] for name in SHOWN},
        ),
        _file("labels", source.labels, source.labels_sha256),
    ]
    if source.image:
        links.append(_file("image", source.image, source.image_sha256))
    # Without a project the chain ends at the hash of the checkpoint, which is told as missing.
    folder = _project_of(table, note, project)
    if folder is None:
        return (*links, *_prediction(None, source), *_unknown_checkpoint(source))
    opened = ProjectFolder.open(folder)
    return (*links, *_prediction(opened, source), *_training(opened, source))


def _read_row(table: Path, row: int, note: TableNote) -> dict[str, str]:
    import pandas as pd

    # The note's count, not the file's, which may have been edited since.
    if not 1 <= row <= note.rows:
        raise UsageError(
            f"'{table.name}' has no row {row}.", f"Its rows are numbered from 1 to {note.rows}."
        )
    if table.suffix.lower() == ".parquet":
        require("pyarrow")
        # As text like CSV: the row is shown and compared with recorded paths, never calculated
        # with.
        found = pd.read_parquet(table).iloc[[row - 1]].astype(str)
    else:
        # Only the one row: tables have millions.
        found = pd.read_csv(
            table, skiprows=range(1, row), nrows=1, dtype=str, keep_default_na=False
        )
    if found.empty or "labels" not in found:
        raise UsageError(
            f"'{table.name}' was edited: its row {row} names no labels.", "Measure again."
        )
    return {str(name): str(value) for name, value in found.iloc[0].items()}


def _source_of(cells: dict[str, str], note: TableNote) -> TableSource:
    # By path and hash: the same file may have been measured before and after a change.
    for source in note.sources:
        hashed = source.image_sha256 or source.labels_sha256
        if source.labels == cells["labels"] and hashed.startswith(cells["image_sha256"]):
            return source
    raise UsageError(
        f"The labels '{cells['labels']}' are not among the sources of the table.",
        "The table was changed since it was measured; measure again.",
    )


def _file(what: Literal["labels", "image"], path: str, sha256: str) -> Link:
    try:
        state = _compare(sha256, identity_of(path))
    except (MaskloopError, OSError):
        state = "missing"
    return Link(what=what, name=path, state=state, sha256=sha256)


def _compare(recorded: str, present: str) -> State:
    # Tables of older versions have no hash: unknown is not the same as changed.
    if not recorded:
        return "unknown"
    return "unchanged" if recorded == present else "changed"


def _project_of(table: Path, note: TableNote, given: Path | None) -> Path | None:
    """The project as given, as recorded, or the one that the table is kept in."""
    if given is not None:
        return given
    recorded = [Path(note.project)] if note.project else []
    # Upwards from the table: a project that was moved as a whole is still around its tables.
    for folder in (*recorded, *table.absolute().parents):
        if is_project(folder):
            return folder
    return None


def _unknown_checkpoint(source: TableSource) -> Iterator[Link]:
    if source.checkpoint_sha256 or source.checkpoint_id:
        yield Link(
            what="checkpoint",
            name=source.checkpoint_id or "of an unknown project",
            state="missing",
            sha256=source.checkpoint_sha256,
            facts={"way out": "Give its project: --project DIR"},
        )


def _prediction(project: ProjectFolder | None, source: TableSource) -> Iterator[Link]:
    if not source.original_sha256:
        return  # labels that no prediction has made
    # Labels in a folder outside the project: only the hash beside them tells what was predicted.
    if project is None or not source.prediction_id:
        state = _compare(source.original_sha256, source.labels_sha256)
        name = source.prediction_id or "beside the labels"
        yield Link(what="prediction", name=name, state=state, sha256=source.original_sha256)
        return
    try:
        record = project.predictions.get(source.prediction_id)
    except NotFound:
        yield Link(what="prediction", name=source.prediction_id, state="missing")
        return
    yield Link(
        what="prediction",
        name=record.prediction_id,
        state=_compare(record.sha256, source.labels_sha256),
        sha256=record.sha256,
        facts={"predicted": record.created_at, "image": record.input_path},
    )


def _training(project: ProjectFolder, source: TableSource) -> Iterator[Link]:
    """The checkpoint, its ancestors, and the pairs that each of them was trained on."""
    known = {record.checkpoint_id: record for record in project.checkpoints.list()}
    by_hash = {record.sha256: record for record in known.values() if record.sha256}
    # A folder of predictions names its model by hash alone.
    record = known.get(source.checkpoint_id) or by_hash.get(source.checkpoint_sha256)
    if record is None:
        yield from _unknown_checkpoint(source)
        return
    seen: set[str] = set()
    told: set[tuple[str, str]] = set()
    # Records that were edited by hand may be each other's parents.
    while record is not None and record.checkpoint_id not in seen:
        seen.add(record.checkpoint_id)
        yield _checkpoint(project, record, source)
        for pair_id, pixels in record.dataset_pixel_hashes.items():
            # An ancestor's pairs are told once, with the checkpoint that was trained last on them.
            if (pair_id, pixels) not in told:
                told.add((pair_id, pixels))
                yield _pair(project, pair_id, pixels)
        record = known.get(record.parent_checkpoint_id or "")


def _checkpoint(project: ProjectFolder, record: CheckpointRecord, source: TableSource) -> Link:
    try:
        state = _compare(record.sha256, file_sha256(project.checkpoints.path(record.checkpoint_id)))
    except (MaskloopError, OSError):
        state = "missing"
    is_source = record.checkpoint_id == source.checkpoint_id
    if is_source and source.checkpoint_sha256 not in ("", record.sha256):
        # Another checkpoint has this id: the labels were not predicted by it.
        state = "changed"
    facts = {
        "trained": record.timestamp,
        "images": record.number_of_images,
        "parent": record.parent_checkpoint_id or "none",
    }
    return Link(
        what="checkpoint",
        name=record.checkpoint_id,
        state=state,
        sha256=record.sha256,
        facts=facts,
    )


def _pair(project: ProjectFolder, pair_id: str, pixels: str) -> Link:
    try:
        pair = project.dataset.get(pair_id)
    except NotFound:
        return Link(what="pair", name=pair_id, state="missing", sha256=pixels)
    facts = {"image": pair.image_path, "mask": pair.mask_path}
    return Link(
        what="pair",
        name=pair_id,
        state=_compare(pixels, pair.pixels_sha256),
        sha256=pixels,
        facts=facts | ({} if pair.state == "active" else {"state": pair.state}),
    )
