"""The moving average, against its closed form."""

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
