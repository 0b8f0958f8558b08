"""Options of verbs, made from the fields of records."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType, NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import typer
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from maskloop.cli.readers import (
    read_duration,
    read_label_map,
    read_normalization,
    read_pixel_size,
)
from maskloop.errors import UsageError
from maskloop.records import Record
from maskloop.wording import fault_in_words, label_of

__all__ = ["field_reader", "parser", "read_settings", "takes"]

Verb = TypeVar("Verb", bound=Callable[..., Any])
Reader = Callable[[str], Any]

METAVARS: Mapping[Reader, str] = {
    read_duration: "DURATION",
    read_normalization: "MODE/SCOPE",
    read_label_map: "LABEL=CLASS,...",
    read_pixel_size: "Z,Y,X",
}
"""How a value is typed, where the type of its field does not say it."""


def parser(read: Reader) -> Callable[[str], Any]:
    """A reader for typer: what it refuses is misuse (exit code 2), in the reader's words."""

    def parse(text: str) -> Any:
        try:
            return read(text)
        except UsageError as error:
            # Of a ValueError, which a UsageError is too, typer would print the bare text.
            raise typer.BadParameter(f"{error.problem} {error.way_out}") from None

    return parse


def takes(
    kind: type[Record],
    *fields: str,
    names: Mapping[str, str] = MappingProxyType({}),
    readers: Mapping[str, Reader] = MappingProxyType({}),
) -> Callable[[Verb], Verb]:
    """Give a verb one option per field of a record: its description is the help, its limits hold.

    The verb takes ``**choices``: only what a person typed, by the names of the fields.

    Parameters
    ----------
    kind
        The record.
    fields
        Names of its fields.
    names
        Options that are not named like their field, such as ``{"time_s": "--time"}``.
    readers
        Readers of fields that are not a number, a word or a list of these.
    """

    def decorate(verb: Verb) -> Verb:
        # Annotations are texts (from __future__ import annotations) until they are evaluated.
        own = inspect.signature(verb, eval_str=True)
        # One source for name, help and limits: the window's forms are made of the same fields.
        switches = {field: names.get(field, "--" + field.replace("_", "-")) for field in fields}
        options = [
            _option(kind, field, switch, readers.get(field)) for field, switch in switches.items()
        ]

        @functools.wraps(verb)
        def wrapped(*arguments: Any, **values: Any) -> Any:
            typed = {field: values.pop(field, None) for field in fields}
            # By identity: 0 equals False, and a person who types 0 means it.
            chosen = {
                field: value
                for field, value in typed.items()
                if value is not None and value is not False
            }
            return verb(*arguments, **values, **chosen)

        # Without ``**choices``, which typer would take for an argument of the command.
        kept = [
            option for option in own.parameters.values() if option.kind is not option.VAR_KEYWORD
        ]
        signature = own.replace(parameters=[*kept, *options])
        # typer would follow it to the verb's own signature, which lacks the options.
        del wrapped.__wrapped__
        wrapped.__signature__ = signature  # type: ignore[attr-defined]
        wrapped.__annotations__ = {
            name: option.annotation for name, option in signature.parameters.items()
        }
        return wrapped  # type: ignore[return-value]

    return decorate


def _option(kind: type[Record], name: str, switch: str, reader: Reader | None) -> inspect.Parameter:
    field = kind.model_fields[name]
    # A flag has no value to type, and its absence means that nothing was chosen.
    is_flag = field.annotation is bool
    default: Any = False if is_flag else None
    if is_flag:
        annotation: Any = Annotated[bool, typer.Option(switch, help=field.description or "")]
    else:
        # The parser returns the value of the field, so that typer's own conversion of types has no
        # say.
        read = reader or field_reader(kind, name)
        annotation = Annotated[
            Any,
            typer.Option(
                switch,
                help=_help(field),
                metavar=METAVARS.get(read) or _metavar(name, field.annotation),
                parser=parser(read),
                # None stands for "not typed"; the record's own default is part of the help.
                show_default=False,
            ),
        ]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _help(field: FieldInfo) -> str:
    text = field.description or ""
    if isinstance(field.default, int | float | str) and field.default != "":
        return f"{text} Default: {field.default}."
    return text


def read_settings(kind: type[Record], typed: Sequence[str]) -> dict[str, Any]:
    """Settings typed as ``NAME=VALUE``: fields of any backend's record, within their limits.

    Raises
    ------
    UsageError
        If there is no such field, or its value does not fit.
    """
    found: dict[str, Any] = {}
    for entry in typed:
        # At the first sign: a value may hold another one.
        name, sign, text = entry.partition("=")
        if not sign:
            raise UsageError(f"'{entry}' has no value.", "Write NAME=VALUE, such as depth=3.")
        if name not in kind.model_fields:
            raise UsageError(
                f"There is no setting '{name}'.", f"Choose one of: {', '.join(kind.model_fields)}."
            )
        found[name] = field_reader(kind, name)(text)
    return found


def field_reader(kind: type[Record], name: str) -> Reader:
    """A reader of a number, a word or a list of these within the limits of a record's field."""
    field = kind.model_fields[name]
    # The field's own limits and validators, without the rest of the record.
    checked: Any = Annotated[(field.annotation, Field(), *field.metadata)]
    adapter: TypeAdapter[Any] = TypeAdapter(checked)
    is_list = any(get_origin(part) is tuple for part in _parts(field.annotation))

    def read(text: str) -> Any:
        # Texts throughout: pydantic reads numbers from them, within the limits of the field.
        typed = [part.strip() for part in text.split(",")] if is_list else text
        try:
            return adapter.validate_python(typed)
        except ValidationError as error:
            raise UsageError(
                fault_in_words(error, label_of(kind, name)), field.description or ""
            ) from None

    return read


def _parts(annotation: Any) -> Iterable[Any]:
    """The types of a union without None."""
    # Other types with arguments than these are unions with None.
    is_union = get_origin(annotation) not in (None, tuple, Literal, dict)
    inner = get_args(annotation) if is_union else (annotation,)
    return [part for part in inner if part is not NoneType]


def _metavar(name: str, annotation: Any) -> str:
    for part in _parts(annotation):
        if get_origin(part) is Literal:
            return "|".join(map(str, get_args(part)))
        if get_origin(part) is tuple:
            return "A,B,..." if str in get_args(part) else "N,N,..."
        if part in (int, float):
            return {int: "N", float: "X"}[part]
    return name.upper()
