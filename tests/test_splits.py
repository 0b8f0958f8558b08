from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskloop.errors import UsageError
from maskloop.images.fingerprint import PairFingerprint
from maskloop.project.layout import Pair
from maskloop.project.project import ProjectFolder
from maskloop.project.splits import derive_group, split_pairs
from maskloop.project.store import changed


def pair(
    number: int,
    group: str,
    *,
    split: str | None = None,
    classes: tuple[int, ...] = (1,),
    objects: int = 10,
) -> Pair:
    facts = PairFingerprint(
        axes="YX",
        shape=(8, 8),
        channels=1,
        dtype="uint8",
        intensity_percentiles=((0.0, 0.0, 9.0, 20.0, 20.0, 10.0, 5.0),),
        class_pixels={0: 40, **dict.fromkeys(classes, 8)},
        object_count=objects,
    )
    name = f"pair_{number:04d}"
    path = {"image_path": f"dataset/images/{name}.tif", "mask_path": f"dataset/masks/{name}.tif"}
    return Pair(
        pair_id=name,
        shape=(8, 8),
        mask_shape=(8, 8),
        created_at="",
        group=group,
        split=split,
        fingerprint=facts,
        **path,
    )


def sides(pairs: list[Pair], share: float = 0.2, seed: int = 0) -> tuple[set[str], set[str]]:
    split = split_pairs(pairs, share=share, seed=seed)
    groups = {one.pair_id: one.group for one in pairs}
    return {groups[name] for name in split.training}, {groups[name] for name in split.validation}


groups_of = st.lists(st.integers(0, 12), min_size=1, max_size=40).map(
    lambda groups: [pair(at, f"g{group}") for at, group in enumerate(groups)]
)


@given(groups_of, st.floats(0, 0.9), st.integers(0, 5))
def test_no_group_lies_on_both_sides_and_no_pair_is_lost(pairs, share, seed):
    split = split_pairs(pairs, share=share, seed=seed)
    assert sorted(split.training + split.validation) == [one.pair_id for one in pairs]
    training, validation = sides(pairs, share, seed)
    assert not training & validation
    assert training
    assert split.reason
    assert split == split_pairs(pairs, share=share, seed=seed)


@given(groups_of, st.integers(1, 20))
def test_a_pair_once_on_a_side_stays_there_as_the_dataset_grows(pairs, more):
    split = split_pairs(pairs, share=0.3, seed=1)
    settled = [
        changed(one, split="validation" if one.pair_id in split.validation else "training")
        for one in pairs
    ]
    grown = [*settled, *(pair(1000 + at, f"new{at}") for at in range(more))]
    again = split_pairs(grown, share=0.3, seed=1)
    assert set(split.validation) <= set(again.validation)
    assert set(split.training) <= set(again.training)


def test_the_share_is_kept_about():
    training, validation = sides([pair(at, f"g{at}") for at in range(50)])
    assert (len(training), len(validation)) == (40, 10)


def test_one_group_has_no_validation_and_the_reason_is_said():
    split = split_pairs([pair(at, "stack") for at in range(9)], share=0.2, seed=0)
    assert split.validation == ()
    assert "one group" in split.reason
    assert "no validation score" in split.reason


def test_groups_that_were_trained_on_never_validate():
    split = split_pairs(
        [pair(at, f"g{at}", split="training") for at in range(4)], share=0.5, seed=0
    )
    assert split.validation == ()
    assert "All groups have been trained on" in split.reason


def test_a_class_that_occurs_once_is_trained_on():
    pairs = [pair(at, f"g{at}", classes=(1, 2) if at == 3 else (1,)) for at in range(5)]
    for seed in range(20):
        assert "g3" in sides(pairs, 0.4, seed)[0]
    lonely = [pair(0, "a", classes=(1,)), pair(1, "b", classes=(2,))]
    assert "only examples of a class" in split_pairs(lonely, share=0.5, seed=0).reason


def test_validation_is_like_the_whole():
    pairs = [pair(at, f"g{at}", objects=100 if at % 2 else 2) for at in range(40)]
    chosen = set(split_pairs(pairs, share=0.25, seed=3).validation)
    crowded = sum(one.fingerprint.object_count == 100 for one in pairs if one.pair_id in chosen)
    assert crowded == 5


def test_two_groups_of_unequal_size_give_the_smaller_one_to_validation():
    pairs = [*(pair(at, "film 1") for at in range(9)), pair(9, "film 2")]
    assert sides(pairs) == ({"film 1"}, {"film 2"})


def test_no_share_means_no_validation():
    split = split_pairs([pair(0, "a"), pair(1, "b")], share=0.0, seed=0)
    assert (split.validation, "No validation set was requested" in split.reason) == ((), True)


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("cell_z05", "cell"),
        ("cell_z06", "cell"),
        ("s01_t002", "s01"),
        ("t013", "stack in images"),
        ("z00", "stack in images"),
        ("slide3_x0_y512", "slide3"),
        ("training01_crop512", "training01"),
        ("film frame 12", "film"),
        ("embryo-slice-7", "embryo"),
        ("A01_s6", None),
        ("image_07", None),
        ("fluo_00071198d059", None),
        ("d1_001", None),
        ("set11", None),
        ("train_1135", None),
        ("sub-rat3_sample-data10", None),
        ("experiment", None),
    ],
)
def test_slices_frames_and_crops_are_known_by_their_names(name, group):
    assert derive_group(name, "images") == group


@pytest.fixture
def project(tmp_path: Path) -> ProjectFolder:
    return ProjectFolder.create(tmp_path / "p")


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (48, 48), np.uint8)


def test_near_duplicates_share_a_group(project):
    first = project.dataset.accept(noise(0), noise(0) > 200)
    turned = np.rot90(noise(0))[:, ::-1] // 2 + 20
    second = project.dataset.accept(turned, turned > 100)
    third = project.dataset.accept(noise(1), noise(1) > 200)
    assert first.group == second.group != third.group


def test_slices_of_one_stack_share_a_group(project):
    groups = {
        project.dataset.accept(noise(at), noise(at) > 200, name=f"brain_z{at:02d}").group
        for at in range(3)
    }
    assert groups == {"brain"}


def test_a_group_that_a_person_names_wins(project):
    pair = project.dataset.accept(noise(0), noise(0) > 200, name="brain_z01", group="mouse 7")
    assert pair.group == "mouse 7"


def test_a_split_is_recorded_and_new_pairs_of_a_group_join_its_side(project):
    for at in range(5):
        project.dataset.accept(noise(at), noise(at) > 200, group=f"mouse {at}")
    split = project.dataset.split(project.dataset.pairs, share=0.2)
    assert len(split.validation) == 1
    group = project.dataset.get(split.validation[0]).group
    joined = project.dataset.accept(noise(9), noise(9) > 200, group=group)
    assert joined.split == "validation"
    again = ProjectFolder.open(project.folder)
    assert joined.pair_id in again.dataset.split(again.dataset.pairs, share=0.2).validation


def test_a_pair_is_not_put_on_the_other_side_of_its_group(project):
    project.dataset.accept(noise(0), noise(0) > 200, group="mouse", split="validation")
    with pytest.raises(
        UsageError, match="group 'mouse', which is used for validation, not training"
    ):
        project.dataset.accept(noise(1), noise(1) > 200, group="mouse", split="training")


def test_a_group_is_kept_for_validation_unless_a_checkpoint_was_trained_on_it(project):
    pairs = [
        project.dataset.accept(noise(at), noise(at) > 200, group="a" if at < 2 else "b")
        for at in range(3)
    ]
    project.dataset.mark_validation(pairs[0].pair_id)
    assert [one.split for one in project.dataset.pairs] == ["validation", "validation", None]
    split = project.dataset.split(project.dataset.pairs, share=0.2)
    assert split.training == (pairs[2].pair_id,)
    weights = project.folder / "w.pt"
    weights.write_bytes(b"w")
    project.checkpoints.register(weights, run_id="train_001", pair_ids=[pairs[2].pair_id])
    with pytest.raises(UsageError, match="'unet_run_001' was trained on pair"):
        project.dataset.mark_validation(pairs[2].pair_id)


def test_groups_that_turn_out_to_be_one_are_joined(project):
    first = project.dataset.accept(noise(0), noise(0) > 200)
    project.dataset.accept(noise(1), noise(1) > 200, name="film_t001")
    project.dataset.accept(noise(0)[::-1], noise(0)[::-1] > 200, name="film_t002")
    assert {one.group for one in project.dataset.pairs} == {first.group}
