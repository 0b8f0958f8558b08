"""Many images, one after the other: failures are reported at the end, what is done stays done."""

from __future__ import annotations

import hashlib
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from maskloop.errors import Cancelled, ImageError, MaskloopError, RecordError, UsageError
from maskloop.events import Message, Progress, Report, silent
from maskloop.images.formats import create_file, find_format
from maskloop.images.formats.base import LabelSink
from maskloop.images.formats.files import hash_file
from maskloop.images.image import Image
from maskloop.images.refs import ImageRef
from maskloop.images.tiles import Tiling
from maskloop.predict.base import Segmenter
from maskloop.predict.pixel_size import scale_warning
from maskloop.predict.segment import label_spec, score_spec, segment_into
from maskloop.records import Record, read_record, replace_record

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
    """What a file of labels was made from; kept beside it as ``<name>.json`` and in the TIFF."""

    version: int = 1
    source: str = Field(description="Name of the image's file, and of the image in it.")
    source_sha256: str = Field(description="What the pixels are: the format's identity of them.")
    model_id: str = Field(description="Which weights; empty when the caller did not say.")
    settings: PredictionSettings
    labels_sha256: str = Field(
        "",
        description="Of the file of labels; another hash means that somebody has changed it since.",
    )


class FileOutcome(Record):
    """What became of one image."""

    source: str
    output: str | None = Field(None, description="The file of labels, where there is one.")
    status: Literal["done", "already there", "failed"]
    problem: str = ""
    way_out: str = ""
    seconds: float = 0.0


class BatchReport(Record):
    """What became of all images."""

    files: tuple[FileOutcome, ...]

    @property
    def failed(self) -> tuple[FileOutcome, ...]:
        """The files without labels."""
        return tuple(file for file in self.files if file.status == "failed")

    def __str__(self) -> str:
        counts = Counter(file.status for file in self.files)
        lines = [
            f"{counts['done']} predicted, {counts['already there']} already there, "
            f"{counts['failed']} failed."
        ]
        lines += [f"{file.source}: {file.problem}\n  -> {file.way_out}" for file in self.failed]
        return "\n".join(lines)


def predict_files(
    images: Sequence[str | Path | ImageRef],
    segmenter: Segmenter,
    *,
    out: Path | str | Callable[[ImageRef], Path],
    model_id: str = "",
    trained_um: Mapping[str, float] | None = None,
    axes: str | None = None,
    tiling: Tiling | None = None,
    mirror: bool = False,
    probabilities: bool = False,
    overwrite: bool = False,
    report: Report = silent,
    is_cancelled: Callable[[], bool] = lambda: False,
    scratch: Path | None = None,
) -> BatchReport:
    """Segment images one at a time and write ``<stem>_labels.tif`` for each, whole or not at all.

    A second call resumes where the first was stopped, also within a large image: labels made from
    the same pixels by the same model with the same settings are not made again. Labels of another
    model or other settings are replaced, unless somebody has changed them since.

    Parameters
    ----------
    images
        Files, single images in them (``scan.tif::2``), folders and patterns. Labels that this
        function wrote are not taken as input.
    segmenter
        The model.
    out
        Folder for the labels, or what names the file of labels for each image.
    model_id
        Names the weights, so that labels can be traced and need not be made twice.
    trained_um
        Pixel size of the training images per axis, where known: images of another scale are
        predicted with a warning.
    axes
        Axes of the images, where their files do not say.
    tiling, mirror, scratch
        As in `segment`.
    probabilities
        Also write the scores, as ``<stem>_probabilities.tif`` (float32).
    overwrite
        Also replace files that this function did not write, or that somebody has changed since.
    report
        Hears `Progress` in tiles for each image and in images for all, and a warning for each
        failure.
    is_cancelled
        Asked before each batch of tiles.

    Returns
    -------
    report
        One outcome per image. An image that cannot be read, does not fit the model or whose
        labels cannot be written counts as failed; the rest is done.

    Raises
    ------
    UsageError
        If no image is selected, or two would be written to one file.
    Cancelled
        If `is_cancelled` said so; what was finished stays.
    """
    sources, outcomes = _find(images, axes)
    if not sources and not outcomes:
        where = ", ".join(map(str, images))
        raise UsageError(
            f"No image to predict in {where}." if where else "No images selected.",
            "Name image files or folders of them.",
        )
    targets = _targets(sources, out)
    _refuse_collisions(targets)
    _warn(outcomes, report)
    settings = PredictionSettings(
        axes=axes,
        tiling=tiling or Tiling(),
        mirror=mirror,
        output=segmenter.output.model_dump(mode="json"),
    )
    said: set[str] = set()
    for count, (source, target) in enumerate(targets.items(), 1):
        job = _File(
            source, target, settings, model_id, trained_um or {}, overwrite, probabilities, said
        )
        outcomes.append(
            job.outcome(segmenter, report=report, is_cancelled=is_cancelled, scratch=scratch)
        )
        _warn(outcomes[-1:], report)
        report(Progress(stage="images", done=count, total=len(targets), unit="images"))
    return BatchReport(files=tuple(outcomes))


def _find(
    images: Sequence[str | Path | ImageRef], axes: str | None
) -> tuple[list[ImageRef], list[FileOutcome]]:
    """The images that were selected, and a failure for each input that leads to none."""
    from maskloop.images.sources import find_images

    found: dict[ImageRef, None] = {}
    failed = []
    for each in images:
        try:
            named = find_images([each], axes=axes)
            found |= dict.fromkeys(ref for ref in named if not _is_result(ref.path))
        except ImageError as error:
            failed.append(_failure(str(each), error.problem, error.way_out))
    return list(found), failed


def _targets(
    sources: Sequence[ImageRef], out: Path | str | Callable[[ImageRef], Path]
) -> dict[ImageRef, Path]:
    if callable(out):
        return {source: out(source) for source in sources}
    return name_outputs(sources, Path(out))


def _failure(source: str, problem: str, way_out: str) -> FileOutcome:
    return FileOutcome(source=source, status="failed", problem=problem, way_out=way_out)


def _warn(outcomes: Sequence[FileOutcome], report: Report) -> None:
    for outcome in outcomes:
        if outcome.status == "failed":
            # With the way out: where a person reads along, it is told this once.
            text = f"{outcome.source}: {outcome.problem} {outcome.way_out}"
            report(Message(level="warning", text=text))


class _File:
    """One image, and the labels to make of it."""

    def __init__(
        self,
        source: ImageRef,
        target: Path,
        settings: PredictionSettings,
        model_id: str,
        trained_um: Mapping[str, float],
        overwrite: bool,
        probabilities: bool,
        said: set[str],
    ) -> None:
        axes = source.axes or settings.axes
        self.source = ImageRef.of(source, axes=axes)
        self.name = str(source.model_copy(update={"axes": None}))
        self.settings = settings.model_copy(update={"axes": axes})
        self.target, self.model_id = target, model_id
        self.overwrite, self.probabilities = overwrite, probabilities
        self.trained_um, self.said = trained_um, said

    def outcome(self, segmenter: Segmenter, **options: Any) -> FileOutcome:
        """Make the labels, and never raise for what is this image's fault."""
        # Only what this image brings about: mistakes of the program itself stop the run.
        begin = time.monotonic()
        try:
            made = self._make(segmenter, **options)
        except Cancelled:
            raise
        except MaskloopError as error:
            return _failure(self.name, error.problem, error.way_out)
        except MemoryError:
            return _failure(
                self.name,
                f"Not enough memory to predict '{self.name}'.",
                "Close other programs, or predict on a machine with more memory.",
            )
        except OSError as error:
            return _failure(
                self.name, f"{error.strerror or error}", "Check the file and the free disk space."
            )
        return FileOutcome(
            source=self.name,
            output=str(self.target),
            status="done" if made else "already there",
            seconds=time.monotonic() - begin,
        )

    def _make(self, segmenter: Segmenter, **options: Any) -> bool:
        form = find_format(self.source)
        wanted = Provenance(
            source=self.source.name,
            source_sha256=form.identity(self.source),
            model_id=self.model_id,
            settings=self.settings,
        )
        if self._is_there(wanted):
            return False
        image = form.open(self.source)
        # Once for all images alike: a folder of pictures would say it a thousand times.
        for remark in [each for each in image.notes if each not in self.said]:
            self.said.add(remark)
            options["report"](Message(text=f"{self.name}: {remark}"))
        # Only now: where nothing is to be done, no folder appears.
        warning = scale_warning(image, self.trained_um, segmenter.spatial_dims)
        if warning is not None and warning not in self.said:
            self.said.add(warning)
            options["report"](Message(level="warning", text=f"{self.name}: {warning}"))
        self.target.parent.mkdir(parents=True, exist_ok=True)
        labels, scores = self._sinks(image, segmenter, wanted)
        # Scores first: labels that are there mean that all of it is done.
        sinks = [sink for sink in (scores, labels) if sink is not None]
        try:
            segment_into(
                image,
                segmenter,
                labels,
                scores=scores,
                tiling=self.settings.tiling,
                mirror=self.settings.mirror,
                **options,
            )
            # Without a note the labels are nobody's: a kill before the new one is written leaves
            # none that tells a lie.
            note = _note(self.target)
            note.unlink(missing_ok=True)
            for sink in sinks:
                sink.finish()
        except (MaskloopError, OSError, MemoryError) as error:
            # What was cancelled can be resumed; what failed would fail again, and fills the disk.
            for sink in sinks:
                if not isinstance(error, Cancelled):
                    sink.discard()
            raise
        finally:
            for sink in sinks:
                sink.close()
        # No copy is kept of what the labels say themselves.
        replace_record(note, wanted.model_copy(update={"labels_sha256": _hash(self.target)}))
        return True

    def _sinks(
        self, image: Image, segmenter: Segmenter, wanted: Provenance
    ) -> tuple[LabelSink, LabelSink | None]:
        # The hash of the labels cannot be within the labels.
        facts = wanted.model_dump(mode="json", exclude={"labels_sha256"})
        # Nobody can say whether labels of a nameless model may be continued.
        work = wanted.json_line if self.model_id else ""
        output = segmenter.output
        # How large class ids can be is known; numbers of objects take the type that holds them.
        dtype = output.label_dtype if output.margin_px == 0 else None
        labels = create_file(
            self.target, label_spec(image, dtype=dtype, description=facts, work=work)
        )
        if not self.probabilities:
            return labels, None
        spec = score_spec(image, output, description=facts, work=work)
        return labels, create_file(_probabilities_path(self.target), spec)

    def _is_there(self, wanted: Provenance) -> bool:
        """Whether these very labels are there; what somebody else made or changed is not replaced.

        Raises
        ------
        ImageError
            If somebody else has made or changed them.
        """
        # Hashes are compared only where there is something to compare.
        if self.overwrite or not self.target.exists():
            return False
        found = read_provenance(self.target)
        if found is None:
            is_ours, why = _is_described(self.target), "was not written by a prediction"
        else:
            is_ours = found.labels_sha256 == _hash(self.target)
            why = "was changed after it was predicted"
        if not is_ours:
            raise ImageError(
                f"'{self.target}' exists already and {why}.",
                "Select another folder for the labels, or allow overwriting.",
            )
        # A nameless model may be any model.
        is_same = (
            found is not None
            and bool(self.model_id)
            and found.model_copy(update={"labels_sha256": ""}) == wanted
        )
        return is_same and (not self.probabilities or _probabilities_path(self.target).exists())


def _hash(path: Path) -> str:
    """What a file of labels holds; of a folder, its format knows."""
    if path.is_file():
        return hash_file(path)
    ref = ImageRef.of(path)
    return find_format(ref).identity(ref)


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
    # Scores have no note of their own: that of their labels counts.
    labels = path.with_name(path.name.replace(SCORES_ENDING, ENDING))
    return _note(labels).exists() or (
        path.name.endswith((ENDING, SCORES_ENDING)) and _is_described(path)
    )


def _is_described(labels: Path) -> bool:
    """Whether a TIFF says itself what it was predicted from: a kill may come before its note."""
    import tifffile

    try:
        with tifffile.TiffFile(labels) as file:
            return "source_sha256" in file.pages.first.description
    except (OSError, ValueError):  # TiffFileError is a ValueError
        return False


def name_outputs(sources: Sequence[ImageRef], folder: Path) -> dict[ImageRef, Path]:
    """A file of labels in `folder` for each image, called by its stem, or more if stems meet."""
    levels = dict.fromkeys(sources, 0)
    while True:
        names = {source: _names(source)[level] for source, level in levels.items()}
        # Without case, as Windows and macOS compare names.
        counts = Counter(name.casefold() for name in names.values())
        # Only names that meet get longer: most results are called like their image.
        meeting = [
            source
            for source, name in names.items()
            if counts[name.casefold()] > 1 and levels[source] < len(_names(source)) - 1
        ]
        if not meeting:
            return {source: folder / (name + ENDING) for source, name in names.items()}
        for source in meeting:
            levels[source] += 1


def _names(source: ImageRef) -> list[str]:
    from maskloop.images.sources import stem_of

    path = source.path
    # Items of plates and containers may be paths in them: 'B/03/0' becomes B_03_0.
    item = re.sub(r"\W+", "_", source.item)
    level = f"level{source.level}" if source.level else ""
    part = "".join(f"_{each}" for each in (item, level) if each)
    whole = path.name.replace(".", "_") + part
    # The last resort: folders of one name in different places.
    place = hashlib.sha256(f"{path.absolute()}{source.item}".encode()).hexdigest()[:8]
    return [
        stem_of(path) + part,
        whole,
        f"{path.absolute().parent.name}_{whole}",
        f"{whole}_{place}",
    ]


def _refuse_collisions(targets: Mapping[ImageRef, Path]) -> None:
    # Without case, as Windows and macOS compare names.
    seen: dict[str, ImageRef] = {}
    for source, target in targets.items():
        first = seen.setdefault(str(target.absolute()).casefold(), source)
        if first != source:
            raise UsageError(
                f"'{first}' and '{source}' would both be written to '{target}'.",
                "Give each image an output of its own.",
            )
