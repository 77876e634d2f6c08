"""Depthwise convolution by multiplication: what `F.conv2d` computes, on the native CPU core where there is one.

Torch's own depthwise gradients are several times slower on a CPU than its forward pass (benchmarks/operators.py).
In a pass that is recorded for elsewhere (`kernels/tracing.py`) the convolution is torch's.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input, conv2d_weight

from shiftaddaug.kernels.depthwise import native
from shiftaddaug.kernels.geometry import Geometry, Pair, conv2d_geometry, pair
from shiftaddaug.kernels.layout import plain_weight
from shiftaddaug.kernels.native import library
from shiftaddaug.kernels.native.run import in_layout_of
from shiftaddaug.kernels.registration import Convolution
from shiftaddaug.kernels.tracing import is_recorded

__all__ = ["depthwise_conv2d"]


def depthwise_conv2d(x: Tensor, w: Tensor, stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1) -> Tensor:
    """One filter per channel: float32 on the CPU differentiable once, everything else as `F.conv2d` is.

    Args:
        x: (N, C, H, W), floating.
        w: (C, 1, kh, kw), of the same dtype and device.

    Returns:
        (N, C, H', W'), laid out as x is.

    Raises:
        ValueError, RuntimeError: arguments that make no convolution.
    """
    if is_recorded() or not native.serves(x, w) or torch.is_autocast_enabled("cpu"):
        return F.conv2d(x, plain_weight(w), None, stride, padding, dilation, x.shape[1])
    return _depthwise(x, w, pair("stride", stride, 1), pair("padding", padding, 0), pair("dilation", dilation, 1))


def _forward(x: Tensor, w: Tensor, stride: list[int], padding: list[int], dilation: list[int]) -> Tensor:
    arguments = _pairs(stride, padding, dilation)
    if library() is None:
        return in_layout_of(x, F.conv2d(x, w, None, *arguments, x.shape[1]))
    return native.conv2d(x, w, *arguments)


def _input_grad(
    grad_y: Tensor, x: Tensor, w: Tensor, stride: list[int], padding: list[int], dilation: list[int]
) -> Tensor:
    arguments = _pairs(stride, padding, dilation)
    if library() is None:
        return in_layout_of(x, conv2d_input(x.shape, w, grad_y, *arguments, x.shape[1]))
    return native.input_grad(grad_y, x, w, *arguments)


def _weight_grad(
    grad_y: Tensor, x: Tensor, w: Tensor, stride: list[int], padding: list[int], dilation: list[int]
) -> Tensor:
    arguments = _pairs(stride, padding, dilation)
    if library() is None:
        return conv2d_weight(x, w.shape, grad_y, *arguments, x.shape[1]).contiguous()
    return native.weight_grad(grad_y, x, w, *arguments)


def _geometry(x: Tensor, w: Tensor, stride: list[int], padding: list[int], dilation: list[int]) -> Geometry:
    return conv2d_geometry(x, w, *_pairs(stride, padding, dilation), x.shape[1])


def _pairs(*lists: list[int]) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    stride, padding, dilation = ((vertical, horizontal) for vertical, horizontal in lists)
    return stride, padding, dilation


_depthwise = Convolution("depthwise_conv2d", _forward, _input_grad, _weight_grad, _geometry)
