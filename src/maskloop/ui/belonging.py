"""Which image a mask was made on, so that it is never saved for another one."""

from __future__ import annotations

from napari.layers import Layer

from maskloop.ui.layer_metadata import IMAGE, PAIR, PROJECT, SHOWN

__all__ = ["belongs", "key_of"]


def key_of(image: Layer) -> str:
    """Identifies what an image layer shows now.

    A layer of the queue is used for one file after the other, so that its ``unique_id`` alone
    would give the mask of one file to the next.
    """
    return str(image.metadata.get(SHOWN) or image.unique_id)


def belongs(mask: Layer, image: Layer) -> bool | None:
    """Whether a mask was made on this image; None if nothing tells."""
    of_mask, of_image = mask.metadata, image.metadata
    if of_mask.get(IMAGE) == key_of(image):
        return True
    pair = of_image.get(PAIR)
    if pair is not None and of_mask.get(PAIR) == pair:
        return bool(of_mask.get(PROJECT) == of_image.get(PROJECT))
    predicted = of_mask.get("image_ids")
    if IMAGE not in of_mask and isinstance(predicted, list | tuple) and predicted:
        return str(image.unique_id) in predicted
    return False if IMAGE in of_mask or PAIR in of_mask else None
