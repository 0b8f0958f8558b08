from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskloop.errors import (
    MaskloopError,
    NotFound,
    ProjectError,
    ProjectLocked,
    RecordError,
    UsageError,
)
from maskloop.images.image import Image
from maskloop.project import layout
from maskloop.project.layout import Manifest, Pair
from maskloop.project.project import ProjectFolder
from maskloop.task import Task


@pytest.fixture
def project(tmp_path: Path) -> ProjectFolder:
    return ProjectFolder.create(tmp_path / "cells")


def accept(project: ProjectFolder, seed: int = 0, **options: object) -> Pair:
    image = np.random.default_rng(seed).integers(0, 255, (32, 32), np.uint8)
    return project.dataset.accept(image, image > 200, name=f"image {seed}", **options)  # type: ignore[arg-type]


def register(project: ProjectFolder, content: bytes = b"weights", **facts: object):
    run_id = str(facts.pop("run_id", "")) or project.history.new_run("train")
    weights = project.history.run_folder(run_id) / "weights.pt"
    weights.write_bytes(content)
    return project.checkpoints.register(weights, run_id=run_id, **facts)  # type: ignore[arg-type]


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_new_project_has_the_layout_people_know(project):
    for path in (*layout.records(), layout.BENCHMARKS):
        assert (project.folder / path).is_file(), path
    config = json.loads((project.folder / layout.CONFIG).read_text())
    assert config["project_name"] == "cells"
    assert config["version"] == layout.VERSION
    assert config["task"] == {"mode": "binary", "classes": ["foreground"], "channels": None}
    # Nobody chose anything about the model yet.
    architecture = json.loads((project.folder / layout.ARCHITECTURE).read_text())
    assert architecture == {"version": layout.VERSION, "backend": "basic_unet"}


def test_a_multiclass_project_keeps_its_classes_and_only_what_was_chosen(tmp_path):
    project = ProjectFolder.create(
        tmp_path / "p", mode="multiclass", classes=["axon", "myelin"], architecture={"depth": 3}
    )
    assert project.task.class_names == {0: "background", 1: "axon", 2: "myelin"}
    assert project.architecture == {"backend": "basic_unet", "depth": 3}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "multiclass"}, "names of its classes"),
        ({"mode": "binary", "classes": ["a", "b"]}, "one class besides the background, not 2"),
        ({"mode": "multiclass", "classes": ["a", "a"]}, "must all be different"),
        ({"mode": "panoptic"}, "'panoptic' does not exist"),
    ],
)
def test_classes_that_do_not_fit_the_mode_are_refused(tmp_path, options, words):
    with pytest.raises(UsageError, match=words):
        ProjectFolder.create(tmp_path / "p", **options)
    assert not (tmp_path / "p").exists()


def test_a_project_is_not_created_over_another(project):
    with pytest.raises(ProjectError, match="already holds a project"):
        ProjectFolder.create(project.folder)


def test_a_project_is_not_created_among_other_files(tmp_path):
    (tmp_path / "thesis.docx").touch()
    with pytest.raises(ProjectError, match=r"not empty: it holds 'thesis\.docx'"):
        ProjectFolder.create(tmp_path)


def test_a_killed_creation_can_be_repeated(project):
    (project.folder / layout.CONFIG).unlink()
    assert ProjectFolder.create(project.folder).status().state == "empty"


def test_opening_a_folder_without_a_project_says_what_to_do(tmp_path):
    with pytest.raises(ProjectError, match="maskloop new"):
        ProjectFolder.open(tmp_path)
    with pytest.raises(ProjectError, match="There is no folder"):
        ProjectFolder.open(tmp_path / "nowhere")


def test_opening_and_reading_change_nothing(project):
    pair = accept(project)
    project.update_config(notes="keep me", last_selected_image_layer="nuclei")
    project.set_sam3({"sam3_2d_model_dir": "models/sam3"})
    before = snapshot(project.folder)
    with ProjectFolder.open(project.folder) as again:
        again.status()
        again.dataset.read_image(pair.pair_id).read()
        assert again.notes == "keep me"
        assert again.sam3 == {"sam3_2d_model_dir": "models/sam3"}
    assert snapshot(project.folder) == before


def test_a_moved_project_works(project, tmp_path):
    pair = accept(project)
    record = register(project, pair_ids=[pair.pair_id])
    shutil.copytree(project.folder, tmp_path / "elsewhere")
    shutil.rmtree(project.folder)
    moved = ProjectFolder.open(tmp_path / "elsewhere")
    assert moved.dataset.read_mask(pair.pair_id).read().shape == (32, 32)
    assert moved.checkpoints.path(record.checkpoint_id).read_bytes() == b"weights"
    assert accept(moved, 1).pair_id.startswith("pair_0002_")


def test_a_setting_that_does_not_exist_or_fit_is_refused(project):
    with pytest.raises(UsageError, match="no setting 'colour'"):
        project.update_config(colour="red")
    with pytest.raises(UsageError, match="Validation split must be"):
        project.update_config(validation_split=7)
    assert project.config.validation_split == 0.2


def test_each_of_two_open_projects_sees_what_the_other_writes(project):
    other = ProjectFolder.open(project.folder)
    other.set_notes("from the other")
    accept(other, 1)
    assert project.notes == "from the other"
    accept(project, 2)
    assert [pair.name for pair in other.dataset.pairs] == ["image 1", "image 2"]


def test_a_second_writer_is_told_who_holds_the_project(project):
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with ProjectFolder.open(project.folder).writing("train a model"):
            taken.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert taken.wait(30)
        with (
            pytest.raises(ProjectLocked, match=r"process \d+ of .+ on .+ \(train a model, since 2"),
            project.writing("add", timeout_s=0.05),
        ):
            pass
        assert project.status().pair_count == 0, "a reader is never blocked"
    finally:
        done.set()
        holder.join()
    project.set_notes("free again")


def test_a_name_left_by_a_dead_writer_does_not_lock(project):
    (project.folder / layout.HOLDER).write_text('{"host": "gone", "pid": 1}')
    project.set_notes("written")
    assert not (project.folder / layout.HOLDER).exists()


def test_a_broken_record_is_named_and_the_rest_stays_readable(project):
    accept(project)
    (project.folder / layout.MANIFEST).write_text("{ broken")
    again = ProjectFolder.open(project.folder)
    status = again.status()
    assert status.state == "broken"
    assert status.name == "cells"
    assert "manifest.json' is damaged" in status.warnings[0]
    assert "maskloop check --repair" in status.warnings[0]
    assert again.checkpoints.list() == ()
    with pytest.raises(RecordError, match="is damaged"):
        accept(again, 1)
    assert (project.folder / layout.MANIFEST).read_text() == "{ broken", (
        "nothing is written over it"
    )


def test_a_project_without_its_settings_still_opens(project):
    accept(project)
    (project.folder / layout.CONFIG).unlink()
    again = ProjectFolder.open(project.folder)
    assert len(again.dataset.pairs) == 1
    with pytest.raises(RecordError, match=r"project_config\.json' is missing"):
        _ = again.config


@pytest.mark.parametrize(
    "path",
    [
        "../outside.tif",
        "/etc/passwd",
        "C:/x.tif",
        "dataset\\images\\x.tif",
        "dataset/../../x.tif",
        "",
    ],
)
def test_a_path_that_leaves_the_folder_is_refused(project, path):
    pair = accept(project)
    manifest = project.folder / layout.MANIFEST
    manifest.write_text(manifest.read_text().replace(json.dumps(pair.image_path), json.dumps(path)))
    with pytest.raises(RecordError, match="leaves the project folder"):
        _ = ProjectFolder.open(project.folder).dataset.pairs


def test_a_record_of_a_newer_program_is_not_touched(project):
    path = project.folder / layout.MANIFEST
    path.write_text(path.read_text().replace('"version": 3', '"version": 4'))
    with pytest.raises(RecordError, match="newer maskloop"):
        accept(ProjectFolder.open(project.folder))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_mutated_record_never_ends_in_anything_but_words(tmp_path_factory, data):
    folder = _mutation_ground(tmp_path_factory)
    path = folder / data.draw(
        st.sampled_from([layout.MANIFEST, layout.CONFIG, layout.CHECKPOINTS, layout.ARCHITECTURE])
    )
    good = path.read_bytes()
    content = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=6))
    try:
        path.write_bytes(bytes(content))
        project = ProjectFolder.open(folder)
        project.status()
        from maskloop.project.check import check

        check(project)
        for pair in project.dataset.pairs:
            project.dataset.read_image(pair)
        project.dataset.split(project.dataset.pairs, share=0.5)
        accept(project, data.draw(st.integers(100, 10**6)))
    except MaskloopError:
        pass
    finally:
        shutil.rmtree(folder)


def _mutation_ground(factory: pytest.TempPathFactory) -> Path:
    folder = factory.mktemp("mutated") / "p"
    project = ProjectFolder.create(folder)
    accept(project, 1)
    register(project, pair_ids=[project.dataset.pairs[0].pair_id])
    return folder


def test_opening_loads_neither_torch_nor_the_image_libraries(project):
    accept(project)
    code = (
        "import sys; from maskloop.project.project import ProjectFolder; "
        "ProjectFolder.open(sys.argv[1]).status(); "
        "print([name for name in ('torch', 'skimage', 'scipy', 'pandas', 'cc3d', 'PIL') if name "
        "in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, str(project.folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "[]"


def test_a_registered_checkpoint_is_followed_everywhere(project):
    pair = accept(project)
    record = register(
        project,
        parent=None,
        pair_ids=[pair.pair_id],
        metrics={"loss": 0.5, "val_loss": 0.25, "dice": 0.9, "iou": 0.8, "ap50": 0.7},
        benchmark_summary="good, quick",
        seed=3,
        split={"training": [pair.pair_id], "validation": []},
    )
    assert record.checkpoint_id == "unet_run_001"
    assert record.dataset_pixel_hashes == {pair.pair_id: pair.pixels_sha256}
    assert record.metrics["ap50"] == 0.7
    assert (project.folder / layout.LATEST).read_bytes() == b"weights"
    assert project.history.benchmarks() == [
        {
            "timestamp": record.timestamp,
            "checkpoint_id": "unet_run_001",
            "loss": "0.5",
            "val_loss": "0.25",
            "dice": "0.9",
            "iou": "0.8",
            "summary": "good, quick",
        }
    ]
    assert project.history.training_runs()[0].checkpoint_id == "unet_run_001"
    assert "registered unet_run_001" in (project.folder / layout.LOG).read_text()
    assert project.dataset.pairs[0].used_in_checkpoints == ("unet_run_001",)
    assert project.config.latest_checkpoint_path == "checkpoints/unet_run_001.pt"
    assert project.status().state == "trained"
    assert not (project.history.run_folder("train_001") / "weights.pt").exists()


def test_a_run_asked_to_register_again_gets_its_checkpoint(project):
    first = register(project, run_id=project.history.new_run("train"))
    assert register(project, run_id=first.run_id) == first
    assert len(project.checkpoints.list()) == 1


def test_numbers_are_never_used_again(project):
    register(project)
    register(project, b"second")
    (project.folder / "checkpoints/unet_run_003.pt").write_bytes(b"orphan of a killed registration")
    assert register(project, b"third").checkpoint_id == "unet_run_004"
    assert (
        project.folder / "checkpoints/unet_run_003.pt"
    ).read_bytes() == b"orphan of a killed registration"
    assert project.checkpoints.latest.checkpoint_id == "unet_run_004"
    shutil.rmtree(project.history.run_folder("train_003"))
    assert project.history.new_run("predict") == "predict_004"
    assert project.history.runs() == ["train_001", "train_002", "predict_004"]


def test_a_registration_that_was_killed_before_its_followers_is_completed_by_the_next_writer(
    project,
):
    pair = accept(project)
    stale = {
        path: (project.folder / path).read_bytes()
        for path in (layout.CONFIG, layout.BENCHMARKS, layout.TRAINING_RUNS, layout.MANIFEST)
    }
    record = register(project, pair_ids=[pair.pair_id], metrics={"dice": 0.5})
    for path, content in stale.items():
        (project.folder / path).write_bytes(content)
    (project.folder / layout.LATEST).unlink()
    again = ProjectFolder.open(project.folder)
    assert again.checkpoints.latest == record
    again.set_notes("a write")
    assert (project.folder / layout.LATEST).read_bytes() == b"weights"
    assert [row["checkpoint_id"] for row in again.history.benchmarks()] == ["unet_run_001"]
    assert again.dataset.pairs[0].used_in_checkpoints == ("unet_run_001",)
    assert again.config.latest_checkpoint_id == "unet_run_001"


def test_an_unknown_checkpoint_is_answered_with_those_there_are(project):
    register(project)
    with pytest.raises(NotFound, match="the latest: unet_run_001"):
        project.checkpoints.get("unet_run_009")
    assert project.checkpoints.get("latest").checkpoint_id == "unet_run_001"


def test_a_note_stays_with_its_checkpoint(project):
    register(project)
    project.checkpoints.note("unet_run_001", "too many false cells")
    assert (
        ProjectFolder.open(project.folder).checkpoints.get("unet_run_001").note
        == "too many false cells"
    )


def test_imported_weights_are_copied_and_registered(project, tmp_path):
    source = tmp_path / "colleague.safetensors"
    source.write_bytes(b"tensors")
    model = project.weights.add(source, network={"depth": 3}, format="safetensors")
    source.unlink()
    assert project.weights.path(model.model_id).read_bytes() == b"tensors"
    assert model.model_id.startswith("imported_model_001_")
    assert model.network == {"depth": 3}
    start = project.weights.set_start(
        mode="imported_pretrained_unet", imported_model_id=model.model_id
    )
    assert start.imported_model_path == model.model_path
    with pytest.raises(NotFound, match="no imported weights"):
        project.weights.set_start(imported_model_id="imported_model_009")
    with pytest.raises(UsageError, match=r"'cells\.h5' is not a weights file"):
        project.weights.add(tmp_path / "cells.h5", network={}, format="keras")


def test_a_prediction_tells_where_it_came_from_and_is_never_overwritten(project):
    checkpoint = register(project)
    labels = Image(np.arange(12, dtype=np.int32).reshape(3, 4), "YX", {"Y": 0.5, "X": 0.5})
    first = project.predictions.write(
        labels,
        checkpoint_id="latest",
        input_path="plate/a.tif",
        input_sha256="a" * 64,
        settings={"mirror": True},
    )
    (project.folder / "predictions/prediction_002.tif").write_bytes(b"orphan")
    second = project.predictions.write(labels, checkpoint_id=None)
    assert (first.prediction_id, second.prediction_id) == ("prediction_001", "prediction_003")
    assert first.checkpoint_id == "unet_run_001"
    assert first.checkpoint_sha256 == checkpoint.sha256
    assert first.settings == {"mirror": True}
    from maskloop.images.readers import open_labels

    assert np.array_equal(
        open_labels(project.predictions.path("prediction_001")).read(), labels.read()
    )


def test_a_prediction_written_elsewhere_can_be_registered(project, tmp_path):
    (tmp_path / "large.ome.tif").write_bytes(b"pixels")
    record = project.predictions.register(tmp_path / "large.ome.tif", checkpoint_id=None)
    assert record.path == "predictions/prediction_001.ome.tif"
    assert project.predictions.path(record.prediction_id).read_bytes() == b"pixels"


def test_the_task_cannot_leave_the_accepted_masks_behind(project):
    project.set_task(Task(mode="instances"))
    project.set_task(Task(classes=("cell",)))
    accept(project)
    with pytest.raises(
        UsageError, match="masks of 1 pair were made for mode binary, not for instances"
    ):
        project.set_task(Task(mode="instances"))
    with pytest.raises(UsageError, match="made for mode binary"):
        project.update_config(task=Task(mode="instances"))
    assert project.task == Task(classes=("cell",))


def test_a_choice_that_equals_the_usual_value_is_a_choice_and_none_takes_it_back(project):
    project.set_architecture({**project.architecture, "spatial_dims": "2d", "base_channels": 32})
    assert project.architecture == {
        "backend": "basic_unet",
        "spatial_dims": "2d",
        "base_channels": 32,
    }
    project.set_architecture({**project.architecture, "spatial_dims": None})
    assert project.architecture == {"backend": "basic_unet", "base_channels": 32}


def test_a_class_can_be_added_to_accepted_masks_and_none_taken_away(tmp_path):
    project = ProjectFolder.create(tmp_path / "p", mode="multiclass", classes=["axon", "myelin"])
    accept(project)
    project.set_task(Task(mode="multiclass", classes=("axon", "myelin", "glia")))
    assert project.task.class_names[3] == "glia"
    for classes in (("axon", "myelin"), ("axon",)):
        with pytest.raises(UsageError, match="masks of 1 pair were made for 4 classes, not for"):
            project.set_task(Task(mode="multiclass", classes=classes))


def test_decisions_of_a_plan_are_kept(project):
    project.set_auto_configuration_decisions(
        [{"name": "patch_size", "value": 256, "reason": "objects of 30 px"}]
    )
    assert (
        ProjectFolder.open(project.folder).auto_configuration_decisions[0]["reason"]
        == "objects of 30 px"
    )


def test_the_copy_before_the_last_write_is_a_record_too(project):
    accept(project, 1)
    accept(project, 2)
    copy = Manifest.model_validate_json(
        (project.folder / f"{layout.MANIFEST}.last-good").read_bytes()
    )
    assert [pair.name for pair in copy.pairs] == ["image 1"]


def test_a_mask_replaced_while_a_training_runs_counts_as_new(project):
    first, second = accept(project, 1), accept(project, 2)
    seen = {pair.pair_id: pair.content for pair in (first, second)}
    project.dataset.replace(first.pair_id, mask=np.eye(32, dtype=bool))
    record = register(project, pair_ids=list(seen), contents=seen)
    assert record.dataset_mask_hashes[first.pair_id] == first.mask_sha256
    replaced, kept = project.dataset.pairs
    assert replaced.is_new
    assert replaced.history[0].used_in_checkpoints == (record.checkpoint_id,)
    assert kept.used_in_checkpoints == (record.checkpoint_id,)
    project.dataset.split(project.dataset.pairs, share=0.0)
    with pytest.raises(UsageError, match="was trained on pair"):
        project.dataset.mark_validation(first.pair_id)


def test_a_pair_can_be_read_as_a_training_saw_it(project):
    pair = accept(project, 1)
    before = project.dataset.read_mask(pair).read()
    replaced = project.dataset.replace(pair.pair_id, mask=np.eye(32, dtype=bool))
    seen = project.dataset.as_seen(pair.pair_id, pair.content)
    assert np.array_equal(project.dataset.read_mask(seen).read(), before)
    assert project.dataset.as_seen(pair.pair_id, None) == replaced
    with pytest.raises(NotFound, match="no longer has the image and mask"):
        project.dataset.as_seen(pair.pair_id, ("0" * 64, "0" * 64))


def test_a_project_that_was_moved_while_it_was_open_leaves_no_ghost(project, tmp_path):
    pair = accept(project)
    project.folder.rename(tmp_path / "moved")
    with pytest.raises(ProjectError, match="is missing"):
        accept(project, 2)
    with pytest.raises(ProjectError, match="was moved or deleted"):
        project.set_notes("lost?")
    assert not project.folder.exists()
    assert ProjectFolder.open(tmp_path / "moved").dataset.get(pair.pair_id) == pair
