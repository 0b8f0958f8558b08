"""What lies beside a table of objects: its columns with units, its settings, and its sources."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from maskloop.errors import RecordError, UsageError
from maskloop.measure.base import Column, ObjectKind, Scene
from maskloop.records import Record, read_record

__all__ = ["TableFailure", "TableNote", "TableSource", "note_path", "read_note"]


class TableSource(Record):
    """A file of labels, the image that it is measured in, and what it was predicted by."""

    labels: str = Field(description="Path, as given or as recorded.")
    image: str = Field("", description="Path; empty when only labels are measured.")
    labels_sha256: str = Field("", description="Of the file that was measured.")
    image_sha256: str = Field("", description="Of the file that was measured.")
    predicted_sha256: str = Field("", description="Of the image that the labels were made from.")
    original_sha256: str = Field("", description="Of the labels as they were predicted.")
    prediction_id: str = ""
    checkpoint_id: str = ""
    checkpoint_sha256: str = ""
    objects: ObjectKind = "instances"
    class_names: dict[int, str] = Field(default_factory=dict, description="Class id to name.")
    rows: int = 0


class TableFailure(Record):
    """A file that could not be measured, and why."""

    labels: str
    problem: str
    way_out: str


class TableNote(Record):
    """Everything about a table that its cells do not tell; lies beside it as ``<name>.json``."""

    version: int = 1
    table_sha256: str = ""
    rows: int = 0
    scene: Scene
    columns: tuple[Column, ...]
    settings: dict[str, dict[str, Any]] = Field(
        description="Settings of each measurement, defaults included."
    )
    failed_measurements: dict[str, str] = Field(
        default_factory=dict, description="Measurement to the reason why it failed."
    )
    sources: tuple[TableSource, ...] = ()
    failed_files: tuple[TableFailure, ...] = ()
    plugins: dict[str, str] = Field(
        default_factory=dict, description="Files of measurements, each with its SHA-256."
    )
    project: str = Field("", description="Folder of the project whose predictions were measured.")
    versions: dict[str, str] = Field(default_factory=dict, description="Library to version.")
    created_at: str = ""


def note_path(table: Path) -> Path:
    """Where the note of a table lies."""
    return table.with_name(table.name + ".json")


def read_note(table: Path) -> TableNote:
    """The note beside a table.

    Raises
    ------
    UsageError
        If there is none that can be read.
    """
    try:
        return read_record(note_path(table), TableNote)
    except RecordError as error:
        raise UsageError(
            f"The table '{table}' has no readable note: {error.problem}",
            f"Keep '{note_path(table).name}' beside the table, or measure again.",
        ) from error
