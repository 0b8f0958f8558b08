"""A training as a job: what goes in is fixed once, then it trains, then the checkpoint is registered."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, ValidationError

from maskloop.errors import TrainingFailed, UsageError
from maskloop.events import Event, Message, Metric, Report
from maskloop.extras import require
from maskloop.images.normalize import Normalization
from maskloop.jobs.base import Job, Result, RunContext
from maskloop.jobs.choices import choices_of
from maskloop.models.base import (
    Architecture,
    Augmentation,
    Plan,
    Recipe,
    network_of,
)
from maskloop.models.compatibility import require_compatible
from maskloop.project.layout import CheckpointRecord
from maskloop.project.project import ProjectFolder
from maskloop.project.splits import Split, split_pairs
from maskloop.records import Record, read_record, write_record

if TYPE_CHECKING:
    from torch import Tensor

    from maskloop.models.data import Sample
    from maskloop.models.loop import Trained

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
    recipe: Recipe = Recipe()
    start: str = Field(
        "auto",
        description="Where to start: scratch, latest, the id of a checkpoint or of imported "
        "weights; auto means latest where there is one.",
    )
    pairs: Literal["all", "new"] | tuple[str, ...] = Field(
        "all", description="All accepted pairs, those new since the last checkpoint, or ids."
    )

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
        return self.recipe.devices * self.recipe.nodes


class TrainingInputs(Record):
    """All that a training depends on, fixed when it first starts, so that going on later means the same training."""

    plan: Plan
    training_ids: tuple[str, ...]
    validation_ids: tuple[str, ...]
    split_reason: str
    training_mode: str
    parent: str | None = None
    imported_model: str | None = None
    started: float


def plan_training(project: ProjectFolder, job: TrainJob) -> Plan:
    """The plan that this job would train by; changes nothing."""
    # The planner measures networks with torch, which a window that only writes a job never needs.
    from maskloop.models.plan import make_plan

    architecture, start = _architecture(project, job)
    # Of the pairs it learns from: an epoch of sixteen new ones is not that of thousands.
    selected = project.dataset.select(job.pairs)
    return make_plan(
        _recipe(project, job.recipe),
        project.dataset.fingerprint(selected or None),
        architecture,
        chosen=_chosen(project),
        is_continued=start["training_mode"] != "train_from_scratch",
    )


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
            "There is no pair to train on.",
            "Add some: maskloop add DIR --images FOLDER --masks FOLDER.",
        )
    training = tuple(
        pair.pair_id
        for pair in project.dataset.select(job.pairs)
        if pair.pair_id not in split.validation
    )
    if not training and job.pairs == "new":
        raise UsageError(
            "No pair is new since the last checkpoint.",
            "Accept new pairs, or train on all: --pairs all.",
        )
    if not training:
        raise UsageError(
            "All selected pairs are kept for validation.",
            "Select other pairs, or train on all: --pairs all.",
        )
    return split.model_copy(update={"training": training})


def _share(project: ProjectFolder, job: TrainJob) -> float:
    share = _recipe(project, job.recipe).validation_share
    return 0.2 if share is None else share


def _recipe(project: ProjectFolder, recipe: Recipe) -> Recipe:
    """The choices of the job; those it leaves open are taken from the project's settings, as far as somebody set them there."""
    config = project.config
    kept: dict[str, Any] = {
        "epochs": config.epochs if recipe.time_s is None else None,
        "batch_size": config.batch_size,
        "learning_rate": config.learning_rate,
        "patch_size": None if config.patch_size is None else (config.patch_size,),
        "validation_share": config.validation_split,
    }
    if config.normalization_mode != Normalization().mode:
        kept["normalization"] = {"mode": config.normalization_mode}
    if config.augmentation_settings:
        kept["augmentation"] = _switches(config.augmentation_settings)
    chosen = {
        name: getattr(recipe, name)
        for name in Recipe.model_fields
        if getattr(recipe, name) is not None
    }
    try:
        return Recipe.model_validate(
            {name: value for name, value in kept.items() if value is not None} | chosen
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        problem = f"The project's setting for {name} does not fit: {first['msg']}."
        raise UsageError(
            problem, "Choose a value for this training, or change the setting."
        ) from None


def _switches(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Augmentation as the settings keep it: a number, or a switch that turns the usual strength on or off."""
    usual = Augmentation()
    values = {
        name: (getattr(usual, name) if value else 0)
        if isinstance(value, bool) and isinstance(getattr(usual, name, None), float)
        else value
        for name, value in settings.items()
    }
    if 90 not in list(settings.get("rotation_degrees", (90,))):
        values.setdefault("free_rotation", False)
    return values


def run_training(job: TrainJob, run: RunContext) -> CheckpointRecord | None:
    """Train, or resume an interrupted training, and register the result.

    Returns
    -------
    CheckpointRecord | None
        None in helper processes of a training on several devices.

    Raises
    ------
    MaskloopError
        If there is nothing to train on, the starting weights do not fit, or training cannot go on.
    """
    project, folder = run.project, run.folder
    done = [record for record in project.checkpoints.list() if record.run_id == run.run_id]
    if done:  # killed after the registration, before its last event
        return done[0]
    inputs = fix_inputs(project, job, folder)
    for text in (
        inputs.split_reason,
        f"Training mode: {inputs.training_mode}"
        + (f" ({inputs.parent})" if inputs.parent else "")
        + ".",
    ):
        run.report(Message(text=text))
    with _curves(inputs.plan, folder, run.report) as tell:
        trained = _train(project, job, inputs, run.run_id, tell, run.is_cancelled)
    return None if trained is None else _register(project, inputs, trained, run.run_id, folder)


def fix_inputs(project: ProjectFolder, job: TrainJob, folder: Path) -> TrainingInputs:
    """Decide on plan, pairs and starting weights, or read what was decided when the run first started."""
    if (folder / INPUTS).exists():
        return read_record(folder / INPUTS, TrainingInputs)
    plan_split(project, job)
    plan, start = plan_training(project, job), _architecture(project, job)[1]
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
        split_reason=split.reason,
        started=time.time(),
        **start,
    )
    write_record(folder / INPUTS, inputs)
    project.set_auto_configuration_decisions(
        [decision.model_dump(mode="json") for decision in plan.decisions]
    )
    return inputs


def _chosen(project: ProjectFolder) -> set[str]:
    """Fields of the network that a person set."""
    channels = set() if project.task.channels is None else {"input_channels"}
    return set(choices_of(project).chosen) | channels


def _architecture(project: ProjectFolder, job: TrainJob) -> tuple[Architecture, dict[str, Any]]:
    """The network to train, and where its weights come from."""
    own = network_of(project.task, choices_of(project))
    latest = project.checkpoints.latest
    start = ("latest" if latest is not None else "scratch") if job.start == "auto" else job.start
    if start == "scratch":
        return own, {"training_mode": "train_from_scratch"}
    if start == "latest" and latest is None:
        raise UsageError(
            "This project has no checkpoint to go on from.",
            "Train from scratch first: --from scratch.",
        )
    imported = {model.model_id: model for model in project.weights.list()}
    if start in imported:
        found, origin = (
            imported[start].architecture,
            {"training_mode": "continue_from_imported", "imported_model": start},
        )
    else:
        record = (
            latest if start == "latest" and latest is not None else project.checkpoints.get(start)
        )
        mode = "continue_from_latest" if start == "latest" else "continue_from_selected"
        found, origin = record.architecture, {"training_mode": mode, "parent": record.checkpoint_id}
    fitting = require_compatible(
        project.task,
        choices_of(project),
        Architecture.model_validate(found),
        source=str(origin.get("parent", start)),
    )
    # The threshold is not the network's: the checkpoint's gives way to the project's.
    return Architecture.model_validate({**fitting.model_dump(), "threshold": own.threshold}), origin


def _samples(project: ProjectFolder, ids: tuple[str, ...], plan: Plan) -> list[Sample]:
    from maskloop.models.data import samples_of

    dataset = project.dataset
    return [
        sample
        for pair_id in ids
        for sample in samples_of(
            pair_id, dataset.read_image(pair_id), dataset.read_mask(pair_id), plan
        )
    ]


def _start_weights(project: ProjectFolder, inputs: TrainingInputs) -> dict[str, Tensor] | None:
    from maskloop.models.unet import build_unet
    from maskloop.models.weights_file import fit_weights, read_weights

    if inputs.parent is None and inputs.imported_model is None:
        return None
    path = (
        project.checkpoints.path(inputs.parent)
        if inputs.parent
        else project.weights.path(str(inputs.imported_model))
    )
    module = build_unet(inputs.plan.architecture)
    fit_weights(module, read_weights(path), source=path.name)
    return module.state_dict()


def _train(
    project: ProjectFolder,
    job: TrainJob,
    inputs: TrainingInputs,
    run_id: str,
    report: Report,
    is_cancelled: Callable[[], bool],
) -> Trained | None:
    from maskloop.models.loop import train

    pairs = {
        pair_id: project.dataset.get(pair_id).pixels_sha256
        for pair_id in (*inputs.training_ids, *inputs.validation_ids)
    }
    header = {
        "architecture": inputs.plan.architecture.model_dump(mode="json"),
        "classes": inputs.plan.architecture.class_labels,
        "run_id": run_id,
        "parent_checkpoint_id": inputs.parent,
        "imported_model_id": inputs.imported_model,
        "training_mode": inputs.training_mode,
        "training_ids": inputs.training_ids,
        "validation_ids": inputs.validation_ids,
        "dataset_pixel_hashes": pairs,
        "versions": _versions(),
        "seed": inputs.plan.seed,
    }
    return train(
        inputs.plan,
        _samples(project, inputs.training_ids, inputs.plan),
        validation=_samples(project, inputs.validation_ids, inputs.plan),
        folder=project.history.run_folder(run_id),
        start=_start_weights(project, inputs),
        header=header,
        report=report,
        is_cancelled=is_cancelled,
        save_every_s=job.recipe.save_every_s,
    )


@contextlib.contextmanager
def _curves(plan: Plan, folder: Path, report: Report) -> Iterator[Report]:
    """Also write the figures as TensorBoard files, when asked for."""
    if not plan.tensorboard:
        yield report
        return
    require("tensorboard")
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
    from maskloop.models.unet import build_unet, summarize

    if not trained.weights.exists():
        raise TrainingFailed(
            f"Run {run_id} has no weights to register.",
            "Train again; the pairs and settings are unchanged.",
        )
    plan, metrics = trained.plan, trained.metrics
    record = project.checkpoints.register(
        trained.weights,
        run_id=run_id,
        parent=inputs.parent,
        training_mode=inputs.training_mode,
        pair_ids=inputs.training_ids,
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
        architecture=plan.architecture.model_dump(mode="json"),
        starting_weights={
            "mode": inputs.training_mode,
            "checkpoint_id": inputs.parent,
            "imported_model_id": inputs.imported_model,
        },
        plan=plan.model_dump(mode="json"),
        summary=summarize(build_unet(plan.architecture), plan.architecture),
        versions=_versions(),
        seed=plan.seed,
        benchmark_summary=_benchmark(metrics, inputs),
    )
    for name in ("resume.pt", "best.pt"):
        (folder / name).unlink(missing_ok=True)
    return record


def _benchmark(metrics: dict[str, float], inputs: TrainingInputs) -> str:
    if not inputs.validation_ids:
        return "no validation score: no honest validation set"
    shown = {name: metrics[name] for name in ("dice", "iou", "ap50", "ap75") if name in metrics}
    return ", ".join(f"{name} {value:.3f}" for name, value in shown.items())
