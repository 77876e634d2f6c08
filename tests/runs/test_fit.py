"""What others wrote fails while a run trains: a callback ends it in one line, a logger costs it nothing."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
from lightning.pytorch.loggers import Logger

from shiftaddaug.errors import UserError
from tests.commands.running import run_little

TINY = ("net.stages=[{block: basic, channels: 8, depth: 1, act: relu}]", "aug=none", "trainer.max_epochs=1")


class FailsWhenTold(pl.Callback):
    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        raise KeyError("told")


class Away(Logger):
    """A logger whose server goes away when training begins."""

    name = version = "away"

    def log_hyperparams(self, params: Any, *arguments: Any, **named: Any) -> None: ...

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        raise ConnectionError("the server is away")

    def log_image(self, *_: Any, **__: Any) -> None:
        raise ConnectionError("the server is away")

    def finalize(self, status: str) -> None:
        raise ConnectionError("the server is away")


class Absent(Away):
    def log_hyperparams(self, params: Any, *arguments: Any, **named: Any) -> None:
        raise ConnectionError("no such server")


def test_a_callback_that_fails_is_named_and_the_run_can_be_resumed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of two that fail, the one that ended the run is the mistake."""
    mine = "+callbacks.mine={_target_: lightning.pytorch.callbacks.EarlyStopping, monitor: nope, mode: max}"
    told = f"+callbacks.told._target_={__name__}.FailsWhenTold"
    with pytest.raises(UserError, match=r"^callbacks\.mine: failed in \w+ \(RuntimeError: .*nope.*; no epoch had"):
        run_little(tmp_path / "run", *TINY, mine, told)
    assert "callbacks.told: failed in on_exception" in caplog.text


def test_a_callback_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    mine = "+callbacks.mine={_target_: lightning.pytorch.callbacks.ModelCheckpoint, every_n_epochs: -1}"
    with pytest.raises(UserError, match=r"^callbacks\.mine: cannot be made of lightning.*Invalid value for every_n_"):
        run_little(tmp_path / "run", *TINY, mine)
    with pytest.raises(UserError, match=r"^logger\.x: cannot be made of fractions\.Fraction \(ZeroDivisionError"):
        run_little(tmp_path / "run", *TINY, "+logger.x={_target_: fractions.Fraction, _args_: [1, 0]}")
    assert not (tmp_path / "run").exists()


def test_a_logger_that_cannot_be_written_to_is_refused_before_anything_is_recorded(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^logger\.mine: cannot be written to \(ConnectionError: no such server\)"):
        run_little(tmp_path / "run", *TINY, f"+logger.mine._target_={__name__}.Absent")
    assert not (tmp_path / "run").exists()


def test_a_logger_that_fails_later_costs_nothing_but_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    results = run_little(tmp_path / "run", *TINY, f"+logger.mine._target_={__name__}.Away")
    assert results["epochs"] == 1
    assert (tmp_path / "run" / "target" / "model.safetensors").exists()
    assert (tmp_path / "run" / "curves.png").exists()
    assert caplog.text.count("the server is away") == 1
