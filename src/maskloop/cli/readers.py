"""Reads what people type: durations, pixel sizes, lists, label maps."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from maskloop.errors import UsageError
from maskloop.images.masks import MaskRule
from maskloop.images.normalize import Normalization
from maskloop.wording import fault_in_words

__all__ = [
    "mask_rule",
    "read_duration",
    "read_label_map",
    "read_names",
    "read_normalization",
    "read_pixel_size",
    "read_selection",
    "read_settings",
]

# Every part may be absent; that one must be there is checked below.
_DURATION = re.compile(
    r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s)?", re.IGNORECASE
)
DURATIONS = "Use seconds, minutes or hours, such as 90s, 10m or 1h30m."


def read_duration(text: str) -> float:
    """Seconds of a duration such as 90s, 10m or 1h30m.

    Raises
    ------
    UsageError
        If it has no unit, is not a duration, or is zero.
    """
    clean = text.replace(" ", "")
    # 10 could be seconds or minutes: no guess.
    if re.fullmatch(r"\d+(\.\d+)?", clean):
        raise UsageError(f"'{text}' has no unit.", DURATIONS)
    found = _DURATION.fullmatch(clean)
    if not clean or found is None:
        raise UsageError(f"'{text}' is not a duration.", DURATIONS)
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    total = hours * 3600 + minutes * 60 + seconds
    if total <= 0:
        raise UsageError(f"A duration must be greater than zero, not '{text}'.", DURATIONS)
    return total


def read_pixel_size(text: str) -> dict[str, float]:
    """Micrometers along Z, Y and X from ``1.5,0.4,0.4``, or along Y and X from two numbers.

    Raises
    ------
    UsageError
        If these are not two or three finite numbers greater than zero.
    """
    try:
        sizes = [float(part) for part in text.split(",")]
    except ValueError:
        # Falls through to the one message, which shows what is right.
        sizes = []
    if len(sizes) not in (2, 3) or not all(0 < size < math.inf for size in sizes):
        raise UsageError(
            f"'{text}' is not a pixel size.",
            "Give micrometers along Z, Y and X, such as 1.5,0.4,0.4, or along Y and X for 2D "
            "images, such as 0.4,0.4.",
        )
    # Two numbers are Y and X: the last letters.
    return dict(zip("ZYX"[-len(sizes) :], sizes, strict=True))


def read_names(text: str) -> tuple[str, ...]:
    """The names in a comma-separated list.

    Raises
    ------
    UsageError
        If one of them is empty.
    """
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise UsageError(
            f"'{text}' contains an empty name.",
            "Separate the names by single commas, such as axon,myelin.",
        )
    return names


def read_label_map(text: str) -> dict[int, int]:
    """Drawn label to class id, from a list such as ``3=1,7=2``.

    Raises
    ------
    UsageError
        If it is not such a list, or maps a label to two classes.
    """
    # setdefault: the same entry twice is harmless, two classes for one label are not.
    found: dict[int, int] = {}
    for entry in text.split(","):
        # Whole numbers without sign: masks hold nothing else.
        match = re.fullmatch(r"\s*(\d+)\s*=\s*(\d+)\s*", entry)
        if match is None:
            raise UsageError(
                f"'{entry}' does not say which label becomes which class.",
                "Write label=class, separated by commas, such as 3=1,7=2.",
            )
        label, target = int(match[1]), int(match[2])
        if found.setdefault(label, target) != target:
            raise UsageError(
                f"Label {label} is mapped to class {found[label]} and to class {target}.",
                "Map each label to one class.",
            )
    return found


def read_selection(text: str) -> str | tuple[str, ...]:
    """``all``, ``new``, or the ids of pairs."""
    return text if text in ("all", "new") else read_names(text)


def read_normalization(text: str) -> Normalization:
    """A normalization from its mode, or mode and scope, such as ``z_score/dataset``.

    Raises
    ------
    UsageError
        If there is no such mode or scope.
    """
    mode, _, scope = text.partition("/")
    try:
        return Normalization.model_validate({"mode": mode} | ({"scope": scope} if scope else {}))
    except ValidationError as error:
        raise UsageError(
            f"'{text}' is not a normalization. {fault_in_words(error)}",
            "Give a mode or a mode and its scope, such as percentile or z_score/dataset.",
        ) from None


def mask_rule(choices: Mapping[str, Any], usual: MaskRule | None = None) -> MaskRule | None:
    """The rule that the options ask for; None where they leave it to the project.

    Parameters
    ----------
    choices
        Fields of the rule that were typed.
    usual
        The project's own rule: what was not typed stays as it is there.
    """
    wanted = dict(choices)
    # Allowing empty masks says nothing about what labels mean: that stays with the project.
    if not set(wanted) - {"allow_empty"}:
        return None
    usual = usual or MaskRule()
    is_instances = usual.mask_mode == "keep_instances"
    if "threshold" in wanted and is_instances:
        wanted.setdefault("mask_mode", "connected_components")
    # Of objects, a map only says which label is the background.
    if "label_map" in wanted and not is_instances:
        wanted.setdefault("mask_mode", "manual_label_map")
    return MaskRule.model_validate(usual.model_dump() | wanted)


def read_settings(texts: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Settings by measurement from texts such as ``background.radius_px=20``.

    Lists are written with commas, as in ``intensity.percentiles=10,90`` (of one value: ``50,``).

    Raises
    ------
    UsageError
        If a text is not of this form.
    """
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        match = re.fullmatch(r"(\w+)\.(\w+)=(.+)", text.strip())
        if match is None:
            raise UsageError(
                f"'{text}' is not a setting of a measurement.",
                "Write MEASUREMENT.SETTING=VALUE, such as background.radius_px=20.",
            )
        name, setting, value = match.groups()
        # A comma at the end makes a list of one.
        parts = [part.strip() for part in value.split(",") if part.strip()]
        found.setdefault(name, {})[setting] = parts if "," in value else value
    return found
