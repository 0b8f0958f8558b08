"""Much is read without full collections of garbage, and little leaves the collector alone."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest

pytest.importorskip("psygnal")

from maskloop.ui.gc_pause import MANY, collect_again, gc_paused


@pytest.fixture
def full_collections() -> Iterator[list[int]]:
    """Grows with each full collection."""
    seen: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and info["generation"] == 2:
            seen.append(1)

    gc.callbacks.append(note)
    yield seen
    gc.callbacks.remove(note)
    collect_again()


def test_much_is_read_without_a_full_collection_and_set_aside(full_collections: list[int]) -> None:
    with gc_paused():
        kept = [[number] for number in range(10 * MANY)]
    assert gc.isenabled()
    assert not full_collections
    assert gc.get_freeze_count() > len(kept)
    collect_again()
    assert gc.get_freeze_count() == 0


def test_little_is_not_set_aside() -> None:
    with gc_paused():
        kept = [[number] for number in range(100)]
    assert kept
    assert gc.get_freeze_count() == 0
    assert gc.isenabled()


def test_the_collector_comes_back_after_the_last_reader() -> None:
    with gc_paused():
        with gc_paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_the_window_waits_less_for_the_interpreter_while_something_is_read() -> None:
    before = sys.getswitchinterval()
    with gc_paused(), gc_paused():
        assert sys.getswitchinterval() < before / 10
    assert sys.getswitchinterval() == before


def test_the_collector_comes_back_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), gc_paused():
        raise ZeroDivisionError
    assert gc.isenabled()
