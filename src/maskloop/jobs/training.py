"""A training as a job: fix the inputs, train, register the checkpoint."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, SerializeAsAny, model_validator

from maskloop.errors import ProjectError, TrainingFailed, UsageError
from maskloop.events import Event, Message, Metric, Report
from maskloop.extras import require
from maskloop.images.annotated import split_off
from maskloop.jobs.base import Job, Result, RunContext
from maskloop.jobs.choices import backend_of, choices_of, find_start, recipe_of
from maskloop.models.base import (
    DEFAULT_BACKEND,
    AnyPlan,
    Example,
    Plan,
    Recipe,
    Start,
    Trained,
    TrainingContext,
    backend,
)
from maskloop.project.entries import CheckpointRecord, Content, Pair
from maskloop.project.project import ProjectFolder
from maskloop.project.splits import Split, split_pairs
from maskloop.records import Record, read_record, write_record
from maskloop.wording import counted

__all__ = [
    "TrainJob",
    "TrainingInputs",
    "fix_inputs",
    "plan_split",
    "plan_training",
    "run_training",
]

INPUTS = "inputs.json"


class TrainJob(Job):
    """Train on accepted pairs and register a checkpoint."""

    noun: ClassVar[str] = "training"
    after_kill: ClassVar[str] = (
        "Resume it: training continues from the last saved state. If it stops again, memory may "
        "be too small: choose a smaller batch size."
    )

    kind: Literal["train"] = "train"
    backend: str = Field(DEFAULT_BACKEND, description="Family of models.")
    recipe: SerializeAsAny[Recipe] = Field(
        default_factory=Recipe, description="Choices, as the backend takes them."
    )
    start: str = Field(
        "auto",
        description="Starting weights: scratch, latest, the id of a checkpoint or of imported "
        "weights; auto is latest if there is a checkpoint.",
    )
    pairs: Literal["all", "new"] | tuple[str, ...] = Field(
        "all", description="Pairs to train on: all, those new since the last checkpoint, or ids."
    )

    @model_validator(mode="before")
    @classmethod
    def _read_recipe(cls, values: Any) -> Any:
        """A recipe is of the type that its backend takes."""
        if not isinstance(values, Mapping):
            return values
        # Here and not as a field's type: which class it is depends on another field.
        kind = backend(str(values.get("backend", DEFAULT_BACKEND))).Recipe
        recipe = values.get("recipe") or {}
        if isinstance(recipe, Recipe) and not isinstance(recipe, kind):
            # Only what was set: another backend may have other defaults for what was left open.
            recipe = recipe.model_dump(exclude_unset=True)
        return {**values, "recipe": kind.model_validate(recipe)}

    def run(self, run: RunContext) -> Result:
        """Train, or resume, and register the checkpoint."""
        record = run_training(self, run)
        if record is None:
            return {}
        return {
            "checkpoint_id": record.checkpoint_id,
            "summary": record.benchmark_summary,
            "metrics": record.metrics,
        }

    @property
    def processes(self) -> int:
        """One for each device on each node."""
        return self.recipe.processes


class TrainingInputs(Record):
    """All that a training depends on, fixed when it first starts: resumed, it is the same one."""

    plan: AnyPlan
    training_ids: tuple[str, ...]
    validation_ids: tuple[str, ...]
    contents: dict[str, Content] = Field(
        default_factory=dict, description="Image and mask of each pair, as they were then."
    )
    split_reason: str
    training_mode: str
    parent: str | None = None
    imported_model: str | None = None
    started: float


def plan_training(project: ProjectFolder, job: TrainJob) -> Plan:
    """The plan that this job would train by; changes nothing."""
    start, _ = find_start(project, job.start)
    # Of the pairs it learns from: an epoch of sixteen new ones is not that of thousands.
    selected = project.dataset.select(job.pairs)
    facts = project.dataset.fingerprint(selected or None)
    # Images without objects can teach trained weights what not to find, but never what to find.
    if start is None and not any(count for label, count in facts.class_pixels.items() if label):
        raise UsageError(
            f"The masks of all {counted(facts.pair_count, 'pair')} are empty: there is nothing to "
            "learn.",
            "Add images with objects (maskloop add DIR --images DIR --masks DIR).",
        )
    return backend(job.backend).plan(
        project.task,
        _choices(project, job),
        recipe_of(project, job.recipe),
        facts,
        start=start,
    )


def _choices(project: ProjectFolder, job: TrainJob) -> Any:
    """What a person chose about the model; nothing where the job is for another backend."""
    # Choices are fields of one backend's architecture; another one would refuse them as unknown.
    if job.backend == backend_of(project).name:
        return choices_of(project)
    return backend(job.backend).Architecture()


def plan_split(project: ProjectFolder, job: TrainJob) -> Split:
    """Which pairs this job would learn from, and which it would be scored on; changes nothing.

    Raises
    ------
    UsageError
        If there is nothing to learn from.
    """
    return _narrowed(
        project,
        job,
        split_pairs(project.dataset.pairs, share=_share(project, job), seed=job.recipe.seed),
    )


def _narrowed(project: ProjectFolder, job: TrainJob, split: Split) -> Split:
    """A split of all pairs with the selected ones to learn from.

    It is of all pairs, not the selected ones: scores of one training can then be compared with
    those of the next.
    """
    if not project.dataset.pairs:
        raise UsageError(
            "There are no pairs to train on.",
            "Add some (maskloop add DIR --images DIR --masks DIR).",
        )
    training = tuple(
        pair.pair_id
        for pair in project.dataset.select(job.pairs)
        if pair.pair_id not in split.validation
    )
    # Two messages for one state: what helps depends on what was asked for.
    if not training and job.pairs == "new":
        raise UsageError(
            "There are no new pairs since the last checkpoint.",
            "Accept new pairs, or train on all (--pairs all).",
        )
    if not training:
        raise UsageError(
            "All selected pairs are used for validation.",
            "Select other pairs, or train on all (--pairs all).",
        )
    return split.model_copy(update={"training": training})


def _share(project: ProjectFolder, job: TrainJob) -> float:
    # Zero is a choice, so that no `or` may stand here.
    share = recipe_of(project, job.recipe).validation_share
    return 0.2 if share is None else share


def run_training(job: TrainJob, run: RunContext) -> CheckpointRecord | None:
    """Train, or resume an interrupted training, and register the result.

    Returns
    -------
    CheckpointRecord | None
        None in helper processes of a training on several devices.

    Raises
    ------
    MaskloopError
        If there is nothing to train on, the starting weights do not fit, or the training fails.
    """
    project, folder = run.project, run.folder
    done = [record for record in project.checkpoints.list() if record.run_id == run.run_id]
    if done:  # killed after the registration, before its last event
        return done[0]
    # Read and not decided in a resumed run: it has to be the same training.
    inputs = fix_inputs(project, job, folder)
    for text in (
        inputs.split_reason,
        f"Training mode: {inputs.training_mode}"
        + (f" ({inputs.parent})" if inputs.parent else "")
        + ".",
    ):
        run.report(Message(text=text))
    with _curves(inputs.plan, folder, run.report) as tell:
        trained = _train(job, inputs, run, tell)
    return None if trained is None else _register(project, inputs, trained, run.run_id, folder)


def fix_inputs(project: ProjectFolder, job: TrainJob, folder: Path) -> TrainingInputs:
    """Decide on plan, pairs and starting weights, or read what the run decided at first."""
    if (folder / INPUTS).exists():
        return read_record(folder / INPUTS, TrainingInputs)
    # Refuses what cannot be trained before anything expensive is planned.
    plan_split(project, job)
    plan, origin = plan_training(project, job), find_start(project, job.start)[1]
    # Only now each pair's side is recorded: a job that is refused changes nothing.
    split = _narrowed(
        project,
        job,
        project.dataset.split(
            project.dataset.pairs, share=_share(project, job), seed=job.recipe.seed
        ),
    )
    inputs = TrainingInputs(
        plan=plan,
        training_ids=split.training,
        validation_ids=split.validation,
        contents={
            pair_id: project.dataset.get(pair_id).content
            for pair_id in (*split.training, *split.validation)
        },
        split_reason=split.reason,
        started=time.time(),
        **origin,
    )
    # Before the project's own record: a run that is killed in between has decided all the same.
    write_record(folder / INPUTS, inputs)
    project.set_auto_configuration_decisions(
        [decision.model_dump(mode="json") for decision in plan.decisions]
    )
    return inputs


def _start(project: ProjectFolder, inputs: TrainingInputs) -> Start | None:
    """The weights that the training starts from, as they were fixed."""
    # By the recorded id: "latest" may mean another checkpoint when the run is resumed.
    name = inputs.parent or inputs.imported_model
    if name is None:
        return None
    start, _ = find_start(project, name)
    if start is not None and not start.path.is_file():
        raise ProjectError(
            f"The weights '{start.path}' of '{name}' are missing.",
            "Restore them from a backup, or select others.",
        )
    return start


def _pairs(project: ProjectFolder, inputs: TrainingInputs, ids: tuple[str, ...]) -> list[Pair]:
    """The pairs as they were when the training first started.

    A mask that was corrected while the run was interrupted is for the next training.
    """
    return [project.dataset.as_seen(pair_id, inputs.contents.get(pair_id)) for pair_id in ids]


def _examples(project: ProjectFolder, pairs: list[Pair]) -> list[Example]:
    return [_example(project, pair) for pair in pairs]


def _example(project: ProjectFolder, pair: Pair) -> Example:
    image, mask = project.dataset.read_image(pair), project.dataset.read_mask(pair)
    if pair.ignored_label is None:
        return Example(pair.pair_id, image, mask)
    # Read at once, so that no backend ever meets the label that means nothing.
    labels, known = split_off(mask.read(), pair.ignored_label)
    return Example(pair.pair_id, image, replace(mask, data=labels), known)


def _train(
    job: TrainJob, inputs: TrainingInputs, run: RunContext, report: Report
) -> Trained | None:
    project, plan = run.project, inputs.plan
    training = _pairs(project, inputs, inputs.training_ids)
    validation = _pairs(project, inputs, inputs.validation_ids)
    pairs = (*training, *validation)
    # All that the file needs to be understood without the project: it may be sent to somebody else.
    header = {
        "backend": plan.backend,
        "task": plan.task.model_dump(mode="json"),
        "network": plan.network.model_dump(mode="json"),
        "classes": plan.task.class_labels,
        "run_id": run.run_id,
        "parent_checkpoint_id": inputs.parent,
        "imported_model_id": inputs.imported_model,
        "training_mode": inputs.training_mode,
        "training_ids": inputs.training_ids,
        "validation_ids": inputs.validation_ids,
        "dataset_pixel_hashes": {pair.pair_id: pair.pixels_sha256 for pair in pairs},
        "dataset_mask_hashes": {pair.pair_id: pair.mask_sha256 for pair in pairs},
        "versions": _versions(),
        "seed": plan.seed,
    }
    return backend(plan.backend).train(
        plan,
        _examples(project, training),
        _examples(project, validation),
        TrainingContext(
            folder=run.folder,
            start=_start(project, inputs),
            header=header,
            report=report,
            is_cancelled=run.is_cancelled,
            save_every_s=job.recipe.save_every_s,
        ),
    )


@contextlib.contextmanager
def _curves(plan: Plan, folder: Path, report: Report) -> Iterator[Report]:
    """Also write the figures as TensorBoard files, when asked for."""
    if not plan.tensorboard:
        yield report
        return
    require("tensorboard")
    # Loaded only when asked for: an extra that most installations lack.
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / "tensorboard")) as writer:

        def tell(event: Event) -> None:
            if isinstance(event, Metric):
                for name, value in event.values.items():
                    writer.add_scalar(name, value, event.epoch)
            report(event)

        yield tell


def _versions() -> dict[str, str]:
    names = ("maskloop", "torch", "numpy", "lightning-fabric", "scikit-image")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _register(
    project: ProjectFolder, inputs: TrainingInputs, trained: Trained, run_id: str, folder: Path
) -> CheckpointRecord:
    # The backend may be a plug-in's: refused here, not by a copy that fails half-way.
    if not trained.weights.exists():
        raise TrainingFailed(
            f"Run {run_id} has no weights to register.",
            "Train again; the pairs and settings are unchanged.",
        )
    plan, metrics = trained.plan, trained.metrics
    _refuse_faulty_weights(trained.weights, run_id)
    family = backend(plan.backend)
    summary = family.describe(plan.task, family.Architecture(), plan)
    record = project.checkpoints.register(
        trained.weights,
        run_id=run_id,
        parent=inputs.parent,
        training_mode=inputs.training_mode,
        pair_ids=inputs.training_ids,
        contents={
            pair.pair_id: pair.content for pair in _pairs(project, inputs, inputs.training_ids)
        },
        number_of_images=len(inputs.training_ids),
        number_of_patches=trained.patches,
        split={
            "training": inputs.training_ids,
            "validation": inputs.validation_ids,
            "reason": inputs.split_reason,
        },
        metrics={
            **metrics,
            "epochs": trained.epochs,
            "best_epoch": trained.best_epoch,
            "stopped": trained.stopped,
            "seconds": trained.elapsed_s,
        },
        backend=family.name,
        prefix=family.checkpoint_prefix,
        task=plan.task,
        network=plan.network.model_dump(mode="json"),
        starting_weights={
            "mode": inputs.training_mode,
            "checkpoint_id": inputs.parent,
            "imported_model_id": inputs.imported_model,
        },
        plan=plan.model_dump(mode="json"),
        summary={"title": summary.title, **summary.facts},
        versions=_versions(),
        seed=plan.seed,
        benchmark_summary=_benchmark(metrics, inputs),
    )
    # The checkpoint is in the project now; weights, average and both moments of AdamW are four
    # times as large.
    for pattern in ("resume.*", "best.*"):
        for left in folder.glob(pattern):
            left.unlink()
    return record


def _refuse_faulty_weights(weights: Path, run_id: str) -> None:
    """A checkpoint that no prediction could use is never registered, whatever its backend did."""
    if weights.suffix != ".pt":
        return  # in a format of its backend's own

    from maskloop.models.weights_file import load_checkpoint, not_finite

    faulty = not_finite(load_checkpoint(weights).state_dict)
    if faulty:
        raise TrainingFailed(
            f"Run {run_id} ended with {counted(len(faulty), 'weight')} with values that are not "
            f"finite, {faulty[0]} first.",
            "Train again with a lower learning rate; the pairs and settings are unchanged.",
        )


def _benchmark(metrics: dict[str, float], inputs: TrainingInputs) -> str:
    # Never a score on images that were trained on: it would look better than it is.
    if not inputs.validation_ids:
        return "no validation score: no independent validation images"
    shown = {name: metrics[name] for name in ("dice", "iou", "ap50", "ap75") if name in metrics}
    return ", ".join(f"{name} {value:.3f}" for name, value in shown.items())
