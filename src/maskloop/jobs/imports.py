"""Imports from outside the project: pairs of files, and weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from maskloop.errors import UsageError
from maskloop.events import Report, silent
from maskloop.images.masks import MaskRule
from maskloop.images.sources import PairTable, match_pairs, read_pair_table
from maskloop.jobs.choices import backend_of, choices_of
from maskloop.project.imports import Imported, ImportReport
from maskloop.project.layout import ImportedModel
from maskloop.project.project import ProjectFolder
from maskloop.wording import counted

__all__ = ["add_pairs", "find_pairs", "import_weights", "remove_pairs"]


def find_pairs(
    images: Path | None,
    masks: Path | None,
    *,
    mask_suffix: str = "",
    table: Path | None = None,
    axes: str | None = None,
) -> PairTable:
    """The pairs in a CSV, in two folders, or in one folder with a suffix for its masks.

    `axes`, as a person named them, tell whether files of a multi-file OME-TIFF are images each.

    Raises
    ------
    UsageError
        If neither a table nor a folder is given, or both.
    MaskloopError
        If they cannot be read.
    """
    # A table names each pair; folders beside it would leave open which of them counts.
    if table is not None:
        if images is not None or masks is not None:
            raise UsageError(
                "Pairs were given as a table and as folders.",
                "Give either --pairs, or --images and --masks.",
            )
        return read_pair_table(table)
    if images is None:
        raise UsageError(
            "No images were given.",
            "Give two folders (--images DIR --masks DIR), or a table (--pairs TABLE.CSV).",
        )
    # One folder for both is told apart by the suffix of the masks.
    folder = images if masks is None else masks
    return match_pairs(images, folder, mask_suffix=mask_suffix, axes=axes)


def add_pairs(
    project: ProjectFolder,
    images: Path | None,
    masks: Path | None,
    *,
    mask_suffix: str = "",
    table: Path | None = None,
    axes: str | None = None,
    group_by: str | None = None,
    replace: str | None = None,
    dry_run: bool = False,
    rule: MaskRule | None = None,
    allow_empty: bool = False,
    pixel_size_um: Mapping[str, float] | None = None,
    report: Report = silent,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> ImportReport:
    """Accept the pairs that `find_pairs` finds, or replace the mask or image of one pair.

    The parameters are those of `find_pairs` and of `maskloop.project.imports.import_pairs`;
    `replace` is the pair to correct.

    Raises
    ------
    UsageError
        If the choices contradict each other.
    MaskloopError
        If the inputs cannot be found, or the replacement is refused.
    """
    if replace is None:
        found = find_pairs(images, masks, mask_suffix=mask_suffix, table=table, axes=axes)
        return project.dataset.import_pairs(
            found,
            dry_run=dry_run,
            axes=axes,
            rule=rule,
            group_by=group_by,
            allow_empty=allow_empty,
            pixel_size_um=pixel_size_um,
            report=report,
            is_cancelled=is_cancelled,
        )
    # Refused and not ignored: with --dry-run, a person expects that nothing is written.
    if dry_run or table is not None or group_by is not None:
        raise UsageError(
            "--replace works on one pair, not with --dry-run, --pairs or --group.",
            "Give it with --masks FILE, and with --images FILE if the image changes too.",
        )
    pair = project.dataset.replace(
        replace,
        image=images,
        mask=masks,
        axes=axes,
        rule=rule,
        allow_empty=allow_empty,
        pixel_size_um=pixel_size_um,
    )
    return ImportReport(
        dry_run=False,
        accepted=(
            Imported(
                image=str(images or ""),
                mask=str(masks or ""),
                pair_id=pair.pair_id,
                notes=tuple(map(str, pair.mask_preparation.get("notes", ()))),
            ),
        ),
        refused=(),
    )


def remove_pairs(
    project: ProjectFolder,
    pair_ids: Sequence[str],
    *,
    restore: bool = False,
    purge: bool = False,
    is_sure: bool = False,
) -> dict[str, str]:
    """Remove, restore or delete pairs: all of them, or none if one does not exist.

    Returns
    -------
    states
        Pair id to active, removed or erased.

    Raises
    ------
    NotFound
        If there is no such pair.
    UsageError
        If the choices contradict each other, or deletion was not confirmed.
    """
    dataset = project.dataset
    if restore and purge:
        raise UsageError(
            "Pairs cannot be restored and deleted at once.", "Choose --restore or --purge."
        )
    if purge and not is_sure:
        raise UsageError(
            f"Deleting {counted(len(pair_ids), 'pair')} with all files cannot be undone.",
            "Add --yes to confirm. Without --purge, pairs are excluded but their files are kept.",
        )
    # All ids are looked up before anything changes: a typing error must not leave half of it done.
    pairs = [dataset.get(pair_id) for pair_id in dict.fromkeys(pair_ids)]
    for pair in pairs:
        if restore:
            dataset.restore(pair.pair_id)
        # Removed already is no fault: the command can be repeated, or name a folder's worth of
        # pairs.
        elif pair.state == "active":
            dataset.remove(pair.pair_id)
        if purge:
            dataset.purge(pair.pair_id)
    state = "active" if restore else "removed"
    return {pair.pair_id: "erased" if purge else state for pair in pairs}


def import_weights(
    project: ProjectFolder, file: Path, *, name: str | None = None, architecture: Mapping[str, Any]
) -> ImportedModel:
    """Register weights from elsewhere, once they are known to fill a model to the last weight.

    What the person does not say of the model is taken from the file's own description or from the
    shapes of its weights where they tell, else from the project.

    Parameters
    ----------
    project
        Where to.
    file
        The weights, in a format that the project's backend reads; it is never unpickled.
    name
        What to call the weights; by default the file's name.
    architecture
        What the person says of their model: fields of the backend's network.

    Raises
    ------
    NotFound, UnsafeFile
        If there is no such file, or it would have to run code to be read.
    UsageError, IncompatibleWeights
        If they do not fill the model; what differs is named.
    """
    # Adopted before anything is copied: weights that do not fit leave nothing in the project.
    family, task = backend_of(project), project.task
    network = family.adopt(file, task, choices_of(project), architecture)
    return project.weights.add(
        file,
        model_name=name,
        backend=family.name,
        task=task,
        network=network.model_dump(mode="json"),
        format=file.suffix.lower().lstrip("."),
    )
