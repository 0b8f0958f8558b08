"""Tables of objects kept in the project, each with its note and the predictions that it is of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from maskloop.project.entries import TableRecord
from maskloop.project.fields import now
from maskloop.project.folder import Folder
from maskloop.project.inventory import TABLES
from maskloop.project.kept import Kept
from maskloop.project.store import file_sha256, place_file
from maskloop.records import sync_folder, write_errors

__all__ = ["TableList"]


class TableList:
    """Keeps tables of objects; never overwrites one."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._kept = Kept(folder, TABLES)

    def list(self) -> Sequence[TableRecord]:
        """All tables, the oldest first."""
        return self._kept.entries()

    def get(self, table_id: str) -> TableRecord:
        """The table with this id.

        Raises
        ------
        NotFound
            If there is none.
        """
        return self._kept.get(table_id)

    def path(self, table_id: str) -> Path:
        """The file of a table.

        Raises
        ------
        NotFound
            If there is no such table.
        ProjectError
            If its file is missing.
        """
        return self._kept.path(table_id)

    def register(
        self,
        table: Path,
        note: Path,
        *,
        rows: int,
        prediction_ids: Sequence[str] = (),
        run_id: str = "",
    ) -> TableRecord:
        """Keep a table with its note under the next number; what a run has kept is not kept twice.

        Parameters
        ----------
        table, note
            The files; they become the project's and must no longer be changed, but may be deleted.
        rows
            How many objects there are in it.
        prediction_ids
            The predictions that were measured.
        run_id
            The run that measured them.

        Raises
        ------
        ProjectError
            If it could not be written.
        """
        with self._folder.writing("keep a table"):
            for known in self._kept.entries():
                # A run that was killed after this and resumed offers its table again.
                if run_id and known.run_id == run_id:
                    return known
            numbers = self._kept.numbers()
            table_id = f"table_{numbers.take():03d}"
            path = f"{TABLES.numbered_in}/{table_id}{table.suffix}"
            folder = self._folder.path(TABLES.numbered_in)
            with write_errors(folder):
                folder.mkdir(exist_ok=True)
            # Both files before the record, which must never name what is not there.
            for file, target in ((table, path), (note, f"{path}.json")):
                place_file(file, self._folder.path(target))
            record = TableRecord(
                table_id=table_id,
                path=path,
                sha256=file_sha256(table),
                note_path=f"{path}.json",
                note_sha256=file_sha256(note),
                rows=rows,
                prediction_ids=tuple(prediction_ids),
                run_id=run_id,
                created_at=now(),
            )
            # The files' names must be on the disk before the record that tells of them.
            sync_folder(folder)
            self._kept.add([record], next_number=numbers.next)
            return record
