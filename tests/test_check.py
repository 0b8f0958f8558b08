from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from maskloop.errors import Cancelled, ProjectError, RecordError
from maskloop.events import Event, Progress
from maskloop.images.image import Image
from maskloop.project import layout
from maskloop.project.check import CheckReport, check
from maskloop.project.inventory import PAIRS
from maskloop.project.journal import Journal
from maskloop.project.project import ProjectFolder
from maskloop.project.repair import repair
from maskloop.project.store import changed
from maskloop.records import read_record


@pytest.fixture
def project(pristine: Path, tmp_path: Path) -> ProjectFolder:
    shutil.copytree(pristine, tmp_path / "cells")
    return ProjectFolder.open(tmp_path / "cells")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with three pairs, two checkpoints, imported weights and a prediction."""
    tmp_path = tmp_path_factory.mktemp("pristine")
    project = ProjectFolder.create(tmp_path / "cells")
    for seed in range(3):
        accept(project, seed)
    for content in (b"first", b"second"):
        run_id = project.history.new_run("train")
        weights = project.history.run_folder(run_id) / "weights.pt"
        weights.write_bytes(content)
        pairs = [pair.pair_id for pair in project.dataset.pairs]
        project.checkpoints.register(weights, run_id=run_id, pair_ids=pairs, task=project.task)
    (tmp_path / "w.safetensors").write_bytes(b"imported")
    project.weights.add(tmp_path / "w.safetensors", network={}, format="safetensors")
    project.predictions.write(Image(np.eye(4, dtype=np.uint8), "YX"), checkpoint_id="latest")
    return project.folder


def accept(project: ProjectFolder, seed: int):
    image = np.random.default_rng(seed).integers(0, 255, (32, 32), np.uint8)
    return project.dataset.accept(image, image > 200, name=f"image {seed}")


def kinds(report: CheckReport) -> list[tuple[str, str]]:
    return [(problem.kind, problem.path) for problem in report.problems]


def test_a_sound_project_has_no_problems(project):
    report = check(project)
    assert report.problems == ()
    assert report.is_sound
    assert report.files_checked == 6 + 2 + 1 + 1
    assert report.bytes_checked > 0


def test_missing_and_changed_files_are_found_with_their_way_out(project):
    first, second, _third = project.dataset.pairs
    (project.folder / first.image_path).unlink()
    with (project.folder / second.mask_path).open("r+b") as file:
        file.seek(200)
        file.write(b"\0flip")
    (project.folder / "checkpoints/unet_run_001.pt").write_bytes(b"fIrst")
    report = check(project)
    assert kinds(report) == [
        ("missing file", first.image_path),
        ("changed file", second.mask_path),
        ("changed file", "checkpoints/unet_run_001.pt"),
    ]
    assert not report.is_sound
    assert f"maskloop remove DIR {first.pair_id}" in report.problems[0].way_out
    assert "changed after it was written" in report.problems[1].problem


def test_leftovers_of_a_crash_are_harmless(project):
    for path in (
        "dataset/images/pair_0009_aaaa.tif",
        "checkpoints/unet_run_009.pt",
        "predictions/.prediction_009.tif.x1.tmp",
    ):
        (project.folder / path).write_bytes(b"left")
    report = check(project)
    assert sorted(kinds(report)) == [
        ("orphan", "checkpoints/unet_run_009.pt"),
        ("orphan", "dataset/images/pair_0009_aaaa.tif"),
        ("unfinished write", "predictions/.prediction_009.tif.x1.tmp"),
    ]
    assert report.is_sound


def test_removed_pairs_and_former_versions_are_no_orphans(project):
    pair = project.dataset.pairs[0]
    project.dataset.replace(pair.pair_id, mask=np.eye(32, dtype=bool))
    project.dataset.remove(pair.pair_id)
    assert check(project).problems == ()


def test_a_check_tells_how_far_it_is_and_can_be_stopped(project):
    events: list[Event] = []
    check(project, report=events.append)
    assert all(isinstance(event, Progress) for event in events)
    assert events[-1].done == events[-1].total == 10
    with pytest.raises(Cancelled, match="stopped after 0 of 10 files"):
        check(project, is_cancelled=lambda: True)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1, 2]", b"\xff\xfe\x00", b'{"version": 2}', None]
)
@pytest.mark.parametrize(
    "path",
    [
        layout.MANIFEST,
        layout.CHECKPOINTS,
        layout.CONFIG,
        layout.REGISTRY,
        layout.TRAINING_RUNS,
        layout.ARCHITECTURE,
    ],
)
def test_any_broken_record_is_put_right_and_the_broken_file_kept(project, path, content):
    place = project.folder / path
    if content is None:
        place.unlink()
    else:
        place.write_bytes(content)
    again = ProjectFolder.open(project.folder)
    harmless_here = (
        path in (layout.CHECKPOINTS, layout.TRAINING_RUNS, layout.ARCHITECTURE)
        and content == b'{"version": 2}'
    )
    if not harmless_here:
        assert ("broken record", path) in kinds(check(again))
    done = repair(again)
    assert done.left.is_sound, done.left.problems
    # The copy before the last write lacks the newest pair; the journal has it.
    assert [pair.name for pair in again.dataset.all_pairs] == ["image 0", "image 1", "image 2"]
    if not harmless_here and content is not None:
        aside = next(place.parent.glob(f"{place.name}.broken-*"))
        assert aside.read_bytes() == content
        assert aside.name in done.repaired[0]
    accept(again, 77)
    assert check(again).is_sound


def test_whole_lines_of_a_torn_manifest_are_saved(project):
    place = project.folder / layout.MANIFEST
    content = place.read_bytes()
    shutil.copy(place, project.folder / "intact.json")
    Path(f"{place}.last-good").unlink()
    Path(f"{place}.journal").unlink()
    place.write_bytes(content[: content.rindex(b'{"pair_id"') + 20])
    again = ProjectFolder.open(project.folder)
    with pytest.raises(RecordError, match="Restore it from a backup"):
        _ = again.dataset.pairs
    done = repair(again)
    assert "2 intact entries" in done.repaired[0]
    assert [pair.name for pair in again.dataset.pairs] == ["image 0", "image 1"]
    assert {kind for kind, _ in kinds(done.left)} == {"orphan"}
    assert accept(again, 50).pair_id.startswith("pair_0004_"), (
        "the number of the lost line is not used again"
    )


def test_what_follows_the_checkpoints_is_brought_in_step(project):
    (project.folder / layout.LATEST).write_bytes(b"not the latest")
    (project.folder / layout.BENCHMARKS).write_bytes(b"\xff\xfe broken")
    assert sorted(kinds(check(project))) == [
        ("broken record", layout.BENCHMARKS),
        ("out of step", layout.LATEST),
    ]
    done = repair(ProjectFolder.open(project.folder))
    assert done.left.problems == ()
    assert (project.folder / layout.LATEST).read_bytes() == b"second"
    assert [row["checkpoint_id"] for row in project.history.benchmarks()] == [
        "unet_run_001",
        "unet_run_002",
    ]


def test_repair_of_a_sound_project_changes_no_record(project):
    before = {
        path: (project.folder / path).read_bytes()
        for path in layout.records()
        if path != layout.CONFIG
    }
    assert repair(project).repaired == ()
    assert {path: (project.folder / path).read_bytes() for path in before} == before


def test_a_pair_recorded_twice_is_found(project):
    place = project.folder / layout.MANIFEST
    lines = place.read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith('{"pair_id"'))
    place.write_text("\n".join([*lines[: at + 1], *lines[at:]]))
    report = check(ProjectFolder.open(project.folder))
    assert "is recorded 2 times" in report.problems[0].problem


@pytest.mark.parametrize("damage", ["emptied", "deleted", "cut"])
def test_a_lost_manifest_is_rebuilt_to_the_last_change(project, damage):
    first, second, third = project.dataset.pairs
    project.dataset.purge(project.dataset.remove(first.pair_id).pair_id)
    project.dataset.mark_validation(second.pair_id)
    newest = accept(project, 9)
    project.dataset.remove(third.pair_id)
    whole = project.dataset.all_pairs
    place = project.folder / layout.MANIFEST
    content = place.read_bytes()
    place.write_bytes({"emptied": b"", "deleted": b"", "cut": content[:300]}[damage])
    if damage == "deleted":
        place.unlink()
    again = ProjectFolder.open(project.folder)
    assert repair(again).left.is_sound
    assert again.dataset.all_pairs == whole
    assert [pair.pair_id for pair in again.dataset.pairs] == [second.pair_id, newest.pair_id]
    assert accept(again, 10).pair_id.startswith("pair_0005_")


def test_the_journal_alone_brings_every_pair_back(project):
    place = project.folder / layout.MANIFEST
    whole = project.dataset.all_pairs
    place.unlink()
    Path(f"{place}.last-good").unlink()
    again = ProjectFolder.open(project.folder)
    assert "from its journal" in repair(again).repaired[0]
    assert again.dataset.all_pairs == whole


def test_a_journal_starts_anew_where_another_program_wrote_the_record(project):
    place = project.folder / layout.MANIFEST
    before = place.read_bytes()
    gone = accept(project, 7)
    place.write_bytes(before)  # restored from a backup
    kept = accept(ProjectFolder.open(project.folder), 8)
    place.unlink()
    again = ProjectFolder.open(project.folder)
    repair(again)
    ids = [pair.pair_id for pair in again.dataset.pairs]
    assert kept.pair_id in ids
    assert gone.pair_id not in ids


def test_a_journal_does_not_grow_beyond_measure(project, monkeypatch):
    from maskloop.project import journal

    monkeypatch.setattr(journal, "_SPARE", 0)
    file = project.folder / f"{layout.MANIFEST}.journal"
    for number in range(40):
        project.dataset.change("mark", lambda pair, n=number: changed(pair, name=f"name {n}"))
    assert file.stat().st_size < 5 * (project.folder / layout.MANIFEST).stat().st_size
    (project.folder / layout.MANIFEST).unlink()
    again = ProjectFolder.open(project.folder)
    repair(again)
    assert {pair.name for pair in again.dataset.pairs} == {"name 39"}


def test_a_write_that_fails_leaves_nothing_in_the_journal(project, monkeypatch):
    from maskloop.project import store

    file = project.folder / f"{layout.MANIFEST}.journal"
    accept(project, 5)
    before = file.read_bytes()

    def full(path: Path, content: bytes) -> None:
        raise ProjectError("The disk is full.", "Free some space.")

    with monkeypatch.context() as patched:
        patched.setattr(store, "write_content", full)
        with pytest.raises(ProjectError, match="The disk is full"):
            accept(project, 6)
    assert file.read_bytes() == before
    newest = accept(project, 7)
    (project.folder / layout.MANIFEST).unlink()
    again = ProjectFolder.open(project.folder)
    repair(again)
    assert [pair.name for pair in again.dataset.pairs][-2:] == ["image 5", newest.name]


def emptied(folder: Path, path: str, name: str) -> None:
    """Take the entries out of a record by hand; what is left is valid JSON."""
    record = json.loads((folder / path).read_text())
    (folder / path).write_text(json.dumps({**record, name: []}))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (layout.MANIFEST, "pairs"),
        (layout.CHECKPOINTS, "checkpoints"),
        (layout.REGISTRY, "models"),
        (layout.PREDICTIONS, "predictions"),
    ],
)
def test_a_valid_record_that_lost_its_entries_gets_them_back_from_its_journal(project, path, name):
    before = read_record(project.folder / path, layout.records()[path])
    emptied(project.folder, path, name)
    again = ProjectFolder.open(project.folder)
    (found,) = [one for one in check(again).problems if one.kind == "lost entries"]
    assert found.path == path
    assert f"lacks {len(getattr(before, name))} of the" in found.problem
    assert any("check --repair" in warning for warning in again.status().warnings)
    done = repair(again)
    assert done.left.problems == ()
    after = read_record(project.folder / path, layout.records()[path])
    assert getattr(after, name) == getattr(before, name)
    assert any("which its journal still holds" in line for line in done.repaired)


def test_the_next_write_does_not_make_a_loss_final(project, caplog):
    before = project.dataset.all_pairs
    emptied(project.folder, layout.MANIFEST, "pairs")
    again = ProjectFolder.open(project.folder)
    fresh = accept(again, 9)
    assert again.dataset.all_pairs == (*before, fresh)
    assert "3 entries were missing from" in caplog.text
    assert check(again).problems == ()


def test_an_older_copy_in_the_place_of_a_record_costs_no_pair(project):
    manifest = project.folder / layout.MANIFEST
    older = manifest.read_bytes()
    for seed in (7, 8):
        accept(project, seed)
    whole = project.dataset.all_pairs
    manifest.write_bytes(older)
    again = ProjectFolder.open(project.folder)
    assert [one.kind for one in check(again).problems if not one.is_harmless] == ["lost entries"]
    assert repair(again).left.problems == ()
    assert again.dataset.all_pairs == whole


def test_a_pair_that_was_erased_does_not_come_back(project):
    first = project.dataset.pairs[0]
    project.dataset.remove(first.pair_id)
    project.dataset.purge(first.pair_id)
    emptied(project.folder, layout.MANIFEST, "pairs")
    again = ProjectFolder.open(project.folder)
    repair(again)
    assert [pair.pair_id for pair in again.dataset.all_pairs] == [
        pair.pair_id for pair in project.dataset.all_pairs
    ]


def test_a_write_that_was_killed_before_its_record_is_not_taken_for_a_loss(project):
    manifest = project.folder / layout.MANIFEST
    before = manifest.read_bytes()
    accept(project, 9)
    manifest.write_bytes(before)  # as it is where the journal was written and the record was not
    again = ProjectFolder.open(project.folder)
    assert [one.kind for one in check(again).problems] == ["orphan", "orphan"]
    accept(again, 10)
    assert len(again.dataset.pairs) == 4
    assert len(Journal(manifest, PAIRS).replay().entries) == 4


def edit(project: ProjectFolder, path: str, **values: object) -> None:
    """Change the first entry of a record by hand, as an editor would."""
    file = project.path(path)
    content = json.loads(file.read_text())
    entry = next(value for value in content.values() if isinstance(value, list))[0]
    entry.update(values)
    file.write_text(json.dumps(content))


@pytest.mark.parametrize("metric", ["text", [1], {"a": 1}])
def test_a_metric_that_is_no_number_is_not_shown(project: ProjectFolder, metric: object) -> None:
    file = project.path(layout.CHECKPOINTS)
    content = json.loads(file.read_text())
    content["checkpoints"][-1]["metrics"] = {"ap50": metric, "dice": 0.5}
    file.write_text(json.dumps(content))
    assert project.status().latest_benchmark == {"dice": 0.5}


@pytest.mark.parametrize("path", ["a/" * 3000 + "b", "x" * 300])
def test_a_path_too_long_for_any_disk_is_refused_in_words(
    project: ProjectFolder, path: str
) -> None:
    edit(project, layout.MANIFEST, image_path=path)
    problems = check(project).problems
    assert any("is too long" in problem.problem for problem in problems)
    assert project.status().state == "broken"
