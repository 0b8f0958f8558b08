"""Convolutions of volumes whose weight gradients are right on every processor.

With AMX, oneDNN (as in PyTorch 2.13) writes outside its buffers when it computes the weight
gradient of a bf16 convolution of volumes with few, large planes: the gradient is NaN, wrong, or the
process crashes. The same gradient is a sum of those of 2D convolutions of planes, which are right
and take the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import Function, once_differentiable
from torch.nn import functional

__all__ = ["Conv3d", "ConvTranspose3d", "weight_gradient"]

ONES = [1, 1, 1]


class Conv3d(nn.Conv3d):
    """As PyTorch's, with weight gradients that can be trusted in bf16."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, inputs, Z, Y, X) to (N, outputs, Z', Y', X')."""
        if input.device.type != "cpu":
            return super().forward(input)
        weight, padding = self.weight, [int(length) for length in self.padding]
        if input.shape[2] == 1 and padding[0]:
            # The other planes of the kernel see only padding; with them oneDNN's bf16 result for a
            # single channel is wrong.
            weight, padding = weight[:, :, padding[0] : padding[0] + 1], [0, *padding[1:]]
        if not _is_affected(input):
            return functional.conv3d(input, weight, self.bias, self.stride, padding)
        return _convolve(self, input, weight, padding)


class ConvTranspose3d(nn.ConvTranspose3d):
    """As PyTorch's, with weight gradients that can be trusted in bf16; it has no padding."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(N, inputs, Z, Y, X) to (N, outputs, Z', Y', X')."""
        if output_size is not None or not _is_affected(input):
            return super().forward(input, output_size)
        return _convolve(self, input, self.weight, [0, 0, 0])


def _is_affected(images: Tensor) -> bool:
    """Whether gradients of bf16 are asked for on a processor; all else is right as it is."""
    if images.device.type != "cpu" or not torch.is_grad_enabled():
        return False
    return images.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")


def _convolve(
    layer: nn.Conv3d | nn.ConvTranspose3d, images: Tensor, weight: Tensor, padding: list[int]
) -> Tensor:
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else images.dtype
    bias = None if layer.bias is None else layer.bias.to(dtype)
    result: Tensor = _Convolution.apply(  # type: ignore[no-untyped-call]
        images.to(dtype), weight.to(dtype), bias, list(layer.stride), padding, layer.transposed
    )
    return result


class _Convolution(Function):
    """A convolution of volumes; its weight gradient is computed plane by plane."""

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: list[int],
        padding: list[int],
        is_transposed: bool,
    ) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.settings = stride, padding, is_transposed
        return torch.convolution(
            images, weight, bias, stride, padding, ONES, is_transposed, [0, 0, 0], 1
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        images, weight = ctx.saved_tensors
        # None where autograd needs no gradient.
        of_images: Tensor | None = None
        of_weight: Tensor | None = None
        of_bias: Tensor | None = None
        if ctx.needs_input_grad[0]:
            of_images = _gradients(gradient, images, weight, *ctx.settings, of="images")
        if ctx.needs_input_grad[1]:
            stride, padding, is_transposed = ctx.settings
            of_weight = weight_gradient(
                gradient, images, weight, stride, padding, is_transposed=is_transposed
            )
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 2, 3, 4))
        return of_images, of_weight, of_bias, None, None, None


def weight_gradient(
    gradient: Tensor,
    images: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    *,
    is_transposed: bool,
) -> Tensor:
    """What a convolution's weight should change by, as a sum of convolutions of planes.

    Each plane of the kernel sees pairs of an input and an output plane.

    Parameters
    ----------
    gradient, images
        Of the output (N, outputs, Z', Y', X'); the input (N, inputs, Z, Y, X).
    weight
        As PyTorch keeps it; only its shape counts.
    stride, padding
        Along ZYX; a transposed convolution has no padding.
    is_transposed
        Whether it is a transposed convolution.
    """
    # The strided side is the input of a convolution, and the output of a transposed one.
    wide, narrow = (gradient, images) if is_transposed else (images, gradient)
    result = torch.zeros_like(weight)
    for plane in range(weight.shape[2]):
        shift = plane - padding[0]
        # Planes n of the narrow side meet planes n * stride + shift of the wide one; what would
        # meet the padding adds nothing.
        first = max(0, -(shift // stride[0]))
        last = min(narrow.shape[2] - 1, (wide.shape[2] - 1 - shift) // stride[0])
        if last < first:
            continue
        begin, end = first * stride[0] + shift, last * stride[0] + shift
        met = _planes(wide[:, :, begin : end + 1 : stride[0]])
        own = _planes(narrow[:, :, first : last + 1])
        output, source = (met, own) if is_transposed else (own, met)
        result[:, :, plane] = _gradients(
            output, source, weight[:, :, plane], stride[1:], padding[1:], is_transposed, of="weight"
        )
    return result


def _planes(volumes: Tensor) -> Tensor:
    """(N, C, Z, Y, X) as images (N * Z, C, Y, X); a view where channels come last in memory."""
    images = volumes.transpose(1, 2).flatten(0, 1)
    return images.contiguous(memory_format=torch.channels_last)


def _gradients(
    gradient: Tensor,
    images: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    is_transposed: bool,
    *,
    of: str,
) -> Tensor:
    dims = len(stride)
    found = torch.ops.aten.convolution_backward(
        gradient,
        images,
        weight,
        None,
        list(stride),
        list(padding),
        ONES[:dims],
        is_transposed,
        [0] * dims,
        1,
        [of == "images", of == "weight", False],
    )
    result: Tensor = found[0] if of == "images" else found[1]
    return result
