"""Depthwise convolution and its gradients on the native CPU core: float32, any geometry and layout."""

import torch
from torch import Tensor
from torch.nn.grad import conv2d_input

from shiftaddaug.kernels.geometry import Pair, check_output_gradient, conv2d_geometry
from shiftaddaug.kernels.native import FORWARD, INPUT_GRAD, MULT, WEIGHT_GRAD, Library
from shiftaddaug.kernels.native.run import compute, dense_channels_last, in_layout_of, readable


def serves(x: Tensor, w: Tensor) -> bool:
    """Whether the core can serve these tensors: one filter for each of several channels, float32 on the CPU.

    It serves their shadows on the meta device, too: of a grouped convolution of torch's, torch counts too many FLOPs
    backward (2.15: those of the weight gradient, times the groups).
    """
    return (
        x.dim() == 4
        and x.device == w.device
        and x.device.type in ("cpu", "meta")
        and x.dtype == w.dtype == torch.float32
        and x.shape[1] == w.shape[0]
    )


@torch.no_grad()
def conv2d(
    x: Tensor,
    w: Tensor,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    core: Library | None = None,
) -> Tensor:
    """Compute `depthwise_conv2d` on the core. `core` is the installed library by default."""
    geometry = conv2d_geometry(x, w, stride, padding, dilation, x.shape[1])
    y = dense_channels_last(geometry.output_shape)
    compute(core, MULT, FORWARD, readable(x), w, y, y, geometry, 1.0)
    return in_layout_of(x, y)


@torch.no_grad()
def input_grad(
    grad_y: Tensor,
    x: Tensor,
    w: Tensor,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    core: Library | None = None,
) -> Tensor:
    """Gradient with respect to x, given that of the output; x counts for its shape and layout alone.

    Torch computes it where weights are not finite.
    """
    geometry = conv2d_geometry(x, w, stride, padding, dilation, x.shape[1])
    check_output_gradient(grad_y, x, geometry)
    dx = dense_channels_last(tuple(x.shape))
    if not compute(core, MULT, INPUT_GRAD, dx, w, readable(grad_y), dx, geometry, 1.0):
        pairs = (geometry.stride, geometry.padding, geometry.dilation)
        return in_layout_of(x, conv2d_input(x.shape, w, grad_y, *pairs, geometry.groups))
    return in_layout_of(x, dx)


@torch.no_grad()
def weight_grad(
    grad_y: Tensor,
    x: Tensor,
    w: Tensor,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    core: Library | None = None,
) -> Tensor:
    """Gradient with respect to w, given that of the output."""
    geometry = conv2d_geometry(x, w, stride, padding, dilation, x.shape[1])
    check_output_gradient(grad_y, x, geometry)
    dw = torch.empty(w.shape, dtype=torch.float32, device="cpu")
    compute(core, MULT, WEIGHT_GRAD, readable(x), w, readable(grad_y), dw, geometry, 1.0)
    return dw
