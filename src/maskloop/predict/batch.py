"""Many files, one after the other: what fails is told at the end, what is done stays done."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from maskloop.errors import Cancelled, ImageError, MaskloopError, RecordError, UsageError
from maskloop.events import Message, Progress, Report, silent
from maskloop.images.tiles import Tiling
from maskloop.predict.base import Segmenter
from maskloop.predict.segment import segment
from maskloop.records import Record, read_record, write_record

__all__ = [
    "BatchReport",
    "FileOutcome",
    "PredictionSettings",
    "Provenance",
    "name_outputs",
    "predict_files",
    "read_provenance",
]

ENDING = "_labels.tif"
SCORES_ENDING = "_probabilities.tif"


class PredictionSettings(Record):
    """Everything besides pixels and weights that the labels depend on."""

    axes: str | None = Field(
        None, description="Axes as named by a person; open: those of the file."
    )
    tiling: Tiling = Field(default_factory=Tiling)
    mirror: bool = Field(False, description="Whether mirror images were averaged.")
    output: dict[str, Any] = Field(
        description="How scores became labels: the fields of the model's output."
    )


class Provenance(Record):
    """What a file of labels was made of; lies beside it as ``<name>.json`` and in the TIFF's description."""

    version: int = 1
    source: str = Field(description="Name of the image's file.")
    source_sha256: str
    model_id: str = Field(description="Which weights; empty when the caller did not say.")
    settings: PredictionSettings
    labels_sha256: str = Field(
        "",
        description="Of the file of labels; another hash means that somebody has changed it since.",
    )


class FileOutcome(Record):
    """What became of one file."""

    source: str
    output: str | None = Field(None, description="The file of labels, where there is one.")
    status: Literal["done", "already there", "failed"]
    problem: str = ""
    way_out: str = ""
    seconds: float = 0.0


class BatchReport(Record):
    """What became of all files."""

    files: tuple[FileOutcome, ...]

    @property
    def failed(self) -> tuple[FileOutcome, ...]:
        """The files without labels."""
        return tuple(file for file in self.files if file.status == "failed")

    def __str__(self) -> str:
        counts = Counter(file.status for file in self.files)
        lines = [
            f"{counts['done']} predicted, {counts['already there']} already there, {counts['failed']} failed."
        ]
        lines += [f"{file.source}: {file.problem}\n  -> {file.way_out}" for file in self.failed]
        return "\n".join(lines)


def predict_files(
    paths: Sequence[str | Path],
    segmenter: Segmenter,
    *,
    out: Path | str | Callable[[Path], Path],
    model_id: str = "",
    axes: str | None = None,
    tiling: Tiling | None = None,
    mirror: bool = False,
    probabilities: bool = False,
    overwrite: bool = False,
    report: Report = silent,
    is_cancelled: Callable[[], bool] = lambda: False,
    scratch: Path | None = None,
) -> BatchReport:
    """Segment files one at a time and write ``<stem>_labels.tif`` for each, whole or not at all.

    A second call takes up where the first was stopped: labels made from the same pixels by the same
    model with the same settings are not made again. Labels of another model or other settings are
    replaced, unless somebody has changed them since.

    Parameters
    ----------
    paths
        Files, folders and patterns. Labels that this function wrote are not taken as input.
    segmenter
        The model.
    out
        Folder for the labels, or what names the labels' file of each input.
    model_id
        Names the weights, so that labels can be traced and need not be made twice.
    axes
        Axes of the files, where they do not say themselves.
    tiling, mirror, scratch
        As in `segment`.
    probabilities
        Also write the scores, as ``<stem>_probabilities.tif`` (float32).
    overwrite
        Also replace files that this function did not write, or that somebody has changed since.
    report
        Hears `Progress` in tiles for each file and in images for all, and a warning for each
        failure.
    is_cancelled
        Asked before each batch of tiles.

    Returns
    -------
    report
        One outcome per file. A file that cannot be read, does not fit the model or cannot be
        written counts as failed; the rest is done.

    Raises
    ------
    UsageError
        If there is no image among the paths, or two would be written to one file.
    Cancelled
        If `is_cancelled` said so; what was finished stays.
    """
    sources, outcomes = _find(paths)
    if not sources and not outcomes:
        raise UsageError(
            f"There is no image to predict in {', '.join(map(str, paths)) or 'nothing'}.",
            "Name image files or folders of them.",
        )
    targets = (
        {source: out(source) for source in sources}
        if callable(out)
        else name_outputs(sources, Path(out))
    )
    _refuse_collisions(targets)
    _warn(outcomes, report)
    settings = PredictionSettings(
        axes=axes,
        tiling=tiling or Tiling(),
        mirror=mirror,
        output=segmenter.output.model_dump(mode="json"),
    )
    for count, (source, target) in enumerate(targets.items(), 1):
        job = _File(source, target, settings, model_id, overwrite, probabilities)
        outcomes.append(
            job.outcome(segmenter, report=report, is_cancelled=is_cancelled, scratch=scratch)
        )
        _warn(outcomes[-1:], report)
        report(Progress(stage="images", done=count, total=len(targets), unit="images"))
    return BatchReport(files=tuple(outcomes))


def _find(paths: Sequence[str | Path]) -> tuple[list[Path], list[FileOutcome]]:
    """The images meant, and a failure for each path that leads to none."""
    from maskloop.images.sources import find_files

    found: dict[Path, None] = {}
    failed = []
    for path in paths:
        try:
            found |= dict.fromkeys(each for each in find_files([path]) if not _is_result(each))
        except ImageError as error:
            failed.append(
                FileOutcome(
                    source=str(path), status="failed", problem=error.problem, way_out=error.way_out
                )
            )
    return list(found), failed


def _warn(outcomes: Sequence[FileOutcome], report: Report) -> None:
    for outcome in outcomes:
        if outcome.status == "failed":
            report(Message(level="warning", text=f"{outcome.source}: {outcome.problem}"))


class _File:
    """One image, and the labels to make of it."""

    def __init__(
        self,
        source: Path,
        target: Path,
        settings: PredictionSettings,
        model_id: str,
        overwrite: bool,
        probabilities: bool,
    ) -> None:
        self.source, self.target, self.settings = source, target, settings
        self.model_id, self.overwrite, self.probabilities = model_id, overwrite, probabilities

    def outcome(self, segmenter: Segmenter, **options: Any) -> FileOutcome:
        """Make the labels, and never raise for what is this file's fault."""
        begin = time.monotonic()
        names = {"source": str(self.source), "output": str(self.target)}
        try:
            made = self._make(segmenter, **options)
        except Cancelled:
            raise
        except MaskloopError as error:
            return FileOutcome(
                source=str(self.source),
                status="failed",
                problem=error.problem,
                way_out=error.way_out,
            )
        except (OSError, MemoryError) as error:
            reason = f"{getattr(error, 'strerror', None) or error or 'not enough memory'}"
            return FileOutcome(
                source=str(self.source),
                status="failed",
                problem=reason,
                way_out="Check the file, the disk and the memory.",
            )
        return FileOutcome(
            **names, status="done" if made else "already there", seconds=time.monotonic() - begin
        )

    def _make(self, segmenter: Segmenter, **options: Any) -> bool:
        from maskloop.images.readers import open_image
        from maskloop.images.writers import write_image, write_labels

        digest = _sha256(self.source)
        wanted = Provenance(
            source=self.source.name,
            source_sha256=digest,
            model_id=self.model_id,
            settings=self.settings,
        )
        if self._is_there(wanted):
            return False
        image = open_image(self.source, axes=self.settings.axes)
        result = segment(
            image,
            segmenter,
            tiling=self.settings.tiling,
            mirror=self.settings.mirror,
            probabilities=self.probabilities,
            **options,
        )
        note = _note(self.target)
        self.target.parent.mkdir(parents=True, exist_ok=True)
        # Without a note the labels are nobody's; so a kill between the next two writes leaves none
        # that tells a lie.
        note.unlink(missing_ok=True)
        facts = wanted.model_dump(mode="json", exclude={"labels_sha256"})
        if result.probabilities is not None:
            write_image(_probabilities_path(self.target), result.probabilities, description=facts)
        labels = result.labels
        write_labels(
            self.target,
            labels.data,
            axes=labels.axes,
            pixel_size_um=labels.pixel_size_um,
            description=facts,
        )
        write_record(note, wanted.model_copy(update={"labels_sha256": _sha256(self.target)}))
        return True

    def _is_there(self, wanted: Provenance) -> bool:
        """Whether these very labels are there; refuses to replace what somebody else has made or changed."""
        if self.overwrite or not self.target.exists():
            return False
        found = read_provenance(self.target)
        is_ours = (
            found.labels_sha256 == _sha256(self.target) if found else _is_described(self.target)
        )
        if not is_ours:
            why = (
                "was changed after it was predicted" if found else "was not written by a prediction"
            )
            raise ImageError(
                f"'{self.target}' is there already and {why}.",
                "Choose another folder for the labels, or allow overwriting.",
            )
        is_same = (
            found is not None
            and bool(self.model_id)
            and found.model_copy(update={"labels_sha256": ""}) == wanted
        )
        return is_same and (not self.probabilities or _probabilities_path(self.target).exists())


def read_provenance(labels: Path) -> Provenance | None:
    """What a file of labels was made of, or None when nothing (readable) says so."""
    try:
        return read_record(_note(labels), Provenance)
    except RecordError:
        return None


def _note(labels: Path) -> Path:
    return labels.with_name(labels.name + ".json")


def _probabilities_path(labels: Path) -> Path:
    return labels.with_name(labels.name.removesuffix(ENDING).removesuffix(".tif") + SCORES_ENDING)


def _is_result(path: Path) -> bool:
    """Whether a prediction wrote this file."""
    labels = path.with_name(path.name.replace(SCORES_ENDING, ENDING))
    return _note(labels).exists() or (
        path.name.endswith((ENDING, SCORES_ENDING)) and _is_described(path)
    )


def _is_described(labels: Path) -> bool:
    """Whether a TIFF tells in itself what it was predicted from; its note is missing when a kill came before it."""
    import tifffile

    try:
        with tifffile.TiffFile(labels) as file:
            return "source_sha256" in file.pages.first.description
    except (OSError, ValueError):  # TiffFileError is a ValueError
        return False


def name_outputs(sources: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """A file of labels in `folder` for each source: by its stem, and where stems meet by more of its name."""
    levels = dict.fromkeys(sources, 0)
    while True:
        names = {source: _names(source)[level] for source, level in levels.items()}
        counts = Counter(name.casefold() for name in names.values())
        meeting = [
            source
            for source, name in names.items()
            if counts[name.casefold()] > 1 and levels[source] < len(_names(source)) - 1
        ]
        if not meeting:
            return {source: folder / (name + ENDING) for source, name in names.items()}
        for source in meeting:
            levels[source] += 1


def _names(source: Path) -> list[str]:
    from maskloop.images.sources import stem_of

    stem = stem_of(source)
    whole = source.name.replace(".", "_")
    place = hashlib.sha256(str(source.absolute()).encode()).hexdigest()[:8]
    return [stem, whole, f"{source.absolute().parent.name}_{whole}", f"{whole}_{place}"]


def _refuse_collisions(targets: Mapping[Path, Path]) -> None:
    seen: dict[str, Path] = {}
    for source, target in targets.items():
        first = seen.setdefault(str(target.absolute()).casefold(), source)
        if first != source:
            raise UsageError(
                f"'{first}' and '{source}' would both be written to '{target}'.",
                "Give each input an output of its own.",
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
