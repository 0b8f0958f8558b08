"""Which pairs belong together; found when a pair is accepted, so that no split separates them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from maskloop.errors import UsageError
from maskloop.project.entries import Pair
from maskloop.project.intake import Candidate
from maskloop.project.splits import derive_group
from maskloop.project.store import changed

__all__ = ["Offer", "Side", "choose_group", "choose_side"]

Side = Literal["training", "validation"]


@dataclass(frozen=True)
class Offer:
    """A checked pair and what the person said about it, ready to be recorded."""

    candidate: Candidate
    source: str = "manual_label"
    group: str | None = None
    split: Side | None = None
    metadata: Mapping[str, Any] | None = None


def choose_group(
    pairs: tuple[Pair, ...], offer: Offer, pair_id: str
) -> tuple[str, tuple[Pair, ...]]:
    """The group of a new pair, and the pairs there are, with groups that turn out to be one joined.

    It is what the person says; else that of the nearest near-duplicate; else that of the stack or
    film its name tells of; else its own, named after the pair.
    """
    from maskloop.images.similarity import find_near_duplicates

    if offer.group:
        return offer.group, pairs
    # Crops and slices of one image share pixels: on both sides of a split they would leak.
    near = find_near_duplicates(
        offer.candidate.perceptual_hash, [pair.perceptual_hash for pair in pairs]
    )
    groups = [pairs[at].group for at in near]
    if derived := derive_group(offer.candidate.name, offer.candidate.folder):
        groups.append(derived)
    if not groups:
        return pair_id, pairs
    return groups[0], _join(pairs, groups[0], set(groups))


def _join(pairs: tuple[Pair, ...], group: str, others: set[str]) -> tuple[Pair, ...]:
    members = [pair for pair in pairs if pair.group in others]
    sides = {pair.split for pair in members if pair.split}
    # Groups that already lie on different sides stay apart: what was trained on cannot be made
    # unseen.
    if len(sides) > 1:
        return pairs
    side = next(iter(sides), None)

    def joined(pair: Pair) -> Pair:
        belongs = pair.group in others and (pair.group, pair.split) != (group, side)
        return changed(pair, group=group, split=side) if belongs else pair

    return tuple(joined(pair) for pair in pairs)


def choose_side(group: str, pairs: Sequence[Pair], offer: Offer) -> Side | None:
    """The side of the split that a new pair of this group is on.

    Raises
    ------
    UsageError
        If the person asks for the other one.
    """
    present = next((pair.split for pair in pairs if pair.group == group and pair.split), None)
    if offer.split and present and offer.split != present:
        raise UsageError(
            f"'{offer.candidate.name}' belongs to group '{group}', which is used for {present}, "
            f"not {offer.split}.",
            f"Accept it for {present}, or give it its own group if it shows a different specimen.",
        )
    return present or offer.split
