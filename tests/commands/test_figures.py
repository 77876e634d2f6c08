"""A run's figures: drawn however it ends, handed to loggers, and never at its cost."""

import logging
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from shiftaddaug.report.results import read_history, read_json
from shiftaddaug.search.scores import NUMBERS, PRICES, SPLITS
from tests.commands.running import run_little

SHORT = ("trainer.max_epochs=1", "optim.warmup_epochs=0")


def about_pictures(caplog: pytest.LogCaptureFixture) -> list[str]:
    messages = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    return [message for message in messages if ".png" in message]


def test_rows_without_an_epoch_cost_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    monitor = "+callbacks.lr._target_=lightning.pytorch.callbacks.LearningRateMonitor"
    results = run_little(tmp_path / "run", *SHORT, monitor)
    header, *rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    epochs = [row.split(",")[header.split(",").index("epoch")] for row in rows]
    assert {"", "0"} == set(epochs)
    assert about_pictures(caplog) == []
    curve = read_history(tmp_path / "run")["train/top1"]
    assert results["train_top1_percent"] == round(100 * curve[0], 2)
    for name in ("curves.png", "diagnostics.png"):
        assert (tmp_path / "run" / name).read_bytes().startswith(b"\x89PNG")


def test_loggers_that_take_pictures_get_them(tmp_path: Path) -> None:
    run_little(tmp_path / "run", *SHORT, "logger=tensorboard")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert {"figures/curves", "figures/diagnostics"} <= set(events.Tags()["images"])
    (picture,) = events.Images("figures/curves")
    assert (picture.width, picture.height, picture.step) == (1000, 400, 3)


BROKEN = "def draw(folder):\n    raise RuntimeError((folder / 'run.json').name)\n"


def test_one_that_fails_does_not_cost_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "broken_figures" / "report" / "figures"
    place.mkdir(parents=True)
    (tmp_path / "broken_figures" / "__init__.py").touch()
    (place / "broken.py").write_text(BROKEN)
    monkeypatch.chdir(tmp_path)
    results = run_little(tmp_path / "run", *SHORT, "plugins=[broken_figures]")
    assert results["extraction_max_difference"] == 0
    assert about_pictures(caplog) == ["broken.png could not be drawn (RuntimeError: run.json)"]
    assert (tmp_path / "run" / "curves.png").exists()


class _Garble(pl.Callback):
    """Spoil the files that figures are drawn from, as a full disk or an editor would."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def teardown(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        (self.folder / "metrics.csv").write_bytes(b"\xff\x00\xfe")
        (self.folder / "diagnostics.csv").unlink()
        (self.folder / "diagnostics.csv").mkdir()


def test_damaged_records_do_not_cost_the_target(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    garble = f"+callbacks.garble={{_target_: {__name__}._Garble, folder: {tmp_path / 'run'}}}"
    results = run_little(tmp_path / "run", *SHORT, garble)
    assert results["train_top1_percent"] is None and results["extraction_max_difference"] == 0
    assert about_pictures(caplog) == []
    assert not (tmp_path / "run" / "diagnostics.png").exists()  # a folder in its place is no table
    results = read_json(tmp_path / "run" / "results.json")
    numbers = {key for key, value in results.items() if isinstance(value, int | float) and value is not True}
    assert {key for key in numbers if key.split("_")[0] not in SPLITS} <= {*NUMBERS, *PRICES}  # for searches
