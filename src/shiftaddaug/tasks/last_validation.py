"""The last validation: the weights that training ends with are judged, however seldom others are."""

from typing import Any

import lightning.pytorch as pl


class LastValidation:
    """Ask for a validation after the last batch of training, whatever the trainer's keys say.

    `trainer.val_check_interval` and `trainer.check_val_every_n_epoch` say which of the other weights are validated. The
    trainer has its own values again when the validation begins: callbacks look at them.
    """

    def __init__(self) -> None:
        self._own: dict[str, Any] = {}

    def ask(self, trainer: pl.Trainer) -> None:
        """Open the trainer's gates if this batch is the last: of the last epoch, or as `trainer.should_stop` says."""
        if trainer.is_last_batch and trainer.current_epoch + 1 == trainer.max_epochs:
            self._set(trainer, check_val_every_n_epoch=1, val_check_batch=1)
        elif trainer.should_stop and trainer.check_val_every_n_epoch is not None:
            self._set(trainer, check_val_every_n_epoch=1)  # the loop itself validates where it stops

    def begun(self, trainer: pl.Trainer) -> None:
        """Give the trainer its own values back."""
        for name, value in self._own.items():
            setattr(trainer, name, value)
        self._own = {}

    def _set(self, trainer: pl.Trainer, **values: int) -> None:
        for name, value in values.items():
            self._own.setdefault(name, getattr(trainer, name))
            setattr(trainer, name, value)
