"""Add convolution by operations of torch alone: for files that run without this package, ONNX among them.

The law is `naive`. It is used where `kernels.tracing.is_recorded()`. The number of images stays open in what is
recorded, and so do height and width unless another layer asks for them.

Memory, beside input and output, for each image:

- a dense convolution holds its patches (C * kh * kw * H' * W' elements, none for a 1x1 kernel), and two buffers, each
  as large as `AT_ONCE` times the larger of patches and output; or as the patches times F / `PARTS`, where that is more;
- a depthwise one holds three buffers of kw * F * H' * W' elements.

Loops over filters and kernel rows are unrolled: torch's exporters write none, and take time for each operation.

NOTE: derivatives of what is recorded are those of |x - w|, not those that AdderNet publishes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from shiftaddaug.kernels.geometry import Pair, conv2d_geometry, pair
from shiftaddaug.kernels.tracing import fixed_sizes

AT_ONCE, PARTS = 8, 16
"""Filters of a dense convolution whose differences are taken at once (more of them where patches are smaller than the
output), and the most parts that filters are divided into, which bounds the number of operations."""


def add_conv2d(
    x: Tensor,
    w: Tensor,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    scale: float = 1.0,
) -> Tensor:
    """Return Y = -scale * sum |X - W| over each patch.

    Args:
        x: (N, C, H, W), floating; half precision is computed in float32.
        w: (F, C / groups, kh, kw), of the same dtype and device; depthwise if groups = C.

    Returns:
        (N, F, H', W') of x's dtype.

    Raises:
        ValueError: arguments that make no convolution (see `conv2d_geometry`); a trace does not look.
    """
    if not torch.jit.is_tracing():  # which would record sizes for the comparisons, and warn of them
        conv2d_geometry(x, w, stride, padding, dilation, groups)
    _, channels, *kernel = fixed_sizes(w)
    window = _Window((kernel[0], kernel[1]), pair("stride", stride, 1), pair("dilation", dilation, 1))
    vertical, horizontal = pair("padding", padding, 0)
    dtype = torch.promote_types(x.dtype, torch.float32)
    inputs, weight = (
        (x, w) if x.dtype == dtype else (x.to(dtype), w.to(dtype))
    )  # a cast is recorded where it casts nothing
    if vertical or horizontal:
        inputs = F.pad(inputs, (horizontal, horizontal, vertical, vertical))
    if groups == 1:
        distance = _dense(inputs, weight, window)
    elif channels == 1:
        distance = _depthwise(inputs, weight, groups, window)
    else:
        each = zip(inputs.chunk(groups, 1), weight.chunk(groups), strict=True)
        distance = torch.cat([_dense(part, filters, window) for part, filters in each], 1)
    y = distance * -scale
    return y if x.dtype == dtype else y.to(x.dtype)


@dataclass(frozen=True)
class _Window:
    """What a kernel sees; pairs are (vertical, horizontal)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]

    def rows(self, x: Tensor) -> Iterator[Tensor]:
        """Yield what each kernel row meets of a padded input (..., H, W): (..., H', W)."""
        return (x[..., self._seen(0, i), :] for i in range(self.kernel[0]))

    def columns(self, row: Tensor) -> Iterator[Tensor]:
        """Yield what each element of a kernel row meets: (..., H', W')."""
        return (row[..., self._seen(1, j)] for j in range(self.kernel[1]))

    def _seen(self, axis: int, place: int) -> slice:
        """Positions along an axis; the end is counted from the last one, so that no size is needed."""
        step = self.dilation[axis]
        return slice(place * step, (place - self.kernel[axis] + 1) * step or None, self.stride[axis])


def _dense(x: Tensor, w: Tensor, window: _Window) -> Tensor:
    """Distances of each patch of a padded input to all filters, (N, F, H', W')."""
    patches = _joined([part for row in window.rows(x) for part in window.columns(row)]).unsqueeze(1)
    filters = w.permute(0, 2, 3, 1).flatten(1)[:, :, None, None]
    count, inputs, *_ = fixed_sizes(filters)
    at_once = max(AT_ONCE * max(inputs, count) // inputs, -(-count // PARTS))
    parts = (filters[first : first + at_once] for first in range(0, count, at_once))
    return _joined([(patches - part).abs().sum(2) for part in parts])


def _depthwise(x: Tensor, w: Tensor, groups: int, window: _Window) -> Tensor:
    """Distances of each channel's patches to its own filters, (N, F, H', W')."""
    count, *_ = fixed_sizes(w)
    inputs = (x.repeat_interleave(count // groups, 1) if count > groups else x).unsqueeze(1)
    weight = w.permute(2, 3, 0, 1).unsqueeze(4)  # (kh, kw, F, 1, 1)
    total: Tensor | None = None
    for i, row in enumerate(window.rows(inputs)):
        part = (_joined(list(window.columns(row))) - weight[i]).abs().sum(1)
        total = part if total is None else total + part
    assert total is not None
    return total


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)
