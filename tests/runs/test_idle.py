"""What is said of callbacks that have nothing to do."""

import json
import logging
from pathlib import Path

import pytest
from omegaconf import DictConfig

from shiftaddaug.callbacks.build import build_callbacks
from shiftaddaug.errors import UserError
from shiftaddaug.runs.idle import note_idle
from shiftaddaug.runs.prepare import Prepared, prepare
from shiftaddaug.runs.record import begin
from shiftaddaug.runs.settings import read_settings
from tests.commands.running import LITTLE, composed, run_little

EVERYTHING = (
    *("aug=full", "sharing=heterogeneous", "op=add", "reorder=l1", "block_variant=layer", "bn=recalibrated"),
    *("callbacks=ema", "trainer.enable_progress_bar=true"),
)


def configured(folder: Path, *overrides: str) -> DictConfig:
    return composed(folder / "run", *LITTLE, *overrides)


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
            "predictions": "task=classification shows no pictures",
        }

    def test_of_a_run_that_uses_them_is_empty(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING, logger="shiftaddaug"):
            run = built(tmp_path, *EVERYTHING)
        assert run.idle == {
            "operators": "no operator keeps buffers",
            "predictions": "task=classification shows no pictures",
        }
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
        assert warnings == ["no effect, because aug=none widens nothing: callbacks.reorder"]
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


def test_what_is_no_logger_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    cfg = configured(tmp_path, "+logger.x._target_=datetime.timedelta")
    with pytest.raises(UserError, match=r"^logger\.x: is a timedelta; must be a Lightning logger$"):
        prepare(read_settings(cfg))
    assert not (tmp_path / "run").exists()
