"""The project with its verbs: what `from maskloop import Project` gives."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from maskloop.compute.base import find_interrupted, last_word, start, submit
from maskloop.events import Report, silent
from maskloop.jobs.base import PredictJob, TrainJob
from maskloop.jobs.prediction import ProjectSegmenter, run_prediction
from maskloop.models.base import Plan, Recipe
from maskloop.project.layout import CheckpointRecord
from maskloop.project.project import ProjectFolder

__all__ = ["Project"]


class Project(ProjectFolder):
    """A Training Project Folder and the loop: accept, plan, train, predict, correct, again."""

    def plan(self, *, start: str = "auto", **choices: Any) -> Plan:
        """What a training with these choices (fields of `Recipe`) would do, and why; changes nothing."""
        from maskloop.jobs.training import plan_training

        return plan_training(self, TrainJob(recipe=Recipe(**choices), start=start))

    def train(
        self,
        *,
        start: str = "auto",
        pairs: Literal["all", "new"] | Sequence[str] = "all",
        target: Literal["inline", "process"] = "inline",
        report: Report = silent,
        **choices: Any,
    ) -> CheckpointRecord:
        """Train a checkpoint; the same training that was interrupted before goes on where it was.

        Parameters
        ----------
        start
            ``scratch``, ``latest``, a checkpoint id, an imported model id; ``auto`` is latest where
            there is one.
        pairs
            ``all`` accepted pairs, those ``new`` since the last checkpoint, or pair ids.
        target
            ``inline``: in this thread; ``process``: in a child process.
        report
            Told of each event when it runs inline.
        choices
            Fields of `Recipe`, such as ``epochs=50``, ``time_s=600``, ``device="cpu"``, ``seed=1``.

        Raises
        ------
        MaskloopError
            If it cannot train, with the way out.
        """
        job = TrainJob(
            recipe=Recipe(**choices),
            start=start,
            pairs=pairs if isinstance(pairs, str) else tuple(pairs),
        )
        handle = find_interrupted(self, job) or submit(self, job)
        result = last_word(_started(handle, target, report)).result
        return self.checkpoints.get(result["checkpoint_id"])

    def predict(
        self,
        *inputs: str | Path,
        target: Literal["inline", "process"] = "inline",
        report: Report = silent,
        **choices: Any,
    ) -> dict[str, Any]:
        """Predict files, folders or patterns into the project's predictions, or into the folder `out`.

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
        if job.out is not None and not os.access(self.folder / "history", os.W_OK):
            # A project that may only be read (of a facility, say) predicts too: the notes beside
            # the labels are the only record.
            return run_prediction(self, job, "", report=report, is_cancelled=lambda: False)
        return last_word(
            _started(find_interrupted(self, job) or submit(self, job), target, report)
        ).result

    def segmenter(
        self, checkpoint: str = "latest", *, device: Literal["auto", "cpu", "cuda"] = "auto"
    ) -> ProjectSegmenter:
        """A checkpoint in memory: ``project.segmenter().segment(image)`` gives labels."""
        return ProjectSegmenter.load(self, checkpoint, device=device)


def _started(handle: Any, target: Literal["inline", "process"], report: Report) -> Any:
    return start(handle, target, report=report)
