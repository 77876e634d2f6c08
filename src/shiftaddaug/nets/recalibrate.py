"""Batch-norm statistics measured anew, for weights that were not trained with the ones they have."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
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
