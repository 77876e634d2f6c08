"""Stop a training whose figure has not become better for a while."""

import logging
from typing import Any, Literal

import lightning.pytorch as pl
from lightning.pytorch.callbacks.early_stopping import EarlyStopping, EarlyStoppingReason

from shiftaddaug.callbacks.order import Stage
from shiftaddaug.settings import NonNegativeNumber, PositiveInt, checked

log = logging.getLogger(__name__)


class StopEarly(EarlyStopping):
    """Stop at an epoch's end when `monitor` has not become better in so many validations in a row.

    It differs from Lightning's own in three things. It stops at the end of an epoch alone, wherever in it validations
    are, so that the last checkpoint holds all that was trained. Until `trainer.min_epochs` it only counts. A run that
    was stopped so, and killed before its target was deployed, trains no further epoch when it is resumed.

    Args:
        monitor: a figure of validation, such as val/top1.
        mode: max or min, which way it is better.
        patience: validations.
        min_delta: what a figure has to be better by; a figure in percent is a share, in [0, 1].
    """

    stage = Stage.OTHER
    warn_when_idle = True

    @checked("callbacks.early_stopping")
    def __init__(
        self,
        monitor: str,
        mode: Literal["max", "min"] = "max",
        patience: PositiveInt = 10,
        min_delta: NonNegativeNumber = 0.0,
    ) -> None:
        super().__init__(
            monitor=monitor, mode=mode, patience=patience, min_delta=min_delta, check_on_train_epoch_end=False
        )
        self._wanted, self._stopped = False, False

    def idle(self, trainer: pl.Trainer, pl_module: Any) -> str | None:
        """Say that the run is over before the patience is, if so; validations within epochs are left to it."""
        epochs, every = trainer.max_epochs or 1, trainer.check_val_every_n_epoch
        if every is None or trainer.val_check_interval != 1.0 or epochs > every * self.patience:
            return None
        return f"trainer.max_epochs={epochs} is over before callbacks.early_stopping.patience={self.patience} can be"

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop a resumed run that had stopped."""
        if self._stopped:
            trainer.should_stop = True
            log.info("callbacks.early_stopping has stopped the resumed run after epoch %d", self.stopped_epoch + 1)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the figure; all processes agree on what they saw."""
        if trainer.sanity_checking:
            return
        before = trainer.should_stop  # another callback, or trainer.max_time, may want it
        trainer.should_stop = False
        super().on_validation_end(trainer, pl_module)
        self._wanted, trainer.should_stop = trainer.should_stop, before

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop, if the last validation wants it."""
        epochs = trainer.current_epoch + 1
        if not self._wanted or epochs < (trainer.min_epochs or 0) or epochs == trainer.max_epochs:
            return
        self._stopped = trainer.should_stop = True
        self.stopped_epoch = trainer.current_epoch
        no_number = self.stopping_reason == EarlyStoppingReason.NON_FINITE_METRIC
        by = f" by more than min_delta={abs(self.min_delta):g}" if self.min_delta else ""
        why = "is no number" if no_number else f"has not become better{by}"
        log.info(
            "stopped after epoch %d of %s: %s %s (callbacks.early_stopping.patience=%d)",
            *(epochs, trainer.max_epochs, self.monitor, why, self.patience),
        )

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"wanted": self._wanted, "stopped": self._stopped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._wanted, self._stopped = state_dict["wanted"], state_dict["stopped"]
