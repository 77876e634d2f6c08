"""Whatever is validated and when: best.ckpt holds the weights that earned its score, and the last ones are judged."""

import logging
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor

from shiftaddaug.callbacks import progress
from shiftaddaug.commands.train import train
from shiftaddaug.errors import UserError
from shiftaddaug.report.results import read_rows
from shiftaddaug.runs.checkpoints import check_resumed, read_checkpoint
from shiftaddaug.runs.settings import read_settings
from tests.commands.running import LITTLE, composed, run_little

MONITOR = "val/loss"  # which no two validations share
JUDGED = (
    "task.headline=loss", "task.better=min", "aug=expand", "trainer.max_epochs=3", "optim.lr=0.03",
    "net.stages=[{block: basic, channels: 8, depth: 1, act: relu}]",
)  # fmt: skip
WITHIN, SELDOM = "+trainer.val_check_interval=0.4", "+trainer.check_val_every_n_epoch=2"
ONE_IN_THREE = "+trainer.val_check_interval=2"
WITNESS = f"+callbacks.witness={{_target_: {__name__}._Witness}}"
STOP = f"+callbacks.stop={{_target_: {__name__}._StopAt, step: %d}}"


class _Witness(pl.Callback):
    """Keep the tensors of the network that each validation looks at, by step."""

    only_watches = True
    seen: dict[int, dict[str, Tensor]] = {}  # one for all: hydra makes the instance

    def on_validation_batch_start(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        state = pl_module.net.state_dict()
        self.seen[trainer.global_step] = {f"net.{name}": value.clone() for name, value in state.items()}


class _StopAt(pl.Callback):
    """Raise when a batch of that step begins, as a kill would."""

    only_watches = True

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise KeyboardInterrupt


def scores(folder: Path) -> dict[int, float]:
    """Losses that were validated, by the number of steps that had been made."""
    rows = read_rows(folder / "metrics.csv")
    return {int(row["step"]) + 1: float(row[MONITOR]) for row in rows if row[MONITOR]}


def best_of(folder: Path) -> tuple[dict[str, Any], float]:
    checkpoint = read_checkpoint(folder / "checkpoints" / "best.ckpt")
    state = next(state for key, state in checkpoint["callbacks"].items() if key.startswith("BestCheckpoint"))
    return checkpoint, float(state["best_model_score"])


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        ((WITHIN, "callbacks=ema", "bn=recalibrated"), [*range(1, 10)]),
        ((ONE_IN_THREE, "bn=recalibrated", "op=add", "block_variant=layer"), [2, 5, 8, 9]),
        ((ONE_IN_THREE, SELDOM, "callbacks=ema", "aug=depth"), [5, 9]),
        ((SELDOM, "callbacks=ema", "bn=recalibrated", "trainer.accumulate_grad_batches=3"), [2, 3]),
        (("+trainer.val_check_interval=4", "+trainer.check_val_every_n_epoch=null"), [4, 8, 9]),
        (("+trainer.check_val_every_n_epoch=7",), [9]),
    ],
)
def test_the_best_holds_what_earned_its_score(overrides: tuple[str, ...], steps: list[int], tmp_path: Path) -> None:
    """The deployed target is measured anew: by the same images, to the same loss."""
    _Witness.seen.clear()
    results = run_little(tmp_path / "run", *JUDGED, WITNESS, *overrides)
    measured = scores(tmp_path / "run")
    assert list(measured) == steps == list(_Witness.seen)
    checkpoint, score = best_of(tmp_path / "run")
    step = checkpoint["global_step"]
    assert score == pytest.approx(min(measured.values()), rel=1e-6)
    assert measured[step] == pytest.approx(score, rel=1e-6)
    for name, value in _Witness.seen[step].items():
        assert torch.equal(checkpoint["state_dict"][name], value), name
    assert results["val_loss"] == pytest.approx(score, rel=1e-4)  # which results.json rounds


def test_validations_change_nothing_of_what_is_trained(tmp_path: Path) -> None:
    last = []
    for i, overrides in enumerate([(), (WITHIN,), (SELDOM,)]):
        run_little(tmp_path / str(i), *JUDGED, "callbacks=ema", *overrides)
        last.append(read_checkpoint(tmp_path / str(i) / "checkpoints" / "last.ckpt"))
    for other in last[1:]:
        for name, value in last[0]["current_model_state"].items():
            assert torch.equal(other["current_model_state"][name], value), name


def test_a_run_killed_within_an_epoch_ends_as_one_that_was_not(tmp_path: Path) -> None:
    """Its best.ckpt may be newer than its last.ckpt, and then has another score than that one remembers."""
    overrides = (WITHIN, "bn=recalibrated", "callbacks=ema")
    whole, stopped, resumed = (tmp_path / name for name in ("whole", "stopped", "resumed"))
    wanted = run_little(whole, *JUDGED, *overrides)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run_little(stopped, *JUDGED, *overrides, STOP % 4)
    results = run_little(resumed, *JUDGED, *overrides, f"ckpt_path={stopped}/checkpoints/last.ckpt")
    (one, score), (other, theirs) = best_of(whole), best_of(resumed)
    assert (one["global_step"], score) == (other["global_step"], theirs)
    assert all(torch.equal(other["state_dict"][name], value) for name, value in one["state_dict"].items())
    assert results["val_loss"] == wanted["val_loss"]


def test_the_line_of_an_epoch_has_no_score_of_other_weights(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger=progress.__name__):
        run_little(tmp_path / "run", *JUDGED, ONE_IN_THREE, SELDOM)
    lines = [record.getMessage() for record in caplog.records if record.name == progress.__name__]
    measured = {step: f"val/loss {value:.4g}" for step, value in scores(tmp_path / "run").items()}
    assert [line.split(":")[0] for line in lines] == [
        "epoch 1/3", "epoch 2/3 after 2 of 3 batches", "epoch 2/3", "epoch 3/3",
    ]  # fmt: skip
    wanted = ["val/loss -", measured[5], "val/loss -", measured[9]]
    assert [next(part for part in line.split(": ")[1].split(", ") if "val/" in part) for line in lines] == wanted


def test_what_was_written_within_an_epoch_is_not_resumed(tmp_path: Path) -> None:
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run_little(tmp_path / "run", *JUDGED, ONE_IN_THREE, STOP % 2)
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    assert read_checkpoint(best)["global_step"] == 2
    settings = read_settings(composed(tmp_path / "next", *LITTLE, *JUDGED, ONE_IN_THREE, f"ckpt_path={best}"))
    with pytest.raises(UserError, match=r"best\.ckpt: was written within an epoch .*options: last\.ckpt"):
        check_resumed(settings)


def test_an_interval_longer_than_an_epoch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^trainer\.val_check_interval=4: an epoch has 3 batches; options: fewer, or"):
        train(composed(tmp_path / "run", *LITTLE, *JUDGED, "+trainer.val_check_interval=4"))
