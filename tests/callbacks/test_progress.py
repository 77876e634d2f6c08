"""Throughput with a clock of the test's own, and the line of an epoch."""

import io
import logging
import pickle
import re
import sys
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from tests.screen import Screen, terminal
from tests.tasks.little import fit

from shiftaddaug import terminal as terminal_module
from shiftaddaug.callbacks import progress
from shiftaddaug.callbacks.progress import EpochLog, ProgressBar, Throughput
from shiftaddaug.commands.output import enduring_output


class _Clock:
    """Stands in for the `time` module."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now

    def time(self) -> float:
        return 1e9 + self.now


class _Training:
    """A trainer's calls of the callback, each step taking as long as told."""

    def __init__(self, clock: _Clock, world_size: int = 1) -> None:
        self.clock, self.callback, self.logged = clock, Throughput(), list[tuple[str, float]]()
        optimizer = SimpleNamespace(param_groups=[{"lr": 0.25}, {"lr": 0.5}])
        self.trainer: Any = SimpleNamespace(world_size=world_size, optimizers=[optimizer], sanity_checking=False)
        self.module: Any = SimpleNamespace(log=lambda name, value, **_: self.logged.append((name, value)))

    def epoch(self, *steps: tuple[int, float], validated: int | None = None) -> None:
        """(images, seconds) of each step; before which step there is a validation, besides that at the end."""
        self.callback.on_train_epoch_start(self.trainer, self.module)
        group = self.trainer.optimizers[0].param_groups[0]
        for i, (images, seconds) in enumerate(steps):
            batch = (torch.zeros(images, 1), torch.zeros(images))
            if i == validated:
                self.validate(40.0)
            self.callback.on_train_batch_start(self.trainer, self.module, batch, i)
            self.clock.now += seconds
            group["lr"] /= 2  # as Lightning does before it calls what follows
            self.callback.on_train_batch_end(self.trainer, self.module, None, batch, i)
        self.validate(7.0)
        self.callback.on_train_epoch_end(self.trainer, self.module)

    def validate(self, seconds: float) -> None:
        """A validation that takes so long."""
        self.callback.on_validation_start(self.trainer, self.module)
        self.clock.now += seconds
        self.callback.on_validation_end(self.trainer, self.module)

    def rates(self) -> list[float]:
        return [value for name, value in self.logged if name == "images_per_s"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    clock = _Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


class TestThroughput:
    def test_the_first_step_of_a_run_is_not_counted(self, clock: _Clock) -> None:
        training = _Training(clock)
        training.epoch((10, 50.0), (10, 2.0), (30, 2.0))
        assert training.rates() == [5.0, 10.0]  # 10 images in 2 s, then 40 in 4 s
        assert training.callback.images_per_s == 10.0

    def test_the_first_step_of_later_epochs_is(self, clock: _Clock) -> None:
        training = _Training(clock)
        training.epoch((10, 50.0), (10, 2.0))
        training.epoch((12, 4.0), (12, 2.0))
        assert training.rates() == [5.0, 3.0, 4.0]
        assert training.callback.images_per_s == 4.0

    def test_time_between_epochs_is_not_counted(self, clock: _Clock) -> None:
        training = _Training(clock)
        training.epoch((10, 50.0), (10, 2.0))
        clock.now += 1000
        training.epoch((12, 4.0))
        assert training.callback.images_per_s == 3.0

    def test_images_of_all_ranks_are_counted(self, clock: _Clock) -> None:
        training = _Training(clock, world_size=4)
        training.epoch((10, 50.0), (10, 2.0))
        assert training.callback.images_per_s == 20.0

    def test_time_of_the_first_step(self, clock: _Clock) -> None:
        training = _Training(clock)
        assert training.callback.first_step_time is None
        training.epoch((10, 7.0), (10, 2.0))
        assert training.callback.first_step_time == 1e9 + 107

    def test_one_step_says_nothing_of_speed(self, clock: _Clock) -> None:
        training = _Training(clock)
        training.epoch((10, 7.0))
        assert training.callback.images_per_s is None
        assert training.logged == [("lr", 0.25)]

    def test_learning_rate_is_logged_at_every_step(self, clock: _Clock) -> None:
        training = _Training(clock)
        training.epoch((10, 7.0), (10, 2.0))
        assert [entry for entry in training.logged if entry[0] == "lr"] == [("lr", 0.25), ("lr", 0.125)]

    def test_seconds_go_on_from_those_of_the_resumed_run(self, clock: _Clock) -> None:
        stopped, resumed = Throughput(), Throughput()
        assert stopped.seconds == 0
        stopped.on_fit_start(None, None)  # type: ignore[arg-type]
        clock.now += 30
        state = stopped.state_dict()
        clock.now += 5  # lost: nothing of it was saved
        resumed.load_state_dict(state)
        resumed.on_fit_start(None, None)  # type: ignore[arg-type]
        clock.now += 10
        assert (state, stopped.seconds, resumed.seconds) == ({"seconds": 30}, 45, 40)

    def test_seconds_of_a_checkpoint_that_does_not_say_are_unknown(self, clock: _Clock) -> None:
        resumed = Throughput()
        resumed.on_load_checkpoint(None, None, {})  # type: ignore[arg-type]
        resumed.on_fit_start(None, None)  # type: ignore[arg-type]
        clock.now += 10
        assert resumed.seconds is None and resumed.state_dict() == {"seconds": None}

    def test_time_of_a_validation_within_an_epoch_is_not_counted(self, clock: _Clock) -> None:
        training = _Training(clock)
        training.epoch((10, 50.0), (10, 2.0), (30, 2.0), validated=2)
        assert training.rates() == [5.0, 10.0]
        assert training.callback.images_per_s == 10.0


class TestEpochLog:
    @staticmethod
    def of_headline(name: str) -> Any:
        return SimpleNamespace(objective=SimpleNamespace(settings=SimpleNamespace(headline=name)))

    def line(
        self,
        caplog: pytest.LogCaptureFixture,
        metrics: dict[str, float],
        rank_zero: bool = True,
        headline: str = "top1",
        validated: bool = True,
    ) -> list[str]:
        trainer: Any = SimpleNamespace(
            is_global_zero=rank_zero,
            current_epoch=2,
            max_epochs=5,
            global_step=30,
            sanity_checking=False,
            is_last_batch=True,
            enable_validation=True,
            callback_metrics={name: torch.tensor(value) for name, value in metrics.items()},
        )
        log = EpochLog()
        if validated:
            log.on_validation_end(trainer, self.of_headline(headline))
        with caplog.at_level(logging.INFO, logger=progress.__name__):
            log.on_train_epoch_end(trainer, self.of_headline(headline))
        return [record.getMessage() for record in caplog.records if record.name == progress.__name__]

    def test_what_is_known_in_a_fixed_order_epochs_counted_from_one(self, caplog: pytest.LogCaptureFixture) -> None:
        metrics = {"val/top1": 0.5, "lr": 0.1, "images_per_s": 1234.56, "train/loss": 1.23456, "val/top5": 0.9}
        lines = self.line(caplog, metrics)
        assert lines == ["epoch 3/5: train/loss 1.235, val/top1 0.5, images_per_s 1235"]

    def test_scores_that_other_weights_earned_are_none(self, caplog: pytest.LogCaptureFixture) -> None:
        metrics = {"val/top1": 0.5, "train/loss": 1.0, "val/loss": 2.0}
        assert self.line(caplog, metrics, validated=False) == ["epoch 3/5: train/loss 1, val/loss -, val/top1 -"]

    def test_of_another_headline(self, caplog: pytest.LogCaptureFixture) -> None:
        metrics = {"val/error": 0.5, "train/error": 0.25, "train/loss": 1.0, "val/loss": 2.0, "val/top1": 0.9}
        wanted = ["epoch 3/5: train/loss 1, train/error 0.25, val/loss 2, val/error 0.5"]
        assert self.line(caplog, metrics, headline="error") == wanted
        caplog.clear()
        assert self.line(caplog, metrics, headline="loss") == ["epoch 3/5: train/loss 1, val/loss 2"]

    def test_what_an_earlier_epoch_logged_last_is_not_repeated(self, caplog: pytest.LogCaptureFixture) -> None:
        """Lightning's metrics outlive the epoch that they are of."""

        class Widened(pl.LightningModule):
            objective = self.of_headline("top1").objective

            def training_step(self, batch: torch.Tensor, batch_idx: int) -> None:
                for name in ("train/loss", "train/loss_aug")[: 2 if self.current_epoch == 0 else 1]:
                    self.log(name, float(self.current_epoch), on_step=False, on_epoch=True)

            def configure_optimizers(self) -> None:
                return None

        with caplog.at_level(logging.INFO, logger=progress.__name__):
            fit(Widened(), [torch.zeros(1)], max_epochs=2, callbacks=[EpochLog()])
        lines = [record.getMessage() for record in caplog.records if record.name == progress.__name__]
        assert lines == ["epoch 1/2: train/loss 0, train/loss_aug 0", "epoch 2/2: train/loss 1"]

    def test_only_the_first_rank_speaks(self, caplog: pytest.LogCaptureFixture) -> None:
        assert self.line(caplog, {"val/top1": 0.5}, rank_zero=False) == []


class _Little(pl.LightningModule):
    """One weight, whose loss is its square; the loss of the target is told besides."""

    target_loss = torch.tensor(1.25)

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.objective: Any = SimpleNamespace(settings=SimpleNamespace(headline="top1"))

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        self.log("train/loss", 0.5, on_step=False, on_epoch=True)
        return (self.weight**2).sum()

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("val/loss", 2.0)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Train three epochs of four steps in a terminal of so many columns; return its screen."""
    monkeypatch.setattr(terminal_module, "PAUSE", 0.0)
    monkeypatch.setenv("TERM", "xterm")

    def train(columns: int, **arguments: Any) -> Screen:
        with terminal(columns) as (stream, screen):
            monkeypatch.setattr(sys, "stdout", stream)
            monkeypatch.setattr(sys, "stderr", stream)
            with enduring_output():
                console = logging.StreamHandler(sys.stdout)
                progress.log.addHandler(console)
                monkeypatch.setattr(progress.log, "level", logging.INFO)
                arguments = {"max_epochs": 3, "enable_progress_bar": True, **arguments}
                try:
                    batches = [torch.zeros(1)] * 4
                    fit(_Little(), batches, batches[:2], callbacks=[ProgressBar(), EpochLog()], **arguments)
                finally:
                    progress.log.removeHandler(console)
        return screen

    return train


def _bars(screen: Screen) -> list[str]:
    """All states of the bar, the times in them as 0."""
    states = re.findall(r"\x1b\[J\r([^\r\n]+)\r(?!\n)", screen.received)
    return [re.sub(r"\d+:\d\d left", "0 left", state) for state in states]


EPOCHS = [f"epoch {i}/3: train/loss 0.5, val/loss 2" for i in (1, 2, 3)]


class TestProgressBar:
    @pytest.mark.parametrize("columns", [220, 100, 50])
    def test_each_epoch_has_its_line_and_nothing_else_remains(self, shown: Any, columns: int) -> None:
        screen = shown(columns)
        assert screen.lines() == EPOCHS
        states = _bars(screen)
        assert states[0] == "epoch 1/3  step 1/4  loss 1.25  0 left"
        assert states[4:7] == [
            "epoch 1/3  validation 1/2  loss 1.25  0 left",
            "epoch 1/3  validation 2/2  loss 1.25  0 left",
            "epoch 2/3  step 1/4  loss 1.25  0 left",
        ]
        assert len(states) == 3 * (4 + 2) and states[-3].startswith("epoch 3/3  step 4/4")

    def test_a_narrow_terminal_has_a_shorter_one(self, shown: Any) -> None:
        assert set(_bars(shown(32))) >= {"epoch 1/3  step 1/4  0 left"}
        assert {state.rstrip() for state in _bars(shown(10))} == {"epoch 1/3", "epoch 2/3", "epoch 3/3"}

    def test_a_validation_within_an_epoch(self, shown: Any) -> None:
        screen = shown(120, max_epochs=1, val_check_interval=2)
        assert screen.lines() == [
            "epoch 1/1 after 2 of 4 batches: val/loss 2",
            "epoch 1/1: train/loss 0.5, val/loss 2",
        ]
        assert len(_bars(screen)) == 4 + 2 * 2

    def test_a_number_of_steps_is_an_end_too(self, shown: Any) -> None:
        assert _bars(shown(100, max_epochs=-1, max_steps=2))[0] == "epoch 1  step 1/4  loss 1.25  0 left"

    def test_a_job_beside_others_has_none(self, shown: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(progress, "current_process", lambda: SimpleNamespace(name="LokyProcess-1"))
        assert _bars(shown(100)) == []

    def test_in_a_file_there_is_none_of_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(terminal_module, "PAUSE", 0.0)
        file = io.StringIO()
        monkeypatch.setattr(sys, "stderr", file)
        fit(_Little(), [torch.zeros(1)], callbacks=[ProgressBar()], enable_progress_bar=True)
        assert file.getvalue() == ""

    def test_it_can_be_sent_to_processes(self) -> None:
        assert isinstance(pickle.loads(pickle.dumps(ProgressBar())), ProgressBar)
