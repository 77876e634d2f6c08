"""Depthwise convolution by multiplication: what `F.conv2d` computes, on the native CPU core where there is one.

Torch's own depthwise gradients are several times slower on a CPU than its forward pass (benchmarks/operators.py).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input, conv2d_weight

from shiftaddaug.kernels.depthwise import native
from shiftaddaug.kernels.geometry import Pair, conv2d_geometry, pair
from shiftaddaug.kernels.layout import empty_input_grad, empty_output, register_conv_flops
from shiftaddaug.kernels.native import library
from shiftaddaug.kernels.native.run import in_layout_of

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
    if not native.serves(x, w) or torch.is_autocast_enabled("cpu"):
        return F.conv2d(x, w, None, stride, padding, dilation, x.shape[1])
    y: Tensor = _depthwise(x, w, pair("stride", stride, 1), pair("padding", padding, 0), pair("dilation", dilation, 1))
    return y


@torch.library.custom_op("shiftaddaug::depthwise_conv2d", mutates_args=())
def _depthwise(x: Tensor, w: Tensor, stride: list[int], padding: list[int], dilation: list[int]) -> Tensor:
    arguments = ((stride[0], stride[1]), (padding[0], padding[1]), (dilation[0], dilation[1]))
    if library() is None:
        return in_layout_of(x, F.conv2d(x, w, None, *arguments, x.shape[1]))
    return native.conv2d(x, w, *arguments)


@torch.library.custom_op("shiftaddaug::depthwise_conv2d_input_grad", mutates_args=())
def _input_grad(
    grad_y: Tensor, x: Tensor, w: Tensor, stride: list[int], padding: list[int], dilation: list[int]
) -> Tensor:
    arguments = ((stride[0], stride[1]), (padding[0], padding[1]), (dilation[0], dilation[1]))
    if library() is None:
        return in_layout_of(x, conv2d_input(x.shape, w, grad_y, *arguments, x.shape[1]))
    return native.input_grad(grad_y, x, w, *arguments)


@torch.library.custom_op("shiftaddaug::depthwise_conv2d_weight_grad", mutates_args=())
def _weight_grad(
    grad_y: Tensor, x: Tensor, w: Tensor, stride: list[int], padding: list[int], dilation: list[int]
) -> Tensor:
    arguments = ((stride[0], stride[1]), (padding[0], padding[1]), (dilation[0], dilation[1]))
    if library() is None:
        return conv2d_weight(x, w.shape, grad_y, *arguments, x.shape[1]).contiguous()
    return native.weight_grad(grad_y, x, w, *arguments)


@_depthwise.register_fake
def _fake_forward(x: Tensor, w: Tensor, stride: list[int], padding: list[int], dilation: list[int]) -> Tensor:
    arguments = ((stride[0], stride[1]), (padding[0], padding[1]), (dilation[0], dilation[1]))
    return empty_output(x, conv2d_geometry(x, w, *arguments, x.shape[1]))


@_input_grad.register_fake
def _fake_input_grad(grad_y: Tensor, x: Tensor, w: Tensor, *arguments: Any) -> Tensor:
    return empty_input_grad(x)


@_weight_grad.register_fake
def _fake_weight_grad(grad_y: Tensor, x: Tensor, w: Tensor, *arguments: Any) -> Tensor:
    return torch.empty_like(w, memory_format=torch.contiguous_format)


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, w, *ctx.arguments = inputs
    ctx.save_for_backward(x, w)


def _backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
    x, w = ctx.saved_tensors
    dx = _input_grad(grad_y, x, w, *ctx.arguments) if ctx.needs_input_grad[0] else None
    dw = _weight_grad(grad_y, x, w, *ctx.arguments) if ctx.needs_input_grad[1] else None
    return dx, dw, None, None, None


_depthwise.register_autograd(_backward, setup_context=_keep_inputs)
register_conv_flops(torch.ops.shiftaddaug, "depthwise_conv2d")
