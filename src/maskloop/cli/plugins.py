"""The verb ``plugins``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from maskloop import plugins as registry
from maskloop.cli.arguments import Json
from maskloop.cli.output import answer, finish, say, say_problem, show_table, shown_path
from maskloop.errors import UsageError

__all__ = ["plugins"]


def plugins(
    action: Annotated[
        Literal["list", "check", "new"],
        typer.Argument(
            metavar="list|check|new",
            help="List plug-ins, check a measurement, or create one from a template.",
        ),
    ] = "list",
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE|NAME",
            help="check: a Python file, or the name of a measurement. new: its name.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="new: folder for the measurement and its test.")
    ] = Path(),
    json: Json = False,
) -> None:
    """List plug-ins; check your own measurement, or create one from a template."""
    if action == "list":
        answer({kind: registry.names(kind) for kind in registry.KINDS}, json, _show_kinds)
        return
    if what is None:
        # Here and not by typer, to which an argument is either required for all actions or for
        # none.
        example = {"check": "my_measurement.py", "new": "my_measurement"}[action]
        raise UsageError(
            f"No name was given to {action}.", f"For example: maskloop plugins {action} {example}"
        )
    if action == "check":
        _check(what, json=json)
    else:
        _begin(out, what, json=json)


def _check(what: str, *, json: bool) -> None:
    from maskloop.measure.check import find_problems
    from maskloop.measure.plugin_files import load_measurement

    # By the ending as well: of a file that is missing the message must not be about plug-ins.
    is_file = what.endswith(".py") or Path(what).is_file()
    found = load_measurement(Path(what)) if is_file else registry.get("measurements", what)
    problems = find_problems(found)
    answer({"name": found.name, "problems": problems}, json, _show_problems)
    finish(ok=not problems)


def _begin(out: Path, name: str, *, json: bool) -> None:
    # Not at the top: only those who write plug-ins need it.
    from maskloop.measure.plugin_files import write_template

    paths = write_template(out, name)
    answer({"written": paths}, json, _show_template)


def _show_kinds(found: dict[str, tuple[str, ...]]) -> None:
    show_table(
        "Plug-ins", ("kind", "names"), [(kind, list(names)) for kind, names in found.items()]
    )


def _show_problems(found: dict[str, Any]) -> None:
    for problem in found["problems"]:
        say_problem(f"{found['name']}: {problem}", "Correct the file and check it again.")
    if not found["problems"]:
        say(f"{found['name']} passes all checks.")


def _show_template(found: dict[str, tuple[Path, Path]]) -> None:
    source, test = map(shown_path, found["written"])
    say(f"Created {source} and {test}.")
    say(f"Check it: maskloop plugins check {source}")
