"""Journals: torn lines never swallow whole ones."""

from __future__ import annotations

from pathlib import Path

from maskloop.events import (
    Event,
    Finished,
    Message,
    Progress,
    append_event,
    last_event,
    read_events,
)


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


def test_the_last_event_is_read_from_the_end(tmp_path: Path) -> None:
    journal = tmp_path / "events.jsonl"
    assert last_event(journal) is None
    said: list[Event] = [Message(text="x" * 50_000), Message(text="second"), Finished(result={})]
    for event in said:
        append_event(journal, event)
        assert last_event(journal) == event
    with journal.open("ab") as file:
        file.write(b'{"kind": "mess')
    assert last_event(journal) == said[-1]
    with journal.open("ab") as file:
        file.write(b'age"}\n')
    # The line is torn: what was said before it counts.
    assert last_event(journal) == said[-1]


def test_a_journal_of_torn_lines_has_no_last_event(tmp_path: Path) -> None:
    journal = tmp_path / "events.jsonl"
    journal.write_bytes(b"{\n" * 30_000)
    assert last_event(journal) is None
