"""Checkpoints in the window, without a window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("psygnal")

from ui_session import Pump, open_session
from ui_trained import copy_trained, field

from maskloop import Project
from maskloop.compute.predicted import PredictedImage
from maskloop.images.image import Image
from maskloop.project.comparison import compare
from maskloop.project.layout import CheckpointRecord, ImportedModel
from maskloop.ui.controllers.ancestry import rows_of
from maskloop.ui.session import Session

Desk = tuple[Session, Pump, list[tuple[str, str]], Path]


@pytest.fixture
def desk(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = copy_trained(tmp_path_factory, tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, failures):
        session.workspace.open(folder)
        pump.until(lambda: session.checkpoints.rows)
        yield session, pump, failures, folder


def make(number: int, parent: int | None = None, **values: object) -> CheckpointRecord:
    name = f"unet_run_{number:03d}"
    return CheckpointRecord.model_validate(
        {
            "checkpoint_id": name,
            "parent_checkpoint_id": None if parent is None else f"unet_run_{parent:03d}",
            "timestamp": f"2026-01-01T00:{number % 60:02d}:00.000Z",
            "checkpoint_path": f"checkpoints/{name}.pt",
            **values,
        }
    )


MODEL = ImportedModel(
    model_id="imported_model_001",
    model_name="cyto",
    source_filename="a.pt",
    model_path="models/imported/a.pt",
    imported_at="x",
    format="x",
)


def test_checkpoints_stand_below_what_they_came_from() -> None:
    rows = rows_of(
        [
            make(1),
            make(2),
            make(3, parent=1),
            make(4, parent=3),
            make(5, parent=2),
            make(6, parent=99),
        ],
        [],
    )
    assert [row.checkpoint_id[-1] for row in rows] == list("134256")
    assert [
        len(row.label)
        - len(row.label.lstrip("\N{NO-BREAK SPACE}\N{BOX DRAWINGS LIGHT UP AND RIGHT} "))
        for row in rows
    ] == [
        0,
        2,
        5,
        0,
        2,
        0,
    ]


def test_a_long_line_of_descent_is_no_trouble() -> None:
    records = [make(1), *(make(number, parent=number - 1) for number in range(2, 3000))]
    assert [row.record for row in rows_of(records, [])] == records


def test_imported_weights_are_named_as_what_it_came_from() -> None:
    imported = make(1, starting_weights={"imported_model_id": "imported_model_001"})
    assert rows_of([imported], [MODEL])[0].parent == "imported cyto"


def test_missing_and_foreign_weights_are_marked() -> None:
    rows = rows_of([make(1), make(2, format="state_dict")], [], {"unet_run_001"})
    assert "missing" in rows[0].warning
    assert "another program" in rows[1].warning
    assert "continue training from them to predict" in rows[1].tooltip


def test_two_checkpoints_are_compared_by_scores_and_by_what_differs() -> None:
    first = make(
        1,
        metrics={"dice": 0.8, "epochs": 10, "stopped": "epochs"},
        dataset_pair_ids_used=("a", "b"),
        number_of_images=2,
        plan={
            "patch_size": [32, 32],
            "learning_rate": 0.002,
            "normalization": {"low": 1.0, "high": 99.8},
        },
        network={"depth": 4, "preset": "standard_unet"},
    )
    second = make(
        2,
        metrics={"dice": 0.9, "epochs": 10, "iou": float("nan")},
        dataset_pair_ids_used=("b", "c", "d"),
        number_of_images=3,
        plan={
            "patch_size": [64, 64],
            "learning_rate": 0.002,
            "normalization": {"low": 1.0, "high": 99.0},
        },
        network={"depth": 3, "preset": "standard_unet"},
    )
    found = {what: (ours, theirs) for what, ours, theirs in compare(first, second)}
    assert found == {
        "Dice": ("0.800", "0.900"),
        "IoU": ("\N{EN DASH}", "\N{EN DASH}"),
        "Epochs": ("10", "10"),
        "Images": ("2", "3"),
        "Trained only on": ("1 pair: a", "2 pairs: c, d"),
        "Network: Depth": ("4", "3"),
        "Patch size": ("32 x 32", "64 x 64"),
        "Normalization: High": ("99.8", "99"),
    }


def test_real_checkpoints_are_listed_and_compared(desk: Desk) -> None:
    session, _, _, _ = desk
    first, second = session.checkpoints.rows
    assert (first.checkpoint_id, second.parent) == ("unet_run_001", "unet_run_001")
    assert first.network == "U-Net 2D, depth 1, 2 base channels"
    assert first.dice is not None
    found = {
        what: (ours, theirs)
        for what, ours, theirs in session.checkpoints.compare("unet_run_001", "unet_run_002")
    }
    assert found["Epochs"] == ("2", "3")
    assert found["Learning rate"] == ("0.002", "0.001")
    assert "Patch size" not in found


def test_a_note_is_kept(desk: Desk) -> None:
    session, pump, failures, folder = desk
    session.checkpoints.set_note("unet_run_001", " the good one ")
    pump.until(lambda: session.checkpoints.rows[0].note == "the good one")
    assert Project.open(folder).checkpoints.get("unet_run_001").note == "the good one"
    session.checkpoints.set_note("gone", "x")
    assert not failures


def test_a_checkpoint_is_chosen_for_training_on_and_for_predicting(desk: Desk) -> None:
    session, pump, _, folder = desk
    session.checkpoints.use_for_continuing("unet_run_001")
    pump.until(lambda: session.plan.start == "unet_run_001")
    assert Project.open(folder).weights.start.checkpoint_id == "unet_run_001"
    session.checkpoints.use_for_predicting("unet_run_001")
    assert session.prediction.checkpoint == "unet_run_001"


def test_a_checkpoint_is_exported_whole_and_nothing_is_replaced_unasked(
    desk: Desk, tmp_path: Path
) -> None:
    session, pump, failures, folder = desk
    session.checkpoints.export("unet_run_001", tmp_path / "mine")
    pump.settle(session)
    assert (tmp_path / "mine.pt").read_bytes() == (
        folder / "checkpoints/unet_run_001.pt"
    ).read_bytes()
    (tmp_path / "mine.pt").write_bytes(b"precious")
    session.checkpoints.export("unet_run_001", tmp_path / "mine.pt")
    pump.until(lambda: failures)
    assert "exists already" in failures.pop()[0]
    assert (tmp_path / "mine.pt").read_bytes() == b"precious"
    (folder / "checkpoints/unet_run_001.pt").write_bytes(b"rot")
    session.checkpoints.export("unet_run_001", tmp_path / "mine.pt", overwrite=True)
    pump.until(lambda: failures)
    assert "was changed since unet_run_001 was registered" in failures[0][0]
    assert (tmp_path / "mine.pt").read_bytes() == b"precious"


def test_missing_weights_disable_what_needs_them(desk: Desk) -> None:
    session, pump, _, folder = desk
    (folder / "checkpoints/unet_run_001.pt").unlink()
    Project.open(folder).checkpoints.note("unet_run_002", "something changed")
    pump.until(lambda: "unet_run_001" in session.weight_files.missing)
    assert "missing" in session.checkpoints.rows[0].warning
    for why_not in (
        session.checkpoints.why_not_continue,
        session.checkpoints.why_not_export,
        session.checkpoints.why_not_predict,
    ):
        assert "missing" in str(why_not("unet_run_001"))
        assert why_not("unet_run_002") is None


def test_two_checkpoints_predict_one_image_one_after_the_other(desk: Desk) -> None:
    session, pump, failures, _ = desk
    found: list[PredictedImage] = []
    image = Image(field(), "YX", name="well")
    session.checkpoints.side_by_side(
        "unet_run_001", "unet_run_002", image, name="well", then=found.append
    )
    assert (
        session.checkpoints.why_not_side_by_side("unet_run_001", "unet_run_002", image)
        == "A prediction is running."
    )
    pump.until(lambda: len(found) == 2)
    assert [one.checkpoint_id for one in found] == ["unet_run_001", "unet_run_002"]
    assert not failures
