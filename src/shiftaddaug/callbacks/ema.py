"""Exponential moving average of the weights."""

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class WarmedUpEMA(WeightAveraging):
    """Validate, keep and deploy an exponential moving average of weights and batch-norm statistics.

    The decay after n updates is min(decay, (1 + n) / (10 + n)), as in TensorFlow's moving averages and in timm's with
    warm-up: a short run would otherwise be averaged with its random beginning.

    Args:
        decay: of the average, in [0, 1).
    """

    def __init__(self, decay: float = 0.999) -> None:
        def average(averaged: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
            n = int(updates)
            weight = 1 - min(decay, (1 + n) / (10 + n))
            if not torch.is_floating_point(averaged):  # batch-norm's count of batches
                return current
            return averaged.lerp(current, weight)

        super().__init__(use_buffers=True, avg_fn=average)
