"""What a training would do, and what its model is made of, before anything is started.

Planning loads torch: the window calls these functions in a helper process. They change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from maskloop.compute.project import Project
from maskloop.errors import IncompatibleWeights, MaskloopError, UsageError
from maskloop.jobs.choices import backend_of, find_start
from maskloop.jobs.training import TrainJob
from maskloop.models.base import Plan, Summary, outline_of
from maskloop.wording import title_of

__all__ = ["NetworkSummary", "Proposal", "propose", "summarize_network"]


@dataclass(frozen=True)
class Proposal:
    """The plan for a job, how many pairs it trains on, and whether its starting weights fit."""

    plan: Plan | None = None
    compatibility: str = ""
    training_count: int = 0
    validation_count: int = 0
    split_reason: str = ""
    problem: str = ""
    """Why it cannot be trained like this; empty if it can."""
    way_out: str = ""


@dataclass(frozen=True)
class NetworkSummary:
    """What the backend describes, as a training on the project's images would make it."""

    described: Summary
    adapted: tuple[str, ...] = ()
    """What a training would adapt to the images, with the reason."""
    problem: str = ""
    """Why the images of the project cannot be trained with it."""

    @property
    def words(self) -> str:
        """The summary in one sentence."""
        return self.described.words


def propose(folder: str, job: TrainJob) -> Proposal:
    """Plan a job; if something does not fit, say so in words."""
    from maskloop.jobs.training import plan_split, plan_training

    project, compatibility = _project(folder), ""
    try:
        compatibility = _compatibility(project, job)
        split = plan_split(project, job)
        return Proposal(
            plan_training(project, job),
            compatibility,
            len(split.training),
            len(split.validation),
            split.reason,
        )
    except IncompatibleWeights as error:
        return Proposal(
            compatibility=f"Not compatible: {error.problem}",
            problem=error.problem,
            way_out=error.way_out,
        )
    except MaskloopError as error:
        return Proposal(compatibility=compatibility, problem=error.problem, way_out=error.way_out)


def _compatibility(project: Project, job: TrainJob) -> str:
    """What weights that fit mean for the training; whether they fit is for the plan to say."""
    if job.start == "scratch":
        return "A new network, adapted to your images."
    start, _ = find_start(project, job.start)
    if start is None:
        return ""
    # Weights that do not fit are refused by the plan itself.
    title = outline_of(start.backend, start.network).title
    return f"Compatible. The training keeps its network: {title}."


def summarize_network(folder: str, values: Mapping[str, Any]) -> NetworkSummary:
    """Describe the model of these choices, adapted to the project's images as a training would.

    Parameters
    ----------
    folder
        Of the project; its pairs tell what is planned.
    values
        Choices: fields of the backend's architecture, valid ones.

    Returns
    -------
    NetworkSummary
        With `problem` if the images do not fit the model.
    """
    from maskloop.jobs.training import plan_training
    from maskloop.project import layout
    from maskloop.project.layout import ArchitectureConfig

    project = _project(folder)
    family = backend_of(project)
    choices = family.Architecture.model_validate(dict(values))
    # This process reads the choices that are not saved yet instead of those on disk.
    kept = {"backend": family.name, **choices.chosen}
    record = project.record(layout.ARCHITECTURE, ArchitectureConfig)
    record.stand_in(ArchitectureConfig.model_validate(kept))
    try:
        plan = plan_training(project, TrainJob(backend=family.name, start="scratch"))
    except UsageError as error:
        problem = f"{error.problem} {error.way_out}" if project.dataset.pairs else ""
        return NetworkSummary(family.describe(project.task, choices), problem=problem)
    network = plan.network.model_dump(mode="json")
    adapted = tuple(
        f"{_title(family.Architecture, one.name)} {_shown(one.value)}: {one.reason}"
        for one in plan.decisions
        if one.name in network
        and one.source == "planned"
        # Normalization is a layer of a network and, in a recipe, settings of its images.
        and not isinstance(one.value, Mapping)
    )
    return NetworkSummary(family.describe(project.task, choices, plan), adapted)


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _title(kind: type[Any], name: str) -> str:
    field = kind.model_fields.get(name)
    return (field.title if field is not None and field.title else title_of(name)).lower()


@lru_cache(maxsize=1)
def _project(folder: str) -> Project:
    # Kept, so that ten thousand pairs are not read again with each choice.
    return Project.open(Path(folder))
