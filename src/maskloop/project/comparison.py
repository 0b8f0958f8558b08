"""Two checkpoints side by side: their scores, and everything that differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from maskloop.project.layout import CheckpointRecord, Pair

__all__ = ["Difference", "compare"]

Difference = tuple[str, str, str]
"""Property, value of the first, value of the second."""
SCORES = {
    "dice": "Dice",
    "iou": "IoU",
    "ap50": "AP50",
    "ap75": "AP75",
    "f1": "F1",
    "pq": "PQ",
    "aji": "AJI",
    "val_loss": "Validation loss",
    "loss": "Training loss",
}
FIGURES = {"epochs": "Epochs", "best_epoch": "Best epoch", "seconds": "Duration (s)"}
NOT_COMPARED = {
    "decisions",
    "architecture",
    "backend",
    "network",
    "task",
    "class_labels",
    "device",
    "devices",
    "nodes",
    "tensorboard",
}
LISTED = 5
"""More pairs than this are only counted."""
NONE = "\N{EN DASH}"


def compare(
    first: CheckpointRecord, second: CheckpointRecord, pairs: Sequence[Pair] = ()
) -> list[Difference]:
    """The scores of both, then what differs in data, network and plan.

    Parameters
    ----------
    first, second
        The checkpoints.
    pairs
        Of the dataset, for their names.
    """
    names = {pair.pair_id: pair.name or pair.pair_id for pair in pairs}
    return [
        *_scores(first, second),
        *_data(first, second, names),
        *_differing(first.network, second.network, "Network: "),
        *_differing(first.plan, second.plan, ""),
    ]


def _scores(first: CheckpointRecord, second: CheckpointRecord) -> Iterator[Difference]:
    ours, theirs = _figures(first), _figures(second)
    for name, title in {**SCORES, **FIGURES}.items():
        if name in ours or name in theirs:
            yield title, _number(ours.get(name)), _number(theirs.get(name))


def _figures(record: CheckpointRecord) -> dict[str, Any]:
    found = {**record.metrics, **record.dice_iou_metrics, **record.loss_metrics}
    return {name: value for name, value in found.items() if isinstance(value, int | float)}


def _number(value: Any) -> str:
    # NaN, of a training that diverged, equals nothing, itself included.
    if value is None or value != value:
        return NONE
    if isinstance(value, int):
        return str(value)
    # Seconds and the like need no decimals; scores need three to be told apart.
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.0f}"


def _data(
    first: CheckpointRecord, second: CheckpointRecord, names: Mapping[str, str]
) -> Iterator[Difference]:
    ours, theirs = set(first.dataset_pair_ids_used), set(second.dataset_pair_ids_used)
    if first.number_of_images != second.number_of_images:
        yield "Images", str(first.number_of_images), str(second.number_of_images)
    if ours != theirs:
        yield "Trained only on", _listed(ours - theirs, names), _listed(theirs - ours, names)
    mine, other = _validation(first), _validation(second)
    if mine != other:
        yield "Validated on", _listed(mine, names), _listed(other, names)
    changed = {
        pair
        for pair in ours & theirs
        if first.dataset_pixel_hashes.get(pair) != second.dataset_pixel_hashes.get(pair)
    }
    # Older checkpoints kept no hashes: then nothing can be said, not that all were replaced.
    if changed and first.dataset_pixel_hashes and second.dataset_pixel_hashes:
        yield "Images replaced in between", _listed(changed, names), _listed(changed, names)


def _validation(record: CheckpointRecord) -> set[str]:
    return set(record.train_validation_split.get("validation") or ())


def _listed(pairs: set[str], names: Mapping[str, str]) -> str:
    if not pairs:
        return NONE
    words = f"{len(pairs)} pair{'s' * (len(pairs) != 1)}"
    if len(pairs) > LISTED:
        return words
    return f"{words}: {', '.join(sorted(names.get(pair, pair) for pair in pairs))}"


def _differing(
    first: Mapping[str, Any], second: Mapping[str, Any], prefix: str
) -> Iterator[Difference]:
    # In the order of the records and not sorted: related settings stay together.
    for name in dict.fromkeys([*first, *second]):
        ours, theirs = first.get(name), second.get(name)
        if name in NOT_COMPARED or ours == theirs:
            continue
        title = prefix + name.replace("_", " ").capitalize()
        if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
            yield from _differing(ours, theirs, f"{title}: ")
        else:
            yield title, _value(name, ours), _value(name, theirs)


def _value(name: str, value: Any) -> str:
    if value is None:
        return NONE
    if isinstance(value, list | tuple):
        # A patch is read as a size, such as 256 x 256; anything else is a list.
        return (" x " if name == "patch_size" else ", ").join(_value("", one) for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
