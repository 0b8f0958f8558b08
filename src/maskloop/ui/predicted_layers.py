"""Predictions in the viewer: from image layers to labels that lie exactly on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from napari.layers import Labels, Layer
from napari.utils.colormaps import DirectLabelColormap

from maskloop.errors import MaskError, MaskloopError
from maskloop.images.image import Image
from maskloop.ui.controllers.prediction_files import OpenedPrediction, Part, PredictedImage
from maskloop.ui.layers import Extent, add_labels, crop_metadata, take_image, to_image
from maskloop.ui.transforms import place_like

if TYPE_CHECKING:
    from maskloop.ui.controllers.predictions import PredictionsController

__all__ = ["Subject", "images_of", "is_prediction", "outline", "show_opened", "show_predicted"]

Shown = Callable[[Labels], None]


class Subject:
    """The image to predict as it is chosen now, or why there is none.

    Parameters
    ----------
    viewer
        Whose layers and sliders are meant.
    layers
        The layers of the image.
    axes
        Of each of them.
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
        self.viewer, self.layers, self.axes = viewer, list(layers), axes or ""
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
        index = crop_metadata(self.layers, axes=self.axes, extent=extent, viewer=self.viewer)[
            "index"
        ]
        whole = to_image(self.layers, axes=self.axes)
        self.part = Part(whole.axes, whole.shape, index)

    @property
    def name(self) -> str:
        """What to call it."""
        return self.image.name if self.image is not None else ""

    @property
    def origin(self) -> str:
        """Where its pixels came from: a file, where they are the whole of one."""
        path = (
            self.layers[0].source.path
            if len(self.layers) == 1 and self.part is not None and not self.part.index
            else None
        )
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
        if any(layer not in subject.viewer.layers for layer in subject.layers):
            say(f"The layer of '{subject.name}' is gone; its labels are {predicted.kept}.")
            return
        layer = _add(labels)
        if (
            predicted.probabilities is not None
            and subject.part is not None
            and not subject.part.index
        ):
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
    if labels not in viewer.layers:
        return
    pixels = scores.read("C" + axes)
    names = (
        scores.channel_names
        if len(scores.channel_names) == len(pixels)
        else tuple(f"score {at + 1}" for at in range(len(pixels)))
    )
    for name, channel in zip(names, pixels, strict=True):
        viewer.add_image(
            channel.reshape(labels.data.shape),
            name=f"{labels.name} {name}",
            colormap="magma",
            contrast_limits=(0, 1),
            visible=False,
            metadata={"axes": labels.metadata["axes"]},
            **place_like(labels, range(labels.ndim), {}),
        )
        # Below the labels, where they do not hide what is painted.
        viewer.layers.move(len(viewer.layers) - 1, viewer.layers.index(labels))
    viewer.layers.selection.active = labels


def outline(labels: Labels, colour: str) -> None:
    """Draw labels as outlines of one colour, so that several can be told apart on one image."""
    labels.colormap = DirectLabelColormap(color_dict={None: colour, 0: "transparent"})
    labels.contour = 2
    labels.opacity = 1.0


def is_prediction(layer: Layer | None) -> bool:
    """Whether a layer holds predicted labels that are known to the project."""
    return isinstance(layer, Labels) and "checkpoint_id" in layer.metadata


def images_of(labels: Labels, viewer: ViewerModel) -> list[Layer]:
    """The layers that labels were predicted from; empty when one of them is gone."""
    wanted = labels.metadata.get("image_ids") or []
    found = {str(layer.unique_id): layer for layer in viewer.layers}
    return [found[one] for one in wanted] if wanted and all(one in found for one in wanted) else []


def show_opened(
    viewer: ViewerModel, opened: OpenedPrediction, say: Callable[[str], None]
) -> Labels:
    """Show a kept prediction on its image: on a layer of it that is there, on its file, or alone."""
    # The project may come from Windows: its paths have backslashes.
    file = opened.predicted.origin.replace("\\", "/").rpartition("/")[2]
    name = f"{file} {opened.predicted.checkpoint_id}"
    for layer in _layers_of(opened, viewer):
        metadata = {**opened.predicted.facts, "image_ids": [str(layer.unique_id)]}
        try:
            return add_labels(
                viewer, np.asarray(opened.labels.data), layer, name=name, metadata=metadata
            )
        except MaskloopError:  # a layer of that name that shows something else
            continue
    if opened.image is None:
        say(opened.why_no_image)
        scale = [opened.labels.pixel_size_um.get(letter, 1.0) for letter in opened.labels.axes]
        metadata = {**opened.predicted.facts, "axes": opened.labels.axes}
        alone = viewer.add_labels(
            np.asarray(opened.labels.data), name=name, scale=scale, metadata=metadata
        )
        assert isinstance(alone, Labels)
        return alone
    image = _add_image(viewer, opened.image)
    metadata = {**opened.predicted.facts, "image_ids": [str(image.unique_id)]}
    return add_labels(
        viewer,
        np.asarray(opened.labels.data),
        image,
        name=name,
        metadata=metadata,
        axes=opened.image.axes,
    )


def _layers_of(opened: OpenedPrediction, viewer: ViewerModel) -> list[ImageLayer]:
    origin = opened.predicted.origin
    images = [layer for layer in reversed(viewer.layers) if isinstance(layer, ImageLayer)]
    return [layer for layer in images if origin in (str(layer.source.path), f"layer {layer.name}")]


def _add_image(viewer: ViewerModel, image: Image) -> ImageLayer:
    is_rgb = image.axes.endswith("C") and image.channels == 3
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
