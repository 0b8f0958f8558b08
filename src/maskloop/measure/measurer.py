"""The selected measurements, and the columns that they fill for one frame of objects."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from maskloop import plugins
from maskloop.errors import MaskloopError, UsageError
from maskloop.events import Event, Message, Report
from maskloop.measure.base import Column, Measurement, Scene
from maskloop.measure.frame import ObjectFrame
from maskloop.records import Record
from maskloop.wording import fault_in_words

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["IDENTITY", "Measurer", "Settings", "checked_values"]

Settings = Mapping[str, Record | Mapping[str, Any]]
"""Settings by the name of the measurement."""

IDENTITY = (
    Column(name="timepoint", description="Frame along T, counted from 0."),
    Column(name="plane", description="Plane along Z, counted from 0; 0 for volumes."),
    Column(
        name="object",
        unit="id",
        description="Label of the object; of classes, a running number per frame.",
    ),
    Column(name="class", description="Class of the object."),
)

_logger = logging.getLogger(__name__)


class _Chosen(NamedTuple):
    measurement: Measurement
    settings: Record
    columns: tuple[Column, ...]


class Measurer:
    """The chosen measurements with their settings, and hence the columns of a table.

    A measurement that fails leaves its own columns empty; `failures` says why.

    Parameters
    ----------
    scene
        What all images of the table have in common.
    measurements
        Names; every one that can be loaded by default.
    settings
        Settings by the name of the measurement, as its `Settings` or as a mapping of their fields.
    report
        Hears a warning when a measurement fails for the first time; by default it is logged.

    Raises
    ------
    NotFound
        If there is no measurement of a name.
    UsageError
        If settings do not fit, or two measurements have a column of the same name.
    """

    def __init__(
        self,
        scene: Scene,
        *,
        measurements: Sequence[str] | None = None,
        settings: Settings | None = None,
        report: Report | None = None,
    ) -> None:
        self.scene = scene
        self.failures: dict[str, str] = {}
        self._report = report or _log
        loaded = (
            dict(plugins.loadable("measurements"))
            if measurements is None
            else {name: plugins.get("measurements", name) for name in measurements}
        )
        given = dict(settings or {})
        if unused := sorted(given.keys() - loaded.keys()):
            raise UsageError(
                f"There are settings for '{unused[0]}', which is not measured.",
                f"The measurements are: {', '.join(loaded)}.",
            )
        self._chosen = {
            name: self._choose(name, measurement, given.get(name, {}))
            for name, measurement in loaded.items()
        }
        self._refuse_double_columns()

    @property
    def columns(self) -> tuple[Column, ...]:
        """All columns of the table, in order."""
        measured = (column for chosen in self._chosen.values() for column in chosen.columns)
        return (*IDENTITY, *measured)

    @property
    def settings(self) -> dict[str, Record]:
        """The settings of each measurement, defaults included."""
        return {name: chosen.settings for name, chosen in self._chosen.items()}

    def measure(
        self,
        frame: ObjectFrame,
        class_names: Sequence[str],
        *,
        timepoint: int = 0,
        plane: int = 0,
    ) -> pd.DataFrame:
        """The table of one frame.

        Parameters
        ----------
        frame
            The objects.
        class_names
            Name of the class of each object.
        timepoint, plane
            Where the frame lies.
        """
        import pandas as pd

        columns: dict[str, Any] = {
            "timepoint": np.full(frame.count, timepoint),
            "plane": np.full(frame.count, plane),
            "object": frame.ids,
            "class": list(class_names),
        }
        for name, chosen in self._chosen.items():
            columns |= self._values(name, chosen, frame)
        return pd.DataFrame(columns)

    def _choose(
        self, name: str, measurement: Measurement, given: Record | Mapping[str, Any]
    ) -> _Chosen:
        # All of this is code of the plug-in: it fails alone. Only settings that somebody chose are
        # that person's to correct.
        try:
            kind = measurement.Settings
            settings = given if isinstance(given, kind) else kind.model_validate(given)
            return _Chosen(measurement, settings, tuple(measurement.columns(settings, self.scene)))
        except ValidationError as error:
            if given:
                raise UsageError(
                    f"The settings of '{name}' do not fit. {fault_in_words(error)}",
                    f"Its settings are: {', '.join(kind.model_fields) or 'none'}.",
                ) from None
            self._fail(name, error)
        except Exception as error:
            self._fail(name, error)
        return _Chosen(measurement, Record(), ())

    def _values(self, name: str, chosen: _Chosen, frame: ObjectFrame) -> dict[str, NDArray[Any]]:
        names = [column.name for column in chosen.columns]
        # No measurement has to think of frames without objects.
        if not names or not frame.count:
            return dict.fromkeys(names, np.empty(0))
        try:
            found = chosen.measurement.measure(frame, chosen.settings)
            return checked_values(found, names, frame.count)
        except MemoryError:
            raise  # the fault of the image and not of the measurement
        except Exception as error:
            self._fail(name, error)
            return dict.fromkeys(names, np.full(frame.count, np.nan))

    def _fail(self, name: str, error: Exception) -> None:
        problem = (
            error.problem
            if isinstance(error, MaskloopError)
            else f"{type(error).__name__}: {error}"
        )
        if name not in self.failures:
            text = f"The measurement '{name}' failed, its columns are empty: {problem}"
            self._report(Message(level="warning", text=text))
        self.failures.setdefault(name, problem)

    def _refuse_double_columns(self) -> None:
        # A table with two columns of one name can be read by no program.
        owner = dict.fromkeys((column.name for column in IDENTITY), "every table")
        for name, chosen in self._chosen.items():
            for column in chosen.columns:
                other = owner.setdefault(column.name, name)
                if other != name:
                    raise UsageError(
                        f"'{other}' and '{name}' both have a column '{column.name}'.",
                        "Select one of the two, or rename the column of the plug-in.",
                    )


def _log(event: Event) -> None:
    if isinstance(event, Message):
        _logger.warning("%s", event.text)


def checked_values(
    found: Mapping[str, NDArray[Any]], names: Sequence[str], count: int
) -> dict[str, NDArray[Any]]:
    """What a measurement returned, in the order of its columns, if it is what it promised."""
    if set(found) != set(names):
        missing, extra = sorted(set(names) - set(found)), sorted(set(found) - set(names))
        raise UsageError(
            f"the returned columns differ from the declared ones (missing: "
            f"{', '.join(missing) or 'none'}; undeclared: {', '.join(extra) or 'none'}).",
            "Return one array for each declared column.",
        )
    values = {name: np.asarray(found[name]) for name in names}
    for name, column in values.items():
        if column.shape != (count,):
            raise UsageError(
                f"the column '{name}' has the shape {column.shape}; there are {count} objects.",
                "Return one value per object.",
            )
        if column.dtype.kind not in "biuf":
            raise UsageError(
                f"the column '{name}' holds {column.dtype}, not numbers.", "Return real numbers."
            )
    return values
