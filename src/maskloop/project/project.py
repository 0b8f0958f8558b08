"""The Training Project Folder: create, open, ask, and write under one lock."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from maskloop.errors import MaskloopError, ProjectError, UsageError
from maskloop.project import layout, upgrade
from maskloop.project.checkpoints import CheckpointList
from maskloop.project.dataset import Dataset
from maskloop.project.folder import Folder
from maskloop.project.history import History
from maskloop.project.layout import ArchitectureConfig, OutputMode, ProjectConfig, Sam3Config
from maskloop.project.predictions import PredictionList
from maskloop.project.settings import Settings, installed_version
from maskloop.project.status import Status, status_of
from maskloop.project.weights import Weights
from maskloop.records import jsonable, write_errors

__all__ = ["ProjectFolder", "refuse_occupied"]


class ProjectFolder(Folder):
    """A project on disk. Reading never changes the folder and never waits; writing takes the one lock.

    Use `create` and `open`. Several of these, in several processes, may look at one folder: each
    reads a record anew when another one has written it.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._is_legacy = False
        self._legacy_warnings: tuple[str, ...] = ()

    @classmethod
    def create(
        cls,
        folder: str | Path,
        *,
        mode: OutputMode = "binary",
        classes: Sequence[str] | None = None,
        name: str | None = None,
        architecture: Mapping[str, Any] | None = None,
    ) -> Self:
        """Make a new, empty project.

        Parameters
        ----------
        folder
            A folder that does not exist yet, or is empty.
        mode
            binary, multiclass or instances.
        classes
            Names of the classes without the background; one for binary and instances.
        name
            What to call the project; by default the folder's name.
        architecture
            Values of the network's description that differ from the default.

        Raises
        ------
        ProjectError
            If there is a project already, the folder holds other things, or it cannot be written.
        UsageError
            If mode and classes do not fit each other.
        """
        path = Path(folder).expanduser().absolute()
        description = {
            **layout.default_architecture(mode, _class_names(mode, classes)),
            **(architecture or {}),
        }
        refuse_occupied(path)
        with write_errors(path):
            for part in layout.folders():
                (path / part).mkdir(parents=True, exist_ok=True)
        project = cls(path)
        stamp = layout.now()
        config = ProjectConfig(
            project_name=name or path.name,
            created_at=stamp,
            last_opened_at=stamp,
            plugin_version=installed_version(),
            binary_or_multiclass=mode,
            input_channels=int(description.get("input_channels", 1)),
        )
        with project.lock("create the project"):
            # The network first: whatever else is missing after a kill, the masks' meaning is known.
            project.record(layout.ARCHITECTURE, ArchitectureConfig).write(
                ArchitectureConfig.model_validate(jsonable(description))
            )
            project.history.write_benchmarks([])
            written = (layout.CONFIG, layout.ARCHITECTURE)
            # What makes a folder a project comes last: until then it can be created again.
            for missing in [one for one in reversed(layout.records()) if one not in written]:
                project.record(missing, layout.records()[missing]).write(
                    layout.empty_record(missing)
                )
            project.record(layout.CONFIG, ProjectConfig).write(config)
        return project

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Open a project to read; it is locked only while something is written. Nothing in the folder is changed.

        A broken record does not stop the rest from being read: `status` names it, and asking for
        what it holds raises. Folders of napari-training-assistant are read as they are, and
        upgraded when something is written first.

        Raises
        ------
        ProjectError
            If there is no project in this folder.
        """
        path = Path(folder).expanduser().absolute()
        if not path.is_dir():
            raise ProjectError(
                f"There is no folder '{path}'.",
                f"Check the spelling, or make a new project there (maskloop new '{path}').",
            )
        if not layout.is_project(path):
            raise ProjectError(
                f"'{path}' holds no project.",
                f"Choose the folder with {layout.CONFIG} in it, or make a new project (maskloop new DIR).",
            )
        project = cls(path)
        project._look_for_legacy()
        return project

    def _look_for_legacy(self) -> None:
        if upgrade.is_legacy(self.folder):
            converted = upgrade.convert(self.folder)
            self._is_legacy, self._legacy_warnings = True, converted.warnings
            for path, record in converted.records.items():
                self.record(path, type(record)).stand_in(record)

    def close(self) -> None:
        """Forget what was read; there is nothing to save, and the project can be used again."""
        self.forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.folder)!r})"

    @cached_property
    def settings(self) -> Settings:
        """The settings, read and changed."""
        return Settings(self)

    @cached_property
    def dataset(self) -> Dataset:
        """The accepted pairs."""
        return Dataset(self, lambda: self.architecture)

    @cached_property
    def checkpoints(self) -> CheckpointList:
        """The finished trainings."""
        return CheckpointList(self, self.settings, self.dataset, self.history)

    @cached_property
    def weights(self) -> Weights:
        """Weights that were brought in, and where the next training begins."""
        return Weights(self, self.checkpoints)

    @cached_property
    def predictions(self) -> PredictionList:
        """Predicted images."""
        return PredictionList(self, self.checkpoints)

    @cached_property
    def history(self) -> History:
        """Runs, benchmarks and the log."""
        return History(self)

    def _settle(self) -> None:
        """Before the first change: bring an older folder up to date, and finish what a killed writer began."""
        if self._is_legacy:
            # Another process may have upgraded it since it was opened.
            if upgrade.is_legacy(self.folder):
                upgrade.upgrade_in_place(self.folder)
            for record in self._records.values():
                record.stand_in(None)
            self._is_legacy = False
        with contextlib.suppress(ProjectError):
            if not self.checkpoints.is_followed():
                self.checkpoints.follow()

    @property
    def config(self) -> ProjectConfig:
        """The settings.

        Raises
        ------
        RecordError
            If they cannot be read.
        """
        return self.settings.read()

    def update_config(self, **changes: Any) -> ProjectConfig:
        """Change some settings; the others stay as they are.

        Raises
        ------
        UsageError
            If there is no such setting or value.
        """
        return self.settings.update(**changes)

    @property
    def notes(self) -> str:
        """The person's notes on the project."""
        return self.config.notes

    def set_notes(self, text: str) -> None:
        """Write the notes anew."""
        self.update_config(notes=text)

    @property
    def architecture(self) -> dict[str, Any]:
        """The network's description.

        Raises
        ------
        RecordError
            If it cannot be read.
        """
        return (
            self.record(layout.ARCHITECTURE, ArchitectureConfig)
            .read()
            .model_dump(exclude={"version"})
        )

    def set_architecture(self, architecture: Mapping[str, Any]) -> None:
        """Write the network's description anew; checkpoints keep the one they were trained with.

        Raises
        ------
        UsageError
            If pairs were accepted and the output mode or the classes would no longer fit their
            masks. A class more does: it comes last, and the masks of before hold none of it.
        """
        with self.writing("change the architecture"):
            values = {
                name: value
                for name, value in jsonable(dict(architecture)).items()
                if name != "version"
            }
            self._refuse_other_masks(values)
            self.record(layout.ARCHITECTURE, ArchitectureConfig).write(
                ArchitectureConfig.model_validate(values)
            )
            mirrored = {
                "binary_or_multiclass": values.get("output_mode"),
                "input_channels": values.get("input_channels"),
            }
            self.update_config(
                **{name: value for name, value in mirrored.items() if value is not None}
            )

    def _refuse_other_masks(self, architecture: Mapping[str, Any]) -> None:
        present = self.architecture
        is_extended = present.get("output_mode") == "multiclass" and architecture.get(
            "num_classes", 0
        ) > present.get("num_classes", 0)
        for name in ("output_mode", "num_classes"):
            count = len(self.dataset.pairs)
            if name == "num_classes" and is_extended:
                continue
            if count and architecture.get(name, present.get(name)) != present.get(name):
                raise UsageError(
                    f"{name} is {present.get(name)}, and the masks of {count} pairs were made for it, not for {architecture.get(name)}.",
                    "Make a new project for it and add the pairs there.",
                )

    @property
    def sam3(self) -> dict[str, Any]:
        """Settings of SAM3."""
        return self.record(layout.SAM3, Sam3Config).read().model_dump(exclude={"version"})

    def set_sam3(self, settings: Mapping[str, Any]) -> None:
        """Write the settings of SAM3 anew."""
        with self.writing("change the SAM3 settings"):
            self.record(layout.SAM3, Sam3Config).write(
                Sam3Config.model_validate(jsonable(dict(settings)))
            )

    @property
    def auto_configuration_decisions(self) -> tuple[dict[str, Any], ...]:
        """What was decided for the last plan, each value with its reason."""
        return self.config.auto_configuration_decisions

    def set_auto_configuration_decisions(self, decisions: Sequence[Mapping[str, Any]]) -> None:
        """Keep what was decided for a plan."""
        self.update_config(
            auto_configuration_decisions=tuple(jsonable(dict(decision)) for decision in decisions)
        )

    def status(self) -> Status:
        """How the project stands; broken records are named among the warnings and count as empty."""
        return status_of(self, self.warnings)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know: broken records with the way out, and what an older folder lacked."""
        found = list(self._legacy_warnings)
        for path, kind in layout.records().items():
            try:
                self.record(path, kind).read()
            except MaskloopError as error:
                found.append(str(error))
        return tuple(found)


def refuse_occupied(path: Path) -> None:
    """Refuse a folder in which no project can be made without mixing it up with what is there.

    Raises
    ------
    ProjectError
        If there is a file, a project or anything else; remains of a project that was never finished
        are none.
    """
    if path.exists() and not path.is_dir():
        raise ProjectError(f"'{path}' is a file.", "Choose a folder that does not exist yet.")
    if path.is_dir() and (path / layout.CONFIG).exists():
        raise ProjectError(
            f"'{path}' holds a project already.", "Open it, or choose another folder."
        )
    found = list(_foreign_names(path)) if path.is_dir() else []
    if found:
        more = " and more" if len(found) > 1 else ""
        raise ProjectError(
            f"'{path}' is not empty: it holds '{found[0]}'{more}.",
            "Choose a folder that does not exist yet, so that nothing of yours is mixed up.",
        )


def _foreign_names(path: Path) -> Iterator[str]:
    """Names in a folder that a `create` that was killed cannot have left behind."""
    own = {part.split("/")[0] for part in layout.folders()}
    # Records, copies of them beside, and unfinished writes of them, which begin with a dot.
    written = tuple(Path(file).name for file in (*layout.records(), layout.BENCHMARKS))
    for entry in sorted(path.iterdir()):
        is_lock = entry.name in (Path(layout.LOCK).name, Path(layout.HOLDER).name)
        if entry.is_dir() and entry.name in own:
            for file in sorted(entry.rglob("*")):
                if not file.is_dir() and not file.name.lstrip(".").startswith(written):
                    yield file.relative_to(path).as_posix()
        elif not is_lock and not entry.name.lstrip(".").startswith(written):
            yield entry.name


def _class_names(mode: OutputMode, classes: Sequence[str] | None) -> tuple[str, ...]:
    if mode not in ("binary", "multiclass", "instances"):
        raise UsageError(
            f"Output mode '{mode}' does not exist.", "Choose binary, multiclass or instances."
        )
    names = tuple(name.strip() for name in classes or ())
    if mode == "multiclass" and not names:
        raise UsageError(
            "A multiclass project needs the names of its classes.",
            "Name them without the background, such as --classes axon,myelin.",
        )
    if mode != "multiclass" and len(names) > 1:
        raise UsageError(
            f"A project of mode {mode} has one class besides the background, not {len(names)}.",
            "Use mode multiclass, or name one class.",
        )
    if len(set(names)) != len(names) or not all(names):
        raise UsageError(
            f"The class names {list(names)} are not all different and filled in.",
            "Give each class a name of its own.",
        )
    return ("background", *(names or ("foreground",)))
