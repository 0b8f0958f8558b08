"""Where an image is: one image in a file, a container, a plate or a series of a file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator

from maskloop.errors import UsageError
from maskloop.images.axes import parse_axes
from maskloop.records import Record

__all__ = ["ImageRef"]

_SEPARATOR = "::"
# Greedy up to the last separator: file names may hold one too, items must not.
_SHORT = re.compile(
    r"(?P<uri>.+)::(?P<item>.*?)(?:@(?P<level>\d+))?(?:\[(?P<axes>[A-Z]+)\])?", re.DOTALL
)


class ImageRef(Record):
    """One image, wherever it is; two references to the same image are equal and hash alike.

    `str` gives a short form for tables and the command line, `parse` reads it back: ``cells.tif``,
    ``scan.tif::2`` (the item 2), ``plate.zarr::B/03/0@1`` (its second resolution level),
    ``stack.tif::[ZYX]`` (with its axes named).
    """

    uri: str = Field(min_length=1, description="File, folder or address, as the person gave it.")
    item: str = Field(
        "", description="Which of the images in a container, such as a series or a well; '' is all."
    )
    level: int = Field(0, ge=0, description="Resolution level; 0 is full resolution.")
    axes: str | None = Field(None, description="Axes that a person named; they win over the file.")

    @field_validator("item")
    @classmethod
    def _check_item(cls, item: str) -> str:
        if _SEPARATOR in item:
            raise ValueError(f"an item must not contain '{_SEPARATOR}'")
        return item

    @classmethod
    def of(cls, image: str | Path | ImageRef, *, axes: str | None = None) -> Self:
        """The reference to a whole file, or the one given; `axes` replace those it names.

        Raises
        ------
        AxesError
            If the axes are not a choice of T, C, Z, Y, X with Y and X among them.
        """
        if isinstance(image, ImageRef):
            # Built anew rather than copied, so that a subclass keeps its type.
            known: dict[str, Any] = image.model_dump()
        else:
            known = {"uri": str(image)}
        if axes is not None:
            known["axes"] = parse_axes(axes)
        return cls(**known)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The reference that `str` gives back.

        Raises
        ------
        UsageError
            If nothing names a file.
        AxesError
            If the axes in it are not possible.
        """
        if not text:
            raise UsageError("An image without a name was given.", "Give the path of an image.")
        match = _SHORT.fullmatch(text)
        if match is None:
            return cls(uri=text)
        axes = parse_axes(match["axes"]) if match["axes"] else None
        return cls(uri=match["uri"], item=match["item"], level=int(match["level"] or 0), axes=axes)

    def __str__(self) -> str:
        axes = f"[{self.axes}]" if self.axes else ""
        level = f"@{self.level}" if self.level else ""
        # An item that ends like a level or like axes would be read back as one.
        if not level and re.search(r"@\d+$|\[[A-Z]+\]$", self.item):
            level = "@0"
        if not axes and not level and not self.item and _SEPARATOR not in self.uri:
            # The usual case: a file that is one image looks like its path.
            return self.uri
        return f"{self.uri}{_SEPARATOR}{self.item}{level}{axes}"

    @property
    def path(self) -> Path:
        """The file or folder that holds the image."""
        return Path(self.uri).expanduser()

    @property
    def name(self) -> str:
        """What to call the image in messages: the file's name, and the item in it."""
        own = self.path.name or self.uri
        return f"{own}{_SEPARATOR}{self.item}" if self.item else own
