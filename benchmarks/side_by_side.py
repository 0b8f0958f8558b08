"""What the benchmarks share: options, the machine, sides measured in turn, results."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).parent
RESULTS = BENCHMARKS / "results"
DATA = Path(os.environ.get("MASKLOOP_DATA", Path(__file__).parents[2] / "shared" / "data"))
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
LIBRARIES = ("torch", "numpy", "lightning-fabric", "monai", "nnunetv2")


def options(name: str, description: str | None) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(prog=name, description=description)
    parser.add_argument(
        "--data", type=Path, default=DATA, help="folder of the real annotated images"
    )
    parser.add_argument(
        "--out", type=Path, help=f"JSON file to write (results/{name}.json; with --quick none)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each side is measured")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="tiny sizes, to see that it runs: its figures mean nothing",
    )
    return parser


def machine() -> dict[str, Any]:
    """What the figures were measured on; loads no torch, so that a parent process stays light."""
    names = set(_cpu_facts("model name")) or {platform.processor() or "unknown"}
    return {
        "cpu": ", ".join(sorted(names)),
        "cores": CORES,
        "bf16": any("avx512_bf16" in flags or "amx_bf16" in flags for flags in _cpu_facts("flags")),
        "system": f"{platform.system()} {platform.machine()}",
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        **{library: version for library in LIBRARIES if (version := _version(library))},
    }


def _cpu_facts(key: str) -> list[str]:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.split(":", 1)[1].strip() for line in lines if line.startswith(key)]


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def in_turn(sides: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, list[float]]:
    """Measure each side once per round (A B A B), so that noise meets all of them alike."""
    values: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name, measure in sides.items():
            values[name].append(measure())
            print(
                f"round {number + 1} of {rounds}: {name}: {values[name][-1]:.4g}",
                file=sys.stderr,
                flush=True,
            )
    return values


def seconds(call: Callable[[], object]) -> float:
    """How long a call takes."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def core_s() -> float:
    """Processor seconds of this process and of those it started (Linux).

    A clock for "ten minutes of two cores each" that stands still while another program has the
    cores.
    """
    ticks = 0
    for child in multiprocessing.active_children():
        # Fields 14 and 15 of stat(5): user and system time; the name before them may hold spaces.
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return (time.process_time() + ticks / os.sysconf("SC_CLK_TCK")) / CORES


def sides(values: Mapping[str, Sequence[float]], unit: str) -> dict[str, Any]:
    """Medians of what was measured, and all of it."""
    return {
        name: {"median": statistics.median(found), "unit": unit, "values": list(found)}
        for name, found in values.items()
    }


def claim(
    words: str, value: float, target: float, *, at_most: bool = False, unit: str = "x"
) -> dict[str, Any]:
    """One figure with what it should be."""
    holds = value <= target if at_most else value >= target
    return {
        "words": words,
        "value": value,
        "target": target,
        "at_most": at_most,
        "unit": unit,
        "holds": holds,
    }


def write(
    name: str,
    arguments: argparse.Namespace,
    result: Mapping[str, Any],
    *,
    started_on: Mapping[str, Any],
) -> None:
    """Show a result, and keep it unless it is a quick one that nobody asked to keep."""
    content = {"benchmark": name, "quick": arguments.quick, "machine": dict(started_on), **result}
    text = json.dumps(content, indent=1)
    print(text)
    path = arguments.out or (None if arguments.quick else RESULTS / f"{name}.json")
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
