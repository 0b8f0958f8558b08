"""Prevents crashes when layers are removed.

napari frees the OpenGL buffers of a removed layer at once, in the context that is current. After
Qt has drawn the rest of the window that is Qt's own: buffers of the same number are freed there,
napari uses ones that are gone, and some drivers (Mesa's software renderer, some on Windows) end
the process: napari issues 6472 and 8471, pull request 8122. The annotation queue removes layers all
the time, so napari's context is made current first.
"""

from __future__ import annotations

import warnings
from typing import Any

from napari.components import ViewerModel
from vispy.gloo import get_current_canvas

from maskloop.ui.watch import Watch

__all__ = ["steady"]


def steady(viewer: ViewerModel) -> Watch:
    """Free the buffers of removed layers in the viewer's context, until the watch is stopped."""
    watch = Watch(lambda: _make_current(viewer))
    watch.follow([viewer.layers.events.removing])
    return watch


def _make_current(viewer: ViewerModel) -> None:
    canvas = _canvas(viewer)
    # A viewer without a window draws nothing.
    if canvas is not None:
        canvas.set_current()


def _canvas(viewer: ViewerModel) -> Any:
    """The canvas of the viewer, if it has a window."""
    # napari has no public name for it, and warns whoever uses the private one.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        shown = getattr(getattr(viewer, "window", None), "_qt_viewer", None)
        canvas = getattr(getattr(shown, "canvas", None), "_scene_canvas", None)
        return canvas or get_current_canvas()
