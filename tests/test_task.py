"""The task: what is to be found, and what it refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from maskloop.errors import UsageError
from maskloop.task import MODES, Task

NAMES = st.lists(st.text(min_size=1).filter(str.strip), max_size=4)


def test_where_there_is_one_class_it_needs_no_name() -> None:
    assert Task() == Task.named("binary") == Task(mode="binary", classes=("foreground",))
    assert Task(mode="instances").class_names == {0: "background", 1: "foreground"}


def test_several_classes_are_counted_with_the_background() -> None:
    task = Task.named("multiclass", ["axon", " myelin "])
    assert (task.num_classes, task.class_labels["2"]) == (3, "myelin")


@pytest.mark.parametrize(
    ("mode", "classes", "words"),
    [
        ("multiclass", (), "needs the names of its classes"),
        ("instances", ("a", "b"), "one class besides the background, not 2"),
        ("multiclass", ("a", "a"), "must all be different"),
        ("multiclass", ("a", ""), "must all be different and not empty"),
        ("multiclass", [f"class {n}" for n in range(1024)], "1024 classes were named"),
    ],
)
def test_what_is_no_task_is_refused_in_the_same_words_everywhere(
    mode: str, classes: tuple[str, ...], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        Task.named(mode, classes)
    with pytest.raises(ValidationError, match=words):
        Task.model_validate({"mode": mode, "classes": classes})


@given(st.sampled_from(MODES), NAMES)
def test_saved_and_read_it_is_the_same(mode: str, names: list[str]) -> None:
    try:
        task = Task.named(mode, names)
    except UsageError:
        return
    assert Task.model_validate_json(task.model_dump_json()) == task


@given(
    st.sampled_from(MODES), st.integers(0, 4), st.dictionaries(st.sampled_from("01234"), st.text())
)
def test_any_description_of_an_older_program_tells_a_task(
    mode: str, count: int, labels: dict[str, str]
) -> None:
    task = Task.of_description({"output_mode": mode, "num_classes": count, "class_labels": labels})
    assert task.mode == mode
    assert task.num_classes == (max(2, count, len(labels)) if mode == "multiclass" else 2)
