"""Values as people say them: spans of time, sizes, counts, and why a record refuses a value."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

__all__ = [
    "bytes_in_words",
    "counted",
    "fault_in_words",
    "label_of",
    "local_time",
    "time_in_words",
    "title_of",
    "without_commands",
]

UNIT_SUFFIXES = ("_s", "_px", "_um")
"""How a field's name ends where its type cannot say the unit."""
ASIDE = re.compile(r"\s*\([`'\"]?(?:maskloop [a-z-]+\b|(?:[^()]*\s)?--[a-z])[^()]*\)")
"""An aside for the command line, such as ``(--from scratch)`` or ``(maskloop runs DIR)``."""
LONGEST_VALUE = 40
"""Characters of a refused value that a sentence can still hold."""

_TYPES = {
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a list of names with their values",
    "model_type": "must be a list of names with their values",
    "missing": "is missing",
    "extra_forbidden": "is not a known setting",
}
"""Pydantic's kinds of faults that need no number to be told."""
_WITHOUT_VALUE = {"missing", "extra_forbidden", "json_invalid", "too_short", "too_long"}


def time_in_words(seconds: float) -> str:
    """A span of time in its two largest units, such as ``45 s``, ``1 min 20 s`` or ``2 h 5 min``.

    From ten minutes on seconds are left out, from a day on minutes: nobody plans by them.
    """
    step = 1
    if seconds >= 600:
        step = 60
    if seconds >= 86400:
        step = 3600
    # Rounded before it is split: 3599.6 s is an hour, not 59 min 60 s.
    whole = max(0, round(seconds / step) * step)
    if whole >= 86400:
        return _two(whole // 86400, "day" if whole < 2 * 86400 else "days", whole // 3600 % 24, "h")
    if whole >= 3600:
        return _two(whole // 3600, "h", whole // 60 % 60, "min")
    if whole >= 60:
        return _two(whole // 60, "min", whole % 60, "s")
    return f"{whole} s"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large} {large_unit} {small} {small_unit}" if small else f"{large} {large_unit}"


def local_time(stamp: str) -> str:
    """A record's time (ISO 8601) to the minute on this computer's clock: ``2026-11-25 09:04``.

    What is no such time (a record of another program, a run that never began) stays as it is.
    """
    try:
        when = datetime.fromisoformat(stamp)
    except ValueError:
        return stamp
    # Older records left the zone out; it was UTC there too.
    utc = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    return utc.astimezone().strftime("%Y-%m-%d %H:%M")


def bytes_in_words(count: float) -> str:
    """A size in decimal units, as file managers give it, such as ``340 kB`` or ``1.6 GB``."""
    # Half a unit below 1000: what rounds to 1000 kB is 1.0 MB.
    if count < 999.5:
        return counted(round(count), "byte")
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 999.5:
            return f"{count:.1f} {unit}" if count < 9.95 else f"{count:.0f} {unit}"
    return f"{count / 1000:,.1f} TB"


def without_commands(text: str) -> str:
    """A message as the window shows it: without options of the command line in parentheses."""
    return ASIDE.sub("", text)


def counted(count: int, noun: str, plural: str = "") -> str:
    """A count with its noun, such as ``1 pair`` or ``2 pairs``; `plural` where no s is added."""
    # No rule for "es": epoch and patch end alike.
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def title_of(name: str) -> str:
    """A field's name as people read it, without its unit: ``save_every_s`` is ``Save every``."""
    for ending in UNIT_SUFFIXES:
        name = name.removesuffix(ending)
    words = name.replace("_", " ").replace(".", " ")
    return words[:1].upper() + words[1:]


def label_of(kind: type[BaseModel], name: str) -> str:
    """The title of a record's field; its name as people read it where it has none."""
    field = kind.model_fields.get(name)
    return (field.title if field is not None else None) or title_of(name)


def fault_in_words(
    error: ValidationError, subject: str = "", *, kind: type[BaseModel] | None = None
) -> str:
    """Why a record refuses a value, as a sentence: ``Depth must be at most 7, not 9``.

    Parameters
    ----------
    error
        What pydantic raised; its first fault is told.
    subject
        What the value as a whole is called, where a single value was checked and not a record.
    kind
        The record, whose fields are then called by their titles.
    """
    # The first fault only: the others are often its consequences.
    fault = error.errors(include_url=False)[0]
    if fault["type"] == "value_error":
        # The words of our own validators: a sentence already, without its capital and full stop.
        return _sentence(fault["msg"].removeprefix("Value error, "))
    name = _place(fault["loc"], subject, kind)
    return _sentence(f"{name} {_rule(fault)}{_not_this(fault)}")


def _place(
    location: tuple[int | str, ...], subject: str, kind: type[BaseModel] | None = None
) -> str:
    """A value's name from the path to it: ``("pairs", 1, "name")`` is Name of entry 2 of pairs."""
    # A path that begins with a field's name needs no other subject.
    name = "" if location and isinstance(location[0], str) else subject
    for depth, part in enumerate(location):
        if isinstance(part, int):
            name = f"entry {part + 1} of {_lowered(name)}" if name else f"entry {part + 1}"
            continue
        # Only the outermost name is a field of this record.
        title = label_of(kind, part) if kind is not None and depth == 0 else title_of(part)
        if " of " in name or name.startswith("entry "):
            name = f"{title} of {_lowered(name)}"
        elif part != "[key]":  # pydantic's word for the name of an entry, which is told anyway
            name = f"{name} {title.lower()}" if name else title
    return name or "the value"


def _lowered(name: str) -> str:
    return name[:1].lower() + name[1:]


def _rule(fault: ErrorDetails) -> str:
    # Pydantic's own words name types ("a valid integer, unable to parse string"), ours the limit.
    context: dict[str, Any] = fault.get("ctx", {})
    match fault["type"]:
        case "greater_than":
            return f"must be greater than {_shown(context['gt'])}"
        case "greater_than_equal" if context["ge"] == 0:
            return "must be zero or greater"
        case "greater_than_equal":
            return f"must be at least {context['ge']:g}"
        case "less_than":
            return f"must be less than {_shown(context['lt'])}"
        case "less_than_equal":
            return f"must be at most {context['le']:g}"
        case "literal_error":
            return f"must be {context['expected']}"
        case "json_invalid":
            return f"is not valid JSON: {context['error']}"
        case "too_short":
            return f"must have at least {counted(context['min_length'], 'entry', 'entries')}"
        case "too_long":
            return f"must have at most {counted(context['max_length'], 'entry', 'entries')}"
        case known if known in _TYPES:
            return _TYPES[known]
    return fault["msg"].replace("Input should be", "must be")


def _shown(limit: float) -> str:
    return "zero" if limit == 0 else f"{limit:g}"


def _not_this(fault: ErrorDetails) -> str:
    """What was given instead, where that helps and fits into a sentence."""
    value = fault["input"]
    if fault["type"] in _WITHOUT_VALUE or value is None:
        return ""
    text = repr(value)
    if isinstance(value, str) and _is_number(value):
        text = value.strip()  # typed: 0 is as good as '0'
    return f", not {text}" if len(text) <= LONGEST_VALUE else ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _sentence(words: str) -> str:
    # Only the first letter: `str.capitalize` would make "IoU" "iou".
    return words[:1].upper() + words[1:].rstrip(".") + "."
