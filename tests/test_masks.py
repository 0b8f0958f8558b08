from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskloop.errors import EmptyMask, MaskError, UsageError
from maskloop.images.image import Image
from maskloop.images.masks import (
    MaskPreparation,
    MaskRule,
    check_pair,
    default_rule,
    foresee_mask,
    prepare_mask,
)

INSTANCES = default_rule("instances")
CLASSES = default_rule("multiclass")
INTEGERS = (
    np.bool_,
    np.uint8,
    np.int8,
    np.uint16,
    np.int32,
    np.int64,
    np.uint64,
    np.float16,
    np.float32,
    np.float64,
)


def plane(*values: float, dtype: object = np.float32) -> np.ndarray:
    return np.array([values], dtype)  # type: ignore[call-overload]


@st.composite
def masks(draw: st.DrawFn) -> np.ndarray:
    dtype = np.dtype(draw(st.sampled_from(INTEGERS)))
    values = st.booleans() if dtype.kind == "b" else st.integers(0, 100)
    return draw(
        hnp.arrays(
            dtype,
            hnp.array_shapes(min_dims=2, max_dims=3, max_side=6),
            elements=values,
            fill=st.just(dtype.type(0)),
        )
    )


@given(masks())
def test_merging_keeps_exactly_the_foreground(mask: np.ndarray) -> None:
    prepared = prepare_mask(mask, MaskRule(allow_empty=True))
    assert prepared.labels.dtype == np.uint8
    assert np.array_equal(prepared.labels, mask != 0)
    assert prepared.preparation.source_labels == tuple(np.unique(mask).astype(int))
    assert prepared.preparation.is_empty == (not mask.any())


@given(masks())
def test_keeping_instances_neither_merges_nor_splits(mask: np.ndarray) -> None:
    labels = prepare_mask(mask, INSTANCES.model_copy(update={"allow_empty": True})).labels
    assert np.array_equal(labels == 0, mask == 0)
    both = np.unique(
        np.stack([mask.reshape(-1).astype(int), labels.reshape(-1).astype(int)]), axis=1
    )
    assert len(np.unique(both[0])) == len(np.unique(both[1])) == both.shape[1]
    assert np.unique(labels[labels > 0]).tolist() == list(range(1, int(labels.max()) + 1))


@given(masks(), st.dictionaries(st.integers(1, 100), st.integers(0, 3)))
def test_a_label_map_is_applied_to_every_pixel(mask: np.ndarray, label_map: dict[int, int]) -> None:
    whole = {**dict.fromkeys(range(1, 101), 1), **label_map}
    prepared = prepare_mask(
        mask,
        MaskRule(mask_mode="manual_label_map", label_map=whole, allow_empty=True),
        num_classes=4,
    )
    assert np.array_equal(
        prepared.labels, np.vectorize(lambda label: {0: 0, **whole}[int(label)])(mask)
    )
    assert prepared.preparation.label_map == whole


def test_classes_are_kept_as_they_are() -> None:
    prepared = prepare_mask(plane(0, 1, 2, 2, dtype=np.int64), CLASSES, num_classes=3)
    assert prepared.labels.tolist() == [[0, 1, 2, 2]]
    assert prepared.labels.dtype == np.uint8
    assert prepared.preparation.label_transform == "keep_labels"
    assert prepared.preparation.saved_labels == (0, 1, 2)


def test_the_prepared_mask_is_an_array_of_its_own() -> None:
    mask = plane(0, 1, dtype=np.uint8)
    prepare_mask(mask, CLASSES).labels[:] = 9
    assert mask.tolist() == [[0, 1]]


def test_many_instances_are_summarised_in_a_record_of_a_few_lines() -> None:
    # Of more than one pixel each: values that change from pixel to pixel are those of an image.
    mask = np.arange(300 * 300, dtype=np.int32).reshape(300, 300).repeat(2, 0).repeat(2, 1) * 7
    prepared = prepare_mask(mask, INSTANCES)
    assert prepared.labels.dtype == np.uint32
    assert prepared.preparation.source_labels == prepared.preparation.saved_labels == ()
    assert prepared.preparation.source_summary is not None
    assert prepared.preparation.source_summary.model_dump() == {
        "count": 90000,
        "minimum": 0,
        "maximum": 89999 * 7,
    }
    assert len(prepared.preparation.json_line) < 600


def test_a_preparation_survives_json() -> None:
    preparation = prepare_mask(
        plane(0, 5), MaskRule(mask_mode="manual_label_map", label_map={5: 1})
    ).preparation
    assert MaskPreparation.model_validate_json(preparation.json_line) == preparation


def test_huge_and_sparse_ids_are_relabelled() -> None:
    mask = plane(0, 2**32 - 1, 5, 2**31, dtype=np.uint64)
    assert prepare_mask(mask, INSTANCES).labels.tolist() == [[0, 3, 1, 2]]


def test_instances_without_background_start_at_one() -> None:
    assert prepare_mask(plane(4, 9), INSTANCES).labels.tolist() == [[1, 2]]


def test_instances_in_several_parts_are_noted_by_the_ids_that_were_drawn() -> None:
    notes = prepare_mask(plane(7, 7, 0, 7, 3, 3), INSTANCES).preparation.notes
    assert notes == ("label 7 is made of separate parts; each label was kept as one object.",)
    assert prepare_mask(plane(7, 7, 0, 3), INSTANCES).preparation.notes == ()


def test_an_instance_that_moves_between_frames_is_not_divided() -> None:
    film = np.zeros((2, 4, 9), np.uint8)
    film[0, :2, :2] = film[1, :2, 6:8] = 1
    assert prepare_mask(film, INSTANCES, axes="TYX").preparation.notes == ()
    assert prepare_mask(film, INSTANCES, axes="ZYX").preparation.notes != ()
    assert prepare_mask(film[:, None], INSTANCES, axes="TZYX").preparation.notes == ()


def test_rows_in_another_memory_order_give_the_same_labels() -> None:
    mask = np.random.default_rng(0).integers(0, 9, (30, 20)).astype(np.uint16)
    for rule in (INSTANCES, MaskRule()):
        expected = prepare_mask(mask, rule)
        for other in (np.asfortranarray(mask), mask[::-1][::-1], np.ascontiguousarray(mask.T).T):
            assert np.array_equal(prepare_mask(other, rule).labels, expected.labels)
            assert prepare_mask(other, rule).preparation == expected.preparation


@pytest.mark.parametrize(
    ("mask", "rule", "problem", "way_out"),
    [
        (
            plane(0, np.nan, 1),
            MaskRule(),
            "is NaN or infinite in 1 pixel",
            "Set them to 0 if they are background",
        ),
        (
            plane(0, 0.5, 1),
            MaskRule(),
            "1 pixel with fractional values, such as 0.5",
            "threshold them (--threshold 0.5)",
        ),
        (
            plane(0, -1, dtype=np.int16),
            MaskRule(),
            "negative labels; the smallest is -1",
            "leave them out (--ignore -1)",
        ),
        (
            plane(0, -2.0),
            INSTANCES,
            "negative labels; the smallest is -2",
            "to 0 only if they show background",
        ),
        (
            plane(0, 0, dtype=np.uint8),
            MaskRule(),
            "is empty: all 2 pixels are 0",
            "allow empty masks",
        ),
        (plane(0, 0), INSTANCES, "is empty", "allow empty masks"),
        (
            plane(0, 3, dtype=np.uint8),
            CLASSES,
            "holds label 3, but the project has 3 classes: 0 to 2",
            "Map the labels to classes",
        ),
        (
            plane(*range(20)),
            CLASSES,
            "holds labels 3, 4, 5, 6, 7, 8, 9, 10 and 9 more",
            "Map the labels to classes",
        ),
        (
            plane(0, 2**33, dtype=np.int64),
            INSTANCES,
            "holds label 8589934592; the largest possible label is 4294967295",
            "Relabel",
        ),
        (plane(0, 2**25), INSTANCES, "float32 is exact only up to 16777216", "Relabel"),
        (plane(0, 1, dtype=np.complex64), MaskRule(), "values of type complex64", "whole numbers"),
        (np.zeros((0, 4), np.uint8), MaskRule(), "its shape is (0, 4)", "rows and columns"),
        (np.zeros(4, np.uint8), MaskRule(), "its shape is (4,)", "rows and columns"),
        (
            plane(0, 5, 6),
            MaskRule(mask_mode="manual_label_map", label_map={5: 1}),
            "holds label 6, which the label map lacks",
            "Add",
        ),
        (
            plane(0, 5),
            MaskRule(mask_mode="manual_label_map", label_map={5: 7}),
            "contains 5=7, but the project has 3 classes",
            "0 to 2",
        ),
        (
            plane(0, 5),
            MaskRule(mask_mode="manual_label_map", label_map={5: 0}),
            "empty after mapping",
            "allow empty masks",
        ),
    ],
)
def test_a_mask_that_cannot_be_used_is_refused_with_its_values_and_a_way_out(
    mask: np.ndarray, rule: MaskRule, problem: str, way_out: str
) -> None:
    with pytest.raises(MaskError) as refused:
        prepare_mask(mask, rule, num_classes=3, name="well_B3")
    assert problem in refused.value.problem
    assert way_out in refused.value.way_out
    assert "well_B3" in refused.value.problem or "label map" in refused.value.problem


def test_an_empty_mask_is_accepted_when_that_is_meant() -> None:
    prepared = prepare_mask(plane(0, 0), MaskRule(allow_empty=True))
    assert prepared.preparation.is_empty
    assert prepared.preparation.saved_labels == (0,)


def test_each_output_mode_has_its_rule_and_others_are_refused() -> None:
    assert [default_rule(mode).mask_mode for mode in ("binary", "multiclass", "instances")] == [
        "merge_nonzero_to_foreground",
        "keep_labels_as_multiclass",
        "keep_instances",
    ]
    with pytest.raises(UsageError, match="Output mode 'regression' does not exist"):
        default_rule("regression")


@pytest.mark.parametrize(
    ("axes", "shape", "mask_axes", "mask_shape"),
    [
        ("YX", (4, 5), "YX", (4, 5)),
        ("YXC", (4, 5, 3), "YX", (4, 5)),
        ("TCZYX", (2, 3, 6, 4, 5), "tzyx", (2, 6, 4, 5)),
    ],
)
def test_a_mask_that_fits_is_let_through(
    axes: str, shape: tuple[int, ...], mask_axes: str, mask_shape: tuple[int, ...]
) -> None:
    check_pair(Image(np.zeros(shape), axes), mask_shape, mask_axes)


@pytest.mark.parametrize(
    ("axes", "shape", "mask_axes", "mask_shape", "way_out"),
    [
        (
            "YX",
            (1024, 1024),
            "YX",
            (512, 512),
            "Select the image this mask was drawn on. If the mask was resized, resize it back",
        ),
        ("YX", (40, 50), "YX", (50, 40), "Save both in the same orientation"),
        ("YXC", (40, 50, 3), "YXC", (40, 50, 3), "one number per pixel: YX (40, 50)"),
        (
            "ZYX",
            (5, 40, 50),
            "TYX",
            (5, 40, 50),
            "set the axes to ZYX (--axes ZYX): they apply to both.",
        ),
        ("ZYX", (5, 40, 50), "YX", (40, 50), "ZYX (5, 40, 50)"),
    ],
)
def test_a_mask_of_another_shape_or_other_axes_is_refused(
    axes: str, shape: tuple[int, ...], mask_axes: str, mask_shape: tuple[int, ...], way_out: str
) -> None:
    problem = f"Mask 'preview' is {mask_axes} {mask_shape}, image 'well_B3' is {axes} {shape}."
    with pytest.raises(MaskError, match=re.escape(problem)) as refused:
        check_pair(
            Image(np.zeros(shape), axes, name="well_B3"), mask_shape, mask_axes, mask_name="preview"
        )
    assert way_out in refused.value.way_out


@given(
    masks(), st.sampled_from(["merge_nonzero_to_foreground", "keep_instances", "manual_label_map"])
)
def test_what_is_foreseen_is_what_is_saved(mask: np.ndarray, mode: str) -> None:
    classes = 2 if mode == "keep_instances" else 3
    rule = MaskRule(
        mask_mode=mode,  # type: ignore[arg-type]
        label_map={label: label % classes for label in range(101)},
        allow_empty=True,
    )
    saved = foresee_mask(mask, rule, num_classes=3)
    labels = prepare_mask(mask, rule, num_classes=3).labels
    assert {
        int(drawn): int(label) for drawn, label in zip(mask.flat, labels.flat, strict=True)
    } == saved
    assert list(saved) == sorted(saved)


def test_an_empty_mask_is_foreseen_and_has_an_error_of_its_own() -> None:
    assert foresee_mask(plane(0, 0), MaskRule()) == {0: 0}
    with pytest.raises(EmptyMask, match="is empty"):
        prepare_mask(plane(0, 0), MaskRule())
