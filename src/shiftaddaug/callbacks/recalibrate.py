"""Batch-norm statistics of the target, measured anew before every validation."""

from collections import deque
from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from shiftaddaug.callbacks.order import Stage
from shiftaddaug.nets.recalibrate import average_over_processes, recalibrate
from shiftaddaug.settings import PositiveInt, checked


class RecalibrateBatchNorm(pl.Callback):
    """Average the target's batch-norm statistics over the last trained batches of an epoch, before each validation.

    A task that is not `validated` has them measured at the end of each epoch.

    At a high learning rate running averages lag behind the weights, in add nets so far that a net that learns looks
    like chance. Training itself never reads the running statistics, so it is unchanged; the checkpoints that follow,
    and the deployed target, hold the measured ones.

    Args:
        batches: how many; kept in memory until their epoch ends.

    Raises:
        UserError: not a positive number of batches.
    """

    stage = Stage.STATISTICS

    @checked("callbacks.recalibrate")
    def __init__(self, batches: PositiveInt = 16) -> None:
        self.images: deque[Tensor] = deque(maxlen=batches)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.images.clear()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: tuple[Tensor, Tensor], batch_idx: int
    ) -> None:
        self.images.append(batch[0])

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self._measure(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Measure for the checkpoint, where no validation comes before it."""
        if not getattr(pl_module, "validated", True):
            self._measure(trainer, pl_module)
        self.images.clear()

    def _measure(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if not self.images:
            return
        with trainer.precision_plugin.forward_context():  # callbacks run outside of it, validation within
            recalibrate(pl_module, self.images)
        average_over_processes(pl_module)
