from __future__ import annotations

import time
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter, ValidationError, field_validator

from maskloop.records import Record
from maskloop.wording import (
    bytes_in_words,
    counted,
    fault_in_words,
    label_of,
    local_time,
    time_in_words,
    title_of,
    without_commands,
)


class Sieve(Record):
    """A record with one field of each kind that ours have."""

    patch_size: tuple[int, ...] = Field((1,), max_length=3)
    share: float = Field(0.5, gt=0, lt=1)
    noise: float = Field(0.0, ge=0, le=1, allow_inf_nan=False)
    rounds: int = Field(1, ge=1, title="Number of rounds")
    device: Literal["cpu", "cuda"] = "cpu"
    is_quick: bool = False
    note: str = ""
    inner: Inner | None = None
    others: tuple[Inner, ...] = ()

    @field_validator("note")
    @classmethod
    def _short(cls, note: str) -> str:
        if note == "long":
            raise ValueError("the note is too long")
        return note


class Inner(Record):
    """A record inside another."""

    time_s: float = Field(ge=0)


Sieve.model_rebuild()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (59.7, "1 min"),
        (80, "1 min 20 s"),
        (599.8, "10 min"),
        (2472, "41 min"),
        (3599.7, "1 h"),
        (7500, "2 h 5 min"),
        (86399, "1 day"),
        (100_800, "1 day 4 h"),
        (300_000, "3 days 11 h"),
    ],
)
def test_a_span_of_time_is_told_in_its_two_largest_units(seconds: float, words: str) -> None:
    assert time_in_words(seconds) == words


@given(st.floats(0, 10**7))
def test_a_span_of_time_is_never_told_with_a_full_minute_hour_or_day_too_many(
    seconds: float,
) -> None:
    words = time_in_words(seconds)
    for overflow in (" 60 s", " 60 min", " 24 h"):
        assert overflow not in f" {words}"


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (1, "1 byte"),
        (999, "999 bytes"),
        (9_940, "9.9 kB"),
        (9_960, "10 kB"),
        (999_600, "1.0 MB"),
        (1.6e9, "1.6 GB"),
        (16.4e9, "16 GB"),
        (2.5e15, "2,500.0 TB"),
    ],
)
def test_a_size_has_two_figures_or_all_before_the_point(count: float, words: str) -> None:
    assert bytes_in_words(count) == words


@pytest.mark.parametrize(
    ("count", "noun", "words"),
    [
        (0, "pair", "0 pairs"),
        (1, "pair", "1 pair"),
        (2, "pair", "2 pairs"),
        (12_000, "epoch", "12,000 epochs"),
    ],
)
def test_a_count_agrees_with_its_noun(count: int, noun: str, words: str) -> None:
    assert counted(count, noun) == words


def test_a_plural_of_its_own_is_named() -> None:
    assert counted(2, "axis", "axes") == "2 axes"


def test_a_title_has_no_underscores_and_no_unit() -> None:
    assert title_of("base_channels") == "Base channels"
    assert title_of("min_area_px") == "Min area"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"share": 0}, "Share must be greater than zero, not 0."),
        ({"share": 1.5}, "Share must be less than 1, not 1.5."),
        ({"noise": -1}, "Noise must be zero or greater, not -1."),
        ({"noise": "2"}, "Noise must be at most 1, not 2."),
        ({"noise": float("nan")}, "Noise must be a finite number, not nan."),
        ({"rounds": 0}, "Rounds must be at least 1, not 0."),
        ({"rounds": "two"}, "Rounds must be a whole number, not 'two'."),
        ({"rounds": 1.5}, "Rounds must be a whole number, not 1.5."),
        ({"device": "tpu"}, "Device must be 'cpu' or 'cuda', not 'tpu'."),
        ({"is_quick": "perhaps"}, "Is quick must be true or false, not 'perhaps'."),
        ({"note": 3}, "Note must be text, not 3."),
        ({"note": "long"}, "The note is too long."),
        ({"patch_size": 5}, "Patch size must be a list, not 5."),
        ({"patch_size": (1, "a")}, "Entry 2 of patch size must be a whole number, not 'a'."),
        ({"patch_size": (1, 2, 3, 4)}, "Patch size must have at most 3 entries."),
        ({"inner": {}}, "Inner time is missing."),
        ({"inner": {"time_s": -1}}, "Inner time must be zero or greater, not -1."),
        ({"others": [{"time_s": 1}, {}]}, "Time of entry 2 of others is missing."),
        ({"dept": 3}, "Dept is not a known setting."),
        ({"share": "x" * 99}, "Share must be a number."),
    ],
)
def test_a_refused_value_is_told_by_its_field_its_limit_and_what_was_given(
    values: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        Sieve.model_validate(values)
    assert fault_in_words(caught.value) == words


def test_a_single_value_is_told_by_the_name_it_is_given() -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(int).validate_python("x")
    assert fault_in_words(caught.value, "--epochs") == "--epochs must be a whole number, not 'x'."
    assert fault_in_words(caught.value) == "The value must be a whole number, not 'x'."


def test_text_that_is_no_json_is_told_with_its_place() -> None:
    with pytest.raises(ValidationError) as caught:
        Sieve.model_validate_json('{"share": ')
    words = fault_in_words(caught.value, "the file")
    assert words == "The file is not valid JSON: EOF while parsing a value at line 1 column 10."


def test_a_time_is_told_on_the_clock_of_this_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert local_time("2026-11-25T08:04:59.123Z") == "2026-11-25 17:04"
        assert local_time("2026-11-25T08:04:59") == "2026-11-25 17:04"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", ["", "yesterday"])
def test_what_is_no_time_is_shown_as_it_is(text: str) -> None:
    assert local_time(text) == text


def test_a_field_is_called_by_its_title_where_its_record_is_known() -> None:
    assert label_of(Sieve, "rounds") == "Number of rounds"
    assert label_of(Sieve, "patch_size") == "Patch size"
    with pytest.raises(ValidationError) as caught:
        Sieve.model_validate({"rounds": 0})
    words = fault_in_words(caught.value, kind=Sieve)
    assert words == "Number of rounds must be at least 1, not 0."


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("Train from scratch (--from scratch).", "Train from scratch."),
        ("Add some (maskloop add DIR --images DIR --masks DIR).", "Add some."),
        ("Name the axes (for instance --axes ZYX), or cut it.", "Name the axes, or cut it."),
        ("See (`maskloop runs DIR`) and wait.", "See and wait."),
        ("Two axes (Y and X) are needed.", "Two axes (Y and X) are needed."),
        ("It is in 'my (maskloop) data'.", "It is in 'my (maskloop) data'."),
        ("It holds values (-3 to 5 -- signed).", "It holds values (-3 to 5 -- signed)."),
    ],
)
def test_messages_of_the_window_have_no_commands(told: str, shown: str) -> None:
    """What is in parentheses otherwise stays."""
    assert without_commands(told) == shown
