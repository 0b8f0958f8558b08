from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskloop.cli.options import field_reader, takes
from maskloop.cli.readers import (
    mask_rule,
    read_duration,
    read_label_map,
    read_names,
    read_normalization,
    read_pixel_size,
    read_selection,
)
from maskloop.errors import UsageError
from maskloop.images.masks import MaskRule
from maskloop.models.unet.records import UNetRecipe


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("10m", 600),
        ("10min", 600),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("1h 2m 3s", 3723),
        ("2H", 7200),
    ],
)
def test_durations_are_read_in_seconds(text: str, seconds: float) -> None:
    assert read_duration(text) == seconds


@given(st.integers(0, 99), st.integers(0, 59), st.integers(1, 59))
def test_hours_minutes_and_seconds_add_up(hours: int, minutes: int, seconds: int) -> None:
    assert read_duration(f"{hours}h{minutes}m{seconds}s") == hours * 3600 + minutes * 60 + seconds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("90", "'90' has no unit."),
        ("soon", "'soon' is not a duration."),
        ("", "'' is not a duration."),
        ("0s", "A duration must be greater than zero, not '0s'."),
        ("5m1h", "is not a"),
    ],
)
def test_what_is_no_duration_is_refused_with_examples(text: str, words: str) -> None:
    with pytest.raises(UsageError, match="90s, 10m or 1h30m") as caught:
        read_duration(text)
    assert words in caught.value.problem


@given(st.dictionaries(st.integers(0, 10**6), st.integers(0, 255), min_size=1))
def test_a_label_map_is_read_as_it_was_written(label_map: dict[int, int]) -> None:
    assert (
        read_label_map(",".join(f"{label}={target}" for label, target in label_map.items()))
        == label_map
    )


@pytest.mark.parametrize("text", ["3", "3=", "a=1", "3=1;7=2", "3=1,", "3=1,3=2", "-1=2"])
def test_a_label_map_that_is_not_clear_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        read_label_map(text)


def test_a_pixel_size_is_that_of_zyx_or_of_yx() -> None:
    assert read_pixel_size("1.5, 0.4,0.4") == {"Z": 1.5, "Y": 0.4, "X": 0.4}
    assert read_pixel_size("0.65,0.65") == {"Y": 0.65, "X": 0.65}


@pytest.mark.parametrize("text", ["", "1", "0,1,1", "-1,1", "1,2,3,4", "a,b", "nan,1", "inf,1"])
def test_what_is_no_pixel_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"1\.5,0\.4,0\.4"):
        read_pixel_size(text)


def test_names_are_trimmed_and_an_empty_one_is_refused() -> None:
    assert read_names("axon, myelin") == ("axon", "myelin")
    with pytest.raises(UsageError, match="'axon,,myelin' contains an empty name"):
        read_names("axon,,myelin")


def test_a_selection_is_all_new_or_ids() -> None:
    assert [read_selection(text) for text in ("all", "new", "a,b")] == ["all", "new", ("a", "b")]


def test_a_normalisation_has_a_mode_and_may_have_a_scope() -> None:
    assert read_normalization("z_score/dataset").scope == "dataset"
    assert read_normalization("none").mode == "none"
    with pytest.raises(UsageError, match="'sigma' is not a normalization"):
        read_normalization("sigma")


def test_a_label_map_asks_for_mapping_and_nothing_asked_leaves_the_rule_to_the_project() -> None:
    assert mask_rule({"label_map": {3: 1}, "allow_empty": True}) == MaskRule(
        mask_mode="manual_label_map", label_map={3: 1}, allow_empty=True
    )
    assert mask_rule({}) is None
    assert mask_rule({"allow_empty": True}) is None


def test_fields_are_read_within_their_limits() -> None:
    assert field_reader(UNetRecipe, "patch_size")("256, 128") == (256, 128)
    assert field_reader(UNetRecipe, "learning_rate")("1e-3") == 1e-3
    with pytest.raises(UsageError, match=r"Epochs must be at least 1, not 0\."):
        field_reader(UNetRecipe, "epochs")("0")
    with pytest.raises(UsageError, match="Device must be 'auto', 'cpu' or 'cuda', not 'tpu'"):
        field_reader(UNetRecipe, "device")("tpu")


def test_a_zero_that_is_typed_is_a_choice() -> None:
    chosen: dict[str, object] = {}

    @takes(UNetRecipe, "foreground_share", "tensorboard", "epochs")
    def verb(**choices: object) -> None:
        chosen.update(choices)

    verb(foreground_share=0.0, tensorboard=False, epochs=None)
    assert chosen == {"foreground_share": 0.0}
