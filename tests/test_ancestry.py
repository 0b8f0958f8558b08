"""The tree of checkpoints, also where it is long or broken."""

from __future__ import annotations

import pytest

from maskloop.cli.training import show_checkpoints
from maskloop.project.ancestry import ancestry, by_descent
from maskloop.project.layout import CheckpointRecord, ImportedModel

CYTO = ImportedModel(
    model_id="imported_model_001",
    model_name="cyto",
    source_filename="a.pt",
    model_path="models/imported/a.pt",
    imported_at="x",
    format="x",
)


def make(number: int, parent: int | None = None, **values: object) -> CheckpointRecord:
    """The record of a checkpoint."""
    name = f"unet_run_{number:03d}"
    return CheckpointRecord.model_validate(
        {
            "checkpoint_id": name,
            "parent_checkpoint_id": None if parent is None else f"unet_run_{parent:03d}",
            "timestamp": "2026-01-01T00:00:00.000Z",
            "checkpoint_path": f"checkpoints/{name}.pt",
            **values,
        }
    )


def test_each_checkpoint_stands_below_the_one_it_was_trained_from() -> None:
    parents = {1: None, 2: None, 3: 1, 4: 3, 5: 2, 6: 99}
    found = by_descent([make(number, parent) for number, parent in parents.items()])
    assert [(one.checkpoint_id[-1], depth) for one, depth in found] == [
        ("1", 0),
        ("3", 1),
        ("4", 2),
        ("2", 0),
        ("5", 1),
        ("6", 0),
    ]


def test_a_chain_of_thousands_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    records = [make(1), *(make(number, number - 1) for number in range(2, 3000))]
    assert [(one, depth) for depth, one in enumerate(records)] == by_descent(records)
    assert ancestry("unet_run_2999", records, []).count("\N{LEFTWARDS ARROW}") == 2999
    show_checkpoints(records[:1200])
    assert "unet_run_1200" in capsys.readouterr().out


def test_the_ancestry_goes_back_to_scratch_or_to_imported_weights() -> None:
    imported = make(1, starting_weights={"imported_model_id": "imported_model_001"})
    records = [imported, make(2, parent=1), make(3), make(4, parent=99)]
    assert [ancestry(one.checkpoint_id, records, [CYTO]) for one in records] == [
        "unet_run_001 ← imported cyto",
        "unet_run_002 ← unet_run_001 ← imported cyto",
        "unet_run_003 ← scratch",
        "unet_run_004 ← unet_run_099 (not in this project)",
    ]


def test_checkpoints_in_a_circle_are_listed_once() -> None:
    records = [make(1, parent=2), make(2, parent=1), make(3)]
    assert [one.checkpoint_id[-1] for one, _ in by_descent(records)] == ["3", "1", "2"]
    assert ancestry("unet_run_001", records, []) == "unet_run_001 ← unet_run_002 ← unet_run_001"
