"""Add convolution on GPUs through Triton: the functions of `naive`, which is law, for float32, float16 and bfloat16.

Computed in float32 and rounded once. Any layout is read in place; nothing of size filters x inputs x positions, and no
unfolded input, exists. The input gradient is gathered, without atomic additions: results repeat bit for bit. The
first call with a new class of sizes compiles and times kernels (`gpu_tuning`); Triton keeps both on disk.
"""

from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.nn.grad import conv2d_weight

from shiftaddaug.kernels.geometry import Geometry, Pair, check_output_gradient, conv2d_geometry
from shiftaddaug.kernels.layout import empty_input_grad, empty_output

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def available(x: Tensor) -> bool:
    """Whether these functions can serve such an input."""
    return x.is_cuda and x.dtype in DTYPES and has_triton()


@cache
def has_triton() -> bool:
    """Whether Triton is installed."""
    return find_spec("triton") is not None


@torch.no_grad()
def add_conv2d(
    x: Tensor,
    w: Tensor,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    scale: float = 1.0,
) -> Tensor:
    """Compute `naive.add_conv2d` on a GPU."""
    geometry = conv2d_geometry(x, w, stride, padding, dilation, groups)
    y = empty_output(x, geometry)
    if y.numel():
        _launch_forward(x, w, y, geometry, scale)
    return y


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
) -> Tensor:
    """Compute `naive.add_conv2d_input_grad` on a GPU.

    NOTE: in a dense convolution a nan of a weight or an input counts where it meets the border too. There `naive` has
    no term; the kernel has 0 * nan. To leave it out would cost an instruction for each of the 3 of a term.
    """
    geometry = conv2d_geometry(x, w, stride, padding, dilation, groups)
    check_output_gradient(grad_y, x, geometry)
    dx = empty_input_grad(x)
    if dx.numel():
        _launch_input_grad(grad_y, x, w, dx, geometry, scale)
    return dx


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
) -> Tensor:
    """Compute `naive.add_conv2d_weight_grad`: a convolution's gradient, on matrix units, minus W * sum(grad_y).

    NOTE: the convolution's part of a half-precision gradient is rounded to that precision before the difference.
    """
    geometry = conv2d_geometry(x, w, stride, padding, dilation, groups)
    check_output_gradient(grad_y, x, geometry)
    if x.shape[0] == 0:
        return torch.zeros_like(w)
    convolution = conv2d_weight(
        x, w.shape, grad_y, geometry.stride, geometry.padding, geometry.dilation, geometry.groups
    )
    sums = grad_y.sum((0, 2, 3), dtype=torch.float32).view(-1, 1, 1, 1)
    dw = torch.addcmul(convolution.float(), w.float(), sums, value=-1).mul_(scale)
    return torch.empty_like(w).copy_(dw)


def _launch_forward(x: Tensor, w: Tensor, y: Tensor, geometry: Geometry, scale: float) -> None:
    positions = y[:, 0].numel()
    if geometry.depthwise:
        from shiftaddaug.kernels.add.gpu_depthwise import depthwise_forward

        _launch(depthwise_forward, (x, w, y), x, geometry, scale, positions, y.shape[1])
    else:
        from shiftaddaug.kernels.add.gpu_kernels import dense_forward

        tensors = (x, _channels_adjacent(w), y)
        _launch(dense_forward, tensors, x, geometry, scale, positions, y.shape[1] // geometry.groups)


def _launch_input_grad(grad_y: Tensor, x: Tensor, w: Tensor, dx: Tensor, geometry: Geometry, scale: float) -> None:
    (down, across), (height, width) = geometry.stride, x.shape[2:]
    positions = x.shape[0] * -(-height // down) * -(-width // across)  # of a phase
    if geometry.depthwise:
        from shiftaddaug.kernels.add.gpu_depthwise import depthwise_input_grad

        tensors = (grad_y, x, w, dx)
        _launch(depthwise_input_grad, tensors, x, geometry, scale, positions, x.shape[1], down * across)
    else:
        from shiftaddaug.kernels.add.gpu_kernels import dense_input_grad

        tensors = (grad_y, x, _channels_adjacent(w), dx)
        columns = x.shape[1] // geometry.groups
        _launch(dense_input_grad, tensors, x, geometry, scale, positions, columns, down * across)


def _channels_adjacent(w: Tensor) -> Tensor:
    return w if w.stride(1) == 1 else w.contiguous(memory_format=torch.channels_last)


def _launch(
    kernel: Any,
    tensors: tuple[Tensor, ...],
    x: Tensor,
    geometry: Geometry,
    scale: float,
    positions: int,
    columns: int,
    phases: int = 1,
) -> None:
    """Runs a kernel for positions x columns (filters or channels: of a group if dense, all if depthwise)."""
    from shiftaddaug.kernels.add.gpu_tuning import columns_of, positions_of, size_class

    channels, filters = x.shape[1] // geometry.groups, geometry.output_shape[1] // geometry.groups
    groups = 1 if geometry.depthwise else geometry.groups
    channels_last = x.stride(1) == 1
    taps = geometry.kernel[0] * geometry.kernel[1]

    def grid(tile: dict[str, Any]) -> tuple[int, int, int]:
        return -(-positions // positions_of(tile)) * -(-columns // columns_of(tile)), groups, phases

    with torch.cuda.device_of(x):
        kernel[grid](
            *tensors,
            *(t.stride() for t in tensors),
            x.shape[0],
            x.shape[1] if geometry.depthwise else channels,
            filters,
            *x.shape[2:],
            *geometry.output_shape[2:],
            *geometry.kernel,
            geometry.stride,
            geometry.padding,
            geometry.dilation,
            float(scale),
            size_class(positions * groups, channels * filters, columns, taps, channels_last),
            ADJACENT=x.stride(3) == 1 and not channels_last,
            enable_fp_fusion=True,  # multiply-adds; Triton's default changes with its version
        )
