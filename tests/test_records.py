"""Records reach the disk whole, and what is written is what is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from maskloop.errors import ProjectError, RecordError
from maskloop.records import Record, last_good, read_record, write_record, write_whole


class Leaf(Record):
    name: str
    size: float = 0.0


class Tree(Record):
    title: str = ""
    leaves: tuple[Leaf, ...] = ()
    notes: dict[str, str] = {}  # noqa: RUF012 (pydantic copies it)


trees = st.builds(
    Tree,
    title=st.text(),
    leaves=st.lists(st.builds(Leaf, name=st.text(), size=st.floats(allow_nan=False))).map(tuple),
    notes=st.dictionaries(st.text(), st.text()),
)


@given(trees)
def test_a_record_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, tree: Tree
) -> None:
    path = tmp_path_factory.mktemp("tree") / "tree.json"
    write_record(path, tree)
    assert read_record(path, Tree) == tree


@given(trees, st.lists(st.builds(Leaf, name=st.text()), max_size=3))
def test_entries_that_did_not_change_are_taken_over(
    tmp_path_factory: pytest.TempPathFactory, tree: Tree, more: list[Leaf]
) -> None:
    path = tmp_path_factory.mktemp("tree") / "tree.json"
    write_record(path, tree)
    before = read_record(path, Tree)
    write_record(path, Tree(title="another", leaves=(*more, *tree.leaves)))
    after = read_record(path, Tree, before=before)
    assert after == Tree(title="another", leaves=(*more, *tree.leaves))
    assert {id(leaf) for leaf in after.leaves[len(more) :]} <= {id(leaf) for leaf in before.leaves}


@pytest.mark.parametrize(
    "text",
    [
        '{"title": "in one line", "leaves": [{"name": "a"}]}',
        '{\n"title": "in one line",\n"leaves": [\n{"name":\n"a"}\n]\n}',
        '{\r\n"title": "in one line",\r\n"leaves": [\r\n{"name": "a"}\r\n]\r\n}',
    ],
)
def test_a_record_that_a_person_laid_out_is_read_too(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tree.json"
    path.write_bytes(text.encode())
    assert read_record(path, Tree) == Tree(title="in one line", leaves=(Leaf(name="a"),))


def test_a_broken_entry_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tree.json"
    path.write_text('{\n"leaves": [\n{"name":"a"},\n{"nam":"b"}\n]\n}\n')
    with pytest.raises(RecordError, match="Name of entry 2 of leaves is missing"):
        read_record(path, Tree)


def test_the_copy_before_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "tree.json"
    for title in ("first", "second", "third"):
        write_record(path, Tree(title=title))
    assert read_record(last_good(path), Tree).title == "second"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        "tree.json",
        "tree.json.last-good",
    ]


def test_a_broken_record_is_named_with_the_copy_that_is_good(tmp_path: Path) -> None:
    path = tmp_path / "tree.json"
    write_record(path, Tree(title="first"))
    write_record(path, Tree(title="second"))
    path.write_text('{"title": 3}')
    with pytest.raises(
        RecordError, match=r"damaged\. Title must be text.*\n.*tree\.json\.last-good"
    ):
        read_record(path, Tree)


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValidationError, match="colour"):
        Tree.model_validate({"colour": "green"})


def test_a_copy_writes_its_own_values() -> None:
    leaf = Leaf(name="oak")
    assert "oak" in leaf.json_line
    assert "elm" in leaf.model_copy(update={"name": "elm"}).json_line


def test_a_write_that_fails_leaves_the_file_before_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")

    def fail() -> None:
        with write_whole(path) as file:
            file.write(b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises(ProjectError, match="No space left on device"):
        fail()
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_plain_lists_with_one_value_per_line_are_read(tmp_path: Path) -> None:
    class Settings(Record):
        names: tuple[str, ...] = ()
        notes: tuple[dict[str, int], ...] = ()

    (tmp_path / "a.json").write_text('{\n"names": [\n"a",\n"b"\n],\n"notes": [\n{"c": 1}\n]\n}\n')
    assert read_record(tmp_path / "a.json", Settings) == Settings(
        names=("a", "b"), notes=({"c": 1},)
    )
