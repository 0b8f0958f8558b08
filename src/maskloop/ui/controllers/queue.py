"""The annotation queue: which image is next, and which are annotated already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

from psygnal import Signal

from maskloop.compute.project import Project
from maskloop.errors import AxesError, MaskloopError
from maskloop.images.display import bytes_of, display_limits, read_small
from maskloop.images.image import Image
from maskloop.images.readers import open_image
from maskloop.images.sources import find_files
from maskloop.project.intake import hash_pixels
from maskloop.project.layout import Pair
from maskloop.ui.controllers.base import Controller
from maskloop.ui.snapshot import Snapshot
from maskloop.ui.workspace import Workspace

__all__ = ["OpenedFile", "QueueController"]

EMPTY = "Select a folder or files first."
HASHED_BYTES = 64 * 2**20
"""Images up to this size are recognized by their pixels, larger ones only by their path."""


@dataclass(frozen=True)
class OpenedFile:
    """An image of the queue, its pixels not read yet."""

    path: Path
    image: Image
    axes: str | None
    """None if neither the file nor a person says: the image's axes are then only one possible
    reading.
    """
    is_named: bool
    """Whether a person named the axes (of the previous image)."""
    pair_id: str | None
    """The pair that has the same pixels."""
    limits: tuple[float, float] | None
    """Intensities between which it is displayed."""


class QueueController(Controller):
    """A list of image files and the position in it.

    `changed` means: the list, the position, or what was accepted changed.

    Parameters
    ----------
    workspace
        Whose project the images are annotated for.
    """

    opened = Signal(object)
    """An `OpenedFile` is to be shown."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self.files: tuple[Path, ...] = ()
        self.index = -1
        """Of the image that is shown; -1 if none is."""
        self.is_opening = False
        self.named_axes: dict[int, str] = {}
        """What a person said of images with so many dimensions: following images are opened with
        these axes, which can be changed.
        """
        self._accepted: dict[str, str] = {}
        self._pairs: Sequence[Pair] = ()

    @property
    def current(self) -> Path | None:
        """The file that is shown."""
        return self.files[self.index] if 0 <= self.index < len(self.files) else None

    @property
    def words(self) -> str:
        """The position, such as ``3 of 40: cell_07.tif``."""
        if not self.files:
            return "No images selected."
        done = sum(self.is_accepted(path) for path in self.files)
        accepted = f", {done} accepted" if done else ""
        if self.current is None:
            return f"{len(self.files)} images{accepted}"
        mark = " (accepted)" if self.is_accepted(self.current) else ""
        return f"{self.index + 1} of {len(self.files)}: {self.current.name}{mark}{accepted}"

    @property
    def why_not_next(self) -> str | None:
        """Why there is no next image, or None."""
        if not self.files:
            return EMPTY
        return "This is the last image." if self.index >= len(self.files) - 1 else self._why_busy

    @property
    def why_not_previous(self) -> str | None:
        """Why there is no previous image, or None."""
        if self.current is None:
            return "No image of the queue is shown yet." if self.files else EMPTY
        return "This is the first image." if self.index == 0 else self._why_busy

    @property
    def _why_busy(self) -> str | None:
        return "The image is being opened." if self.is_opening else None

    def is_accepted(self, path: Path) -> bool:
        """Whether a pair came from this file."""
        return str(path) in self._accepted

    def choose(self, inputs: Sequence[str | Path]) -> None:
        """Queue the images of folders, files and patterns, and show the first new one.

        They are remembered for the next time the project is opened on this computer.
        """
        project, recent = self._workspace.project, self._workspace.recent
        # Absolute: they are remembered for the next session, which starts elsewhere.
        places = [str(Path(one).expanduser().absolute()) for one in inputs]

        def find() -> list[Path]:
            found = find_files(places, whole_sets=True)
            if project is not None:
                recent.set_images(project.folder, places)
            return found

        self._list(find, lambda: self.go(self._first_new()))

    def _list(self, find: Callable[[], list[Path]], then: Callable[[], None]) -> None:
        def take(files: list[Path]) -> None:
            # Nothing is shown yet: images are opened only when a person asks for one.
            self.files, self.index = tuple(files), -1
            then()

        self._workspace.background.run(find, take, key="annotation queue")

    def _first_new(self) -> int:
        return next(
            (number for number, path in enumerate(self.files) if not self.is_accepted(path)), 0
        )

    def name_axes(self, axes: str) -> None:
        """Open following images with as many dimensions with these axes, too."""
        self.named_axes[len(axes)] = axes

    def next(self) -> None:
        """Open the next image; of a queue that was remembered, the first that is not annotated."""
        if self.why_not_next is None:
            self.go(self._first_new() if self.current is None else self.index + 1)
        else:
            self._workspace.say(self.why_not_next)

    def previous(self) -> None:
        """Open the previous image."""
        if self.why_not_previous is None:
            self.go(self.index - 1)
        else:
            self._workspace.say(self.why_not_previous)

    def go(self, index: int) -> None:
        """Open an image of the queue; if that fails, the position moves there all the same."""
        # Before it is open, so that a click on Next while it opens is refused.
        self.index, self.is_opening = index, True
        self.changed.emit()
        path, named = self.files[index], dict(self.named_axes)
        active = [pair for pair in self._pairs if pair.state == "active"]
        known = {pair.pixels_sha256: pair.pair_id for pair in active}

        def show(opened: OpenedFile) -> None:
            self.is_opening = False
            # Accepted from another copy of the file: recognized by its pixels.
            if opened.pair_id is not None:
                self._accepted[str(path)] = opened.pair_id
            self.changed.emit()
            self.opened.emit(opened)

        def failed(error: Exception) -> None:
            self.is_opening = False
            self.changed.emit()
            self._workspace.fail(error)

        self._workspace.background.run(
            lambda: _open(path, named, known), show, key="image of the queue", otherwise=failed
        )

    def take(self, snapshot: Snapshot) -> None:
        """Find out, in a thread, which images of the queue are annotated now."""
        # Most snapshots leave the pairs as they are.
        if snapshot.pairs is self._pairs:
            return
        pairs = self._pairs = snapshot.pairs

        def mark(found: dict[str, str]) -> None:
            if self._pairs is pairs:
                self._accepted = found
                self.changed.emit()

        self._workspace.background.run(lambda: _sources(pairs), mark, key="accepted files")

    def reset(self, project: Project | None) -> None:
        """Show the queue that was used last with this project."""
        self._pairs, self._accepted = (), {}
        self.files, self.index = (), -1
        self.changed.emit()
        if project is not None:
            self._list(lambda: self._remembered(project.folder), self.changed.emit)

    def _remembered(self, folder: Path) -> list[Path]:
        places = self._workspace.recent.images(folder)
        try:
            return find_files(places, whole_sets=True) if places else []
        except MaskloopError:
            return []  # they were moved, or the disk is not connected


def _sources(pairs: Sequence[Pair]) -> dict[str, str]:
    """Pair ids by the files their images came from."""
    told = (
        (pair, pair.metadata.get(name))
        for pair in pairs
        if pair.state == "active"
        for name in ("source_path", "image_file")
    )
    return {str(source): pair.pair_id for pair, source in told if source}


def _open(path: Path, named: dict[int, str], known: dict[str, str]) -> OpenedFile:
    axes: str | None
    try:
        image = open_image(path)
        axes, is_named = image.axes, False
    except AxesError:
        image = _open_somehow(path)
        axes, is_named = named.get(len(image.shape)), True
        if axes is not None:
            image = open_image(path, axes=axes)
    # Limits first: they need one plane, even where the whole is not read.
    limits, image = display_limits(image), read_small(image)
    pair_id = (
        known.get(hash_pixels(image))
        if bytes_of(image) <= HASHED_BYTES and axes is not None
        else None
    )
    return OpenedFile(path, image, axes, is_named and axes is not None, pair_id, limits)


def _open_somehow(path: Path) -> Image:
    """An image with any axes that fit, so that a person can look at it and name them."""
    # Any reading will do: napari needs axes to show it, a person says the right ones.
    for count in range(2, 6):
        for letters in permutations("ZTC", count - 2):
            try:
                return open_image(path, axes="".join(letters) + "YX")
            except AxesError:
                continue  # the next letters may fit
    return open_image(path)
