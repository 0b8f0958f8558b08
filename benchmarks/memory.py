"""Peak memory of `maskloop predict` on 8192 x 8192 pixels, for classes and for instances.

Measured is the largest resident set of the whole fresh process, as the system counts it: with pages
of scratch files that are in memory.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import side_by_side

GIB = 2**30
MODES = ("binary", "instances")


def make_project(folder: Path, mode: str, *, epochs: int) -> None:
    """A project with a briefly trained checkpoint, made in a process of its own.

    What a parent has in memory would count for its children.
    """
    script = side_by_side.BENCHMARKS / "nuclei.py"
    subprocess.run(
        [sys.executable, script, folder, "--mode", mode, "--epochs", str(epochs)],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def make_image(path: Path, side: int) -> None:
    """Simulated nuclei, repeated over a large field, in a process of its own."""
    code = (
        "import sys, numpy, tifffile; from maskloop.samples import simulate_nuclei; side = "
        "int(sys.argv[2]); part = min(1024, side); "
        "image, _ = simulate_nuclei(shape=(part, part)); image = (image * (255 / "
        "image.max())).astype('uint8'); "
        "tifffile.imwrite(sys.argv[1], numpy.tile(image, (-(-side // part),) * 2)[:side, :side])"
    )
    subprocess.run([sys.executable, "-c", code, path, str(side)], check=True)


def predict_command(project: Path, image: Path, out: Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "maskloop",
        "predict",
        str(project),
        str(image),
        "--out",
        str(out),
    ]


def peak_of(command: list[str]) -> tuple[int, float]:
    """Largest resident set in bytes and duration in seconds of a child process."""
    begin = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024), time.perf_counter() - begin


def main() -> None:
    parser = side_by_side.options("memory", __doc__)
    parser.add_argument(
        "--side", type=int, default=8192, help="pixels along each side of the image"
    )
    arguments = parser.parse_args()
    on = side_by_side.machine()
    side = 1024 if arguments.quick else arguments.side
    peaks, durations = {}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_image(folder / "field.tif", side)
        for mode in MODES:
            make_project(folder / mode, mode, epochs=2 if arguments.quick else 20)
            peaks[mode], durations[mode] = peak_of(
                predict_command(folder / mode, folder / "field.tif", folder / f"{mode}_labels")
            )
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found: dict[str, Any] = side_by_side.sides(
        {mode: [peak / GIB] for mode, peak in peaks.items()}, "GiB"
    )
    claims = [
        side_by_side.claim(
            f"{side} x {side}, {mode}", peak / 1e9, 1.0, at_most=True, unit="GB (10^9 bytes)"
        )
        for mode, peak in peaks.items()
    ]
    settings = {"side": side, "seconds": durations, "parent_gib": own / GIB}
    side_by_side.write(
        "memory", arguments, {"settings": settings, "sides": found, "claims": claims}, started_on=on
    )


if __name__ == "__main__":
    main()
