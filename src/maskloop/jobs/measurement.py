"""A measurement as a job: predictions of a project to a table of objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import Field, ValidationError

from maskloop.errors import UsageError
from maskloop.events import Report, silent
from maskloop.images.refs import ImageRef
from maskloop.jobs.base import Job, Result, RunContext
from maskloop.measure.files import TableSettings, measure_files
from maskloop.measure.note import TableNote, TableSource, note_path
from maskloop.measure.sources import describe_output, find_sources
from maskloop.project.layout import PredictionRecord
from maskloop.project.project import ProjectFolder
from maskloop.records import Record
from maskloop.wording import counted, fault_in_words

__all__ = ["MeasureJob", "answer_of", "measure_job", "measure_labels", "sources_of"]

AnyRecord = TypeVar("AnyRecord", bound=Record)


class MeasureJob(TableSettings, Job):
    """Measure the objects in predictions of the project."""

    noun: ClassVar[str] = "measurement"
    after_kill: ClassVar[str] = (
        "Measure again. If it stops again, memory may be too small: measure fewer channels or each "
        "plane by itself (--by-plane)."
    )

    kind: Literal["measure"] = "measure"
    predictions: tuple[str, ...] = Field(
        (), description="Ids of predictions to measure; all by default."
    )
    images: str | None = Field(
        None, description="Folder of the images, if they have moved since prediction."
    )
    labels_only: bool = Field(
        False, description="Measure positions and shapes only, without the images."
    )
    out: str | None = Field(
        None, description="Table to write (.csv or .parquet); by default a new one in the project."
    )

    def run(self, run: RunContext) -> Result:
        """Measure, frame by frame; a run that was killed begins again."""
        # Not fixed when the run began: it measures again from the start, so there is nothing to mix
        # up.
        sources = sources_of(run.project, self)
        kept = self.out is None
        # In the run's folder first: the project gets the table with its record, or not at all.
        out = run.folder / "table.csv" if self.out is None else Path(self.out)
        note = measure_files(
            sources,
            out,
            how=self.how,
            project=str(run.project.folder),
            report=run.report,
            is_cancelled=run.is_cancelled,
        )
        if not kept:
            return answer_of(note, out)
        record = run.project.tables.register(
            out,
            note_path(out),
            rows=note.rows,
            prediction_ids=[source.prediction_id for source in note.sources],
            run_id=run.run_id,
        )
        # Only now: the table has a second name in the project.
        for file in (out, note_path(out)):
            file.unlink(missing_ok=True)
        path = run.project.tables.path(record.table_id)
        return {"table_id": record.table_id, **answer_of(note, path)}

    @property
    def how(self) -> TableSettings:
        """What is measured, and how the files are read."""
        return TableSettings(**{name: getattr(self, name) for name in TableSettings.model_fields})


def measure_labels(
    labels: Sequence[str | Path],
    images: str | Path | None = None,
    *,
    out: str | Path | None,
    mode: str | None = None,
    report: Report = silent,
    is_cancelled: Callable[[], bool] = lambda: False,
    **choices: Any,
) -> Result:
    """Measure labels that belong to no project.

    Parameters
    ----------
    labels
        Files, folders and patterns.
    images
        Folder of their images; without it only shapes are measured.
    out
        The table to write.
    mode
        binary, multiclass or instances; by default what the labels say or show.
    report, is_cancelled
        As for `measure_files`.
    choices
        Fields of `TableSettings`.

    Raises
    ------
    UsageError
        If nothing says what to measure or where to write, or a choice does not fit.
    ImageError
        If there are no such labels.
    """
    if not labels:
        raise UsageError(
            "Neither a project nor labels were given.",
            "Give a project, or labels: maskloop measure --labels DIR --images DIR --out table.csv",
        )
    if out is None:
        raise UsageError(
            "No file was given for the table.",
            "Give one: --out table.csv",
        )
    # The choices of a project's measurement are taken here too, where they make sense.
    if choices.pop("labels_only", False):
        images = None
    if choices.pop("predictions", ()):
        raise UsageError(
            "--predictions selects predictions of a project, and no project was given.",
            "Give the project, or omit --predictions.",
        )
    how = _checked(TableSettings, choices)
    sources = find_sources(labels, images, mode=mode, axes=how.axes)
    note = measure_files(sources, Path(out), how=how, report=report, is_cancelled=is_cancelled)
    return answer_of(note, Path(out))


def measure_job(**choices: Any) -> MeasureJob:
    """The job of these choices, refused in words if one does not fit.

    Raises
    ------
    UsageError
        If there is no such field or value.
    """
    return _checked(MeasureJob, choices)


def _checked(kind: type[AnyRecord], choices: Mapping[str, Any]) -> AnyRecord:
    try:
        return kind(**choices)
    except ValidationError as error:
        raise UsageError(fault_in_words(error), "Select another value.") from None


def answer_of(note: TableNote, table: Path) -> dict[str, Any]:
    """What was measured and what failed, for the journal and for scripts."""
    failed = [
        {"source": failure.labels, "problem": failure.problem, "way_out": failure.way_out}
        for failure in note.failed_files
    ]
    objects, images = counted(note.rows, "object"), counted(len(note.sources), "image")
    missing = f"; {counted(len(failed), 'image')} failed" if failed else ""
    return {
        "table": str(table),
        "rows": note.rows,
        "channels": list(note.scene.channels),
        "images": len(note.sources),
        "failed": failed,
        "failed_measurements": dict(note.failed_measurements),
        "summary": f"{objects} measured in {images}{missing}",
    }


def sources_of(project: ProjectFolder, job: MeasureJob) -> list[TableSource]:
    """The labels of the job's predictions, each with its image.

    Raises
    ------
    NotFound
        If there is no such prediction.
    UsageError
        If the project has no predictions.
    """
    records: Sequence[PredictionRecord] = (
        [project.predictions.get(prediction_id) for prediction_id in job.predictions]
        if job.predictions
        else project.predictions.list()
    )
    sources = [_source(project, record, job) for record in records if _has_labels(record)]
    if not sources:
        raise UsageError(
            f"Project '{project.folder.name}' has no predictions to measure.",
            "Predict images first, or measure a folder of labels: maskloop measure --labels DIR.",
        )
    return sources


def _has_labels(record: PredictionRecord) -> bool:
    # Probabilities are kept beside the labels, as predictions of their own.
    return not str(record.settings.get("run_id", "")).endswith(" probabilities")


def _source(project: ProjectFolder, record: PredictionRecord, job: MeasureJob) -> TableSource:
    # Predictions of older versions do not say how they were decoded.
    own = {"mode": project.task.mode, "class_labels": project.task.class_names}
    objects, class_names = describe_output(record.settings.get("output") or own)
    image = record.input_path
    if job.images is not None and image:
        ref = ImageRef.parse(image)
        # Only the folder changes: which image of a container is meant stays part of the reference.
        moved = str(Path(job.images) / ref.path.name)
        image = str(ref.model_copy(update={"uri": moved}))
    return TableSource(
        labels=str(project.path(record.path)),
        image="" if job.labels_only else image,
        predicted_sha256=record.input_sha256,
        original_sha256=record.sha256,
        prediction_id=record.prediction_id,
        checkpoint_id=record.checkpoint_id or "",
        checkpoint_sha256=record.checkpoint_sha256,
        objects=objects,
        class_names=class_names,
    )
