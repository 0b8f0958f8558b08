"""Everything that a project keeps, as one table.

Check, repair, counters, upgrade, status and snapshot follow from it: a new kind of thing is a new
row of `COLLECTIONS`, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from maskloop.project import paths
from maskloop.project.configs import (
    ArchitectureConfig,
    ProjectConfig,
    Sam3Config,
    StartingWeights,
)
from maskloop.project.entries import (
    CheckpointRecord,
    Checkpoints,
    ImportedModel,
    Manifest,
    ModelRegistry,
    Pair,
    PredictionRecord,
    Predictions,
    TableRecord,
    Tables,
    TrainingRun,
    TrainingRuns,
)
from maskloop.project.fields import now
from maskloop.records import Record

__all__ = [
    "CHECKPOINTS",
    "COLLECTIONS",
    "MODELS",
    "PAIRS",
    "PREDICTIONS",
    "RUNS",
    "TABLES",
    "Collection",
    "collection_of_file",
    "collection_of_record",
    "empty_record",
    "folders",
    "records",
]

AnyEntry = TypeVar("AnyEntry", bound=Record)


@dataclass(frozen=True)
class Collection(Generic[AnyEntry]):
    """One kind of thing that a project keeps: its record, its entries and their files."""

    name: str
    """What the things are called, many of them: ``predictions``."""
    noun: str
    """One of them, in messages: ``prediction``."""
    record: str
    """Path of the record file."""
    kind: type[Record]
    """What the record file holds."""
    entry: type[AnyEntry]
    entries: str
    """Field of the record with the entries, the oldest first."""
    entry_id: str
    """Field of an entry that tells it apart."""
    counter: str
    """Field of the record with the next number; it never goes back, since names are not reused."""
    numbered_in: str
    """Folder whose names carry numbers of this counter."""
    way_out: str = ""
    """What to do when a file of an entry is missing or changed; ``{id}`` is the entry's."""
    find: str = ""
    """Where a person finds the ids there are."""
    orphan_way_out: str = "Move it away if you do not need it."
    folders: tuple[str, ...] = ()
    """Folders in which every file belongs to an entry; anything else there is an orphan."""
    files: tuple[tuple[str, str], ...] = ()
    """Fields of an entry that name its files, each with the field of the file's SHA-256."""
    versions: str = ""
    """Field of an entry with its earlier versions, which have the same fields of files."""
    besides: tuple[str, ...] = ()
    """Files in the folders that belong to the project and to no entry."""
    is_later: bool = False
    """Whether older folders lack the record: where it is missing, it is empty and not lost."""

    def entries_of(self, record: Record) -> tuple[AnyEntry, ...]:
        """The entries of a record file."""
        found: tuple[AnyEntry, ...] = getattr(record, self.entries)
        return found

    def id_of(self, entry: Record) -> str:
        """The id of an entry."""
        return str(getattr(entry, self.entry_id))

    def files_of(self, entry: Record) -> dict[str, str]:
        """Paths of all files of an entry, those of earlier versions too, each with its SHA-256."""
        found: dict[str, str] = {}
        for version in (entry, *self._versions_of(entry)):
            for path, sha256 in self.files:
                # The present version wins where a replacement kept a file.
                found.setdefault(getattr(version, path), getattr(version, sha256))
        return found

    def _versions_of(self, entry: Record) -> Sequence[Record]:
        versions: Sequence[Record] = getattr(entry, self.versions) if self.versions else ()
        return versions

    def owns(self, path: str) -> bool:
        """Whether a path lies in a folder of this collection, be it that of a 0.3 task."""
        parent = path.rpartition("/")[0]
        return any(parent == folder or parent.endswith(f"/{folder}") for folder in self.folders)


PAIRS = Collection(
    name="pairs",
    noun="pair",
    record=paths.MANIFEST,
    kind=Manifest,
    entry=Pair,
    entries="pairs",
    entry_id="pair_id",
    counter="next_pair",
    numbered_in=paths.IMAGES,
    folders=(paths.IMAGES, paths.MASKS),
    files=(("image_path", "image_sha256"), ("mask_path", "mask_sha256")),
    versions="history",
    way_out="Restore it from a backup, or leave the pair out: 'maskloop remove DIR {id}'.",
    find="List the pairs with 'maskloop status --pairs'.",
    orphan_way_out=(
        "It was never accepted: the program stopped first. Accept it again with 'maskloop add', "
        "then move this file away."
    ),
)
CHECKPOINTS = Collection(
    name="checkpoints",
    noun="checkpoint",
    record=paths.CHECKPOINTS,
    kind=Checkpoints,
    entry=CheckpointRecord,
    entries="checkpoints",
    entry_id="checkpoint_id",
    counter="next_checkpoint",
    numbered_in="checkpoints",
    folders=("checkpoints",),
    files=(("checkpoint_path", "sha256"),),
    besides=(paths.LATEST,),
    way_out="Restore it from a backup, or select another checkpoint.",
    find="Select one of 'maskloop checkpoints', or train.",
    orphan_way_out=(
        "It was never registered. Import it with 'maskloop import-weights' if you want it, or "
        "move it away."
    ),
)
MODELS = Collection(
    name="imported weights",
    noun="imported weights",
    record=paths.REGISTRY,
    kind=ModelRegistry,
    entry=ImportedModel,
    entries="models",
    entry_id="model_id",
    counter="next_model",
    numbered_in=paths.IMPORTED,
    folders=(paths.IMPORTED,),
    files=(("model_path", "sha256"),),
    way_out="Import the weights again, or restore them from a backup.",
    find="Import them with 'maskloop import-weights'.",
)
PREDICTIONS = Collection(
    name="predictions",
    noun="prediction",
    record=paths.PREDICTIONS,
    kind=Predictions,
    entry=PredictionRecord,
    entries="predictions",
    entry_id="prediction_id",
    counter="next_prediction",
    numbered_in="predictions",
    folders=("predictions",),
    files=(("path", "sha256"),),
    way_out="Predict the image again.",
    find=f"The predictions are listed in '{paths.PREDICTIONS}'.",
)
RUNS = Collection(
    name="training runs",
    noun="training run",
    record=paths.TRAINING_RUNS,
    kind=TrainingRuns,
    entry=TrainingRun,
    entries="runs",
    entry_id="checkpoint_id",
    # Counts runs of every kind; those that trained a checkpoint are the entries.
    counter="next_run",
    numbered_in=paths.RUNS,
    find="List the runs with 'maskloop runs'.",
)
TABLES = Collection(
    name="tables",
    noun="table of objects",
    record=paths.MEASUREMENTS,
    kind=Tables,
    entry=TableRecord,
    entries="tables",
    entry_id="table_id",
    counter="next_table",
    numbered_in="measurements",
    folders=("measurements",),
    files=(("path", "sha256"), ("note_path", "note_sha256")),
    way_out="Measure again ('maskloop measure DIR').",
    find=f"The tables are listed in '{paths.MEASUREMENTS}'.",
    is_later=True,
)

COLLECTIONS: dict[str, Collection[Any]] = {
    row.name: row for row in (PAIRS, CHECKPOINTS, MODELS, PREDICTIONS, TABLES, RUNS)
}
"""Every kind of thing that a project keeps, by its name."""

# The rows of one value each: nothing is counted, numbered or lost in them.
_SINGLE: dict[str, type[Record]] = {
    paths.CONFIG: ProjectConfig,
    paths.ARCHITECTURE: ArchitectureConfig,
    paths.SAM3: Sam3Config,
    paths.STARTING_WEIGHTS: StartingWeights,
}


def records() -> dict[str, type[Record]]:
    """Every record of a project by its path."""
    return {**_SINGLE, **{row.record: row.kind for row in COLLECTIONS.values()}}


def folders() -> tuple[str, ...]:
    """The folders that a new project has."""
    # In the order in which they are read; a folder may hold a record and files.
    kept = (folder for row in COLLECTIONS.values() for folder in (*row.folders, row.numbered_in))
    holders = (path.rpartition("/")[0] for path in records())
    logs = paths.LOG.rpartition("/")[0]
    return tuple(dict.fromkeys(path for path in (*holders, *kept, logs, "cache") if path))


def collection_of_record(path: str) -> Collection[Any] | None:
    """The collection that is recorded in this file, or None."""
    # Asked by record and not by name: records are what a folder shows.
    return next((row for row in COLLECTIONS.values() if row.record == path), None)


def collection_of_file(path: str) -> Collection[Any] | None:
    """The collection whose folder a file lies in, or None."""
    for row in COLLECTIONS.values():
        if any(path.startswith(f"{folder}/") for folder in row.folders):
            return row
    return None


def empty_record(path: str) -> Record:
    """The record that a new project has at this path.

    The settings and the architecture need more than that.
    """
    kind = records()[path]
    stamped = {
        name: now()
        for name in ("created_at", "updated_at", "last_opened_at")
        if name in kind.model_fields
    }
    return kind.model_validate(stamped)
