"""The project with its verbs: what `from maskloop import Project` gives."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from maskloop.compute.overview import RunSummary, list_runs
from maskloop.compute.runs import open_with_runs, run_job
from maskloop.events import Report, silent
from maskloop.jobs.base import Job, Result
from maskloop.jobs.choices import backend_of
from maskloop.jobs.prediction import PredictJob, ProjectSegmenter
from maskloop.jobs.training import TrainJob, plan_training
from maskloop.models.base import Plan, checked_choices
from maskloop.project.layout import CheckpointRecord
from maskloop.project.project import ProjectFolder
from maskloop.project.status import Status

__all__ = ["Project"]


class Project(ProjectFolder):
    """A Training Project Folder and the loop: accept, plan, train, predict, correct, again."""

    def plan(self, *, start: str = "auto", **choices: Any) -> Plan:
        """What a training with these settings (fields of `Recipe`) would do, and why.

        Changes nothing.
        """
        # By the job that `train` would run: plan and training cannot differ.
        return plan_training(self, self._job(start, "all", choices))

    def train(
        self,
        *,
        start: str = "auto",
        pairs: Literal["all", "new"] | Sequence[str] = "all",
        target: str = "inline",
        report: Report = silent,
        **choices: Any,
    ) -> CheckpointRecord:
        """Train a checkpoint; the same training is resumed if it was interrupted.

        Parameters
        ----------
        start
            ``scratch``, ``latest``, a checkpoint id, an imported model id; ``auto`` is latest where
            there is one.
        pairs
            ``all`` accepted pairs, those ``new`` since the last checkpoint, or pair ids.
        target
            ``inline``: in this thread; ``process``: in a child process; or a place of a plug-in.
        report
            Called with each event, wherever it runs.
        choices
            Fields of `Recipe`, such as ``epochs=50``, ``time_s=600``, ``device="cpu"``, ``seed=1``.

        Raises
        ------
        MaskloopError
            If it cannot train; the message says what to do.
        """
        job = self._job(start, pairs, choices)
        result = run_job(self, job, target=target, report=report)
        return self.checkpoints.get(result["checkpoint_id"])

    def _job(
        self, start: str, pairs: Literal["all", "new"] | Sequence[str], choices: dict[str, Any]
    ) -> TrainJob:
        """A training with the project's backend; settings that do not fit are refused in words."""
        family = backend_of(self)
        return TrainJob(
            backend=family.name,
            recipe=checked_choices(family.Recipe, choices),
            start=start,
            pairs=pairs if isinstance(pairs, str) else tuple(pairs),
        )

    def predict(
        self,
        *inputs: str | Path,
        target: str = "inline",
        report: Report = silent,
        **choices: Any,
    ) -> dict[str, Any]:
        """Predict files, folders or patterns into the project's predictions, or into `out`.

        Parameters
        ----------
        inputs
            Files, folders and patterns.
        target, report
            As for `train`.
        choices
            Fields of `PredictJob`, such as ``out="results"``, ``checkpoint="unet_run_001"``,
            ``axes="ZYX"``, ``mirror=True``.

        Returns
        -------
        result
            ``written``: paths; ``failed``: path and reason of each file that could not be
            predicted.
        """
        job = PredictJob(inputs=tuple(str(path) for path in inputs), **choices)
        return self._run_into(job.out, job, target=target, report=report)

    def measure(
        self,
        *predictions: str,
        target: str = "inline",
        report: Report = silent,
        **choices: Any,
    ) -> dict[str, Any]:
        """Measure every object in predictions: one row per object, kept in the project or in `out`.

        Parameters
        ----------
        predictions
            Ids of predictions; all by default.
        target, report
            As for `train`.
        choices
            Fields of `MeasureJob`, such as ``out="table.csv"``, ``measurements=["size"]``,
            ``settings={"background": {"radius_px": 20}}``.

        Returns
        -------
        result
            ``table``: its path; ``rows``; ``failed``: path and reason of each file that could not
            be measured; ``failed_measurements``: name and reason.
        """
        paths = {
            name: str(choices[name]) for name in ("out", "images") if choices.get(name) is not None
        }
        # The command line gives the field by name, Python by position.
        ids = (*predictions, *choices.pop("predictions", ()))
        # A sixth of what importing `Project` costs, and most sessions measure nothing.
        from maskloop.jobs.measurement import measure_job

        job = measure_job(predictions=ids, **{**choices, **paths})
        return self._run_into(job.out, job, target=target, report=report)

    def _run_into(self, out: str | None, job: Job, *, target: str, report: Report) -> Result:
        if out is None or os.access(self.folder / "history", os.W_OK):
            return run_job(self, job, target=target, report=report)
        # A read-only project (of a facility, say) can predict and measure too. Its run may be
        # forgotten: what is finished in `out` is skipped next time.
        with tempfile.TemporaryDirectory(prefix="maskloop_") as runs:
            project = open_with_runs(self, Path(runs))
            return run_job(project, job, target=target, report=report)

    def status(self) -> Status:
        """The state of the project; an interrupted run is among the warnings."""
        status = super().status()
        newest = {run.kind: run for run in list_runs(self)}
        # Only the newest of each kind: older ones were left behind on purpose.
        found = [_resume_hint(self, run) for run in newest.values() if run.state == "interrupted"]
        return status.model_copy(update={"warnings": (*status.warnings, *found)})

    def segmenter(
        self, checkpoint: str = "latest", *, device: Literal["auto", "cpu", "cuda"] = "auto"
    ) -> ProjectSegmenter:
        """A checkpoint in memory: ``project.segmenter().segment(image)`` gives labels."""
        return ProjectSegmenter.load(self, checkpoint, device=device)


def _resume_hint(project: ProjectFolder, run: RunSummary) -> str:
    where = f" after epoch {run.epochs}" if run.epochs else ""
    return (
        f"The run {run.run_id} was interrupted{where}.\n"
        f"  -> Resume it: maskloop execute {project.folder} {run.run_id}"
    )
