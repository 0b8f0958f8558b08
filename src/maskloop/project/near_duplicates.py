"""Near-duplicates among the pairs of a project, kept up to date as pairs come and go."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from maskloop.images.similarity import find_near_duplicates_among
from maskloop.project.layout import Pair

__all__ = ["NearDuplicates"]


class NearDuplicates:
    """Finds pairs that show the same; a new pair is compared with the known ones only."""

    def __init__(self) -> None:
        self._hashes: dict[str, str] = {}
        self._near: dict[str, tuple[str, ...]] = {}
        self._lock = threading.Lock()

    @property
    def known(self) -> dict[str, tuple[str, ...]]:
        """What was found so far."""
        return self._near

    def update(self, pairs: Sequence[Pair]) -> dict[str, tuple[str, ...]]:
        """Near-duplicates of each active pair that has any, by id; call it in a thread."""
        hashes = {pair.pair_id: pair.perceptual_hash for pair in pairs if pair.state == "active"}
        # The window asks from several worker threads; each continues from what the last one found.
        with self._lock:
            known = [
                pair_id for pair_id, text in hashes.items() if self._hashes.get(pair_id) == text
            ]
            here = set(known)
            # The new ones last: only those after `since` are compared, n times new and not n
            # squared.
            ids = [*known, *(pair_id for pair_id in hashes if pair_id not in here)]
            # What was found before holds still, but for pairs that went or got another image.
            near = {
                one: [other for other in others if other in here]
                for one, others in self._near.items()
                if one in here
            }
            for place, others in find_near_duplicates_among(
                [hashes[pair_id] for pair_id in ids], since=len(known)
            ).items():
                near.setdefault(ids[place], []).extend(ids[other] for other in others)
            self._hashes = hashes
            self._near = {
                pair_id: tuple(sorted(others)) for pair_id, others in near.items() if others
            }
            return dict(self._near)
