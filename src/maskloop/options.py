"""What people type, made into values: options from the fields of records, durations, lists and label maps."""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType, NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import typer
from pydantic import Field, TypeAdapter, ValidationError

from maskloop.errors import UsageError
from maskloop.images.masks import MaskRule
from maskloop.images.normalize import Normalization
from maskloop.records import Record
from maskloop.wording import fault_in_words, title_of

__all__ = [
    "field_reader",
    "mask_rule",
    "parser",
    "read_duration",
    "read_label_map",
    "read_names",
    "read_normalization",
    "read_pixel_size",
    "read_selection",
    "takes",
]

Verb = TypeVar("Verb", bound=Callable[..., Any])
Reader = Callable[[str], Any]

_DURATION = re.compile(
    r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s)?", re.IGNORECASE
)


def read_duration(text: str) -> float:
    """Seconds of a duration such as 90s, 10m or 1h30m.

    Raises
    ------
    UsageError
        If it has no unit, is not a duration, or is not longer than nothing.
    """
    clean = text.replace(" ", "")
    found = _DURATION.fullmatch(clean)
    if not clean or found is None:
        what = (
            f"'{text}' has no unit."
            if re.fullmatch(r"\d+(\.\d+)?", clean)
            else f"'{text}' is not a duration."
        )
        raise UsageError(what, "Write seconds, minutes or hours, such as 90s, 10m or 1h30m.")
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    total = hours * 3600 + minutes * 60 + seconds
    if total <= 0:
        raise UsageError(
            f"'{text}' is no time at all.",
            "Write a duration above zero, such as 90s, 10m or 1h30m.",
        )
    return total


def read_pixel_size(text: str) -> dict[str, float]:
    """Micrometres along Z, Y and X out of 1.5,0.4,0.4, or along Y and X out of two numbers.

    Raises
    ------
    UsageError
        If these are not two or three numbers above zero.
    """
    try:
        sizes = [float(part) for part in text.split(",")]
    except ValueError:
        sizes = []
    if len(sizes) not in (2, 3) or not all(0 < size < math.inf for size in sizes):
        raise UsageError(
            f"'{text}' is no pixel size.",
            "Give micrometres along Z, Y and X, such as 1.5,0.4,0.4 (planes: 0.4,0.4).",
        )
    return dict(zip("ZYX"[-len(sizes) :], sizes, strict=True))


def read_names(text: str) -> tuple[str, ...]:
    """Names of a list with commas.

    Raises
    ------
    UsageError
        If one of them is empty.
    """
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise UsageError(
            f"'{text}' holds an empty name.",
            "Write the names with one comma between two of them, such as axon,myelin.",
        )
    return names


def read_label_map(text: str) -> dict[int, int]:
    """Drawn label to class id, from a list such as ``3=1,7=2``.

    Raises
    ------
    UsageError
        If it is written in another way, or one label is sent to two classes.
    """
    found: dict[int, int] = {}
    for entry in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*=\s*(\d+)\s*", entry)
        if match is None:
            raise UsageError(
                f"'{entry}' does not say which label becomes which class.",
                "Write label=class with commas between, such as 3=1,7=2.",
            )
        label, target = int(match[1]), int(match[2])
        if found.setdefault(label, target) != target:
            raise UsageError(
                f"Label {label} is sent to class {found[label]} and to class {target}.",
                "Name each label once.",
            )
    return found


def read_selection(text: str) -> str | tuple[str, ...]:
    """``all``, ``new``, or the ids of pairs."""
    return text if text in ("all", "new") else read_names(text)


def read_normalization(text: str) -> Normalization:
    """A normalisation from its mode, and its scope after a slash, such as ``z_score/dataset``.

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
            "Write the mode, or mode/scope: percentile, for example, or z_score/dataset.",
        ) from None


METAVARS: Mapping[Reader, str] = {
    read_duration: "DURATION",
    read_normalization: "MODE/SCOPE",
    read_label_map: "LABEL=CLASS,...",
}
"""How a value is written, where the type of its field does not tell."""


def parser(read: Reader) -> Callable[[str], Any]:
    """A reader for typer: what it refuses is misuse, told in its own words."""

    def parse(text: str) -> Any:
        try:
            return read(text)
        except UsageError as error:
            # typer would put the bare text in the place of a ValueError's words.
            raise typer.BadParameter(f"{error.problem} {error.way_out}") from None

    return parse


def takes(
    kind: type[Record],
    *fields: str,
    names: Mapping[str, str] = MappingProxyType({}),
    readers: Mapping[str, Reader] = MappingProxyType({}),
) -> Callable[[Verb], Verb]:
    """Give a verb one option per field of a record, with the field's description as its help and the field's limits.

    The verb takes ``**choices``: only what a person typed, by the names of the fields.

    Parameters
    ----------
    kind
        The record.
    fields
        Names of its fields.
    names
        Options that are not called like their field, such as ``{"time_s": "--time"}``.
    readers
        What reads a field that is not a number, a word or a list of these.
    """

    def decorate(verb: Verb) -> Verb:
        own = inspect.signature(verb, eval_str=True)
        options = [
            _option(
                kind, field, names.get(field, "--" + field.replace("_", "-")), readers.get(field)
            )
            for field in fields
        ]

        @functools.wraps(verb)
        def wrapped(*arguments: Any, **values: Any) -> Any:
            typed = {field: values.pop(field, None) for field in fields}
            return verb(
                *arguments,
                **values,
                **{field: value for field, value in typed.items() if value not in (None, False)},
            )

        kept = [
            option for option in own.parameters.values() if option.kind is not option.VAR_KEYWORD
        ]
        signature = own.replace(parameters=[*kept, *options])
        del wrapped.__wrapped__  # typer would look at the verb's own annotations
        wrapped.__signature__ = signature  # type: ignore[attr-defined]
        wrapped.__annotations__ = {
            name: option.annotation for name, option in signature.parameters.items()
        }
        return wrapped  # type: ignore[return-value]

    return decorate


def _option(kind: type[Record], name: str, switch: str, reader: Reader | None) -> inspect.Parameter:
    field = kind.model_fields[name]
    is_flag = field.annotation is bool
    default = (
        field.default if isinstance(field.default, int | float | str) and not is_flag else None
    )
    text = (field.description or "") + (
        f" Default: {default}." if default not in (None, "") else ""
    )
    if is_flag:
        annotation: Any = Annotated[bool, typer.Option(switch, help=text)]
    else:
        read = reader or field_reader(kind, name)
        annotation = Annotated[
            Any,
            typer.Option(
                switch,
                help=text,
                metavar=METAVARS.get(read) or _metavar(name, field.annotation),
                parser=parser(read),
                show_default=False,
            ),
        ]
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=False if is_flag else None,
        annotation=annotation,
    )


def field_reader(kind: type[Record], name: str) -> Reader:
    """What reads a number, a word or a list of these within the limits of a record's field."""
    field = kind.model_fields[name]
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[(field.annotation, Field(), *field.metadata)])  # type: ignore[arg-type]
    is_list = any(get_origin(part) is tuple for part in _parts(field.annotation))

    def read(text: str) -> Any:
        try:
            return adapter.validate_python(
                [part.strip() for part in text.split(",")] if is_list else text
            )
        except ValidationError as error:
            raise UsageError(
                fault_in_words(error, title_of(name)), field.description or ""
            ) from None

    return read


def _parts(annotation: Any) -> Iterable[Any]:
    """The types of a union without None."""
    inner = (
        get_args(annotation)
        if get_origin(annotation) not in (None, tuple, Literal, dict)
        else (annotation,)
    )
    return [part for part in inner if part is not NoneType]


def _metavar(name: str, annotation: Any) -> str:
    for part in _parts(annotation):
        if get_origin(part) is Literal:
            return "|".join(map(str, get_args(part)))
        if get_origin(part) is tuple:
            return "N,N,..."
        if part in (int, float):
            return {int: "N", float: "X"}[part]
    return name.upper()


def mask_rule(choices: Mapping[str, Any]) -> MaskRule | None:
    """The rule that the options ask for, or None where they leave it to the project; a label map alone asks for mapping."""
    wanted = (
        {"mask_mode": "manual_label_map", **choices} if "label_map" in choices else dict(choices)
    )
    return MaskRule.model_validate(wanted) if set(wanted) - {"allow_empty"} else None
