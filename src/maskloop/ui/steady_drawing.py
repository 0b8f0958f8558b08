"""Keeps napari drawing when layers are taken out.

When a layer goes, napari frees what the graphics card held of it at once. OpenGL frees in whatever
context is current, and after Qt has drawn the rest of the window that is not napari's: buffers of
the same number are then freed in Qt's, napari goes on with ones that are gone, and some graphics
drivers (Mesa's software renderer, some on Windows) end the whole process: napari issues 6472 and
8471, pull request 8122. Going through images takes layers out all the time, so napari's context is
made current first.
"""

from __future__ import annotations

import warnings
from typing import Any

from napari.components import ViewerModel
from vispy.gloo import get_current_canvas

from maskloop.ui.picker import Watch

__all__ = ["steady"]


def steady(viewer: ViewerModel) -> Watch:
    """Free what layers of a viewer held in its own context, until the watch that is given back is stopped."""
    watch = Watch(lambda: _make_current(viewer))
    watch.follow([viewer.layers.events.removing])
    return watch


def _make_current(viewer: ViewerModel) -> None:
    canvas = _canvas(viewer)
    if canvas is not None:
        canvas.set_current()


def _canvas(viewer: ViewerModel) -> Any:
    """What the viewer is drawn on; napari has no public name for it, and says so to whoever asks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        shown = getattr(getattr(viewer, "window", None), "_qt_viewer", None)
        return (
            getattr(getattr(shown, "canvas", None), "_scene_canvas", None) or get_current_canvas()
        )
