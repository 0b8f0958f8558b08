"""A second backend, written as a newcomer would: this file and one line that registers it.

It classifies each pixel by a softmax of smoothed copies of the image: NumPy and SciPy, no torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from scipy.ndimage import gaussian_filter, gaussian_gradient_magnitude
from typer.testing import CliRunner

from maskloop import Project, plugins
from maskloop.cli import app
from maskloop.compute.overview import list_runs
from maskloop.errors import Cancelled, IncompatibleWeights, NotFound, UsageError
from maskloop.events import Metric
from maskloop.images.fingerprint import Fingerprint
from maskloop.images.image import Image
from maskloop.images.normalize import Normalization
from maskloop.images.writers import write_image, write_labels
from maskloop.models.base import (
    Architecture,
    Backend,
    Decision,
    Example,
    Mismatch,
    Outline,
    Plan,
    Recipe,
    Start,
    Summary,
    Trained,
    TrainingContext,
    outline_of,
)
from maskloop.models.device import Machine
from maskloop.models.samples import samples_of
from maskloop.predict.base import Output, Segmenter
from maskloop.predict.outputs import AnyOutput, output_for
from maskloop.predict.segment import segment
from maskloop.records import Record, write_whole
from maskloop.samples import simulate_pairs
from maskloop.task import OutputMode, Task
from maskloop.testing import BackendContract, SegmenterContract

Array = NDArray[np.float32]
PIXELS = 4000
"""Of each image so many are learned from."""


class PixelArchitecture(Architecture):
    """What a person chose about the features."""

    sigmas: tuple[float, ...] | None = Field(
        None, title="Scales", description="Widths of the Gaussian filters, in pixels."
    )


class PixelRecipe(Recipe):
    """What a person chose about the training."""

    iterations: int | None = Field(
        None, ge=1, title="Iterations", description="Steps of gradient descent."
    )


class PixelNetwork(Record):
    """Which features are classified, and into how many scores."""

    channels: int
    sigmas: tuple[float, ...]
    outputs: int


class PixelPlan(Plan):
    """Everything that the training does."""

    backend: Literal["pixels"] = "pixels"
    network: PixelNetwork
    output: AnyOutput
    iterations: int


class PixelSegmenter:
    """The trained classifier: scores of each pixel by itself."""

    spatial_dims = 2
    multiple = (1, 1)
    tile_shape = (256, 256)
    batch_size = 1

    def __init__(self, plan: PixelPlan, weights: Array) -> None:
        self.plan, self.weights = plan, weights
        # The Gaussian filters end at four sigma.
        self.halo = (math.ceil(4 * max(plan.network.sigmas)) + 1,) * 2
        self.input_channels = plan.network.channels
        self.normalization: Normalization = plan.normalization
        self.output: Output = plan.output

    def scores(self, tiles: Array) -> Array:
        found = [_probabilities(_features(tile, self.plan.network), self.weights) for tile in tiles]
        planes = [one.T.reshape(-1, *tiles.shape[2:]) for one in found]
        return np.stack(planes)[:, -self.output.channels :].astype(np.float32)


class PixelBackend:
    """Plans, trains and loads classifiers of pixels."""

    name = "pixels"
    title = "Pixel classifier"
    checkpoint_prefix = "pixels"
    Architecture = PixelArchitecture
    Recipe = PixelRecipe
    Network = PixelNetwork
    Plan = PixelPlan

    def plan(
        self,
        task: Task,
        choices: PixelArchitecture,
        recipe: PixelRecipe,
        fingerprint: Fingerprint,
        *,
        start: Start | None = None,
        machine: Machine | None = None,
    ) -> PixelPlan:
        if task.mode == "instances":
            raise UsageError("A pixel cannot be told apart from its neighbor.", "Use basic_unet.")
        output = output_for(task.mode, task.class_names)
        sigmas = choices.sigmas or (1.0, 2.0, 4.0)
        network = PixelNetwork(
            channels=fingerprint.channels, sigmas=sigmas, outputs=task.num_classes
        )
        if start is not None:
            if mismatches := self.compare(task, choices, start):
                told = "; ".join(map(str, mismatches))
                raise IncompatibleWeights(f"{start.name} does not fit: {told}.", "Start anew.")
            network = PixelNetwork(**start.network)
        iterations = recipe.iterations or 200
        source: Any = "planned" if recipe.iterations is None else "person"
        return PixelPlan(
            task=task,
            network=network,
            output=output,
            iterations=iterations,
            normalization=recipe.normalization or Normalization(),
            seed=recipe.seed,
            decisions=(
                Decision(name="sigmas", value=network.sigmas, reason="From fine to coarse."),
                Decision(name="iterations", value=iterations, reason="Enough.", source=source),
            ),
        )

    def train(
        self,
        plan: PixelPlan,
        training: Sequence[Example],
        validation: Sequence[Example],
        context: TrainingContext,
    ) -> Trained:
        features, classes = _pixels(training, plan)
        truth = np.eye(plan.network.outputs, dtype=np.float32)[classes]
        weights = np.zeros((features.shape[1], plan.network.outputs), np.float32)
        if context.start is not None:
            weights = _read(context.start.path)[1]
        state, first = context.folder / "resume.npz", 0
        if state.exists():
            with np.load(state, allow_pickle=False) as saved:
                weights, first = saved["weights"], int(saved["iteration"])
        loss = math.nan
        for iteration in range(first, plan.iterations):
            if context.is_cancelled():
                raise Cancelled("The training was cancelled.", "Start it again to resume it.")
            found = _probabilities(features, weights)
            loss = float(-np.log(found[truth > 0] + 1e-9).mean())
            weights = weights - 0.5 * features.T @ (found - truth) / len(truth)
            if iteration % 10 == 9:
                with write_whole(state) as file:
                    np.savez(file, weights=weights, iteration=iteration + 1)
                context.report(Metric(epoch=iteration + 1, values={"loss": loss}))
        metrics = {"loss": loss, **self._scores(plan, weights, validation)}
        header = {**context.header, "plan": plan.model_dump(mode="json")}
        with write_whole(context.folder / "best.npz") as file:
            np.savez(file, weights=weights, header=np.frombuffer(json.dumps(header).encode(), "u1"))
        return Trained(
            weights=context.folder / "best.npz",
            plan=plan,
            metrics=metrics,
            epochs=plan.iterations,
            best_epoch=plan.iterations,
            patches=0,
            elapsed_s=0.0,
            stopped="epochs",
        )

    def _scores(
        self, plan: PixelPlan, weights: Array, validation: Sequence[Example]
    ) -> dict[str, float]:
        segmenter = PixelSegmenter(plan, weights)
        counts = [
            plan.output.score(segment(one.image, segmenter).labels.read(), one.labels.read())
            for one in validation
        ]
        return sum(counts[1:], counts[0]).values(plan.output.class_labels) if counts else {}

    def load(self, path: Path, *, device: str = "auto") -> Segmenter:
        return PixelSegmenter(*_read(path))

    def describe(
        self, task: Task, choices: PixelArchitecture, plan: PixelPlan | None = None
    ) -> Summary:
        sigmas = (choices.sigmas or (1.0, 2.0, 4.0)) if plan is None else plan.network.sigmas
        title = f"Pixel classifier, {len(sigmas)} scales"
        return Summary(title=title, words=f"{title}; nothing to wait for")

    def outline(self, network: Mapping[str, Any]) -> Outline:
        try:
            found = PixelNetwork(**network)
        except ValidationError:
            return Outline()
        return Outline(f"Pixel classifier, {len(found.sigmas)} scales", found.channels, 2)

    def compare(self, task: Task, choices: PixelArchitecture, start: Start) -> list[Mismatch]:
        if start.backend != self.name:
            return [Mismatch("backend", self.name, start.backend)]
        found = PixelNetwork(**start.network)
        pairs = [
            ("classes", task.num_classes, (start.task or task).num_classes),
            ("scales", choices.sigmas or found.sigmas, found.sigmas),
        ]
        return [Mismatch(*pair) for pair in pairs if pair[1] != pair[2]]

    def adopt(
        self, path: Path, task: Task, choices: PixelArchitecture, known: Mapping[str, Any]
    ) -> PixelNetwork:
        return _read(path)[0].network


def _features(image: Array, network: PixelNetwork) -> Array:
    """(pixels, features) of an image (C, Y, X)."""
    planes = [np.ones(image.shape[1:])]
    for channel in image:
        planes.append(channel)
        for sigma in network.sigmas:
            planes += [
                gaussian_filter(channel, sigma),
                gaussian_gradient_magnitude(channel, sigma),
            ]
    return np.stack(planes, -1).reshape(-1, len(planes)).astype(np.float32)


def _probabilities(features: Array, weights: Array) -> Array:
    logits = features @ weights
    found: Array = np.exp(logits - logits.max(1, keepdims=True))
    return found / found.sum(1, keepdims=True)


def _pixels(examples: Sequence[Example], plan: PixelPlan) -> tuple[Array, NDArray[Any]]:
    """Features and classes of some pixels of each image; the same ones each time."""
    random = np.random.default_rng(plan.seed)
    features, classes = [], []
    for example in examples:
        for sample in samples_of(example, 2, plan.normalization):
            from maskloop.images.normalize import normalize

            chosen = random.permutation(sample.labels.size)[:PIXELS]
            image = normalize(sample.image, sample.ranges)
            features.append(_features(image, plan.network)[chosen])
            classes.append(plan.output.class_map(sample.labels).reshape(-1)[chosen])
    return np.concatenate(features), np.concatenate(classes)


def _read(path: Path) -> tuple[PixelPlan, Array]:
    try:
        with np.load(path, allow_pickle=False) as file:
            header = json.loads(bytes(file["header"]))
            return PixelPlan.model_validate(header["plan"]), file["weights"]
    except (OSError, ValueError, KeyError, TypeError):
        raise IncompatibleWeights(
            f"'{path.name}' holds no pixel classifier.", "Choose another file."
        ) from None


PIXELS_BACKEND = PixelBackend()


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    with plugins.register("backends", "pixels", PIXELS_BACKEND):  # the one line
        yield


class TestPixels(BackendContract):
    architecture: ClassVar[dict[str, Any]] = {"sigmas": (1.0, 3.0)}
    recipe: ClassVar[dict[str, Any]] = {"iterations": 60}

    def make_backend(self) -> Backend:
        return PIXELS_BACKEND


class TestPixelsOfSeveralClasses(TestPixels):
    mode: OutputMode = "multiclass"


class TestPixelSegmenter(SegmenterContract):
    def make_segmenter(self) -> Segmenter:
        network = PixelNetwork(channels=1, sigmas=(1.0,), outputs=2)
        plan = PixelPlan(
            task=Task(),
            network=network,
            output=output_for("binary", Task().class_names),
            iterations=1,
            normalization=Normalization(),
        )
        return PixelSegmenter(plan, np.ones((4, 2), np.float32))


def test_it_works_from_the_command_line_as_any_other(tmp_path: Path) -> None:
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for number, (image, labels) in enumerate(simulate_pairs(4, shape=(48, 48), seed=3)):
        mask = (labels > 0).astype(np.uint8)
        write_image(tmp_path / "images" / f"{number}.tif", Image(image, "YX"))
        write_labels(tmp_path / "masks" / f"{number}.tif", mask, axes="YX")
    folder = tmp_path / "cells"

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        return str(result.output)

    run("new", str(folder), "--backend", "pixels", "--set", "sigmas=1,2")
    assert Project.open(folder).architecture == {"backend": "pixels", "sigmas": [1.0, 2.0]}
    images, masks = str(tmp_path / "images"), str(tmp_path / "masks")
    run("add", str(folder), "--images", images, "--masks", masks)
    assert "From fine to coarse." in " ".join(run("plan", str(folder)).split())
    run("train", str(folder), "--set", "iterations=30")
    assert "pixels_001" in run("checkpoints", str(folder))
    run("predict", str(folder), images, "--out", str(tmp_path / "out"))
    said = run("evaluate", "--predictions", str(tmp_path / "out"), "--masks", masks, "--json")
    assert json.loads(said)["mode"] == "binary"
    assert (folder / "checkpoints" / "pixels_001.npz").is_file()
    # An option of another backend is refused in words.
    result = CliRunner().invoke(app, ["train", str(folder), "--epochs", "3"])
    assert "There is no setting 'epochs'" in " ".join(result.output.split())


def test_a_project_whose_backend_is_not_installed_opens_and_says_so(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "cells", architecture={"backend": "pixels"})
    for image, labels in simulate_pairs(2, shape=(32, 32), seed=3):
        project.dataset.accept(image, labels > 0)
    project.train(iterations=10)
    plugins.Registration("backends", "pixels").undo()
    again = Project.open(project.folder)
    assert again.status().checkpoint_count == 1
    assert outline_of("pixels", again.checkpoints.get("latest").network).title == "pixels"
    assert [run.run_id for run in list_runs(again)] == ["train_001"]
    for use in (again.segmenter, again.plan, again.train):
        with pytest.raises(NotFound, match="'pixels' is not one of the backends"):
            use()
