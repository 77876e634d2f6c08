"""Add convolution: Y = -sum |X - W| over each patch, with AdderNet's published gradients.

`add_conv2d` is differentiable; the gradient functions are there for those who compute them apart. `implementation`
is the one place that chooses how they are computed.
"""

from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from shiftaddaug.kernels.add import naive
from shiftaddaug.kernels.add.geometry import Geometry, Pair, conv2d_geometry

__all__ = [
    "Geometry",
    "Pair",
    "add_conv2d",
    "add_conv2d_input_grad",
    "add_conv2d_weight_grad",
    "conv2d_geometry",
    "implementation",
]


def implementation(x: Tensor) -> ModuleType:
    """The module whose `add_conv2d`, `add_conv2d_input_grad` and `add_conv2d_weight_grad` serve such an input."""
    return naive


class _AddConv2d(torch.autograd.Function):
    """Keeps for the backward pass what a convolution keeps: x and w."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.arguments = (stride, padding, dilation, groups)
        y: Tensor = implementation(x).add_conv2d(x, w, *ctx.arguments)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        x, w = ctx.saved_tensors
        dx = add_conv2d_input_grad(grad_y, x, w, *ctx.arguments) if ctx.needs_input_grad[0] else None
        dw = add_conv2d_weight_grad(grad_y, x, w, *ctx.arguments) if ctx.needs_input_grad[1] else None
        return dx, dw, None, None, None, None


def add_conv2d(
    x: Tensor, w: Tensor, stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1, groups: int = 1
) -> Tensor:
    """Y[n,f,p] = -sum_k |X[n,k,p] - W[f,k]|, differentiable once (AdderNet, arXiv 1912.13200, sections 3.1-3.2).

    NOTE: the gradients are the published ones, dY/dX = HardTanh(W - X) and dY/dW = X - W, not the derivatives.

    Args:
        x: (N, C, H, W), floating; half precision is computed in float32.
        w: (F, C / groups, kh, kw), of the same dtype and device; depthwise if groups = C.
        stride, padding, dilation: integers or (vertical, horizontal) pairs; padding adds zeros that take part.

    Returns:
        (N, F, H', W') of x's dtype.

    Raises:
        ValueError: arguments that make no convolution (see `conv2d_geometry`).
    """
    y: Tensor = _AddConv2d.apply(x, w, stride, padding, dilation, groups)
    return y


def add_conv2d_input_grad(
    grad_y: Tensor,
    x: Tensor,
    w: Tensor,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Tensor:
    """Gradient with respect to x; see `naive.add_conv2d_input_grad`."""
    dx: Tensor = implementation(x).add_conv2d_input_grad(grad_y, x, w, stride, padding, dilation, groups)
    return dx


def add_conv2d_weight_grad(
    grad_y: Tensor,
    x: Tensor,
    w: Tensor,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Tensor:
    """Gradient with respect to w; see `naive.add_conv2d_weight_grad`."""
    dw: Tensor = implementation(x).add_conv2d_weight_grad(grad_y, x, w, stride, padding, dilation, groups)
    return dw
