"""The session of the window, without a window."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("psygnal")

from ui_session import open_session
from waiting import DEADLINE_S

from maskloop import Project
from maskloop.errors import UsageError
from maskloop.events import Event, Failed, Finished, Metric, Started
from maskloop.jobs.training import TrainJob
from maskloop.models.unet.records import UNetRecipe
from maskloop.samples import simulate_pairs
from maskloop.ui.controllers.runs import RunController
from maskloop.ui.recent import RecentProjects


def make_project(folder: Path, count: int = 2) -> Path:
    project = Project.create(folder, mode="binary")
    for image, labels in simulate_pairs(count, shape=(64, 64), seed=1):
        project.dataset.accept(image, labels)
    return folder


def test_a_new_session_has_no_project_and_says_what_to_do(tmp_path: Path) -> None:
    with open_session(tmp_path) as (session, _, _):
        assert session.workspace.snapshot.condition == "none"
        assert "select or create" in str(session.workspace.snapshot.why_not_write)


def test_a_project_is_created_only_when_asked_for_and_remembered(tmp_path: Path) -> None:
    with open_session(tmp_path) as (session, pump, failures):
        assert list(tmp_path.iterdir()) == []
        session.workspace.create(tmp_path / "cells", mode="multiclass", classes=["axon", "myelin"])
        pump.until(lambda: session.workspace.snapshot.condition == "valid")
        pump.settle(session)
        assert session.workspace.recent.list() == [tmp_path / "cells"]
        assert session.workspace.snapshot.status is not None
        assert session.workspace.snapshot.status.classes == ("background", "axon", "myelin")
        assert not failures


def test_the_list_of_projects_is_short_and_survives_a_file_that_is_torn(tmp_path: Path) -> None:
    recent = RecentProjects(tmp_path / "settings" / "recent.json")
    for number in range(12):
        recent.add(tmp_path / str(number))
    recent.set_images(tmp_path / "11", ["a", "b/*.tif"])
    recent.add(tmp_path / "5")
    recent.add(tmp_path / "11")
    assert recent.list() == [
        tmp_path / name for name in ("11", "5", "10", "9", "8", "7", "6", "4", "3", "2")
    ]
    assert recent.images(tmp_path / "11") == ("a", "b/*.tif")
    assert recent.images(tmp_path / "0") == ()
    (tmp_path / "settings" / "recent.json").write_text('{"projects": {"')
    assert recent.list() == []
    (tmp_path / "settings" / "recent.json").write_text('["of another version"]')
    assert recent.list() == []


def test_what_another_process_writes_is_seen(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, _):
        session.workspace.open(folder)
        pump.until(lambda: len(session.workspace.snapshot.active_pairs) == 2)
        Project.open(folder).dataset.accept(np.eye(64, dtype=np.uint8), np.eye(64, dtype=np.uint8))
        pump.until(lambda: len(session.workspace.snapshot.active_pairs) == 3)


def test_a_folder_that_vanishes_is_missing_and_comes_back(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, failures):
        session.workspace.open(folder)
        pump.until(lambda: session.workspace.snapshot.condition == "valid")
        shutil.move(folder, tmp_path / "elsewhere")
        pump.until(lambda: session.workspace.snapshot.condition == "missing")
        assert "Move it back" in str(session.workspace.snapshot.why_not_write)
        shutil.move(tmp_path / "elsewhere", folder)
        pump.until(lambda: session.workspace.snapshot.condition == "valid")
        assert len(session.workspace.snapshot.active_pairs) == 2
        assert not failures


def test_a_broken_record_is_named_and_the_rest_is_shown(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    (folder / "checkpoints/checkpoints.json").write_text("{")
    with open_session(tmp_path) as (session, pump, _):
        session.workspace.open(folder)
        pump.until(lambda: session.workspace.snapshot.condition == "incomplete")
        assert "checkpoints.json" in session.workspace.snapshot.words
        assert session.workspace.snapshot.way_out
        assert len(session.workspace.snapshot.active_pairs) == 2


def test_no_project_there_is_told_in_words(tmp_path: Path) -> None:
    with open_session(tmp_path) as (session, pump, failures):
        session.workspace.open(tmp_path / "nothing")
        pump.until(lambda: failures)
        assert "There is no folder" in failures[0][0]
        assert session.workspace.project is None


def test_a_long_writer_is_named(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, _):
        session.workspace.open(folder)
        pump.until(lambda: session.workspace.snapshot.condition == "valid")
        with Project.open(folder).writing("test writing"):
            pump.until(lambda: session.workspace.snapshot.condition == "locked")
            assert "Locked by process" in session.workspace.snapshot.words
            assert session.workspace.snapshot.why_not_write is None
        pump.until(lambda: session.workspace.snapshot.condition == "valid")


def test_only_the_newest_work_of_a_key_counts(tmp_path: Path) -> None:
    with open_session(tmp_path) as (session, pump, _):
        got: list[int] = []
        for number in range(20):
            session.workspace.background.run(lambda number=number: number, got.append, key="count")
        pump.until(lambda: got)
        pump.settle(session)
        assert got == [19]


def test_work_apart_runs_in_another_process_and_survives_its_death(tmp_path: Path) -> None:
    import os
    import signal

    with open_session(tmp_path) as (session, pump, failures):
        got: list[int] = []
        session.workspace.background.apart(os.getpid, helper="plan", then=got.append)
        pump.until(lambda: got)
        assert got[0] != os.getpid()
        if hasattr(os, "getpriority"):
            assert os.getpriority(os.PRIO_PROCESS, got[0]) > os.getpriority(os.PRIO_PROCESS, 0), (
                "it should give way to the window"
            )
        os.kill(got[0], signal.SIGKILL)
        session.workspace.background.apart(os.getpid, helper="plan", then=got.append)
        pump.until(lambda: failures or len(got) == 2)
        session.workspace.background.apart(os.getpid, helper="plan", then=got.append)
        pump.until(lambda: len(got) >= 2)
        assert got[-1] not in (got[0], os.getpid())


def test_work_of_one_helper_never_waits_for_that_of_another(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with open_session(tmp_path) as (session, pump, failures):
        order: list[str] = []
        # It waits until somebody writes, as a plan does that takes long.
        session.workspace.background.apart(Path.read_text, pipe, helper="plan", then=order.append)
        session.workspace.background.apart(str.upper, "next plan", helper="plan", then=order.append)
        session.workspace.background.apart(str.upper, "prompt", helper="prompts", then=order.append)
        pump.until(lambda: order)
        assert order == ["PROMPT"]
        pipe.write_text("plan")
        pump.until(lambda: len(order) == 3)
        assert order == ["PROMPT", "plan", "NEXT PLAN"]
        assert not failures


def test_errors_of_work_apart_come_back(tmp_path: Path) -> None:
    with open_session(tmp_path) as (session, pump, failures):
        session.workspace.background.apart(
            Project.open, tmp_path / "nowhere", helper="plan", then=lambda _: None
        )
        pump.until(lambda: failures)
        assert "nowhere" in failures[0][0]
        session.workspace.background.apart(divmod, 1, 0, helper="plan", then=lambda _: None)
        pump.until(lambda: len(failures) == 2)
        assert "ZeroDivisionError" in failures[1][0]
        got: list[str] = []
        session.workspace.background.apart(
            print, "what libraries print", helper="plan", then=lambda _: got.append("printed")
        )
        session.workspace.background.apart(
            str.upper, "still in step", helper="plan", then=got.append
        )
        pump.until(lambda: len(got) == 2)
        assert got == ["printed", "STILL IN STEP"]


def test_work_apart_does_not_run_the_script_again_that_opened_the_window(tmp_path: Path) -> None:
    script = tmp_path / "open_napari.py"
    script.write_text(
        "import os, threading\n"
        "print('a window is opened', flush=True)\n"
        "from maskloop.ui.background import Background\n"
        "done = threading.Event()\n"
        "background = Background(lambda function: function(), print)\n"
        "background.apart(os.getpid, helper='plan', then=lambda found: (print('apart' if found != "
        "os.getpid() else 'here'), done.set()))\n"
        "assert done.wait(60)\n"
        "background.close()\n"
    )
    (tmp_path / "random.py").write_text("raise SystemExit('a stray file of the person')\n")
    ran = subprocess.run(
        [sys.executable, "-P", str(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.stdout.split("\n") == ["a window is opened", "apart", ""], ran.stderr


def test_a_session_closes_at_once_while_something_is_done_apart(tmp_path: Path) -> None:
    with open_session(tmp_path) as (session, pump, failures):
        got: list[int] = []
        session.workspace.background.apart(os.getpid, helper="plan", then=got.append)
        pump.until(lambda: got)
        session.workspace.background.apart(signal.pause, helper="plan", then=lambda _: None)
        closing = threading.Thread(target=session.close)
        closing.start()
        closing.join(DEADLINE_S)
        assert not closing.is_alive(), "it waits for work that never ends"
        with pytest.raises(ProcessLookupError):
            os.kill(got[0], 0)
        assert not failures


def test_the_window_is_told_of_no_command_line(tmp_path: Path) -> None:
    """Options in parentheses help only there."""
    with open_session(tmp_path) as (session, _pump, failures):
        told: list[str] = []
        session.workspace.events.said.connect(told.append)
        session.workspace.fail(UsageError("No pairs (--pairs all).", "Add (maskloop add DIR)."))
        session.workspace.say("Done (maskloop runs DIR).")
        assert list(failures) == [("No pairs.", "Add.")]
        failures.clear()
    assert told == ["Done."]


def test_an_unexpected_error_is_told_without_a_traceback(tmp_path: Path) -> None:
    with open_session(tmp_path) as (session, pump, failures):
        session.workspace.background.run(lambda: 1 / 0)
        pump.until(lambda: failures)
        assert failures[0][0] == "Unexpected error: ZeroDivisionError: division by zero"
        assert "Traceback" not in "".join(failures[0])


def test_a_run_of_another_process_is_followed_from_its_beginning(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    with open_session(tmp_path) as (first, pump, failures):
        first.workspace.open(folder)
        pump.until(lambda: first.workspace.snapshot.condition == "valid")
        run = RunController(first.workspace, "train")
        run.start(
            lambda _project: TrainJob(
                recipe=UNetRecipe(epochs=400, base_channels=2, depth=1, patch_size=(32, 32))
            )
        )
        seen: list[Event] = []
        run.told.connect(seen.extend)
        pump.until(lambda: any(isinstance(event, Metric) for event in seen))
        run_id = run.run_id
        run.close()
    # The window is closed; the training goes on.
    with open_session(tmp_path) as (second, pump, failures):
        second.workspace.open(folder)
        pump.until(lambda: second.workspace.snapshot.runs)
        assert second.workspace.snapshot.runs[-1].state == "running"
        run, seen, last = RunController(second.workspace, "train"), [], []
        run.told.connect(seen.extend)
        run.ended.connect(last.append)
        run.show(str(run_id))
        pump.until(lambda: seen)
        assert isinstance(seen[0], Started)
        assert run.is_active
        run.cancel()
        pump.until(lambda: last)
        assert isinstance(last[0], Finished)
        pump.until(lambda: second.workspace.snapshot.checkpoints)
        run.close()
        assert not failures


def test_a_killed_run_leaves_the_session_alive_and_can_be_resumed(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "cells")
    with open_session(tmp_path) as (session, pump, _):
        session.workspace.open(folder)
        pump.until(lambda: session.workspace.snapshot.condition == "valid")
        run, seen, last = RunController(session.workspace, "train"), [], []
        run.told.connect(seen.extend)
        run.ended.connect(last.append)
        run.start(
            lambda _project: TrainJob(
                recipe=UNetRecipe(
                    epochs=30, base_channels=2, depth=1, patch_size=(32, 32), save_every_s=0
                )
            )
        )
        pump.until(lambda: any(isinstance(event, Metric) for event in seen))
        os.kill(
            next(event.process_id for event in seen if isinstance(event, Started)), signal.SIGKILL
        )
        pump.until(lambda: last)
        assert isinstance(last[0], Failed)
        assert "resumes from its last saved state" in last[0].way_out
        pump.until(
            lambda: (
                session.workspace.snapshot.runs
                and session.workspace.snapshot.runs[-1].state == "interrupted"
            )
        )
        run.resume(str(run.run_id))
        pump.until(lambda: len(last) == 2)
        assert isinstance(last[1], Finished)
        assert len([event for event in seen if isinstance(event, Started) and event.resumed]) == 1
        run.close()
