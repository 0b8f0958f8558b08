"""Splits by group, never by patch: what belongs together is never parted between training and validation.

A pair's group is what the person says; else that of a near-duplicate; else that of the stack or film its name tells of;
else its own. Once in validation a group stays there, and a group that was trained on never goes there, however the
dataset grows: scores of checkpoints that descend from each other stay honest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from maskloop.project.layout import Pair
from maskloop.records import Record

__all__ = ["Split", "derive_group", "split_pairs"]

CANDIDATES = 8
"""So many groups, in random order, are looked at for each place in validation; the most typical one takes it."""

_SLICE = re.compile(r"(?:z|t|tp|slice|plane|frame|time|timepoint|crop|tile|patch|x|y|row|col)[-_]?\d+", re.IGNORECASE)
_TOKENS = re.compile(r"[\s_.\-]+")
_WORDS = {"z", "t", "tp", "slice", "plane", "frame", "time", "timepoint", "crop", "tile", "patch"}


class Split(Record):
    """Which pairs are trained on and which are kept to measure, and why."""

    training: tuple[str, ...]
    validation: tuple[str, ...]
    reason: str


def derive_group(name: str, folder: str = "") -> str | None:
    """The stack, film or large image that a file name tells of, or None where it tells of none.

    Parts of the name that count slices, frames or crops are left out: ``cell_z05`` and ``cell_z06`` belong to ``cell``,
    ``s01_t002`` to ``s01``, ``slide3_x0_y512`` to ``slide3``. Where nothing is left (``t013``), the files of one folder
    belong together. A plain number (``image_07``) or a field of view (``A01_s6``) says nothing of this kind.

    Parameters
    ----------
    name
        File or layer name without its ending.
    folder
        Name of the folder it lies in, where known.
    """
    tokens = [token for token in _TOKENS.split(name) if token]
    kept: list[str] = []
    found = False
    for at, token in enumerate(tokens):
        counts_on = token.isdigit() and at > 0 and tokens[at - 1].lower() in _WORDS
        if counts_on or _SLICE.fullmatch(token):
            found = True
            if counts_on and kept:
                kept.pop()
        else:
            kept.append(token)
    if not found:
        return None
    return "_".join(kept) or f"stack in {folder or 'one folder'}"


@dataclass
class _Group:
    """Pairs that stay together, and what they hold."""

    name: str
    pairs: list[Pair] = field(default_factory=list)

    @property
    def split(self) -> str | None:
        splits = {pair.split for pair in self.pairs}
        # A pair that was trained on outweighs: nothing that shares its pixels may measure.
        return "training" if "training" in splits else "validation" if "validation" in splits else None

    @property
    def classes(self) -> set[int]:
        return {
            label for pair in self.pairs if pair.fingerprint for label, pixels in pair.fingerprint.class_pixels.items() if label and pixels
        }


def split_pairs(pairs: Sequence[Pair], *, share: float, seed: int) -> Split:
    """Part pairs into training and validation by whole groups.

    Groups that have a side keep it. New ones go to validation until it holds `share` of the pairs; of a few drawn by the
    seed the one is taken that makes validation most like the whole in object counts and classes, and never the last
    one of a class. The draw hangs on the group's name alone, so that adding pairs does not reshuffle the others.

    Parameters
    ----------
    pairs
        Pairs to part.
    share
        Share of the pairs that validation should hold, 0 to 0.9.
    seed
        Start of the draw.

    Returns
    -------
    Split
        With an empty validation and the reason where no honest validation set exists.
    """
    groups = _grouped(pairs)
    chosen = [group for group in groups if group.split == "validation"]
    free = sorted((group for group in groups if group.split is None), key=lambda group: _draw(group.name, seed))
    wanted = round(share * len(pairs)) if share <= 0 or len(groups) < 2 else max(1, round(share * len(pairs)))
    while (taken := _next(chosen, free, groups, wanted)) is not None:
        chosen.append(taken)
        free.remove(taken)
    validation = {pair.pair_id for group in chosen for pair in group.pairs}
    return Split(
        training=tuple(pair.pair_id for pair in pairs if pair.pair_id not in validation),
        validation=tuple(pair.pair_id for pair in pairs if pair.pair_id in validation),
        reason=_reason(groups, chosen, pairs, share),
    )


def _grouped(pairs: Iterable[Pair]) -> list[_Group]:
    groups: dict[str, _Group] = {}
    for pair in pairs:
        name = pair.group or pair.pair_id
        groups.setdefault(name, _Group(name)).pairs.append(pair)
    return list(groups.values())


def _draw(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


def _next(chosen: list[_Group], free: list[_Group], groups: list[_Group], wanted: int) -> _Group | None:
    have = sum(len(group.pairs) for group in chosen)
    if have >= wanted:
        return None
    fits = [group for group in free if abs(have + len(group.pairs) - wanted) <= wanted - have]
    if not fits and not chosen and free:
        # Better a large validation set than none: the smallest group that is free.
        fits = [min(free, key=lambda group: len(group.pairs))]
    allowed = [group for group in fits if _may_leave(group, chosen, groups)][:CANDIDATES]
    if not allowed:
        return None
    typical = _profile(groups)
    return min(allowed, key=lambda group: _distance(_profile([*chosen, group]), typical))


def _may_leave(group: _Group, chosen: list[_Group], groups: list[_Group]) -> bool:
    left = [other for other in groups if other is not group and other not in chosen]
    return bool(left) and group.classes <= set().union(*(other.classes for other in left))


def _profile(groups: Sequence[_Group]) -> dict[str, float]:
    """Mean number of objects and share of each class over the pairs of some groups."""
    prints = [pair.fingerprint for group in groups for pair in group.pairs if pair.fingerprint]
    if not prints:
        return {}
    profile = {"objects": sum(found.object_count for found in prints) / len(prints)}
    for label in {label for found in prints for label in found.class_pixels if label}:
        shares = (found.class_pixels.get(label, 0) / max(1, sum(found.class_pixels.values())) for found in prints)
        profile[f"class {label}"] = sum(shares) / len(prints)
    return profile


def _distance(ours: dict[str, float], typical: dict[str, float]) -> float:
    return sum(abs(ours.get(name, 0.0) - value) / value for name, value in typical.items() if value > 0)


def _reason(groups: list[_Group], chosen: list[_Group], pairs: Sequence[Pair], share: float) -> str:
    if chosen:
        count = sum(len(group.pairs) for group in chosen)
        return (
            f"{count} of {len(pairs)} pairs ({len(chosen)} of {len(groups)} groups) are kept for validation; no group lies on both sides."
        )
    if share <= 0:
        return "No validation set was asked for, so there is no validation score."
    if len(groups) <= 1:
        return (
            "All pairs belong to one group (one stack, film or image), so no honest validation set exists "
            "and there is no validation score. Accept a pair from another image to get one."
        )
    if all(group.split == "training" for group in groups):
        return (
            "Every group has been trained on already, so none can measure honestly and there is no validation score. "
            "Accept a new image to get one."
        )
    return (
        "Each group that is free holds the only examples of a class, so none was taken away from training "
        "and there is no validation score. Accept more pairs with these classes."
    )
