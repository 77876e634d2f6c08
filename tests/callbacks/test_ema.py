"""The moving average, against its closed form."""

from pathlib import Path

import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from shiftaddaug.callbacks.ema import WarmedUpEMA


def test_decay_warms_up() -> None:
    model = torch.nn.BatchNorm1d(1)
    average = AveragedModel(model, **WarmedUpEMA(decay=0.3)._kwargs)
    wanted = None
    for update in range(6):
        model.weight.data.fill_(float(update))
        average.update_parameters(model)
        if wanted is None:
            wanted = 0.0  # the first update copies
        else:
            decay = min(0.3, (1 + update) / (10 + update))
            wanted = decay * wanted + (1 - decay) * update
    assert float(average.module.weight) == pytest.approx(wanted)


def test_statistics_are_measured_for_the_average_that_is_validated(tmp_path: Path) -> None:
    """Both happen as a validation begins, in the order of the callbacks."""
    from tests.commands.running import composed

    from shiftaddaug.commands.checks import check_train_config
    from shiftaddaug.commands.run import Run

    cfg = composed(tmp_path / "run", "callbacks=ema", "bn=recalibrated", "trainer.accelerator=cpu")
    names = [type(callback).__name__ for callback in Run(cfg, check_train_config(cfg)).trainer.callbacks]
    assert names.index("RecalibrateBatchNorm") > names.index("WarmedUpEMA")
