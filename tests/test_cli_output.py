from __future__ import annotations

import io

import pytest
from rich.console import Console

from maskloop.cli.output import say_json, show_facts, show_table, shown_path
from maskloop.cli.run_view import RunView
from maskloop.events import Message, Metric, Progress, Started


def test_a_terminal_sees_a_live_table_with_pace_and_time_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    monkeypatch.setattr("maskloop.cli.run_view.make_console", lambda *, to_stderr=False: console)
    with RunView() as view:
        view(
            Progress(stage="training", done=3, total=10, unit="epochs", rate=21.5, seconds_left=131)
        )
        view(Metric(epoch=3, values={"loss": 0.25, "val_loss": 0.5, "dice": 0.875}))
        view(Message(level="warning", text="The batch did not fit into memory."))
    text = screen.getvalue()
    for words in (
        "21.5 images/s",
        "2 min 11 s left",
        "Epoch 4 of 10",
        "0.8750",
        "Validation loss",
        "Warning: The batch did not fit",
    ):
        assert words in text


def test_elsewhere_there_is_one_plain_line_per_validation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with RunView() as view:
        view(Started(process_id=1, host="here", resumed=True))
        view(
            Progress(stage="training", done=1, total=2, unit="epochs", rate=2.0, seconds_left=3700)
        )
        view(Metric(epoch=1, values={"loss": 0.25, "ap50": 0.5}))
        view(Progress(stage="images", done=1, total=2, unit="images"))
    assert capsys.readouterr().out.splitlines() == [
        "Resuming an interrupted run.",
        "epoch 1  loss 0.2500  ap50 0.5000  2 images/s  1 h 2 min left",
        "1 of 2 images done",
    ]


def test_what_a_script_reads_goes_to_stdout_and_the_rest_to_stderr(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with RunView(to_stderr=True) as view:
        view(Message(text="note"))
    say_json({"score": float("nan"), "path": shown_path("here")})
    seen = capsys.readouterr()
    assert seen.err == "note\n"
    assert seen.out == '{\n  "score": null,\n  "path": "here"\n}\n'


def test_brackets_of_a_persons_names_are_shown_as_they_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_table("[bold]x", ("a",), [["[red]y[/red]"]])
    show_facts("facts", {"name": "[i]z", "left out": None})
    shown = capsys.readouterr().out
    assert "[bold]x" in shown
    assert "[red]y[/red]" in shown
    assert "[i]z" in shown
    assert "left out" not in shown


def test_an_empty_table_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("Runs", ("run",), [], empty="none yet")
    assert capsys.readouterr().out == "Runs: none yet.\n"


def test_a_warning_goes_to_stderr_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with RunView() as view:
        view(Message(level="warning", text="a.tif: [damaged]"))
    seen = capsys.readouterr()
    assert (seen.out, seen.err) == ("", "Warning: a.tif: [damaged]\n")
