"""The Training Project Folder: create, open, ask, and write under one lock."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from maskloop.errors import MaskloopError, ProjectError, UsageError
from maskloop.project import layout, upgrade
from maskloop.project.checkpoints import CheckpointList
from maskloop.project.dataset import Dataset
from maskloop.project.folder import Folder
from maskloop.project.history import History
from maskloop.project.inventory import Collection, collection_of_record
from maskloop.project.journal import LOST, lost_in_words
from maskloop.project.kept import Kept
from maskloop.project.layout import ArchitectureConfig, ProjectConfig, Sam3Config
from maskloop.project.predictions import PredictionList
from maskloop.project.settings import Settings, installed_version
from maskloop.project.status import Status, status_of
from maskloop.project.tables import TableList
from maskloop.project.weights import Weights
from maskloop.records import Record, dump_record, jsonable, last_good, write_bytes, write_errors
from maskloop.task import OutputMode, Task
from maskloop.wording import counted

__all__ = ["ProjectFolder", "refuse_occupied"]

AnyEntry = TypeVar("AnyEntry", bound=Record)


class ProjectFolder(Folder):
    """A project on disk: reading never changes the folder nor waits; writing takes the one lock.

    Use `create` and `open`. Several of these, in several processes, may look at one folder: each
    reads a record anew when another one has written it.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._is_older = False
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
        channels: int | None = None,
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
            Choices about the model; what is left out is planned from the data.
        channels
            Channels of the images; by default those of the data.

        Raises
        ------
        ProjectError
            If there is a project already, the folder holds other things, or it cannot be written.
        UsageError
            If mode and classes do not fit each other.
        """
        path = Path(folder).expanduser().absolute()
        task = Task.named(mode, classes, channels=channels)
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
            task=task,
        )
        empty = [one for one in layout.records() if one not in (layout.CONFIG, layout.ARCHITECTURE)]
        # What makes a folder a project comes last: until then it can be created again.
        empty.sort(key=lambda one: one in (layout.CHECKPOINTS, layout.MANIFEST))
        with project.lock("create the project"):
            # The copy comes first: a repair after a kill must not guess what is to be found.
            write_bytes(last_good(project.path(layout.CONFIG)), dump_record(config))
            project.record(layout.ARCHITECTURE, ArchitectureConfig).write(
                _choices(architecture or {})
            )
            project.history.write_benchmarks([])
            for one in empty:
                project.record(one, layout.records()[one]).write(layout.empty_record(one))
            project.record(layout.CONFIG, ProjectConfig).write(config)
        return project

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Open a project; nothing in the folder is changed, and it is locked only during writes.

        A broken record does not stop the rest from being read: `status` names it, and asking for
        what it holds raises. Folders of version 2 and of napari-training-assistant are read as they
        are, and upgraded when something is written first.

        Raises
        ------
        ProjectError
            If there is no project in this folder.
        """
        path = Path(folder).expanduser().absolute()
        if not path.is_dir():
            raise ProjectError(
                f"There is no folder '{path}'.",
                f"Check the spelling, or create a project there (maskloop new '{path}').",
            )
        if not layout.is_project(path):
            raise ProjectError(
                f"'{path}' is not a project folder.",
                f"Choose the folder with {layout.CONFIG} in it, or create a project "
                "(maskloop new DIR).",
            )
        project = cls(path)
        # Not in the constructor: `create` makes one of these before there are records to look at.
        project._stand_in()
        return project

    def _stand_in(self) -> None:
        """Of an older folder, read what an upgrade would write."""
        if upgrade.is_older(self.folder):
            records, self._legacy_warnings = upgrade.stand_ins(self.folder)
            self._is_older = True
            for path, record in records.items():
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
        # Asked each time: the task may change while the window is open.
        return Dataset(self, lambda: self.task)

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
    def tables(self) -> TableList:
        """Tables of objects that were measured in predictions."""
        return TableList(self)

    @cached_property
    def history(self) -> History:
        """Runs, benchmarks and the log."""
        return History(self)

    def kept(self, collection: Collection[AnyEntry]) -> Kept[AnyEntry]:
        """Any collection that the project keeps, by its row of `COLLECTIONS`."""
        return Kept(self, collection)

    def _settle(self) -> None:
        """Before the first change: upgrade an older folder, complete what a killed writer began."""
        if self._is_older:
            # Another process may have upgraded it since it was opened.
            if upgrade.is_older(self.folder):
                upgrade.upgrade_in_place(self.folder)
            # The upgraded files are read from here on, no longer what stood in for them.
            for record in self._records.values():
                record.stand_in(None)
            self._is_older = False
        # Best effort: a damaged follower must not keep a person from writing; `check` reports it.
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
            If there is no such setting or value, or the accepted masks do not fit another task.
        """
        with self.writing("change settings"):
            if "task" in changes:
                # Under the lock: a pair that is accepted meanwhile would have the other task.
                self._refuse_other_masks(Task.model_validate(changes["task"]))
            return self.settings.update(**changes)

    @property
    def notes(self) -> str:
        """The person's notes on the project."""
        return self.config.notes

    def set_notes(self, text: str) -> None:
        """Write the notes anew."""
        self.update_config(notes=text)

    @property
    def task(self) -> Task:
        """What is to be found.

        Raises
        ------
        RecordError
            If the settings cannot be read.
        """
        return self.config.task

    def set_task(self, task: Task) -> None:
        """Change what is to be found; checkpoints keep the task that they were trained for.

        Raises
        ------
        UsageError
            If pairs were accepted and their masks would no longer fit the task. A class more does:
            it comes last, and the masks of before hold none of it.
        """
        self.update_config(task=task)

    def _refuse_other_masks(self, task: Task) -> None:
        present, count = self.task, len(self.dataset.pairs)
        if not count:
            return
        pairs = counted(count, "pair")
        if task.mode != present.mode:
            raise UsageError(
                f"The masks of {pairs} were made for mode {present.mode}, not for {task.mode}.",
                "Create a new project for it and add the pairs there.",
            )
        # A class more only adds a label; one less leaves labels without a class.
        if task.num_classes < present.num_classes:
            raise UsageError(
                f"The masks of {pairs} were made for {present.num_classes} classes, not for "
                f"{task.num_classes}.",
                "Create a new project for it and add the pairs there.",
            )

    @property
    def architecture(self) -> dict[str, Any]:
        """What a person chose about the model, and its backend; whatever is missing is planned.

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

    def set_architecture(self, choices: Mapping[str, Any]) -> None:
        """Write the choices about the model anew; checkpoints keep their own network.

        Parameters
        ----------
        choices
            Fields of the backend's architecture; None, or left out: planned from the data.
        """
        with self.writing("change the architecture"):
            self.record(layout.ARCHITECTURE, ArchitectureConfig).write(_choices(choices))

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
        """How the project stands; damaged records are named in the warnings and count as empty."""
        return status_of(self, self.warnings)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Damaged records with the way out, and what an older folder lacks."""
        # Each record by itself: a damaged one must not hide what the others lack.
        found = list(self._legacy_warnings)
        for path, kind in layout.records().items():
            file = self.record(path, kind)
            try:
                file.read()
                lost = file.lost()
            except MaskloopError as error:
                found.append(str(error))
                continue
            row = collection_of_record(path)
            if row is not None and lost:
                found.append(f"{lost_in_words(row, lost)}\n  -> {LOST}")
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
    # The settings are written last: without them a project was never finished.
    if path.is_dir() and (path / layout.CONFIG).exists():
        raise ProjectError(
            f"'{path}' already holds a project.", "Open it, or choose another folder."
        )
    found = list(_foreign_names(path)) if path.is_dir() else []
    if found:
        more = " and more" if len(found) > 1 else ""
        raise ProjectError(
            f"'{path}' is not empty: it holds '{found[0]}'{more}.",
            "Choose a new folder, so that your own files are not mixed with the project.",
        )


def _choices(values: Mapping[str, Any]) -> ArchitectureConfig:
    """Choices as the record keeps them: those that were made."""
    return ArchitectureConfig.model_validate(
        {
            name: value
            for name, value in jsonable(dict(values)).items()
            # None is "planned"; written down it would count as a choice of the person.
            if value is not None and name != "version"
        }
    )


def _foreign_names(path: Path) -> Iterator[str]:
    """Names in a folder that a `create` that was killed cannot have left behind."""
    # A killed create may be repeated, but must not swallow a folder of somebody's images.
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
