"""Tables, forms and small widgets, with the mouse and the keyboard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("qtpy")

import numpy as np
from pydantic import Field
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QMessageBox, QPushButton

from maskloop.records import Record
from maskloop.ui.curves import Curves
from maskloop.ui.forms import RecordForm
from maskloop.ui.tables import Column, RowModel, Table, Thumbnails
from maskloop.ui.widgets import (
    Line,
    Notice,
    ProgressLine,
    Section,
    ask,
)

LEFT = Qt.MouseButton.LeftButton


@dataclass(frozen=True)
class Cell:
    name: str
    area: float | None


def make_table(cells: list[Cell]) -> tuple[RowModel[Cell], Table]:
    model: RowModel[Cell] = RowModel(
        [Column("Name", lambda row: row.name), Column("Area", lambda row: row.area)],
        key=lambda row: row.name,
    )
    model.set_rows(cells)
    return model, Table(model, empty="No cells yet")


CELLS = [Cell("b", 10.0), Cell("a", 9.0), Cell("c", None)]


def shown(model: RowModel[Cell]) -> list[str]:
    return [row.name for row in model.shown]


def test_a_click_on_a_title_sorts_numbers_as_numbers_and_nothing_last(qtbot: Any) -> None:
    model, table = make_table(CELLS)
    qtbot.addWidget(table)
    table.resize(350, 200)
    table.show()
    header = table.view.header()
    area = QPoint(header.sectionPosition(1) + 10, 5)
    qtbot.mouseClick(header.viewport(), LEFT, pos=area)
    assert shown(model) == ["a", "b", "c"]
    qtbot.mouseClick(header.viewport(), LEFT, pos=area)
    assert shown(model) == ["b", "a", "c"]
    qtbot.mouseClick(header.viewport(), LEFT, pos=area)
    assert shown(model) == ["b", "a", "c"]
    assert not header.isSortIndicatorShown() or header.sortIndicatorSection() in (-1, 1)


def test_typing_into_the_filter_keeps_rows_with_all_words(qtbot: Any) -> None:
    model, table = make_table(
        [Cell("nucleus big", 10.0), Cell("nucleus small", 1.0), Cell("axon big", 3.0)]
    )
    qtbot.addWidget(table)
    qtbot.keyClicks(table.filter, "NUC big")
    assert shown(model) == ["nucleus big"]
    table.filter.clear()
    assert len(model.shown) == 3


def test_the_selection_stays_with_its_row(qtbot: Any) -> None:
    model, table = make_table(CELLS)
    qtbot.addWidget(table)
    table.select("a")
    assert [row.name for row in table.selected()] == ["a"]
    model.set_rows([Cell("new", 1.0), Cell("a", 5.0), *CELLS[2:]])
    assert table.selected() == [Cell("a", 5.0)]
    table.view.sortByColumn(0, Qt.SortOrder.DescendingOrder)
    assert [row.name for row in table.selected()] == ["a"]
    model.set_rows([Cell("new", 1.0)])
    assert table.selected() == []


def test_a_double_click_activates_the_row(qtbot: Any) -> None:
    model, table = make_table(CELLS)
    qtbot.addWidget(table)
    table.show()
    seen: list[Cell] = []
    table.activated.connect(seen.append)
    where = table.view.visualRect(model.index(1, 0)).center()
    qtbot.mouseClick(table.view.viewport(), LEFT, pos=where)
    qtbot.mouseDClick(table.view.viewport(), LEFT, pos=where)
    assert seen == [CELLS[1]]


@given(
    st.lists(st.tuples(st.text("ab ", max_size=3), st.none() | st.floats(-5, 5)), max_size=12),
    st.text("ab ", max_size=3),
    st.booleans(),
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_sorting_and_filtering_are_those_of_python(
    qapp: Any, cells: list[tuple[str, float | None]], words: str, is_down: bool
) -> None:
    rows = [Cell(name, area) for name, area in cells]
    model: RowModel[Cell] = RowModel(
        [Column("Name", lambda row: row.name), Column("Area", lambda row: row.area)]
    )
    model.set_rows(rows)
    model.filter(words)
    model.sort(1, Qt.SortOrder.DescendingOrder if is_down else Qt.SortOrder.AscendingOrder)
    kept = [row for row in rows if all(word in f"{row.name} {row.area}" for word in words.split())]
    numbers = sorted((row.area for row in kept if row.area is not None), reverse=is_down)
    assert [row.area for row in model.shown] == numbers + [None] * (len(kept) - len(numbers))


class Network(Record):
    """A record with limits."""

    preset: Literal["unet", "resunet"] = "unet"
    depth: int = Field(4, ge=1, le=7, description="How often the resolution is halved.")
    threshold: float = Field(0.5, ge=0, le=1)
    rotation_degrees: tuple[float, ...] = (0, 90, 180, 270)


def test_a_form_is_drawn_from_the_record_with_its_limits(qtbot: Any) -> None:
    form = RecordForm(Network, fields=("preset", "depth", "threshold"))
    qtbot.addWidget(form)
    form.show()
    told: list[dict[str, Any]] = []
    form.changed.connect(told.append)
    form.set_values({"preset": "resunet", "depth": 3, "threshold": 0.25})
    assert told == []
    assert form.values() == {"preset": "resunet", "depth": 3, "threshold": 0.25}
    depth: Any = form.editors["depth"]
    assert (depth.minimum(), depth.maximum()) == (1, 7)
    assert "halved" in depth.toolTip()
    depth.selectAll()
    qtbot.keyClicks(depth, "5")
    qtbot.keyClick(depth, Qt.Key.Key_Return)
    assert told[-1]["depth"] == 5


def test_numbers_in_a_row_are_typed_with_commas_and_nonsense_is_taken_back(qtbot: Any) -> None:
    form = RecordForm(Network, fields=("rotation_degrees",))
    qtbot.addWidget(form)
    form.show()
    told: list[dict[str, Any]] = []
    form.changed.connect(told.append)
    form.set_values({"rotation_degrees": (0.0, 90.0, 180.0, 270.0)})
    line: Any = form.editors["rotation_degrees"]
    assert line.text() == "0, 90, 180, 270"
    for typed, shown in (
        ("0 180", "0, 180"),
        ("0, ninety", "0, 180"),
        ("0,180", "0, 180"),
        ("", ""),
    ):
        line.selectAll()
        qtbot.keyClick(line, Qt.Key.Key_Delete)
        qtbot.keyClicks(line, typed)
        qtbot.keyClick(line, Qt.Key.Key_Return)
        assert line.text() == shown
    assert told == [{"rotation_degrees": (0.0, 180.0)}, {"rotation_degrees": ()}]


class Choices(Record):
    """A record whose values are all left open."""

    blocks: Literal["plain_blocks", "residual"] | None = Field(
        None, json_schema_extra={"words": {"residual": "Residual blocks"}}
    )
    depth: int | None = Field(None, ge=1, le=7, title="Levels")
    rate: float | None = Field(None, gt=0, allow_inf_nan=False)
    threshold: float | None = Field(None, ge=0, le=1)
    margin_px: int | None = Field(None, ge=0)
    is_flat: bool | None = None
    note: str | None = None
    strides: tuple[Annotated[int, Field(ge=1)], ...] | None = None


def test_what_is_left_open_is_automatic_and_can_be_left_open_again(qtbot: Any) -> None:
    form = RecordForm(Choices)
    qtbot.addWidget(form)
    form.show()
    editors: Any = form.editors
    open_values = Choices().model_dump()
    assert form.values() == open_values
    for name in ("depth", "rate", "threshold", "margin_px"):
        assert editors[name].text() == "Automatic"
    assert editors["blocks"].currentText() == editors["is_flat"].currentText() == "Automatic"
    assert editors["strides"].placeholderText() == "Automatic"
    assert editors["depth"].accessibleName() == "Levels"
    chosen = {
        "blocks": "residual",
        "depth": 1,
        "rate": 0.0001,
        "threshold": 0.0,
        "margin_px": 0,
        "is_flat": False,
        "note": "flat cells",
        "strides": (1, 2),
    }
    form.set_values(chosen)
    assert form.values() == Choices(**chosen).model_dump()
    assert [editors["blocks"].itemText(place) for place in range(3)] == [
        "Automatic",
        "Plain blocks",
        "Residual blocks",
    ]
    assert editors["rate"].text() == "0.0001"
    assert editors["margin_px"].text() == "0 px"
    told: list[dict[str, Any]] = []
    form.changed.connect(told.append)
    qtbot.keyClick(editors["depth"], Qt.Key.Key_Down)
    assert told[-1]["depth"] is None
    for name in ("rate", "threshold", "margin_px", "strides", "note"):
        editors[name].selectAll()
        qtbot.keyClick(editors[name], Qt.Key.Key_Delete)
        qtbot.keyClick(editors[name], Qt.Key.Key_Return)
        assert told[-1][name] is None
    editors["blocks"].setCurrentIndex(0)
    editors["is_flat"].setCurrentIndex(0)
    assert form.values() == open_values


@given(
    st.builds(
        Choices,
        depth=st.none() | st.integers(1, 7),
        rate=st.none() | st.decimals("0.000001", 5, places=6).map(float),
        strides=st.none() | st.lists(st.integers(1, 9), min_size=1, max_size=4),
    )
)
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_form_gives_back_the_record_that_it_shows(qapp: Any, record: Choices) -> None:
    form = RecordForm(Choices)
    form.set_values(record.model_dump())
    assert Choices(**form.values()) == record
    form.deleteLater()


def test_the_limit_itself_is_out_of_reach_where_it_is_excluded(qtbot: Any) -> None:
    class Rate(Record):
        rate: float = Field(0.5, gt=0, lt=1)

    form = RecordForm(Rate)
    qtbot.addWidget(form)
    for asked in (0.0, 1.0):
        form.set_values({"rate": asked})
        assert 0 < form.values()["rate"] < 1


def test_a_long_line_elides_and_keeps_its_words_in_the_tooltip(qtbot: Any) -> None:
    line = Line("a very long path " * 20)
    qtbot.addWidget(line)
    line.resize(100, 20)
    assert line.toolTip() == line.text()
    assert (
        line.minimumSizeHint().width() < 100
        or line.sizePolicy().horizontalPolicy().name == "Ignored"
    )


def test_progress_is_told_in_words_and_can_be_cancelled(qtbot: Any) -> None:
    progress = ProgressLine()
    qtbot.addWidget(progress)
    progress.show()
    progress.show_progress(12, 40, "12 of 40 tiles, 3 s left")
    assert progress.bar.value() == 300
    assert progress.words.text() == "12 of 40 tiles, 3 s left"
    with qtbot.waitSignal(progress.cancelled):
        qtbot.mouseClick(progress.cancel, LEFT)


def test_a_notice_is_hidden_while_there_is_nothing_to_say(qtbot: Any) -> None:
    notice = Notice()
    qtbot.addWidget(notice)
    notice.show_message("The folder is gone.", level="error")
    assert not notice.isHidden()
    notice.show_message("")
    assert notice.isHidden()


def test_curves_come_and_go(qtbot: Any) -> None:
    curves = Curves("Loss")
    qtbot.addWidget(curves)
    curves.show_curves({"training": ([1.0], [0.5]), "validation": ([1.0, 2.0], [0.6, 0.4])})
    assert {item.name() for item in curves.listDataItems()} == {"training", "validation"}
    curves.show_curves({})
    assert curves.listDataItems() == []


def test_thumbnails_are_asked_for_once(qtbot: Any) -> None:
    asked: list[str] = []
    deliveries: list[Any] = []

    def load(key: str, deliver: Any) -> None:
        asked.append(key)
        deliveries.append(deliver)

    redrawn: list[bool] = []
    thumbnails = Thumbnails(load, lambda: redrawn.append(True))
    assert thumbnails.get("a") is None
    assert thumbnails.get("a") is None
    deliveries[0](np.full((4, 6, 3), 200, np.uint8))
    picture = thumbnails.get("a")
    assert picture is not None
    assert (picture.width(), picture.height()) == (6, 4)
    assert (asked, redrawn) == (["a"], [True])


def test_a_thumbnail_is_shown_small_with_all_its_pixels(qtbot: Any) -> None:
    deliveries: list[Any] = []
    thumbnails = Thumbnails(
        lambda _key, deliver: deliveries.append(deliver), lambda: None, size_px=50
    )
    thumbnails.get("a")
    deliveries[0](np.zeros((60, 100, 3), np.uint8))
    picture = thumbnails.get("a")
    assert (picture.width(), picture.height()) == (100, 60)
    assert picture.deviceIndependentSize().toTuple() == (50, 30)


def test_a_question_is_answered_with_the_mouse(qtbot: Any) -> None:
    from qtpy.QtCore import QTimer
    from qtpy.QtWidgets import QApplication

    parent = Section("About", QPushButton("x"))
    qtbot.addWidget(parent)
    for words, expected in (("Erase", True), ("No", False)):

        def answer(words: str = words) -> None:
            box = QApplication.activeModalWidget()
            assert isinstance(box, QMessageBox)
            button = next(button for button in box.buttons() if button.text() == words)
            qtbot.mouseClick(button, LEFT)

        QTimer.singleShot(0, answer)
        assert ask(parent, "Erase it?", "This cannot be undone.", yes="Erase") is expected
