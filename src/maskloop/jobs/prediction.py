"""A prediction as a job: files in, labels with provenance out."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from numpy.typing import NDArray
from pydantic import Field

from maskloop.errors import NotFound
from maskloop.images.image import Image
from maskloop.jobs.base import Job, Result, RunContext
from maskloop.models.base import backend
from maskloop.predict.base import Segmenter
from maskloop.predict.batch import predict_files, read_provenance
from maskloop.project.layout import CheckpointRecord
from maskloop.project.predictions import Predicted
from maskloop.project.project import ProjectFolder

__all__ = ["PredictJob", "ProjectSegmenter", "choose_checkpoint", "run_prediction"]


class PredictJob(Job):
    """Predict images with a checkpoint."""

    noun: ClassVar[str] = "prediction"
    at_start: ClassVar[str] = "Loading the model"
    after_kill: ClassVar[str] = (
        "Predict again. If it stops again, memory may be too small: predict only the visible slice."
    )

    kind: Literal["predict"] = "predict"
    inputs: tuple[str, ...] = Field(description="Image files, folders and patterns.")
    origins: tuple[str, ...] = Field(
        (),
        description="The source of each input, where the input is a copy made for this job "
        "(the pixels of a layer).",
    )
    out: str | None = Field(
        None, description="Folder to write to; by default the project's predictions."
    )
    checkpoint: str = Field("latest", description="A checkpoint id, or latest.")
    axes: str | None = Field(None, description="Axes of the images, if not in the file metadata.")
    mirror: bool = Field(
        False,
        description="Test-time augmentation: average over mirrored copies. Slower, slightly more "
        "accurate.",
    )
    probabilities: bool = Field(False, description="Also save the probability maps.")
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def run(self, run: RunContext) -> Result:
        """Predict the files; those that an earlier process finished are skipped."""
        return run_prediction(self, run)

    def is_same_work(self, other: Job) -> bool:
        """Whether the other job predicts the same images into the same folder."""
        return isinstance(other, PredictJob) and (self.inputs, self.out) == (
            other.inputs,
            other.out,
        )


def choose_checkpoint(project: ProjectFolder, name: str) -> CheckpointRecord:
    """The checkpoint with this id, or the latest.

    Raises
    ------
    NotFound
        If there is none.
    """
    if name != "latest":
        return project.checkpoints.get(name)
    # Not the newest file in the folder: latest is what was registered last.
    if project.checkpoints.latest is None:
        raise NotFound(
            f"Project '{project.folder.name}' has no checkpoint yet.",
            f"Train one first: maskloop train {project.folder.name}.",
        )
    return project.checkpoints.latest


def run_prediction(job: PredictJob, run: RunContext) -> Result:
    """Predict the job's files one by one; a file that fails does not stop the others.

    Returns
    -------
    result
        ``written``: paths of the labels; ``failed``: source, problem and way out of each file
        without labels.
    """
    project = run.project
    record = choose_checkpoint(project, job.checkpoint)
    segmenter = backend(record.backend).load(
        project.checkpoints.path(record.checkpoint_id), device=job.device
    )
    # Into the run's own folder first: the project keeps only what is complete.
    out = run.folder / "labels" if job.out is None else Path(job.out)
    outcome = predict_files(
        list(job.inputs),
        segmenter,
        out=out,
        model_id=record.sha256,
        trained_um=_trained_um(record),
        axes=job.axes,
        mirror=job.mirror,
        probabilities=job.probabilities,
        report=run.report,
        is_cancelled=run.is_cancelled,
    )
    done = [
        (str(file.source), Path(str(file.output)))
        for file in outcome.files
        if file.status != "failed"
    ]
    written = [str(labels) for _, labels in done]
    if job.out is None:
        written = _keep(project, run.run_id, record, _sources(job, done))
        # Only now: a run that is killed before this resumes with what it had predicted.
        shutil.rmtree(out, ignore_errors=True)
    # Plain values: the result is the journal's last event.
    failed = [
        {"source": file.source, "problem": file.problem, "way_out": file.way_out}
        for file in outcome.failed
    ]
    return {"checkpoint_id": record.checkpoint_id, "written": written, "failed": failed}


def _trained_um(record: CheckpointRecord) -> dict[str, float]:
    """Pixel size of the images that a checkpoint was trained on, where its plan tells."""
    sizes = record.plan.get("pixel_size_um")
    # Plans are kept as they were written, also those of other programs.
    if not isinstance(sizes, dict):
        return {}
    return {axis: size for axis, size in sizes.items() if isinstance(size, int | float)}


def _sources(job: PredictJob, done: Sequence[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """Each image, under the name that a person knows, with its labels."""
    origins = dict(zip(job.inputs, job.origins, strict=False))
    return [(origins.get(source, source), labels) for source, labels in done]


def _keep(
    project: ProjectFolder,
    run_id: str,
    checkpoint: CheckpointRecord,
    sources: Sequence[tuple[str, Path]],
) -> list[str]:
    """Move labels into the project's predictions, each once; gives their new paths."""

    def predicted() -> Iterator[Predicted]:
        for source, labels in sources:
            facts = read_provenance(labels)
            common = facts.settings.model_dump(mode="json") if facts else {}
            sha256 = facts.source_sha256 if facts else ""
            scores = labels.with_name(labels.name.replace("_labels.tif", "_probabilities.tif"))
            # The scores of an image are kept beside its labels, under a run id of their own.
            for file, name in ((scores, f"{run_id} probabilities"), (labels, run_id)):
                if file.exists():
                    settings = {**common, "run_id": name}
                    yield Predicted(file, checkpoint.checkpoint_id, source, sha256, settings)

    # In batches: ten thousand predictions must not rewrite their record ten thousand times.
    records = project.predictions.register_many(predicted())
    return [
        str(project.predictions.path(one.prediction_id))
        for one in records
        if one.settings["run_id"] == run_id
    ]


class ProjectSegmenter:
    """A checkpoint in memory that turns images into labels."""

    def __init__(self, record: CheckpointRecord, segmenter: Segmenter) -> None:
        self.record = record
        self.segmenter = segmenter

    @classmethod
    def load(
        cls,
        project: ProjectFolder,
        checkpoint: str = "latest",
        *,
        device: Literal["auto", "cpu", "cuda"] = "auto",
    ) -> ProjectSegmenter:
        """Load a checkpoint of a project.

        Raises
        ------
        NotFound
            If there is no such checkpoint.
        """
        record = choose_checkpoint(project, checkpoint)
        return cls(
            record,
            backend(record.backend).load(
                project.checkpoints.path(record.checkpoint_id), device=device
            ),
        )

    def segment(
        self,
        image: Image | NDArray[Any] | Path | str,
        *,
        axes: str | None = None,
        mirror: bool = False,
    ) -> Any:
        """Labels of an image.

        Parameters
        ----------
        image
            An `Image`, a file, or an array whose axes are named by `axes` (two-dimensional arrays
            are YX).
        axes
            Axes of the array.
        mirror
            Test-time augmentation: average over mirrored copies.

        Returns
        -------
        labels
            NumPy array with the image's axes less C: class ids, or instance ids.
        """
        from maskloop.predict.segment import segment
        from maskloop.project.intake import take_image

        return segment(
            take_image(image, axes=axes, name="image"), self.segmenter, mirror=mirror
        ).labels.read()
