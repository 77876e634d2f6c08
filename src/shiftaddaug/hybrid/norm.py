"""Width-sliced batch-norm: scale and shift are shared, the target's statistics are the target's own."""

from collections.abc import Mapping

import torch
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
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, widths: Widths, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.widths, self.eps, self.momentum = widths, eps, momentum
        self.weight = nn.Parameter(torch.ones(widths.max))
        self.bias = nn.Parameter(torch.zeros(widths.max))
        self.register_buffer("running_mean", torch.zeros(widths.max))
        self.register_buffer("running_var", torch.ones(widths.max))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.long))  # the target's

    def forward(self, x: Tensor, augmented: bool = False) -> Tensor:
        """Normalise x (N, C, H, W), target <= C <= max; C = target unless augmented."""
        if augmented:
            return self._augmented(x)
        target = self.widths.target
        if self.training:
            self.num_batches_tracked.add_(1)
        mean, var = self.running_mean[:target], self.running_var[:target]
        weight, bias = self.weight[:target], self.bias[:target]
        return F.batch_norm(x, mean, var, weight, bias, self.training, self.momentum, self.eps)

    def _augmented(self, x: Tensor) -> Tensor:
        target, channels = self.widths.target, x.shape[1]
        weight, bias = self.weight[:channels], self.bias[:channels]
        if not self.training or channels == target:
            return F.batch_norm(x, None, None, weight, bias, True, 0.0, self.eps)
        mean, var = self.running_mean[:channels].clone(), self.running_var[:channels].clone()
        y = F.batch_norm(x, mean, var, weight, bias, True, self.momentum, self.eps)
        # .data: the target pass's graph holds on to the statistics, and would refuse ones written since
        self.running_mean.data[target:channels] = mean[target:]
        self.running_var.data[target:channels] = var[target:]
        return y

    def target_state(self) -> dict[str, Tensor]:
        """State dict of the deployed `nn.BatchNorm2d`."""
        target = self.widths.target
        state: Mapping[str, Tensor] = {
            "weight": self.weight[:target],
            "bias": self.bias[:target],
            "running_mean": self.running_mean[:target],
            "running_var": self.running_var[:target],
            "num_batches_tracked": self.num_batches_tracked,
        }
        return {name: value.detach().clone() for name, value in state.items()}
