"""What every model family has in common: choices, recipe, plan, and what a backend must offer.

Nothing here loads a learning library: the window and the command line draw forms and options from
these records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationError, field_validator

from maskloop import plugins
from maskloop.errors import MaskloopError, UsageError
from maskloop.events import Report, silent
from maskloop.images.fingerprint import Fingerprint
from maskloop.images.image import Image
from maskloop.images.normalize import Normalization
from maskloop.models.device import Machine
from maskloop.predict.base import Segmenter
from maskloop.records import Record, jsonable
from maskloop.task import Task
from maskloop.wording import fault_in_words

__all__ = [
    "DEFAULT_BACKEND",
    "AnyPlan",
    "Architecture",
    "Augmentation",
    "Backend",
    "Decision",
    "DeviceName",
    "Example",
    "Mismatch",
    "Outline",
    "Plan",
    "Precision",
    "Recipe",
    "Start",
    "Summary",
    "SummaryRow",
    "Trained",
    "TrainingContext",
    "backend",
    "checked_choices",
    "kinds",
    "outline_of",
]

DEFAULT_BACKEND = "basic_unet"
DeviceName = Literal["auto", "cpu", "cuda"]
Precision = Literal["bf16", "fp16", "fp32"]
AnyRecord = TypeVar("AnyRecord", bound=Record)


class Architecture(Record):
    """Choices about a model; whatever is left open is planned from the data.

    A backend adds its own fields, each of them optional: None means "plan it".
    """

    threshold: float | None = Field(
        None, ge=0, le=1, description="Probability above which a pixel is foreground (binary)."
    )

    @property
    def chosen(self) -> dict[str, Any]:
        """The choices that were made."""
        return self.model_dump(mode="json", exclude_none=True)


class Augmentation(Record):
    """Random changes of the training patches, so that the model learns to ignore them."""

    horizontal_flip: bool = True
    vertical_flip: bool = True
    rotation_degrees: tuple[float, ...] = Field(
        (0, 90, 180, 270), description="Rotations by right angles, in degrees."
    )
    free_rotation: bool = Field(True, description="Rotate by any angle in the plane.")
    scale: float = Field(0.2, ge=0, le=0.9, description="Scale up or down by up to this fraction.")
    elastic: float = Field(0.0, ge=0, le=1, description="Strength of a smooth random deformation.")
    intensity_jitter: float = Field(
        0.2, ge=0, le=1, description="Random change of brightness, contrast and gamma."
    )
    noise: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Standard deviation of added noise, in units of the normalized image.",
    )
    blur: float = Field(0.0, ge=0, le=5, description="Maximum blur in pixels.")


class Recipe(Record):
    """Choices about a training; whatever is left open is planned from the data.

    A backend adds its own fields. All limits stand here, so that plan and training refuse alike.
    """

    time_s: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        title="Time limit",
        description="Stop training after this time; model size and schedule are planned for it.",
    )
    normalization: Normalization | None = Field(
        None, title="Normalization", description="How intensities are scaled to a common range."
    )
    validation_share: float | None = Field(
        None,
        ge=0,
        le=0.9,
        title="Validation fraction",
        description="Fraction of the pairs used for validation, by group; by default that of the "
        "project.",
    )
    seed: int = Field(0, ge=0, description="Seed of all random numbers.")
    device: DeviceName = Field("auto", description="Device to train on.")
    tensorboard: bool = Field(
        False, title="TensorBoard log", description="Also write TensorBoard files."
    )
    save_every_s: float = Field(
        30.0,
        ge=0,
        allow_inf_nan=False,
        title="Autosave every (s)",
        description="Seconds between autosaves: the most that is lost if the process is killed.",
    )

    @property
    def processes(self) -> int:
        """How many processes train together."""
        return 1


class Decision(Record):
    """One value of a plan, with its reason."""

    name: str
    value: Any
    reason: str
    source: Literal["planned", "person"] = "planned"

    @field_validator("value")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        """As JSON keeps it, so that a plan that was saved and read is the same."""
        return jsonable(value)


class Plan(Record):
    """The recipe made concrete: everything that a training does, and why.

    A backend adds the concrete model and its own settings.
    """

    backend: str = DEFAULT_BACKEND
    task: Task
    # As its own class and not as `Record`, which has no fields: they would be lost when it is
    # saved.
    network: SerializeAsAny[Record] = Field(
        description="The concrete model, without the task: what weights are compared by."
    )
    normalization: Normalization
    time_s: float | None = None
    estimated_s: float | None = Field(
        None, description="Estimated duration of the training; None if it is not known."
    )
    # By axis, of the training images; empty where their files do not tell.
    pixel_size_um: dict[str, float] = Field(default_factory=dict)
    seed: int = 0
    device: DeviceName = "auto"
    tensorboard: bool = False
    decisions: tuple[Decision, ...] = ()


def _as_its_backend_reads_it(values: Any) -> Any:
    """A plan as the class that its backend gives it; plans of version 2 name no backend."""
    if not isinstance(values, Mapping):
        return values
    # Pydantic by itself would make a bare `Plan` of it and refuse the fields that the backend adds.
    return backend(str(values.get("backend", DEFAULT_BACKEND))).Plan.model_validate(values)


AnyPlan = Annotated[SerializeAsAny[Plan], BeforeValidator(_as_its_backend_reads_it)]
"""A plan of any backend, as a field of a record."""


@dataclass(frozen=True)
class Start:
    """Weights that a training starts from."""

    name: str
    """What to call them in messages."""
    path: Path
    backend: str
    network: Mapping[str, Any]
    """The model they were made for, as `Plan.network` dumps it."""
    task: Task | None = None
    """What they were trained to find; None where nobody knows."""


@dataclass(frozen=True)
class Example:
    """An accepted pair as a training sees it; both images may be lazy."""

    pair_id: str
    image: Image
    labels: Image
    known: NDArray[np.bool_] | None = None
    """Where the labels are annotated, of their shape; elsewhere they are 0 without a meaning, and
    nothing may be learned from them. None: everywhere."""


@dataclass(frozen=True)
class TrainingContext:
    """Where a training runs, what it starts from, and whom it tells."""

    folder: Path
    """Of the run: saved states, the best weights and previews go here."""
    start: Start | None = None
    header: Mapping[str, Any] = field(default_factory=dict)
    """Facts to store in the checkpoint: lineage, pairs, versions."""
    report: Report = silent
    # Asked between steps and not told at any time: no step is cut short.
    is_cancelled: Callable[[], bool] = lambda: False
    save_every_s: float = 30.0


@dataclass(frozen=True)
class Trained:
    """What a training leaves: the best weights, and how it went."""

    weights: Path
    plan: Plan
    """As given, with what was found after the training."""
    metrics: dict[str, float]
    epochs: int
    best_epoch: int
    patches: int
    elapsed_s: float
    stopped: str
    """Why it ended: ``epochs``, ``time``, ``patience``, ``cancelled`` or ``not finite``."""


class SummaryRow(Record):
    """One fact of a model."""

    label: str
    value: str
    note: str = ""


class Summary(Record):
    """A model in words and numbers, as the window and the command line show it."""

    title: str = Field(description="In a few words, such as 'U-Net 2D, depth 4'.")
    words: str = Field(description="In one sentence without its full stop.")
    rows: tuple[SummaryRow, ...] = ()
    parameters: int = 0
    weights_bytes: int = Field(0, description="Of a file of these weights.")
    step_bytes: int = Field(0, description="Memory at the peak of one training step.")
    facts: dict[str, Any] = Field(
        default_factory=dict, description="Counts that the checkpoint's record keeps."
    )


class Outline(NamedTuple):
    """What the record of a trained model tells at a glance."""

    title: str = ""
    """In a few words, such as ``U-Net 2D, depth 4, 32 base channels``."""
    channels: int | None = None
    """Of the images that it takes; None: any."""
    dimensions: int | None = None
    """Spatial dimensions that it takes at a time; None: any."""


class Mismatch(NamedTuple):
    """One property in which weights differ from what is needed."""

    name: str
    wanted: Any
    found: Any

    def __str__(self) -> str:
        return f"{self.name} is {self.found} instead of {self.wanted}"


# Inside `Backend` the bare names are its own properties.
_Architecture: TypeAlias = Architecture
_Recipe: TypeAlias = Recipe
_Plan: TypeAlias = Plan


class Backend(Protocol):
    """A family of models: plans, trains, loads, describes. Knows nothing of projects.

    Registered as a plug-in of the kind ``backends``. Importing it must not load a learning library:
    its methods do that when they are called.
    """

    @property
    def name(self) -> str:
        """As records and commands name it."""

    @property
    def title(self) -> str:
        """As people name it."""

    @property
    def checkpoint_prefix(self) -> str:
        """How the names of its checkpoints begin, such as ``unet_run``."""

    @property
    def Architecture(self) -> type[_Architecture]:
        """Its choices about the model."""

    @property
    def Recipe(self) -> type[_Recipe]:
        """Its choices about a training."""

    @property
    def Network(self) -> type[Record]:
        """Its concrete models, without the task."""

    @property
    def Plan(self) -> type[_Plan]:
        """Its plans."""

    def plan(
        self,
        task: Task,
        choices: Any,
        recipe: Any,
        fingerprint: Fingerprint,
        *,
        start: Start | None = None,
        machine: Machine | None = None,
    ) -> _Plan:
        """Decide everything about a training, each value with its reason.

        Parameters
        ----------
        task
            What is to be found.
        choices, recipe
            What a person chose: records of the types `Architecture` and `Recipe`.
        fingerprint
            What the data is like.
        start
            Weights that it starts from: they keep their model.
        machine
            Where it will run; looked up when left out.

        Raises
        ------
        UsageError
            If the data cannot be used with the choices made.
        IncompatibleWeights
            If the weights do not fit the task or the choices; each mismatch is named.
        """

    def train(
        self,
        plan: Any,
        training: Sequence[Example],
        validation: Sequence[Example],
        context: TrainingContext,
    ) -> Trained | None:
        """Train by a plan, or resume the training whose state lies in the context's folder.

        Returns
        -------
        Trained | None
            None in helper processes of a training on several devices.

        Raises
        ------
        TrainingFailed, Cancelled
            If it ended before any weights were kept.
        """

    def load(self, path: Path, *, device: DeviceName = "auto") -> Segmenter:
        """A checkpoint in memory, ready to predict.

        Raises
        ------
        IncompatibleWeights, UnsafeFile
            If the file is damaged, not one of this backend, or would have to run code.
        """

    def describe(self, task: Task, choices: Any, plan: Any | None = None) -> Summary:
        """A model in words and numbers: the planned one, or as far as the choices tell."""

    def outline(self, network: Mapping[str, Any]) -> Outline:
        """What a trained model is, quickly; empty where its record does not say."""

    def compare(self, task: Task, choices: Any, start: Start) -> list[Mismatch]:
        """What keeps weights from serving this task with these choices; empty when nothing does."""

    def adopt(self, path: Path, task: Task, choices: Any, known: Mapping[str, Any]) -> Record:
        """The model that weights from elsewhere were made for.

        Parameters
        ----------
        path
            The file; it is never unpickled.
        task, choices
            Of the project: they decide what neither the file nor the person tells.
        known
            What a person says about the model.

        Raises
        ------
        UsageError, IncompatibleWeights, UnsafeFile
            If the file does not tell, or its weights do not fill the model to the last one.
        """


def backend(name: str) -> Backend:
    """The backend of this name, imported on first use.

    Raises
    ------
    NotFound, BrokenPlugin
        If there is none, or it cannot be imported.
    """
    # Through the registry and not by an import: whoever only draws a form must not load torch.
    found: Backend = plugins.get("backends", name)
    return found


def outline_of(name: str, network: Mapping[str, Any]) -> Outline:
    """What a trained model is; only its backend's name where that is not installed here."""
    try:
        # A project whose backend is a plug-in that is not installed here is still listed and shown.
        return backend(name).outline(network)
    except MaskloopError:
        return Outline(name)


def kinds(name: str) -> tuple[type[Architecture], type[Recipe]]:
    """The choices that a backend takes; the common ones where it is not installed here."""
    try:
        found = backend(name)
    except MaskloopError:
        return Architecture, Recipe
    return found.Architecture, found.Recipe


def checked_choices(kind: type[AnyRecord], values: Mapping[str, Any]) -> AnyRecord:
    """Choices of a person as a record, refused in words.

    Raises
    ------
    UsageError
        If there is no such choice, or its value does not fit.
    """
    # Before pydantic, which would tell all faults at once and name none of the settings there are.
    unknown = sorted(set(values) - set(kind.model_fields))
    if unknown:
        raise UsageError(
            f"There is no setting '{unknown[0]}'.",
            f"Use one of: {', '.join(kind.model_fields)}.",
        )
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        # Without the cause: pydantic's report, with its web address, is for programmers.
        raise UsageError(fault_in_words(error, kind=kind), "Choose another value.") from None
