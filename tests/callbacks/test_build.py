"""A run's callbacks: their order in all configurations, and what is said of those that have nothing to do."""

import json
import logging
import random
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig
from tests.commands.running import LITTLE, composed, run_little

from shiftaddaug.callbacks.build import build_callbacks, note_idle
from shiftaddaug.callbacks.progress import Throughput
from shiftaddaug.errors import UserError
from shiftaddaug.runs.lightning_trainer import build_trainer
from shiftaddaug.runs.prepare import Prepared, prepare
from shiftaddaug.runs.record import begin
from shiftaddaug.runs.settings import read_settings

EVERYTHING = (
    *("aug=full", "sharing=heterogeneous", "op=add", "reorder=l1", "block_variant=layer", "bn=recalibrated"),
    *("callbacks=ema", "trainer.enable_progress_bar=true"),
)
DEFAULT = [
    *("RetireDepth", "SampleSubnets", "KeepStoredScale", "UpdateOperators", "Diagnostics", "ReseedEachEpoch"),
    *("EpochLog", "Throughput", "BestCheckpoint", "LastCheckpoint"),
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
        wanted = [*DEFAULT[:7], "WarmedUpEMA", "RecalibrateBatchNorm", *DEFAULT[7:]]
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
            *("UpdateOperators", "Diagnostics", "ReseedEachEpoch", "ProgressBar", "EpochLog", "WarmedUpEMA"),
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
        wanted = [*DEFAULT[:7], "EMAWeightAveraging", "LearningRateMonitor", "RecalibrateBatchNorm", "Throughput"]
        assert placed(cfg) == [*wanted, "BestCheckpoint", "ModelCheckpoint", "LastCheckpoint"]

    def test_a_bar_of_any_kind_is_left_out_where_bars_are_off(self, tmp_path: Path) -> None:
        bar = "callbacks.progress_bar={_target_: lightning.pytorch.callbacks.TQDMProgressBar}"
        assert placed(configured(tmp_path, bar)) == DEFAULT
        assert "TQDMProgressBar" in placed(configured(tmp_path, bar, "trainer.enable_progress_bar=true"))


def test_what_is_no_callback_is_refused(tmp_path: Path) -> None:
    cfg = configured(tmp_path, "+callbacks.date._target_=datetime.timedelta")
    with pytest.raises(UserError, match=r"^callbacks\.date: is a timedelta; must be a Lightning callback$"):
        build_callbacks(cfg.callbacks)


def built(folder: Path, *overrides: str) -> Prepared:
    cfg = configured(folder, *overrides)
    run = prepare(read_settings(cfg))
    begin(run)
    return run


class TestIdle:
    def test_is_recorded_and_nothing_is_said(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING, logger="shiftaddaug"):
            run = built(tmp_path, "aug=none", "trainer.max_epochs=2")
        assert not caplog.records
        assert json.loads((run.settings.folder / "run.json").read_text())["idle"] == {
            "retire_depth": "the net has no extra blocks",
            "sample_subnets": "nothing surrounds the target",
            "stored_scale": "no ratio is given",
            "operators": "no operator keeps buffers",
            "progress_bar": "trainer.enable_progress_bar=false",
        }

    def test_of_a_run_that_uses_them_is_empty(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING, logger="shiftaddaug"):
            run = built(tmp_path, *EVERYTHING)
        assert run.idle == {"operators": "no operator keeps buffers"}
        assert not caplog.records

    @pytest.mark.parametrize(
        ("overrides", "reason"),
        [
            (("op=mult", "trainer.max_epochs=2"), "no layer is multiplication-free"),
            (
                ("op=shift", "trainer.max_epochs=1", "optim.warmup_epochs=0"),
                "layers turn between epochs and trainer.max_epochs=1",
            ),
        ],
    )
    def test_of_one_that_was_asked_for_is_warned_of(
        self, overrides: tuple[str, ...], reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        built(tmp_path, "block_variant=layer", *overrides)
        warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert warnings == [f"no effect, because {reason}: callbacks.block_variant"]

    def test_a_reorder_of_nothing_is_warned_of_once(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        run = built(tmp_path, "aug=none", "reorder=l1")
        warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert warnings == ["no effect, because aug=none widens nothing: reorder=l1"]
        assert run.idle["reorder"] == "nothing is widened"

    def test_typed_keys_of_an_idle_one_are_warned_of(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        run = built(tmp_path, "trainer.max_epochs=2")
        typed = ["callbacks.retire_depth.end=0.5", "callbacks.retire_depth.fade=false", "callbacks.reseed.seed=1"]
        callbacks = build_callbacks(run.settings.config["callbacks"])
        note_idle(callbacks, run.trainer, run.task, [*typed, "callbacks.retire_depth_too=1", "op=shift"])
        assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
            "no effect, because the net has no extra blocks: "
            "callbacks.retire_depth.end=0.5, callbacks.retire_depth.fade=false"
        ]


PLUGIN = '''"""A callback that stands between a reorder and what has to follow one."""

import lightning.pytorch as pl
from shiftaddaug.callbacks.order import Stage


class Between(pl.Callback):
    stage = Stage.REORDER + 1
    warn_when_idle = True

    def idle(self, trainer, pl_module):
        return None if trainer.max_epochs > 1 else "there is nothing between"

    def on_train_start(self, trainer, pl_module):
        names = [type(callback).__name__ for callback in trainer.callbacks]
        assert names[names.index("Between") - 1 : names.index("Between") + 2] == [
            "ReorderChannels", "Between", "UpdateOperators"
        ]

    def on_train_epoch_start(self, trainer, pl_module):
        pl_module.log("between", float(trainer.current_epoch), on_step=False, on_epoch=True)
'''


def test_a_plugins_callback_is_one_file_and_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "between_plugin" / "callbacks").mkdir(parents=True)
    (tmp_path / "between_plugin" / "__init__.py").touch()
    (tmp_path / "between_plugin" / "callbacks" / "between.py").write_text(PLUGIN)
    line = "+callbacks.between._target_=between_plugin.callbacks.between.Between"
    given = (f"plugins=['{tmp_path / 'between_plugin'}']", "reorder=l1", line, "aug=expand")
    monkeypatch.syspath_prepend(str(tmp_path))
    run_little(tmp_path / "run", *given, "trainer.max_epochs=2")
    header = (tmp_path / "run" / "metrics.csv").read_text().splitlines()[0]
    assert "between" in header.split(",")
    caplog.clear()
    assert built(tmp_path / "one", *given, "trainer.max_epochs=1").idle["between"] == "there is nothing between"
    assert "no effect, because there is nothing between: callbacks.between" in caplog.text
