from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from maskloop import plugins
from maskloop.errors import BrokenPlugin, NotFound, UsageError


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of Python's path, in which a package offers two measurements, one of them broken."""
    offers = tmp_path / "mask_extras-1.0.dist-info"
    offers.mkdir()
    (offers / "METADATA").write_text("Metadata-Version: 2.1\nName: mask-extras\nVersion: 1.0\n")
    (offers / "entry_points.txt").write_text(
        "[maskloop.measurements]\narea = mask_extras:area\nbroken = mask_extras.broken:area\n"
    )
    (tmp_path / "mask_extras").mkdir()
    (tmp_path / "mask_extras" / "__init__.py").write_text("area = 'the area'\n")
    (tmp_path / "mask_extras" / "broken.py").write_text("1 / 0\n")
    monkeypatch.setitem(plugins.BUILT_IN, "measurements", {})
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("mask_extras", "mask_extras.broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    plugins.forget_installed()
    yield tmp_path
    plugins.forget_installed()


def test_what_a_package_offers_is_listed_without_being_imported(installed: Path) -> None:
    assert plugins.names("measurements") == ("area", "broken")
    assert "mask_extras" not in sys.modules
    assert plugins.get("measurements", "area") == "the area"


def test_a_broken_plugin_costs_only_itself_and_is_named_once(
    installed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert dict(plugins.loadable("measurements")) == {"area": "the area"}
        assert dict(plugins.loadable("measurements")) == {"area": "the area"}
    assert [record.getMessage() for record in caplog.records] == [
        "The plug-in 'broken' (measurements) cannot be loaded from mask_extras.broken:area: "
        "ZeroDivisionError: division by zero."
    ]
    with pytest.raises(BrokenPlugin, match=r"Update or uninstall the package"):
        plugins.get("measurements", "broken")


def test_an_unknown_name_is_answered_with_the_known_ones(installed: Path) -> None:
    with pytest.raises(NotFound, match=r"'volume' is not one of the measurements: area, broken\."):
        plugins.get("measurements", "volume")
    with pytest.raises(NotFound, match="'models' is not a kind of plug-in: backends, formats"):
        plugins.names("models")  # type: ignore[arg-type]


def test_one_line_registers_an_object_or_a_place_and_leaving_the_block_undoes_it() -> None:
    thing = object()
    with plugins.register("prompters", "mine", thing):
        plugins.register("prompters", "root", "math:sqrt")
        assert plugins.get("prompters", "mine") is thing
        assert plugins.get("prompters", "root")(9) == 3
    assert "mine" not in plugins.names("prompters")
    plugins.Registration("prompters", "root").undo()
    assert "root" not in plugins.names("prompters")


def test_a_name_that_is_taken_is_refused(installed: Path) -> None:
    with pytest.raises(UsageError, match=r"'area' is already one of the measurements\."):
        plugins.register("measurements", "area", "math:sqrt")


@pytest.mark.parametrize("place", ["maskloop.nowhere:thing", "math:nowhere", "math"])
def test_a_place_that_leads_nowhere_is_a_broken_plugin(place: str) -> None:
    with (
        plugins.register("targets", "nowhere", place),
        pytest.raises(BrokenPlugin, match="'nowhere' \\(targets\\) cannot be loaded from"),
    ):
        plugins.get("targets", "nowhere")


@pytest.mark.parametrize("kind", plugins.KINDS)
def test_everything_that_maskloop_offers_itself_can_be_loaded(kind: plugins.Kind) -> None:
    for name in plugins.BUILT_IN[kind]:
        assert plugins.get(kind, name) is not None
