"""Batch-norm statistics measured anew, for weights that were not trained with the ones they have."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from shiftaddaug.hybrid.norm import HybridBatchNorm2d

NORMS = (HybridBatchNorm2d, nn.BatchNorm2d)


@torch.no_grad()
def recalibrate(net: nn.Module, batches: Iterable[Tensor]) -> int:
    """Replace the running statistics of a network's (or a supernet's target's) norms by means over batches.

    Each statistic becomes the average of what the batches give, all weighing the same (as NetAug re-estimates them,
    arXiv 2110.08890, in its code). Nothing else changes.

    Args:
        net: whose norms are `nn.BatchNorm2d` or the supernet's.
        batches: images (N, C, H, W), as in training.

    Returns:
        The number of batches; without any, the statistics stay.
    """
    training, count = net.training, 0
    net.train()
    with _all_else_restored(net) as norms:
        for count, images in enumerate(batches, start=1):
            for norm in norms:
                norm.momentum = 1.0 / count  # the mean of the first `count` batches
            net(images)
    net.train(training)
    return count


@torch.no_grad()
def average_over_processes(net: nn.Module) -> None:
    """Replace running statistics by their mean over all processes; does nothing where there is one only."""
    for statistic in _statistics_to_share(net):
        dist.all_reduce(statistic)
        statistic.div_(dist.get_world_size())


@torch.no_grad()
def take_from_first_process(net: nn.Module) -> None:
    """Replace running statistics by those of the first process, whose checkpoints are kept."""
    for statistic in _statistics_to_share(net):
        dist.broadcast(statistic, src=0)


def _statistics_to_share(net: nn.Module) -> list[Tensor]:
    if not (dist.is_available() and dist.is_initialized()):
        return []
    norms: list[Any] = [module for module in net.modules() if isinstance(module, NORMS)]
    return [statistic for norm in norms for statistic in (norm.running_mean, norm.running_var)]


@contextmanager
def _all_else_restored(net: nn.Module) -> Iterator[list[Any]]:
    norms: list[Any] = [module for module in net.modules() if isinstance(module, NORMS)]
    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    try:
        yield norms
    finally:
        for norm, (momentum, batches) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(batches)
