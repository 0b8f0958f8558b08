"""The accepted pairs of a project; nothing is erased unless asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskloop.errors import KnownPixels, NotFound, ProjectError, UsageError
from maskloop.events import Report, silent
from maskloop.images.fingerprint import Fingerprint
from maskloop.images.image import Image
from maskloop.images.masks import MaskRule, default_rule
from maskloop.project import paths
from maskloop.project.entries import Content, Manifest, Pair
from maskloop.project.fields import now
from maskloop.project.folder import Folder
from maskloop.project.groups import Offer, Side, choose_group, choose_side
from maskloop.project.intake import Candidate, Pixels, examine, measure
from maskloop.project.pair_files import PairFiles
from maskloop.project.pairs import ever_used, facts_of, sided, version_of
from maskloop.project.splits import Split, split_pairs
from maskloop.project.store import RecordFile, changed
from maskloop.records import jsonable
from maskloop.task import Task

if TYPE_CHECKING:
    from maskloop.images.sources import PairTable
    from maskloop.project.imports import ImportReport

__all__ = ["Dataset"]


class Dataset:
    """Accepts, replaces and removes pairs, and knows which belong together.

    Knows nothing of models.
    """

    def __init__(self, folder: Folder, task: Callable[[], Task]) -> None:
        self._folder = folder
        self._task = task
        self._file: RecordFile[Manifest] = folder.record(paths.MANIFEST, Manifest)
        self._files = PairFiles(folder)
        self._index: tuple[Manifest, dict[str, Pair]] | None = None

    @property
    def pairs(self) -> list[Pair]:
        """The pairs that are trained on, the oldest first."""
        return [pair for pair in self._file.read().pairs if pair.state == "active"]

    @property
    def all_pairs(self) -> tuple[Pair, ...]:
        """Removed and missing pairs too."""
        return self._file.read().pairs

    def get(self, pair_id: str) -> Pair:
        """The pair with this id, removed ones included.

        Raises
        ------
        NotFound
            If there is none.
        """
        # Built anew only when the manifest is another object, that is, when it was written.
        manifest = self._file.read()
        if self._index is None or self._index[0] is not manifest:
            self._index = (manifest, {pair.pair_id: pair for pair in manifest.pairs})
        if pair_id not in self._index[1]:
            raise NotFound(
                f"There is no pair '{pair_id}' in '{self._folder.folder}'.",
                "List the pairs (maskloop status DIR --pairs).",
            )
        return self._index[1][pair_id]

    def accept(
        self,
        image: Pixels,
        mask: Pixels,
        *,
        axes: str | None = None,
        rule: MaskRule | None = None,
        source: str = "manual_label",
        name: str | None = None,
        group: str | None = None,
        split: Side | None = None,
        allow_empty: bool = False,
        pixel_size_um: Mapping[str, float] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Pair:
        """Add an image and its mask to the project; they are on the disk when this returns.

        Parameters
        ----------
        image
            Array, image with axes, or file.
        mask
            Labels on the image's axes without C: array, image, or file. Booleans, integers, or
            floats that hold integers.
        axes
            Of the image, such as ``"ZYX"``; needed for arrays of more than two dimensions and files
            that do not tell.
        rule
            What the labels mean; by default what fits the project's output mode.
        source
            manual_label, sam3_preview, imported_pair, ...
        name
            What to call the pair.
        group
            Name of what it belongs to (a stack, a film, a specimen); pairs of a group are never
            parted by a split.
        split
            Keep it (and its group) for training or for validation.
        allow_empty
            There is nothing to segment on this image, and that is meant.
        pixel_size_um
            Micrometres along Z, Y, X, such as ``{"Z": 1.5, "Y": 0.4, "X": 0.4}``; wins over what
            the image says. Volumes are trained on as the distance of their planes allows.
        metadata
            Facts to keep with the pair.

        Raises
        ------
        AxesError, ImageError, MaskError
            If they do not fit each other, the mask cannot be prepared, or these pixels are here
            already.
        UsageError
            If the group lies on the other side of the split.
        ProjectError
            If they could not be written; the project is then as it was.
        """
        chosen = self._rule(rule, allow_empty=allow_empty)
        candidate = examine(
            image,
            mask,
            self._task(),
            axes=axes,
            rule=chosen,
            name=name,
            pixel_size_um=pixel_size_um,
        )
        return self.record([Offer(candidate, source, group, split, metadata)])[0]

    @property
    def usual_rule(self) -> MaskRule:
        """What labels mean where nobody says otherwise: what fits the task."""
        task = self._task()
        rule = default_rule(task.mode)
        if len(task.classes) == 1:
            rule = changed(rule, target_class_name=task.classes[0])
        return rule

    def _rule(self, rule: MaskRule | None, *, allow_empty: bool) -> MaskRule:
        chosen = self.usual_rule if rule is None else rule
        return changed(chosen, allow_empty=True) if allow_empty else chosen

    def record(self, offers: Sequence[Offer]) -> list[Pair]:
        """Write checked pairs: files first, the manifest once and last, all or none of them."""
        with self._folder.writing("accept pairs"), self._files.undo_on_failure() as written:
            manifest = self._file.read()
            pairs = manifest.pairs
            # A manifest is validated and written once: for each of ten thousand it takes hours.
            known = {pair.pixels_sha256: pair for pair in reversed(pairs)}
            added: list[Pair] = []
            for number, offer in enumerate(offers, manifest.next_pair):
                self._refuse_known(known, offer.candidate)
                pairs, pair = self._write_pair(pairs, number, offer, written)
                known[pair.pixels_sha256] = pair
                added.append(pair)
            self._save(changed(manifest, next_pair=manifest.next_pair + len(added), pairs=pairs))
            return added

    def _write_pair(
        self, pairs: tuple[Pair, ...], number: int, offer: Offer, written: list[Path]
    ) -> tuple[tuple[Pair, ...], Pair]:
        candidate = offer.candidate
        pair_id = f"pair_{number:04d}_{candidate.pixels_sha256[:8]}"
        # The first in a group names it: the pair needs its id before it has a group.
        group, merged = choose_group(pairs, offer, pair_id)
        split = choose_side(group, merged, offer)
        files = self._files.write(candidate, pair_id, written)
        pair = Pair(
            pair_id=pair_id,
            name=candidate.name,
            image_layer_name=candidate.image.name,
            mask_layer_name=candidate.labels.name,
            created_at=now(),
            source=offer.source,
            group=group,
            split=split,
            metadata=jsonable(dict(offer.metadata or {})),
            **files,
            **facts_of(candidate),
        )
        return (*merged, pair), pair

    def _refuse_known(self, known: Mapping[str, Pair], candidate: Candidate) -> None:
        """Refuse pixels that the project has; `known` are its pairs by the hash of their pixels."""
        pair = known.get(candidate.pixels_sha256)
        if pair is not None:
            if pair.state == "active":
                way_out = (
                    "To correct its mask, replace the mask of that pair (--replace "
                    f"{pair.pair_id} --masks FILE)."
                )
            else:
                way_out = (
                    "That pair was removed: restore it "
                    f"(maskloop remove DIR {pair.pair_id} --restore)."
                )
            problem = (
                f"'{candidate.name}' is already in the project, as pair '{pair.pair_id}' "
                f"({pair.name})."
            )
            raise KnownPixels(problem, way_out, pair.pair_id)

    def _save(self, manifest: Manifest) -> None:
        self._file.write(changed(manifest, updated_at=now()))

    def change(self, verb: str, edit: Callable[[Pair], Pair]) -> None:
        """Rewrite the manifest with every pair passed through `edit`."""
        with self._folder.writing(verb):
            manifest = self._file.read()
            pairs = tuple(edit(pair) for pair in manifest.pairs)
            # An edit returns the same object where nothing changes: no write then.
            if any(new is not old for new, old in zip(pairs, manifest.pairs, strict=True)):
                self._save(changed(manifest, pairs=pairs))

    def _change_one(self, verb: str, pair_id: str, **changes: Any) -> Pair:
        with self._folder.writing(verb):
            self.get(pair_id)
            self.change(
                verb, lambda pair: changed(pair, **changes) if pair.pair_id == pair_id else pair
            )
            return self.get(pair_id)

    def replace(
        self,
        pair_id: str,
        *,
        mask: Pixels | None = None,
        image: Pixels | None = None,
        axes: str | None = None,
        rule: MaskRule | None = None,
        allow_empty: bool = False,
        pixel_size_um: Mapping[str, float] | None = None,
        source: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Pair:
        """Replace the mask (or image) of a pair; the old one stays in the folder and its history.

        The pair counts as new since the last checkpoint, and stays on its side of the split.

        Parameters
        ----------
        pair_id
            Of the pair to correct.
        mask, image, axes, rule, allow_empty, pixel_size_um
            As for `accept`; what is not given stays as it is.
        source
            Where the new one comes from; by default as before.
        metadata
            Facts to keep with the pair, added to those it has.

        Raises
        ------
        NotFound
            If there is no such pair.
        AxesError, ImageError, MaskError
            As `accept`.
        """
        if mask is None and image is None and not pixel_size_um:
            raise UsageError(
                "Neither a mask nor an image was given.",
                "Give the corrected mask (--masks FILE).",
            )
        old = self.get(pair_id)
        chosen = self._rule(
            rule,
            allow_empty=allow_empty
            or (mask is None and bool(old.mask_preparation.get("is_empty"))),
        )
        # A correction of a mask that was opened from here has the project's own label there.
        if chosen.ignore is None and old.ignored_label is not None:
            chosen = changed(chosen, ignore=old.ignored_label)
        # Prepared before the lock is taken: large images take seconds.
        candidate = examine(
            self.read_image(old) if image is None else image,
            self.read_mask(old) if mask is None else mask,
            self._task(),
            axes=axes,
            rule=chosen,
            name=old.name,
            pixel_size_um=pixel_size_um,
        )
        with self._folder.writing("replace a pair"), self._files.undo_on_failure() as written:
            # Again, under the lock: another program may have replaced it while this one was
            # prepared.
            old = self.get(pair_id)
            # The pair's own pixels are known, of course: mostly only the mask is replaced.
            others = (pair for pair in self.all_pairs if pair.pair_id != pair_id)
            self._refuse_known({pair.pixels_sha256: pair for pair in others}, candidate)
            files = self._files.write(
                candidate, self._files.free_stem(pair_id, len(old.history)), written
            )
            facts = facts_of(candidate)
            # A mask that was prepared already would be recorded as needing nothing.
            if mask is None:
                facts["mask_preparation"] = old.mask_preparation
            facts |= {
                "source": source or old.source,
                "metadata": {**old.metadata, **jsonable(dict(metadata or {}))},
            }
            return self._change_one(
                "replace a pair",
                pair_id,
                **files,
                **facts,
                state="active",
                # Checkpoints saw the version before, whose history names them.
                used_in_checkpoints=(),
                history=(*old.history, version_of(old)),
            )

    def remove(self, pair_id: str) -> Pair:
        """Leave a pair out from now on.

        Its files and its history stay, and `restore` brings it back.
        """
        return self._change_one("remove a pair", pair_id, state="removed")

    def restore(self, pair_id: str) -> Pair:
        """Bring back a pair that was removed or whose files were missing.

        Raises
        ------
        ProjectError
            If its files are not in the folder.
        """
        pair = self.get(pair_id)
        for path in (pair.image_path, pair.mask_path):
            if not self._folder.path(path).is_file():
                raise ProjectError(
                    f"The file '{path}' of pair '{pair_id}' is not in the folder.",
                    "Restore it from a backup first.",
                )
        return self._change_one("restore a pair", pair_id, state="active")

    def purge(self, pair_id: str) -> None:
        """Erase a removed pair with all its files and former versions. This cannot be undone.

        Raises
        ------
        UsageError
            If the pair was not removed before.
        """
        with self._folder.writing("erase a pair"):
            pair = self.get(pair_id)
            if pair.state == "active":
                raise UsageError(
                    f"Pair '{pair_id}' is in use.",
                    "Remove it first; only removed pairs can be deleted.",
                )
            manifest = self._file.read()
            # The record goes first: a kill leaves orphan files, never a record of files that are
            # gone.
            self._save(
                changed(
                    manifest,
                    pairs=tuple(other for other in manifest.pairs if other.pair_id != pair_id),
                )
            )
            self._files.erase(pair, kept_by=self.all_pairs)

    def as_seen(self, pair_id: str, content: Content | None) -> Pair:
        """The pair as it was with this image and mask, be it that it was replaced since.

        Parameters
        ----------
        content
            Its `content` then; None: as it is now.

        Raises
        ------
        NotFound
            If there is no such pair, or it never was so.
        """
        pair = self.get(pair_id)
        if content is None or pair.content == tuple(content):
            return pair
        for version in pair.history:
            if version.content == tuple(content):
                # The preparation too: it tells which label is no annotation in the old file.
                kept = (
                    "image_path",
                    "mask_path",
                    "image_sha256",
                    "mask_sha256",
                    "pixels_sha256",
                    "mask_preparation",
                )
                return changed(pair, **{name: getattr(version, name) for name in kept})
        raise NotFound(
            f"Pair '{pair_id}' no longer has the image and mask that were read before.",
            "Train again: the pairs are read as they are now.",
        )

    def read_image(self, pair: Pair | str) -> Image:
        """The image of a pair, read when asked for its pixels."""
        return self._files.read_image(self.get(pair) if isinstance(pair, str) else pair)

    def read_mask(self, pair: Pair | str) -> Image:
        """The saved labels of a pair, read when asked for their pixels."""
        return self._files.read_mask(self.get(pair) if isinstance(pair, str) else pair)

    def mark_validation(self, pair_id: str) -> Pair:
        """Keep a pair, and its group, for validation from now on.

        Raises
        ------
        UsageError
            If a checkpoint was trained on the group: it can no longer measure honestly.
        """
        with self._folder.writing("keep a pair for validation"):
            group = self.get(pair_id).group
            # Removed pairs too: a checkpoint has seen their pixels all the same.
            for pair in self.all_pairs:
                if pair.group == group and pair.split == "training" and (used := ever_used(pair)):
                    raise UsageError(
                        f"Checkpoint '{used[0]}' was trained on pair '{pair.pair_id}': its group "
                        f"'{group}' cannot be used for validation.",
                        "Select a pair of another group, or accept a new image.",
                    )
            self.change(
                "keep a pair for validation",
                lambda pair: changed(pair, split="validation") if pair.group == group else pair,
            )
            return self.get(pair_id)

    def select(self, what: str | Sequence[str]) -> list[Pair]:
        """Pairs for a training: ``"all"``, ``"new"`` (in no checkpoint yet), or ids.

        Raises
        ------
        NotFound
            If an id does not exist.
        UsageError
            If a pair was removed.
        """
        if isinstance(what, str) and what in ("all", "new"):
            return [pair for pair in self.pairs if what == "all" or pair.is_new]
        chosen = [
            self.get(pair_id.strip())
            for pair_id in ([*what.split(",")] if isinstance(what, str) else what)
        ]
        for pair in chosen:
            if pair.state != "active":
                raise UsageError(
                    f"Pair '{pair.pair_id}' is {pair.state}.",
                    f"Restore it first (maskloop remove DIR {pair.pair_id} --restore).",
                )
        return chosen

    def split(self, pairs: Sequence[Pair], *, share: float, seed: int = 0) -> Split:
        """Split pairs into training and validation by groups.

        Each pair's side is recorded and kept from then on.
        """
        with self._folder.writing("split the dataset"):
            # Asked again under the lock: another program may have given a group its side meanwhile.
            split = split_pairs([self.get(pair.pair_id) for pair in pairs], share=share, seed=seed)
            groups: dict[str, Side] = {}
            for side, ids in (("validation", split.validation), ("training", split.training)):
                groups |= {self.get(pair_id).group: side for pair_id in ids}  # type: ignore[misc]
            self.change("split the dataset", lambda pair: sided(pair, groups))
            return split

    def fingerprint(self, pairs: Sequence[Pair] | None = None) -> Fingerprint:
        """What the data is like, from facts that were measured when the pairs were accepted.

        Raises
        ------
        UsageError
            If there are no pairs.
        """
        from maskloop.images.fingerprint import combine_fingerprints

        chosen = self.pairs if pairs is None else list(pairs)
        if not chosen:
            raise UsageError(
                f"'{self._folder.folder}' has no accepted pairs.",
                "Accept some first (maskloop add DIR --images DIR --masks DIR).",
            )
        instances = self._task().mode == "instances"
        # Pairs of an older program that were not upgraded yet have no facts: measure them now.
        return combine_fingerprints(
            [
                pair.fingerprint
                or measure(
                    self.read_image(pair),
                    self.read_mask(pair).read(),
                    instances=instances,
                    ignored=pair.ignored_label,
                )[2]
                for pair in chosen
            ],
            names=[pair.pair_id for pair in chosen],
        )

    def import_pairs(
        self,
        table: PairTable,
        *,
        dry_run: bool = False,
        axes: str | None = None,
        rule: MaskRule | None = None,
        group_by: str | None = None,
        allow_empty: bool = False,
        pixel_size_um: Mapping[str, float] | None = None,
        report: Report = silent,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> ImportReport:
        """Accept all pairs of a table; one bad file does not stop the rest.

        See `maskloop.project.imports`.
        """
        from maskloop.project.imports import import_pairs

        return import_pairs(
            self,
            table,
            dry_run=dry_run,
            axes=axes,
            rule=rule,
            group_by=group_by,
            allow_empty=allow_empty,
            pixel_size_um=pixel_size_um,
            report=report,
            is_cancelled=is_cancelled,
        )

    def examine(
        self,
        image: Pixels,
        mask: Pixels,
        *,
        axes: str | None = None,
        rule: MaskRule | None = None,
        name: str | None = None,
        allow_empty: bool = False,
        pixel_size_um: Mapping[str, float] | None = None,
    ) -> Candidate:
        """Check a pair as `accept` does, pixels already here included, and write nothing."""
        chosen = self._rule(rule, allow_empty=allow_empty)
        candidate = examine(
            image,
            mask,
            self._task(),
            axes=axes,
            rule=chosen,
            name=name,
            pixel_size_um=pixel_size_um,
        )
        self._refuse_known({pair.pixels_sha256: pair for pair in self.all_pairs}, candidate)
        return candidate
