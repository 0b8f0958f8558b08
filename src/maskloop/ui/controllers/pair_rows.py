"""The rows of the pair table: all that is shown of a pair, made in a thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from maskloop.project.layout import Pair
from maskloop.ui.controllers.label_semantics import Classes
from maskloop.wording import counted

__all__ = ["PairRow", "make_rows", "objects_in_words", "short_id"]

SOURCES = {
    "manual_label": "drawn",
    "imported_pair": "imported",
    "sam3_preview": "SAM3",
    "corrected_prediction": "corrected",
}
MOST = 3


@dataclass(frozen=True, eq=False)
class PairRow:
    """One pair in words."""

    pair: Pair
    pair_id: str
    short: str
    name: str
    source: str
    shape: str
    classes: str
    objects: int | None
    split: str
    used: str
    near: str
    state: str
    tooltip: str
    near_tooltip: str

    @property
    def picture_key(self) -> str:
        """What the thumbnail is known by; another one is needed once the mask is replaced."""
        return f"{self.pair_id} {self.pair.mask_sha256[:8]}{self.pair.image_sha256[:8]}"

    @property
    def is_active(self) -> bool:
        """Whether it is in use."""
        return self.pair.state == "active"


def make_rows(
    pairs: Sequence[Pair],
    near: Mapping[str, tuple[str, ...]],
    classes: Classes,
    before: Mapping[str, PairRow],
) -> dict[str, PairRow]:
    """The rows of all pairs by id, the oldest first; an unchanged row stays the same object."""
    # For all pairs at once: each row needs the sides of its near-duplicates.
    sides = {pair.pair_id: pair.split for pair in pairs}
    rows = {}
    for pair in pairs:
        old = before.get(pair.pair_id)
        row = _row(pair, near.get(pair.pair_id, ()), classes, sides)
        # The table looks only at rows that are other objects than before.
        if old is not None and old.pair == pair:
            is_same = (old.classes, old.near_tooltip) == (row.classes, row.near_tooltip)
            row = old if is_same else row
        rows[pair.pair_id] = row
    return rows


def _row(
    pair: Pair, near: Sequence[str], classes: Classes, sides: Mapping[str, str | None]
) -> PairRow:
    return PairRow(
        pair=pair,
        pair_id=pair.pair_id,
        short=short_id(pair.pair_id),
        name=pair.name,
        source=SOURCES.get(pair.source, pair.source.replace("_", " ")),
        shape=" x ".join(str(length) for length in pair.shape),
        classes=_classes(pair, classes),
        objects=None if pair.fingerprint is None else pair.fingerprint.object_count,
        split=pair.split or "",
        used=_listed(pair.used_in_checkpoints),
        near=_listed([short_id(other) for other in near]),
        state="" if pair.state == "active" else pair.state,
        tooltip=_tooltip(pair),
        near_tooltip=_warn(pair, near, sides),
    )


def short_id(pair_id: str) -> str:
    """The id without the hash of its pixels, such as ``pair_0004``."""
    parts = pair_id.split("_")
    # Of an older program's ids nothing is known: they stay whole.
    return "_".join(parts[:2]) if len(parts) == 3 and parts[0] == "pair" else pair_id


def objects_in_words(pair: Pair, classes: Classes) -> str:
    """What a pair's mask holds, such as ``37 objects``."""
    if pair.fingerprint is None or pair.mask_preparation.get("is_empty"):
        return "empty mask"
    objects = counted(pair.fingerprint.object_count, "object")
    return f"{objects} ({_classes(pair, classes)})" if classes.mode == "multiclass" else objects


def _classes(pair: Pair, classes: Classes) -> str:
    if pair.fingerprint is None:
        return ""
    return ", ".join(
        classes.name(number)
        for number, count in sorted(pair.fingerprint.class_pixels.items())
        # Class 0, the background, is in nearly every mask.
        if number and count
    )


def _tooltip(pair: Pair) -> str:
    lines = [
        pair.name,
        f"{pair.pair_id}: {pair.axes} {pair.shape}",
        f"accepted {pair.created_at[:16].replace('T', ' ')}",
    ]
    # A group of one says nothing.
    if pair.group and pair.group != pair.pair_id:
        lines.append(f"group {pair.group}")
    if pair.history:
        times = "once" if len(pair.history) == 1 else f"{len(pair.history)} times"
        lines.append(f"corrected {times}")
    lines += [str(note) for note in pair.mask_preparation.get("notes", ())]
    return "\n".join(line for line in lines if line)


def _warn(pair: Pair, near: Sequence[str], sides: Mapping[str, str | None]) -> str:
    if not near:
        return ""
    names = _listed([short_id(other) for other in near])
    # A near-duplicate on the other side of the split makes the score optimistic.
    parted = [
        other for other in near if pair.split and sides.get(other) and sides[other] != pair.split
    ]
    if parted:
        side = sides[parted[0]]
        return (
            f"Near-duplicate of {names}, but {short_id(parted[0])} is used for {side}: "
            "the score may be optimistic. Remove one of the two."
        )
    return f"Near-duplicate of {names}. They are kept on the same side of the split."


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(names[:MOST]) + more
