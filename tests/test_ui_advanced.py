"""The verbs of the Advanced tab, without a window."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("psygnal")

import torch
from ui_session import Pump, open_session

from maskloop import Project
from maskloop.compute.proposals import summarize_network
from maskloop.images.image import Image
from maskloop.models.unet.network import build_unet
from maskloop.models.unet.records import UNetArchitecture, UNetNetwork
from maskloop.project import layout
from maskloop.samples import simulate_pairs
from maskloop.task import Task
from maskloop.ui.controllers.network import _misfits
from maskloop.ui.controllers.notes import BOTH
from maskloop.ui.controllers.weights_import import bring_in
from maskloop.ui.session import Session

SMALL = {"depth": 2, "base_channels": 4}


def make_project(folder: Path, *, pairs: int = 1, **architecture: object) -> Path:
    project = Project.create(folder, mode="binary", architecture={**SMALL, **architecture})
    for image, labels in simulate_pairs(pairs, shape=(64, 64), seed=1):
        project.dataset.accept(image, labels > 0)
    return folder


def opened(session: Session, pump: Pump, folder: Path) -> Session:
    session.workspace.open(folder)
    pump.until(lambda: session.workspace.snapshot.condition != "none")
    pump.settle(session)
    return session


def add_checkpoint(folder: Path, **architecture: object) -> str:
    project = Project.open(folder)
    file = folder.parent / "weights.pt"
    file.write_bytes(b"weights")
    described = UNetNetwork.model_validate({**SMALL, **architecture}).model_dump(mode="json")
    record = project.checkpoints.register(file, run_id="", task=Task(), network=described)
    return record.checkpoint_id


# The network


def test_the_network_is_edited_saved_and_reverted(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, failures):
        network = opened(session, pump, folder).network
        assert (network.values["depth"], network.is_dirty) == (2, False)
        assert network.why_not_save == "Nothing was changed."
        network.edit({"depth": 3})
        assert network.is_dirty
        assert network.why_not_save is None
        network.revert()
        assert (network.values["depth"], network.is_dirty) == (2, False)
        network.edit({"base_channels": 8})
        network.save()
        pump.settle(session)
        assert Project.open(folder).architecture["base_channels"] == 8
        assert not network.is_dirty
        assert not failures


def test_a_network_that_cannot_be_is_refused_in_words(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, _):
        network = opened(session, pump, folder).network
        network.edit({"depth": 9})
        assert network.problem == "Depth must be at most 7, not 9."
        assert network.why_not_save == network.problem
        assert network.summary is None


def test_mode_and_classes_are_decided_elsewhere(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, _):
        network = opened(session, pump, folder).network
        network.edit({"output_mode": "instances", "num_classes": 7})
        assert not network.is_dirty
        assert network.decided.startswith("Task: binary (foreground).")


def test_what_another_window_saves_is_shown_unless_something_is_being_edited(
    tmp_path: Path,
) -> None:
    folder = make_project(tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, _):
        network = opened(session, pump, folder).network
        other = Project.open(folder)
        other.set_architecture({**other.architecture, "depth": 1})
        pump.until(lambda: network.values["depth"] == 1)
        network.edit({"depth": 4})
        other.set_architecture({**other.architecture, "base_channels": 2})
        pump.until(lambda: session.workspace.snapshot.architecture["base_channels"] == 2)
        assert (network.values["depth"], network.is_dirty) == (4, True)
        network.revert()
        assert (network.values["depth"], network.values["base_channels"]) == (1, 2)


def test_checkpoints_of_another_network_are_named(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    fits, other = add_checkpoint(folder), add_checkpoint(folder, depth=3)
    with open_session(tmp_path) as (session, pump, _):
        network = opened(session, pump, folder).network
        assert network.misfits.startswith(
            f"Other network: {other} (depth 3). You can still predict with it"
        )
        network.edit({"depth": 3})
        pump.until(lambda: network.misfits.startswith(f"Other network: {fits} (depth 2)"))
        network.edit({"depth": 2, "upsampling": "bilinear"})
        pump.until(lambda: "You can still predict with them" in network.misfits)


def test_many_checkpoints_of_another_network_are_counted(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    for _ in range(5):
        add_checkpoint(folder)
    words = _misfits(
        "basic_unet", Task(), UNetArchitecture(depth=5), Project.open(folder).checkpoints.list()
    )
    assert "unet_run_005" in words
    assert "unet_run_001" not in words
    assert "and 2 others." in words


def test_the_summary_is_counted_apart_and_only_while_somebody_looks(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, failures):
        network = opened(session, pump, folder).network
        network.edit({"base_channels": 5})
        pump.settle(session)
        assert network.summary is None
        network.stale.connect(network.count)
        network.watch(True)
        pump.until(lambda: network.summary is not None)
        first = network.summary
        assert first is not None
        assert first.described.parameters == sum(
            p.numel() for p in build_unet(UNetNetwork(depth=2, base_channels=5)).parameters()
        )
        network.edit({"base_channels": 6})
        pump.until(lambda: network.summary not in (None, first))
        assert not failures


def test_the_summary_says_what_a_person_asks(tmp_path: Path) -> None:
    summary = summarize_network(
        str(make_project(tmp_path / "cells", pairs=0)),
        {"base_channels": 64},
    )
    assert summary.words.startswith(
        "31.0 M parameters, 18 convolutions + 4 upsamplings + 1 projection; weights 124 MB; about "
    )
    assert summary.words.endswith("for a training step of 4 patches of 256 x 256")
    assert summary.problem == ""


def test_the_summary_is_that_of_the_patch_which_a_training_would_take(tmp_path: Path) -> None:
    summary = summarize_network(
        str(make_project(tmp_path / "cells")), {**SMALL, "preset": "resunet"}
    )
    assert summary.words.endswith("patches of 64 x 64")
    assert "5 shortcuts" in summary.words


def test_what_a_training_would_fit_to_the_images_is_told(tmp_path: Path) -> None:
    cells = make_project(tmp_path / "cells")
    Project.open(cells).update_config(task=Task(channels=3))
    summary = summarize_network(str(cells), SMALL)
    assert "takes 3 channels, the images have 1" in summary.problem
    folder = make_project(tmp_path / "small", pairs=0, depth=4)
    Project.open(folder).dataset.accept(
        *(part[:24, :24] for part in simulate_pairs(1, shape=(64, 64), seed=1)[0])
    )
    summary = summarize_network(str(folder), {"base_channels": 4})
    assert [one.split(":")[0] for one in summary.adapted] == [
        "depth 2",
        "dimensions 2d",
        "input channels 1",
    ]
    assert summary.adapted[0].startswith("depth 2: The shortest side is 24 px")


def test_how_z_is_halved_is_told(tmp_path: Path) -> None:
    made = Project.create(tmp_path / "thin", mode="instances")
    labels = np.zeros((10, 64, 64), np.uint8)
    labels[2:8, 10:40, 10:40] = 1
    made.dataset.accept(
        Image(labels * np.uint8(90), "ZYX", {"Z": 1.0, "Y": 0.2, "X": 0.2}), labels, name="stack"
    )
    told = " ".join(summarize_network(str(made.folder), {}).adapted)
    assert (
        "z strides 1, 1, 2, 1: Planes are 5.0 times as far apart as pixels, and 10 planes can be "
        "halved 1 time." in told
    )


def test_few_parameters_are_counted_in_full(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells", pairs=0, depth=1, base_channels=2)
    words = summarize_network(str(folder), {"depth": 1, "base_channels": 2}).words
    assert words.startswith(
        "447 parameters, 6 convolutions + 1 upsampling + 1 projection; weights 2."
    )


# Imported weights


def save_weights(file: Path, **architecture: object) -> Path:
    torch.save(build_unet(UNetNetwork.model_validate({**SMALL, **architecture})).state_dict(), file)
    return file


def test_imported_weights_say_what_matched(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    brought = bring_in(str(folder), str(save_weights(tmp_path / "same.pt")), {})
    assert brought.words.startswith("All tensors match (U-Net 2D, depth 2")
    assert brought.words.endswith("The network is the project's.")
    brought = bring_in(str(folder), str(save_weights(tmp_path / "deeper.pt", depth=3)), {})
    assert brought.words.endswith("The network differs from the project's: depth 3, here 2.")


def test_weights_are_brought_in_apart_and_chosen_for_the_next_training(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    file = save_weights(tmp_path / "deeper.pt", depth=3)
    with open_session(tmp_path) as (session, pump, failures):
        imported = opened(session, pump, folder).weights
        imported.bring_in(file)
        assert imported.is_busy
        pump.until(lambda: imported.rows)
        assert "All tensors match (U-Net 2D, depth 3" in imported.words
        row = imported.rows[0]
        assert (row.fit, row.is_start) == (
            "The network differs from the project's: depth 3, here 2.",
            False,
        )
        assert imported.network_of(row.model.model_id)["depth"] == 3
        imported.start_from(row.model.model_id)
        pump.until(lambda: imported.rows[0].is_start)
        assert Project.open(folder).weights.start.imported_model_id == row.model.model_id
        assert not failures


def test_weights_that_are_refused_say_why(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    whole = tmp_path / "whole.pt"
    torch.save(build_unet(UNetNetwork(depth=1, base_channels=2)), whole)
    with open_session(tmp_path) as (session, pump, failures):
        imported = opened(session, pump, folder).weights
        imported.bring_in(whole)
        pump.until(lambda: failures)
        assert "would execute code in it" in failures[0][0]
        assert imported.words == failures[0][0]
        assert "save only the weights" in failures[0][1]
        imported.bring_in(save_weights(tmp_path / "group.pt", normalization="none"))
        pump.until(lambda: len(failures) == 2)
        assert "does not match the network" in failures[1][0]
        assert not imported.is_busy
        imported.bring_in(tmp_path / "group.pt", {"normalization": "none"})
        pump.until(lambda: imported.rows)


# Notes


def test_notes_are_kept_and_a_closing_window_loses_none(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, _):
        notes = opened(session, pump, folder).notes
        notes.edit("first")
        notes.save()
        pump.settle(session)
        assert (Project.open(folder).notes, notes.state) == ("first", "Saved")
        notes.edit("first and last")
    assert Project.open(folder).notes == "first and last"


def test_notes_written_while_they_are_saved_are_saved_too(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, _):
        notes = opened(session, pump, folder).notes
        for text in ("a", "ab", "abc"):
            notes.edit(text)
            notes.save()
        pump.settle(session)
        assert Project.open(folder).notes == "abc"
        assert notes.theirs is None


def test_notes_of_another_project_are_not_mixed_up(tmp_path: Path) -> None:
    one, two = make_project(tmp_path / "one"), make_project(tmp_path / "two")
    with open_session(tmp_path) as (session, pump, _):
        notes = opened(session, pump, one).notes
        notes.edit("of one")
        session.workspace.open(two)
        pump.until(
            lambda: (
                session.workspace.project is not None and session.workspace.project.folder == two
            )
        )
        pump.settle(session)
        assert notes.text == ""
        assert Project.open(one).notes == "of one"
        assert Project.open(two).notes == ""


def test_notes_of_another_window_are_shown_when_nothing_is_lost_by_it(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, _):
        notes = opened(session, pump, folder).notes
        Project.open(folder).set_notes("theirs")
        pump.until(lambda: notes.text == "theirs")
        assert notes.theirs is None


@pytest.mark.parametrize(
    ("choice", "kept"),
    [("keep_both", f"mine{BOTH}theirs"), ("keep_mine", "mine"), ("take_theirs", "theirs")],
)
def test_notes_of_two_windows_are_both_offered(tmp_path: Path, choice: str, kept: str) -> None:
    folder = make_project(tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, _):
        notes = opened(session, pump, folder).notes
        notes.edit("mine")
        Project.open(folder).set_notes("theirs")
        notes.save()
        pump.until(lambda: notes.theirs == "theirs")
        assert notes.state == "Another window changed the notes meanwhile."
        assert Project.open(folder).notes == "theirs"
        getattr(notes, choice)()
        pump.settle(session)
        assert Project.open(folder).notes == kept
        assert (notes.text, notes.theirs, notes.is_dirty) == (kept, None, False)


def test_a_window_that_closes_over_two_notes_keeps_both(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, _):
        opened(session, pump, folder).notes.edit("mine")
        Project.open(folder).set_notes("theirs")
    assert Project.open(folder).notes == f"mine{BOTH}theirs"


# Check and repair


def test_a_sound_folder_is_well(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, failures):
        checkup = opened(session, pump, folder).checkup
        told: list[tuple[float, float]] = []
        checkup.progressed.connect(lambda done, total: told.append((done, total)))
        assert checkup.why_not_repair == "Check the folder first."
        checkup.check()
        assert checkup.why_not_repair == "Wait until it is done."
        pump.until(lambda: not checkup.is_checking)
        assert checkup.words.startswith("No problems: 2 files")
        assert checkup.problems == ()
        assert checkup.why_not_repair == "There is nothing that a repair could fix."
        assert told
        assert not failures


def test_a_broken_record_is_found_and_repaired(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    (folder / layout.CHECKPOINTS).write_text("{")
    (folder / "dataset/images/stray.tif").write_bytes(b"?")
    with open_session(tmp_path) as (session, pump, failures):
        checkup = opened(session, pump, folder).checkup
        checkup.check()
        pump.until(lambda: not checkup.is_checking)
        assert [(problem.kind, problem.is_harmless) for problem in checkup.problems] == [
            ("broken record", False),
            ("orphan", True),
        ]
        assert checkup.words.endswith("plus 1 harmless.")
        assert checkup.will_do[0].startswith(f"'{layout.CHECKPOINTS}' is rebuilt")
        checkup.repair()
        pump.until(lambda: not checkup.is_repairing)
        assert checkup.words.startswith(f"Repaired. '{layout.CHECKPOINTS}' was rebuilt")
        assert [problem.kind for problem in checkup.problems] == ["orphan"]
        pump.until(lambda: session.workspace.snapshot.condition == "valid")
        assert not failures


def test_a_check_can_be_stopped_and_ends_with_its_project(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells", pairs=3)
    with open_session(tmp_path) as (session, pump, _):
        said: list[str] = []
        session.workspace.events.said.connect(said.append)
        checkup = opened(session, pump, folder).checkup
        checkup.check()
        checkup.cancel()
        pump.until(lambda: not checkup.is_checking)
        assert checkup.report is not None or said[-1].startswith("The check was stopped after")
        checkup.check()
        session.workspace.leave()
        assert not checkup.is_checking
        pump.settle(session)
        assert checkup.report is None


# About


def test_the_folder_and_the_versions_are_told(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, _):
        advanced = opened(session, pump, folder).about
        pump.until(lambda: advanced.facts)
        facts = dict(advanced.facts)
        assert facts["Folder"] == str(folder)
        assert facts["Software versions"].startswith("Python 3")
        assert advanced.words == ""
        session.workspace.leave()
        assert advanced.facts == ()


def test_an_ended_session_leaves_no_threads(tmp_path: Path) -> None:
    before = threading.active_count()
    with open_session(tmp_path) as (session, pump, _):
        opened(session, pump, make_project(tmp_path / "cells")).checkup.check()
    assert threading.active_count() <= before
