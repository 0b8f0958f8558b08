"""What formats of single files have in common: they are there, hold bytes, and can be hashed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from maskloop.errors import ImageError
from maskloop.images.formats.damage import reading
from maskloop.images.refs import ImageRef
from maskloop.wording import bytes_in_words

__all__ = ["MOST_EXPANSION", "hash_file", "refuse_empty_file", "refuse_overstated", "refuse_part"]

MOST_EXPANSION = 100_000
"""Compression beyond this is a header that lies: Deflate ends at 1032, blank pages of Zstandard at
about 30,000.
"""
SURELY_BYTES = 64_000_000
"""So much can be read whatever the file's size: lies up to here cost nothing."""


def refuse_empty_file(path: Path) -> None:
    """Refuse a file that is missing or has no bytes.

    Raises
    ------
    ImageError
        If it is missing, may not be read or is empty.
    """
    # A folder has a size of its own, on some systems 0: it is refused with other words.
    with reading(path):
        if path.stat().st_size == 0 and path.is_file():
            raise ImageError(f"'{path}' is empty (0 bytes).", "Copy or export it again.")
        # Opening a pipe would wait for somebody who writes into it.
        if not (path.is_file() or path.is_dir()):
            raise ImageError(
                f"'{path}' is a pipe or a device, not a file.", "Name a file that holds an image."
            )


def refuse_overstated(
    path: Path,
    claimed_bytes: int,
    stored_bytes: int,
    *,
    most: int = MOST_EXPANSION,
    surely: int = SURELY_BYTES,
) -> None:
    """Refuse a file whose header claims more pixels than its bytes can hold, before reading any.

    Parameters
    ----------
    path
        The file.
    claimed_bytes
        Size of its pixels in memory, as its header says.
    stored_bytes
        Size of what they are compressed in.
    most
        How many times as large as compressed the pixels can be.
    surely
        Size in bytes that is read whatever the file's size.

    Raises
    ------
    ImageError
        If so.
    """
    if claimed_bytes > max(surely, most * stored_bytes):
        raise ImageError(
            f"'{path}' is damaged: its header claims {bytes_in_words(claimed_bytes)} of pixels, "
            f"which {bytes_in_words(stored_bytes)} cannot hold.",
            "Copy or export it again.",
        )


def refuse_part(ref: ImageRef) -> None:
    """Refuse a reference to a part of a file that holds one image at one resolution.

    Raises
    ------
    ImageError
        If it names an item or a level.
    """
    if ref.item or ref.level:
        raise ImageError(
            f"'{ref.uri}' holds a single image, so '{ref}' is not in it.",
            f"Name the file alone: '{ref.uri}'.",
        )


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes.

    Raises
    ------
    ImageError
        If it cannot be read.
    """
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
