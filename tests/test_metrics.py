"""Scores agree with hand-made cases, and obey the laws that scores have."""

from __future__ import annotations

import itertools
from math import isnan, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from maskloop.errors import MaskError, UsageError
from maskloop.predict.metrics import ClassCounts, InstanceCounts, class_scores, instance_scores

SHAPES = st.sampled_from([(0, 5), (1, 1), (6, 7), (3, 4, 5)])
LABELS = SHAPES.flatmap(
    lambda shape: st.tuples(*[hnp.arrays(np.int32, shape, elements=st.integers(0, 5))] * 2)
)


def row(*labels: int) -> NDArray[Any]:
    return np.array([labels], np.uint16)


def test_class_scores_of_a_hand_made_case() -> None:
    counts = class_scores(row(0, 0, 1, 1, 2, 2), row(0, 1, 1, 1, 2, 0), 3)
    assert counts == ClassCounts(
        true_positives=(1, 2, 1), false_positives=(1, 0, 1), false_negatives=(1, 1, 0)
    )
    assert counts.dice == pytest.approx((0.5, 0.8, 2 / 3))
    assert counts.iou == pytest.approx((1 / 3, 2 / 3, 0.5))
    assert counts.precision == pytest.approx((0.5, 1, 0.5))
    assert counts.recall == pytest.approx((0.5, 2 / 3, 1))
    assert counts.mean_dice == pytest.approx((0.8 + 2 / 3) / 2)
    assert counts.mean_iou == pytest.approx((2 / 3 + 0.5) / 2)


def test_a_class_with_nothing_to_find_and_nothing_found_has_no_score() -> None:
    counts = class_scores(row(0, 1), row(0, 1), 3)
    assert counts.dice == pytest.approx((1, 1, nan), nan_ok=True)
    assert counts.mean_dice == 1
    assert isnan(class_scores(row(0, 0), row(0, 0), 2).mean_dice)
    assert class_scores(row(0, 1), row(0, 0), 2).mean_dice == 0


@given(LABELS, LABELS)
def test_class_counts_of_two_images_add_up_to_those_of_both_as_one(
    first: tuple[NDArray[Any], NDArray[Any]], second: tuple[NDArray[Any], NDArray[Any]]
) -> None:
    added = class_scores(*first, 6) + class_scores(*second, 6)
    found, truth = (
        np.concatenate([a.ravel(), b.ravel()]) for a, b in zip(first, second, strict=True)
    )
    assert added == class_scores(found, truth, 6)


def test_instance_scores_of_a_hand_made_case() -> None:
    # True 1 is matched with IoU 3/4, true 2 (4 px) is split into halves of IoU 1/2 each, true 3 is
    # missed, 9 is invented.
    truth = row(1, 1, 1, 1, 0, 2, 2, 2, 2, 0, 3, 3, 0, 0)
    found = row(7, 7, 7, 0, 0, 4, 4, 5, 5, 0, 0, 0, 9, 0)
    counts = instance_scores(found, truth, (0.5, 0.75, 0.8))
    assert counts.true_positives == (2, 1, 0)
    assert (counts.true_objects, counts.predicted_objects) == (3, 4)
    assert counts.average_precision() == pytest.approx(2 / 5)
    assert counts.average_precision(0.75) == pytest.approx(1 / 6)
    assert counts.precision() == pytest.approx(2 / 4)
    assert counts.recall() == pytest.approx(2 / 3)
    assert counts.f1() == pytest.approx(4 / 7)
    assert counts.mean_matched_iou() == pytest.approx((0.75 + 0.5) / 2)
    assert counts.panoptic_quality() == pytest.approx(1.25 / 3.5)
    assert counts.mean_average_precision == pytest.approx((2 / 5 + 1 / 6) / 3)
    # Kumar: best partners 3 + 2 of unions 4 + 4; the other half (2), the missed (2) and the
    # invented (1) widen the union.
    assert (counts.aji_intersection, counts.aji_union) == (5, 13)
    assert counts.aggregated_jaccard == pytest.approx(5 / 13)


def test_rivals_are_matched_so_that_most_objects_have_a_partner() -> None:
    # True 1 overlaps both predictions; taking the larger overlap would leave true 2 alone.
    truth = row(1, 1, 1, 2)
    found = row(5, 6, 6, 6)
    assert instance_scores(found, truth, [0.2]).true_positives == (2,)


def test_an_image_without_objects_has_no_score_and_an_invented_object_costs_all() -> None:
    nothing, something = row(0, 0), row(0, 1)
    assert all(isnan(value) for value in instance_scores(nothing, nothing).values().values())
    assert instance_scores(something, nothing).average_precision() == 0
    assert instance_scores(nothing, something).panoptic_quality() == 0
    assert instance_scores(nothing, something).aggregated_jaccard == 0


def test_scores_by_name_hold_one_average_precision_per_threshold() -> None:
    values = instance_scores(row(1), row(1)).values()
    assert list(values) == [
        "ap50",
        "ap60",
        "ap70",
        "ap75",
        "ap80",
        "ap90",
        "precision",
        "recall",
        "f1",
        "pq",
        "matched_iou",
        "aji",
    ]
    assert set(values.values()) == {1.0}


@given(LABELS)
def test_a_perfect_segmentation_scores_one(labels: tuple[NDArray[Any], NDArray[Any]]) -> None:
    truth = labels[0]
    for value in instance_scores(truth, truth).values().values():
        assert value == 1 or not truth.any()
    assert all(value == 1 or isnan(value) for value in class_scores(truth, truth, 6).dice)


@given(LABELS, st.permutations(range(1, 6)), st.sampled_from([1, 1000, 2**33]))
def test_the_numbers_of_the_objects_do_not_matter(
    labels: tuple[NDArray[Any], NDArray[Any]], order: list[int], factor: int
) -> None:
    found, truth = labels
    renamed = np.array([0, *order], np.int64)[found] * factor
    ours, theirs = instance_scores(renamed, truth), instance_scores(found, truth)
    # Only where several predictions share a true object equally does the aggregated Jaccard index
    # take the lowest number.
    ignored = {"aji_intersection", "aji_union", "matched_iou"}
    assert ours.model_dump(exclude=ignored) == theirs.model_dump(exclude=ignored)
    assert ours.matched_iou == pytest.approx(theirs.matched_iou)


@given(LABELS)
def test_exchanging_prediction_and_truth_keeps_the_matches(
    labels: tuple[NDArray[Any], NDArray[Any]],
) -> None:
    forth, back = (instance_scores(*pair, (0.1, 0.3, 0.5, 0.7)) for pair in (labels, labels[::-1]))
    assert forth.true_positives == back.true_positives
    assert forth.matched_iou == pytest.approx(back.matched_iou)
    assert forth.precision(0.5) == pytest.approx(back.recall(0.5), nan_ok=True)


@settings(deadline=None)
@given(LABELS, st.sampled_from([0.05, 0.2, 1 / 3, 0.5, 0.6]))
def test_matches_are_those_of_trying_all_pairings(
    labels: tuple[NDArray[Any], NDArray[Any]], threshold: float
) -> None:
    found, truth = labels
    ids = [[label for label in np.unique(image) if label] for image in labels]
    iou = np.array([[_iou(found == a, truth == b) for b in ids[1]] for a in ids[0]]).reshape(
        len(ids[0]), len(ids[1])
    )
    iou = iou.T if len(ids[0]) > len(ids[1]) else iou
    tries = itertools.permutations(range(iou.shape[1]), iou.shape[0])
    chosen = ([iou[a, b] for a, b in enumerate(order) if iou[a, b] >= threshold] for order in tries)
    count, total = max(((len(values), sum(values)) for values in chosen), default=(0, 0.0))
    counts = instance_scores(found, truth, [threshold])
    assert counts.true_positives == (count,)
    assert counts.matched_iou[0] == pytest.approx(total)


def _iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / (a | b).sum())


@given(LABELS, LABELS)
def test_instance_counts_of_two_images_add_up(
    first: tuple[NDArray[Any], NDArray[Any]], second: tuple[NDArray[Any], NDArray[Any]]
) -> None:
    apart = np.concatenate([first[0].ravel(), second[0].ravel() + 100 * (second[0].ravel() > 0)])
    truth = np.concatenate([first[1].ravel(), second[1].ravel() + 100 * (second[1].ravel() > 0)])
    added, whole = instance_scores(*first) + instance_scores(*second), instance_scores(apart, truth)
    assert added.model_copy(update={"matched_iou": ()}) == whole.model_copy(
        update={"matched_iou": ()}
    )
    assert added.matched_iou == pytest.approx(whole.matched_iou)


def test_many_objects_on_a_large_image_are_matched_exactly() -> None:
    grid = np.arange(1024) // 32
    truth = 1 + grid[:, None] * 32 + grid
    counts = instance_scores(np.roll(truth, 2, 0).astype(np.uint32) * 4_000_000, truth)
    assert (counts.true_objects, counts.predicted_objects) == (1024, 1024)
    assert counts.true_positives == (
        1024,
        1024,
        1024,
        1024,
        1024,
        0,
    )  # IoU 30 / 34 but in the wrapped row
    assert counts.mean_matched_iou() == pytest.approx(30 / 34)


@pytest.mark.parametrize("scores", [instance_scores, lambda a, b: class_scores(a, b, 3)])
def test_label_images_that_cannot_be_compared_are_refused(scores: Any) -> None:
    with pytest.raises(
        MaskError, match=r"The prediction has shape \(1, 2\), the ground truth \(1, 3\)\."
    ):
        scores(row(0, 1), row(0, 1, 1))
    with pytest.raises(
        MaskError, match=r"The ground truth holds values of type float64, not whole numbers\."
    ):
        scores(row(0, 1), np.array([[0.0, 0.5]]))
    with pytest.raises(MaskError, match=r"The prediction holds the negative label -1\."):
        scores(np.array([[0, -1]]), row(0, 1))


def test_a_class_out_of_range_is_refused_by_its_number() -> None:
    with pytest.raises(
        MaskError, match=r"The ground truth holds class 7, but the classes are 0 to 1\."
    ):
        class_scores(row(0, 1), row(0, 7), 2)


def test_counts_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(UsageError, match="Counts of 2 classes cannot be added to counts of 3"):
        class_scores(row(0), row(0), 2) + class_scores(row(0), row(0), 3)
    with pytest.raises(UsageError, match=r"Counts at \(0\.5,\) cannot be added"):
        instance_scores(row(0), row(0), [0.5]) + instance_scores(row(0), row(0), [0.6])
    with pytest.raises(UsageError, match=r"Objects were not matched at IoU 0\.55"):
        instance_scores(row(0), row(0)).average_precision(0.55)
    with pytest.raises(UsageError, match=r"IoU thresholds \(0,\)"):
        instance_scores(row(0), row(0), [0])


def test_counts_are_records_that_survive_json() -> None:
    counts = instance_scores(row(1, 2, 0), row(1, 1, 3))
    assert InstanceCounts.model_validate_json(counts.model_dump_json()) == counts
