"""What maskloop relies on in a backend, as tests: plan, train, kill, resume, load, register."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import TypeAdapter

from maskloop import plugins
from maskloop.compute.project import Project
from maskloop.errors import MaskloopError
from maskloop.events import Event, Metric, Report, silent
from maskloop.images.fingerprint import Fingerprint, combine_fingerprints, fingerprint_pair
from maskloop.images.image import Image
from maskloop.models.base import (
    AnyPlan,
    Backend,
    Example,
    Plan,
    Start,
    Trained,
    TrainingContext,
)
from maskloop.predict.segment import segment
from maskloop.samples import simulate_pairs
from maskloop.task import OutputMode, Task

__all__ = ["BackendContract"]

# No power of two: a backend that takes only such lengths should fail here, not at a user's.
SHAPE = (48, 48)


class _Killed(BaseException):
    """Ends a training where a killed process would: nothing catches it."""


class BackendContract:
    """What a backend promises; a test class inherits it and says which backend it is.

    The backend must be registered under its name while the tests run.
    """

    mode: OutputMode = "binary"
    """A task that it serves."""
    architecture: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Choices that make its model small."""
    recipe: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Choices that make a training last a few seconds, with three reports of metrics or more."""
    tolerance: float = 0.0
    """By how much scores may differ after a kill; 0: bit for bit, as on a CPU they should."""

    def make_backend(self) -> Backend:
        """The backend to test."""
        raise NotImplementedError

    def test_it_is_registered_and_its_records_leave_everything_open(self) -> None:
        """Without choices all is planned: records can be made of nothing."""
        family = self.make_backend()
        assert plugins.get("backends", family.name) is family
        assert family.title
        assert family.checkpoint_prefix.replace("_", "").isalnum()
        # An open choice must not count as one: starting weights are compared with the choices
        # alone.
        assert family.Architecture().chosen == {}
        assert all(field.description for field in family.Architecture.model_fields.values())
        assert all(field.description for field in family.Recipe.model_fields.values())
        family.Recipe()

    def test_every_decision_of_a_plan_has_a_reason(self) -> None:
        """A person can see what is decided, and why."""
        plan = self._plan()
        assert plan.decisions
        assert all(one.reason for one in plan.decisions)
        assert plan.backend == self.make_backend().name
        assert isinstance(plan.network, self.make_backend().Network)

    def test_a_plan_saved_and_read_is_the_same(self) -> None:
        """Plans are kept as JSON: in runs, checkpoints and records."""
        plan = self._plan()
        # By the field's type, not by the backend's class: records do not know which backend they
        # hold.
        adapter: TypeAdapter[Plan] = TypeAdapter(AnyPlan)
        assert adapter.validate_json(plan.model_dump_json()) == plan

    def test_what_it_describes_can_be_drawn(self) -> None:
        """Before there are images and after."""
        family, task = self.make_backend(), self._task()
        choices = family.Architecture(**self.architecture)
        for plan in (None, self._plan()):
            summary = family.describe(task, choices, plan)
            assert summary.title
            assert summary.words
            # The words are part of longer sentences.
            assert not summary.words.endswith(".")
            assert all(row.label and row.value for row in summary.rows)
        assert family.outline(self._plan().network.model_dump()).title
        # Records of other versions are listed all the same.
        assert family.outline({"nonsense": 1}).title == family.outline({}).title == ""

    def test_it_trains_loads_and_segments(self, tmp_path: Path) -> None:
        """The weights that a training leaves predict labels of the image's shape."""
        trained = self._train(tmp_path)
        assert trained.weights.is_file()
        assert trained.metrics
        segmenter = self.make_backend().load(trained.weights, device="cpu")
        image = self._examples()[0].image
        labels = segment(image, segmenter).labels.read()
        assert labels.shape == SHAPE
        assert segmenter.output.class_labels == self._task().class_names

    def test_a_killed_training_ends_as_an_undisturbed_one(self, tmp_path: Path) -> None:
        """The state in the run's folder is all that a training needs to be resumed."""
        whole = self._train(tmp_path / "whole")
        seen = 0

        def kill(event: Event) -> None:
            nonlocal seen
            seen += isinstance(event, Metric)
            # After the first report, so that there is something to resume, and before the end.
            if seen == 2:
                raise _Killed

        with pytest.raises(_Killed):
            self._train(tmp_path / "killed", report=kill)
        resumed = self._train(tmp_path / "killed")
        assert resumed.epochs == whole.epochs
        family = self.make_backend()
        # Scores, not files: a checkpoint may hold dates or the order of its entries.
        ours, theirs = (family.load(one.weights, device="cpu") for one in (resumed, whole))
        tiles = np.random.default_rng(0).random((1, 1, 32, 32)).astype(np.float32)
        np.testing.assert_allclose(ours.scores(tiles), theirs.scores(tiles), atol=self.tolerance)

    def test_it_starts_from_its_own_weights_and_keeps_their_model(self, tmp_path: Path) -> None:
        """Weights of the same task fit, and the model stays theirs."""
        family, task = self.make_backend(), self._task()
        trained = self._train(tmp_path / "first")
        start = Start(
            "the first",
            trained.weights,
            family.name,
            trained.plan.network.model_dump(mode="json"),
            trained.plan.task,
        )
        # Without choices nothing can be contradicted.
        assert family.compare(task, family.Architecture(), start) == []
        second = self._plan(start=start, architecture={})
        assert second.network == trained.plan.network
        assert self._train(tmp_path / "second", plan=second, start=start).weights.is_file()

    def test_weights_of_another_backend_or_task_are_named(self, tmp_path: Path) -> None:
        """A mismatch tells both values."""
        family = self.make_backend()
        choices, network = family.Architecture(), self._plan().network.model_dump()
        stranger = Start("it", tmp_path / "it", "another", {}, self._task())
        assert any("another" in str(one) for one in family.compare(self._task(), choices, stranger))
        # Four classes and the background are no task that these tests use.
        other = Task(mode="multiclass", classes=("a", "b", "c", "d"))
        start = Start("it", tmp_path / "it", family.name, network, other)
        assert family.compare(self._task(), choices, start)

    def test_a_foreign_file_is_refused_in_words(self, tmp_path: Path) -> None:
        """Neither loading nor adopting it ends in a traceback, and nothing of it is run."""
        family = self.make_backend()
        for name in ("junk.pt", "junk.npz"):
            path = tmp_path / name
            path.write_bytes(b"\x80\x04not weights")
            with pytest.raises(MaskloopError):
                family.load(path, device="cpu")
            with pytest.raises(MaskloopError):
                family.adopt(path, self._task(), family.Architecture(), {})

    def test_it_adopts_its_own_weights(self, tmp_path: Path) -> None:
        """Weights brought in from elsewhere tell their model."""
        trained = self._train(tmp_path)
        family = self.make_backend()
        network = family.adopt(trained.weights, self._task(), family.Architecture(), {})
        assert network == trained.plan.network

    def test_a_project_trains_and_predicts_with_it(self, tmp_path: Path) -> None:
        """Registered, listed, loaded again: the whole loop, without a word of the backend's."""
        family = self.make_backend()
        project = Project.create(
            tmp_path / "cells",
            mode=self.mode,
            classes=self._task().classes,
            architecture={"backend": family.name, **self.architecture},
        )
        for example in self._examples():
            project.dataset.accept(example.image, example.labels, name=example.pair_id)
        record = project.train(**self.recipe)
        assert (record.backend, record.task) == (family.name, project.task)
        assert record.checkpoint_id.startswith(family.checkpoint_prefix)
        assert record.network == self.make_backend().Network(**record.network).model_dump(
            mode="json"
        )
        labels = project.segmenter().segment(self._examples()[0].image)
        assert labels.shape == SHAPE
        # The second training starts from the first by default, which needs `compare` and `Start`.
        later = project.train(**self.recipe)
        assert later.parent_checkpoint_id == record.checkpoint_id
        assert Project.open(project.folder).status().checkpoint_count == 2

    # What the tests are made of.

    def _task(self) -> Task:
        return Task.named(self.mode, ["bright", "dark"] if self.mode == "multiclass" else None)

    def _examples(self) -> list[Example]:
        pairs = simulate_pairs(4, shape=SHAPE, seed=7)
        return [
            Example(
                f"pair_{number}", Image(image, "YX", name=f"image {number}"), self._mask(labels)
            )
            for number, (image, labels) in enumerate(pairs)
        ]

    def _mask(self, labels: Any) -> Image:
        if self.mode == "instances":
            return Image(labels, "YX")
        # Even and odd objects, so that both classes occur in every image.
        classes = 1 + (labels % 2 if self.mode == "multiclass" else 0)
        return Image(np.where(labels > 0, classes, 0).astype(np.uint8), "YX")

    def _fingerprint(self) -> Fingerprint:
        is_instances = self.mode == "instances"
        prints = [
            fingerprint_pair(one.image, one.labels.read(), instances=is_instances)
            for one in self._examples()
        ]
        return combine_fingerprints(prints)

    def _plan(
        self, *, start: Start | None = None, architecture: Mapping[str, Any] | None = None
    ) -> Plan:
        family = self.make_backend()
        chosen = self.architecture if architecture is None else architecture
        return family.plan(
            self._task(),
            family.Architecture(**chosen),
            family.Recipe(**self.recipe),
            self._fingerprint(),
            start=start,
        )

    def _train(
        self,
        folder: Path,
        *,
        plan: Plan | None = None,
        start: Start | None = None,
        report: Report = silent,
    ) -> Trained:
        folder.mkdir(exist_ok=True)
        examples = self._examples()
        # Saved after every epoch: the killed training must find the state of the moment before.
        context = TrainingContext(folder, start=start, report=report, save_every_s=0.0)
        trained = self.make_backend().train(
            self._plan() if plan is None else plan, examples[:3], examples[3:], context
        )
        assert trained is not None
        return trained
