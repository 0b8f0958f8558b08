"""The plan: a recipe made concrete for the data and the machine, each decision with its reason."""

from __future__ import annotations

import math
from typing import NamedTuple

from maskloop.errors import UsageError
from maskloop.images.fingerprint import Fingerprint
from maskloop.images.instances import InstanceSettings
from maskloop.images.normalize import Normalization
from maskloop.models.base import Augmentation, Start
from maskloop.models.device import Machine, find_machine
from maskloop.models.unet.compatibility import require_compatible
from maskloop.models.unet.decisions import Case, Decisions
from maskloop.models.unet.geometry import (
    fit_base_channels,
    fit_batch,
    fit_depth,
    fit_dimensions,
    fit_patch,
)
from maskloop.models.unet.records import (
    UNetArchitecture,
    UNetNetwork,
    UNetPlan,
    UNetRecipe,
    network_for,
)
from maskloop.models.unet.speed import patches_per_s
from maskloop.predict.base import Output
from maskloop.predict.outputs import output_for
from maskloop.task import Task
from maskloop.wording import time_in_words

__all__ = ["make_plan"]

PATCHES_BY_DEFAULT = 8_000
FEWEST_EPOCHS = 30


def make_plan(
    task: Task,
    choices: UNetArchitecture,
    recipe: UNetRecipe,
    fingerprint: Fingerprint,
    *,
    start: Start | None = None,
    machine: Machine | None = None,
) -> UNetPlan:
    """Decide everything about a training.

    Parameters
    ----------
    task
        What to segment.
    choices, recipe
        What a person chose; what is left open is decided here.
    fingerprint
        What the data is like.
    start
        Weights that the training starts from: their network stays as it is.
    machine
        Where it will run; looked up when left out.

    Raises
    ------
    UsageError
        If the data cannot be used with the choices made.
    IncompatibleWeights
        If the weights do not fit the task or the choices.
    """
    chosen = set(choices.chosen) | ({"input_channels"} if task.channels is not None else set())
    if start is None:
        network, fixed = network_for(task, choices), chosen
        say = Decisions(of_weights=())
    else:
        network, fixed = require_compatible(task, choices, start), set(UNetNetwork.model_fields)
        say = Decisions(of_weights=fixed - chosen)
    machine = machine or find_machine(recipe.device)
    precision = say.take(
        "precision",
        recipe.precision,
        "bf16" if machine.has_bf16 else "fp32",
        f"{machine.name} computes about twice as fast in bf16 as in fp32."
        if machine.has_bf16
        else f"{machine.name} has no fast bf16.",
    )
    case = Case(recipe, fingerprint, machine, precision, fixed, say)
    # Each needs what the one before has settled: the patch must be halved as often as the depth
    # says, the width is what is affordable at that patch, and the batch what then fits in memory.
    network = fit_depth(fit_dimensions(network, case), case)
    patch = fit_patch(network, case)
    network = fit_base_channels(network, patch, case)
    batch = fit_batch(network, patch, case)
    normalization = _normalization(fingerprint, recipe, say)
    schedule = _schedule(network, patch, batch, case)
    weights, share = _class_weights(task, case), _foreground_share(task, case)
    augmentation = _augmentation(network, case)
    rate = _learning_rate(start, case)
    return UNetPlan(
        task=task,
        network=network,
        output=_output(task, choices, fingerprint),
        patch_size=patch,
        batch_size=batch,
        steps_per_epoch=schedule.steps,
        epochs=schedule.epochs,
        time_s=recipe.time_s,
        estimated_s=schedule.estimated_s,
        patience=schedule.patience,
        learning_rate=rate,
        normalization=normalization,
        augmentation=augmentation,
        class_weights=weights,
        foreground_share=share,
        precision=precision,
        pixel_size_um=fingerprint.pixel_size_um,
        seed=recipe.seed,
        device=recipe.device,
        devices=recipe.devices,
        nodes=recipe.nodes,
        tensorboard=recipe.tensorboard,
        decisions=say.in_order,
    )


def _output(task: Task, choices: UNetArchitecture, data: Fingerprint) -> Output:
    # Percentiles 5, 50, 95 and 100, of which the median counts; none without any object.
    diameters = data.object_diameters_px
    return output_for(
        task.mode,
        task.class_names,
        threshold=0.5 if choices.threshold is None else choices.threshold,
        instances=InstanceSettings(
            typical_diameter_px=diameters[1] if len(diameters) > 1 else None,
            largest_extent_px=data.object_extent_px,
        ),
    )


def _normalization(data: Fingerprint, recipe: UNetRecipe, say: Decisions) -> Normalization:
    planned = Normalization()
    value: Normalization = say.take(
        "normalization",
        recipe.normalization,
        planned,
        "Percentiles of each image: robust to hot pixels and exposure.",
    )
    if value.scope == "dataset" and not value.dataset_ranges:
        value = value.model_copy(update={"dataset_ranges": data.fit(value)})
    return value


class _Schedule(NamedTuple):
    """How long a training lasts."""

    epochs: int
    steps: int
    """Of one epoch."""
    patience: int
    """Epochs."""
    estimated_s: float | None


def _schedule(network: UNetNetwork, patch: tuple[int, ...], batch: int, case: Case) -> _Schedule:
    time_s, data = case.recipe.time_s, case.data
    # An epoch sees about as many pixels as the images have, and each image at least once.
    per_epoch = max(data.pair_count, round(data.total_pixels / math.prod(patch)))
    steps = max(1, math.ceil(per_epoch / batch))
    speed = patches_per_s(network, patch, case.machine, case.precision)
    if time_s is None:
        wanted = PATCHES_BY_DEFAULT
        reason = f"About {PATCHES_BY_DEFAULT:,} patches in total, at least {FEWEST_EPOCHS} epochs."
    else:
        # Twice what the estimate says: the clock ends the training, the epochs must not.
        wanted = int(2 * time_s * speed)
        reason = f"More than fit into {time_in_words(time_s)}; the time limit ends training."
    planned = max(FEWEST_EPOCHS, math.ceil(wanted / (steps * batch)))
    epochs = case.say.take("epochs", case.recipe.epochs, planned, reason)
    if time_s is None:
        waits = max(20, epochs // 3)
        why = "A third of the epochs without a better validation score."
    else:
        waits = epochs
        why = (
            "The time limit ends training: the learning rate decreases until then, and the best "
            "model often comes last."
        )
    patience = case.say.take("patience", case.recipe.patience, waits, why)
    estimated_s = time_s
    # One rate stands for all models of GPU: good enough to plan by, not to promise a time.
    if time_s is None and case.machine.device == "cpu":
        estimated_s = epochs * steps * batch / speed
    return _Schedule(epochs, steps, patience, estimated_s)


def _foreground_share(task: Task, case: Case) -> float:
    foreground = 1 - case.data.class_frequencies.get(0, 0.0)
    # Where foreground is common, random places have enough of it; but of several classes the
    # common one says nothing about the rare ones.
    share: float = case.say.take(
        "foreground_share",
        case.recipe.foreground_share,
        0.33 if foreground > 0.2 and task.mode != "multiclass" else 0.5,
        f"{foreground:.0%} of the pixels are foreground; this fraction of the patches is placed on "
        "foreground, each class equally often.",
    )
    return share


def _class_weights(task: Task, case: Case) -> tuple[float, ...] | None:
    if task.mode != "multiclass":
        return None
    frequencies = case.data.class_frequencies
    # A class that occurs nowhere yet must not have an infinite weight.
    found = [max(frequencies.get(label, 0.0), 1e-4) for label in range(task.num_classes)]
    raw = [value**-0.25 for value in found]
    planned = tuple(round(value * len(raw) / sum(raw), 3) for value in raw)
    weights = case.say.take(
        "class_weights",
        case.recipe.class_weights,
        planned,
        "Rare classes have larger weights: frequency to the power -1/4, mean 1.",
    )
    if len(weights) != task.num_classes:
        raise UsageError(
            f"{task.num_classes} class weights are needed, not {len(weights)}.",
            "Give one weight per class, background first.",
        )
    return tuple(weights)


def _learning_rate(start: Start | None, case: Case) -> float:
    # Weights that are good already would be forgotten at the full rate.
    rate: float = case.say.take(
        "learning_rate",
        case.recipe.learning_rate,
        2e-3 if start is None else 5e-4,
        "Peak of a cosine schedule for AdamW; lower when starting from weights.",
    )
    return rate


def _augmentation(network: UNetNetwork, case: Case) -> Augmentation:
    elastic = 0.3 if network.dimensions == 2 else 0.0
    settings: Augmentation = case.say.take(
        "augmentation",
        case.recipe.augmentation,
        Augmentation(free_rotation=True, elastic=elastic, blur=1.0),
        "Microscopy images have no orientation; size and brightness vary slightly.",
    )
    return settings
