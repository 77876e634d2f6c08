"""Which statistics a run deploys, by its length, and what is said of short epochs."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from shiftaddaug.callbacks.ema import WarmedUpEMA
from shiftaddaug.callbacks.recalibrate import RecalibrateBatchNorm
from shiftaddaug.runs.prepare import Prepared, prepare
from shiftaddaug.runs.record import begin
from shiftaddaug.runs.settings import read_settings
from shiftaddaug.runs.statistics import RECALIBRATED, RUNNING, Length, choose_statistics, length_of
from tests.commands.running import LITTLE, composed

WHOLE = [*LITTLE[:3], *LITTLE[6:], "aug=none"]
"""As LITTLE, with whole epochs."""


def data_of(images: int, batch: int) -> Any:
    loader = DataLoader(TensorDataset(torch.zeros(images)), batch_size=batch, drop_last=True)
    return SimpleNamespace(train_dataloader=lambda: loader)


@pytest.mark.parametrize(
    ("trainer", "processes", "wanted"),
    [
        ({}, 1, Length(100, 10, 10, 30)),
        ({"accumulate_grad_batches": 4}, 1, Length(100, 3, 3, 9)),
        ({"limit_train_batches": 4}, 1, Length(100, 10, 4, 12)),
        ({"limit_train_batches": 0.5}, 1, Length(100, 10, 5, 15)),
        ({"overfit_batches": 2}, 1, Length(100, 10, 2, 6)),
        ({"overfit_batches": 0.0}, 2, Length(100, 5, 5, 15)),
        ({"fast_dev_run": True}, 1, Length(100, 10, 1, 1)),
    ],
)
def test_the_length_of_a_run(trainer: dict[str, Any], processes: int, wanted: Length) -> None:
    assert length_of({"max_epochs": 3, **trainer}, data_of(100, 10), processes) == wanted


def chosen(
    steps: int, epochs: int, callback: RecalibrateBatchNorm | None, *, validated: bool = True, **more: Any
) -> str:
    """Choose for epochs of so many steps, of 10 images each."""
    config = {"trainer": {"max_epochs": epochs}, "data": {"batch_size": 10, **more}}
    callbacks: dict[str, Any] = {} if validated else {"ema": WarmedUpEMA()}
    callbacks |= {} if callback is None else {"recalibrate": callback}
    return choose_statistics(
        config, data_of(10 * steps, 10), 1, callbacks, nn.Sequential(nn.BatchNorm2d(1)), validated=validated
    )


def lines(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level]


@pytest.mark.parametrize(
    ("steps", "epochs", "wanted", "why"),
    [
        (20, 3, RUNNING, "an epoch has 20 optimiser steps, the run 60"),
        (44, 1, RUNNING, "an epoch has 44 optimiser steps, the run 44"),
        (43, 1, RECALIBRATED, "the run has 43 optimiser steps, fewer than 44"),
        (19, 300, RECALIBRATED, "an epoch has 19 optimiser steps, fewer than 20"),
        (1, 1, RECALIBRATED, "an epoch has 1 optimiser step, fewer than 20"),
    ],
)
def test_the_length_chooses(steps: int, epochs: int, wanted: str, why: str, caplog: pytest.LogCaptureFixture) -> None:
    callback = RecalibrateBatchNorm(16, epoch_steps=20, total_steps=44)
    with caplog.at_level(logging.INFO, logger="shiftaddaug"):
        assert chosen(steps, epochs, callback) == wanted
    assert callback.measures == (wanted == RECALIBRATED)
    assert lines(caplog, logging.INFO) == [f"bn=auto: {wanted} statistics, for {why}"]


def test_who_says_what_is_wanted_gets_it(caplog: pytest.LogCaptureFixture) -> None:
    assert chosen(100, 10, RecalibrateBatchNorm()) == RECALIBRATED
    assert chosen(100, 10, None) == RUNNING
    assert not caplog.records


def test_averaged_weights_are_measured_when_they_are_validated(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="shiftaddaug"):
        assert chosen(10, 1, RecalibrateBatchNorm(epoch_steps=20), validated=False) == RUNNING
    assert "bn=auto: running statistics, for averaged weights (callbacks=ema)" in caplog.text


@pytest.mark.parametrize(
    ("steps", "more", "options"),
    [
        (9, {}, "data.batch_size=9, of which an epoch has 10"),
        (1, {"min_epoch_batches": 0}, "data.min_epoch_batches=10, which passes several times over them"),
        (10, {}, None),
    ],
)
def test_few_steps_are_warned_of(
    steps: int, more: dict[str, Any], options: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    chosen(steps, 20, RecalibrateBatchNorm(), **more)
    start = f"data.batch_size=10: {10 * steps} training images make {steps} optimiser step"
    found = lines(caplog, logging.WARNING)
    assert [line.startswith(start) and line.endswith(f"options: {options}") for line in found] == [True] * bool(options)


@pytest.mark.parametrize("trainer", [{"fast_dev_run": 1}, {"overfit_batches": 1}, {"limit_train_batches": 1}])
def test_who_limits_batches_knows_it(trainer: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    config = {"trainer": {"max_epochs": 2, **trainer}, "data": {"batch_size": 10}}
    callbacks = {"recalibrate": RecalibrateBatchNorm()}
    choose_statistics(config, data_of(100, 10), 1, callbacks, nn.Identity(), validated=True)
    assert not caplog.records


@pytest.mark.parametrize(("epochs", "share"), [(1, "12 %"), (2, "1 %"), (3, None)])
def test_running_statistics_that_lag_are_warned_of(
    epochs: int, share: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    chosen(20, epochs, None)
    found = lines(caplog, logging.WARNING)
    assert [f"{share} of batch-norm's running statistics (momentum 0.1)" in line for line in found] == [True] * bool(
        share
    )


def test_few_images_of_ones_own(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """160 of them with the defaults, and what the warning says."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(80):
            Image.new("RGB", (8, 8)).save(tmp_path / name / f"{i}.png")

    def built(*overrides: str) -> Prepared:
        return prepare(read_settings(composed(tmp_path / ".runs" / "run", *WHOLE, *overrides)))

    own = ("data=image_folder", f"data.data_dir={tmp_path}", "data.num_workers=0", "data.batch_size=128")
    run = built(*own)
    assert run.statistics == RECALIBRATED
    begin(run)
    assert json.loads((run.settings.folder / "run.json").read_text())["bn"] == RECALIBRATED
    (line,) = lines(caplog, logging.WARNING)
    assert "116 training images make 1 optimiser step an epoch, 10 in all" in line
    assert "data.batch_size=11, of which an epoch has 10; data.min_epoch_batches=10, which passes several times" in line
    caplog.clear()
    run = built(*own, "data.min_epoch_batches=30")
    assert (run.statistics, run.idle["recalibrate"]) == (RUNNING, "the run is long enough for running statistics")
    assert not lines(caplog, logging.WARNING)
