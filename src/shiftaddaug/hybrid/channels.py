"""Taking channels apart and putting them together so that gradients keep the layout of what they are gradients of.

Torch's own slices give back gradients padded with zeros, in the plain (N, C, H, W) order: next to channels_last
tensors they slow every backward pass that meets them several times.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _Split(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, channels: int) -> tuple[Tensor, Tensor]:
        return x[:, :channels], x[:, channels:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, first: Tensor, rest: Tensor) -> tuple[Tensor, None]:
        return torch.cat([first, rest], 1), None


class _WithFirst(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, channels: int) -> tuple[Tensor, Tensor]:
        ctx.channels = channels
        return x.view_as(x), x[:, :channels]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, whole: Tensor, first: Tensor) -> tuple[Tensor, None]:
        gradient = whole.clone()
        gradient[:, : ctx.channels] += first
        return gradient, None


class _AddToFirst(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, part: Tensor) -> Tensor:
        ctx.channels = part.shape[1]
        ctx.mark_dirty(y)
        y[:, : ctx.channels] += part
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        return gradient, gradient[:, : ctx.channels]


def split_channels(x: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """The first `channels` of x (N, C, ...), and the rest: views."""
    first, rest = _Split.apply(x, channels)
    return first, rest


def with_first_channels(x: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """Return x (N, C, ...) and its first `channels`: views of the same memory, to be read."""
    whole, first = _WithFirst.apply(x, channels)
    return whole, first


def add_to_first_channels(y: Tensor, part: Tensor) -> Tensor:
    """Add `part` (N, at most C, ...) to the first channels of y (N, C, ...), in place. Nobody else may need y.

    The result has the wider dtype of the two: under autocast add layers stay in float32, for their large outputs need
    the bits.
    """
    total: Tensor = _AddToFirst.apply(y.to(torch.promote_types(y.dtype, part.dtype)), part)
    return total
