"""The U-Net as a backend: plain, residual and with attention gates, in 2D and 3D."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from maskloop.errors import IncompatibleWeights, UsageError
from maskloop.images.fingerprint import Fingerprint
from maskloop.models.base import (
    DEFAULT_BACKEND,
    DeviceName,
    Example,
    Mismatch,
    Outline,
    Start,
    Summary,
    SummaryRow,
    Trained,
    TrainingContext,
)
from maskloop.models.device import Machine, find_machine
from maskloop.models.samples import Sample, samples_of
from maskloop.models.unet.compatibility import compare
from maskloop.models.unet.records import (
    UNetArchitecture,
    UNetNetwork,
    UNetPlan,
    UNetRecipe,
    network_for,
)
from maskloop.predict.base import Segmenter
from maskloop.task import Task
from maskloop.wording import bytes_in_words, counted, fault_in_words

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["UNET", "UNetBackend"]

PATCHES = {2: ((256, 256), 4), 3: ((64, 64, 64), 2)}
"""Patch and batch of an ordinary machine, where no images tell."""


class UNetBackend:
    """Plans, trains and loads U-Nets. Importing it loads no torch; its methods do."""

    name = DEFAULT_BACKEND
    title = "U-Net"
    checkpoint_prefix = "unet_run"
    Architecture = UNetArchitecture
    Recipe = UNetRecipe
    Network = UNetNetwork
    Plan = UNetPlan

    def plan(
        self,
        task: Task,
        choices: UNetArchitecture,
        recipe: UNetRecipe,
        fingerprint: Fingerprint,
        *,
        start: Start | None = None,
        machine: Machine | None = None,
    ) -> UNetPlan:
        """Decide everything about a training; see `maskloop.models.unet.plan.make_plan`."""
        # Here and below torch is loaded only when it is used: forms and options need the records
        # alone.
        from maskloop.models.unet.plan import make_plan

        return make_plan(task, choices, recipe, fingerprint, start=start, machine=machine)

    def train(
        self,
        plan: UNetPlan,
        training: Sequence[Example],
        validation: Sequence[Example],
        context: TrainingContext,
    ) -> Trained | None:
        """Train by a plan, or resume; see `maskloop.models.unet.loop.train`."""
        from maskloop.models.unet.loop import train

        return train(
            plan,
            _samples(training, plan),
            validation=_samples(validation, plan),
            folder=context.folder,
            start=None if context.start is None else _weights(context.start, plan.network),
            header=dict(context.header),
            report=context.report,
            is_cancelled=context.is_cancelled,
            save_every_s=context.save_every_s,
        )

    def load(self, path: Path, *, device: DeviceName = "auto") -> Segmenter:
        """A checkpoint in memory; see `maskloop.models.unet.segmenter.load_segmenter`."""
        from maskloop.models.unet.segmenter import load_segmenter

        return load_segmenter(path, device=device)

    def describe(
        self, task: Task, choices: UNetArchitecture, plan: UNetPlan | None = None
    ) -> Summary:
        """Count the network, which is built without memory of its own.

        The memory of a training step is that of `training_memory_bytes`. Four real steps on a CPU
        (2D and 3D; bf16 and fp32; batch, group and instance normalization; plain, residual, with
        gates) took 3 to 12 % more resident memory where freed memory goes back to the system at
        once, and up to 49 % more with the holes that glibc leaves: near enough for "about", not for
        filling a machine to the brim.
        """
        import torch

        from maskloop.models.unet.network import UNet, summarize, training_memory_bytes

        # Without a plan by an ordinary patch: there may be no images yet when an architecture is
        # chosen.
        if plan is not None:
            network, precision = plan.network, plan.precision
            patch, batch = plan.patch_size, plan.batch_size
        else:
            network = network_for(task, choices)
            usual, batch = PATCHES[network.dimensions]
            steps = zip(usual, network.multiple, strict=True)
            patch = tuple(max(step, length // step * step) for length, step in steps)
            precision = "bf16" if find_machine().has_bf16 else "fp32"
        with torch.device("meta"):
            module = UNet(network)
        # Built on the device "meta", which has shapes but no memory: a description of 100 M
        # parameters takes none.
        facts = summarize(module, network)
        weights_bytes = sum(tensor.nbytes for tensor in module.state_dict().values())
        step_bytes = training_memory_bytes(network, patch, batch=batch, precision=precision)
        size = " x ".join(map(str, patch))
        patches = f"{counted(batch, 'patch', 'patches')} of {size}"
        layers = _layers(facts)
        reach = " x ".join(str(2 * far + 1) for far in facts["reach_px"])
        return Summary(
            title=network.title,
            words=f"{_millions(facts['parameters'])} parameters, {layers}; weights "
            f"{bytes_in_words(weights_bytes)}; about {bytes_in_words(step_bytes)} for a training "
            f"step of {patches}",
            rows=(
                SummaryRow(label="Network", value=network.title),
                SummaryRow(label="Parameters", value=f"{facts['parameters']:,}", note=layers),
                SummaryRow(label="Receptive field", value=f"{reach} px"),
                SummaryRow(label="Weights", value=bytes_in_words(weights_bytes)),
                SummaryRow(label="Training memory", value=bytes_in_words(step_bytes), note=patches),
            ),
            parameters=facts["parameters"],
            weights_bytes=weights_bytes,
            step_bytes=step_bytes,
            facts=facts,
        )

    def outline(self, network: Mapping[str, Any]) -> Outline:
        """What a trained network is; empty where its record does not say."""
        if not network:
            return Outline()
        try:
            # Records of older versions or edited ones must not keep a list of checkpoints from
            # being drawn.
            found = UNetNetwork.model_validate(dict(network))
        except ValidationError:
            return Outline()
        return Outline(found.title, found.input_channels, found.dimensions)

    def compare(self, task: Task, choices: UNetArchitecture, start: Start) -> list[Mismatch]:
        """What keeps weights from serving this task with these choices."""
        return compare(task, choices, start)

    def adopt(
        self, path: Path, task: Task, choices: UNetArchitecture, known: Mapping[str, Any]
    ) -> UNetNetwork:
        """The network that weights from elsewhere fill to the last one."""
        from maskloop.models.unet.foreign import network_of_weights
        from maskloop.models.unet.network import outline_unet
        from maskloop.models.weights_file import fit_weights, read_weights

        weights = read_weights(path)
        # The file's own description first: shapes do not tell everything, such as the kind of
        # normalization.
        told = _told(path, task) or network_of_weights(weights)
        ours = network_for(task, choices).model_dump()
        # The person's word counts most; only the outputs follow from the project's task, whatever
        # is said.
        values = {**ours, **told, **known, "output_channels": ours["output_channels"]}
        try:
            network = UNetNetwork.model_validate(values)
        except ValidationError as error:
            raise UsageError(
                fault_in_words(error), "Give the architecture that the weights were made for."
            ) from None
        module = outline_unet(network)
        fit_weights(module, weights, source=f"'{path.name}'", look=network_of_weights)
        return network


def _samples(examples: Sequence[Example], plan: UNetPlan) -> list[Sample]:
    return [
        sample
        for example in examples
        for sample in samples_of(example, plan.network.dimensions, plan.normalization)
    ]


def _weights(start: Start, network: UNetNetwork) -> dict[str, Tensor]:
    from maskloop.models.unet.foreign import network_of_weights
    from maskloop.models.unet.network import outline_unet
    from maskloop.models.weights_file import fit_weights, read_weights

    module = outline_unet(network)
    weights = read_weights(start.path)
    fit_weights(module, weights, source=start.path.name, look=network_of_weights)
    return module.state_dict()


def _told(path: Path, task: Task) -> dict[str, Any]:
    """The network as far as one of our checkpoint files tells it; empty for bare weights."""
    from maskloop.models.unet.segmenter import plan_of
    from maskloop.models.weights_file import load_checkpoint

    # The format has no place for our header.
    if path.suffix.lower() == ".safetensors":
        return {}
    try:
        header = load_checkpoint(path).header
    except IncompatibleWeights:
        return {}  # bare weights: their names and shapes must do
    if "plan" not in header:
        return {}
    plan = plan_of(header, path)
    if (plan.task.mode, plan.task.num_classes) != (task.mode, task.num_classes):
        raise IncompatibleWeights(
            f"'{path.name}' was trained for {plan.task.mode} with {plan.task.num_classes} classes, "
            f"the project is for {task.mode} with {task.num_classes}.",
            "Import it into a project of that mode, or select other weights.",
        )
    return plan.network.model_dump()


def _layers(facts: Mapping[str, Any]) -> str:
    """The layers that are counted, such as ``18 convolutions + 4 upsamplings``."""
    layers = {
        "convolution": facts["double_conv_layers"],
        "upsampling": facts["upsampling_layers"],
        "projection": facts["final_projection_layers"],
        "shortcut": facts["shortcut_projections"],
        "attention gate": facts["attention_gates"],
    }
    return " + ".join(counted(count, name) for name, count in layers.items() if count)


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count >= 1e5 else f"{count:,}"


UNET = UNetBackend()
