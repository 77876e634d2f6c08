"""Updates between epochs of what operators keep beside their trained tensors."""

from typing import Any

import lightning.pytorch as pl

from shiftaddaug.callbacks.order import Stage


class UpdateOperators(pl.Callback):
    """Call `between_epochs` of the operator of every layer that has buffers, before every epoch but the first.

    It runs after a reorder, so that what belongs to single channels belongs to the right ones.
    """

    stage = Stage.OPERATORS

    def idle(self, trainer: pl.Trainer, pl_module: Any) -> str | None:
        """Say why nothing is updated: there are no buffers, or no second epoch."""
        if not any(layer.buffer_names for layer in pl_module.net.hybrid_layers().values()):
            return "no operator keeps buffers"
        if (trainer.max_epochs or 1) == 1:
            return "operators are updated between epochs and trainer.max_epochs=1"
        return None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.current_epoch == 0:
            return
        for layer in pl_module.net.hybrid_layers().values():
            layer.between_epochs(trainer.current_epoch)
