from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from maskloop import extras
from maskloop.errors import MissingExtra
from maskloop.extras import require

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"


def test_a_library_that_is_there_is_imported() -> None:
    assert require("json").loads("1") == 1


def test_a_missing_library_is_answered_with_the_line_to_type(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(extras._EXTRA_OF, "no_such_library", "napari")
    with pytest.raises(MissingExtra) as caught:
        require("no_such_library.part")
    assert caught.value.problem == (
        "This needs the library 'no_such_library.part', which cannot be imported: "
        "No module named 'no_such_library'."
    )
    assert caught.value.way_out == 'Run: pip install "maskloop[napari]"'


def test_a_library_of_no_extra_is_installed_by_its_own_name() -> None:
    with pytest.raises(MissingExtra, match="Run: pip install no_such_library"):
        require("no_such_library")


def test_only_extras_that_exist_are_offered() -> None:
    offered = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    assert set(extras._EXTRA_OF.values()) <= set(offered)
