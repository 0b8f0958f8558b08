"""The command ``maskloop``: its verbs, and what happens when one of them fails."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from maskloop.cli import (
    demo,
    evaluation,
    measurement,
    pairs,
    plugins,
    prediction,
    project,
    runs,
    training,
)
from maskloop.cli.output import say, say_problem
from maskloop.errors import MaskloopError

__all__ = ["app", "main"]

VERBS: tuple[Callable[..., None], ...] = (
    demo.demo,
    project.new,
    pairs.add,
    pairs.remove,
    project.status,
    project.check,
    training.plan,
    training.train,
    runs.runs,
    training.checkpoints,
    training.import_weights,
    prediction.predict,
    evaluation.evaluate,
    measurement.measure,
    measurement.trace,
    runs.execute,
    project.upgrade,
    plugins.plugins,
)
"""All verbs in the order of the help; a new one is a module and a line here."""


class _Verbs(TyperGroup):
    """Ends what a person can cause in words and exit code 1, never in a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        # Warnings of a run reach the person through its events; without this Python would print
        # them a second time.
        logging.getLogger("maskloop").addHandler(logging.NullHandler())
        logging.getLogger("lightning_fabric.utilities.rank_zero").setLevel(logging.WARNING)
        try:
            # At the top and nowhere below: a verb that catches errors itself would choose its own
            # exit code.
            return super().invoke(ctx)
        except MaskloopError as error:
            say_problem(error.problem, error.way_out)
        except OSError as error:
            # The reader of our output is gone (`maskloop runs DIR | head`): nothing can be said.
            if error.errno == errno.EPIPE:
                raise
            say_problem(
                f"{error.filename or 'A file'}: {error.strerror or error}.",
                "Check the path, the permissions and the disk.",
            )
        except KeyboardInterrupt:
            say_problem("Stopped.", "Run the same command again; what was saved is unchanged.")
        # Exit code 2 is left to typer: what was typed wrong, as opposed to what could not be done.
        raise typer.Exit(1)


# Without completion: it writes into a person's shell profile. Without rich tracebacks: they show
# local variables, which may be paths and pixels of a person.
app = typer.Typer(
    name="maskloop",
    cls=_Verbs,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        # Reads all installed packages' metadata: only for those who ask.
        from importlib.metadata import version

        say(f"maskloop {version('maskloop')}")
        raise typer.Exit


@app.callback()
def _begin(
    _version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_tell_version, help="Print the version."),
    ] = False,
) -> None:
    """Annotate, train, predict, correct, repeat: segmentation models of your own for microscopy.

    Start with: maskloop demo
    """


# A list instead of decorators in the modules: the order of the help does not hang on imports.
for _verb in VERBS:
    app.command()(_verb)


def main() -> None:
    """Run the command ``maskloop``."""
    app()
