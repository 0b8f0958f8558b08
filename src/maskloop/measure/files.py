"""Many files of labels to one table; what fails is told at the end, and the rest is measured."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import Field

from maskloop import plugins
from maskloop.errors import Cancelled, ImageError, MaskloopError, ProjectError, UsageError
from maskloop.events import Message, Progress, Report, silent
from maskloop.images.formats import find_format, refer
from maskloop.images.image import Image
from maskloop.images.readers import open_image, open_labels
from maskloop.measure.base import Column
from maskloop.measure.measurer import Measurer
from maskloop.measure.note import TableFailure, TableNote, TableSource, note_path
from maskloop.measure.plugin_files import load_measurement
from maskloop.measure.sources import open_by_own_axes
from maskloop.measure.table import count_frames, measure_frames, scene_of
from maskloop.measure.writers import TableWriter, open_table
from maskloop.records import Record, write_bytes
from maskloop.wording import counted

__all__ = ["ORIGIN", "SHOWN_HASH", "TableSettings", "file_sha256", "identity_of", "measure_files"]

ORIGIN = (
    Column(name="image", description="Image file; the label file if only labels were measured."),
    Column(name="image_sha256", description="First digits of the SHA-256 of that file."),
    Column(name="labels", description="Label file."),
    Column(name="checkpoint", description="Checkpoint that predicted the labels, if known."),
)
SHOWN_HASH = 16
"""Digits of a hash in a row; the note beside the table has all of them."""
LIBRARIES = ("maskloop", "numpy", "pandas", "scipy")


class TableSettings(Record):
    """What is measured in the files of one table, and how they are read."""

    measurements: tuple[str, ...] | None = Field(
        None, description="Measurements to run, such as size,intensity; all by default."
    )
    settings: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Settings by measurement."
    )
    axes: str | None = Field(
        None, description="Axes of the files whose metadata does not name them."
    )
    by_plane: bool = Field(False, description="Measure each plane of a stack separately, in 2D.")
    plugins: tuple[str, ...] = Field(
        (), description="Python files with measurements of your own; see 'maskloop plugins new'."
    )
    pixel_size_um: dict[str, float] | None = Field(
        None, description="Micrometers along Z, Y, X; by default those of the files."
    )


def measure_files(
    sources: Sequence[TableSource],
    out: Path,
    *,
    how: TableSettings | None = None,
    project: str = "",
    report: Report = silent,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> TableNote:
    """Measure the objects of many files into one table, one frame at a time.

    Parameters
    ----------
    sources
        Files of labels with their images. All must have the same channels and be all planes or
        all volumes; the first that can be read decides.
    out
        The table: .csv or .parquet. Beside it ``<name>.json`` says what its columns mean and what
        its rows come from.
    how
        What is measured; everything by default.
    project
        Folder of the project, for `maskloop trace`.
    report
        Hears `Progress` in images, of movies also in frames, and a warning for each failure.
    is_cancelled
        Asked before each frame.

    Returns
    -------
    note
        What was written beside the table. A file that cannot be read or does not fit is in its
        ``failed_files``.

    Raises
    ------
    UsageError
        If no file could be measured, or the settings do not fit.
    ProjectError
        If the table cannot be written.
    Cancelled
        If `is_cancelled` said so; no table is written.
    """
    how = how or TableSettings()
    table = _Table(how, report, is_cancelled)
    with _registered(how.plugins), open_table(out) as writer:
        begin = time.monotonic()
        for number, source in enumerate(sources, 1):
            table.add(source, writer)
            rate = number / max(time.monotonic() - begin, 1e-9)
            report(
                Progress(
                    stage="images",
                    done=number,
                    total=len(sources),
                    unit="images",
                    rate=rate,
                    seconds_left=(len(sources) - number) / rate,
                )
            )
        note = table.note(out, project)
    written = note.model_copy(update={"table_sha256": file_sha256(out)})
    # Files first, record last: a table without a note is unknown, a note never lies.
    write_bytes(note_path(out), written.model_dump_json(indent=1).encode())
    return written


class _Table:
    """Files measured one after the other with the same columns."""

    def __init__(
        self, how: TableSettings, report: Report, is_cancelled: Callable[[], bool]
    ) -> None:
        self._how = how
        self._report = report
        self._is_cancelled = is_cancelled
        self._measurer: Measurer | None = None
        self._sources: list[TableSource] = []
        self._failures: list[TableFailure] = []

    def add(self, source: TableSource, writer: TableWriter) -> None:
        """Measure a file; what is this file's fault is kept as a failure."""
        try:
            measured = self._measure(source, writer)
        except (Cancelled, ProjectError, UsageError):
            raise  # not this file's fault: the next one would fail in the same way
        except MaskloopError as error:
            self._fail(source, writer, error.problem, error.way_out)
        except (OSError, MemoryError) as error:
            reason = f"{getattr(error, 'strerror', None) or error or 'Not enough memory'}."
            self._fail(source, writer, reason, "Check the file, the disk and the memory.")
        else:
            writer.keep()
            self._sources.append(measured)

    def note(self, out: Path, project: str) -> TableNote:
        """What is known of the table.

        Raises
        ------
        UsageError
            If no file could be measured.
        """
        if self._measurer is None or not self._sources:
            reasons = "; ".join(failure.problem for failure in self._failures[:3])
            raise UsageError(
                f"No labels could be measured: {reasons or 'no files were given'}",
                "Give label files, and the images that belong to them.",
            )
        return TableNote(
            rows=sum(source.rows for source in self._sources),
            scene=self._measurer.scene,
            columns=(*ORIGIN, *self._measurer.columns),
            settings={
                name: settings.model_dump(mode="json")
                for name, settings in self._measurer.settings.items()
            },
            failed_measurements=self._measurer.failures,
            sources=tuple(self._sources),
            failed_files=tuple(self._failures),
            plugins={path: file_sha256(Path(path)) for path in self._how.plugins},
            project=project,
            versions=_versions(),
            created_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        )

    def _measure(self, source: TableSource, writer: TableWriter) -> TableSource:
        labels = _open(open_labels, source.labels, self._how.axes)
        image = _open(open_image, source.image, self._how.axes) if source.image else None
        measurer = self._columns_for(labels, image)
        # Hashed before it is read: what changes in between shows up as changed later on.
        hashes = {
            "labels_sha256": identity_of(source.labels),
            "image_sha256": identity_of(source.image) if source.image else "",
        }
        known = source.model_copy(update=hashes)
        self._warn_if_changed(known)
        frames = measure_frames(
            measurer,
            labels,
            image,
            objects=source.objects,
            class_names=source.class_names,
            pixel_size_um=self._how.pixel_size_um,
        )
        rows, total = 0, count_frames(labels, measurer.scene)
        for number in range(1, total + 1):
            self._refuse_cancelled()
            frame = next(frames)
            for at, (name, value) in enumerate(_origin(known).items()):
                frame.insert(at, name, value)
            writer.write(frame)
            rows += len(frame)
            if total > 1:
                name = Path(source.labels).name
                self._report(Progress(stage=name, done=number, total=total, unit="frames"))
        return known.model_copy(update={"rows": rows})

    def _refuse_cancelled(self) -> None:
        if self._is_cancelled():
            done = counted(len(self._sources), "image")
            raise Cancelled(
                f"The measurement was cancelled after {done}.",
                "No table was written; start it again at any time.",
            )

    def _columns_for(self, labels: Image, image: Image | None) -> Measurer:
        if self._measurer is None:
            # The first file decides: the columns are in the file before the second is opened.
            self._measurer = Measurer(
                scene_of(labels, image, by_plane=self._how.by_plane),
                measurements=self._how.measurements,
                settings=self._how.settings,
                report=self._report,
            )
        return self._measurer

    def _warn_if_changed(self, source: TableSource) -> None:
        # Measured all the same: corrected labels are better than predicted ones. But the checkpoint
        # in their rows is not the whole story.
        if source.original_sha256 not in ("", source.labels_sha256):
            self._warn(f"{source.labels} was edited after prediction.")
        if source.predicted_sha256 and source.image_sha256 not in ("", source.predicted_sha256):
            self._warn(
                f"{source.image} is not the file that {source.labels} was predicted from, or has "
                f"changed since."
            )

    def _fail(self, source: TableSource, writer: TableWriter, problem: str, way_out: str) -> None:
        writer.drop()
        self._failures.append(TableFailure(labels=source.labels, problem=problem, way_out=way_out))
        self._warn(f"{source.labels}: {problem} {way_out}")

    def _warn(self, text: str) -> None:
        self._report(Message(level="warning", text=text))


@contextlib.contextmanager
def _registered(files: Sequence[str]) -> Iterator[None]:
    """Measurements of files, known by their names as long as the block lasts."""
    with contextlib.ExitStack() as stack:
        for file in files:
            measurement = load_measurement(Path(file))
            stack.enter_context(plugins.register("measurements", measurement.name, measurement))
        yield


def _open(open_file: Callable[..., Image], path: str, axes: str | None) -> Image:
    if not refer(path).path.exists():
        raise ImageError(
            f"'{path}' is missing.",
            "Give the folder that holds it (--images DIR), or measure labels only (--labels-only).",
        )
    return open_by_own_axes(open_file, path, axes)


def identity_of(path: str) -> str:
    """What the pixels of an image are: equal for equal content, another after any change."""
    ref = refer(path)
    return find_format(ref).identity(ref)


def _origin(source: TableSource) -> Mapping[str, str]:
    return {
        "image": source.image or source.labels,
        "image_sha256": (source.image_sha256 or source.labels_sha256)[:SHOWN_HASH],
        "labels": source.labels,
        "checkpoint": source.checkpoint_id or source.checkpoint_sha256[:SHOWN_HASH],
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a source tree that is not installed
            continue
    return found


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
