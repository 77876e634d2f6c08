"""Width-sliced batch-norm: scale and shift are shared, the target's statistics are the target's own."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from shiftaddaug.hybrid.widths import Widths


class HybridBatchNorm2d(nn.Module):
    """Batch-norm whose target statistics no augmented pass moves.

    Scale, shift and running statistics are those of the widest width, sliced. A target pass behaves as
    `nn.BatchNorm2d` on the target's slice. An augmented pass normalises with its batch's statistics, in training and
    evaluation, and never reads the running ones. In training it moves those of the channels beyond the target's
    alone: a channel that a reorder brings into the target comes with statistics, and what was sampled can not reach
    the target's evaluation. NOTE: NetAug keeps one set and re-estimates it instead.

    Args:
        widths: of the channels.
        eps: added to the variance.
        momentum: share of a batch's statistics in the running ones.
        synchronised: normalise, while training, over the batches of all processes. Unlike torch's SyncBatchNorm it
            computes on every device.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, widths: Widths, eps: float = 1e-5, momentum: float = 0.1, synchronised: bool = False) -> None:
        super().__init__()
        self.widths, self.eps, self.momentum, self.synchronised = widths, eps, momentum, synchronised
        self.frozen = False
        """Whether the target's statistics stay as they are, and normalise in training, too."""
        self.weight = nn.Parameter(torch.ones(widths.max))
        self.bias = nn.Parameter(torch.zeros(widths.max))
        self.register_buffer("running_mean", torch.zeros(widths.max))
        self.register_buffer("running_var", torch.ones(widths.max))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.long))  # the target's

    def forward(self, x: Tensor, augmented: bool = False) -> Tensor:
        """Normalise x (N, C, H, W), 1 <= C <= max.

        Unless augmented, running statistics are used and moved as the target's: a wider sub-network evaluated in this
        way needs statistics measured for it (`nets/recalibrate.py`).
        """
        if augmented:
            return self._augmented(x)
        channels = x.shape[1]
        moves = self.training and not self.frozen
        if moves:
            self.num_batches_tracked.add_(1)
        mean, var = self.running_mean[:channels], self.running_var[:channels]
        weight, bias = self.weight[:channels], self.bias[:channels]
        return self._normalise(x, mean, var, weight, bias, moves)

    def _augmented(self, x: Tensor) -> Tensor:
        target, channels = self.widths.target, x.shape[1]
        weight, bias = self.weight[:channels], self.bias[:channels]
        if not self.training or self.frozen or channels <= target:
            return self._normalise(x, None, None, weight, bias, True)
        mean, var = self.running_mean[:channels].clone(), self.running_var[:channels].clone()
        y = self._normalise(x, mean, var, weight, bias, True)
        # .data: the target pass's graph holds on to the statistics, and would refuse ones written since
        self.running_mean.data[target:channels] = mean[target:]
        self.running_var.data[target:channels] = var[target:]
        return y

    def _normalise(
        self, x: Tensor, mean: Tensor | None, var: Tensor | None, weight: Tensor, bias: Tensor, by_batch: bool
    ) -> Tensor:
        """Compute `F.batch_norm`, which moves `mean` and `var` while training; over all processes if so wished."""
        if self.synchronised and self.training and by_batch and dist.is_available() and dist.is_initialized():
            return batch_norm_over_processes(x, mean, var, weight, bias, self.momentum, self.eps)
        return F.batch_norm(x, mean, var, weight, bias, by_batch, self.momentum, self.eps)

    def state(self, channels: int | None = None) -> dict[str, Tensor]:
        """Return the state dict of a plain `nn.BatchNorm2d` of the first channels, by default the target's."""
        channels = self.widths.target if channels is None else channels
        state: Mapping[str, Tensor] = {
            "weight": self.weight[:channels],
            "bias": self.bias[:channels],
            "running_mean": self.running_mean[:channels],
            "running_var": self.running_var[:channels],
            "num_batches_tracked": self.num_batches_tracked,
        }
        return {name: value.detach().clone() for name, value in state.items()}


def batch_norm_over_processes(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    momentum: float,
    eps: float,
) -> Tensor:
    """Batch-norm in training, its statistics taken over the batches of all processes (one call on each).

    Two rounds, the mean first: the variance as a mean of squares less a squared mean would cancel.

    Args:
        x: (N, C, H, W), N and H and W may differ between processes.
        running_mean, running_var: (C,), moved by `momentum` towards the batch's (variance unbiased), or None.
        weight, bias: (C,).
        momentum, eps: as `F.batch_norm`'s.

    Returns:
        Tensor of x's shape and dtype.
    """
    dims, shape = (0, 2, 3), (1, -1, 1, 1)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    count = wide.new_tensor([x.numel() / x.shape[1]])
    sums = _sum_over_processes(torch.cat([wide.sum(dims), count]))
    count = sums[-1].detach()
    mean = sums[:-1] / count
    deviation = wide - mean.view(shape)
    var = _sum_over_processes(deviation.square().sum(dims)) / count
    with torch.no_grad():
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((var * count / (count - 1)).to(running_var.dtype), momentum)
    scale = torch.rsqrt(var + eps) * weight
    return (deviation * scale.view(shape) + bias.view(shape)).to(x.dtype)


class _SumOverProcesses(torch.autograd.Function):
    """Sum over processes; the gradient of what one of them put in is the sum of all their gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def _sum_over_processes(values: Tensor) -> Tensor:
    total: Tensor = _SumOverProcesses.apply(values)
    return total
