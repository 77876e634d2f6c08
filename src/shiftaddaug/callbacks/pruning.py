"""Stop a trial of a search that is behind the others."""

import logging
from typing import Any, Protocol

import lightning.pytorch as pl

from shiftaddaug.callbacks.order import Stage
from shiftaddaug.errors import TrialPruned, reason_of

log = logging.getLogger(__name__)


class Trial(Protocol):
    """What is needed of Optuna's trial."""

    @property
    def number(self) -> int:
        """Number in the study."""

    def report(self, value: float, step: int) -> None:
        """Tell a score."""

    def should_prune(self) -> bool:
        """Whether the trial is behind."""

    def set_user_attr(self, key: str, value: Any) -> None:
        """Keep a value beside the trial."""


class PruneTrial(pl.Callback):
    """Report the headline figure after each validation, and stop where the study says so.

    Args:
        trial: of the study.
        monitor: name of the metric.
        mark: attribute of the trial that keeps the epochs that were trained when it is stopped.
    """

    stage = Stage.SHOW
    only_watches = True

    def __init__(self, trial: Trial, monitor: str, mark: str) -> None:
        self.trial, self.monitor, self.mark = trial, monitor, mark

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report (Lightning's hook).

        Raises:
            TrialPruned: the trial is behind.
        """
        if trainer.sanity_checking or self.monitor not in trainer.callback_metrics:
            return
        epochs = trainer.current_epoch + 1
        if self._is_behind(float(trainer.callback_metrics[self.monitor]), epochs, trainer.max_epochs or 0):
            raise TrialPruned(f"trial {self.trial.number} is behind the others: stopped after {epochs} epochs")

    def _is_behind(self, score: float, epochs: int, last: int) -> bool:
        """Report a score; return whether the study wants the trial to stop, and knows that it does."""
        from optuna.exceptions import OptunaError

        try:
            self.trial.report(score, epochs)
            behind = epochs < last and self.trial.should_prune()
            if behind:
                self.trial.set_user_attr(self.mark, epochs)
        except OptunaError as error:  # its database is busy, say: nothing that a training should end for
            reason = reason_of(error.__cause__ or error, 200)
            log.warning("trial %d: the study could not be told of epoch %d (%s)", self.trial.number, epochs, reason)
            return False
        return behind
