"""The record of a pair: its pixels, files, versions and side of the split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maskloop.project.entries import Pair, PairVersion
from maskloop.project.fields import now
from maskloop.project.groups import Side
from maskloop.project.intake import Candidate
from maskloop.project.store import changed

__all__ = ["ever_used", "facts_of", "sided", "version_of"]


def facts_of(candidate: Candidate) -> dict[str, Any]:
    """What the record says of the pixels."""
    preparation = candidate.prepared.preparation
    return {
        "axes": candidate.image.axes,
        "shape": candidate.image.shape,
        "mask_axes": candidate.labels.axes,
        "mask_shape": candidate.labels.shape,
        "pixels_sha256": candidate.pixels_sha256,
        "perceptual_hash": candidate.perceptual_hash,
        "fingerprint": candidate.fingerprint,
        "mask_preparation": {
            "target_class_name": preparation.target_class_name,
            **preparation.model_dump(mode="json", exclude_defaults=True),
        },
    }


def version_of(pair: Pair) -> PairVersion:
    """The pair as it is, for its history."""
    # Not the group and the side: they belong to the pair, whichever mask it has.
    kept = (
        "image_path",
        "mask_path",
        "image_sha256",
        "mask_sha256",
        "pixels_sha256",
        "mask_preparation",
        "fingerprint",
        "used_in_checkpoints",
        "source",
        "metadata",
    )
    return PairVersion(replaced_at=now(), **{name: getattr(pair, name) for name in kept})


def ever_used(pair: Pair) -> list[str]:
    """Checkpoints that were trained on it or on a version before."""
    return [
        *pair.used_in_checkpoints,
        *(used for version in pair.history for used in version.used_in_checkpoints),
    ]


def sided(pair: Pair, groups: Mapping[str, Side]) -> Pair:
    """The pair on the side of its group."""
    # The same object where nothing changes, so that nothing is written.
    side = groups.get(pair.group)
    return pair if side is None or pair.split == side else changed(pair, split=side)
