"""Which checkpoint was trained from which."""

from __future__ import annotations

from collections.abc import Sequence

from maskloop.project.layout import CheckpointRecord, ImportedModel

__all__ = ["ancestry", "by_descent"]

ARROW = " \N{LEFTWARDS ARROW} "


def by_descent(records: Sequence[CheckpointRecord]) -> list[tuple[CheckpointRecord, int]]:
    """Each checkpoint below the one it was trained from, with the number of its ancestors.

    Parameters
    ----------
    records
        The checkpoints, the oldest first; siblings keep this order.
    """
    known = {one.checkpoint_id for one in records}
    children: dict[str | None, list[CheckpointRecord]] = {}
    for one in records:
        parent = one.parent_checkpoint_id if one.parent_checkpoint_id in known else None
        children.setdefault(parent, []).append(one)
    found: list[tuple[CheckpointRecord, int]] = []
    seen: set[str] = set()
    # The roots last, so that they are popped first. Then all again, for records that a person
    # edited into a circle have no root: they would be missing from the table.
    waiting = [(one, 0) for one in [*children.get(None, []), *records][::-1]]
    # A stack instead of recursion: chains of thousands of checkpoints exist.
    while waiting:
        one, depth = waiting.pop()
        if one.checkpoint_id in seen:
            continue
        seen.add(one.checkpoint_id)
        found.append((one, depth))
        below = children.get(one.checkpoint_id, [])
        waiting += [(child, depth + 1) for child in reversed(below)]
    return found


def ancestry(
    checkpoint_id: str, records: Sequence[CheckpointRecord], models: Sequence[ImportedModel]
) -> str:
    """Where a checkpoint came from, back to its beginning.

    For example ``unet_run_003 <- unet_run_002 <- imported cyto``, with real arrows.
    """
    known = {one.checkpoint_id: one for one in records}
    chain: list[str] = []
    visited: set[str] = set()
    at: str | None = checkpoint_id
    while at in known and at not in visited:
        chain.append(at)
        visited.add(at)
        at = known[at].parent_checkpoint_id
    if chain and at is None:
        chain.append(_origin(known[chain[-1]], models))
    elif at is not None:
        chain.append(f"{at} (not in this project)" if at not in known else at)
    return ARROW.join(chain)


def _origin(first: CheckpointRecord, models: Sequence[ImportedModel]) -> str:
    imported = first.starting_weights.get("imported_model_id")
    if not imported:
        return "scratch"
    names = {model.model_id: model.model_name for model in models}
    return f"imported {names.get(imported, imported)}"
