"""What weights from elsewhere tell of the U-Net they were made for, by their names and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from maskloop.models.unet.records import shortest_strides

__all__ = ["network_of_weights"]


def network_of_weights(state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    """What can be read off the weights of one of our own networks; empty for others."""
    first, head = state_dict.get("encoder.0.convs.0.conv.weight"), state_dict.get("head.weight")
    if first is None or head is None or first.ndim not in (4, 5) or head.ndim != first.ndim:
        return {}
    # Names are "encoder.LEVEL.convs.N.conv.weight"; the first weight is (base, input, *kernel).
    depth = len({name.split(".")[1] for name in state_dict if name.startswith("encoder.")})
    return {
        "spatial_dims": f"{first.ndim - 2}d",
        "depth": depth,
        **_along_z(state_dict, depth),
        "base_channels": first.shape[0],
        "input_channels": first.shape[1],
        "output_channels": head.shape[0],
        "upsampling": "transpose" if "ups.0.weight" in state_dict else "bilinear",
        "preset": "attention_unet"
        if "gates.0.score.weight" in state_dict
        else _block_kind(state_dict),
    }


def _along_z(state_dict: Mapping[str, Tensor], depth: int) -> dict[str, Any]:
    """Z strides: transposed convolutions tell them by their kernels, interpolation does not."""
    # The decoder is kept from coarse to fine, strides are told from fine to coarse. Weights of a
    # transposed convolution are (in, out, Z, Y, X), as long as the stride.
    ups = [state_dict.get(f"ups.{level}.weight") for level in reversed(range(depth))]
    strides = tuple(up.shape[2] for up in ups if up is not None and up.ndim == 5)
    return {"z_strides": shortest_strides(strides)} if strides else {}


def _block_kind(state_dict: Mapping[str, Tensor]) -> str:
    return "resunet" if any(".shortcut." in name for name in state_dict) else "standard_unet"
