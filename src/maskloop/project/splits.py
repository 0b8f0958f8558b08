"""Splits by group, never by patch: a group is on one side only, training or validation.

A pair's group is the one a person gave; else that of a near-duplicate; else that of the stack or
movie in its name; else its own. Once in validation a group stays there, and a group that was
trained on is never used for validation, however the dataset grows: scores of checkpoints that
descend from each other stay independent.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from maskloop.project.entries import Pair
from maskloop.records import Record

__all__ = ["Split", "derive_group", "split_pairs"]

CANDIDATES = 8
"""So many groups, in random order, are looked at for each place in validation; the most typical
one takes it.
"""

_SLICE = re.compile(
    r"(?:z|t|tp|slice|plane|frame|time|timepoint|crop|tile|patch|x|y|row|col)[-_]?\d+",
    re.IGNORECASE,
)
_TOKENS = re.compile(r"[\s_.\-]+")
_WORDS = {"z", "t", "tp", "slice", "plane", "frame", "time", "timepoint", "crop", "tile", "patch"}


class Split(Record):
    """Which pairs are trained on and which are kept to measure, and why."""

    training: tuple[str, ...]
    validation: tuple[str, ...]
    reason: str


def derive_group(name: str, folder: str = "") -> str | None:
    """The stack, film or large image that a file name tells of, or None where it tells of none.

    Parts of the name that count slices, frames or crops are left out: ``cell_z05`` and ``cell_z06``
    belong to ``cell``, ``s01_t002`` to ``s01``, ``slide3_x0_y512`` to ``slide3``. Where nothing is
    left (``t013``), the files of one folder belong together. A plain number (``image_07``) or a
    field of view (``A01_s6``) says nothing of this kind.

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
        # "slice 05" is two tokens, and the word before the number goes too.
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


@dataclass(eq=False)
class _Group:
    """Pairs that stay together, and what they hold."""

    name: str
    pairs: list[Pair] = field(default_factory=list)

    @cached_property
    def held(self) -> dict[str, float]:
        """Sums over its pairs: their number, their objects, and the share of each class."""
        prints = [pair.fingerprint for pair in self.pairs if pair.fingerprint]
        held: dict[str, float] = {
            "pairs": len(prints),
            "objects": sum(found.object_count for found in prints),
        }
        for found in prints:
            # A share and not a count: one huge image would outweigh all others.
            pixels = max(1, sum(found.class_pixels.values()))
            for label, count in found.class_pixels.items():
                if label:
                    held[f"class {label}"] = held.get(f"class {label}", 0.0) + count / pixels
        return held

    @property
    def split(self) -> str | None:
        splits = {pair.split for pair in self.pairs}
        # A pair that was trained on outweighs: nothing that shares its pixels may measure.
        return next((side for side in ("training", "validation") if side in splits), None)

    @cached_property
    def classes(self) -> set[int]:
        return {
            label
            for pair in self.pairs
            if pair.fingerprint
            for label, pixels in pair.fingerprint.class_pixels.items()
            if label and pixels
        }


def split_pairs(pairs: Sequence[Pair], *, share: float, seed: int) -> Split:
    """Part pairs into training and validation by whole groups.

    Groups that have a side keep it. New ones go to validation until it holds `share` of the pairs;
    of a few drawn by the seed the one is taken that makes validation most like the whole in object
    counts and classes, and never the last one of a class. The draw hangs on the group's name alone,
    so that adding pairs does not reshuffle the others.

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
        With an empty validation and the reason where no independent validation set exists.
    """
    groups = _grouped(pairs)
    chosen = [group for group in groups if group.split == "validation"]
    free = sorted(
        (group for group in groups if group.split is None),
        key=lambda group: _draw(group.name, seed),
    )
    # With two groups or more, a small share still gives one: no validation, no score.
    wanted = (
        round(share * len(pairs))
        if share <= 0 or len(groups) < 2
        else max(1, round(share * len(pairs)))
    )
    draw = _Draw(chosen, free, groups)
    while (taken := draw.next(wanted)) is not None:
        chosen.append(taken)
    validation = {pair.pair_id for group in chosen for pair in group.pairs}
    return Split(
        training=tuple(pair.pair_id for pair in pairs if pair.pair_id not in validation),
        validation=tuple(pair.pair_id for pair in pairs if pair.pair_id in validation),
        reason=_reason(groups, chosen, pairs, share),
    )


def _grouped(pairs: Iterable[Pair]) -> list[_Group]:
    groups: dict[str, _Group] = {}
    for pair in pairs:
        # Records of older programs may have no group; such a pair is one by itself.
        name = pair.group or pair.pair_id
        groups.setdefault(name, _Group(name)).pairs.append(pair)
    return list(groups.values())


def _draw(name: str, seed: int) -> bytes:
    # No generator: its draw for a group would hang on how many groups came before it.
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


class _Draw:
    """Takes groups for validation one by one.

    Their contents are summed as they are taken: a project may have 10,000 groups.
    """

    def __init__(
        self, chosen: Sequence[_Group], free: list[_Group], groups: Sequence[_Group]
    ) -> None:
        self._free = free
        self._have = sum(len(group.pairs) for group in chosen)
        self._held = _sum(group.held for group in chosen)
        self._typical = _profile(_sum(group.held for group in groups))
        self._left = len(groups) - len(chosen)
        # How many free or training groups hold each class, kept up to date: counting anew for each
        # of 10,000 would be quadratic.
        self._holders = Counter(
            label for group in groups if group not in chosen for label in group.classes
        )

    def next(self, wanted: int) -> _Group | None:
        """The most typical of a few groups that validation has room for, or None."""
        have, free = self._have, self._free
        if have >= wanted:
            return None
        # Never farther from the share than it is without the group, be it that it overshoots.
        fits = (group for group in free if abs(have + len(group.pairs) - wanted) <= wanted - have)
        # Lazily: of ten thousand groups the first few that fit are enough.
        allowed = list(itertools.islice(filter(self._may_leave, fits), CANDIDATES))
        if (
            not allowed
            and not have
            and free
            and not any(len(group.pairs) <= 2 * wanted for group in free)
        ):
            # Better a large validation set than none: the smallest group that is free.
            allowed = [
                group
                for group in [min(free, key=lambda group: len(group.pairs))]
                if self._may_leave(group)
            ]
        if not allowed:
            return None
        taken = min(
            allowed,
            key=lambda group: _distance(_profile(_sum([self._held, group.held])), self._typical),
        )
        self._take(taken)
        return taken

    def _may_leave(self, group: _Group) -> bool:
        # Training needs a group of its own, and an example of each class.
        return self._left > 1 and all(self._holders[label] > 1 for label in group.classes)

    def _take(self, group: _Group) -> None:
        self._free.remove(group)
        self._have += len(group.pairs)
        self._held = _sum([self._held, group.held])
        self._left -= 1
        self._holders.subtract(group.classes)


def _sum(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for part in parts:
        for name, value in part.items():
            total[name] = total.get(name, 0.0) + value
    return total


def _profile(held: Mapping[str, float]) -> dict[str, float]:
    """Mean number of objects and share of each class over the pairs of some groups."""
    return (
        {name: value / held["pairs"] for name, value in held.items() if name != "pairs"}
        if held.get("pairs")
        else {}
    )


def _distance(ours: dict[str, float], typical: dict[str, float]) -> float:
    return sum(
        # Relative: numbers of objects and shares of classes have no common unit.
        abs(ours.get(name, 0.0) - value) / value
        for name, value in typical.items()
        if value > 0
    )


def _reason(groups: list[_Group], chosen: list[_Group], pairs: Sequence[Pair], share: float) -> str:
    if chosen:
        count = sum(len(group.pairs) for group in chosen)
        return (
            f"Validation uses {count} of {len(pairs)} pairs ({len(chosen)} of {len(groups)} "
            "groups); no group is on both sides."
        )
    if share <= 0:
        return "No validation set was requested, so there is no validation score."
    if len(groups) <= 1:
        return (
            "All pairs belong to one group (one stack, movie or image), so there is no independent "
            "validation set and no validation score. Accept a pair from another image to get one."
        )
    if all(group.split == "training" for group in groups):
        return (
            "All groups have been trained on, so none is independent and there is no validation "
            "score. Accept a new image to get one."
        )
    return (
        "Each remaining group has the only examples of a class, so all are used for training and "
        "there is no validation score. Accept more pairs with these classes."
    )
