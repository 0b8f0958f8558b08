"""Jobs: work as data, so that the same job runs in this thread, in a child process or on another machine."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from maskloop.models.base import Recipe
from maskloop.records import Record

__all__ = ["Job", "PredictJob", "TrainJob", "read_job"]


class TrainJob(Record):
    """Train on accepted pairs and register a checkpoint."""

    kind: Literal["train"] = "train"
    recipe: Recipe = Recipe()
    start: str = Field(
        "auto",
        description="scratch, latest, a checkpoint id, an imported model id, or auto: latest where there is one.",
    )
    pairs: Literal["all", "new"] | tuple[str, ...] = Field(
        "all", description="All accepted pairs, those new since the last checkpoint, or ids."
    )


class PredictJob(Record):
    """Predict images with a checkpoint."""

    kind: Literal["predict"] = "predict"
    inputs: tuple[str, ...] = Field(description="Files, folders and patterns.")
    origins: tuple[str, ...] = Field(
        (),
        description="Where each input came from, when it is a copy made for this job (the pixels of a layer); kept as its source.",
    )
    out: str | None = Field(
        None, description="Folder to write to; the project's predictions when left out."
    )
    checkpoint: str = Field("latest", description="A checkpoint id, or latest.")
    axes: str | None = Field(None, description="Axes of the inputs, where the files do not tell.")
    mirror: bool = Field(
        False,
        description="Average over mirrored copies (test-time augmentation): slower, a little better.",
    )
    probabilities: bool = Field(False, description="Also write the scores.")
    device: Literal["auto", "cpu", "cuda"] = "auto"


Job = Annotated[TrainJob | PredictJob, Field(discriminator="kind")]
_ADAPTER: TypeAdapter[Job] = TypeAdapter(Job)


def read_job(content: str | bytes) -> TrainJob | PredictJob:
    """The job that a ``job.json`` holds."""
    return _ADAPTER.validate_json(content)
