from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from maskloop.errors import NotFound, ProjectError
from maskloop.project import layout
from maskloop.project.check import check
from maskloop.project.project import ProjectFolder
from maskloop.project.upgrade import is_legacy, upgrade

ARCHITECTURE = {
    "backend": "basic_unet",
    "spatial_dims": "2d",
    "preset": "standard_unet",
    "depth": 2,
    "base_channels": 8,
    "normalization": "batch",
    "upsampling": "transpose",
    "input_channels": 1,
    "output_mode": "binary",
    "num_classes": 2,
    "output_channels": 1,
    "activation": "sigmoid",
    "loss": "bce_dice",
    "threshold": 0.5,
    "class_labels": {"0": "background", "1": "foreground"},
    "a_key_of_theirs": 1,
}


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content) if isinstance(content, bytes) else path.write_text(
        json.dumps(content), encoding="utf-8"
    )


def noise(seed: int, shape: tuple[int, ...] = (32, 32)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, shape, np.uint8)


def old_pair(
    base: Path,
    number: int,
    *,
    mask_shape: tuple[int, ...] = (32, 32),
    prefix: str = "",
    backslashes: bool = False,
    **more: Any,
) -> dict[str, Any]:
    pair_id = f"pair_{number:04d}_{number:08x}"
    paths = {name: f"{prefix}dataset/{name}s/{pair_id}.tif" for name in ("image", "mask")}
    for name, pixels in (
        ("image", noise(number)),
        ("mask", (noise(number, mask_shape) > 200).astype(np.uint8)),
    ):
        (base / f"dataset/{name}s").mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(base / f"dataset/{name}s/{pair_id}.tif", pixels)
    written = {
        f"{name}_path": path.replace("/", "\\") if backslashes else path
        for name, path in paths.items()
    }
    return {
        "pair_id": pair_id,
        **written,
        "image_layer_name": f"image {number}",
        "mask_layer_name": "Labels",
        "shape": [32, 32],
        "mask_shape": list(mask_shape),
        "created_at": "2025-03-01T10:00:00",
        "source": "manual_label",
        "used_in_checkpoints": [],
        "mask_preparation": {
            "mask_mode": "merge_nonzero_to_foreground",
            "target_class_name": "foreground",
            "label_transform": "nonzero_to_foreground",
            "source_labels": [1],
            "saved_labels": [1],
        },
        "metadata": {"stain": "DAPI"},
        **more,
    }


def old_checkpoint(number: int, path: str | None = None) -> dict[str, Any]:
    return {
        "checkpoint_id": f"unet_run_{number:03d}",
        "parent_checkpoint_id": None,
        "training_mode": "retrain_from_scratch",
        "dataset_pair_ids_used": ["pair_0001_00000001"],
        "number_of_images": 1,
        "number_of_patches": 4,
        "train_validation_split": 0.2,
        "loss_metrics": {"loss": 0.4, "val_loss": None},
        "dice_iou_metrics": {"dice": 0.8, "iou": 0.7},
        "timestamp": "2025-03-02T10:00:00",
        "checkpoint_path": path or f"checkpoints/unet_run_{number:03d}.pt",
        "benchmark_summary": "ok",
        "architecture": ARCHITECTURE,
        "starting_weights": {"mode": "scratch"},
        "architecture_summary": {"feature_channels": [8, 16, 32]},
        "placeholder": True,
    }


def old_config(**more: Any) -> dict[str, Any]:
    return {
        "project_name": "nuclei",
        "created_at": "2025-01-01T00:00:00",
        "last_opened_at": "2025-02-01T00:00:00",
        "plugin_version": "0.2.0",
        "patch_size": 256,
        "batch_size": 8,
        "epochs": 10,
        "learning_rate": 1e-4,
        "validation_split": 0.2,
        "binary_or_multiclass": "binary",
        "input_channels": 1,
        "normalization_mode": "percentile",
        "default_architecture_config_path": "architecture\\architecture_config.json",
        "latest_checkpoint_path": "C:\\Users\\me\\nuclei\\checkpoints\\unet_run_001.pt",
        "notes": "plate 7",
        "a_setting_of_theirs": [1, 2],
        "auto_configuration_decisions": [],
        **more,
    }


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A folder of 0.2: three pairs (a mask of another shape, a missing one), two checkpoints."""
    folder = tmp_path / "nuclei"
    pairs = [
        old_pair(folder, 1, backslashes=True, used_in_checkpoints=["unet_run_001"]),
        old_pair(folder, 2, mask_shape=(16, 16)),
        old_pair(folder, 3),
        old_pair(folder, 4),
    ]
    (folder / "dataset/masks/pair_0003_00000003.tif").unlink()
    write(folder / layout.CONFIG, old_config())
    write(folder / layout.ARCHITECTURE, ARCHITECTURE)
    write(
        folder / layout.SAM3,
        {"default_mode": "2d_box", "sam3_2d_model_dir": "/models/sam3", "device": "cuda"},
    )
    write(
        folder / layout.MANIFEST,
        {"version": 1, "created_at": "2025", "updated_at": "2025", "pairs": pairs},
    )
    absolute = "C:\\Users\\me\\nuclei\\checkpoints\\unet_run_001.pt"
    write(
        folder / layout.CHECKPOINTS,
        {"checkpoints": [old_checkpoint(1, absolute), old_checkpoint(2)]},
    )
    write(folder / "checkpoints/unet_run_001.pt", b"bare state dict")
    write(folder / layout.TRAINING_RUNS, {"runs": [old_checkpoint(1), old_checkpoint(2)]})
    write(
        folder / layout.BENCHMARKS,
        b"timestamp,checkpoint_id,loss,val_loss,dice,iou,summary\n2025-03-02T10:00:00,unet_run_001,0.4,,0.8,0.7,ok\n",
    )
    write(folder / "models/imported/w.pt", b"imported")
    model = {
        "model_id": "imported_model_001_abcdef01",
        "model_name": "w",
        "source_filename": "w.pt",
        "model_path": "models\\imported\\w.pt",
    }
    write(
        folder / layout.REGISTRY,
        {
            "version": 1,
            "models": [{**model, "architecture": {}, "imported_at": "2025", "format": "pt"}],
        },
    )
    (folder / "predictions").mkdir()
    tifffile.imwrite(folder / "predictions/prediction_001.tif", noise(5))
    return folder


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_an_older_folder_is_read_without_changing_it(old):
    before = bytes_of(old)
    project = ProjectFolder.open(old)
    status = project.status()
    assert status.name == "nuclei"
    assert status.notes == "plate 7"
    assert status.pair_count == 3
    assert status.latest_checkpoint == "unet_run_002"
    assert project.dataset.read_image("pair_0001_00000001").read().shape == (32, 32)
    assert any(
        "The file 'dataset/masks/pair_0003_00000003.tif' of pair" in warning
        for warning in status.warnings
    )
    assert any("'unet_run_002' are missing" in warning for warning in status.warnings)
    assert project.architecture["depth"] == 2
    assert bytes_of(old) == before


def test_the_first_write_upgrades_and_keeps_the_originals(old):
    before = bytes_of(old)
    project = ProjectFolder.open(old)
    pair = project.dataset.accept(noise(50), noise(50) > 200)
    assert pair.pair_id.startswith("pair_0005_")
    assert not is_legacy(old)
    kept = next((old / "history").glob("upgrade_*"))
    for path in (
        layout.CONFIG,
        layout.MANIFEST,
        layout.CHECKPOINTS,
        layout.ARCHITECTURE,
        layout.BENCHMARKS,
    ):
        assert (kept / path).read_bytes() == before[path], path
    again = ProjectFolder.open(old)
    assert again.config.metadata["a_setting_of_theirs"] == [1, 2]
    assert again.config.batch_size == 8
    assert again.config.epochs is None, "a default of theirs is not a choice of the person"
    assert again.sam3["sam3_2d_model_dir"] == "/models/sam3"
    assert again.dataset.get("pair_0001_00000001").mask_preparation["source_labels"] == [1]
    for path, content in before.items():
        if path.startswith(
            (
                "dataset/images",
                "dataset/masks",
                "checkpoints/unet",
                "models/imported",
                "predictions/prediction_",
            )
        ):
            assert (old / path).read_bytes() == content


def test_upgraded_pairs_are_measured_and_those_that_cannot_train_are_set_aside(old):
    report = upgrade(old)
    assert report.was_needed
    assert report.pair_count == 4
    project = ProjectFolder.open(old)
    states = {pair.pair_id[:9]: pair.state for pair in project.dataset.all_pairs}
    assert states == {
        "pair_0001": "active",
        "pair_0002": "removed",
        "pair_0003": "missing",
        "pair_0004": "active",
    }
    first = project.dataset.get("pair_0001_00000001")
    assert first.pixels_sha256
    assert first.image_sha256
    assert first.fingerprint is not None
    assert first.split == "training", "their patches of one image lay on both sides"
    assert "(16, 16)" in next(warning for warning in report.warnings if "pair_0002" in warning)
    assert project.dataset.fingerprint().pair_count == 2
    problems = {(problem.kind, problem.path) for problem in check(project).problems}
    assert problems == {
        ("missing file", "dataset/masks/pair_0003_00000003.tif"),
        ("missing file", "checkpoints/unet_run_002.pt"),
    }


def test_upgraded_checkpoints_are_marked_as_unverified(old):
    upgrade(old)
    record = ProjectFolder.open(old).checkpoints.get("unet_run_001")
    assert record.format == "state_dict"
    assert not record.architecture_verified
    assert record.checkpoint_path == "checkpoints/unet_run_001.pt"
    assert record.sha256
    assert record.train_validation_split == {"validation_split": 0.2}
    assert record.metadata["placeholder"] is True
    assert "a_key_of_theirs" not in record.network


def test_an_upgraded_folder_is_upgraded_once(old):
    upgrade(old)
    after = bytes_of(old)
    assert not upgrade(old).was_needed
    assert {
        path: content for path, content in bytes_of(old).items() if path in layout.records()
    } == {path: content for path, content in after.items() if path in layout.records()}


def test_an_upgrade_that_was_killed_goes_on(old):
    config = (old / layout.CONFIG).read_bytes()
    upgrade(old)
    manifest = (old / layout.MANIFEST).read_bytes()
    (old / layout.CONFIG).write_bytes(config)
    assert is_legacy(old)
    project = ProjectFolder.open(old)
    assert len(project.dataset.all_pairs) == 4
    project.set_notes("done")
    assert ProjectFolder.open(old).notes == "done"
    assert (
        json.loads(manifest)["pairs"] == json.loads((old / layout.MANIFEST).read_bytes())["pairs"]
    )


def test_an_older_folder_with_missing_and_broken_records_opens(old):
    for path in (layout.ARCHITECTURE, layout.REGISTRY, layout.TRAINING_RUNS, layout.SAM3):
        (old / path).unlink()
    (old / layout.CHECKPOINTS).write_text("{ torn")
    project = ProjectFolder.open(old)
    assert project.checkpoints.list() == ()
    assert any("checkpoints.json' is damaged" in warning for warning in project.warnings)
    project.set_notes("written")
    assert ProjectFolder.open(old).status().state == "ready"
    kept = next((old / "history").glob("upgrade_*"))
    assert (kept / layout.CHECKPOINTS).read_text() == "{ torn"


def test_paths_that_leave_an_older_folder_are_not_followed(old, tmp_path):
    raw = json.loads((old / layout.MANIFEST).read_text())
    raw["pairs"][3]["image_path"] = "..\\..\\secret.tif"
    write(old / layout.MANIFEST, raw)
    project = ProjectFolder.open(old)
    assert (
        project.dataset.get("pair_0004_00000004").image_path
        == "dataset/images/pair_0004_00000004.tif"
    )
    assert any("leaves the project folder" in warning for warning in project.warnings)


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A folder of 0.3: two tasks, backslashes in paths, a best_model.pt without a record."""
    folder = tmp_path / "plate"
    entries = []
    for task_id, mode, labels in (
        ("nuclei", "binary", {"0": "background", "1": "nucleus"}),
        ("axons", "multiclass", {"0": "background", "1": "axon", "2": "myelin"}),
    ):
        base = folder / "tasks" / task_id
        number = 1 if task_id == "nuclei" else 2
        pair = old_pair(
            base, number, prefix=f"tasks/{task_id}/" if number == 1 else "", backslashes=True
        )
        write(base / layout.MANIFEST, {"version": 1, "pairs": [pair]})
        write(
            base / layout.CHECKPOINTS,
            {"checkpoints": [old_checkpoint(1, f"tasks\\{task_id}\\checkpoints\\unet_run_001.pt")]},
        )
        write(base / "checkpoints/unet_run_001.pt", task_id.encode())
        write(base / "checkpoints/run_7/best_model.pt", b"bare " + task_id.encode())
        write(
            base / layout.BENCHMARKS,
            b"timestamp,checkpoint_id,loss,val_loss,dice,iou,summary\n2025,unet_run_001,0.4,,0.8,0.7,ok\n",
        )
        entry = {
            "task_id": task_id,
            "display_name": task_id.title(),
            "output_mode": mode,
            "class_labels": labels,
            "task_path": f"tasks\\{task_id}",
            "archived": False,
        }
        entries.append(entry)
    write(folder / layout.CONFIG, old_config(plugin_version="0.3.0", project_name="plate"))
    write(folder / layout.TASKS, {"version": 1, "active_task_id": "nuclei", "tasks": entries})
    return folder


def test_the_active_task_becomes_the_project_and_the_others_are_named(tasks):
    report = upgrade(tasks)
    assert report.task == "nuclei"
    assert any("--task axons --out NEW_FOLDER" in warning for warning in report.warnings)
    project = ProjectFolder.open(tasks)
    assert project.task.class_names == {0: "background", 1: "nucleus"}
    assert (
        project.dataset.pairs[0].image_path == "tasks/nuclei/dataset/images/pair_0001_00000001.tif"
    )
    assert [record.checkpoint_id for record in project.checkpoints.list()] == [
        "unet_run_001",
        "unet_run_002",
    ]
    assert project.checkpoints.path("unet_run_002").read_bytes() == b"bare nuclei"
    project.set_notes("first write")
    assert (tasks / layout.LATEST).read_bytes() == b"bare nuclei"
    assert [row["checkpoint_id"] for row in project.history.benchmarks()] == [
        "unet_run_001",
        "unet_run_002",
    ]
    assert check(project).is_sound


@pytest.mark.parametrize("first_in_place", [False, True])
def test_another_task_becomes_a_folder_of_its_own(tasks, tmp_path, first_in_place):
    if first_in_place:
        upgrade(tasks)
    before = bytes_of(tasks)
    report = upgrade(tasks, task="axons", out=tmp_path / "axons")
    assert bytes_of(tasks) == before
    assert report.checkpoint_count == 2
    project = ProjectFolder.open(tmp_path / "axons")
    assert project.config.project_name == "Axons"
    assert (project.task.mode, project.task.num_classes) == ("multiclass", 3)
    assert project.dataset.pairs[0].image_path == "dataset/images/pair_0002_00000002.tif"
    project.set_notes("first write")
    assert check(project).is_sound, check(project).problems
    with pytest.raises(ProjectError, match="is not empty"):
        upgrade(tasks, task="axons", out=tmp_path / "axons")


def test_an_unknown_task_is_answered_with_those_there_are(tasks):
    with pytest.raises(NotFound, match="nuclei, axons"):
        upgrade(tasks, task="cells")


def test_a_folder_without_a_project_is_not_upgraded(tmp_path):
    with pytest.raises(ProjectError, match="is not a project folder"):
        upgrade(tmp_path)


def test_a_reader_of_an_older_folder_notices_that_another_program_upgraded_it(old):
    reader = ProjectFolder.open(old)
    assert reader.notes == "plate 7"
    ProjectFolder.open(old).set_notes("upgraded by another")
    assert reader.notes == "upgraded by another"
    reader.set_notes("and written here")
    assert len(list((old / "history").glob("upgrade_*"))) == 1


def test_a_write_goes_nowhere_while_the_upgrade_cannot_be_done(old):
    project = ProjectFolder.open(old)
    blocked = old / "sam3/sam3_config.json"
    blocked.unlink()
    blocked.mkdir()
    for _ in range(2):
        with pytest.raises(ProjectError):
            project.set_notes("lost")
    assert is_legacy(old)
    blocked.rmdir()
    project.set_notes("kept")
    assert ProjectFolder.open(old).notes == "kept"


def test_a_current_project_is_copied_whole_by_an_upgrade_into_another_folder(tmp_path):
    project = ProjectFolder.create(tmp_path / "p")
    pairs = []
    for seed in range(3):
        image = np.random.default_rng(seed).integers(0, 255, (24, 24), np.uint8)
        pairs.append(project.dataset.accept(image, image > 128, name=f"image {seed}"))
    project.dataset.remove(pairs[0].pair_id)
    project.dataset.mark_validation(pairs[1].pair_id)
    done = upgrade(project.folder, out=tmp_path / "copy")
    assert not done.was_needed
    copy = ProjectFolder.open(tmp_path / "copy")
    assert copy.dataset.all_pairs == project.dataset.all_pairs
    assert check(copy).problems == ()
