"""Schedule that brings the stored scale of remapped weights back to that of the weights around them."""

from typing import Any

import lightning.pytorch as pl
import torch

from shiftaddaug.callbacks.order import Stage
from shiftaddaug.callbacks.reorder import averaged_supernets
from shiftaddaug.nets.stored_scale import rescale, scale_factors
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.settings import Scale, checked


class KeepStoredScale(pl.Callback):
    """Keep the stored scale of remapped weights (`nets/stored_scale.py`).

    Nothing that is computed changes, but the importance that a reorder sorts by.

    Before every epoch but the first, and before a reorder; a function of the weights. With SGD alone: the steps of
    optimisers that normalise them (Adam) have a length of their own in stored weights, which so have a scale.

    Args:
        ratio: of the stored slice's standard deviation to that of the weights around it; the larger, the fewer
            channels a reorder brings into the target. None: keep nothing.

    Raises:
        UserError: ratio is not positive.
    """

    stage = Stage.SCALE

    @checked("callbacks.stored_scale")
    def __init__(self, ratio: Scale | None = None) -> None:
        self.ratio = ratio

    def idle(self, trainer: pl.Trainer, pl_module: Any) -> str | None:
        """Say why no scale is kept, as far as that is known before the optimisers are."""
        if self.ratio is None:
            return "no ratio is given"
        if not scale_factors(pl_module.net, 1e-30):  # which every layer whose scale is free is far from
            return "the stored scale of every layer means something"
        if (trainer.max_epochs or 1) == 1:
            return "scales are brought back between epochs and trainer.max_epochs=1"
        return None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        optimizers = [optimizer for optimizer in trainer.optimizers if isinstance(optimizer, torch.optim.SGD)]
        if self.ratio is None or trainer.current_epoch == 0 or len(optimizers) < len(trainer.optimizers):
            return
        net: Supernet = pl_module.net
        target = pl_module.target_spec
        multiplied = target.multiplied | {name for name, _ in target.blends}
        # all ranks hold the same weights, but sums may round otherwise on another device
        factors = trainer.strategy.broadcast(scale_factors(net, self.ratio, multiplied))
        rescale(factors, net, optimizers, averaged_supernets(trainer))
