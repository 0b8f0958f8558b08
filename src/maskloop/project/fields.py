"""Types of the fields of a project's records: version, paths in the folder, ids, hashes."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, Field

__all__ = [
    "BEFORE",
    "VERSION",
    "Identifier",
    "InsidePath",
    "NewVersion",
    "Sha256",
    "Version",
    "now",
]

VERSION = 3
"""Version of the records. Those of napari-training-assistant say 1 or nothing; `upgrade` turns
them into these.
"""
BEFORE = 2
"""Its records are read as they are, but for the settings and the architecture: see `version2`."""


def now() -> str:
    """The present moment in UTC, as ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


LONGEST_PATH = 1024
LONGEST_NAME = 255
"""What file systems allow, in bytes; a longer name could not even be asked for."""


def _check_inside(path: str) -> str:
    names = path.encode("utf-8", "replace").split(b"/")
    if len(path) > LONGEST_PATH or max(map(len, names)) > LONGEST_NAME:
        raise ValueError(
            f"the path '{path[:40]}...' is too long (at most {LONGEST_PATH} characters, "
            f"{LONGEST_NAME} bytes per name)"
        )
    # Purely by its letters: a record may come from another system, and must not reach outside the
    # folder on any.
    if (
        not path
        or "\\" in path
        or "\0" in path
        or ":" in path
        or path[0] == "/"
        or ".." in path.split("/")
    ):
        raise ValueError(
            f"the path {path!r} leaves the project folder (paths are relative, with '/', without "
            "'..' and ':')"
        )
    return path


def _check_strictly(version: int) -> int:
    if version == BEFORE:
        raise ValueError(f"version {version} must be upgraded to {VERSION} first")
    return _check_version(version)


def _check_version(version: int) -> int:
    if version == BEFORE:
        return VERSION
    if version != VERSION:
        newer = (
            "; it was written by a newer maskloop, so update maskloop" if version > VERSION else ""
        )
        raise ValueError(f"version {version} is not {VERSION}{newer}")
    return version


_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


def _check_name(name: str) -> str:
    # Ids become parts of file names.
    if not name or _NAME.search(name) or name.startswith("."):
        raise ValueError(
            f"the id {name!r} holds other characters than letters, digits, '_', '-' and '.'"
        )
    return name


InsidePath = Annotated[str, AfterValidator(_check_inside)]
Identifier = Annotated[str, AfterValidator(_check_name)]
Version = Annotated[int, AfterValidator(_check_version)]
NewVersion = Annotated[int, AfterValidator(_check_strictly)]
"""Of records that version 3 gave another shape."""
Sha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
