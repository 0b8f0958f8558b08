"""What the benchmarks rest on: honest splits, and a report that says what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _benchmarks_are_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_every_split_parts_a_data_set_by_whole_groups(shared_data: Path) -> None:
    from datasets import DATASETS, find_split

    for name in DATASETS:
        split = find_split(shared_data, name)
        training, test = (
            {picture.name for picture in side} for side in (split.training, split.test)
        )
        assert training, name
        assert test, name
        assert not training & test
        groups = [
            {picture.group for picture in side if picture.group}
            for side in (split.training, split.test)
        ]
        assert not groups[0] & groups[1]


def test_the_last_quarter_is_one_block_at_the_end() -> None:
    from datasets import last_quarter

    assert last_quarter([f"z{number:02}" for number in range(20)]) == {
        "z15",
        "z16",
        "z17",
        "z18",
        "z19",
    }
    assert last_quarter(["a", "b", "c", "d", "e"]) == {"d", "e"}


def test_the_report_shows_what_was_measured_and_whether_it_is_enough() -> None:
    from report import fill
    from side_by_side import claim, sides

    result: dict[str, Any] = {
        "machine": {
            "cpu": "a CPU",
            "cores": 2,
            "bf16": True,
            "system": "Linux",
            "load_before": 0.1,
            "torch": "2",
        },
        "sides": sides({"theirs": [1.0, 3.0, 2.0], "ours": [9.0, 8.0, 7.0]}, "images/s"),
        "claims": [claim("ours over theirs", 4.0, 5.0)],
    }
    text = fill(
        "before\n<!-- figures: train_step -->\nstale\n<!-- end -->\nafter\n", {"train_step": result}
    )
    assert "| theirs | 2 images/s | 1, 3, 2 |" in text
    assert "| ours over theirs | 4 x | at least 5 | **no** |" in text
    assert "stale" not in text
    assert text.startswith("before\n")
    assert text.endswith("<!-- end -->\nafter\n")
    assert fill(text, {"train_step": result}) == text


def test_the_readme_says_what_the_results_say() -> None:
    from report import RESULTS, fill, read_results

    text = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    assert fill(text, read_results(RESULTS)) == text


def test_sides_are_measured_in_turn() -> None:
    from side_by_side import in_turn

    order: list[str] = []

    def measure(name: str) -> float:
        order.append(name)
        return float(len(order))

    values = in_turn({"a": lambda: measure("a"), "b": lambda: measure("b")}, rounds=2)
    assert order == ["a", "b", "a", "b"]
    assert values == {"a": [1.0, 3.0], "b": [2.0, 4.0]}
