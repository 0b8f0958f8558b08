"""The nouns of a project as tables that a biologist can read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maskloop.compute.overview import RunSummary
from maskloop.demo import DemoResult
from maskloop.jobs.evaluate import Evaluation
from maskloop.models.base import Plan
from maskloop.project.ancestry import by_descent
from maskloop.project.check import CheckReport
from maskloop.project.imports import ImportReport
from maskloop.project.layout import CheckpointRecord, ImportedModel, Pair
from maskloop.project.repair import RepairReport
from maskloop.project.status import Status
from maskloop.project.upgrade import UpgradeReport
from maskloop.terminal import say, say_problem, show_facts, show_table, shown_path
from maskloop.wording import counted, time_in_words

__all__ = [
    "show_check",
    "show_checkpoint",
    "show_checkpoints",
    "show_demo",
    "show_evaluation",
    "show_import",
    "show_model",
    "show_plan",
    "show_prediction",
    "show_runs",
    "show_status",
    "show_upgrade",
]

SCORES = ("dice", "iou", "f1", "ap50", "ap75")


def show_status(status: Status, pairs: Sequence[Pair] | None = None) -> None:
    """How a project stands."""
    facts = status.model_dump(exclude={"name", "warnings"})
    show_facts(status.name, {name.replace("_", " "): value for name, value in facts.items()})
    if pairs is not None:
        columns = ("pair", "name", "axes", "shape", "state", "group", "split", "checkpoints")
        show_table("Pairs", columns, [_pair_row(pair) for pair in pairs])
    for warning in status.warnings:
        problem, _, way_out = warning.partition("\n  -> ")
        say_problem(problem, way_out)
    if status.state == "empty":
        say(f"Next: maskloop add {shown_path(status.folder)} --images IMAGES --masks MASKS")


def _pair_row(pair: Pair) -> tuple[Any, ...]:
    shape = " x ".join(map(str, pair.shape))
    return (
        pair.pair_id,
        pair.name,
        pair.axes,
        shape,
        pair.state,
        pair.group,
        pair.split,
        len(pair.used_in_checkpoints),
    )


def show_plan(plan: Plan) -> None:
    """What a training would do, and why."""
    rows = [
        (one.name.replace("_", " "), one.value, one.reason, one.source) for one in plan.decisions
    ]
    show_table("Plan", ("name", "value", "reason", "source"), rows)
    if plan.estimated_s is not None:
        say(f"It takes {'' if plan.time_s else 'at most about '}{time_in_words(plan.estimated_s)}.")


def show_import(report: ImportReport) -> None:
    """What was accepted, and what was not and why."""
    verb = "would be accepted" if report.dry_run else "accepted"
    accepted = counted(len(report.accepted), "pair")
    say(f"{accepted} {verb}, {counted(len(report.refused), 'file')} refused.")
    if report.dry_run:
        show_table("Pairs", ("image", "mask"), [(one.image, one.mask) for one in report.accepted])
    for refused in report.refused:
        say_problem(f"{refused.image or refused.mask}: {refused.problem}", refused.way_out)


def show_check(report: CheckReport, repaired: RepairReport | None) -> None:
    """What a check found, and what was put right."""
    for line in repaired.repaired if repaired else ():
        say(f"Repaired: {line}")
    checked, problems = counted(report.files_checked, "file"), len(report.problems)
    say(f"{checked} checked, {counted(problems, 'problem')} found.")
    for problem in report.problems:
        say_problem(f"{problem.path}: {problem.kind}: {problem.problem}", problem.way_out)
    if report.is_sound:
        say("Everything accepted is there, byte for byte.")


def show_checkpoint(checkpoint: CheckpointRecord, folder: Path) -> None:
    """A training that has just ended."""
    facts = {
        "checkpoint": checkpoint.checkpoint_id,
        "trained from": checkpoint.parent_checkpoint_id or "scratch",
        "images": checkpoint.number_of_images,
        "stopped by": checkpoint.metrics.get("stopped"),
        "epochs": checkpoint.metrics.get("epochs"),
        "best epoch": checkpoint.metrics.get("best_epoch"),
        "scores": checkpoint.benchmark_summary,
        "file": shown_path(folder / checkpoint.checkpoint_path),
    }
    show_facts("Trained", facts)
    say(f"Next: maskloop predict {shown_path(folder)} NEW_IMAGES")


def show_checkpoints(checkpoints: Sequence[CheckpointRecord]) -> None:
    """All checkpoints, each below what it was trained from, the oldest first."""
    scores = [
        name for name in SCORES if any(_scores(one).get(name) is not None for one in checkpoints)
    ]
    columns = ("checkpoint", "from", "images", "epochs", *scores, "registered", "note")
    rows = [
        (
            _branch(depth) + one.checkpoint_id,
            _origin(one),
            one.number_of_images,
            one.metrics.get("epochs"),
            *(_scores(one).get(name) for name in scores),
            one.timestamp[:16].replace("T", " "),
            one.note,
        )
        for one, depth in by_descent(checkpoints)
    ]
    show_table("Checkpoints", columns, rows, empty="none yet")


def _branch(depth: int) -> str:
    return "  " * (depth - 1) + "`-" if depth else ""


def _origin(checkpoint: CheckpointRecord) -> str:
    imported = checkpoint.starting_weights.get("imported_model_id")
    return checkpoint.parent_checkpoint_id or str(imported or "scratch")


def _scores(checkpoint: CheckpointRecord) -> dict[str, Any]:
    return {**checkpoint.dice_iou_metrics, **checkpoint.metrics}


def show_runs(runs: Sequence[RunSummary]) -> None:
    """All runs and what became of them."""
    rows = [
        (
            run.run_id,
            run.kind,
            run.state,
            run.began[:16].replace("T", " "),
            run.epochs or None,
            run.outcome,
        )
        for run in runs
    ]
    show_table(
        "Runs", ("run", "kind", "state", "began (UTC)", "epochs", "outcome"), rows, empty="none yet"
    )


def show_model(model: ImportedModel, folder: Path) -> None:
    """Weights that were just brought in."""
    network = {
        name: model.architecture.get(name)
        for name in (
            "preset",
            "spatial_dims",
            "depth",
            "base_channels",
            "normalization",
            "upsampling",
        )
    }
    show_facts(
        "Imported",
        {
            "model": model.model_id,
            "name": model.model_name,
            "network": network,
            "file": model.model_path,
        },
    )
    say(f"Next: maskloop train {shown_path(folder)} --from {model.model_id}")


def show_prediction(result: dict[str, Any]) -> None:
    """What was written, and what failed."""
    for path in result["written"]:
        say(shown_path(path))
    predicted = counted(len(result["written"]), "image")
    say(f"{predicted} predicted with {result['checkpoint_id']}, {len(result['failed'])} failed.")
    for failed in result["failed"]:
        say_problem(f"{failed['source']}: {failed['problem']}", failed["way_out"])


def show_evaluation(evaluation: Evaluation) -> None:
    """Scores per image, and of all together."""
    rows = evaluation.rows()
    columns = list(rows[-1])
    show_table(
        f"Scores ({evaluation.mode})",
        columns,
        [[row.get(name) for name in columns] for row in rows],
    )
    for failure in evaluation.failures:
        say_problem(f"{failure.name}: {failure.problem}", "It was left out of the scores.")


def show_upgrade(report: UpgradeReport) -> None:
    """What became of an older folder."""
    facts = report.model_dump(exclude={"was_needed", "warnings"})
    show_facts(
        "Upgraded" if report.was_needed else "Nothing to upgrade",
        {name.replace("_", " "): value for name, value in facts.items()},
    )
    for warning in report.warnings:
        say(f"Warning: {warning}")


def show_demo(result: DemoResult) -> None:
    """What the demo measured, what it wrote, and what to do next."""
    show_facts(
        f"Demo in {result.folder}",
        {"scores on images never trained on": "", **result.scores, **result.files},
    )
    used = counted(result.trained_pairs, "pair")
    predicted = counted(result.unseen_images, "image")
    took = time_in_words(result.seconds)
    say(f"{used} used to train and validate, {predicted} predicted, {took} in total.")
    say("What to do next:")
    for command in result.next_commands:
        say(f"  {command}")
