"""A logger that fails is warned of once, asked again, and seen through to what it is."""

import copy
import logging
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers import CSVLogger, Logger

from shiftaddaug.report.guarded import GuardedLogger


class Away(Logger):
    """A logger whose server is away."""

    asked = 0

    def _fail(self, *_: Any, **__: Any) -> Any:
        self.asked += 1
        raise ConnectionError("the server is away")

    name = version = experiment = property(_fail)  # type: ignore[assignment]
    log_metrics = log_hyperparams = log_graph = save = after_save_checkpoint = finalize = _fail


def test_the_first_failure_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    away = Away()
    logger = GuardedLogger("logger.mine", away)
    logger.log_metrics({"loss": 1.0}, step=3)
    logger.save()
    logger.log_hyperparams({})
    logger.after_save_checkpoint(None)
    logger.experiment.add_scalar("loss", 1.0)
    assert (logger.name, logger.version, logger.group_separator) == (None, None, "/")
    logger.finalize("success")
    assert away.asked == 8
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (
            logging.WARNING,
            "logger.mine: failed in log_metrics (ConnectionError: the server is away); the run goes on without it",
        )
    ]


def test_every_method_of_a_logger_is_guarded() -> None:
    public = {name for name in dir(Logger) if not name.startswith("_")}
    assert public <= vars(GuardedLogger).keys()


def test_an_interruption_gets_through() -> None:
    def interrupt(_: Logger) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        GuardedLogger("logger.mine", Away()).attempt("a use", interrupt)


def test_callbacks_find_the_logger_that_they_look_for(tmp_path: Path) -> None:
    guarded = GuardedLogger("logger.mine", CSVLogger(str(tmp_path), name="", version=""))
    assert isinstance(guarded, CSVLogger)
    assert not isinstance(guarded, Away)
    assert guarded.LOGGER_JOIN_CHAR == CSVLogger.LOGGER_JOIN_CHAR
    assert guarded.experiment.log_dir.startswith(str(tmp_path))
    guarded.log_metrics({"loss": 1.0})
    guarded.finalize("success")
    assert (tmp_path / "metrics.csv").read_text().split() == ["loss,step", "1.0,0"]
    assert copy.copy(guarded).key == "logger.mine"
