"""The files of pairs: written whole, read lazily, erased only when they are a pair's own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from maskloop.errors import ProjectError
from maskloop.images.image import Image
from maskloop.project import paths
from maskloop.project.entries import Pair
from maskloop.project.folder import Folder
from maskloop.project.intake import Candidate
from maskloop.project.inventory import PAIRS
from maskloop.project.paths import require_inside
from maskloop.project.store import file_sha256
from maskloop.records import read_ordinary

__all__ = ["PairFiles"]


class PairFiles:
    """Writes, reads and erases the image and the mask of a pair.

    Knows nothing of the manifest's contents: `Dataset` decides what is recorded.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def undo_on_failure(self) -> Iterator[list[Path]]:
        """Erase the files written in the block when it fails.

        After a kill they stay as orphans, which do no harm.
        """
        written: list[Path] = []
        try:
            yield written
        except BaseException:
            with contextlib.suppress(OSError):
                # The failure may have come after the manifest was in place: what it names must
                # stay.
                recorded = read_ordinary(self._folder.folder / paths.MANIFEST)
                for path in written:
                    if path.name.encode() not in recorded:
                        path.unlink(missing_ok=True)
            raise

    def write(self, candidate: Candidate, stem: str, written: list[Path]) -> dict[str, str]:
        """Write both files of a pair, and give their fields in its record.

        Parameters
        ----------
        candidate
            The checked pair.
        stem
            Name of the files without their ending.
        written
            The paths are added to it before the files are written; see `undo_on_failure`.
        """
        from maskloop.images.writers import write_image, write_labels

        image_path, mask_path = f"{paths.IMAGES}/{stem}.tif", f"{paths.MASKS}/{stem}.tif"
        image, mask = self._folder.path(image_path), self._folder.path(mask_path)
        written += [image, mask]
        # Named above before they are written: a failure in between leaves a file to erase.
        write_image(image, candidate.image)
        write_labels(
            mask,
            candidate.labels.data,
            axes=candidate.labels.axes,
            pixel_size_um=candidate.labels.pixel_size_um,
        )
        return {
            "image_path": image_path,
            "mask_path": mask_path,
            "image_sha256": file_sha256(image),
            "mask_sha256": file_sha256(mask),
        }

    def free_stem(self, pair_id: str, versions: int) -> str:
        """A name for the files of a replacement of a pair that has been replaced before."""
        # The first replacement is version 2: the pair as accepted is the first.
        number = versions + 2
        while any(
            self._folder.path(f"{folder}/{pair_id}_v{number}.tif").exists()
            for folder in (paths.IMAGES, paths.MASKS)
        ):
            number += 1
        return f"{pair_id}_v{number}"

    def erase(self, pair: Pair, *, kept_by: Iterable[Pair]) -> None:
        """Erase all files of a pair, but for those that another pair has too."""
        others = {path for other in kept_by for path in PAIRS.files_of(other)}
        for path in PAIRS.files_of(pair):
            # A record may have been edited: what is no image or mask, or belongs to another pair,
            # is not this pair's to erase.
            if PAIRS.owns(path) and path not in others:
                place = self._folder.folder / path
                require_inside(self._folder.folder, place.parent)
                place.unlink(missing_ok=True)

    def read_image(self, pair: Pair) -> Image:
        """The image of a pair, read when asked for its pixels."""
        from maskloop.images.readers import open_image

        image = open_image(self._existing(pair, pair.image_path), axes=pair.axes or None)
        return Image(
            image.data,
            image.axes,
            image.pixel_size_um,
            image.channel_names,
            pair.name or pair.pair_id,
        )

    def read_mask(self, pair: Pair) -> Image:
        """The saved labels of a pair, read when asked for their pixels."""
        from maskloop.images.readers import open_labels

        labels = open_labels(self._existing(pair, pair.mask_path), axes=pair.mask_axes or None)
        return Image(
            labels.data, labels.axes, labels.pixel_size_um, (), pair.mask_layer_name or "mask"
        )

    def _existing(self, pair: Pair, path: str) -> Path:
        found = self._folder.path(path)
        if not found.is_file():
            raise ProjectError(
                f"The file '{path}' of pair '{pair.pair_id}' is missing.",
                "Restore it from a backup, or remove the pair.",
            )
        return found
