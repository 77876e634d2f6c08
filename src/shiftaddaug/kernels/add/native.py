"""Add convolution on the native CPU core: float32, exact |x - w|, any geometry and layout.

Same functions as `naive`. Channels adjacent in memory (channels_last, and slices of it) are read in place; other
layouts are copied. Float16 and bfloat16 are computed in float32. The weight gradient of a dense convolution is a
matrix product, and torch's own. Input gradients in which a slope may be nan are those of `naive`.
"""

import torch
from torch import Tensor

from shiftaddaug.kernels.add import naive
from shiftaddaug.kernels.geometry import Geometry, Pair, check_output_gradient, conv2d_geometry
from shiftaddaug.kernels.native import ADD, FORWARD, INPUT_GRAD, WEIGHT_GRAD, Library, library, why_not
from shiftaddaug.kernels.native.run import compute, dense_channels_last, in_layout_of, readable

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def available(x: Tensor) -> bool:
    """Whether the core can serve such an input."""
    return x.device.type == "cpu" and x.dtype in DTYPES and library() is not None


@torch.no_grad()
def add_conv2d(
    x: Tensor,
    w: Tensor,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    scale: float = 1.0,
    core: Library | None = None,
) -> Tensor:
    """Compute `naive.add_conv2d` on the core. `core` is the installed library by default."""
    geometry = conv2d_geometry(x, w, stride, padding, dilation, groups)
    y = dense_channels_last(geometry.output_shape)
    compute(core, ADD, FORWARD, readable(x), w.float(), y, y, geometry, scale)
    return in_layout_of(x, y)


@torch.no_grad()
def add_conv2d_input_grad(
    grad_y: Tensor,
    x: Tensor,
    w: Tensor,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    scale: float = 1.0,
    core: Library | None = None,
) -> Tensor:
    """Compute `naive.add_conv2d_input_grad` on the core."""
    geometry = conv2d_geometry(x, w, stride, padding, dilation, groups)
    check_output_gradient(grad_y, x, geometry)
    dx = dense_channels_last(tuple(x.shape))
    if not compute(core, ADD, INPUT_GRAD, readable(x), w.float(), readable(grad_y), dx, geometry, scale):
        return naive.add_conv2d_input_grad(grad_y, x, w, stride, padding, dilation, groups, scale)
    return in_layout_of(x, dx)


@torch.no_grad()
def add_conv2d_weight_grad(
    grad_y: Tensor,
    x: Tensor,
    w: Tensor,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    scale: float = 1.0,
    core: Library | None = None,
) -> Tensor:
    """Compute `naive.add_conv2d_weight_grad` on the core."""
    geometry = conv2d_geometry(x, w, stride, padding, dilation, groups)
    check_output_gradient(grad_y, x, geometry)
    if not _one_filter_per_channel(x, w, geometry):
        return naive.add_conv2d_weight_grad(grad_y, x, w, stride, padding, dilation, groups, scale)
    dw = torch.empty(w.shape, dtype=torch.float32, device="cpu")
    compute(core, ADD, WEIGHT_GRAD, readable(x), w.float(), readable(grad_y), dw, geometry, scale)
    return dw.to(w.dtype)


def _one_filter_per_channel(x: Tensor, w: Tensor, geometry: Geometry) -> bool:
    return geometry.groups == x.shape[1] == w.shape[0]


def describe() -> str:
    """One line on the core that computes on the CPU, or why there is none."""
    core = library()
    return f"native core ({core.isa})" if core is not None else f"plain torch: {why_not()}"
