"""Contributions to napari besides the dock: a reader of projects, sample data, a menu entry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskloop.project.layout import CONFIG, is_project
from maskloop.samples import simulate_nuclei, simulate_tissue

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["add_mask", "get_reader", "sample_nuclei", "sample_nuclei_3d", "sample_tissue"]

LayerData = tuple[Any, ...]
NOTHING: list[LayerData] = [(None,)]
"""napari's way to say that a file was read and has no layers."""


def get_reader(path: str | Sequence[str]) -> Callable[[str], list[LayerData]] | None:
    """The reader of a project, given as its folder or ``project_config.json``; None for others.

    Other folders go to napari's own reader: napari offers every reader of folders for every folder
    that is dropped, so that a folder of images may come here.
    """
    # Several paths are to be a stack, which no project is.
    if not isinstance(path, str):
        return None
    if is_project(_folder(path)):
        return _open_in_dock
    return _read_as_napari if Path(path).is_dir() else None


def _read_as_napari(path: str) -> list[LayerData]:
    from npe2 import io_utils

    # By name: asked for any reader, npe2 could come back here without end.
    return [tuple(layer) for layer in io_utils.read([path], stack=False, plugin_name="napari")]


def _folder(path: str) -> Path:
    chosen = Path(path)
    return chosen.parent if chosen.name == CONFIG else chosen


def _open_in_dock(path: str) -> list[LayerData]:
    import napari

    # A reader gets no viewer; outside one, as in npe2's own `read`, there is no dock to open.
    viewer = napari.current_viewer()
    if viewer is not None:
        _, dock = viewer.window.add_plugin_dock_widget("maskloop")
        dock.open_project(_folder(path))
    return NOTHING


def add_mask(viewer: Viewer) -> None:
    """Add an empty mask exactly on the selected image, ready to paint."""
    from napari.layers import Image
    from napari.utils.notifications import show_warning

    from maskloop.errors import MaskloopError
    from maskloop.ui.layers import new_mask

    chosen = viewer.layers.selection.active
    if not isinstance(chosen, Image):
        show_warning("No image layer selected.\nSelect the image to draw on in the layer list.")
        return
    try:
        new_mask(viewer, chosen)
    except MaskloopError as error:
        show_warning(f"{error.problem}\n{error.way_out}")


def sample_nuclei() -> list[LayerData]:
    """A field of touching nuclei (YX, uint16) with exact instance labels."""
    return _layers("nuclei", "YX", *simulate_nuclei(shape=(512, 512), seed=1))


def sample_nuclei_3d() -> list[LayerData]:
    """A volume of nuclei (ZYX, uint16) with exact instance labels."""
    return _layers("nuclei 3D", "ZYX", *simulate_nuclei(shape=(24, 192, 192), seed=1))


def sample_tissue() -> list[LayerData]:
    """Cells (YX, uint16) and the class of each pixel: 0 background, 1 cytoplasm, 2 nucleus."""
    return _layers("tissue", "YX", *simulate_tissue(shape=(512, 512), seed=1))


def _layers(name: str, axes: str, image: Any, truth: Any) -> list[LayerData]:
    return [
        (image, {"name": name, "metadata": {"axes": axes}}, "image"),
        (truth, {"name": f"{name} truth", "metadata": {"axes": axes}, "opacity": 0.5}, "labels"),
    ]
