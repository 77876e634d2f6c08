"""What every implementation of a convolution agrees on: which tensors fit together, and the output's shape."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

Pair = int | tuple[int, int]
"""A value for both spatial axes, or (vertical, horizontal)."""


@dataclass(frozen=True)
class Geometry:
    """A checked convolution; pairs are (vertical, horizontal)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    depthwise: bool
    """One input channel for each of several groups."""
    output_shape: tuple[int, int, int, int]
    """(N, F, output height, output width)."""


def conv2d_geometry(x: Tensor, w: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> Geometry:
    """Checks what torch.nn.functional.conv2d checks, and works out the output's shape.

    Args:
        x: (N, C, H, W), floating.
        w: (F, C / groups, kh, kw), of the same dtype and device.

    Raises:
        ValueError: tensors or numbers that make no convolution.
    """
    _check_tensors(x, w)
    symbolic = any(isinstance(size, torch.SymInt) for size in (*x.shape, *w.shape))  # and so without a hash
    work_out = _geometry.__wrapped__ if symbolic or torch.compiler.is_compiling() else _geometry
    return work_out(
        tuple(x.shape),
        tuple(w.shape),
        pair("stride", stride, 1),
        pair("padding", padding, 0),
        pair("dilation", dilation, 1),
        groups,
    )


@lru_cache(maxsize=4096)
def _geometry(
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    strides: tuple[int, int],
    paddings: tuple[int, int],
    dilations: tuple[int, int],
    groups: int,
) -> Geometry:
    images, channels, *size = x_shape
    filters, filter_channels, *kernel = w_shape
    if not isinstance(groups, int | torch.SymInt) or groups < 1:
        raise ValueError(f"groups={groups}: must be a positive integer")
    if filters % groups or channels != filter_channels * groups:
        raise ValueError(
            f"weight {w_shape} does not fit input {x_shape} with groups={groups}: "
            "(F, C / groups, kh, kw) and (N, C, H, W) with F divisible by groups expected"
        )
    if 0 in size:
        raise ValueError(f"input {x_shape} has no pixels")
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    padded = [s + 2 * p for s, p in zip(size, paddings, strict=True)]
    if any(p < s for p, s in zip(padded, spans, strict=True)):
        raise ValueError(f"padded input of {tuple(padded)} is smaller than the dilated kernel of {tuple(spans)}")
    height, width = ((p - s) // step + 1 for p, s, step in zip(padded, spans, strides, strict=True))
    return Geometry(
        kernel=(kernel[0], kernel[1]),
        stride=strides,
        padding=paddings,
        dilation=dilations,
        groups=groups,
        depthwise=filter_channels == 1 and groups > 1,
        output_shape=(images, filters, height, width),
    )


def check_output_gradient(grad_y: Tensor, x: Tensor, geometry: Geometry) -> None:
    """Raises ValueError unless grad_y looks like the output."""
    if tuple(grad_y.shape) != geometry.output_shape:
        raise ValueError(f"output gradient {tuple(grad_y.shape)} must have the output's shape {geometry.output_shape}")
    if grad_y.dtype != x.dtype or grad_y.device != x.device:
        raise ValueError(
            f"output gradient is {grad_y.dtype} on {grad_y.device}, input is {x.dtype} on {x.device}: must be the same"
        )


def _check_tensors(x: Tensor, w: Tensor) -> None:
    if x.dim() != 4 or w.dim() != 4:
        raise ValueError(f"input {tuple(x.shape)} and weight {tuple(w.shape)} must both have 4 dimensions")
    if x.dtype != w.dtype or x.device != w.device:
        raise ValueError(f"input is {x.dtype} on {x.device}, weight is {w.dtype} on {w.device}: must be the same")
    if not torch.is_floating_point(x):
        raise ValueError(f"input is {x.dtype}: must be a floating-point dtype")
    if 0 in w.shape:
        raise ValueError(f"weight {tuple(w.shape)} has no elements")


def pair(name: str, value: Pair, least: int) -> tuple[int, int]:
    """Return (vertical, horizontal); raise ValueError unless both are integers of at least `least`."""
    values = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if len(values) != 2 or not all(isinstance(v, int) for v in values):
        raise ValueError(f"{name}={value!r}: must be an integer or a pair of integers")
    if min(values) < least:
        raise ValueError(f"{name}={value}: must be at least {least}")
    return values[0], values[1]
