"""What libraries raise over a damaged file, turned into one error in words."""

from __future__ import annotations

import contextlib
import logging
import struct
import tokenize
import zlib
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

from maskloop.errors import ImageError, MaskloopError

__all__ = ["reading"]

_BROKEN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,  # Pillow's word for a broken PNG, and the XML parser's for broken XML
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,  # NumPy's word for a broken header
    zlib.error,
)
"""What the libraries raise over a damaged file: there is no common ancestor but Exception."""

_heard: ContextVar[list[str] | None] = ContextVar("_heard", default=None)


class _Hush(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        heard = _heard.get()
        if heard is not None:
            heard.append(record.getMessage())
        return heard is None


logging.getLogger("tifffile").addFilter(_Hush())


@contextlib.contextmanager
def reading(path: Path) -> Iterator[list[str]]:
    """Turn what the libraries say about a damaged file into one ImageError, with a quiet log.

    Yields
    ------
    heard
        What tifffile would have logged so far.

    Raises
    ------
    ImageError
        If the block fails because the file is missing, damaged, cut short or of another kind.
    """
    # A context variable: threads that read other files must not hear each other.
    heard: list[str] = []
    token = _heard.set(heard)
    try:
        yield heard
    except MaskloopError:
        raise
    except FileNotFoundError:
        raise ImageError(
            f"There is no file '{path}'.",
            "Check the path; names are case-sensitive on some systems.",
        ) from None
    except IsADirectoryError:
        raise ImageError(
            f"'{path}' is a folder, not an image.",
            "Name a file in it, or let the command take the whole folder.",
        ) from None
    except PermissionError:
        raise ImageError(
            f"'{path}' cannot be read: permission denied.",
            "Ask for permission to read it, or copy it to a folder of yours.",
        ) from None
    except _BROKEN as error:
        # Libraries explain damage in paragraphs; the first line says what is wrong.
        said = str(error).strip()
        reason = said.splitlines()[0][:200] if said else type(error).__name__
        raise ImageError(
            f"'{path}' cannot be read: it is damaged, cut short or not the kind of file its "
            f"ending says ({reason}).",
            "Open it in Fiji or napari to see whether it is complete; copy or export it again.",
        ) from error
    finally:
        _heard.reset(token)
