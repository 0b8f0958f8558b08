"""What a person chose about the model of a project, as the model's own record; loads no torch."""

from __future__ import annotations

from pydantic import ValidationError

from maskloop.errors import UsageError
from maskloop.models.base import UNetArchitecture
from maskloop.project.project import ProjectFolder

__all__ = ["choices_of"]


def choices_of(project: ProjectFolder) -> UNetArchitecture:
    """What a person chose about the network.

    Raises
    ------
    UsageError
        If the project keeps something that is no such choice.
    """
    values = {name: value for name, value in project.architecture.items() if name != "backend"}
    try:
        return UNetArchitecture.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        problem = f"The project's choice of {name} does not fit: {first['msg']}."
        raise UsageError(problem, "Change it in Advanced, or make a new project.") from None
