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

    With `epoch_steps` or `total_steps` it looks at the length of the run (`decide`), and leaves long ones alone. There
    running statistics are as good, and cost nothing.

    Args:
        batches: how many; kept in memory until their epoch ends.
        epoch_steps: optimiser steps of an epoch from which on running statistics are kept; None: always measured.
        total_steps: likewise of the whole run.

    Raises:
        UserError: a number that is not positive.
    """

    stage = Stage.STATISTICS

    @checked("callbacks.recalibrate")
    def __init__(
        self, batches: PositiveInt = 16, epoch_steps: PositiveInt | None = None, total_steps: PositiveInt | None = None
    ) -> None:
        self.images: deque[Tensor] = deque(maxlen=batches)
        self.epoch_steps, self.total_steps = epoch_steps, total_steps
        self.measures = True
        """Whether statistics are measured."""

    @property
    def chooses(self) -> bool:
        """Whether the length of the run decides."""
        return self.epoch_steps is not None or self.total_steps is not None

    def decide(self, epoch_steps: int, total_steps: int) -> str:
        """Choose by the length of a run, if that is to be chosen by; return why, in words.

        Args:
            epoch_steps: optimiser steps of an epoch.
            total_steps: of all epochs.
        """
        for name, steps, wanted in (
            ("an epoch has", epoch_steps, self.epoch_steps),
            ("the run has", total_steps, self.total_steps),
        ):
            if wanted is not None and steps < wanted:
                return f"{name} {steps} optimiser step{'s' if steps != 1 else ''}, fewer than {wanted}"
        self.measures = not self.chooses
        return f"an epoch has {epoch_steps} optimiser steps, the run {total_steps}"

    def idle(self, trainer: pl.Trainer, pl_module: Any) -> str | None:
        """Say that running statistics are kept, if so."""
        return None if self.measures else "the run is long enough for running statistics"

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.images.clear()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: tuple[Tensor, Tensor], batch_idx: int
    ) -> None:
        if self.measures:
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
