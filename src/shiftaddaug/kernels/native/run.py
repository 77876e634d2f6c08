"""The way from tensors to the core and back: layouts, empty tensors, threads."""

import math

import torch
from torch import Tensor

from shiftaddaug.kernels.geometry import Geometry
from shiftaddaug.kernels.layout import memory_format_of
from shiftaddaug.kernels.native.library import Library, library
from shiftaddaug.kernels.native.problem import make_problem


def readable(x: Tensor) -> Tensor:
    """Return x as the core reads it: float32, channels adjacent; a copy only if it must be."""
    x = x.float()
    adjacent = x.stride(1) == 1 or x.shape[1] == 1
    return x if adjacent else x.contiguous(memory_format=torch.channels_last)


def dense_channels_last(shape: tuple[int, ...]) -> Tensor:
    """An uninitialised float32 tensor (N, C, H, W), whatever the default dtype and device are."""
    return torch.empty(shape, dtype=torch.float32, device="cpu", memory_format=torch.channels_last)


def in_layout_of(x: Tensor, y: Tensor) -> Tensor:
    """Return y, of x's dtype and in x's layout."""
    return y.to(x.dtype).contiguous(memory_format=memory_format_of(x))


def compute(
    core: Library | None,
    arithmetic: int,
    direction: int,
    x: Tensor,
    w: Tensor,
    y: Tensor,
    out: Tensor,
    geometry: Geometry,
    scale: float,
) -> bool:
    """Fill `out`; arguments as in `make_problem`. Without outputs there is no gradient; without inputs, only padding.

    Returns:
        Whether that is done. The core leaves an input gradient to others where weights are not finite, or inputs of
        an add convolution are nan.

    Raises:
        RuntimeError: there is no core.
        MemoryError: not enough memory for its buffers.
    """
    core = core or library()
    if core is None:
        raise RuntimeError("the native core is not there: see shiftaddaug.kernels.native.why_not()")
    if out.numel() == 0 or y.numel() == 0:
        out.zero_()
        return True
    macs = y.numel() * math.prod(w.shape[1:])
    return core.run(make_problem(arithmetic, direction, x, w, y, out, geometry, scale), macs)
