"""The training loop, readable top to bottom, on Lightning Fabric (devices, precision, nodes).

Every random number follows from (seed, step, rank), so a run that was killed and started again from
its saved state ends, on a CPU, with the weights of an undisturbed run, bit for bit (unless a time
budget ends it: clocks differ).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from maskloop.errors import Cancelled, TrainingFailed
from maskloop.events import Message, Metric, Preview, Progress, Report, silent
from maskloop.models.base import Decision, Trained
from maskloop.models.calibrate import changed_settings, tune_output
from maskloop.models.device import find_machine
from maskloop.models.memory import is_out_of_memory
from maskloop.models.resume import TrainingState, damaged_state, load_state, save_state
from maskloop.models.samples import Sample
from maskloop.models.unet.average import update_average
from maskloop.models.unet.data import Batch, PatchSampler
from maskloop.models.unet.losses import build_loss
from maskloop.models.unet.network import build_unet
from maskloop.models.unet.records import UNetPlan
from maskloop.models.unet.segmenter import UNetSegmenter
from maskloop.models.unet.validation import Validation, draw_preview
from maskloop.models.weights_file import load_checkpoint, not_finite, save_checkpoint
from maskloop.wording import counted

__all__ = ["train"]

VALIDATION_COST = 0.15
"""Whole-image validation may take this share of the training's arithmetic."""
PREVIEW_S = 2.0
"""Small images are validated many times a second: nobody looks at thousands of pictures, and all
of them are kept.
"""
BETTER = "objects in the images of this project are separated better"
"""Why a setting was moved after the training."""
T = TypeVar("T")
PRECISIONS = {"bf16": "bf16-mixed", "fp16": "16-mixed", "fp32": "32-true"}


def train(
    plan: UNetPlan,
    training: Sequence[Sample],
    *,
    validation: Sequence[Sample] = (),
    folder: Path,
    start: dict[str, Tensor] | None = None,
    header: dict[str, Any] | None = None,
    report: Report = silent,
    is_cancelled: Callable[[], bool] = lambda: False,
    save_every_s: float = 30.0,
) -> Trained | None:
    """Train by a plan, or resume the training whose state lies in `folder`.

    Parameters
    ----------
    plan
        Everything that is decided.
    training, validation
        Samples to learn from, and whole images to score on; without the latter no score is reported
        and the last weights count.
    folder
        The run's folder: ``resume.pt``, ``best.pt`` and previews are written there.
    start
        Weights to start from, already fitted to the plan's network.
    header
        Facts to store in the checkpoint beside the plan.
    report, is_cancelled
        Told of progress; asked before each step.
    save_every_s
        Seconds between two saved states.

    Returns
    -------
    Trained | None
        None in helper processes of a training on several devices.

    Raises
    ------
    TrainingFailed
        If the loss is not finite before any weights were kept.
    Cancelled
        If cancelled before any weights were kept.
    """
    return _Training(
        plan, training, validation, folder, header or {}, report, is_cancelled, save_every_s
    ).run(start)


class _Training:
    """One training: the network, its average, the optimizer and the state."""

    def __init__(
        self,
        plan: UNetPlan,
        training: Sequence[Sample],
        validation: Sequence[Sample],
        folder: Path,
        header: dict[str, Any],
        report: Report,
        is_cancelled: Callable[[], bool],
        save_every_s: float,
    ) -> None:
        machine = find_machine(plan.device)
        precision: Any = PRECISIONS[plan.precision]
        self.fabric = Fabric(
            accelerator=machine.device,
            devices=plan.devices,
            num_nodes=plan.nodes,
            precision=precision,
        )
        # Starts the other processes with the same command: each of them comes here as well.
        self.fabric.launch()
        self.plan = plan
        self.folder, self.header = folder, header
        # One journal, one writer: what all report would be there once per device.
        self.report = report if self.fabric.is_global_zero else silent
        self.is_cancelled, self.save_every_s = is_cancelled, save_every_s
        self.sampler = PatchSampler(training, plan, rank=self.fabric.global_rank)
        self.validation = Validation(validation, plan)
        self.loss = build_loss(plan.output, class_weights=plan.class_weights)
        self.state = TrainingState(batch_size=plan.batch_size)
        self.clock = time.monotonic()
        self.saved = self.told = 0.0
        # The first preview at once, however soon it comes.
        self.drawn = -math.inf
        self.validated = time.monotonic()
        self.epoch_loss = math.nan

    def run(self, start: dict[str, Tensor] | None) -> Trained | None:
        """Train until epochs, time or patience end, or somebody cancels."""
        self._build(start)
        self._restore()
        stopped = "epochs"
        try:
            while self.state.epoch < self.plan.epochs:
                is_time_up = self._epoch()
                if is_time_up or self.state.epoch == self.plan.epochs or self._is_validation_due():
                    self._validate()
                self._save()
                if is_time_up:
                    stopped = "time"
                    break
                if (
                    self.validation.samples
                    and self.state.epoch - self.state.best_epoch >= self.plan.patience
                ):
                    stopped = "patience"
                    break
        except (_NotFinite, Cancelled) as end:
            stopped = "cancelled" if isinstance(end, Cancelled) else "not finite"
            self._stop_early(end)
        self.fabric.barrier()
        if not self.fabric.is_global_zero:
            return None
        plan, state = self._calibrate(), self.state
        weights = self.folder / "best.pt"
        return Trained(
            weights,
            plan,
            state.best_metrics,
            state.epoch,
            state.best_epoch,
            state.patches,
            self._elapsed(),
            stopped,
        )

    def _build(self, start: dict[str, Tensor] | None) -> None:
        plan = self.plan
        # Only the initial weights draw from the global generator.
        torch.manual_seed(plan.seed)
        module = build_unet(plan.network)
        if start is not None:
            module.load_state_dict(start)
        module = module.to(
            memory_format=torch.channels_last
            if plan.network.dimensions == 2
            else torch.channels_last_3d
        )  # type: ignore[call-overload]
        optimizer = torch.optim.AdamW(
            module.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay, fused=True
        )
        self.module: nn.Module = module
        self.model, self.optimizer = self.fabric.setup(module, optimizer)
        # Of the bare module, not of Fabric's wrapper, whose names would end up in the checkpoint.
        # With buffers: the statistics of batch normalization belong to the weights.
        self.average = AveragedModel(module, multi_avg_fn=update_average, use_buffers=True)
        self.steps = plan.steps_per_epoch * plan.epochs
        # In passes over pixels: a training step makes three, one forward and two backward.
        costs = (
            self.validation.pixels * 1.3,
            plan.steps_per_epoch * plan.batch_size * math.prod(plan.patch_size) * 3,
        )
        self.validation_every = min(
            max(1, plan.epochs // 10), math.ceil(costs[0] / (VALIDATION_COST * costs[1])) or 1
        )

    def _agreed(self, word: T) -> T:
        """What the first of several devices says: clocks differ, and all must do the same."""
        return word if self.fabric.world_size == 1 else self.fabric.broadcast(word)

    def _is_validation_due(self) -> bool:
        """By count, so that a run can be repeated; with a time limit by the clock.

        Otherwise scoring large images would use up the time.
        """
        if self.plan.time_s is None:
            return self.state.epoch % self.validation_every == 0
        return self._agreed(
            time.monotonic() - self.validated >= self.validation.last_s / VALIDATION_COST
        )

    def _epoch(self) -> bool:
        """Train on about as many pixels as the training images have; true when the time is up."""
        self.model.train()
        losses = []
        end = (self.state.epoch + 1) * self.plan.steps_per_epoch
        while self.state.step < end:
            word = "time" if self._time_left() <= 0 else ""
            # One device decides for all: the others would wait for it for ever.
            word = self._agreed("cancelled" if self.is_cancelled() else word)
            if word == "cancelled":
                raise Cancelled("The training was cancelled.", "The best weights so far are kept.")
            if word == "time":
                break
            # After the question, so that a run that is cancelled at once changes nothing.
            losses.append(self._step())
            self._tell_progress(end)
        # An epoch cut short by the clock counts as whole: steps stay multiples of the epoch's.
        is_time_up, self.state.step = self.state.step < end, end
        self.state.epoch += 1
        if losses:
            self.epoch_loss = sum(losses) / len(losses)
        if not self.validation.samples:
            self.report(Metric(epoch=self.state.epoch, values={"loss": self.epoch_loss}))
        return is_time_up

    def _step(self) -> float:
        """One batch; if memory is not enough, it is halved with a warning and tried again."""
        while True:
            try:
                loss = self._learn(self.sampler.batch(self.state.step, self.state.batch_size))
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error) or self.state.batch_size == 1:
                    raise
                # Gradients of the failed step would occupy the memory that the smaller batch needs.
                self.optimizer.zero_grad()
                self.state.batch_size //= 2
                text = (
                    "Not enough memory for the batch: continuing with "
                    f"{self.state.batch_size} patches per step."
                )
                self.report(Message(level="warning", text=text))
            else:
                break
        self.state.step += 1
        self.state.patches += self.state.batch_size * self.fabric.world_size
        return loss

    def _learn(self, batch: Batch) -> float:
        # Set from the step and the clock at each step: a scheduler would be one more state to
        # restore.
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.learning_rate * self._rate()
        images = batch.images.to(
            self.fabric.device,
            memory_format=torch.channels_last if batch.images.ndim == 4 else torch.channels_last_3d,
        )
        loss = self.loss(self.model(images), *batch.to(self.fabric.device))
        # The mean of all devices: one that alone saw a NaN would leave, and the others wait for it.
        value = float(self._mean(loss.detach()))
        if not math.isfinite(value):
            raise _NotFinite(f"The loss is {value} in {self._where(batch)}.")
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        # A single strange patch must not undo what was learned.
        norm = self.fabric.clip_gradients(
            self.model, self.optimizer, max_norm=1.0, error_if_nonfinite=False
        )
        # With fp16 such steps are part of finding its scale, and are left out by Fabric's scaler.
        if self.plan.precision != "fp16" and norm is not None and not math.isfinite(float(norm)):
            raise _NotFinite(f"The gradient is {float(norm)} in {self._where(batch)}.")
        self.optimizer.step()
        self.average.update_parameters(self.module)
        return value

    def _where(self, batch: Batch) -> str:
        pairs = ", ".join(sorted(set(batch.pair_ids)))
        return f"epoch {self.state.epoch + 1}, step {self.state.step + 1}, with {pairs}"

    def _mean(self, value: Tensor) -> Tensor:
        return (
            value
            if self.fabric.world_size == 1
            else self.fabric.all_reduce(value, reduce_op="mean")
        )

    def _rate(self) -> float:
        """Share of the peak learning rate: a short rise, then a cosine down to 1 %."""
        # By whichever is farther, steps or clock: the rate must be low when the training ends.
        done = self.state.step / self.steps
        if self.plan.time_s is not None:
            done = max(done, min(1.0, self._elapsed() / self.plan.time_s))
        rise = min(1.0, (self.state.step + 1) / max(10, min(200, self.steps // 20)))
        return rise * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))

    def _elapsed(self) -> float:
        return self.state.elapsed_s + time.monotonic() - self.clock

    def _time_left(self) -> float:
        if self.plan.time_s is None:
            return math.inf
        # The last validation has to fit into the budget as well.
        return self.plan.time_s - self.validation.last_s - self._elapsed()

    def _validate(self) -> None:
        """Score the averaged weights on whole images; the best are kept."""
        if not self.validation.samples:
            self._keep({"loss": self.epoch_loss})
            return
        self.average.eval()
        scores = self.validation.score(self.average.module, self.loss, self.fabric.device)
        metrics = {"loss": self.epoch_loss, **scores.values}
        self.report(Metric(epoch=self.state.epoch, values=metrics))
        if self.fabric.is_global_zero and time.monotonic() - self.drawn >= PREVIEW_S:
            name = f"previews/epoch_{self.state.epoch:04d}.png"
            draw_preview(self.folder / name, scores)
            self.report(Preview(epoch=self.state.epoch, path=name))
            self.drawn = time.monotonic()
        self.validated = time.monotonic()
        if self._is_best(scores.score, metrics["val_loss"]):
            self.state.best_score = scores.score
            self._keep(metrics)

    def _is_best(self, score: float, loss: float) -> bool:
        """Of equal scores, such as 0 while nothing is found yet, the lower loss tells."""
        best = self.state.best_score
        return (
            best is None
            or score > best
            or (score == best and loss < self.state.best_metrics["val_loss"])
        )

    def _keep(self, metrics: dict[str, float]) -> None:
        weights = self.average.module.state_dict()
        faulty = not_finite(weights)
        if faulty:
            raise _NotFinite(
                f"After epoch {self.state.epoch} the network has {counted(len(faulty), 'weight')} "
                f"with values that are not finite, {faulty[0]} first."
            )
        self.state.best_epoch, self.state.best_metrics = self.state.epoch, metrics
        if self.fabric.is_global_zero:
            header = {
                **self.header,
                "plan": self.plan.model_dump(mode="json"),
                "metrics": metrics,
                "epoch": self.state.epoch,
            }
            save_checkpoint(self.folder / "best.pt", state_dict=weights, header=header)

    def _calibrate(self) -> UNetPlan:
        """The plan with the output tuned to the best weights; their file and score follow it."""
        weights, plan = self.folder / "best.pt", self.plan
        if not weights.exists():
            return plan
        loaded = load_checkpoint(weights)
        module = build_unet(plan.network).to(self.fabric.device)
        module.load_state_dict(loaded.state_dict)
        # Of what "best.pt" holds, and not of the average as it is now: that may be worse already.
        segmenter = UNetSegmenter(
            module, plan, device="cuda" if self.fabric.device.type == "cuda" else "cpu"
        )
        try:
            output = tune_output(segmenter, [*self.validation.samples, *self.sampler.samples])
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            # A training of hours must not be lost to this.
            words = (
                "Not enough memory to calibrate how objects are separated; the defaults are kept."
            )
            self.report(Message(level="warning", text=words))
            return plan
        changes = changed_settings(plan.output, output)
        if not changes:
            return plan
        decisions = tuple(
            Decision(name=name, value=new, reason=f"{name} is {new} instead of {old}: {BETTER}.")
            for name, (old, new) in changes.items()
        )
        for decision in decisions:
            self.report(Message(text=decision.reason))
        plan = plan.model_copy(
            update={"output": output, "decisions": (*plan.decisions, *decisions)}
        )
        if self.validation.samples:
            scores = Validation(self.validation.samples, plan).score(
                module, self.loss, self.fabric.device
            )
            self.state.best_metrics = {**self.state.best_metrics, **scores.values}
            self.report(Metric(epoch=self.state.best_epoch, values=self.state.best_metrics))
        header = {
            **loaded.header,
            "plan": plan.model_dump(mode="json"),
            "metrics": self.state.best_metrics,
        }
        save_checkpoint(weights, state_dict=loaded.state_dict, header=header)
        return plan

    def _stop_early(self, end: Exception) -> None:
        """Keep the best so far when cancelled or diverged; without any there is nothing to keep."""
        if self.state.best_metrics:
            self._save(always=True)
            self.report(
                Message(
                    level="warning",
                    text=f"{end.args[0]} The best weights so far (epoch {self.state.best_epoch}) "
                    "are kept.",
                )
            )
            return
        if isinstance(end, Cancelled):
            raise Cancelled(
                "The training was cancelled before its first validation.",
                "Start it again: it resumes from its last saved state.",
            ) from None
        way_out = (
            "Check these images for wrong values, or lower the learning rate (now "
            f"{self.plan.learning_rate:g})."
        )
        raise TrainingFailed(str(end), way_out) from None

    def _save(self, *, always: bool = False) -> None:
        if not self.fabric.is_global_zero or not (
            always or time.monotonic() - self.saved >= self.save_every_s
        ):
            return
        # The clock starts anew with each process; what ran before is in the state.
        self.state.elapsed_s, self.clock = self._elapsed(), time.monotonic()
        tensors = {
            "model": self.module.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        save_state(self.folder / "resume.pt", self.state, tensors)
        self.saved = time.monotonic()

    def _restore(self) -> None:
        # Every process reads the state, although one wrote it: all must continue alike.
        if not (self.folder / "resume.pt").exists():
            return
        saved = self.folder / "resume.pt"
        self.state, tensors = load_state(saved)
        try:
            self.module.load_state_dict(tensors["model"])
            self.average.load_state_dict(tensors["average"])
            self.optimizer.load_state_dict(tensors["optimizer"])
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            # What PyTorch raises of a state that is not of this network.
            raise damaged_state(saved) from error
        self.clock = time.monotonic()
        self.report(Message(text=f"Resuming after epoch {self.state.epoch}."))

    def _tell_progress(self, epoch_end: int) -> None:
        now = time.monotonic()
        # Twice a second is enough to look at; each event is a line of the journal.
        if now - self.told < 0.5 and self.state.step < epoch_end:
            return
        self.told, elapsed = now, max(1e-6, self._elapsed())
        left = elapsed / self.state.step * (self.steps - self.state.step)
        if self.plan.time_s is not None:
            left = min(left, max(0.0, self.plan.time_s - elapsed))
        rate = self.state.patches / elapsed
        done = self.state.step / self.plan.steps_per_epoch
        # Of a time budget, the epochs that it will have been enough for.
        total = (
            self.plan.epochs
            if self.plan.time_s is None
            else min(self.plan.epochs, math.ceil(done * (1 + left / elapsed)))
        )
        self.report(
            Progress(
                stage="training",
                done=done,
                total=total,
                unit="epochs",
                rate=rate,
                seconds_left=left,
            )
        )


class _NotFinite(Exception):
    """The loss, a gradient or a weight is not finite; the message says where."""
