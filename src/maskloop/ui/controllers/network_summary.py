"""What a model is made of and what a training of it takes; counted in a child process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from maskloop.compute.project import Project
from maskloop.errors import UsageError
from maskloop.jobs.choices import backend_of
from maskloop.models.base import Summary
from maskloop.wording import title_of

__all__ = ["NetworkSummary", "summarize_network"]


@dataclass(frozen=True)
class NetworkSummary:
    """What the backend describes, as a training on the project's images would make it."""

    described: Summary
    adapted: tuple[str, ...] = ()
    """What a training would fit to the images, with the reason."""
    problem: str = ""
    """Why the images of the project cannot be trained with it."""

    @property
    def words(self) -> str:
        """The summary in one sentence."""
        return self.described.words


def summarize_network(folder: str, values: Mapping[str, Any]) -> NetworkSummary:
    """Describe the model of these choices, fitted to the project's images as a training would.

    Parameters
    ----------
    folder
        Of the project; its pairs tell what is planned.
    values
        Choices: fields of the backend's architecture, valid ones.

    Returns
    -------
    NetworkSummary
        With `problem` where the images do not fit the model.
    """
    from maskloop.jobs.training import TrainJob, plan_training
    from maskloop.project import layout
    from maskloop.project.layout import ArchitectureConfig

    project = _project(folder)
    family = backend_of(project)
    choices = family.Architecture.model_validate(dict(values))
    # What if: this process reads the choices that are not saved yet in the place of those on the
    # disk.
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
    # Kept, so that ten thousand pairs are not read anew with each key that is pressed.
    from maskloop.compute.project import Project

    return Project.open(Path(folder))
