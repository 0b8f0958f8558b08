"""Keeps napari drawing when layers are taken out.

vispy switches vertex attributes on and never off. When a layer goes, its buffers go, and an attribute that is still on points
at nothing: the next drawing reads there, which on some graphics drivers ends the whole process (napari issues 6472 and 8471,
pull request 8122). Switching the attributes off right after a removal is harmless: every drawing switches on what it needs.
"""

from __future__ import annotations

from napari.components import ViewerModel
from vispy.gloo import get_current_canvas, gl

from maskloop.ui.picker import Watch

__all__ = ["steady"]

ATTRIBUTES = 16
"""As many as every graphics card has at least."""


def steady(viewer: ViewerModel) -> Watch:
    """Keep a viewer drawing until the watch that is given back is stopped."""
    watch = Watch(_switch_off)
    watch.follow([viewer.layers.events.removed])
    return watch


def _switch_off() -> None:
    canvas = get_current_canvas()
    if canvas is None:
        return
    canvas.set_current()
    for number in range(ATTRIBUTES):
        gl.glDisableVertexAttribArray(number)
