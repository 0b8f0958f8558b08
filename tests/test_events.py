"""Journals: torn lines never swallow whole ones, and the last word ends the following."""

from __future__ import annotations

from pathlib import Path

from maskloop.events import Finished, Message, Progress, append_event, follow_events, read_events


def test_events_are_read_as_they_were_said(tmp_path: Path) -> None:
    journal = tmp_path / "events.jsonl"
    said = [
        Message(text="begin"),
        Progress(stage="training", done=1, total=2),
        Finished(result={"checkpoint_id": "unet_run_001"}),
    ]
    for event in said:
        append_event(journal, event)
    assert read_events(journal)[0] == said


def test_a_line_that_is_still_being_written_waits(tmp_path: Path) -> None:
    journal = tmp_path / "events.jsonl"
    append_event(journal, Message(text="whole"))
    with journal.open("ab") as file:
        file.write(b'{"kind": "mess')
    events, position = read_events(journal)
    assert [event.kind for event in events] == ["message"]
    with journal.open("ab") as file:
        file.write(b'age", "text": "late", "time": 1}\n')
    late, _ = read_events(journal, position)
    assert late == [Message(text="late", time=1)]


def test_a_line_torn_by_a_kill_costs_only_itself(tmp_path: Path) -> None:
    journal = tmp_path / "events.jsonl"
    append_event(journal, Message(text="before"))
    with journal.open("ab") as file:
        file.write(b'{"kind": "mess')
    append_event(journal, Message(text="after"))
    assert [event.text for event in read_events(journal)[0] if isinstance(event, Message)] == [
        "before",
        "after",
    ]


def test_following_ends_with_the_last_word(tmp_path: Path) -> None:
    journal = tmp_path / "events.jsonl"
    append_event(journal, Finished(result={}))
    append_event(journal, Message(text="never heard"))
    assert [event.kind for event in follow_events(journal, lambda: True)] == ["finished"]


def test_following_ends_when_nobody_lives_any_more(tmp_path: Path) -> None:
    journal = tmp_path / "events.jsonl"
    append_event(journal, Message(text="last"))
    assert [event.kind for event in follow_events(journal, lambda: False)] == ["message"]
