"""Waiting time: `maskloop predict` of one 1024 x 1024 image from scratch, `import maskloop`.

The prediction is the whole command, from the start of Python to its end, with a standard U-Net
(base 32). The import is timed in turn with a Python that does nothing, whose time is taken off.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import side_by_side
from memory import make_image, make_project, predict_command

IMPORT_ROUNDS = 11


def run(command: Sequence[str | Path]) -> float:
    return side_by_side.seconds(
        lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    )


def main() -> None:
    arguments = side_by_side.options("cold", __doc__).parse_args()
    on = side_by_side.machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_image(folder / "field.tif", 256 if arguments.quick else 1024)
        make_project(folder / "project", "binary", epochs=2 if arguments.quick else 10)
        # The first run reads Python's libraries from the disk, later ones from memory; both are
        # told.
        command = predict_command(folder / "project", folder / "field.tif", folder / "labels")
        predictions = [
            run([*command[:-1], f"{command[-1]}_{number}"]) for number in range(arguments.rounds)
        ]
    starts = side_by_side.in_turn(
        {
            "python -c pass": lambda: run([sys.executable, "-c", "pass"]),
            "python -c 'import maskloop'": lambda: run([sys.executable, "-c", "import maskloop"]),
        },
        rounds=3 if arguments.quick else IMPORT_ROUNDS,
    )
    pairs = zip(starts["python -c 'import maskloop'"], starts["python -c pass"], strict=True)
    imports = [both - start for both, start in pairs]
    found = side_by_side.sides(
        {"maskloop predict": predictions, "import maskloop": imports, **starts}, "s"
    )
    claims = [
        side_by_side.claim(
            "maskloop predict of one 1024 x 1024, slowest run",
            max(predictions),
            6.0,
            at_most=True,
            unit="s",
        ),
        side_by_side.claim(
            "import maskloop, median", statistics.median(imports), 0.3, at_most=True, unit="s"
        ),
    ]
    side_by_side.write(
        "cold", arguments, {"settings": {}, "sides": found, "claims": claims}, started_on=on
    )


if __name__ == "__main__":
    main()
