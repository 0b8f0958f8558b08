"""Tables to disk, file by file of labels: CSV and Parquet, atomically."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from maskloop.errors import UsageError
from maskloop.extras import require
from maskloop.records import write_errors, write_whole

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TableWriter", "open_table"]

DIGITS = "%.10g"
"""More digits than any measurement has, fewer than a float could be written with."""

TEXT = frozenset({"image", "image_sha256", "labels", "checkpoint", "class"})
WHOLE = frozenset({"timepoint", "plane", "object"})
"""Columns of a table that do not hold floats; those of measurements all do, in Parquet."""


class TableWriter(Protocol):
    """Takes the rows of one file of labels after the other."""

    def write(self, rows: pd.DataFrame) -> None:
        """Add rows of the present file."""

    def keep(self) -> None:
        """The present file is complete: its rows stay."""

    def drop(self) -> None:
        """The present file failed: none of its rows is kept."""


@contextlib.contextmanager
def open_table(path: Path) -> Iterator[TableWriter]:
    """A table that appears under its name when the block ends without an error.

    Parameters
    ----------
    path
        Ending in .csv or .parquet.

    Raises
    ------
    UsageError
        If the name ends otherwise.
    MissingExtra
        If Parquet is asked for and pyarrow is not installed.
    ProjectError
        If the table cannot be written.
    """
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise UsageError(
            f"'{path.name}' is neither .csv nor .parquet.",
            "Use one of these extensions.",
        )
    if path.suffix.lower() == ".csv":
        with write_whole(path) as file:
            yield _Csv(file, path)
        return
    # Asked for before anything is measured: hours of work must not end in a missing library.
    require("pyarrow")
    with write_whole(path) as file:
        parquet = _Parquet(file, path)
        yield parquet
        parquet.close()


def _type_of(column: str) -> str:
    if column in TEXT:
        return "string"
    return "int64" if column in WHOLE else "float64"


class _Csv:
    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file = file
        self._path = path
        self._kept = 0

    def write(self, rows: pd.DataFrame) -> None:
        text = rows.to_csv(
            index=False, header=self._file.tell() == 0, float_format=DIGITS, lineterminator="\n"
        )
        with write_errors(self._path):
            self._file.write(text.encode())

    def keep(self) -> None:
        self._kept = self._file.tell()

    def drop(self) -> None:
        # Long films are not held in memory, so what failed halfway is cut off again.
        self._file.seek(self._kept)
        self._file.truncate()


class _Parquet:
    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file = file
        self._path = path
        self._writer: Any = None
        self._waiting: list[Any] = []

    def write(self, rows: pd.DataFrame) -> None:
        import pyarrow

        # Types by name, not by values: a frame without objects or a failed measurement would
        # change them from one part of the file to the next.
        schema = pyarrow.schema([(name, _type_of(name)) for name in rows.columns])
        table = pyarrow.Table.from_pandas(rows, schema=schema, preserve_index=False)
        self._waiting.append(table)

    def keep(self) -> None:
        # Parquet cannot be cut off: what may have to be dropped waits in memory, one file long.
        from pyarrow import parquet

        with write_errors(self._path):
            for part in self._waiting:
                if self._writer is None:
                    self._writer = parquet.ParquetWriter(self._file, part.schema)
                self._writer.write_table(part)
        self._waiting = []

    def drop(self) -> None:
        self._waiting = []

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
