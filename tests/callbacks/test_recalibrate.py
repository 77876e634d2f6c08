"""Batch-norm statistics are measured before every validation, on the epoch's last batches, and are what is kept."""

from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from tests.callbacks.training import fit, make_task
from torch import Tensor, nn

from shiftaddaug.callbacks.diagnostics import Diagnostics
from shiftaddaug.callbacks.ema import WarmedUpEMA
from shiftaddaug.callbacks.recalibrate import RecalibrateBatchNorm
from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.norm import HybridBatchNorm2d


class _Compare(pl.Callback):
    """At each validation: the stem's statistics, and those of the batches that the epoch trained last."""

    def __init__(self, batches: int) -> None:
        self.batches = batches
        self.seen: list[Tensor] = []
        self.pairs: list[tuple[Tensor, Tensor]] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seen = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs, batch, _: int) -> None:  # type: ignore[no-untyped-def]
        self.seen.append(batch[0])

    def on_validation_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        stem = pl_module.net.stem  # type: ignore[union-attr]
        means = []
        for images in self.seen[-self.batches :]:
            y = nn.functional.conv2d(images, stem.conv.weight[: stem.conv.out.target], None, stem.conv.stride, 1)
            means.append(y.mean((0, 2, 3)))
        norm = stem.norm
        assert isinstance(norm, HybridBatchNorm2d)
        self.pairs.append((norm.running_mean[: norm.widths.target].clone(), torch.stack(means).mean(0)))


@pytest.mark.parametrize("batches", [1, 16])
def test_validation_sees_statistics_of_the_epochs_last_batches(tmp_path: Path, batches: int) -> None:
    compare = _Compare(batches)
    fit(tmp_path, make_task(), RecalibrateBatchNorm(batches), compare)
    assert len(compare.pairs) > 1
    for found, wanted in compare.pairs:
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_those_of_averaged_weights_are_measured_with_them(tmp_path: Path) -> None:
    """The average takes the weights' place as a validation begins; what `_Compare` computes with is the average."""
    compare, trained = _Compare(16), _StemAtEpochEnd()
    fit(tmp_path, make_task(), trained, WarmedUpEMA(decay=0.9), RecalibrateBatchNorm(16), compare)
    assert len(compare.pairs) > len(trained.differences) > 1
    for found, wanted in compare.pairs:
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    assert min(trained.differences) > 1e-3  # so statistics of the weights that were trained would be others


class _StemAtEpochEnd(pl.Callback):
    """How far the stem's validated weights are from those that the epoch ended with, at most."""

    def __init__(self) -> None:
        self.differences: list[float] = []

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.weight = pl_module.net.stem.conv.weight.detach().clone()  # type: ignore[union-attr]

    def on_validation_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: object) -> None:
        if args[1] == 0:
            weight = pl_module.net.stem.conv.weight.detach()  # type: ignore[union-attr]
            self.differences.append(float((weight - self.weight).abs().max()))


@pytest.mark.parametrize(("precision", "wanted"), [("32-true", False), ("bf16-mixed", True)])
@pytest.mark.parametrize("callback", ["recalibrate", "diagnostics"])
def test_networks_are_looked_at_in_the_precision_that_they_compute_in(
    callback: str, precision: str, wanted: bool, tmp_path: Path
) -> None:
    """Validation and training run under autocast, callbacks do not."""
    looking = RecalibrateBatchNorm(2) if callback == "recalibrate" else Diagnostics(str(tmp_path))
    kinds: set[bool] = set()
    task = make_task()
    task.net.stem.conv.register_forward_hook(lambda *_: kinds.add(torch.is_autocast_enabled("cpu")))
    fit(tmp_path, task, looking, precision=precision)
    assert kinds == {wanted}


def test_without_it_they_lag(tmp_path: Path) -> None:
    compare = _Compare(16)
    fit(tmp_path, make_task(), compare)
    assert not torch.allclose(*compare.pairs[0], rtol=1e-2, atol=1e-4)


def test_training_is_unchanged(tmp_path: Path) -> None:
    measured, plain = make_task(), make_task()
    fit(tmp_path / "measured", measured, RecalibrateBatchNorm())
    fit(tmp_path / "plain", plain)
    for (name, value), other in zip(measured.named_parameters(), plain.parameters(), strict=True):
        assert torch.equal(value, other), name


def test_a_number_of_batches_is_positive() -> None:
    with pytest.raises(UserError, match=r"callbacks\.recalibrate\.batches=0: must be a whole number >= 1"):
        RecalibrateBatchNorm(0)
