"""A trial that is behind is stopped after a validation, and the study knows after how many epochs."""

from types import SimpleNamespace
from typing import Any

import optuna
import pytest

from shiftaddaug.callbacks.pruning import PruneTrial
from shiftaddaug.errors import TrialPruned


def test_a_trial_behind_the_others_is_stopped_but_not_in_its_last_epoch() -> None:
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.ThresholdPruner(lower=0.5))
    trial = study.ask()
    callback: Any = PruneTrial(trial, "val/top1", "pruned")

    def validated(value: float, epoch: int, checking: bool = False) -> None:
        trainer = SimpleNamespace(
            sanity_checking=checking, callback_metrics={"val/top1": value}, current_epoch=epoch, max_epochs=3
        )
        callback.on_validation_end(trainer, None)

    validated(0.1, 0, checking=True)
    validated(0.9, 0)
    with pytest.raises(TrialPruned, match=r"^trial 0 is behind the others: stopped after 2 epochs$"):
        validated(0.1, 1)
    assert study.trials[0].user_attrs == {"pruned": 2}
    validated(0.1, 2)
    assert study.trials[0].intermediate_values == {1: 0.9, 2: 0.1, 3: 0.1}


def test_a_study_that_cannot_be_told_ends_no_training(caplog: pytest.LogCaptureFixture) -> None:
    study = optuna.create_study(direction="maximize")
    trial = study.ask()
    study.tell(trial, 1.0)  # another machine has failed it, say
    callback: Any = PruneTrial(trial, "val/top1", "pruned")
    metrics = {"val/top1": 0.5}
    trainer = SimpleNamespace(sanity_checking=False, callback_metrics=metrics, current_epoch=0, max_epochs=3)
    callback.on_validation_end(trainer, None)
    assert "trial 0: the study could not be told of epoch 1" in caplog.text
