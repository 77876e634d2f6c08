"""A run's callbacks: their order in all configurations."""

import random
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig
from tests.commands.running import LITTLE, composed

from shiftaddaug.callbacks.build import build_callbacks
from shiftaddaug.callbacks.progress import Throughput
from shiftaddaug.errors import UserError
from shiftaddaug.runs.lightning_trainer import build_trainer

EVERYTHING = (
    *("aug=full", "sharing=heterogeneous", "op=add", "reorder=l1", "block_variant=layer", "bn=recalibrated"),
    *("callbacks=ema", "trainer.enable_progress_bar=true"),
)
DEFAULT = [
    *("RetireDepth", "SampleSubnets", "KeepStoredScale", "UpdateOperators", "Diagnostics", "ReseedEachEpoch"),
    *("EpochLog", "ShowPredictions", "RecalibrateBatchNorm", "Throughput", "BestCheckpoint", "LastCheckpoint"),
]


def placed(cfg: DictConfig) -> list[str]:
    """Names of the trainer's callbacks, in its order."""
    trainer: Any = build_trainer(cfg.trainer, [*build_callbacks(cfg.callbacks).values(), Throughput()])
    return [type(callback).__name__ for callback in trainer.callbacks]


def configured(folder: Path, *overrides: str) -> DictConfig:
    return composed(folder / "run", *LITTLE, *overrides)


class TestOrder:
    def test_of_the_default_configuration(self, tmp_path: Path) -> None:
        assert placed(configured(tmp_path)) == DEFAULT

    def test_statistics_are_measured_after_averages_took_the_weights_place(self, tmp_path: Path) -> None:
        wanted = [*DEFAULT[:8], "WarmedUpEMA", *DEFAULT[8:]]
        assert placed(configured(tmp_path, "callbacks=ema", "bn=recalibrated")) == wanted

    @pytest.mark.parametrize("seed", [None, 0, 1, 2])
    def test_of_everything_in_any_order_of_the_yaml(self, seed: int | None, tmp_path: Path) -> None:
        cfg = configured(tmp_path, *EVERYTHING)
        names = list(cfg.callbacks)
        if seed is not None:
            random.Random(seed).shuffle(names)
            cfg.callbacks = {name: cfg.callbacks[name] for name in names}
        found = placed(cfg)
        if seed is not None:  # places of one stage, which the yaml may order
            assert names != list(configured(tmp_path, *EVERYTHING).callbacks)
            for pair in (("BlockVariant", "RetireDepth"), ("ProgressBar", "EpochLog")):
                first, second = sorted(found.index(name) for name in pair)
                assert second == first + 1
                found[first], found[second] = pair
        assert found == [
            *("BlockVariant", "RetireDepth", "SampleSubnets", "KeepStoredScale", "ReorderChannels"),
            *("UpdateOperators", "Diagnostics", "ReseedEachEpoch", "ProgressBar", "EpochLog"),
            *("ShowPredictions", "WarmedUpEMA"),
            *("RecalibrateBatchNorm", "Throughput", "BestCheckpoint", "LastCheckpoint"),
        ]

    def test_of_lightnings_own(self, tmp_path: Path) -> None:
        """The last checkpoint holds what the others say, and averages come before what reads them."""
        lightning = "lightning.pytorch.callbacks"
        cfg = configured(
            tmp_path,
            "bn=recalibrated",
            f"+callbacks.lr._target_={lightning}.LearningRateMonitor",
            f"+callbacks.average._target_={lightning}.EMAWeightAveraging",
            f"+callbacks.each._target_={lightning}.ModelCheckpoint",
        )
        wanted = [*DEFAULT[:8], "EMAWeightAveraging", "LearningRateMonitor", "RecalibrateBatchNorm", "Throughput"]
        assert placed(cfg) == [*wanted, "BestCheckpoint", "ModelCheckpoint", "LastCheckpoint"]

    def test_a_bar_of_any_kind_is_left_out_where_bars_are_off(self, tmp_path: Path) -> None:
        bar = "callbacks.progress_bar={_target_: lightning.pytorch.callbacks.TQDMProgressBar}"
        assert placed(configured(tmp_path, bar)) == DEFAULT
        assert "TQDMProgressBar" in placed(configured(tmp_path, bar, "trainer.enable_progress_bar=true"))


def test_what_is_no_callback_is_refused(tmp_path: Path) -> None:
    cfg = configured(tmp_path, "+callbacks.date._target_=datetime.timedelta")
    with pytest.raises(UserError, match=r"^callbacks\.date: is a timedelta; must be a Lightning callback$"):
        build_callbacks(cfg.callbacks)
