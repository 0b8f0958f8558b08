"""Predictions in the viewer: from image layers to labels that lie exactly on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from napari.layers import Labels, Layer
from napari.utils.colormaps import DirectLabelColormap

from maskloop.compute.predicted import OpenedPrediction, Part, PredictedImage
from maskloop.errors import MaskError, MaskloopError
from maskloop.images.image import Image
from maskloop.ui.layers import Extent, add_labels, crop_metadata, take_image, to_image
from maskloop.ui.transforms import place_like

if TYPE_CHECKING:
    from maskloop.ui.controllers.predictions import PredictionsController

__all__ = ["Subject", "images_of", "is_prediction", "outline", "show_opened", "show_predicted"]

Shown = Callable[[Labels], None]


class Subject:
    """The image to predict as it is selected now, or why there is none.

    Parameters
    ----------
    viewer
        Has the layers, and the sliders that say which slice.
    layers
        The layers of the image.
    axes
        The axes of each of them.
    extent
        The whole image, or the slice in view.
    problem
        Why they cannot be used, in words.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        layers: Sequence[Layer],
        axes: str | None,
        extent: Extent,
        problem: str | None,
    ) -> None:
        self.viewer = viewer
        self.layers = list(layers)
        self.axes = axes or ""
        self.image: Image | None = None
        self.problem = problem
        self.part: Part | None = None
        if problem is None:
            try:
                self._take(extent)
            except MaskloopError as error:
                self.problem = f"{error.problem} {error.way_out}"

    def _take(self, extent: Extent) -> None:
        self.image = take_image(self.layers, axes=self.axes, extent=extent, viewer=self.viewer)
        kept = crop_metadata(self.layers, axes=self.axes, extent=extent, viewer=self.viewer)
        index = kept["index"]
        whole = to_image(self.layers, axes=self.axes)
        # Where a slice lies in the whole: its labels are shown on the stack, empty elsewhere.
        self.part = Part(whole.axes, whole.shape, index)

    @property
    def name(self) -> str:
        """The name of the image; empty if there is none."""
        return self.image.name if self.image is not None else ""

    @property
    def origin(self) -> str:
        """Where its pixels come from: its file, if they are all of it, else its layer."""
        # A part of a file is not that file: predicting it again would give something else.
        path = None
        if len(self.layers) == 1 and self.part is not None and not self.part.index:
            path = self.layers[0].source.path
        return str(path) if path else f"layer {self.name}"


def show_predicted(
    predictions: PredictionsController,
    subject: Subject,
    predicted: PredictedImage,
    say: Callable[[str], None],
    then: Shown | None = None,
) -> None:
    """Put predicted labels on the image they were made from, once they are read.

    Parameters
    ----------
    predictions
        Reads the labels, in a thread.
    subject
        The image that was predicted.
    predicted
        What to show.
    say
        Tells a person that the image is gone.
    then
        Called with the layer of the labels.
    """

    def add(labels: Image) -> None:
        # Predicting takes a while, in which the image may be closed.
        if any(layer not in subject.viewer.layers for layer in subject.layers):
            say(f"The layer of '{subject.name}' was removed; its labels are {predicted.kept}.")
            return
        layer = _add(labels)
        # Of a slice there are no scores for the other planes.
        is_whole = subject.part is not None and not subject.part.index
        if predicted.probabilities is not None and is_whole:
            predictions.read_scores(
                predicted, lambda scores: _add_scores(subject.viewer, layer, labels.axes, scores)
            )
        if then is not None:
            then(layer)

    def _add(labels: Image) -> Labels:
        metadata = {
            **predicted.facts,
            "image_ids": [str(layer.unique_id) for layer in subject.layers],
        }
        if subject.part is not None and subject.part.index:
            metadata["index"] = dict(subject.part.index)
        name = f"{subject.name} {predicted.checkpoint_id}"
        return add_labels(
            subject.viewer,
            np.asarray(labels.data),
            subject.layers[0],
            name=name,
            metadata=metadata,
            axes=subject.axes,
        )

    predictions.read_labels(predicted, add, part=subject.part)


def _add_scores(viewer: ViewerModel, labels: Labels, axes: str, scores: Image) -> None:
    # Removed while the maps were read.
    if labels not in viewer.layers:
        return
    pixels = scores.read("C" + axes)
    names = scores.channel_names
    if len(names) != len(pixels):
        names = tuple(f"score {at + 1}" for at in range(len(pixels)))
    for name, channel in zip(names, pixels, strict=True):
        viewer.add_image(
            channel.reshape(labels.data.shape),
            name=f"{labels.name} {name}",
            colormap="magma",
            # Probabilities on one scale, so that images compare; other scores may be of any size.
            contrast_limits=(min(0.0, float(channel.min())), max(1.0, float(channel.max()))),
            visible=False,
            metadata={"axes": labels.metadata["axes"]},
            **place_like(labels, range(labels.ndim), {}),
        )
        # Below the labels, where they do not hide what is painted.
        viewer.layers.move(len(viewer.layers) - 1, viewer.layers.index(labels))
    viewer.layers.selection.active = labels


def outline(labels: Labels, color: str) -> None:
    """Draw labels as outlines of one color, so that two predictions can be compared."""
    labels.colormap = DirectLabelColormap(color_dict={None: color, 0: "transparent"})
    labels.contour = 2
    # A thin line at napari's usual 0.7 is lost on a bright image.
    labels.opacity = 1.0


def is_prediction(layer: Layer | None) -> bool:
    """Whether a layer has the labels of a prediction of maskloop."""
    return isinstance(layer, Labels) and "checkpoint_id" in layer.metadata


def images_of(labels: Labels, viewer: ViewerModel) -> list[Layer]:
    """The layers that labels were predicted from; empty if one of them was removed."""
    # By id, not by name: a person may rename layers, and napari numbers equal names.
    wanted = labels.metadata.get("image_ids") or []
    found = {str(layer.unique_id): layer for layer in viewer.layers}
    return [found[one] for one in wanted] if set(wanted) <= set(found) else []


def show_opened(
    viewer: ViewerModel, opened: OpenedPrediction, say: Callable[[str], None]
) -> Labels:
    """Show a saved prediction on its image: on a layer of it, on its file, or alone."""
    # The project may come from Windows: its paths have backslashes.
    file = opened.predicted.origin.replace("\\", "/").rpartition("/")[2]
    name = f"{file} {opened.predicted.checkpoint_id}"
    pixels = np.asarray(opened.labels.data)
    for layer in _layers_of(opened, viewer):
        metadata = {**opened.predicted.facts, "image_ids": [str(layer.unique_id)]}
        try:
            return add_labels(viewer, pixels, layer, name=name, metadata=metadata)
        except MaskloopError:
            # Another image of that name.
            continue
    if opened.image is None:
        say(opened.why_no_image)
        scale = [opened.labels.pixel_size_um.get(letter, 1.0) for letter in opened.labels.axes]
        metadata = {**opened.predicted.facts, "axes": opened.labels.axes}
        alone = viewer.add_labels(pixels, name=name, scale=scale, metadata=metadata)
        assert isinstance(alone, Labels)
        return alone
    image = _add_image(viewer, opened.image)
    metadata = {**opened.predicted.facts, "image_ids": [str(image.unique_id)]}
    axes = opened.image.axes
    return add_labels(viewer, pixels, image, name=name, metadata=metadata, axes=axes)


def _layers_of(opened: OpenedPrediction, viewer: ViewerModel) -> list[ImageLayer]:
    origin = opened.predicted.origin
    # The newest layer first: what was opened last is what is looked at.
    images = [layer for layer in reversed(viewer.layers) if isinstance(layer, ImageLayer)]
    return [layer for layer in images if origin in (str(layer.source.path), f"layer {layer.name}")]


def _add_image(viewer: ViewerModel, image: Image) -> ImageLayer:
    is_rgb = image.axes.endswith("C") and image.channels == 3
    # napari counts no dimension for the colors of RGB.
    axes = image.axes.removesuffix("C") if is_rgb else image.axes
    options: dict[str, Any] = {"scale": [image.pixel_size_um.get(letter, 1.0) for letter in axes]}
    if image.pixel_size_um:
        options["units"] = ["um" if letter in image.pixel_size_um else "pixel" for letter in axes]
    layer = viewer.add_image(
        np.asarray(image.data),
        name=image.name,
        rgb=is_rgb,
        metadata={"axes": image.axes},
        **options,
    )
    if not isinstance(layer, ImageLayer):
        raise MaskError(
            f"'{image.name}' cannot be shown as one layer.", "Drag its file onto the window."
        )
    return layer
