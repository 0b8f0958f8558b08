"""Records: settings and facts that are frozen, refuse unknown keys and are written atomically.

A record file is JSON with one entry of a list per line, so that a person can read and compare it
and that writing ten thousand pairs stays quick. Writing keeps the copy before it as
``<name>.last-good``.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from maskloop.errors import ProjectError, RecordError
from maskloop.wording import fault_in_words

__all__ = [
    "Record",
    "dump_record",
    "last_good",
    "open_append",
    "open_ordinary",
    "parse_json",
    "read_ordinary",
    "read_record",
    "refuse_special",
    "replace_record",
    "sync_folder",
    "write_bytes",
    "write_content",
    "write_errors",
    "write_note",
    "write_record",
    "write_whole",
]

LAST_GOOD = ".last-good"
_LIST = re.compile(rb'"(\w+)": \[')
"""How the list of a record begins, on a line of its own."""


class Record(BaseModel):
    """A frozen value that refuses unknown keys and never touches the disk by itself."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=True, ser_json_inf_nan="constants"
    )

    @cached_property
    def json_line(self) -> str:
        """This record as a line of JSON; computed once: large manifests are written fast."""
        return self.model_dump_json()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with some values changed, which are not validated again."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("json_line", None)  # the line of the values before
        return copied


AnyRecord = TypeVar("AnyRecord", bound=Record)


def last_good(path: Path) -> Path:
    """Path of the previous version of a record."""
    return path.with_name(path.name + LAST_GOOD)


def read_record(path: Path, kind: type[AnyRecord], *, before: AnyRecord | None = None) -> AnyRecord:
    """Read a record file.

    Parameters
    ----------
    path
        Of the file.
    kind
        The record it holds.
    before
        What was read last time: of its entries those whose lines are the same are taken over, not
        read again.

    Raises
    ------
    RecordError
        If the file is missing, is not JSON or does not hold a record of this kind; the message
        names the last good copy where there is one.
    """
    try:
        content = read_ordinary(path)
    except FileNotFoundError:
        raise RecordError(f"Record '{path}' is missing.", _way_out(path)) from None
    except OSError as error:
        raise RecordError(
            f"Record '{path}' cannot be read: {error.strerror}.",
            "Check the disk and the permissions.",
        ) from error
    # Our own layout first, entry by entry; a file that was formatted by hand is read whole.
    record = _read_lines(content, kind, before)
    if record is not None:
        return record
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise RecordError(
            f"Record '{path}' is damaged. {fault_in_words(error, 'the file')}", _way_out(path)
        ) from None


def read_ordinary(path: Path) -> bytes:
    """The bytes of an ordinary file; see `open_ordinary`."""
    with open_ordinary(path) as file:
        return file.read()


@contextlib.contextmanager
def open_ordinary(path: Path) -> Iterator[IO[bytes]]:
    """Open an ordinary file to read; links are not followed and pipes are not waited for.

    Raises
    ------
    OSError
        If it cannot be read, or is no ordinary file.
    """
    careful = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    mode = os.O_RDONLY | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, mode | careful), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not an ordinary file", str(path))
        yield file


def _read_lines(
    content: bytes, kind: type[AnyRecord], before: AnyRecord | None
) -> AnyRecord | None:
    """A record of the layout that `write_record` gives it, read entry by entry; None for any other.

    One call for ten thousand pairs would hold all threads of the process, a window among them,
    until it is done.
    """
    rest: list[bytes] = []
    lists: dict[str, list[bytes]] = {}
    entries: list[bytes] | None = None
    for line in content.split(b"\n"):
        if entries is not None and not line.startswith(b"]"):
            entries.append(line.removesuffix(b","))
            continue
        rest.append(line)
        opened = _LIST.fullmatch(line)
        entries = lists.setdefault(opened[1].decode(), []) if opened else None
    try:
        record = kind.model_validate_json(b"\n".join(rest))
        found = {
            name: tuple(_read_entries(lines, _entry_kind(kind, name), getattr(before, name, ())))
            for name, lines in lists.items()
        }
    # Not the layout that was expected, or damaged: the caller reads all of it and tells which.
    except (ValidationError, LookupError):
        return None
    return record.model_copy(update=found)


def _entry_kind(kind: type[Record], name: str) -> type[Record]:
    entry: type[Record] = get_args(kind.model_fields[name].annotation)[0]
    # A list of plain values that a person wrote line by line is read with the whole file.
    is_record = isinstance(entry, type) and issubclass(entry, Record)
    if not is_record:
        raise LookupError(name)
    return entry


def _read_entries(
    lines: list[bytes], kind: type[Record], before: tuple[Record, ...]
) -> Iterator[Record]:
    # An unchanged entry stays the same object, so that who compares two readings is fast.
    known = {entry.json_line.encode(): entry for entry in before}
    for line in lines:
        entry = known.get(line)
        if entry is None:
            entry = kind.model_validate_json(line)
            entry.__dict__["json_line"] = line.decode()
        yield entry


def _way_out(path: Path) -> str:
    copy = last_good(path)
    if copy.exists():
        return (
            f"Restore the last good copy, '{copy.name}' (maskloop check --repair); the damaged "
            "file is kept."
        )
    return "Restore it from a backup, or rebuild what can be rebuilt (maskloop check --repair)."


def write_record(path: Path, record: Record) -> None:
    """Write a record atomically and keep the previous version.

    Raises
    ------
    ProjectError
        If the disk is full or the folder is not writable; the record on disk is then the one
        before.
    """
    write_content(path, dump_record(record))


def write_content(path: Path, content: bytes) -> None:
    """Write the bytes of a record whole and keep the copy before it; see `write_record`."""
    is_first = not path.exists()
    if not is_first:
        with write_errors(path):
            _keep_last_good(path)
    write_bytes(path, content)
    if is_first:
        # A record that is written once and lost would have no copy at all. Not a second name: what
        # cuts the file in its place must not reach the copy.
        write_bytes(last_good(path), content)


def replace_record(path: Path, record: Record) -> None:
    """Write a record atomically, without touching the kept previous version.

    Raises
    ------
    ProjectError
        If the disk is full or the folder is not writable; the record on disk is then unchanged.
    """
    write_bytes(path, dump_record(record))


def _keep_last_good(path: Path) -> None:
    # A hard link costs nothing; the file it names is never changed in place, only replaced.
    copy, fresh = last_good(path), path.with_name(f".{path.name}.{os.getpid()}.link")
    fresh.unlink(missing_ok=True)
    try:
        fresh.hardlink_to(path)
    except OSError:  # file systems without hard links
        write_bytes(copy, path.read_bytes())
        return
    fresh.replace(copy)
    # When both names are links to one file already, rename does nothing and leaves the fresh one.
    fresh.unlink(missing_ok=True)


def dump_record(record: Record) -> bytes:
    """The bytes of a record file, with one entry of a list per line."""
    # One entry per line: a person can compare two versions, and a repair saves the intact lines.
    lines = []
    for name in (*type(record).model_fields, *(record.model_extra or ())):
        value = getattr(record, name)
        if isinstance(value, tuple | list) and value and isinstance(value[0], Record):
            entries = ",\n".join(entry.json_line for entry in value)
            lines.append(f"{json.dumps(name)}: [\n{entries}\n]")
        else:
            lines.append(f"{json.dumps(name)}: {_plain(record, name)}")
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def _plain(record: Record, name: str) -> str:
    return json.dumps(record.model_dump(mode="json", include={name})[name], ensure_ascii=False)


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file atomically: temporary file, flush, fsync, rename, fsync of the folder."""
    with write_whole(path) as file:
        file.write(content)


@contextlib.contextmanager
def open_append(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to add to its end, and nothing but a file of this folder.

    A project may come from a stranger: a link would add the stranger's text to any file of the
    person's, and a pipe would wait for ever.

    Raises
    ------
    ProjectError
        If it is a link, a pipe or a device, or cannot be written.
    """
    with write_errors(path):
        refuse_special(path)
        # O_NOFOLLOW and O_NONBLOCK do not exist on Windows, nor do the dangers.
        careful = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        mode = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(path, mode | careful, 0o666), "ab") as file:
            yield file


def write_note(path: Path, content: bytes) -> None:
    """Write a few bytes that nothing depends on: at once, not whole, and through no link.

    Raises
    ------
    OSError
        If it is a link, or cannot be written.
    """
    careful = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    mode = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, mode | careful, 0o666), "wb") as file:
        file.write(content)


def refuse_special(path: Path) -> None:
    """Refuse what is there and is no ordinary file.

    Raises
    ------
    ProjectError
        If it is a link, a folder, a pipe or a device.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        kind = "a link" if stat.S_ISLNK(mode) else "not a file"
        raise ProjectError(
            f"'{path}' is {kind}.",
            "Delete it, or move it out of the project; projects hold ordinary files.",
        )


@contextlib.contextmanager
def write_whole(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that becomes `path` if the block ends without an error.

    Raises
    ------
    ProjectError
        If the disk is full or the folder is not writable; `path` is then as it was.
    """
    with write_errors(path):
        # In the same folder: a rename is atomic within one file system only.
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "w+b") as file:
                yield file
                file.flush()
                # Before the rename, which may reach the disk earlier than the content: the file
                # would be empty.
                os.fsync(file.fileno())
            # mkstemp makes files private; a project is shared as its folder is.
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


@contextlib.contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn the system's write errors into words."""
    try:
        yield
    except ProjectError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise ProjectError(
            f"'{path}' could not be written: {reason}.",
            "Free some space, or choose a folder you may write to. What was saved is unchanged.",
        ) from error


def _umask() -> int:
    # The only way to read it is to set it.
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder survive a power failure, where the system supports it."""
    if os.name == "nt":
        return
    # The name is an entry of the folder, which has a cache of its own.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises
    ------
    ValueError
        If it is none, or nested deeper than anything that a program writes.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def jsonable(value: Any) -> Any:
    """A JSON value of numbers, strings, lists and dicts, for records with free-form facts."""
    # NumPy's numbers and arrays give plain ones by themselves; whatever else is told in words.
    return json.loads(
        json.dumps(value, default=lambda one: one.tolist() if hasattr(one, "tolist") else str(one))
    )
