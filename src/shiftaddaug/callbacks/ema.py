"""Exponential moving average of the weights."""

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.plugins import DoublePrecision
from torch import Tensor

from shiftaddaug.callbacks.order import Stage
from shiftaddaug.settings import ShareBelowOne, checked


class WarmedUpEMA(WeightAveraging):
    """Validate, keep and deploy an exponential moving average of weights and batch-norm statistics.

    The decay after n updates is min(decay, (1 + n) / (10 + n)), as in TensorFlow's moving averages: a short run would
    otherwise be averaged with its random beginning.

    The average is kept where training computes, in float32 (float64 in double precision). NOTE: where the weights
    themselves are of half precision (`bf16-true`), it takes their place while it is validated, and is rounded by that.

    Args:
        decay: of the average, in [0, 1).
    """

    stage = Stage.AVERAGE
    warn_when_idle = True

    @checked("callbacks.ema")
    def __init__(self, decay: ShareBelowOne = 0.999) -> None:
        self.decay = decay

        def average(averaged: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
            n = int(updates)
            weight = 1 - min(decay, (1 + n) / (10 + n))
            if not torch.is_floating_point(averaged):  # batch-norm's count of batches
                return current
            return averaged.lerp(current.to(averaged.dtype), weight)

        super().__init__(use_buffers=True, avg_fn=average)

    def idle(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> str | None:
        """Say that the average is nothing but the newest weights, if so."""
        return None if self.decay else "with decay=0 only the newest weights count"

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Move the average before Lightning moves and converts the module."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None:
            double = isinstance(trainer.precision_plugin, DoublePrecision)
            self._average_model.to(torch.float64 if double else torch.float32)
