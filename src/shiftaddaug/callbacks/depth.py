"""Depth augmentation: extra blocks start in the target, and are retired from it one by one."""

import logging
from dataclasses import asdict
from typing import Any

import lightning.pytorch as pl

from shiftaddaug.callbacks.order import Stage
from shiftaddaug.callbacks.training_share import Progress, refuse_other_settings
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.nets.timetable import Retirement
from shiftaddaug.settings import Share

log = logging.getLogger(__name__)


class RetireDepth(pl.Callback):
    """Set which extra blocks the target still has (ShiftAddAug, arXiv 2407.02881): the deepest goes first.

    A function of the share of training. It sets the depth of the task's `target_spec` and nothing else of it. Augmented
    sub-networks keep all extra blocks (`Widening.sample`). Without extra blocks it does nothing.

    NOTE: without `fade` blocks go between epochs, as `BlockVariant` turns layers; with it the factor falls at every
    step.

    Args:
        start, end: share of training in [0, 1] in which they go, in equal slots.
        fade: let the factor on a block's residual branch fall linearly from 1 to 0 over its slot; else it is cut at
            the slot's end.

    Raises:
        UserError: an argument outside its range.
    """

    stage = Stage.TARGET

    def __init__(self, start: Share = 0.25, end: Share = 0.75, fade: bool = True) -> None:
        self.retirement = Retirement(start, end, fade)
        self._progress = Progress()

    def idle(self, trainer: pl.Trainer, pl_module: Any) -> str | None:
        """Say that there are no extra blocks, if so."""
        return None if pl_module.net.widening.extra_blocks else "the net has no extra blocks"

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._set(pl_module, self._progress.share(trainer, self.retirement.fade))

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self.retirement.fade:
            self._set(pl_module, self._progress.share(trainer, steps=True))

    def _set(self, pl_module: Any, share: float) -> None:
        net: Supernet = pl_module.net
        extras = [extra.name for extra in net.widening.extra_blocks]
        if extras:
            active = self.retirement.schedule(extras, share)
            pl_module.target_spec = pl_module.target_spec.at_depth(extras, active)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Say which extra blocks are left, where training was cut short: the deployed net does not have them."""
        extras = [extra.name for extra in pl_module.net.widening.extra_blocks]
        left = [name for name in extras if name not in pl_module.target_spec.skipped]
        if left:
            log.warning(
                "training ended before callbacks.retire_depth.end=%s: the deployed net goes without these extra "
                "blocks, and training did not: %s",
                self.retirement.end,
                ", ".join(left),
            )

    def state_dict(self) -> dict[str, Any]:
        return asdict(self.retirement) | {"over": self._progress.over}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Check the settings, and note whether all have gone: where training is says the rest.

        Raises:
            UserError: the checkpoint was trained with other settings.
        """
        refuse_other_settings("retire_depth", asdict(self.retirement), state_dict)
        self._progress.over = bool(state_dict.get("over"))
