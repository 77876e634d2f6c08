"""What the torch operators of this folder share: the layout of outputs, and what they count as work."""

from typing import Any

import torch
from torch import Tensor

from shiftaddaug.kernels.geometry import Geometry


def memory_format_of(x: Tensor) -> torch.memory_format:
    """Return channels_last if x's channels are adjacent in memory, slices included; the plain order otherwise."""
    channels_last = not x.is_contiguous() and x.shape[1] > 1 and x.stride(1) == 1
    return torch.channels_last if channels_last else torch.contiguous_format


def empty_output(x: Tensor, geometry: Geometry) -> Tensor:
    """An output for x, uninitialised, in its layout."""
    return torch.empty(geometry.output_shape, dtype=x.dtype, device=x.device, memory_format=memory_format_of(x))


def empty_input_grad(x: Tensor) -> Tensor:
    """A gradient of x, uninitialised, in its layout."""
    return torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=memory_format_of(x))


def plain_weight(w: Tensor) -> Tensor:
    """Return w (F, C / groups, kh, kw) with the strides of a plain tensor of its shape; a copy only if it must be.

    A contiguous tensor may have any stride where a size is 1: `contiguous` returns it as it is, and torch may take it
    for a channels_last one. NOTE: torch (2.15, on the CPU) then gets the weight gradient of a grouped 1x1 convolution
    wrong, by more than its largest element, and refuses to compute that of a single filter.
    """
    return w.contiguous().view(-1).view(w.shape)


def register_conv_flops(namespace: Any, name: str) -> None:
    """Let `torch.utils.flop_counter` count `name` and its `_input_grad` and `_weight_grad` as convolutions:
    two operations for each multiply-accumulate, or for each difference and sum."""
    from torch.utils.flop_counter import register_flop_formula

    def forward(x_shape: Any, w_shape: Any, *arguments: Any, out_shape: Any = None, **more: Any) -> int:
        return 2 * _product(out_shape) * _product(w_shape[1:])

    def backward(grad_shape: Any, x_shape: Any, w_shape: Any, *arguments: Any, **more: Any) -> int:
        return 2 * _product(grad_shape) * _product(w_shape[1:])

    register_flop_formula(getattr(namespace, name))(forward)
    for gradient in ("input_grad", "weight_grad"):
        register_flop_formula(getattr(namespace, f"{name}_{gradient}"))(backward)


def _product(shape: Any) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
