"""The moving average, against its closed form."""

from pathlib import Path

import pytest
import torch
from tests.commands.running import composed
from tests.tasks.little import make_task, quiet_trainer
from torch.optim.swa_utils import AveragedModel

from shiftaddaug.callbacks.ema import WarmedUpEMA
from shiftaddaug.runs.prepare import prepare
from shiftaddaug.runs.settings import read_settings


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


def test_an_average_of_the_newest_weights_alone_is_idle() -> None:
    trainer, task = quiet_trainer(max_epochs=2), make_task()
    assert WarmedUpEMA(0.0).idle(trainer, task) == "with decay=0 only the newest weights count"
    assert WarmedUpEMA(0.1).idle(trainer, task) is None


def test_statistics_are_measured_after_the_average_took_the_weights_place(tmp_path: Path) -> None:
    """Both happen as a validation begins, in the order of the callbacks; test_recalibrate.py tests that this serves."""
    cfg = composed(tmp_path / "run", "callbacks=ema", "bn=recalibrated", "trainer.accelerator=cpu")
    names = [type(callback).__name__ for callback in prepare(read_settings(cfg)).trainer.callbacks]
    assert names.index("RecalibrateBatchNorm") > names.index("WarmedUpEMA")


@pytest.mark.parametrize(
    ("precision", "weights", "average"),
    [
        ("32-true", torch.float32, torch.float32),
        ("64-true", torch.float64, torch.float64),
        ("bf16-true", torch.bfloat16, torch.float32),
    ],
)
def test_the_average_is_as_precise_as_it_needs_to_be(
    precision: str, weights: torch.dtype, average: torch.dtype, tmp_path: Path
) -> None:
    """And the weights are of the precision that they are trained in before a checkpoint is read into them."""
    cfg = composed(tmp_path / "run", "callbacks=ema", "trainer.accelerator=cpu", f"trainer.precision={precision}")
    run = prepare(read_settings(cfg))
    assert {p.dtype for p in run.task.parameters()} == {weights}
    ema = next(callback for callback in run.trainer.callbacks if isinstance(callback, WarmedUpEMA))
    ema.setup(run.trainer, run.task, "fit")
    assert ema._average_model is not None
    assert {p.dtype for p in ema._average_model.parameters()} == {average}
    assert ema._device == run.trainer.strategy.root_device
