"""Write the figures of results/*.json into README.md, between its markers.

``python benchmarks/report.py`` fills them in; ``--check`` only says whether README.md is up to
date.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from datasets import DATASETS
from side_by_side import BENCHMARKS, RESULTS

MARKERS = re.compile(r"(<!-- figures: (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
NOT_YET = "_Not measured yet._\n"
Result = dict[str, Any]


def read_results(folder: Path) -> dict[str, Result]:
    """Results by name; those of quick runs are left out."""
    found = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.json"))
    }
    return {name: result for name, result in found.items() if not result.get("quick")}


def fill(text: str, results: dict[str, Result]) -> str:
    """The text with all between markers written anew."""
    return MARKERS.sub(lambda match: match[1] + section(match["name"], results) + match[3], text)


def section(name: str, results: dict[str, Result]) -> str:
    """What stands between the markers of this name."""
    if name in SECTIONS:
        return SECTIONS[name](results)
    return NOT_YET if name not in results else timing(results[name])


def timing(result: Result) -> str:
    """Medians of the sides, then what was to be shown."""
    rows = [
        (
            side,
            f"{figures['median']:.3g} {figures['unit']}",
            ", ".join(f"{value:.3g}" for value in figures["values"]),
        )
        for side, figures in result.get("sides", {}).items()
    ]
    parts = [table(("side", "median", "each"), rows)] if rows else []
    return "\n".join([*parts, claims(result), machine_line(result), settings_line(result)])


def claims(result: Result) -> str:
    rows = [
        (
            found["words"],
            f"{found['value']:.3g} {found['unit']}",
            f"{'at most' if found['at_most'] else 'at least'} {found['target']:g}",
            "yes" if found["holds"] else "**no**",
        )
        for found in result.get("claims", [])
    ]
    return table(("figure", "measured", "target", "met"), rows) if rows else ""


def settings_line(result: Result) -> str:
    settings = result.get("settings", {})
    return f"Settings: `{json.dumps(settings)}`\n" if settings else ""


def machine_line(result: Result) -> str:
    on = result["machine"]
    libraries = ", ".join(
        f"{name} {on[name]}" for name in ("torch", "numpy", "monai", "nnunetv2") if name in on
    )
    bf16 = "with" if on["bf16"] else "without"
    machine = f"{on['cpu']}, {on['cores']} cores {bf16} bf16, {on['system']}"
    return f"On {machine}, {libraries}; load before: {on['load_before']}.\n"


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def accuracy(results: dict[str, Result]) -> str:
    """Scores on the held-out images, beside nnU-Net and the published figures."""
    rows = []
    for name, kind in DATASETS.items():
        ours, theirs = results.get(f"accuracy_{name}"), results.get(f"nnunet_accuracy_{name}")
        if ours is not None:
            both = [ours] if theirs is None else [ours, theirs]
            beside = ("not measured", "") if theirs is None else (scores(theirs), steps(theirs))
            rows.append((name, scores(ours), *beside, minutes(*both), kind.published))
    if not rows:
        return NOT_YET
    first = next(result for name, result in results.items() if name.startswith("accuracy_"))
    return (
        table(("data set", "maskloop", "nnU-Net v2", "its steps", "minutes", "published"), rows)
        + "\n"
        + machine_line(first)
    )


def scores(result: Result) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in result["scores"].items())


def steps(result: Result) -> str:
    """How far nnU-Net came in its time, with the batches that it planned for a GPU."""
    planned = result["settings"]["nnunet"]
    return (
        f"{planned['iterations']} of {planned['batch']} x {' x '.join(map(str, planned['patch']))}"
    )


def minutes(*sides: Result) -> str:
    return " / ".join(f"{side['training_s'] / 60:.1f}" for side in sides)


def splits(_results: dict[str, Result]) -> str:
    """The fixed split of each data set, in words."""
    return table(
        ("data set", "task", "held out"),
        [(name, kind.mode, kind.rule) for name, kind in DATASETS.items()],
    )


def nnunet_speed(results: dict[str, Result]) -> str:
    return _all_of("nnunet_speed_", results, timing)


def nnunet_race(results: dict[str, Result]) -> str:
    return _all_of("nnunet_race_", results, _race)


def _all_of(start: str, results: dict[str, Result], show: Callable[[Result], str]) -> str:
    found = [
        f"`{name}`\n\n{show(result)}" for name, result in results.items() if name.startswith(start)
    ]
    return "\n".join(found) or NOT_YET


def _race(result: Result) -> str:
    rows = [
        (side, f"{seconds:.0f} s", f"{dice:.4f}")
        for side, key in (("nnU-Net", "nnunet"), ("maskloop", "maskloop"))
        for seconds, dice in result[key]["curve"]
    ]
    reached = result["maskloop"]["reached_s"]
    best, best_s = result["nnunet"]["best"], result["nnunet"]["best_s"]
    by = (
        f"after {reached:.0f} s"
        if reached is not None
        else f"not within {result['maskloop']['given_s']:.0f} s"
    )
    words = (
        f"nnU-Net's best foreground Dice is {best:.4f}, after {best_s:.0f} s; "
        f"maskloop reaches it {by}.\n"
    )
    return "\n".join(
        [
            words,
            claims(result),
            table(("side", "trained", "Dice"), rows),
            machine_line(result),
            settings_line(result),
        ]
    )


def window(results: dict[str, Result]) -> str:
    """The longest stall of each phase, with the dock and without it."""
    if "window" not in results:
        return NOT_YET
    result = results["window"]
    alone, dock = result["phases"]["napari"], result["phases"]["maskloop"]
    rows = [
        (
            phase,
            f"{found['longest_ms']:.0f}",
            f"{found['worked_ms']:.0f}",
            f"{alone[phase]['longest_ms']:.0f}" if phase in alone else "",
        )
        for phase, found in dock.items()
    ]
    head = (
        "phase",
        "longest stall with the dock (ms)",
        "of it at most worked (ms)",
        "napari alone (ms)",
    )
    return "\n".join(
        [table(head, rows), claims(result), machine_line(result), settings_line(result)]
    )


SECTIONS: dict[str, Callable[[dict[str, Result]], str]] = {
    "accuracy": accuracy,
    "splits": splits,
    "nnunet_speed": nnunet_speed,
    "nnunet_race": nnunet_race,
    "window": window,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check",
        action="store_true",
        help="change nothing; end with 1 if README.md is out of date",
    )
    is_check = parser.parse_args().check
    readme = BENCHMARKS / "README.md"
    text = readme.read_text(encoding="utf-8")
    filled = fill(text, read_results(RESULTS))
    if is_check:
        sys.exit(int(filled != text))
    readme.write_text(filled, encoding="utf-8")


if __name__ == "__main__":
    main()
